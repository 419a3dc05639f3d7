import errno
import os
from pathlib import Path

import pytest

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import (
    atomic_path,
    is_locked,
    locked,
    read_regular,
    remove_leftovers,
    write_text,
)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names [POSIX]")
def test_only_regular_files_below_the_folder_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_bytes(b"12345")
    (folder / "inside").symlink_to("a")
    assert read_regular(folder / "inside", most=5, below=folder) == b"12345"
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    (tmp_path / "outside").touch()
    (folder / "link").symlink_to(tmp_path / "outside")
    faults = {"a": "has 5 bytes, more than 4", "pipe": "no regular", ".": "no regular"}
    faults |= {"zero": "leaves", "link": "leaves", "../outside": "leaves", "b": "No such"}
    faults |= {"loop": "loop|levels of symbolic"}
    for name, fault in faults.items():
        with pytest.raises(BadFile, match=f"(?i){fault}"):
            read_regular(folder / name, most=4, below=folder)
    with pytest.raises(BadFile, match="no regular file"):
        read_regular(Path("/dev/zero"), most=4)


def test_who_holds_a_lock_is_seen_without_a_trace(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "a")
    with locked(tmp_path / "a"):
        assert is_locked(tmp_path / "a")
    assert not is_locked(tmp_path / "a") and not list(tmp_path.iterdir())


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / ".a.lock").symlink_to(tmp_path / "new")
    with pytest.raises(UserError, match="cannot write in"), locked(tmp_path / "a"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_file_is_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "ä")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "ä"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"cannot write .*No space left"),
        atomic_path(tmp_path / "a"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_lock_that_a_killed_process_left_goes_and_a_held_one_stays(tmp_path: Path) -> None:
    (tmp_path / ".left.csv.lock").touch()
    (tmp_path / ".not-ours.lock").write_text("pid 1")
    with locked(tmp_path / "held.csv"):
        remove_leftovers(tmp_path)
        there = sorted(path.name for path in tmp_path.iterdir())
    assert there == [".held.csv.lock", ".not-ours.lock"]
