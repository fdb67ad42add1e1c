"""Agent functions that the benchmarks run; workers import them through PYTHONPATH."""

from __future__ import annotations

import asyncio
from typing import Any


def noop(row: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Give the row back: all the time a row takes is the engine's own."""
    return row


async def noop_async(row: dict[str, Any], _context: Any) -> dict[str, Any]:
    """The same as a coroutine."""
    return row


async def wait(row: dict[str, Any], context: Any) -> dict[str, Any]:
    """Wait as a remote agent would, without using the processor."""
    await asyncio.sleep(context.options["s"])
    return {"n": row["n"], "ok": True}
