"""One file over HTTP: from the first mirror that has it, resumed after a cut, whole or not at all.

What has come of a file so far lies in `NAME.part`, and which file it is a part of in
`NAME.part.json`. :func:`catchup_eval.core.files.atomic_path` is not used here: what it would throw
away at a cut is what one goes on from.

A part is gone on with only where the server can say that its file is still the same one (an ETag
or a time of last change), or where a checksum will tell in the end.

One request asks for the rest of a file, which is added to what is here. The server is believed only
where its own statements agree: what it gives goes on from what is here if it says so (206) and
describes the same file as before; anything else starts anew.
"""

import errno
import hashlib
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from catchup_eval.core.environment import __version__
from catchup_eval.core.errors import BadFile, CatchupError, UserError
from catchup_eval.core.files import blocks, format_bytes, locked, temporary_name, write_text
from catchup_eval.core.readers import HEAD, TITLE_WITHIN, format_mismatch, is_page


@dataclass(frozen=True)
class DownloadRequest:
    """A file to get.

    Attributes:
        path: where it shall lie.
        addresses: mirrors in order; each gives the same file.
        size: its bytes; None where nobody knows.
        checksum: "md5:..." or "sha256:..." of it; empty where nobody knows.
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


Tell = Callable[[int, int], None]  # (bytes that are here, bytes of the whole; 0: not known)


def download(
    wanted: DownloadRequest,
    *,
    tell: Tell = lambda here, whole: None,
    patience: RetryPolicy = RetryPolicy(),  # noqa: B008
) -> None:
    """Get a file; where something was left by an earlier call, go on from it.

    Where another process is getting it, wait, and take what came. Where the file system has no
    locks, each gets a file of its own, and begins anew after a cut.

    Args:
        tell: takes the progress: bytes that are here, bytes of the whole (0 where not known).

    Raises:
        BadFile: no mirror gave the file that was expected; the sentence says what each gave.
        UserError: the disk is full; what came is kept.
    """
    _make_folder(wanted.path.parent)
    before = _state(wanted.path)
    with locked(wanted.path) as alone:
        if _state(wanted.path) in (None, before):
            part = PartialDownload(wanted.path, wanted.checksum, alone=alone is not None)
            try:
                _download(part, wanted, tell, patience)
            finally:
                if alone is None:
                    part.discard()


def _state(path: Path) -> tuple[int, ...] | None:
    """What tells that a file is another one than before; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class RemoteFile:
    """The file that a part belongs to, as its server described it.

    Attributes:
        address: where it was asked for, before redirects.
        etag, modified: headers of the answer; empty where it had none.
        length: bytes of the whole file; None where the server did not say.
    """

    address: str
    etag: str = ""
    modified: str = ""
    length: int | None = None

    @property
    def validator(self) -> str:
        """What `If-Range` may be asked with; a weak ETag may not."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified


class PartialDownload:
    """A file on its way to `path`.

    Args:
        path: where it will lie once it is whole.
        checksum: "md5:..." or "sha256:..." of the whole file; empty where nobody knows it.
        alone: no other process adds to it, so that its name may be one to find again; else the
            name is random.
    """

    def __init__(self, path: Path, checksum: str = "", *, alone: bool = True):
        self.path = path
        self.checksum = checksum
        name = path.name if alone else temporary_name(path).name
        self.file = path.with_name(f"{name}.part")
        self._note = path.with_name(f"{name}.part.json")
        self._running = self._new_digest()
        self._hashed = 0

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def origin(self) -> RemoteFile:
        """What the bytes belong to; of no address where that is not known."""
        try:
            return RemoteFile(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return RemoteFile("")

    def resumable_bytes(self, address: str) -> int:
        """How many bytes of what lies at this address need not be asked for again."""
        origin = self.origin
        safe = bool(origin.validator or self.checksum)
        return self.size if origin.address == address and safe else 0

    def begin(self, origin: RemoteFile) -> None:
        """Forget what is here; what comes now belongs to `origin`."""
        self.discard()
        write_text(self._note, json.dumps(asdict(origin)))

    def discard(self) -> None:
        """Forget what is here."""
        self.file.unlink(missing_ok=True)  # first: a part never belongs to another's note
        self._note.unlink(missing_ok=True)
        self._running, self._hashed = self._new_digest(), 0

    @contextmanager
    def open_for_append(self) -> Iterator[Callable[[bytes], None]]:
        """Give the function that adds bytes at the end.

        Raises:
            UserError: the disk is full; what has come stays.
        """
        self._digest_existing()
        with self._open() as file:

            def add(block: bytes) -> None:
                rest = memoryview(block)
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError as error:
                    raise self._write_error(error) from error
                self._running.update(block)
                self._hashed += len(block)

            yield add

    def matches(self) -> bool:
        """Whether the checksum is known and that of the bytes that are here."""
        if not self.checksum:
            return False
        self._digest_existing()
        return self.actual_checksum() == self.checksum

    def actual_checksum(self) -> str:
        """The checksum of the bytes that are here, of the kind that is expected."""
        self._digest_existing()
        return f"{self._running.name}:{self._running.hexdigest()}"

    def finish(self) -> None:
        """Give the whole file its name."""
        os.replace(self.file, self.path)
        self.discard()

    def _new_digest(self) -> "hashlib._Hash":
        kind = self.checksum.partition(":")[0] or "sha256"
        return hashlib.new(kind, usedforsecurity=False)

    def _digest_existing(self) -> None:
        """Take into the running checksum what an earlier process has left."""
        if self._hashed == self.size:
            return
        self._running = self._new_digest()
        for block in blocks(self.file):
            self._running.update(block)
        self._hashed = self.size

    def _open(self) -> FileIO:
        try:
            return self.file.open("ab", buffering=0)
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> UserError:
        reason = error.strerror or error
        kept = f"the {format_bytes(self.size)} that came are kept"
        return UserError(
            f"cannot write {self.file}: {reason}; {kept}; make room, and the same command goes on"
        )


def _download(
    part: PartialDownload, wanted: DownloadRequest, tell: Tell, patience: RetryPolicy
) -> None:
    faults: dict[str, str] = {}
    begun = part.origin.address
    for address in sorted(wanted.addresses, key=lambda address: address != begun):
        try:
            _download_from(address, part, wanted, tell, patience)
        except DownloadRefused as fault:
            faults[address] = str(fault)
        else:
            part.finish()
            return
    here = part.size
    if not here:
        part.discard()
    raise BadFile(_failure_message(wanted, faults, here))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error


def _download_from(
    address: str, part: PartialDownload, wanted: DownloadRequest, tell: Tell, patience: RetryPolicy
) -> None:
    """From one mirror; tries are counted anew whenever more is here than ever before."""
    tries, most = 0, part.size
    while not _is_complete(part, address):
        resumed = part.resumable_bytes(address) > 0
        try:
            transfer(part, address, size=wanted.size, tell=tell, timeout=patience.timeout)
            if _verify_checksum(part, resumed):
                return
        except TransferError as fault:
            tries = tries + 1 if part.size <= most else 1
            most = max(most, part.size)
            if isinstance(fault, HostUnreachable) and not part.size:
                raise DownloadRefused(str(fault)) from fault
            if tries >= patience.tries:
                raise DownloadRefused(f"{fault} ({tries} tries)") from fault
            patience.pause(fault.wait or 2.0 ** (tries - 1))


def _is_complete(part: PartialDownload, address: str) -> bool:
    """Whether an earlier call had everything and was stopped before the last step."""
    return part.resumable_bytes(address) > 0 and part.size == part.origin.length and part.matches()


def _verify_checksum(part: PartialDownload, resumed: bool) -> bool:
    """Compare the checksum, where it is known.

    Raises:
        Broken: two pieces do not make the file; one piece may.
        Refused: the whole is not the expected file.
    """
    if not part.checksum or part.matches():
        return True
    found = part.actual_checksum()
    part.discard()
    if resumed:
        raise TransferError("the pieces do not make the expected file")
    raise DownloadRefused(f"it is not the expected file: {found}, expected {part.checksum}")


def _failure_message(wanted: DownloadRequest, faults: Mapping[str, str], here: int) -> str:
    kept = (
        f"; the {format_bytes(here)} that came are kept, and the same command goes on"
        if here
        else ""
    )
    told = "; ".join(f"{address}: {fault}" for address, fault in faults.items())
    return (
        f"cannot get {wanted.path.name} from {told}{kept}; "
        f"or get it another way, put it at {wanted.path}, and call the same command again"
    )


AT_ONCE = 1 << 16
LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
PASSING = (408, 425, 429, 500, 502, 503, 504)
AWAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


class DownloadRefused(CatchupError):
    """This address will not give the file; another one may."""


class TransferError(CatchupError):
    """Worth another try.

    Args:
        message: what happened.
        wait: seconds that the server asked to wait; 0 where it did not.
    """

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class HostUnreachable(TransferError):
    """The host cannot be reached at all: worth another try only if it could be before."""


def transfer(
    part: PartialDownload, address: str, *, size: int | None, tell: Tell, timeout: float
) -> None:
    """Ask for what is missing and add it; returns when the file is whole by the server's account.

    Args:
        size: bytes of the whole file; None where it is not known.
        timeout: seconds without a byte after which the connection counts as stalled.

    Raises:
        Refused: no such file, a web page, a file of another length.
        Broken: cut, stalled, overloaded, or what is here does not fit any more.
        UserError: the disk is full.
    """
    try:
        _transfer(part, address, size, tell, timeout)
    except HTTPError as error:
        _handle_http_error(part, error)
    except (OSError, HTTPException) as error:
        raise _fault(error, address, timeout) from error


def _transfer(
    part: PartialDownload, address: str, size: int | None, tell: Tell, timeout: float
) -> None:
    with urlopen(_request(part, address), timeout=timeout) as answer:
        total = _accept_range(part, address, answer)
        if size is not None and total not in (None, size):
            part.discard()
            raise DownloadRefused(f"the server gives {total:,} bytes, expected {size:,}")
        total = size if total is None else total
        _take(answer, part, total, tell)
    if total is not None and part.size > total:
        part.discard()
        raise DownloadRefused(f"more than the expected {total:,} bytes came")
    if total is not None and part.size < total and not part.matches():
        raise TransferError(f"the connection broke after {part.size:,} of {total:,} bytes")


def _take(answer: HTTPResponse, part: PartialDownload, total: int | None, tell: Tell) -> None:
    with part.open_for_append() as add:
        for block in _blocks(answer, part):
            add(block)
            tell(part.size, total or 0)
            if total is not None and part.size > total:
                break


def _request(part: PartialDownload, address: str) -> Request:
    request = Request(address, headers={"User-Agent": f"catchup-eval/{__version__}"})
    if here := part.resumable_bytes(address):
        request.add_header("Range", f"bytes={here}-")
        if part.origin.validator:
            request.add_header("If-Range", part.origin.validator)
    return request


def _accept_range(part: PartialDownload, address: str, answer: HTTPResponse) -> int | None:
    """Begin anew unless the answer goes on from what is here; gives the length of the whole."""
    headers = answer.headers
    start, whole = _range(headers) if answer.status == 206 else (0, _length(headers))
    origin = RemoteFile(address, headers.get("ETag", ""), headers.get("Last-Modified", ""), whole)
    if start == 0:
        part.begin(origin)
    elif start != part.size or origin != part.origin:
        part.discard()
        raise TransferError("the file has changed since its first part came")
    return whole


def _range(headers: Message) -> tuple[int, int | None]:
    found = RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None or found["start"] is None:
        raise DownloadRefused(f"expected a Content-Range, got {headers.get('Content-Range')!r}")
    return int(found["start"]), None if found["total"] == "*" else int(found["total"])


def _length(headers: Message) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _blocks(answer: HTTPResponse, part: PartialDownload) -> Iterator[bytes]:
    """What comes, once its beginning is found to be that of such a file."""
    if part.size == 0:
        start = _read_at_least(answer, b"", HEAD)
        if is_page(start):
            start = _read_at_least(answer, start, TITLE_WITHIN)
        if start and (fault := format_mismatch(part.path.name, start)):
            raise DownloadRefused(fault)
        yield start
    while block := answer.read1(AT_ONCE):
        yield block


def _read_at_least(answer: HTTPResponse, start: bytes, size: int) -> bytes:
    while len(start) < size and (block := answer.read1(AT_ONCE)):
        start += block
    return start


def _handle_http_error(part: PartialDownload, error: HTTPError) -> None:
    """Say what a status means; one is good news: nothing is left to ask for."""
    with error:
        said = f"the server answers {error.code} {error.reason}"
        if error.code == 416:
            return _check_nothing_left(part, error.headers.get("Content-Range", ""))
        if error.code in PASSING:
            raise TransferError(said, _retry_after(error.headers))
        raise DownloadRefused(said)


def _check_nothing_left(part: PartialDownload, content_range: str) -> None:
    """The server has no byte beyond what is here: good if it announced no more at first."""
    found = RANGE.fullmatch(content_range)
    has, announced = found["total"] if found else "fewer", part.origin.length
    if has != str(part.size) or announced not in (None, part.size):
        part.discard()
        raise TransferError(f"the server announced {announced} bytes and has {has}")


def _retry_after(headers: Message) -> float:
    asked = headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0


def _fault(error: Exception, address: str, timeout: float) -> CatchupError:
    reason: Any = error.reason if isinstance(error, URLError) else error
    host = urlsplit(address).hostname
    if isinstance(reason, TimeoutError):
        return TransferError(f"nothing came for {timeout:g} s")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadRefused(f"the certificate of {host} is not valid: {reason.verify_message}")
    if isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in AWAY:
        return HostUnreachable(f"{host} cannot be reached (no network?)")
    return TransferError(f"the connection broke: {reason or type(reason).__name__}")
