"""A dataset in the data root: examined, fetched, mended. The net is a table of bytes here."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from catchup_eval.core import files
from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import locked
from catchup_eval.core.http import DownloadProgress, DownloadRequest
from catchup_eval.datasets.download import fetch as fetching
from catchup_eval.datasets.download.fetch import FetchDisplay, State, examine, fetch, glance
from catchup_eval.datasets.download.sources import ArchivedFile, File, Source

INSIDE = {"set/a.npy": b"\x93NUMPY a", "set/images/1.jpg": b"\xff\xd8\xff", "set/images/2.jpg": b""}


def archived(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


ARCHIVE = archived(INSIDE)
FOREIGN = b"\x93NUMPY b"
LABELS = b"\x93NUMPY labels"
PAGE = b"<html><title>Sign in</title></html>"
SOURCE = Source(
    about="a small set",
    licence="none",
    citation="Nobody 2000",
    page="http://set.invalid/",
    by_hand="write to the authors",
    files=(
        File(
            name="set.tgz",
            addresses=("http://set.invalid/set.tgz",),
            size=len(ARCHIVE),
            md5=md5(ARCHIVE),
            top=("set",),
            members={"set/a.npy": ArchivedFile(md5=md5(INSIDE["set/a.npy"]), size=8)},
            counts={"set/images/*.jpg": 2},
        ),
        File(
            name="labels.npy",
            addresses=("http://set.invalid/labels.npy",),
            md5=md5(LABELS),
            into="set-labels",
        ),
    ),
)
NET = {"http://set.invalid/set.tgz": ARCHIVE, "http://set.invalid/labels.npy": LABELS}


def run(root: Path, source: Source = SOURCE, **options: bool) -> list[str]:
    """Fetch; gives what would be printed."""
    lines: list[str] = []

    @contextmanager
    def bar(label: str) -> Iterator[DownloadProgress]:
        lines.append(label)
        yield lambda here, whole: None

    fetch(source, root, show=FetchDisplay(lines.append, bar), **options)
    return lines


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files were downloaded."""
    came: list[str] = []

    def download(wanted: DownloadRequest, **_: object) -> None:
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        wanted.path.write_bytes(NET[wanted.addresses[0]])
        came.append(wanted.path.name)

    monkeypatch.setattr(fetching, "download", download)
    return came


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


WHOLE = {**INSIDE, "set-labels/labels.npy": LABELS}
LOOKS: dict[str, tuple[dict[str, bytes], dict[str, tuple[State, str]], State]] = {
    "nothing": (
        {},
        {"set": (State.ABSENT, ""), "set-labels/labels.npy": (State.ABSENT, "")},
        State.ABSENT,
    ),
    "everything": (
        WHOLE,
        {
            "set/a.npy": (State.OK, "md5 as published"),
            "set/images/*.jpg": (State.OK, "2 files"),
            "set-labels/labels.npy": (State.OK, "md5 as published"),
        },
        State.OK,
    ),
    "a cut file and a lost one": (
        {**WHOLE, "set/a.npy": b"\x93NUMPY"} | {"set/images/2.jpg": b"", "set/images/3.jpg": b""},
        {
            "set/a.npy": (State.CUT, "6 of 8 bytes"),
            "set/images/*.jpg": (State.INCOMPLETE, "3 files, expected 2"),
        },
        State.OK,
    ),
    "other bytes": (
        {**WHOLE, "set/a.npy": FOREIGN},
        {"set/a.npy": (State.OTHER, f"md5 {md5(FOREIGN)}, expected {md5(INSIDE['set/a.npy'])}")},
        State.OK,
    ),
    "pages in place of files": (
        {"set.tgz": PAGE, "set-labels/labels.npy": PAGE},
        {
            "set": (State.ABSENT, ""),
            "set.tgz": (State.PAGE, "it is a web page: title 'Sign in'"),
            "set-labels/labels.npy": (State.PAGE, "it is a web page: title 'Sign in'"),
        },
        State.INCOMPLETE,
    ),
    "half an archive": (
        {"set.tgz": ARCHIVE[:-9]},
        {"set.tgz": (State.CUT, f"{len(ARCHIVE) - 9} of {len(ARCHIVE)} bytes")},
        State.INCOMPLETE,
    ),
    "a part of an archive": (
        {"set.tgz.part": b"\x1f"},
        {"set": (State.ABSENT, "")},
        State.INCOMPLETE,
    ),
    "a longer archive": (
        {"set.tgz": ARCHIVE + b"x"},
        {"set.tgz": (State.OTHER, f"{len(ARCHIVE) + 1} bytes, expected {len(ARCHIVE)}")},
        State.INCOMPLETE,
    ),
    "a good archive": (
        {"set.tgz": ARCHIVE},
        {"set": (State.ABSENT, ""), "set.tgz": (State.OK, "md5 as published")},
        State.INCOMPLETE,
    ),
}


