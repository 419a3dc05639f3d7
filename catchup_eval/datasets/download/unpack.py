"""A tar or zip archive, into place only when it is whole and harmless.

Refused: a name that is absolute or leaves the folder, a link (no official archive here has one), a
device, more than `MOST_TIMES` the archive's size plus `MOST_EXTRA` bytes (images do not shrink that
well), more than `MOST_MEMBERS` members. Bytes are counted as they are written, not as declared.
Modes, owners and times of the members are not taken over.
"""

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from catchup_eval.core.errors import BadFile, UserError

MOST_TIMES = 20
MOST_EXTRA = 50_000_000
MOST_MEMBERS = 2_000_000  # ImageNet-C's largest archive has a million
BLOCK = 1 << 20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


class ArchiveEntry(NamedTuple):
    """One entry of an archive: a folder where `content` is None."""

    name: str
    content: IO[bytes] | None


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
        _check_top_level(archive, folder, top)
        yield folder
        for name in top:
            _replace(folder / name, into / name)
    except OSError as error:
        raise UserError(f"cannot unpack {archive}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    most = MOST_TIMES * archive.stat().st_size + MOST_EXTRA
    try:
        for number, member in enumerate(_members(archive), 1):
            if number > MOST_MEMBERS:
                raise BadFile(f"{archive} is refused: it has more than {MOST_MEMBERS:,} members")
            most -= _write(archive, member, folder, most)
    except DAMAGED as error:
        told = str(error).splitlines()[0]
        raise BadFile(f"{archive} is cut short or damaged: {told.rstrip(':')}") from error
    except RuntimeError as error:  # zipfile's, of an archive with a password
        raise BadFile(f"{archive} cannot be unpacked: {error}") from error


def _members(archive: Path) -> Iterator[ArchiveEntry]:
    return _iter_zip(archive) if zipfile.is_zipfile(archive) else _iter_tar(archive)


def _iter_zip(archive: Path) -> Iterator[ArchiveEntry]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            kind = entry.external_attr >> 28  # of Unix: 4 folder, 8 file, 10 link; 0 not told
            if kind not in (0, 4, 8):
                raise _unsafe_archive_error(archive, entry.filename, "is a link or a device")
            if entry.is_dir():
                yield ArchiveEntry(entry.filename, None)
            else:
                with opened.open(entry) as content:
                    yield ArchiveEntry(entry.filename, content)


def _iter_tar(archive: Path) -> Iterator[ArchiveEntry]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if not entry.isdir() and not entry.isreg():
                raise _unsafe_archive_error(archive, entry.name, "is a link or a device")
            yield ArchiveEntry(entry.name, opened.extractfile(entry))
            opened.members = []  # type: ignore[attr-defined]  # a million would fill memory


def _write(archive: Path, member: ArchiveEntry, folder: Path, most: int) -> int:
    """Write one member; gives its size."""
    path = folder / _safe_member_path(archive, member.name)
    if member.content is None:
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("wb") as file:
        while block := member.content.read(BLOCK):
            size += len(block)
            if size > most:
                times = f"{MOST_TIMES} times its size"
                raise BadFile(f"{archive} is refused: it would unpack to more than {times}")
            file.write(block)
    return size


def _safe_member_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    absolute = path.is_absolute() or PureWindowsPath(name).anchor
    if absolute or ".." in path.parts or "\\" in name or "\0" in name:
        raise _unsafe_archive_error(archive, name, "leaves the folder")
    return path


def _unsafe_archive_error(archive: Path, name: str, fault: str) -> BadFile:
    return BadFile(f"{archive} is refused: its member {name!r} {fault}")


def _check_top_level(archive: Path, folder: Path, top: Sequence[str]) -> None:
    found = sorted(path.name for path in folder.iterdir())
    absent = [name for name in top if name not in found]
    if absent:
        there = ", ".join(found[:5]) + ", ..." * (len(found) > 5) or "nothing"
        raise BadFile(f"expected {', '.join(absent)} at the root of {archive}, found {there}")


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
