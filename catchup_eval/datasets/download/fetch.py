"""Fetch a dataset into the data root: missing files are downloaded, compared, unpacked.

What lies there already is examined first. An unpacked folder is compared as far as the shipped list
allows: checksums of its files where they are published, else how many files there are. The
archive itself is not needed once it is unpacked.

A tar or zip archive takes its place only when it is whole and harmless. Refused: a name that is
absolute or leaves the folder, a link (no official archive here has one), a device, more than
`MOST_TIMES` the archive's size plus `MOST_EXTRA` bytes (images do not shrink that well), more than
`MOST_MEMBERS` members. Bytes are counted as they are written, not as declared. Modes, owners and
times of the members are not taken over.
"""

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import digest, format_bytes, is_locked, locked
from catchup_eval.core.http import DownloadProgress, RetryPolicy, download, was_downloaded
from catchup_eval.core.readers import TITLE_WITHIN, format_mismatch
from catchup_eval.datasets.download.sources import File, Source

MOST_TIMES = 20
MOST_EXTRA = 50_000_000
MOST_MEMBERS = 2_000_000  # ImageNet-C's largest archive has a million
BLOCK = 1 << 20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


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
        note: what was compared, or the fault.
    """

    place: str
    state: State
    note: str = ""


class FetchDisplay(NamedTuple):
    """Display of progress.

    Attributes:
        info: prints a line.
        bar: opens a bar with a label; gives the function that takes the bytes that are here.
    """

    info: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[DownloadProgress]]


def fetch(
    source: Source,
    root: Path,
    *,
    show: FetchDisplay,
    keep: bool = False,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008
) -> None:
    """Bring everything of a dataset into the data root; files that are there and valid stay.

    Args:
        root: the data root.
        keep: archives stay beside what they were unpacked to. One that was there before always
            stays.

    Raises:
        BadFile: a file could not be got, or differs from the expected one; says what to put where.
        UserError: the disk is full.
    """
    for file in source.files:
        path = file.request(root).path
        if not _all_ok(_check_needed(file, root)):
            lock = path.with_name(f"{path.name}.fetch")
            if is_locked(lock):
                show.info(f"{file.name}: another process is getting it; waiting for its end")
            with locked(lock):
                checks = _check_needed(file, root)
                if not _all_ok(checks):
                    _bring(file, source, root, checks, show, keep, retry)
                    _clear(path, file, keep)
                    continue
        _clear(path, file, keep)
        show.info(f"{file.name}: is already here")


def _clear(path: Path, file: File, keep: bool) -> None:
    """Remove an archive that an earlier call got and was killed before it could remove it."""
    if file.top and was_downloaded(path) and not keep:
        path.unlink()


def _all_ok(checks: Sequence[FileCheck]) -> bool:
    return all(each.state is State.OK for each in checks)


def _bring(
    file: File,
    source: Source,
    root: Path,
    checks: Sequence[FileCheck],
    show: FetchDisplay,
    keep: bool,
    retry: RetryPolicy,
) -> None:
    request = file.request(root)
    archive = _check_archive(file, root)
    for each in (*checks, *archive):
        if each.state not in (State.OK, State.ABSENT):  # it cannot stay
            show.info(f"{root / each.place}: {each.state}; {each.note}")
    # By hand, or by an earlier call that was stopped.
    brought = bool(archive) and _all_ok(archive)
    if not brought and not file.addresses:
        raise BadFile(f"{request.path} is needed and has no address: {source.by_hand}")
    if not brought:
        size = f", {format_bytes(file.size)}" if file.size else ""
        with show.bar(f"{file.name}{size}") as progress:
            download(request, progress=progress, retry=retry)
    if file.top:
        _unpack(file, source, root, show)
        if not brought and not keep:
            request.path.unlink()


def _unpack(file: File, source: Source, root: Path, show: FetchDisplay) -> None:
    """Put into place once its layout is as expected, too."""
    archive = file.request(root).path
    if not file.unpack:
        raise BadFile(f"{archive} needs more than unpacking: {source.by_hand}")
    show.info(f"unpacking {archive.name}")
    with unpack(archive, root / file.into, file.top) as folder:
        for each in _check_layout(file, folder, folder):
            if each.state is not State.OK:
                fault = f"{each.place} in it: {each.state} {each.note}".rstrip()
                raise BadFile(f"{archive} does not hold what it should; {fault}")


def examine(source: Source, root: Path) -> list[FileCheck]:
    """Compare everything of a dataset; reads whole files."""
    return [
        check
        for file in source.files
        for check in (*_check_needed(file, root), *_check_archive(file, root))
    ]


def _check_needed(file: File, root: Path) -> list[FileCheck]:
    """A file, or what it is unpacked to."""
    if file.top:
        return list(_check_layout(file, root / file.into, root))
    return [_check_file(file.request(root).path, root, file.size, file.checksum)]


def _check_archive(file: File, root: Path) -> list[FileCheck]:
    """What is unpacked, where it is still there."""
    path = file.request(root).path
    there = file.top and path.exists()
    return [_check_file(path, root, file.size, file.checksum)] if there else []


def _check_layout(file: File, folder: Path, root: Path) -> Iterator[FileCheck]:
    """Compare what an archive becomes, in whatever folder it was unpacked to."""
    absent = [name for name in file.top if not (folder / name).exists()]
    for name in absent:
        yield FileCheck(_place(folder / name, root), State.ABSENT)
    if absent:
        return
    for path, member in file.members.items():
        checksum = f"md5:{member.md5}" if member.md5 else ""
        yield _check_file(folder / path, root, member.size, checksum)
    for pattern, count in file.counts.items():
        found = sum(1 for _ in folder.glob(pattern))
        complete = (State.OK, f"{count:,} files")
        incomplete = (State.INCOMPLETE, f"{found:,} files, expected {count:,}")
        yield FileCheck(
            _place(folder / pattern, root), *(complete if found == count else incomplete)
        )
    if not file.members and not file.counts:
        for name in file.top:
            place = _place(folder / name, root)
            yield FileCheck(place, State.OK, "only looked for, not compared")


def _check_file(path: Path, root: Path, size: int | None, checksum: str) -> FileCheck:
    place = _place(path, root)
    if not path.is_file():
        return FileCheck(place, State.ABSENT)
    here = path.stat().st_size
    with path.open("rb") as content:
        fault = format_mismatch(path.name, content.read(TITLE_WITHIN))
    if fault:
        return FileCheck(place, State.PAGE if "web page" in fault else State.OTHER, fault)
    if size is not None and here < size:
        return FileCheck(place, State.CUT, f"{here:,} of {size:,} bytes")
    if size is not None and here > size:
        return FileCheck(place, State.OTHER, f"{here:,} bytes, expected {size:,}")
    if not checksum:
        known = "its checksum is not known" if size is None else "its size is as expected"
        return FileCheck(place, State.OK, f"only looked at: {known}")
    kind, _, expected = checksum.partition(":")
    found = digest(path, kind)
    if found != expected:
        return FileCheck(place, State.OTHER, f"{kind} {found}, expected {expected}")
    return FileCheck(place, State.OK, f"{kind} as published")


def _place(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def glance(source: Source, root: Path) -> State:
    """Whether a dataset is there, without reading or counting files."""
    there = [_exists(file, root) for file in source.files]
    if all(there):
        return State.OK
    paths = [file.request(root).path for file in source.files]
    begun = any(path.exists() or path.with_name(f"{path.name}.part").exists() for path in paths)
    return State.INCOMPLETE if any(there) or begun else State.ABSENT


def _exists(file: File, root: Path) -> bool:
    path = file.request(root).path
    if file.top:
        return all((root / file.into / name).exists() for name in file.top)
    return path.exists() and file.size in (None, path.stat().st_size)


@contextmanager
def unpack(archive: Path, into: Path, top: Sequence[str]) -> Iterator[Path]:
    """A temporary folder with what the archive holds; at a good end it takes its place in `into`.

    What lay there before is replaced, and is still there if anything fails. What else lies at the
    archive's root is left out.

    Args:
        into: the folder where the archive's first level goes.
        top: the files and folders of that level that are expected.

    Raises:
        BadFile: cut short, damaged, unsafe, or without what was expected at its root.
        UserError: the disk is full.
    """
    folder = into / f".{archive.name}.unpacking"
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    try:
        folder.mkdir(parents=True)
        _extract(archive, folder)
        found = sorted(path.name for path in folder.iterdir())
        if absent := [name for name in top if name not in found]:
            there = ", ".join(found[:5]) + ", ..." * (len(found) > 5) or "nothing"
            raise BadFile(f"expected {', '.join(absent)} at the root of {archive}, found {there}")
        yield folder
        for name in top:
            _replace(folder / name, into / name)
    except OSError as error:
        raise UserError(f"cannot unpack {archive}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _UnsafeArchive(Exception):
    """Why an archive is refused."""


def _extract(archive: Path, folder: Path) -> None:
    left = MOST_TIMES * archive.stat().st_size + MOST_EXTRA
    members = _iter_zip if zipfile.is_zipfile(archive) else _iter_tar
    try:
        for number, (name, content) in enumerate(members(archive), 1):
            if number > MOST_MEMBERS:
                raise _UnsafeArchive(f"it has more than {MOST_MEMBERS:,} members")
            path = folder / _safe_path(name)
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                left -= _write(path, content, left)
    except _UnsafeArchive as error:
        raise BadFile(f"{archive} is refused: {error}") from error
    except DAMAGED as error:
        fault = str(error).splitlines()[0].rstrip(":")
        raise BadFile(f"{archive} is cut short or damaged: {fault}") from error
    except RuntimeError as error:  # zipfile's, of an archive with a password
        raise BadFile(f"{archive} cannot be unpacked: {error}") from error


def _iter_zip(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Each member's name and content; None for a folder."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            kind = entry.external_attr >> 28  # of Unix: 4 folder, 8 file, 10 link; 0 not stated
            if kind not in (0, 4, 8):
                raise _UnsafeArchive(f"its member {entry.filename!r} is a link or a device")
            if entry.is_dir():
                yield entry.filename, None
            else:
                with opened.open(entry) as content:
                    yield entry.filename, content


def _iter_tar(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if not entry.isdir() and not entry.isreg():
                raise _UnsafeArchive(f"its member {entry.name!r} is a link or a device")
            yield entry.name, opened.extractfile(entry)
            opened.members = []  # type: ignore[attr-defined]  # a million would fill memory


def _safe_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    absolute = path.is_absolute() or PureWindowsPath(name).anchor
    if absolute or ".." in path.parts or "\\" in name or "\0" in name:
        raise _UnsafeArchive(f"its member {name!r} leaves the folder")
    return path


def _write(path: Path, content: IO[bytes], most: int) -> int:
    """Write one member; gives its size."""
    size = 0
    with path.open("wb") as file:
        while block := content.read(BLOCK):
            size += len(block)
            if size > most:
                raise _UnsafeArchive(f"it would unpack to more than {MOST_TIMES} times its size")
            file.write(block)
    return size


def _replace(new: Path, place: Path) -> None:
    """Put `new` in its place; what was there comes back if that fails, also after a kill."""
    old = place.with_name(f".{place.name}.old")
    if old.exists() and not place.exists():
        os.replace(old, place)
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(new, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)