@pytest.mark.parametrize("case", LOOKS.values(), ids=LOOKS)
def test_what_lies_there_is_reported(
    case: tuple[dict[str, bytes], dict[str, tuple[State, str]], State], tmp_path: Path
) -> None:
    files, expected, at_a_glance = case
    found = {each.place: (each.state, each.note) for each in examine(SOURCE, put(tmp_path, files))}
    assert {place: found[place] for place in expected} == expected
    assert glance(SOURCE, tmp_path) == at_a_glance


def test_unknown_facts_are_reported(tmp_path: Path) -> None:
    bare = SOURCE.model_copy(update={"files": (File(name="x.npy"), File(name="y.tar", top=("y",)))})
    put(tmp_path, {"x.npy": LABELS, "y/1": b""})
    notes = [each.note for each in examine(bare, tmp_path)]
    assert notes == [
        "only looked at: its checksum is not known",
        "only looked for, not compared",
    ]


@pytest.mark.parametrize("keep", [False, True])
def test_all_that_is_missing_is_fetched(keep: bool, net: list[str], tmp_path: Path) -> None:
    lines = run(tmp_path, keep=keep)
    assert {each.state for each in examine(SOURCE, tmp_path)} == {State.OK}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"set", "set-labels"} | ({"set.tgz"} if keep else set())
    )
    assert lines == [f"set.tgz, {len(ARCHIVE)} bytes", "unpacking set.tgz", "labels.npy"]
    assert net == ["set.tgz", "labels.npy"]
    assert run(tmp_path) == ["set.tgz: is already here", "labels.npy: is already here"]
    assert len(net) == 2


def test_a_second_fetch_waits_for_the_first_and_takes_what_came(
    net: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ExitStack()
    first.enter_context(locked(tmp_path / "set.tgz.fetch"))

    def end(_seconds: float) -> None:
        put(tmp_path, WHOLE)
        first.close()

    monkeypatch.setattr(files, "sleep", end)
    assert run(tmp_path) == [
        "set.tgz: another process is getting it; waiting for its end",
        "set.tgz: is already here",
        "labels.npy: is already here",
    ]
    assert not net


def test_faulty_files_are_reported_and_replaced(net: list[str], tmp_path: Path) -> None:
    put(tmp_path, {**WHOLE, "set/a.npy": b"\x93NUMPY", "set-labels/labels.npy": PAGE})
    lines = run(tmp_path)
    assert f"{tmp_path}/set/a.npy: cut short; 6 of 8 bytes" in lines
    page = "a web page; it is a web page: title 'Sign in'"
    assert f"{tmp_path}/set-labels/labels.npy: {page}" in lines
    assert {each.state for each in examine(SOURCE, tmp_path)} == {State.OK}


def test_an_archive_brought_by_hand_is_unpacked_and_stays(net: list[str], tmp_path: Path) -> None:
    run(put(tmp_path, {"set.tgz": ARCHIVE}))
    assert net == ["labels.npy"]
    assert (tmp_path / "set.tgz").exists()
    assert (tmp_path / "set" / "a.npy").exists()


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_a_killed_fetch_left_goes_with_the_next(
    unpacked: bool, net: list[str], tmp_path: Path
) -> None:
    """Killed once the archive had its name: what belongs to the download lies beside it."""
    left = {"set.tgz": ARCHIVE, "set.tgz.part.json": b"{}", ".set.tgz.lock": b""}
    put(tmp_path, {**(WHOLE if unpacked else {}), **left})
    run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set-labels"]
    assert net == ([] if unpacked else ["labels.npy"])


def test_a_cut_archive_is_fetched_anew(net: list[str], tmp_path: Path) -> None:
    lines = run(put(tmp_path, {"set.tgz": ARCHIVE[:-1]}))
    assert net == ["set.tgz", "labels.npy"]
    size = len(ARCHIVE)
    assert lines[0] == f"{tmp_path}/set.tgz: cut short; {size - 1} of {size} bytes"


def test_an_archive_that_holds_less_than_it_should(
    net: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = archived({name: INSIDE[name] for name in list(INSIDE)[:2]})
    monkeypatch.setitem(NET, "http://set.invalid/set.tgz", less)
    with pytest.raises(BadFile, match=r"set/images/\*.jpg in it: incomplete 1 files, expected 2"):
        run(tmp_path)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "files", "sentence"),
    [
        ({"addresses": ()}, {}, "set.tgz is needed and has no address: write to the authors"),
        (
            {"unpack": False},
            {"set.tgz": ARCHIVE},
            "needs more than unpacking: write to the authors",
        ),
    ],
)
def test_what_cannot_be_fetched_says_how_to_get_it(
    change: dict[str, object],
    files: dict[str, bytes],
    sentence: str,
    net: list[str],
    tmp_path: Path,
) -> None:
    file = SOURCE.files[0].model_copy(update=change)
    source = SOURCE.model_copy(update={"files": (file,)})
    with pytest.raises(BadFile, match=sentence):
        run(put(tmp_path, files), source)
    assert not net
