"""Archives as they should be, and as somebody would make them who means harm."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets.download import fetch

Entry = tuple[str, bytes] | tarfile.TarInfo
TOP = ["set"]
GOOD: list[Entry] = [("set/a.txt", b"a"), ("set/deep/b.txt", b"b"), ("readme", b"not wanted")]


def tar(path: Path, entries: list[Entry], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return path


def zipped(path: Path, entries: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("set/x")
    info.type, info.linkname = kind, target
    return info


def zip_with_link(path: Path) -> Path:
    info = zipfile.ZipInfo("set/x")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: tar(folder / "set.tgz", GOOD),
        lambda folder: tar(folder / "set.tar", GOOD, "w"),
        lambda folder: zipped(folder / "set.zip", GOOD),  # type: ignore[arg-type]
    ],
    ids=["tgz", "tar", "zip"],
)
def test_what_is_expected_takes_its_place(make: Callable[[Path], Path], tmp_path: Path) -> None:
    archive, into = make(tmp_path), tmp_path / "data"
    with fetch.unpack(archive, into, TOP) as folder:
        assert (folder / "set" / "a.txt").exists()
        assert not (into / "set").exists()
    assert contents(into) == {"set/a.txt": b"a", "set/deep/b.txt": b"b"}
    assert [path.name for path in into.iterdir()] == ["set"]


BOMB = b"\0" * 60_000_000
HARMFUL: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a path that climbs out": (
        lambda folder: tar(folder / "x.tgz", [*GOOD, ("set/../../../out", b"x")]),
        r"its member 'set/../../../out' leaves the folder",
    ),
    "a path that climbs out of a zip": (
        lambda folder: zipped(folder / "x.zip", [("set/a", b""), ("../out", b"x")]),
        r"its member '../out' leaves the folder",
    ),
    "an absolute path": (
        lambda folder: tar(folder / "x.tgz", [("/tmp/out", b"x")]),
        r"its member '/tmp/out' leaves the folder",
    ),
    "a path of Windows": (
        lambda folder: tar(folder / "x.tgz", [("C:\\out", b"x")]),
        r"its member 'C:\\\\out' leaves the folder",
    ),
    "a drive": (
        lambda folder: tar(folder / "x.tgz", [("C:out", b"x")]),
        r"its member 'C:out' leaves the folder",
    ),
    "a symbolic link": (
        lambda folder: tar(folder / "x.tgz", [special(tarfile.SYMTYPE, "/etc"), *GOOD]),
        r"its member 'set/x' is a link or a device",
    ),
    "a hard link": (
        lambda folder: tar(folder / "x.tgz", [special(tarfile.LNKTYPE, "/etc/passwd")]),
        r"its member 'set/x' is a link or a device",
    ),
    "a link in a zip": (
        lambda folder: zip_with_link(folder / "x.zip"),
        r"its member 'set/x' is a link or a device",
    ),
    "a device": (
        lambda folder: tar(folder / "x.tgz", [special(tarfile.CHRTYPE)]),
        r"its member 'set/x' is a link or a device",
    ),
    "a pipe": (
        lambda folder: tar(folder / "x.tgz", [special(tarfile.FIFOTYPE)]),
        r"its member 'set/x' is a link or a device",
    ),
    "a bomb": (
        lambda folder: tar(folder / "x.tgz", [("set/zeros", BOMB)]),
        r"it would unpack to more than 20 times its size",
    ),
    "a bomb of many small members": (
        lambda folder: zipped(folder / "x.zip", [(f"set/{n}", BOMB[: 2**22]) for n in range(16)]),
        r"it would unpack to more than 20 times its size",
    ),
    "another folder": (
        lambda folder: tar(folder / "x.tgz", [("other/a", b""), ("more/b", b"")]),
        r"expected set at the root of \S+x.tgz, found more, other",
    ),
    "nothing": (lambda folder: tar(folder / "x.tgz", []), r"expected set .*, found nothing"),
    "half a tgz": (
        lambda folder: halved(tar(folder / "x.tgz", [*GOOD, ("set/c", bytes(range(256)) * 99)])),
        r"x.tgz is cut short or damaged",
    ),
    "half a tar": (
        lambda folder: halved(tar(folder / "x.tar", [("set/c", BOMB[:99_999])], "w")),
        r"x.tar is cut short or damaged: unexpected end of data",
    ),
    "half a zip": (
        lambda folder: halved(zipped(folder / "x.zip", [("set/a", b"a" * 999)])),
        r"x.zip is cut short or damaged: file could not be opened successfully$",
    ),
    "a zip with a wrong byte": (
        lambda folder: spoiled(folder / "x.zip"),
        r"x.zip is cut short or damaged: Bad CRC-32",
    ),
    "no archive": (
        lambda folder: written(folder / "x.tgz", b"<html>"),
        r"x.tgz is cut short or damaged",
    ),
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def halved(path: Path) -> Path:
    content = path.read_bytes()
    return written(path, content[: len(content) // 2])


def spoiled(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/a", b"right")
    return written(path, path.read_bytes().replace(b"right", b"wrong"))


@pytest.mark.parametrize("case", HARMFUL.values(), ids=HARMFUL)
def test_what_is_harmful_or_damaged_leaves_no_trace(
    case: tuple[Callable[[Path], Path], str], tmp_path: Path
) -> None:
    make, sentence = case
    (tmp_path / "data" / "set").mkdir(parents=True)
    (tmp_path / "data" / "set" / "mine").write_bytes(b"before")
    archive = make(tmp_path)
    with (
        pytest.raises(BadFile, match=sentence) as caught,
        fetch.unpack(archive, tmp_path / "data", TOP),
    ):
        pytest.fail("unpacked")
    assert "\n" not in str(caught.value)
    archive.unlink()
    assert contents(tmp_path) == {"data/set/mine": b"before"}
    assert not list(tmp_path.glob("data/.*"))


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_MEMBERS", 2)
    archive = tar(tmp_path / "x.tgz", GOOD)
    with pytest.raises(BadFile, match="more than 2 members"), fetch.unpack(archive, tmp_path, TOP):
        pytest.fail("unpacked")


def test_what_was_there_is_replaced_at_the_end_only(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "old.txt").write_bytes(b"old")
    archive = tar(tmp_path / "x.tgz", GOOD)
    with pytest.raises(RuntimeError), fetch.unpack(archive, tmp_path, TOP):
        raise RuntimeError
    assert contents(tmp_path / "set") == {"old.txt": b"old"}
    with fetch.unpack(archive, tmp_path, TOP):
        assert contents(tmp_path / "set") == {"old.txt": b"old"}
    assert contents(tmp_path / "set") == {"a.txt": b"a", "deep/b.txt": b"b"}
    assert not list(tmp_path.glob(".*"))


def test_after_a_kill_between_the_last_steps_all_is_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / ".set.old").mkdir()
    (tmp_path / ".x.tgz.unpacking" / "half").mkdir(parents=True)
    with fetch.unpack(tar(tmp_path / "x.tgz", GOOD), tmp_path, TOP) as folder:
        assert not (folder / "half").exists()
    assert contents(tmp_path / "set") == {"a.txt": b"a", "deep/b.txt": b"b"}
    assert not list(tmp_path.glob(".*"))


def test_where_the_last_step_fails_the_old_one_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".set.old").mkdir()
    (tmp_path / ".set.old" / "old.txt").write_bytes(b"old")
    archive = tar(tmp_path / "x.tgz", GOOD)
    with (
        pytest.raises(UserError, match="cannot unpack"),
        fetch.unpack(archive, tmp_path, TOP) as new,
    ):
        (new / "set").rename(tmp_path / "elsewhere")
    assert contents(tmp_path / "set") == {"old.txt": b"old"}
