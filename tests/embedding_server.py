"""A server with OpenAI's `POST /v1/embeddings`, and with the faults that such servers have."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSIONS = 24


class EmbeddingServer:
    """Answers on a free port; `faults` are the next answers that go wrong: (status, headers, body)."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.faults: list[tuple[int, dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.calls.append(body)
                outer.keys.append(self.headers.get("Authorization"))
                status, headers, answer = outer.answer(body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if self.faults:
            return self.faults.pop(0)
        data = [
            {"object": "embedding", "index": index, "embedding": vector(text, body.get("dimensions", DIMENSIONS))}
            for index, text in enumerate(body["input"])
        ]
        return 200, {}, {"object": "list", "data": data[::-1], "model": body["model"]}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def vector(text: str, dimensions: int) -> Sequence[float]:
    """Of no length in particular, as some servers give them."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return [3.0 * float(item) for item in np.random.default_rng(seed).standard_normal(dimensions)]
