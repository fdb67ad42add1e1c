"""A receiver of webhooks for the tests: remembers every request, and answers as it is told to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gristmill.base import jsons


@dataclass(frozen=True)
class Call:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        return jsons.loads(self.body)


class Receiver:
    """Serves in a thread. `answers[path]` is a list of answers to come; when it is used up, 200.

    An answer is a status, or one of: `hang` (never), `drip` (headers and then a byte now and then), `huge`, `cut` (the
    connection breaks), `echo` and `echo-500` (what was sent, headers included), or a tuple of status and headers.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: defaultdict[str, list[Any]] = defaultdict(list)
        self.always: dict[str, Any] = {}
        self.pause_s = 0.0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, path: str) -> list[Call]:
        """Requests to a path, in order."""
        return [call for call in list(self.calls) if call.path == path]

    def start(self) -> Receiver:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=16 * 1024**2)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start())
        self.port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(request.path, headers, body, time.monotonic()))
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        waiting = self.answers[request.path]
        answer = waiting.pop(0) if waiting else self.always.get(request.path, 200)
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "cut":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if answer in ("echo", "echo-500"):
            text = jsons.dumps({"url": str(request.url), "headers": headers, "body": body.decode("utf-8", "replace")})
            return web.Response(status=500 if answer == "echo-500" else 200, body=text)
        if answer == "drip":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(600):
                await response.write(b".")
                await asyncio.sleep(0.1)
            return response
        if answer == "huge":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(2000):
                await response.write(b"x" * 65_536)
            return response
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=status, headers=more, text=f"answered {status}")
