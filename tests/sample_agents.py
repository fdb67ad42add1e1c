"""Agent functions that the tests run."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

from gristmill.agents import RowResult
from gristmill.base.errors import PluginError


def echo(row: dict[str, Any], context: Any) -> dict[str, Any]:
    return dict(row)


async def echo_async(row: dict[str, Any], context: Any) -> dict[str, Any]:
    return dict(row)


def nothing(row: dict[str, Any], context: Any) -> None:
    return None


def breaks(row: dict[str, Any], context: Any) -> dict[str, Any]:
    raise ValueError(f"no luck with {row}")


def odd_breaks(row: dict[str, Any], context: Any) -> dict[str, Any]:
    if row["n"] % 2:
        raise ValueError("odd")
    return {"half": row["n"] // 2}


def flaky(row: dict[str, Any], context: Any) -> dict[str, Any]:
    if context.attempt < 3:
        raise ConnectionError("try again")
    return {"attempt": context.attempt}


def wait(row: dict[str, Any], context: Any) -> dict[str, Any]:
    time.sleep(float(row.get("s", context.options.get("s", 0.02))))
    return {"waited": True}


async def wait_async(row: dict[str, Any], context: Any) -> dict[str, Any]:
    await asyncio.sleep(float(row.get("s", context.options.get("s", 0.02))))
    return {"waited": True}


def cheap(row: dict[str, Any], context: Any) -> RowResult:
    return RowResult({"ok": True}, cost_micro_usd=int(row["cost"]))


def kills_worker(row: dict[str, Any], context: Any) -> dict[str, Any]:
    if row.get("poison"):
        os._exit(9)
    return {"ok": True}


def throttled(row: dict[str, Any], context: Any) -> dict[str, Any]:
    if context.attempt == 1:
        raise PluginError("slow down", permanent=False, code="http_429", retry_after_s=0.05, throttled=True)
    return {"attempt": context.attempt}


class Gate:
    """Lets a test hold rows inside the agent."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.running = 0
        self.most = 0
        self.lock = threading.Lock()


gate = Gate()


def gated(row: dict[str, Any], context: Any) -> dict[str, Any]:
    with gate.lock:
        gate.running += 1
        gate.most = max(gate.most, gate.running)
    gate.entered.release()
    gate.open.wait(30)
    with gate.lock:
        gate.running -= 1
    return {"n": row["n"]}
