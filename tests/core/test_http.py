"""What a server may do wrong, and what the user sees; pauses are noted, not slept."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from catchup_eval.core import http as module
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.http import DownloadRequest, RetryPolicy, download

BODY = b"\x1f\x8b" + bytes(range(256)) * 400  # 102,402 bytes that begin as a .tgz file does
OTHER = b"\x1f\x8b" + bytes(reversed(range(256))) * 400
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
HALF = len(BODY) // 2
ETAG = f'"{hashlib.md5(BODY).hexdigest()[:8]}"'
NAME = "data.tgz"


@dataclass
class Answer:
    """What the server says once; the last one of a list is repeated."""

    status: int = 200
    body: bytes = BODY
    sent: int | None = None  # of what is requested, bytes before the line is cut; all if None
    claims: int | None = 0  # added to the Content-Length; None leaves it out
    ranges: bool | str = True  # understood; "rude" is a server that ignores If-Range
    stalls: bool = False  # the server falls silent instead of cutting
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    address: str
    answers: list[Answer]
    requested: list[dict[str, str]]


CUT = Answer(sent=HALF)
PAGE = Answer(body=b"<!DOCTYPE html>\n<html><head><title>Please sign in</title></head></html>")


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        self.server.requested.append({**self.headers, "path": self.path})
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", "/data.tgz")
            self.end_headers()
            return
        answers = self.server.answers
        self.give(answers.pop(0) if len(answers) > 1 else answers[0])

    def give(self, answer: Answer) -> None:
        etag = answer.headers.get("ETag", f'"{hashlib.md5(answer.body).hexdigest()[:8]}"')
        start = self.start(answer, etag)
        if start >= len(answer.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(answer.body)}")
            self.end_headers()
            return
        whole = len(answer.body) + (answer.claims or 0)
        self.send_response(206 if start and answer.status == 200 else answer.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        headers = {"ETag": etag, **answer.headers}
        if answer.claims is not None:
            headers["Content-Length"] = str(whole - start)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        end = None if answer.sent is None else start + answer.sent
        self.wfile.write(answer.body[start:end])
        if answer.stalls:
            self.server.over.wait(5)

    def start(self, answer: Answer, etag: str) -> int:
        """The first requested byte, if this server understands and the file is the same."""
        requested = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", etag) == etag or answer.ranges == "rude"
        return int(requested[1]) if requested and answer.ranges and same else 0

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(answer, ...)`: a server that gives these answers one after the other."""
    running = []

    def start(*answers: Answer) -> Server:
        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answers, server.requested, server.over = list(answers), [], threading.Event()
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        address = f"http://127.0.0.1:{server.server_address[1]}/data.tgz"
        return Server(address, server.answers, server.requested)

    yield start
    for server, thread in running:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def get(folder: Path, *addresses: str, **known: Any) -> list[float]:
    """Download into the folder with four tries; gives the pauses that one would have waited."""
    pauses: list[float] = []
    timeout = known.pop("timeout", 60.0)  # seconds; longer than any machine takes that is busy
    progress = known.pop("progress", lambda here, whole: None)
    retry = RetryPolicy(tries=4, timeout=timeout, pause=pauses.append)
    download(DownloadRequest(folder / NAME, addresses, **known), progress=progress, retry=retry)
    assert (folder / NAME).read_bytes() == BODY
    return pauses


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@dataclass
class Mended:
    """A fault that the user need not know of: the file arrives all the same."""

    answers: list[Answer]
    pauses: list[float]
    requests: int
    checksum: str = MD5
    timeout: float = 60.0


MENDED = {
    "no fault": Mended([Answer()], [], 1),
    "no Content-Length": Mended([Answer(claims=None)], [], 1),
    "cut once": Mended([CUT, Answer()], [1], 2),
    "cut once, checksum not known": Mended([CUT, Answer()], [1], 2, checksum=""),
    "cut again and again, a little more each time": Mended(
        [Answer(sent=20_000)] * 6 + [Answer()], [1] * 5, 6
    ),
    "stalls": Mended([Answer(sent=HALF, stalls=True), Answer()], [1], 2, timeout=3.0),
    "cut, then ignores Range": Mended([CUT, Answer(ranges=False)], [1], 2),
    "cut, then another file": Mended([Answer(body=OTHER, sent=HALF), Answer()], [1], 2),
    "cut, then another file in spite of If-Range": Mended(
        [Answer(body=OTHER, sent=HALF), Answer(ranges="rude")], [1, 2], 3, checksum=""
    ),
    "the same length and tag, other bytes": Mended(
        [Answer(body=OTHER, sent=HALF, headers={"ETag": '"x"'}), Answer(headers={"ETag": '"x"'})],
        [1, 2],
        3,
    ),
    "500 twice": Mended([Answer(500), Answer(503), Answer()], [1, 2], 3),
    "429 that says when": Mended([Answer(429, headers={"Retry-After": "7"}), Answer()], [7], 2),
    "429 that asks for an hour": Mended(
        [Answer(429, headers={"Retry-After": "3600"}), Answer()], [60], 2
    ),
    "announces more than it has": Mended([Answer(claims=100)], [], 1),
}


