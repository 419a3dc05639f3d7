"""What lies in the data root: ok, absent, incomplete, cut short, a web page, not the official file.

An unpacked folder is compared as far as `archives.toml` knows it: checksums of its files where they
are published, else how many files there are. The archive itself is not needed once it is unpacked.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from catchup_eval.fetching.archives import File, Source
from catchup_eval.fetching.recognise import digest, foreign_file


class State(StrEnum):
    """How a file or folder is."""

    OK = "ok"
    ABSENT = "absent"
    INCOMPLETE = "incomplete"
    CUT = "cut short"
    PAGE = "a web page"
    OTHER = "not the official file"


class Finding(NamedTuple):
    """What is known of one file or folder.

    Attributes:
        place: its path below the data root.
        note: what was compared, or what is wrong.
    """

    place: str
    state: State
    note: str = ""


def examine(source: Source, root: Path) -> list[Finding]:
    """Compare everything of an image set; reads whole files."""
    return [finding for file in source.files for finding in examine_file(file, root)]


def examine_file(file: File, root: Path) -> list[Finding]:
    """The same of one file and what it was unpacked to."""
    archive = file.wanted(root).path
    if not file.top:
        return [_file(archive, root, file.size, file.checksum)]
    findings = list(layout(file, root / file.into, root))
    if archive.exists():
        findings.append(_file(archive, root, file.size, file.checksum))
    return findings


def layout(file: File, folder: Path, root: Path) -> Iterator[Finding]:
    """Compare what an archive becomes, in whatever folder it was unpacked to."""
    absent = [name for name in file.top if not (folder / name).exists()]
    yield from (Finding(_place(folder / name, root), State.ABSENT) for name in absent)
    if absent:
        return
    for path, member in file.members.items():
        checksum = f"md5:{member.md5}" if member.md5 else ""
        yield _file(folder / path, root, member.size, checksum)
    for pattern, count in file.counts.items():
        yield _counted(folder, pattern, count, root)
    if not file.members and not file.counts:
        yield from (
            Finding(_place(folder / name, root), State.OK, "only looked for, not compared")
            for name in file.top
        )


def glance(source: Source, root: Path) -> State:
    """Whether a set is there, without reading or counting files."""
    there = [_there(file, root) for file in source.files]
    if all(there):
        return State.OK
    return State.INCOMPLETE if any(there) or _begun(source, root) else State.ABSENT


def _there(file: File, root: Path) -> bool:
    path = file.wanted(root).path
    if file.top:
        return all((root / file.into / name).exists() for name in file.top)
    return path.exists() and file.size in (None, path.stat().st_size)


def _begun(source: Source, root: Path) -> bool:
    paths = [file.wanted(root).path for file in source.files]
    return any(path.exists() or path.with_name(f"{path.name}.part").exists() for path in paths)


def _file(path: Path, root: Path, size: int | None, checksum: str) -> Finding:
    place = _place(path, root)
    if not path.is_file():
        return Finding(place, State.ABSENT)
    here = path.stat().st_size
    if fault := foreign_file(path):
        return Finding(place, State.PAGE if "web page" in fault else State.OTHER, fault)
    if size is not None and here < size:
        return Finding(place, State.CUT, f"{here:,} of {size:,} bytes")
    if size is not None and here > size:
        return Finding(place, State.OTHER, f"{here:,} bytes, expected {size:,}")
    if not checksum:
        known = "its checksum is not known" if size is None else "its size is right"
        return Finding(place, State.OK, f"only looked at: {known}")
    return _compared(path, place, checksum)


def _compared(path: Path, place: str, checksum: str) -> Finding:
    kind, _, expected = checksum.partition(":")
    found = digest(path, kind)
    if found == expected:
        return Finding(place, State.OK, f"{kind} as published")
    return Finding(place, State.OTHER, f"{kind} {found}, expected {expected}")


def _counted(folder: Path, pattern: str, count: int, root: Path) -> Finding:
    found = sum(1 for _ in folder.glob(pattern))
    place = _place(folder / pattern, root)
    if found == count:
        return Finding(place, State.OK, f"{count:,} files")
    return Finding(place, State.INCOMPLETE, f"{found:,} files, expected {count:,}")


def _place(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
