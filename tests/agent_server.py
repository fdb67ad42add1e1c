"""A real HTTP agent for the tests: answers rows, misbehaves on request, and remembers every call.

As a program it serves until it is killed: `python tests/agent_server.py PORT [CALLS_FILE]`; with a file, the
Idempotency-Key and attempt of every call is appended to it, so that a test can count them after everything died.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

MOODS = ("busy", "busy too", "slow", "down", "hangs", "drops", "babbles")
MOODY_SHARE = 0.3


@dataclass
class Calls:
    """What the agent was asked."""

    by_row: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0


def make_app(calls: Calls, log: TextIO | None = None) -> web.Application:  # noqa: C901 - one small handler a route
    """Routes: /echo, /slow/MS, /empty, /status/N, /flaky/N (fails N times a row), /cost/USD, /raw, /moody."""

    async def note(request: web.Request) -> dict[str, Any]:
        key = request.headers.get("Idempotency-Key", "")
        calls.by_row[key] += 1
        body = await request.json()
        calls.bodies.append(body)
        calls.headers.append(dict(request.headers))
        if log is not None:
            log.write(f"{key} {request.headers.get('X-Gristmill-Attempt')}\n")
            log.flush()
        return body

    @contextlib.asynccontextmanager
    async def counted() -> Any:
        calls.running += 1
        calls.most_running = max(calls.most_running, calls.running)
        try:
            yield
        finally:
            calls.running -= 1

    async def echo(request: web.Request) -> web.Response:
        async with counted():
            return web.json_response({"echo": await note(request)})

    async def slow(request: web.Request) -> web.Response:
        async with counted():
            body = await note(request)
            await asyncio.sleep(int(request.match_info["ms"]) / 1000)
            return web.json_response({"echo": body})

    async def empty(request: web.Request) -> web.Response:
        await note(request)
        return web.json_response({})

    async def status(request: web.Request) -> web.Response:
        await note(request)
        headers = {"Retry-After": request.query["retry_after"]} if "retry_after" in request.query else {}
        return web.Response(status=int(request.match_info["n"]), text="no", headers=headers)

    async def flaky(request: web.Request) -> web.Response:
        body = await note(request)
        if calls.by_row[request.headers["Idempotency-Key"]] <= int(request.match_info["n"]):
            return web.Response(status=int(request.query.get("status", "503")), text="not yet")
        return web.json_response({"echo": body})

    async def cost(request: web.Request) -> web.Response:
        body = await note(request)
        return web.json_response({"echo": body}, headers={"X-Gristmill-Cost-Usd": request.match_info["usd"]})

    async def raw(request: web.Request) -> web.Response:
        await note(request)
        return web.Response(body=request.query.get("body", "").encode(), content_type="application/json")

    async def moody(request: web.Request) -> web.StreamResponse:
        async with counted():
            return await _in_a_mood(request, await note(request))

    app = web.Application(client_max_size=16 * 1024**2)
    app.router.add_route("*", "/echo", echo)
    app.router.add_route("*", "/slow/{ms}", slow)
    app.router.add_route("*", "/empty", empty)
    app.router.add_route("*", "/status/{n}", status)
    app.router.add_route("*", "/flaky/{n}", flaky)
    app.router.add_route("*", "/cost/{usd}", cost)
    app.router.add_route("*", "/raw", raw)
    app.router.add_route("*", "/moody", moody)
    return app


async def _in_a_mood(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Whatever endpoints do to their callers, now and then."""
    mood = random.choice(MOODS) if random.random() < MOODY_SHARE else "well"  # noqa: S311 - no secret
    await asyncio.sleep({"hangs": 2.0, "slow": 0.3}.get(mood, 0.01))
    if mood.startswith("busy"):
        asks = [{}, {"Retry-After": "0"}, {"Retry-After": "1"}, {"Retry-After": "soon"}]
        return web.Response(status=random.choice([429, 503]), headers=random.choice(asks))  # noqa: S311 - the same
    if mood == "down":
        return web.Response(status=random.choice([500, 502, 504]))  # noqa: S311 - the same
    if mood == "drops" and request.transport is not None:
        request.transport.abort()
    if mood == "babbles":
        return web.Response(text='{"echo": ')
    return web.json_response({"echo": body})


class AgentServer:
    """The agent in a thread of the test's process."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> AgentServer:
        """Serve on a free port; returns once it listens."""
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(make_app(self.calls), access_log=None)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())


if __name__ == "__main__":
    calls_file = Path(sys.argv[2]).open("a", encoding="utf-8") if len(sys.argv) > 2 else None  # noqa: SIM115 - for life
    web.run_app(
        make_app(Calls(), calls_file), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: None
    )
