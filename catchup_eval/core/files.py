"""Files that are whole or absent, also where several processes write them.

Everything is written under a temporary name first, `.STEM.KERNEL-RANDOM.SUFFIX`, which is random
and created exclusively: process numbers repeat, since every container has a process 1. While it is
written it is locked (`flock`, which the system releases when its holder dies, however it dies).

What a killed process left behind is removed where nobody can be writing it: its lock is free, and
it was made under this very start of this system, whose locks are all seen here, or was not touched
for a day. Where there are no locks (Windows, some network file systems) nothing is removed.
"""

import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from time import sleep, time
from typing import BinaryIO

from catchup_eval.core.errors import BadFile, UserError

if sys.platform != "win32":
    import fcntl

DAY = 86_400.0  # seconds
POLL = 0.1  # seconds between two looks at a lock that another process holds
NO_KERNEL = "0" * 8
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
TEMPORARY = re.compile(r"\..*\.(?P<kernel>[0-9a-f]{8})-[0-9a-f]{16}(\.[^.]*)?")
LOCK = re.compile(r"\.(?P<name>.+)\.lock")  # an empty file, as :func:`locked` makes them


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    The temporary name keeps the suffix, which some writers go by.

    Raises:
        UserError: the disk is full, or the folder cannot be written; nothing is left behind.
    """
    descriptor, temporary = -1, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers_once(path.parent.absolute())
        descriptor, temporary = _create(path)
        yield temporary
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        if descriptor >= 0:
            os.close(descriptor)  # last, since it releases the lock


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def temporary_name(path: Path) -> Path:
    """A random name beside `path` that no other process can have."""
    return path.with_name(f".{path.stem}.{_kernel()}-{secrets.token_hex(8)}{path.suffix}")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and locks in `folder` that nobody can be using (see above)."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            found, lock = TEMPORARY.fullmatch(entry.name), LOCK.fullmatch(entry.name)
            with suppress(OSError, UserError):
                if not entry.is_file(follow_symlinks=False):
                    continue
                if found:
                    _remove_if_left(Path(entry.path), found["kernel"])
                elif lock and not entry.stat().st_size:
                    with locked(folder / lock["name"], wait=False):
                        pass  # it goes with its last holder


_remove_leftovers_once = cache(remove_leftovers)  # what was left was there when this process began


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool | None]:
    """Hold the one lock that goes with `path` among all processes; a killed holder releases it.

    The lock is that of a file `.NAME.lock` beside `path`, which is gone when nobody holds it.

    Args:
        wait: until another process releases it.

    Yields:
        whether it is held: False only where `wait` is false and another process holds it, and
        None where the file system has no locks, so that what is done must bear company.

    Raises:
        UserError: the folder cannot be written.
    """
    name = lock_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(name)
        while lock is None and wait:
            sleep(POLL)
            lock = _acquire(name)
    except OSError as error:
        raise UserError(f"cannot write in {path.parent}: {error.strerror or error}") from error
    if lock is None:
        yield False
        return
    descriptor, held = lock
    try:
        yield held
    finally:
        with suppress(OSError):  # while it is held: who waits for this file notices and looks again
            name.unlink()
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of :func:`locked` now; writes nothing."""
    with suppress(OSError):
        descriptor = os.open(lock_name(path), os.O_RDONLY | NO_LINK | NO_WAITING)
        try:
            return _lock(descriptor) is False
        finally:
            os.close(descriptor)
    return False


def lock_name(path: Path) -> Path:
    """The file of the lock of :func:`locked`."""
    return path.with_name(f".{path.name}.lock")


def _create(path: Path) -> tuple[int, Path]:
    """A new locked file under a temporary name, open, so that its lock lasts."""
    while True:
        temporary = temporary_name(path)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if sys.platform == "win32":  # where no file can be replaced that is open
            os.close(descriptor)
            return -1, temporary
        # Another process may have taken it for a leftover before it was locked.
        if _lock(descriptor) is not False and _is_named(descriptor, temporary):
            return descriptor, temporary
        os.close(descriptor)


def _acquire(name: Path) -> tuple[int, bool | None] | None:
    """The lock file, open, and the result of :func:`_lock`; None where another process holds it."""
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
    held = _lock(descriptor)
    if held is not False and _is_named(descriptor, name):
        return descriptor, held
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool | None:
    """Whether this process holds the lock of the file now; None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this name, and no other file has come into its place."""
    try:
        return sys.platform == "win32" or os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_if_left(path: Path, kernel: str) -> None:
    seen_here = kernel == _kernel() != NO_KERNEL
    if not seen_here and time() - path.stat().st_mtime < DAY:
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        if _lock(descriptor) and _is_named(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


@cache
def _kernel() -> str:
    """Of this start of the system, the same in all its containers; zeros if not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return NO_KERNEL
    return hashlib.sha256(boot).hexdigest()[:8]


def open_regular(path: Path, *, most: int | None = None, below: Path | None = None) -> BinaryIO:
    """A regular file, open to be read: no device, and no pipe that would have to be waited for.

    Args:
        most: bytes that it may have.
        below: a folder that it must lie in, links resolved.

    Raises:
        BadFile: it is absent, something else, larger, or elsewhere; says only what is wrong.
    """
    try:
        if below is not None and not path.resolve().is_relative_to(below.resolve()):
            raise BadFile("it is a link that leaves the folder")
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened, which may act on a device
            raise BadFile("it is no regular file")
        file = os.fdopen(os.open(path, os.O_RDONLY | NO_WAITING), "rb")
    except (OSError, RuntimeError) as error:  # of a loop of links
        raise BadFile(getattr(error, "strerror", None) or str(error)) from error
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise BadFile("it is no regular file")
    if most is not None and found.st_size > most:
        file.close()
        raise BadFile(f"it has {format_bytes(found.st_size)}, more than {format_bytes(most)}")
    return file


def read_regular(path: Path, *, most: int, below: Path | None = None) -> bytes:
    """All of a file, as :func:`open_regular` opens it."""
    with open_regular(path, most=most, below=below) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown, or belongs to a system that states no sizes
        raise BadFile(f"it has more than {format_bytes(most)}")
    return content


def digest(path: Path, kind: str) -> str:
    """The checksum of a file, "md5" or "sha256", in hexadecimal digits."""
    with path.open("rb") as file:
        new = partial(hashlib.new, kind, usedforsecurity=False)
        return hashlib.file_digest(file, new).hexdigest()


def format_bytes(size: int) -> str:
    """A number of bytes for people.

    Example:
        >>> format_bytes(170_498_071), format_bytes(812)
        ('170.5 MB', '812 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def safe_filename(name: str) -> str:
    """The name with nothing in it that a file name cannot have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def slugify(text: str) -> str:
    """Letters, digits and hyphens: for file names and anchors.

    Example:
        >>> slugify("FGSM 4/255 <b>")
        'fgsm-4-255-b'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
