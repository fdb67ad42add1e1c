"""A tiny agent of your own: it listens on HTTP, gets one row as JSON, answers with a score as JSON.

Start it with `python examples/agents/score_http.py [PORT] [SECONDS]`. It uses the standard library only; SECONDS is how
long it thinks about each row, to watch a batch at work.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 9000
POINTS = {"phone": 40, "website": 40, "city": 20}


def score(row: dict[str, Any]) -> dict[str, Any]:
    """How easily a business can be reached: points for each field that is filled in, and which fields are missing."""
    filled = [name for name in POINTS if str(row.get(name) or "").strip()]
    if not filled:
        return {}  # nothing found: the row ends as `empty`
    missing = ", ".join(name for name in POINTS if name not in filled)
    return {"score": sum(POINTS[name] for name in filled), "missing": missing}


class Agent(BaseHTTPRequestHandler):
    """Answers every POST with the score of its row."""

    protocol_version = "HTTP/1.1"  # keeps connections open between rows
    think_s = 0.0

    def do_POST(self) -> None:
        """Read one row, answer one result."""
        size = int(self.headers.get("Content-Length", "0"))
        try:
            row = json.loads(self.rfile.read(size))
        except ValueError:
            self._answer(400, {"error": "the body is not JSON"})
            return
        time.sleep(self.think_s)
        self._answer(200, score(row))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library gives it
        """Stay quiet."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    Agent.think_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    print(f"Scoring rows on http://127.0.0.1:{port}/score", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Agent).serve_forever()
