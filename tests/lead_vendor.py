"""A vendor of company data over HTTP: knows what it is told, counts what it is asked, and misbehaves on request.

As a program it serves until it is killed: `python tests/lead_vendor.py PORT ASKED_FILE LATENCY_MS`. Then it knows every
`Company N` but each seventh, and writes each one that it is asked for to the file.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

KEY = "vendor-key-0123456789"


@dataclass
class Vendor:
    """`GET /find?company=...&zip=...` -> `{"data": [record, ...]}`."""

    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Company as asked -> records."""
    asked: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses and headers of the next answers."""
    results: list[dict[str, str]] = field(default_factory=list)
    """What `GET /search?q=...` answers."""
    pages: dict[str, str] = field(default_factory=dict)
    """HTML of `GET /page/NAME`."""
    completion: Any = None
    """What `POST /v1/chat/completions` answers, as the model's own text."""
    prompts: list[dict[str, Any]] = field(default_factory=list)
    latency_s: float = 0.0
    down: bool = False
    running: int = 0
    most_running: int = 0
    url: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _ready: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Vendor:
        threading.Thread(target=self._run, daemon=True).start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def config(self, **more: Any) -> dict[str, Any]:
        """What an `http` provider needs to ask it."""
        return {
            "url": f"{self.url}/find",
            "query": {"company": "{company}", "zip": "{zip}"},
            "needs": ["company"],
            "records": "data",
            "identity": {"company": "name", "street": "street", "city": "city", "zip": "zip", "phone": "phone"},
            "source": "link",
            "facts": [
                {"kind": "contact", "each": "people", "fields": {"display_name": "name", "title": "role"}},
                {"kind": "phone", "fields": {"number": "phone"}},
                {"kind": "email", "fields": {"address": "email"}},
                {"kind": "entity", "fields": {"legal_name": "legal_name", "website": "website"}},
            ],
            **more,
        }

    async def _search(self, request: web.Request) -> web.Response:
        self.asked[request.query.get("q", "")] += 1
        if self.down:
            return web.Response(status=500)
        return web.json_response({"results": self.results})

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked[f"page {name}"] += 1
        self.keys[request.headers.get("Authorization", "")] += 1
        if name not in self.pages:
            return web.Response(status=404)
        if self.pages[name].startswith("-> "):
            return web.Response(status=302, headers={"Location": self.pages[name][3:]})
        return web.Response(text=self.pages[name], content_type="text/html")

    async def _complete(self, request: web.Request) -> web.Response:
        self.prompts.append(await request.json())
        if self.down:
            return web.Response(status=503)
        text = self.completion if isinstance(self.completion, str) else json.dumps(self.completion)
        return web.json_response({"choices": [{"message": {"content": text}}]})

    async def _find(self, request: web.Request) -> web.Response:
        company = request.query.get("company", "")
        self.asked[company] += 1
        self.keys[request.headers.get("Authorization", "")] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
        finally:
            self.running -= 1
        if self.down:
            return web.Response(status=500, text=f"down; you sent {request.headers.get('Authorization')}")
        if self.faults:
            status, headers = self.faults.pop(0)
            return web.Response(status=status, headers=headers, text="no")
        return web.json_response({"data": self.records.get(company, [])})

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/find", self._find)
        app.router.add_get("/search", self._search)
        app.router.add_get("/page/{name}", self._page)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())


def record(name: str, **more: Any) -> dict[str, Any]:
    """A company as the vendor has it."""
    digits = f"{abs(hash(name)) % 10_000:04d}"
    slug = "".join(char for char in name.lower() if char.isalnum())
    return {
        "name": name,
        "legal_name": f"{name} Holdings Inc",
        "street": "100 Main St",
        "city": "Tampa",
        "zip": "33602",
        "phone": f"(813) 555-{digits}",
        "email": f"owner@{slug}.com",
        "website": f"https://{slug}.com",
        "people": [{"name": "Jordan Example", "role": "Owner"}],
        "link": f"https://vendor.example/{slug}",
        **more,
    }


def serve_any(port: int, asked_file: str, latency_s: float) -> None:
    """Know every company that is asked for, but each seventh."""
    log = Path(asked_file).open("a", encoding="utf-8")  # noqa: SIM115 - for life

    async def find(request: web.Request) -> web.Response:
        company = request.query["company"]
        log.write(f"{company}\n")
        log.flush()
        await asyncio.sleep(latency_s)
        number = int(company.split()[-1])
        phone = f"(813) {200 + number // 10_000}-{number % 10_000:04d}"
        known = number % 7 != 0
        found = [record(company, street=f"{number} Main St", phone=phone)] if known else []
        return web.json_response({"data": found})

    app = web.Application()
    app.router.add_get("/find", find)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=lambda *_: None)


if __name__ == "__main__":
    serve_any(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]) / 1000)
