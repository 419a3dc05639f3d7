"""A server that misbehaves as its addresses say: `/FAULT/FILE`; in a process of its own."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep


@contextmanager
def serve(folder: Path) -> Iterator[int]:
    """The port at which the files of a folder are served; `slow` takes a second for each."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, fault, name = [*self.path.split("/"), "", ""][:3]
            try:
                self._send(fault, (folder / Path(name).name).read_bytes())
            except OSError:  # the other side is gone, or there is no such file
                self.close_connection = True

        def _send(self, fault: str, body: bytes) -> None:
            if fault in ("404", "500"):
                self.send_error(int(fault))
                return
            if fault == "loop":
                self.send_response(302)
                self.send_header("Location", self.path)
                self.end_headers()
                return
            if fault == "page":
                body = b"<!DOCTYPE html><html><title>Sign in</title></html>"
            if fault == "empty":
                body = b""
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(found[1]) if found and fault != "lies" else 0
            self.send_response(206 if found else 200)
            if found:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            more = {"long": 10**15, "cut": len(body)}.get(fault, len(body) - start)
            self.send_header("Content-Length", str(more))
            self.send_header("ETag", '"1"')
            self.end_headers()
            part = body[start : len(body) // 2 if fault in ("cut", "long") else None]
            pieces = 20 if fault == "slow" else 1
            for place in range(pieces):
                length = -(-len(part) // pieces)
                self.wfile.write(part[place * length : (place + 1) * length])
                if fault == "slow":
                    self.wfile.flush()
                    sleep(0.05)

        def log_message(self, *_: object) -> None:
            pass

    folder.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server.serve_forever(poll_interval=10)
        os._exit(0)
    port = server.server_address[1]
    server.socket.close()
    try:
        yield port
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
