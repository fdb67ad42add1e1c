"""A tiny vendor of data: it serves a list of libraries as a REST API, as companies that sell contacts do.

Start it with `python examples/vendors/registry_http.py [PORT] [KEY]`; with a KEY it answers only
who sends it. It uses the standard library only.

    GET /v1/find?postcode=IG11+7NB  ->  {"results": [{"id": 0, "name": ..., "address": {...}, "contact": {...}}]}
"""

from __future__ import annotations

import csv
import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PORT = 9100
FILE = Path(__file__).parents[1] / "libraries-open.csv"


def plain(postcode: str) -> str:
    """A postcode as it is compared."""
    return postcode.replace(" ", "").upper()


def read_registry(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Postcode -> records."""
    found: dict[str, list[dict[str, Any]]] = {}
    text = path.read_text(encoding="mac_roman").replace("\r", "\n")
    for number, row in enumerate(csv.DictReader(io.StringIO(text))):
        record = {
            "id": number,
            "name": row["Library name"].strip(),
            "address": {"line": row["Postal address"], "postcode": row["Postcode"]},
            "contact": {"email": row["Contact email"].strip(), "website": row["URL of library website"].strip()},
        }
        found.setdefault(plain(row["Postcode"]), []).append(record)
    return found


class Registry(BaseHTTPRequestHandler):
    """Answers `GET /v1/find?postcode=...`."""

    protocol_version = "HTTP/1.1"  # keeps connections open between questions
    records: dict[str, list[dict[str, Any]]] = {}
    key = ""

    def do_GET(self) -> None:
        """Find the libraries of a postcode."""
        parts = urlsplit(self.path)
        if self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self._answer(401, {"error": "send the key"})
        elif parts.path != "/v1/find":
            self._answer(404, {"error": "there is only /v1/find"})
        else:
            asked = plain(parse_qs(parts.query).get("postcode", [""])[0])
            self._answer(200, {"results": self.records.get(asked, [])})

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
    Registry.key = sys.argv[2] if len(sys.argv) > 2 else ""
    Registry.records = read_registry(FILE)
    print(f"Libraries by postcode on http://127.0.0.1:{port}/v1/find?postcode=IG11+7NB", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Registry).serve_forever()
