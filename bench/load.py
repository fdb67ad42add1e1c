"""A load generator in a process of its own: many clients that GET one URL, each on its own connection.

Closed loop: a client sends its next request when it has the answer to the one before. Paced: a client has a request
due at fixed times, and its time counts from when it was due, so a slow answer is not hidden by the requests that it
kept from being sent. Run by api.py with its orders as JSON; prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvloop


@dataclass(frozen=True)
class Orders:
    """What to do."""

    url: str
    secret: str
    clients: int
    seconds: float
    per_s: float
    """Requests per second of each client; 0 for closed loop."""


async def client(session: aiohttp.ClientSession, orders: Orders, seen: list[float], wrong: list[str]) -> None:
    """One client until the time is over."""
    pause = 1 / orders.per_s if orders.per_s else 0.0
    due = time.perf_counter() + random.random() * pause
    ends = time.perf_counter() + orders.seconds
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            async with session.get(orders.url) as answer:
                body = await answer.read()
                if answer.status != 200:
                    wrong.append(f"{answer.status} {body[:200]!r}")
        except (aiohttp.ClientError, TimeoutError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
        now = time.perf_counter()
        seen.append(now - due)
        due = due + pause if pause else now


async def run(orders: Orders) -> dict[str, Any]:
    """All clients; a few requests first, so that connections are open and code is warm."""
    seen: list[float] = []
    wrong: list[str] = []
    headers = {"Authorization": f"Bearer {orders.secret}"}
    limit = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(
        headers=headers, connector=aiohttp.TCPConnector(limit=0), timeout=limit
    ) as session:
        first = Orders(orders.url, orders.secret, orders.clients, 1.0, 2.0)
        await asyncio.gather(*(client(session, first, [], wrong) for _ in range(orders.clients)))
        begun = time.perf_counter()
        await asyncio.gather(*(client(session, orders, seen, wrong) for _ in range(orders.clients)))
        took = time.perf_counter() - begun
    seen.sort()
    return {
        "requests": len(seen),
        "per_s": len(seen) / took,
        "p50_ms": seen[len(seen) // 2] * 1000,
        "p99_ms": seen[min(len(seen) - 1, int(len(seen) * 0.99))] * 1000,
        "max_ms": seen[-1] * 1000,
        "wrong": len(wrong),
        "example": wrong[0] if wrong else "",
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Orders(**json.loads(sys.argv[1]))))))