@pytest.mark.parametrize("case", MENDED.values(), ids=MENDED)
def test_the_file_arrives_whole(case: Mended, serve: Callable[..., Server], tmp_path: Path) -> None:
    server, folder = serve(*case.answers), tmp_path / "new"
    pauses = get(folder, server.address, checksum=case.checksum, timeout=case.timeout)
    assert pauses == case.pauses
    assert leftovers(folder) == [NAME]
    assert len(server.requested) == case.requests


@dataclass
class Fault:
    """A fault that ends in a sentence."""

    answers: list[Answer]
    seen: str  # by the user, of this address
    saved: int = 0  # bytes that stay for the next call
    checksum: str = MD5
    size: int | None = None


REPORTED = {
    "404": Fault([Answer(404, body=b"\x1f")], "the server returns 404 Not Found"),
    "nothing": Fault([Answer(body=b"")], "the server announced None bytes and has 0 (4 tries)"),
    "500 forever": Fault([Answer(500)], "the server returns 500 Internal Server Error (4 tries)"),
    "cut at the same byte forever": Fault(
        [CUT, Answer(sent=0)],
        "the connection broke after 51,201 of 102,402 bytes (4 tries)",
        saved=HALF,
    ),
    "a web page": Fault([PAGE], "it is a web page: title 'Please sign in'"),
    "a page as long as the file": Fault(
        [Answer(body=PAGE.body.ljust(len(BODY)))], "it is a web page: title 'Please sign in'"
    ),
    "words in place of an archive": Fault(
        [Answer(body=b'{"error": "quota"}')], "it does not begin as a .tgz file does", checksum=""
    ),
    "one byte differs": Fault(
        [Answer(body=BODY[:-1] + b"!")],
        f"it is not the expected file: md5:{hashlib.md5(BODY[:-1] + b'!').hexdigest()}, "
        f"expected {MD5}",
    ),
    "announces fewer bytes than it has": Fault(
        [Answer(claims=-2)],
        f"it is not the expected file: md5:{hashlib.md5(BODY[:-2]).hexdigest()}, expected {MD5}",
    ),
    "announces more than it has, and the size is known": Fault(
        [Answer(claims=100)], "the server gives 102,502 bytes, expected 102,402", size=len(BODY)
    ),
    "announces nothing and sends too much": Fault(
        [Answer(body=BODY + b"more", claims=None)],
        "more than the expected 102,402 bytes came",
        size=len(BODY),
    ),
    "announces more than it has, and nothing is known": Fault(
        [Answer(claims=100)],
        "the server announced 102502 bytes and has 102402 (4 tries)",
        checksum="",
    ),
}


