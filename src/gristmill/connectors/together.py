"""Coroutines that run at the same time: the first that fails ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Wait for all. When one raises, the others are cancelled and over before its error goes on."""
    tasks = [asyncio.ensure_future(item) for item in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
