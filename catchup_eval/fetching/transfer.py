"""One request over HTTP: the rest of a file, added to what is here.

The server is believed only where its own statements agree: what it gives goes on from what is here
if it says so (206) and describes the same file as before; anything else starts anew.
"""

import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from catchup_eval import __version__
from catchup_eval.errors import CatchupError
from catchup_eval.fetching.partial import Origin, Partial
from catchup_eval.fetching.recognise import HEAD, TITLE_WITHIN, foreign, is_page

Tell = Callable[[int, int], None]  # (bytes that are here, bytes of the whole; 0: not known)
AT_ONCE = 1 << 16
LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
PASSING = (408, 425, 429, 500, 502, 503, 504)
AWAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


class Refused(CatchupError):
    """This address will not give the file; another one may."""


class Broken(CatchupError):
    """Worth another try.

    Args:
        message: what happened.
        wait: seconds that the server asked to wait; 0 where it did not.
    """

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class Away(Broken):
    """The host cannot be reached at all: worth another try only if it could be before."""


def transfer(part: Partial, address: str, *, size: int | None, tell: Tell, timeout: float) -> None:
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
        _refused(part, error)
    except (OSError, HTTPException) as error:
        raise _fault(error, address, timeout) from error


def _transfer(part: Partial, address: str, size: int | None, tell: Tell, timeout: float) -> None:
    with urlopen(_request(part, address), timeout=timeout) as answer:
        total = _settle(part, address, answer)
        if size is not None and total not in (None, size):
            part.discard()
            raise Refused(f"the server gives {total:,} bytes, expected {size:,}")
        total = size if total is None else total
        _take(answer, part, total, tell)
    if total is not None and part.size > total:
        part.discard()
        raise Refused(f"more than the expected {total:,} bytes came")
    if total is not None and part.size < total and not part.matches():
        raise Broken(f"the connection broke after {part.size:,} of {total:,} bytes")


def _take(answer: HTTPResponse, part: Partial, total: int | None, tell: Tell) -> None:
    with part.writing() as add:
        for block in _blocks(answer, part):
            add(block)
            tell(part.size, total or 0)
            if total is not None and part.size > total:
                break


def _request(part: Partial, address: str) -> Request:
    request = Request(address, headers={"User-Agent": f"catchup-eval/{__version__}"})
    if here := part.usable(address):
        request.add_header("Range", f"bytes={here}-")
        if part.origin.validator:
            request.add_header("If-Range", part.origin.validator)
    return request


def _settle(part: Partial, address: str, answer: HTTPResponse) -> int | None:
    """Begin anew unless the answer goes on from what is here; gives the length of the whole."""
    headers = answer.headers
    start, whole = _range(headers) if answer.status == 206 else (0, _length(headers))
    origin = Origin(address, headers.get("ETag", ""), headers.get("Last-Modified", ""), whole)
    if start == 0:
        part.begin(origin)
    elif start != part.size or origin != part.origin:
        part.discard()
        raise Broken("the file has changed since its first part came")
    return whole


def _range(headers: Message) -> tuple[int, int | None]:
    found = RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None or found["start"] is None:
        raise Refused(f"expected a Content-Range, got {headers.get('Content-Range')!r}")
    return int(found["start"]), None if found["total"] == "*" else int(found["total"])


def _length(headers: Message) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _blocks(answer: HTTPResponse, part: Partial) -> Iterator[bytes]:
    """What comes, once its beginning is found to be that of such a file."""
    if part.size == 0:
        start = _at_least(answer, b"", HEAD)
        if is_page(start):
            start = _at_least(answer, start, TITLE_WITHIN)
        if start and (fault := foreign(part.path.name, start)):
            raise Refused(fault)
        yield start
    while block := answer.read1(AT_ONCE):
        yield block


def _at_least(answer: HTTPResponse, start: bytes, size: int) -> bytes:
    while len(start) < size and (block := answer.read1(AT_ONCE)):
        start += block
    return start


def _refused(part: Partial, error: HTTPError) -> None:
    """Say what a status means; one is good news: nothing is left to ask for."""
    with error:
        said = f"the server answers {error.code} {error.reason}"
        if error.code == 416:
            return _nothing_left(part, error.headers.get("Content-Range", ""))
        if error.code in PASSING:
            raise Broken(said, _wait(error.headers))
        raise Refused(said)


def _nothing_left(part: Partial, content_range: str) -> None:
    """The server has no byte beyond what is here: good if it announced no more at first."""
    found = RANGE.fullmatch(content_range)
    has, announced = found["total"] if found else "fewer", part.origin.length
    if has != str(part.size) or announced not in (None, part.size):
        part.discard()
        raise Broken(f"the server announced {announced} bytes and has {has}")


def _wait(headers: Message) -> float:
    asked = headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0


def _fault(error: Exception, address: str, timeout: float) -> CatchupError:
    reason: Any = error.reason if isinstance(error, URLError) else error
    host = urlsplit(address).hostname
    if isinstance(reason, TimeoutError):
        return Broken(f"nothing came for {timeout:g} s")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refused(f"the certificate of {host} is not valid: {reason.verify_message}")
    if isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in AWAY:
        return Away(f"{host} cannot be reached (no network?)")
    return Broken(f"the connection broke: {reason or type(reason).__name__}")
