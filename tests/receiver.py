"""A real HTTP server that takes webhooks and offers a file; it fails as it is told and keeps what it got."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass
class Receiver:
    """Requests go in, answers come out as `answer` says."""

    answer: Callable[[int], int] = field(default=lambda _number: 200)
    """Number of the POST from 1 -> status; 0 hangs up without an answer."""
    other: int = 200
    """Status of everything but POST."""
    file: bytes = b""
    """What a GET gets."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every answer."""
    allow: Callable[[dict[str, str]], bool] = field(default=lambda _headers: True)
    """Whether a request may come in; 401 otherwise."""
    delay_s: float = 0.0
    got: list[Got] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.serve(self)

            do_GET = do_HEAD = do_OPTIONS = do_POST  # noqa: N815 - the names that the library calls

            def log_message(self, *_: Any) -> None:
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def posts(self) -> list[Got]:
        """POST requests, in the order they came."""
        return [item for item in self.got if item.method == "POST"]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        method = handler.command
        number = len(self.posts) + 1
        status = self.answer(number) if method == "POST" else self.other
        status = status if self.allow(headers) else 401
        etag = f'"{hashlib.md5(self.file, usedforsecurity=False).hexdigest()}"'
        if status == 200 and method == "GET" and headers.get("if-none-match") == etag:
            status = 304
        self.got.append(Got(method, handler.path, headers, body, status))
        time.sleep(self.delay_s)
        if status == 0:
            handler.close_connection = True
            handler.connection.close()
            return
        content = b"" if status in {204, 304} else b'{"said": "thanks"}'
        if (method, status) == ("GET", 200):
            content = self.file
        handler.send_response(status)
        if method == "GET" and self.file:
            handler.send_header("ETag", etag)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if status not in {204, 304}:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if method != "HEAD":
            handler.wfile.write(content)
