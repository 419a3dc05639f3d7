"""`data list`, `fetch` and `check`, with a server of our own in place of the net."""

import hashlib
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from catchup_eval.cli.datasets import check_sets, describe_sets, fetch_sets, list_sets
from catchup_eval.core.errors import BadFile, UnknownName
from catchup_eval.core.http import RetryPolicy

AT_ONCE = RetryPolicy(tries=2, timeout=60.0, pause=lambda seconds: None)


def archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("set/words.txt", "a b c")
        opened.writestr("set/image.bin", bytes(range(256)) * 1000)
    return buffer.getvalue()


BODY = archive()
HALF = len(BODY) // 2


class Handler(BaseHTTPRequestHandler):
    """Understands Range; stalls half-way for as long as its server is set to."""

    server: Any

    def do_GET(self) -> None:
        requested = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(requested[1]) if requested else 0
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(BODY[start : HALF if self.server.silent else None])
        if self.server.silent:
            self.server.over.wait(30)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.starts, server.silent, server.over = [], False, threading.Event()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mine(server: Any, tmp_path: Path) -> Path:
    """A list with one set on that server."""
    path = tmp_path / "mine.toml"
    path.write_text(f"""
        [small]
        about = "a small set"
        images = 1
        classes = 1
        licence = "none"
        citation = "Nobody 2000"
        page = "http://set.invalid/"
        [[small.files]]
        name = "small.zip"
        addresses = ["http://127.0.0.1:{server.server_address[1]}/small.zip"]
        size = {len(BODY)}
        md5 = "{hashlib.md5(BODY).hexdigest()}"
        top = ["set"]
        counts = {{"set/*" = 2}}
    """)
    return path


def test_from_absent_to_well(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    assert list_sets(root, archives=mine) == 0
    assert re.search(r"small +1 +1 +\S+ kB +absent +a small set", capsys.readouterr().out)

    assert check_sets(["small"], root, archives=mine) == 2
    said = capsys.readouterr().out
    assert re.search(r"^set +absent$", said, re.MULTILINE)
    assert "to get it: catchup-eval data fetch small" in said

    assert fetch_sets(["small"], root, archives=mine, retry=AT_ONCE) == 0
    lines = capsys.readouterr().out.splitlines()
    size = f"{len(BODY) / 1000:.1f} kB"
    assert lines[0] == f"small.zip, {size}"
    assert "  100 %" in lines
    assert lines[-2:] == ["unpacking small.zip", f"small: in {root}"]

    assert check_sets(["all"], root, archives=mine) == 0
    assert re.search(r"^set/\* +ok +2 files$", capsys.readouterr().out, re.MULTILINE)
    list_sets(root, archives=mine)
    assert re.search(r"small .* ok +a small set", capsys.readouterr().out)


def test_a_second_fetch_needs_no_server(mine: Path, server: Any, tmp_path: Path) -> None:
    for _ in range(2):
        fetch_sets(["small"], tmp_path, archives=mine, retry=AT_ONCE)
    assert server.starts == [0]


def test_a_fetch_that_was_stopped_goes_on(mine: Path, server: Any, tmp_path: Path) -> None:
    words = ["data", "fetch", "small", "--data-root", str(tmp_path), "--archives", str(mine)]
    command = [sys.executable, "-c", "from catchup_eval.cli.main import main; main()", *words]
    server.silent = True
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        while b"%" not in (line := process.stdout.readline()):  # the first bytes are here
            assert line, process.communicate()[1]
        part = tmp_path / "small.zip.part"
        while part.stat().st_size < HALF:
            pass
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=600)[1].decode()
    assert process.returncode == 130
    assert said == "stopped; the same command resumes from here\n"
    assert part.stat().st_size == HALF

    server.silent = False
    assert fetch_sets(["small"], tmp_path, archives=mine, retry=AT_ONCE) == 0
    assert server.starts == [0, HALF]
    assert (tmp_path / "set" / "words.txt").read_text() == "a b c"
    assert not part.exists()


def test_nothing_is_fetched_where_a_name_is_wrong(mine: Path, server: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'small'"):
        fetch_sets(["small", "smal"], tmp_path, archives=mine)
    assert not server.starts


def test_the_shipped_list_needs_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_sets(["digits"], tmp_path) == 0
    assert "digits: embedded; there is nothing to fetch" in capsys.readouterr().out
    assert check_sets(["digits"], tmp_path) == 0
    assert check_sets(["all"], tmp_path) == 2
    assert f"no dataset is in {tmp_path}" in capsys.readouterr().out
    with pytest.raises(BadFile, match=r"imagenet/ILSVRC2012_img_train\.tar is needed .* a login"):
        fetch_sets(["imagenet"], tmp_path)


def test_the_photographs_of_frost_are_the_official_ones(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(shared / "frost.zip") as opened:
        opened.extractall(tmp_path / "frost")
    assert check_sets(["frost"], tmp_path) == 0
    assert capsys.readouterr().out.count("sha256 as published") == 6
    path = tmp_path / "frost" / "frost4.jpg"
    path.write_bytes(path.read_bytes()[:-1])
    assert check_sets(["frost"], tmp_path) == 2
    assert "cut short  36,733 of 36,734 bytes" in capsys.readouterr().out


def test_a_named_dataset_is_described_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe_sets(["cifar10"]) == 0
    printed = capsys.readouterr().out
    assert "citation: Krizhevsky 2009" in printed
    assert "md5:c58f30108f718f92721af3b95e74349a (from torchvision" in printed
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        describe_sets(["cifar1"])
