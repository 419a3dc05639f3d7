"""Arrays that several processes want at once: written by one of them, whole, whoever is killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import ForkContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catchup_eval.core import files
from catchup_eval.datasets import memmap

SHAPE = (20, 3, 4, 4)
BLOCKS = [np.full((4, *SHAPE[1:]), 100 + i, np.uint8) for i in range(5)]
WHOLE = np.concatenate(BLOCKS)

# A fork knows the number of its parent's process only as `os.getpid` is patched here: as in
# containers, where each has a process 1.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
CONTEXT: ForkContext = multiprocessing.get_context("fork")


def slow(log: Path, at_third: Event, go_on: Event) -> Iterator[np.ndarray]:
    """The blocks; after the third it waits. A line in `log` tells who has begun."""
    with log.open("a") as file:
        file.write("begun\n")
    for number, block in enumerate(BLOCKS):
        if number == 3:
            at_third.set()
            assert go_on.wait(20)
        yield block


def work(path: Path, compute: Callable[[], Iterator[np.ndarray]], result: Path) -> None:
    os.getpid = lambda: 1
    images = memmap.load_or_compute(path, SHAPE, compute)
    result.write_text(str(np.array_equal(images.numpy(), WHOLE)))


def started(target: Callable[..., None], *args: Any) -> Any:
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    return process


@pytest.fixture
def events() -> tuple[Event, Event]:
    return CONTEXT.Event(), CONTEXT.Event()


@pytest.mark.parametrize("locks", [True, False])
def test_two_processes_of_one_number_give_one_whole_file(
    tmp_path: Path,
    events: tuple[Event, Event],
    monkeypatch: pytest.MonkeyPatch,
    locks: bool,
) -> None:
    """With locks the second waits; without, each writes under a name of its own."""
    if not locks:
        monkeypatch.setattr(files, "_lock", lambda descriptor: None)
    path, log, (at_third, go_on) = tmp_path / "view.npy", tmp_path / "log", events
    compute = partial(slow, log, at_third, go_on)
    first = started(work, path, compute, tmp_path / "first")
    assert at_third.wait(20)
    second = started(work, path, compute, tmp_path / "second")
    if not locks:
        while log.read_text().count("begun") < 2:  # the second writes, too
            second.join(0.01)
    go_on.set()
    for process in (first, second):
        process.join(20)
        assert process.exitcode == 0
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() == "True"
    assert log.read_text().count("begun") == (1 if locks else 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "log", "second", "view.npy"]


def test_who_waits_takes_over_from_a_killed_process(
    tmp_path: Path, events: tuple[Event, Event]
) -> None:
    path, (at_third, go_on) = tmp_path / "view.npy", events
    first = started(work, path, partial(slow, tmp_path / "log", at_third, go_on), tmp_path / "no")
    assert at_third.wait(20)
    second = started(work, path, partial(iter, BLOCKS), tmp_path / "second")
    second.join(0.05)
    os.kill(first.pid, signal.SIGKILL)
    second.join(20)
    assert (second.exitcode, (tmp_path / "second").read_text()) == (0, "True")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "second", "view.npy"]


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "a.npy") as temporary:
        files.remove_leftovers(tmp_path)
        assert temporary.exists()
    foreign = tmp_path / ".a.01234567-0123456789abcdef.npy"  # of another machine
    foreign.touch()
    files.remove_leftovers(tmp_path)
    assert foreign.exists(), "its locks may not be seen here"
    os.utime(foreign, (0, 0))
    files.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_a_seal_is_no_part_of_the_array(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    memmap.load_or_compute(path, SHAPE, partial(iter, BLOCKS))
    assert np.array_equal(np.load(path), WHOLE)
    assert memmap.damage(path, SHAPE) == ""


@pytest.mark.parametrize("place", [200, -30, -1])
def test_one_other_byte_is_noticed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.npy"
    memmap.load_or_compute(path, SHAPE, partial(iter, BLOCKS))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert memmap.damage(path, SHAPE)


def test_blocks_that_do_not_make_the_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"768 bytes came, expected \(20, 3, 4, 4\)"):
        memmap.load_or_compute(tmp_path / "a.npy", SHAPE, partial(iter, BLOCKS[1:]))
    assert not list(tmp_path.iterdir())
