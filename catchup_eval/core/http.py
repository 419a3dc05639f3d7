"""One file over HTTP: from the first mirror that has it, resumed after a cut, whole or not at all.

What has come of a file so far lies in `NAME.part`, and which file it is a part of in
`NAME.part.json`; :func:`catchup_eval.core.files.atomic_path` would throw both away at a cut.

A partial download is resumed only if the server can state that its file is still the same one (an
ETag or a time of last change), or where a checksum is compared in the end. The server is believed
only where its own statements agree: a response continues a partial file if it says so (206) and
describes the same file as before; anything else starts anew.
"""

import errno
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from catchup_eval.core.environment import __version__
from catchup_eval.core.errors import BadFile, CatchupError, UserError
from catchup_eval.core.files import (
    digest,
    format_bytes,
    lock_name,
    locked,
    temporary_name,
    write_text,
)
from catchup_eval.core.readers import HEAD, TITLE_WITHIN, format_mismatch, is_page

BLOCK = 1 << 16  # bytes that are read from the network at once
MAX_WAIT = 60.0  # seconds, whatever the server requests
TEMPORARY_STATUS = (408, 425, 429, 500, 502, 503, 504)
UNREACHABLE = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


@dataclass(frozen=True)
class DownloadRequest:
    """A file to get.

    Attributes:
        path: where it shall lie.
        addresses: mirrors in order; each gives the same file.
        size: its bytes; None if not known.
        checksum: "md5:..." or "sha256:..." of it; empty if not known.
    """

    path: Path
    addresses: Sequence[str]
    size: int | None = None
    checksum: str = ""


class RetryPolicy(NamedTuple):
    """How long a server is put up with.

    Attributes:
        tries: how often in a row without a single new byte.
        timeout: seconds without a byte after which a connection counts as stalled.
        pause: waits so many seconds; they double from try to try.
    """

    tries: int = 5
    timeout: float = 30.0
    pause: Callable[[float], None] = sleep


DownloadProgress = Callable[[int, int], None]  # (bytes so far, bytes in all; 0: not known)


class _Refused(CatchupError):
    """This address will not give the file; another one may."""


class _Broken(CatchupError):
    """Worth another try, after so many seconds if the server sent them."""

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class _Unreachable(_Broken):
    """The host cannot be reached at all: worth another try only if it could be before."""


def download(
    wanted: DownloadRequest,
    *,
    progress: DownloadProgress = lambda here, whole: None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008
) -> None:
    """Get a file; resume what an earlier call left of it.

    Where another process is getting it, wait, and take what came. Where the file system has no
    locks, each gets a file of its own, and begins anew after a cut.

    Args:
        progress: is called with the bytes so far and the bytes in all (0 if not known).

    Raises:
        BadFile: no mirror gave the expected file; the message says what each gave.
        UserError: the disk is full (the partial file stays), or the folder cannot be written.
    """
    before = _state(wanted.path)
    with locked(wanted.path) as alone:
        if _state(wanted.path) in (None, before):
            part = _Partial(wanted, alone=alone is not None)
            try:
                _try_mirrors(part, progress, retry)
            finally:
                if alone is None:
                    part.discard()


def _state(path: Path) -> tuple[int, ...] | None:
    """What identifies this version of a file; None if there is nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class _Remote:
    """The file that a partial download belongs to, as its server described it."""

    address: str  # where it was requested, before redirects
    etag: str = ""  # this and the next are headers; empty where there was none
    modified: str = ""
    length: int | None = None  # bytes of the whole file, if the server sent it

    @property
    def validator(self) -> str:
        """A value for `If-Range`; a weak ETag is none."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified


def was_downloaded(path: Path) -> bool:
    """Whether a download put this file into place and was killed then; what it left is removed."""
    note = path.with_name(f"{path.name}.part.json")
    if not (note.is_file() or lock_name(path).is_file()):
        return False
    with locked(path):
        found = path.is_file() and note.is_file()
        if found:
            note.unlink()
    return found


