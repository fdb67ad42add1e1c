"""A receiver of webhooks for bench/events.py: notes when each event came first, answers at once, or never under /dead.

A process of its own, so that it shares no interpreter with what is measured: `python receiver.py PORT`. `GET /count`
and `GET /report` (`{webhook-id: seconds since the epoch}`) tell what came; `GET /reset` forgets it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

seen: dict[str, float] = {}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Just enough of HTTP/1.1 with keep-alive."""

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, rest = self._data.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._answer(lines[0].split(" ")[1], headers)

    def _answer(self, path: str, headers: dict[str, str]) -> None:
        if path.startswith("/dead"):
            return
        body = b""
        if path == "/count":
            body = str(len(seen)).encode()
        elif path == "/report":
            body = json.dumps(seen).encode()
        elif path == "/reset":
            seen.clear()
        else:
            seen.setdefault(headers.get("webhook-id", ""), time.time())
            self._transport.write(ANSWER)
            return
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
