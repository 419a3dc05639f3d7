"""Archives as they should be, and as somebody would make them who means harm."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets.download import fetch

Entry = tuple[str, bytes] | tarfile.TarInfo | zipfile.ZipInfo
TOP = ["set"]
GOOD: list[Entry] = [("set/a.txt", b"a"), ("set/deep/b.txt", b"b"), ("readme", b"not wanted")]


def pack(path: Path, entries: list[Entry] = GOOD) -> Path:
    """An archive of the kind that its name says; an entry that is no pair has no content."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in entries:
                archive.writestr(*(entry if isinstance(entry, tuple) else (entry, "/etc/passwd")))
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for entry in entries:
            name, content = entry if isinstance(entry, tuple) else ("", b"")
            info = tarfile.TarInfo(name) if name else entry
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("set/x")
    info.type, info.linkname = kind, target
    return info


def zipped_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("set/x")
    info.external_attr = 0o120777 << 16
    return info


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["set.tgz", "set.tar", "set.zip"])
def test_what_is_expected_takes_its_place(name: str, tmp_path: Path) -> None:
    archive, into = pack(tmp_path / name), tmp_path / "data"
    with fetch.unpack(archive, into, TOP) as folder:
        assert (folder / "set" / "a.txt").exists()
        assert not (into / "set").exists()
    assert contents(into) == {"set/a.txt": b"a", "set/deep/b.txt": b"b"}
    assert [path.name for path in into.iterdir()] == ["set"]


MOST_EXTRA = 100_000
BOMB = b"\0" * 4 * MOST_EXTRA
MANY = bytes(range(256)) * 99
SPECIAL = "its member 'set/x' is a link or a device"
TOO_MUCH = "it would unpack to more than 20 times its size"
HARMFUL: dict[str, tuple[str, list[Entry], str]] = {
    "a path that climbs out": (
        "x.tgz",
        [*GOOD, ("set/../../../out", b"x")],
        "its member 'set/../../../out' leaves the folder",
    ),
    "one in a zip": ("x.zip", [("set/a", b""), ("../out", b"x")], "'../out' leaves the folder"),
    "an absolute path": ("x.tgz", [("/tmp/out", b"x")], "member '/tmp/out' leaves the folder"),
    "a path of Windows": ("x.tgz", [("C:\\out", b"x")], r"'C:\\\\out' leaves the folder"),
    "a drive": ("x.tgz", [("C:out", b"x")], "its member 'C:out' leaves the folder"),
    "a symbolic link": ("x.tgz", [special(tarfile.SYMTYPE, "/etc"), *GOOD], SPECIAL),
    "a hard link": ("x.tgz", [special(tarfile.LNKTYPE, "/etc/passwd")], SPECIAL),
    "a link in a zip": ("x.zip", [zipped_link()], SPECIAL),
    "a device": ("x.tgz", [special(tarfile.CHRTYPE)], SPECIAL),
    "a pipe": ("x.tgz", [special(tarfile.FIFOTYPE)], SPECIAL),
    "a bomb": ("x.tgz", [("set/zeros", BOMB)], TOO_MUCH),
    "a bomb of many": (
        "x.zip",
        [(f"set/{n}", BOMB[: len(BOMB) // 16]) for n in range(16)],
        TOO_MUCH,
    ),
    "another folder": (
        "x.tgz",
        [("other/a", b""), ("more/b", b"")],
        r"expected set at the root of \S+x.tgz, found more, other",
    ),
    "nothing": ("x.tgz", [], "expected set .*, found nothing"),
}
HALVED: dict[str, tuple[str, list[Entry], str]] = {
    "half a tgz": ("x.tgz", [*GOOD, ("set/c", MANY)], "x.tgz is cut short or damaged"),
    "half a tar": ("x.tar", [("set/c", MANY)], "cut short or damaged: unexpected end of data"),
    "half a zip": (
        "x.zip",
        [("set/a", b"a" * 999)],
        "x.zip is cut short or damaged: file could not be opened successfully$",
    ),
}


@pytest.mark.parametrize("case", {**HARMFUL, **HALVED})
def test_what_is_harmful_or_damaged_leaves_no_trace(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOST_EXTRA", MOST_EXTRA)
    name, entries, sentence = {**HARMFUL, **HALVED}[case]
    archive = pack(tmp_path / name, entries)
    if case in HALVED:
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    refused(archive, sentence)


def refused(archive: Path, sentence: str) -> None:
    folder = archive.parent
    (folder / "data" / "set").mkdir(parents=True)
    (folder / "data" / "set" / "mine").write_bytes(b"before")
    with (
        pytest.raises(BadFile, match=sentence) as caught,
        fetch.unpack(archive, folder / "data", TOP),
    ):
        pytest.fail("unpacked")
    assert "\n" not in str(caught.value)
    archive.unlink()
    assert contents(folder) == {"data/set/mine": b"before"}
    assert not list(folder.glob("data/.*"))


def test_a_wrong_byte_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("set/a", b"right")
    spoiled = (tmp_path / "x.zip").read_bytes().replace(b"right", b"wrong")
    (tmp_path / "x.zip").write_bytes(spoiled)
    refused(tmp_path / "x.zip", "x.zip is cut short or damaged: Bad CRC-32")


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(b"<html>")
    refused(tmp_path / "x.tgz", "x.tgz is cut short or damaged")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_MEMBERS", 2)
    refused(pack(tmp_path / "x.tgz"), "more than 2 members")


def test_what_was_there_is_replaced_at_the_end_only(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "old.txt").write_bytes(b"old")
    archive = pack(tmp_path / "x.tgz")
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
    with fetch.unpack(pack(tmp_path / "x.tgz"), tmp_path, TOP) as folder:
        assert not (folder / "half").exists()
    assert contents(tmp_path / "set") == {"a.txt": b"a", "deep/b.txt": b"b"}
    assert not list(tmp_path.glob(".*"))


def test_where_the_last_step_fails_the_old_one_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".set.old").mkdir()
    (tmp_path / ".set.old" / "old.txt").write_bytes(b"old")
    archive = pack(tmp_path / "x.tgz")
    with (
        pytest.raises(UserError, match="cannot unpack"),
        fetch.unpack(archive, tmp_path, TOP) as new,
    ):
        (new / "set").rename(tmp_path / "elsewhere")
    assert contents(tmp_path / "set") == {"old.txt": b"old"}