class _Partial:
    """What has come of a file, under a random name unless no other process adds to it."""

    def __init__(self, wanted: DownloadRequest, *, alone: bool):
        self.wanted = wanted
        path = wanted.path if alone else temporary_name(wanted.path)
        self.file = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def origin(self) -> _Remote:
        """What the bytes belong to; of no address where that is not known."""
        try:
            return _Remote(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Remote("")

    def resumable_bytes(self, address: str) -> int:
        """How many bytes of what lies at this address need not be requested again."""
        origin = self.origin
        safe = origin.validator or self.wanted.checksum
        return self.size if safe and origin.address == address else 0

    def begin(self, origin: _Remote) -> None:
        """Delete what is here; what comes now belongs to `origin`."""
        self.discard()
        write_text(self._note, json.dumps(asdict(origin)))

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)  # first: a part never belongs to another's note
        self._note.unlink(missing_ok=True)

    def append(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            with self.file.open("ab", buffering=0) as file:
                while rest:
                    rest = rest[file.write(rest) :]
        except OSError as error:
            raise UserError(
                f"cannot write {self.file}: {error.strerror or error}; the "
                f"{format_bytes(self.size)} that came are saved; make room, and the same command "
                "goes on"
            ) from error

    def actual_checksum(self) -> str:
        """The checksum of what is here, of the kind that is expected."""
        kind = self.wanted.checksum.partition(":")[0]
        return f"{kind}:{digest(self.file, kind)}"

    def matches(self) -> bool:
        """Whether the checksum is known and that of what is here."""
        return self.wanted.checksum != "" and self.actual_checksum() == self.wanted.checksum


def _try_mirrors(part: _Partial, progress: DownloadProgress, retry: RetryPolicy) -> None:
    """The whole file from one of its mirrors, beginning with the one that has begun."""
    wanted, faults, begun = part.wanted, [], part.origin.address
    for address in sorted(wanted.addresses, key=lambda address: address != begun):
        try:
            _download_from(address, part, progress, retry)
        except _Refused as fault:
            faults.append(f"{address}: {fault}")
        else:
            os.replace(part.file, wanted.path)
            part.discard()
            return
    saved = ""
    if part.size:
        came = format_bytes(part.size)
        saved = f"; the {came} that came are saved, and the same command goes on"
    else:
        part.discard()
    raise BadFile(
        f"cannot get {wanted.path.name} from {'; '.join(faults)}{saved}; "
        f"or get it otherwise, put it at {wanted.path}, and call the same command again"
    )


def _download_from(
    address: str, part: _Partial, progress: DownloadProgress, retry: RetryPolicy
) -> None:
    """From one mirror; tries are counted anew whenever more bytes arrived."""
    tries, most = 0, part.size
    while True:
        resumed = part.resumable_bytes(address) > 0
        # An earlier call may have had everything and been stopped before the last step.
        if resumed and part.size == part.origin.length and part.matches():
            return
        try:
            _transfer(part, address, progress, retry.timeout)
            _verify_checksum(part, resumed)
            return
        except _Broken as fault:
            tries = tries + 1 if part.size <= most else 1
            most = max(most, part.size)
            if isinstance(fault, _Unreachable) and not part.size:
                raise _Refused(str(fault)) from fault
            if tries >= retry.tries:
                raise _Refused(f"{fault} ({tries} tries)") from fault
            retry.pause(fault.wait or 2.0 ** (tries - 1))


def _verify_checksum(part: _Partial, resumed: bool) -> None:
    """Where it is known; two pieces that do not make the file are worth another try in one."""
    expected = part.wanted.checksum
    if not expected or (found := part.actual_checksum()) == expected:
        return
    part.discard()
    if resumed:
        raise _Broken("the pieces do not make the expected file")
    raise _Refused(f"it is not the expected file: {found}, expected {expected}")


def _transfer(part: _Partial, address: str, progress: DownloadProgress, timeout: float) -> None:
    """Request what is missing and add it, until the file is whole by the server's account."""
    request = Request(address, headers={"User-Agent": f"catchup-eval/{__version__}"})
    if here := part.resumable_bytes(address):
        request.add_header("Range", f"bytes={here}-")
        if part.origin.validator:
            request.add_header("If-Range", part.origin.validator)
    try:
        with urlopen(request, timeout=timeout) as response:
            _receive(response, part, address, progress)
    except HTTPError as error:
        _handle_http_error(part, error)
    except (OSError, HTTPException) as error:
        raise _transfer_fault(error, address, timeout) from error


def _receive(
    response: HTTPResponse, part: _Partial, address: str, progress: DownloadProgress
) -> None:
    size, total = part.wanted.size, _accept_range(part, address, response)
    if size is not None and total not in (None, size):
        part.discard()
        raise _Refused(f"the server gives {total:,} bytes, expected {size:,}")
    total = size if total is None else total
    for block in _blocks(response, part):
        part.append(block)
        progress(part.size, total or 0)
        if total is not None and part.size > total:
            part.discard()
            raise _Refused(f"more than the expected {total:,} bytes came")
    if total is not None and part.size < total and not part.matches():
        raise _Broken(f"the connection broke after {part.size:,} of {total:,} bytes")


def _accept_range(part: _Partial, address: str, response: HTTPResponse) -> int | None:
    """Begin anew unless the response continues what is here; gives the length of the whole."""
    headers = response.headers
    start, whole = 0, headers.get("Content-Length", "")
    if response.status == 206:
        found = RANGE.fullmatch(headers.get("Content-Range", ""))
        if found is None or found["start"] is None:
            raise _Refused(f"expected a Content-Range, got {headers.get('Content-Range')!r}")
        start, whole = int(found["start"]), found["total"]
    length = int(whole) if whole.isdecimal() else None
    origin = _Remote(address, headers.get("ETag", ""), headers.get("Last-Modified", ""), length)
    if start == 0:
        part.begin(origin)
    elif start != part.size or origin != part.origin:
        part.discard()
        raise _Broken("the file has changed since its first part came")
    return length


def _blocks(response: HTTPResponse, part: _Partial) -> Iterator[bytes]:
    """What comes, once its beginning is found to be that of such a file."""
    if part.size == 0:
        start = response.read(HEAD)
        if is_page(start):
            start += response.read(TITLE_WITHIN)
        if start and (fault := format_mismatch(part.wanted.path.name, start)):
            raise _Refused(fault)
        yield start
    while block := response.read1(BLOCK):
        yield block


def _handle_http_error(part: _Partial, error: HTTPError) -> None:
    """Raise what a status means; 416 is good news if no more was announced than is here."""
    error.close()
    message = f"the server returns {error.code} {' '.join(str(error.reason).split())}"
    if error.code in TEMPORARY_STATUS:
        seconds = error.headers.get("Retry-After", "")
        raise _Broken(message, min(float(seconds), MAX_WAIT) if seconds.isdecimal() else 0.0)
    if error.code != 416:
        raise _Refused(message)
    found = RANGE.fullmatch(error.headers.get("Content-Range", ""))
    has, announced = found["total"] if found else "fewer", part.origin.length
    if not part.size or has != str(part.size) or announced not in (None, part.size):
        part.discard()
        raise _Broken(f"the server announced {announced} bytes and has {has}")


def _transfer_fault(error: Exception, address: str, timeout: float) -> CatchupError:
    reason: Any = error.reason if isinstance(error, URLError) else error
    host = urlsplit(address).hostname
    if isinstance(reason, TimeoutError):
        return _Broken(f"nothing came for {timeout:g} s")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _Refused(f"the certificate of {host} is not valid: {reason.verify_message}")
    if isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in UNREACHABLE:
        return _Unreachable(f"{host} cannot be reached (no network?)")
    return _Broken(f"the connection broke: {reason or type(reason).__name__}")