@pytest.mark.parametrize("case", REPORTED.values(), ids=REPORTED)
def test_the_user_reads_what_happened(
    case: Fault, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server, path = serve(*case.answers), tmp_path / NAME
    with pytest.raises(BadFile) as caught:
        get(tmp_path, server.address, size=case.size, checksum=case.checksum)
    saved = f"; the {case.saved / 1000:.1f} kB that came are saved, and the same command goes on"
    assert str(caught.value) == (
        f"cannot get data.tgz from {server.address}: {case.seen}{saved if case.saved else ''}; "
        f"or get it otherwise, put it at {path}, and call the same command again"
    )
    assert not path.exists()
    part = tmp_path / f"{NAME}.part"
    assert (part.stat().st_size if part.exists() else 0) == case.saved


def test_only_the_rest_is_requested(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(CUT, Answer())
    seen: list[tuple[int, int]] = []
    get(tmp_path, server.address, progress=lambda *both: seen.append(both))
    assert "Range" not in server.requested[0]
    assert server.requested[1]["Range"] == f"bytes={HALF}-"
    assert server.requested[1]["If-Range"] == ETAG
    heres = [here for here, _ in seen]
    assert heres == sorted(heres)
    assert seen[-1] == (len(BODY), len(BODY))


def test_a_later_call_goes_on_also_through_a_redirect(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(CUT, Answer(sent=0), Answer(sent=0), Answer(sent=0), Answer())
    address = server.address.replace("/data", "/moved/data")
    with pytest.raises(BadFile, match=r"the 51\.2 kB that came are saved"):
        get(tmp_path, address, checksum=MD5)
    get(tmp_path, address, checksum=MD5)
    assert server.requested[-1]["Range"] == f"bytes={HALF}-"


@pytest.mark.parametrize("checksum", [MD5, ""])
def test_a_call_that_was_killed_before_its_last_step(
    checksum: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(Answer())
    note = {"address": server.address, "etag": ETAG, "modified": "", "length": len(BODY)}
    (tmp_path / f"{NAME}.part").write_bytes(BODY)
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps(note))
    get(tmp_path, server.address, checksum=checksum)
    assert all("Range" in requested for requested in server.requested)


ELSEWHERE = json.dumps({"address": "http://elsewhere/data.tgz", "etag": '"1"'})


@pytest.mark.parametrize("note", ["", "[]", ELSEWHERE, None])
def test_a_part_of_unknown_origin_is_not_gone_on_with(
    note: str | None, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(Answer())
    (tmp_path / f"{NAME}.part").write_bytes(OTHER[:HALF])
    if note is not None:
        (tmp_path / f"{NAME}.part.json").write_text(note)
    get(tmp_path, server.address)
    assert "Range" not in server.requested[0]


def test_what_no_validator_and_no_checksum_vouch_for_starts_anew(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(Answer(sent=HALF, headers={"ETag": ""}), Answer(headers={"ETag": ""}))
    get(tmp_path, server.address)
    assert "Range" not in server.requested[1]


def test_the_next_mirror_is_used(serve: Callable[..., Server], tmp_path: Path) -> None:
    servers = serve(Answer(404)), serve(PAGE), serve(Answer())
    first, second, third = (server.address for server in servers)
    with pytest.raises(BadFile) as caught:
        get(tmp_path, first, second)
    assert f"{first}: the server returns 404 Not Found" in str(caught.value)
    assert f"{second}: it is a web page" in str(caught.value)
    get(tmp_path, first, second, third, checksum=MD5)
    assert [len(server.requested) for server in servers] == [2, 2, 1]


def test_the_mirror_that_began_goes_on(serve: Callable[..., Server], tmp_path: Path) -> None:
    first, second = serve(Answer(404), Answer()), serve(CUT, Answer(sent=0))
    with pytest.raises(BadFile):
        get(tmp_path, first.address, second.address)
    second.answers[:] = [Answer()]
    get(tmp_path, first.address, second.address)
    assert len(first.requested) == 1
    assert second.requested[-1]["Range"] == f"bytes={HALF}-"


def test_without_network_there_is_one_try(tmp_path: Path) -> None:
    wanted = DownloadRequest(tmp_path / NAME, ["http://nowhere.invalid/data.tgz"])
    retry = RetryPolicy(pause=lambda seconds: pytest.fail("another try"))
    with pytest.raises(BadFile, match=r"nowhere.invalid cannot be reached \(no network\?\); or"):
        download(wanted, retry=retry)
    assert not leftovers(tmp_path)


def test_a_full_disk_is_one_sentence_and_what_came_stays(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    server = serve(Answer())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, before[1]))  # as a full disk, but harmless
    try:
        with pytest.raises(UserError) as caught:
            get(tmp_path, server.address, checksum=MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.fullmatch(
        r"cannot write \S+data\.tgz\.part: File too large; the 51\.2 kB that came are saved; "
        r"make room, and the same command goes on",
        str(caught.value),
    )
    get(tmp_path, server.address, checksum=MD5)
    assert server.requested[1]["Range"] == f"bytes={HALF}-"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        get(tmp_path / "file", "http://nowhere.invalid/data.tgz")


@pytest.mark.parametrize("locks", [True, False])
def test_two_that_get_one_file_do_not_mix_their_bytes(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """With locks one waits for the other, without each has a part of its own; no checksum helps.

    A lock is of a file that was opened, so that two threads stand for two processes.
    """
    if not locks:
        monkeypatch.setattr("catchup_eval.core.files._lock", lambda descriptor: None)
    server, inside, second = serve(Answer()), threading.Barrier(2), threading.Event()
    look, looks, both = module._state, [], []

    def state(path: Path) -> tuple[int, ...] | None:
        found = look(path)
        looks.append(found)
        if len(looks) == 3:  # the first one looks before and after its lock
            second.set()
        return found

    monkeypatch.setattr(module, "_state", state)

    def progress(here: int, whole: int) -> None:
        if here == whole:  # nobody finishes before the other has begun
            assert second.wait(20) if locks else inside.wait(20) >= 0

    def work() -> None:
        both.append(get(tmp_path, server.address, progress=progress))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert both == [[], []] and leftovers(tmp_path) == [NAME]
    assert len(server.requested) == (1 if locks else 2)
