"""A server of our own that breaks off, refuses, lies and overcharges as it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sdnet_bench.data import download


@dataclass(frozen=True)
class Answer:
    """How one request is answered: as it should be, unless something is set."""

    status: int | None = None
    retry_after: str | None = None
    body: bytes | None = None
    drop_after: int | None = None
    """So many bytes, and the line breaks."""
    ignores_ranges: bool = False
    shift: int = 0
    """So many bytes behind what was asked for."""
    promise: int = 0
    """So many bytes more than come in Content-Length."""


@dataclass
class Mirror:
    """What it serves at any path, how, and what it was asked."""

    url: str = ""
    body: bytes = b""
    script: list[Answer] = field(default_factory=list)
    """One answer a request; the usual one when it is used up."""
    usual: Answer = field(default_factory=Answer)
    asked: list[str | None] = field(default_factory=list)
    """The ranges of all requests."""
    sent: int = 0


class Server(ThreadingHTTPServer):
    mirror: Mirror

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        mirror, wanted = self.server.mirror, self.headers["Range"]
        answer = mirror.script.pop(0) if mirror.script else mirror.usual
        mirror.asked.append(wanted)
        if answer.status:
            return self._refuse(answer.status, Retry_After=answer.retry_after)
        body = mirror.body if answer.body is None else answer.body
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        start = int(found[1]) if found and not answer.ignores_ranges else 0
        if start and start >= len(body):
            return self._refuse(416, Content_Range=f"bytes */{len(body)}")
        return self._send(body, start + answer.shift if start else 0, answer)

    def _refuse(self, status: int, **headers: str | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, start: int, answer: Answer) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start + answer.promise))
        self.end_headers()
        part = body[start:][: answer.drop_after]
        self.server.mirror.sent += len(part)
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


def serve() -> Iterator[Mirror]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.mirror = Mirror(f"http://127.0.0.1:{server.server_port}/things.tar.gz")
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server.mirror
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A server."""
    yield from serve()


@pytest.fixture
def other_mirror() -> Iterator[Mirror]:
    """Another."""
    yield from serve()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No pause lasts; how long they would have been."""
    taken: list[float] = []
    monkeypatch.setattr(download.time, "sleep", taken.append)
    return taken
