"""An image set into the data root: what is missing is downloaded, compared, unpacked.

What lies there already is looked at first: ok, absent, incomplete, cut short, a web page, not the
official file.

An unpacked folder is compared as far as the shipped list of image sets knows it: checksums of its
files where they are published, else how many files there are. The archive itself is not needed once
it is unpacked.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import digest, format_bytes, locked
from catchup_eval.core.http import RetryPolicy, Tell, download
from catchup_eval.core.readers import file_format_mismatch
from catchup_eval.datasets.download.sources import File, Source
from catchup_eval.datasets.download.unpack import unpack


class State(StrEnum):
    """How a file or folder is."""

    OK = "ok"
    ABSENT = "absent"
    INCOMPLETE = "incomplete"
    CUT = "cut short"
    PAGE = "a web page"
    OTHER = "not the official file"


class FileCheck(NamedTuple):
    """What is known of one file or folder.

    Attributes:
        place: its path below the data root.
        note: what was compared, or what is wrong.
    """

    place: str
    state: State
    note: str = ""


NOTHING = FileCheck("", State.ABSENT)


class FetchDisplay(NamedTuple):
    """How progress is shown.

    Attributes:
        say: takes a line.
        bar: opens a bar with a label; gives the function that takes the bytes that are here.
    """

    say: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[Tell]]


def fetch(
    source: Source,
    root: Path,
    *,
    show: FetchDisplay,
    keep: bool = False,
    patience: RetryPolicy = RetryPolicy(),  # noqa: B008
) -> None:
    """Bring everything of an image set into the data root; what is there and right stays.

    Args:
        root: the data root.
        keep: archives stay beside what they were unpacked to. One that was there before always
            stays.

    Raises:
        BadFile: a file could not be got, or is not what it should be; says what to put where.
        UserError: the disk is full.
    """
    for file in source.files:
        path = file.request(root).path
        if not _is_here(*_examined(file, root)):
            with locked(path.with_name(f"{path.name}.fetch")):  # another process may be at it
                findings, archive = _examined(file, root)
                if not _is_here(findings, archive):
                    _bring(file, source, root, findings, archive, show, keep, patience)
                    continue
        show.say(f"{file.name}: is here already")


def _examined(file: File, root: Path) -> tuple[dict[Path, FileCheck], FileCheck | None]:
    """What is here of that which is needed, and the archive that it is unpacked from, if any."""
    findings = {root / each.place: each for each in examine_file(file, root)}
    archive = findings.pop(file.request(root).path, None) if file.top else None
    return findings, archive


def _is_here(findings: Mapping[Path, FileCheck], _archive: FileCheck | None) -> bool:
    return all(each.state is State.OK for each in findings.values())


def _bring(
    file: File,
    source: Source,
    root: Path,
    findings: Mapping[Path, FileCheck],
    archive: FileCheck | None,
    show: FetchDisplay,
    keep: bool,
    patience: RetryPolicy,
) -> None:
    path = file.request(root).path
    _report_conflicts({**findings, path: archive or findings.get(path, NOTHING)}, show)
    # By hand, or by an earlier call that was stopped.
    brought = archive is not None and archive.state is State.OK
    if not brought:
        _download(file, source, root, show, patience)
    if file.top:
        _unpack(file, source, root, show)
    if file.top and not brought and not keep:
        path.unlink()


def _report_conflicts(findings: Mapping[Path, FileCheck], show: FetchDisplay) -> None:
    """What is there and cannot stay."""
    for path, each in findings.items():
        if each.state not in (State.OK, State.ABSENT):
            show.say(f"{path}: {each.state}; {each.note}")


def _download(
    file: File, source: Source, root: Path, show: FetchDisplay, patience: RetryPolicy
) -> None:
    wanted = file.request(root)
    if not file.addresses:
        raise BadFile(f"{wanted.path} is needed and has no address: {source.by_hand}")
    size = f", {format_bytes(file.size)}" if file.size else ""
    with show.bar(f"{file.name}{size}") as tell:
        download(wanted, tell=tell, patience=patience)


def _unpack(file: File, source: Source, root: Path, show: FetchDisplay) -> None:
    """Into place once its layout is found to be right, too."""
    archive = file.request(root).path
    if not file.unpack:
        raise BadFile(f"{archive} needs more than unpacking: {source.by_hand}")
    show.say(f"unpacking {archive.name}")
    with unpack(archive, root / file.into, file.top) as folder:
        for each in layout(file, folder, folder):
            if each.state is not State.OK:
                told = f"{each.place} in it: {each.state} {each.note}".rstrip()
                raise BadFile(f"{archive} does not hold what it should; {told}")


def examine(source: Source, root: Path) -> list[FileCheck]:
    """Compare everything of an image set; reads whole files."""
    return [finding for file in source.files for finding in examine_file(file, root)]


def examine_file(file: File, root: Path) -> list[FileCheck]:
    """The same of one file and what it was unpacked to."""
    archive = file.request(root).path
    if not file.top:
        return [_file(archive, root, file.size, file.checksum)]
    findings = list(layout(file, root / file.into, root))
    if archive.exists():
        findings.append(_file(archive, root, file.size, file.checksum))
    return findings


def layout(file: File, folder: Path, root: Path) -> Iterator[FileCheck]:
    """Compare what an archive becomes, in whatever folder it was unpacked to."""
    absent = [name for name in file.top if not (folder / name).exists()]
    yield from (FileCheck(_place(folder / name, root), State.ABSENT) for name in absent)
    if absent:
        return
    for path, member in file.members.items():
        checksum = f"md5:{member.md5}" if member.md5 else ""
        yield _file(folder / path, root, member.size, checksum)
    for pattern, count in file.counts.items():
        yield _count_files(folder, pattern, count, root)
    if not file.members and not file.counts:
        yield from (
            FileCheck(_place(folder / name, root), State.OK, "only looked for, not compared")
            for name in file.top
        )


def glance(source: Source, root: Path) -> State:
    """Whether a set is there, without reading or counting files."""
    there = [_exists(file, root) for file in source.files]
    if all(there):
        return State.OK
    return State.INCOMPLETE if any(there) or _is_partial(source, root) else State.ABSENT


def _exists(file: File, root: Path) -> bool:
    path = file.request(root).path
    if file.top:
        return all((root / file.into / name).exists() for name in file.top)
    return path.exists() and file.size in (None, path.stat().st_size)


def _is_partial(source: Source, root: Path) -> bool:
    paths = [file.request(root).path for file in source.files]
    return any(path.exists() or path.with_name(f"{path.name}.part").exists() for path in paths)


def _file(path: Path, root: Path, size: int | None, checksum: str) -> FileCheck:
    place = _place(path, root)
    if not path.is_file():
        return FileCheck(place, State.ABSENT)
    here = path.stat().st_size
    if fault := file_format_mismatch(path):
        return FileCheck(place, State.PAGE if "web page" in fault else State.OTHER, fault)
    if size is not None and here < size:
        return FileCheck(place, State.CUT, f"{here:,} of {size:,} bytes")
    if size is not None and here > size:
        return FileCheck(place, State.OTHER, f"{here:,} bytes, expected {size:,}")
    if not checksum:
        known = "its checksum is not known" if size is None else "its size is right"
        return FileCheck(place, State.OK, f"only looked at: {known}")
    return _compare_checksum(path, place, checksum)


def _compare_checksum(path: Path, place: str, checksum: str) -> FileCheck:
    kind, _, expected = checksum.partition(":")
    found = digest(path, kind)
    if found == expected:
        return FileCheck(place, State.OK, f"{kind} as published")
    return FileCheck(place, State.OTHER, f"{kind} {found}, expected {expected}")


def _count_files(folder: Path, pattern: str, count: int, root: Path) -> FileCheck:
    found = sum(1 for _ in folder.glob(pattern))
    place = _place(folder / pattern, root)
    if found == count:
        return FileCheck(place, State.OK, f"{count:,} files")
    return FileCheck(place, State.INCOMPLETE, f"{found:,} files, expected {count:,}")


def _place(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
