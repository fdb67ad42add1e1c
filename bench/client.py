"""A small blocking client of Gristmill's HTTP API for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import orjson

LINES_PER_CHUNK = 500


class Client:
    """Calls with one key."""

    def __init__(self, url: str, secret: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=900)

    def agent(self, name: str, entry_point: str, concurrency: int, **options: Any) -> int:
        """A new Python agent."""
        body = {
            "name": name,
            "runtime": "python",
            "config": {"entry_point": entry_point, "options": options},
            "concurrency": concurrency,
        }
        return int(self._json(self.http.post("/api/v1/agents", json=body))["id"])

    def batch(self, agent_id: int, rows: Iterator[dict[str, Any]]) -> str:
        """Make a batch from a stream of rows that is never in memory as a whole."""
        url = f"/api/v1/agents/{agent_id}/batch_executions"
        headers = {"Content-Type": "application/x-ndjson"}
        return str(self._json(self.http.post(url, content=_lines(rows), headers=headers))["id"])

    def get(self, batch_id: str, part: str = "") -> dict[str, Any]:
        """A batch, or its receipt."""
        return self._json(self.http.get(f"/api/v1/batch_executions/{batch_id}{part}"))

    def cancel(self, batch_id: str) -> None:
        """End a batch, if it has not ended, and wait until no row runs."""
        answer = self.http.post(f"/api/v1/batch_executions/{batch_id}/cancel")
        if answer.status_code != 409:
            self._json(answer)
        while self.get(batch_id)["running"]:
            time.sleep(0.1)

    def wait(self, batch_id: str, look_s: float = 0.1) -> dict[str, Any]:
        """The batch once it has ended."""
        while (batch := self.get(batch_id))["status"] in {"queued", "running"}:
            time.sleep(look_s)
        return batch

    def export(self, batch_id: str) -> tuple[int, int]:
        """Download the CSV; answers lines and bytes. It is not kept."""
        lines = size = 0
        with self.http.stream("GET", f"/api/v1/batch_executions/{batch_id}/export.csv") as answer:
            answer.raise_for_status()
            for chunk in answer.iter_raw(1 << 16):
                lines += chunk.count(b"\n")
                size += len(chunk)
        return lines, size

    def close(self) -> None:
        """Close the connection."""
        self.http.close()

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code >= 400:
            raise RuntimeError(
                f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}"
            )
        return answer.json()


def _lines(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    chunk: list[bytes] = []
    for row in rows:
        chunk.append(orjson.dumps(row))
        if len(chunk) == LINES_PER_CHUNK:
            yield b"\n".join(chunk) + b"\n"
            chunk = []
    if chunk:
        yield b"\n".join(chunk) + b"\n"
