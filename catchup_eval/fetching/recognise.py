"""What bytes are: a web page in place of data, another format than the name says, a checksum."""

import hashlib
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

HEAD = 1024  # bytes that are enough to recognise a file by
PAGE = re.compile(
    rb"(?i)(<\?xml[^>]*>|<!--.*?-->|\s)*<(!doctype\s+html|html|head|body|script)\b", re.S
)
TITLE = re.compile(rb"(?is)<title[^>]*>(.*?)</title")
TITLE_WITHIN = 65536
# What files of a format begin with, by the end of their name; a .tar may begin with anything.
BEGINNINGS = {
    ".gz": b"\x1f\x8b",
    ".tgz": b"\x1f\x8b",
    ".zip": b"PK",
    ".npz": b"PK",
    ".npy": b"\x93NUMPY",
    ".png": b"\x89PNG",
    ".jpg": b"\xff\xd8\xff",
    ".mat": b"MATLAB",
}
BLOCK = 1 << 20


def is_page(head: bytes) -> bool:
    """Whether a file that begins so is a web page.

    Example:
        >>> is_page(b"\\n<!DOCTYPE html><html>"), is_page(b"\\x1f\\x8b\\x08")
        (True, False)
    """
    return PAGE.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def page(start: bytes) -> str:
    """What to say of a web page that begins so.

    Example:
        >>> page(b"<html><title>Sign in &amp; accept</title>")
        "it is a web page: title 'Sign in & accept'"
    """
    found = TITLE.search(start)
    if found is None:
        return "it is a web page"
    title = " ".join(unescape(found[1].decode("utf-8", "replace")).split())
    return f"it is a web page: title {title[:80]!r}"


def foreign(name: str, start: bytes) -> str:
    """Why a file of this name cannot begin so; empty where it can.

    Args:
        name: its end, such as ".npy", says what it should be.
        start: its first bytes; a page's title is found if it is among them.
    """
    if is_page(start[:HEAD]):
        return page(start)
    suffix = Path(name).suffix
    fits = start.startswith(BEGINNINGS.get(suffix, b""))
    return "" if fits else f"it does not begin as a {suffix} file does"


def foreign_file(path: Path) -> str:
    """The same of a file on disk."""
    with path.open("rb") as file:
        return foreign(path.name, file.read(TITLE_WITHIN))


def digest(path: Path, kind: str) -> str:
    """The checksum of a file in hexadecimal digits.

    Args:
        kind: "md5" or "sha256".
    """
    running = hashlib.new(kind, usedforsecurity=False)
    for block in blocks(path):
        running.update(block)
    return running.hexdigest()


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a mebibyte at a time."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def amount(size: int) -> str:
    """A number of bytes for people.

    Example:
        >>> amount(170_498_071), amount(812)
        ('170.5 MB', '812 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
