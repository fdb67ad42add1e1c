"""The calls of one worker at one batch: starts rows as slots allow, gathers how they ended, judges what that means."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from gristmill.agents import Retry, RowCall, RowFunction, RowResult
from gristmill.agents.model import RETRY_AFTER_S_MAX, backoff_s
from gristmill.base import jsons
from gristmill.base.errors import PluginError
from gristmill.base.ids import row_uuid
from gristmill.batches.model import Finished
from gristmill.batches.pools import Claimed, Tasks, Threads
from gristmill.tables import flatten

ERROR_CHARS_MAX = 2_000
CODE_CHARS_MAX = 100
TRACE_BYTES_MAX = 16_384


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What holds for every call of a batch."""

    batch_id: UUID
    timeout_s: float
    retry: Retry
    result_bytes_max: int


class Calls:
    """Rows waiting, rows in flight, rows finished. All methods are for the event loop's thread."""

    def __init__(self, function: RowFunction, limits: CallLimits, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._loop = loop
        self._slots = 0
        self._done: deque[Finished] = deque()
        self._changed = asyncio.Event()
        self._signalled = False
        self.pace_ms = 0.0
        """Moving average of a call's duration."""
        self._pool: Tasks | Threads = (
            Tasks(cast("Callable[[RowCall], Awaitable[RowResult]]", function), self._finish, self._call)
            if inspect.iscoroutinefunction(function)
            else Threads(cast("Callable[[RowCall], RowResult]", function), self._finish, self._call)
        )

    @property
    def in_flight(self) -> int:
        """Rows whose agent has been called and has not answered."""
        return self._pool.in_flight

    @property
    def held(self) -> int:
        """Rows waiting or in flight."""
        return self._pool.held

    @property
    def finished(self) -> int:
        """Rows ended and not yet taken to be saved."""
        return len(self._done)

    def set_slots(self, slots: int) -> None:
        """Change how many rows may be in flight."""
        self._slots = slots
        self._pool.set_slots(slots)

    def offer(self, rows: list[Claimed]) -> None:
        """Take rows to be started as soon as slots are free."""
        self._pool.offer(rows)

    def withdraw(self) -> list[Finished]:
        """Take back all rows that have not started, as rows to be given back."""
        return [Finished(row.row_number, row.attempt, "pending", ran=False) for row in self._pool.withdraw()]

    def take(self, limit: int) -> list[Finished]:
        """Rows to be saved, oldest first."""
        done = self._done
        return [done.popleft() for _ in range(min(limit, len(done)))]

    def put_back(self, rows: list[Finished]) -> None:
        """Keep rows that could not be saved just now."""
        self._done.extendleft(reversed(rows))

    async def wait(self, timeout_s: float) -> None:
        """Until a row finishes or the time is over."""
        self._signalled = False
        if not self._done:
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                return

    def give_up_on_overdue(self) -> None:
        """Fail calls that overran their time limit. Raises `CallsStuck` when they leave no thread for others."""
        self._pool.give_up_on_overdue(self._limits.timeout_s)

    async def close(self) -> None:
        """Stop threads and tasks."""
        await self._pool.close()

    def _call(self, row: Claimed) -> RowCall:
        return RowCall(
            row_uuid(self._limits.batch_id, row.row_number),
            row.row_number,
            row.tries + 1,
            row.input,
            self._limits.timeout_s,
            last=row.tries + 1 >= self._limits.retry.max_attempts,
        )

    def _finish(self, row: Claimed, outcome: RowResult | PluginError, elapsed_s: float) -> None:
        """Note how a row ended; called from any thread."""
        elapsed_ms = elapsed_s * 1000
        self.pace_ms = elapsed_ms if self.pace_ms == 0 else self.pace_ms * 0.9 + elapsed_ms * 0.1
        self._done.append(_judged(row, outcome, int(elapsed_ms), self._limits))
        if not self._signalled:
            self._signalled = True
            self._loop.call_soon_threadsafe(self._changed.set)


def _judged(row: Claimed, outcome: RowResult | PluginError, elapsed_ms: int, limits: CallLimits) -> Finished:
    """`judge`, whatever a plug-in has made of the outcome's fields: a row that nobody can judge has ended, too."""
    try:
        return judge(row, outcome, elapsed_ms, limits)
    except Exception as error:  # noqa: BLE001 - the thread or task that asks has nobody else to tell
        message = f"The agent's outcome can't be read: {type(error).__name__}."
        return _failed(row, PluginError(message, permanent=True, code="bad_answer"), elapsed_ms, limits)


def judge(row: Claimed, outcome: RowResult | PluginError, elapsed_ms: int, limits: CallLimits) -> Finished:
    """What an outcome means for its row: a result, nothing found, a retry, or a failure."""
    if isinstance(outcome, PluginError):
        return _failed(row, outcome, elapsed_ms, limits)
    try:
        text = jsons.dumps(outcome.value) if outcome.value else b""
        trace = jsons.dumps(outcome.trace)
        cost = None if outcome.cost_micro_usd is None else max(0, int(outcome.cost_micro_usd))
    except (TypeError, ValueError, RecursionError) as error:
        reason = PluginError(f"The result can't be written as JSON: {error}", permanent=True, code="bad_answer")
        return _failed(row, reason, elapsed_ms, limits)
    if len(text) > limits.result_bytes_max:
        reason = PluginError(
            f"The result has {len(text)} bytes; at most {limits.result_bytes_max} are kept.",
            permanent=True,
            code="result_too_large",
        )
        return _failed(row, reason, elapsed_ms, limits)
    return Finished(
        row.row_number,
        row.attempt,
        "succeeded" if text else "empty",
        ran=True,
        result=text.decode() if text else None,
        columns=column_names(outcome.value) if outcome.value else (),
        cost_micro_usd=cost,
        duration_ms=elapsed_ms,
        trace=trace.decode() if outcome.trace and len(trace) <= TRACE_BYTES_MAX else None,
    )


def _trace(facts: dict[str, Any] | None) -> str | None:
    """The trace of a failure as it is kept; none when it can't be."""
    try:
        text = jsons.dumps(facts) if facts else b""
    except (TypeError, ValueError, RecursionError):
        return None
    return text.decode() if 0 < len(text) <= TRACE_BYTES_MAX else None


def column_names(value: dict[str, Any]) -> tuple[str, ...]:
    """Names of a result's columns once it is flattened."""
    nested = any(isinstance(item, dict | list) for item in value.values())
    return tuple(flatten(value)) if nested else tuple(map(str, value))


def _failed(row: Claimed, reason: PluginError, elapsed_ms: int, limits: CallLimits) -> Finished:
    tries = row.tries + 1
    retry_after_s = _bounded_s(reason.retry_after_s)
    again = not reason.permanent and tries < limits.retry.max_attempts
    return Finished(
        row.row_number,
        row.attempt,
        "pending" if again else "failed",
        ran=True,
        error_code=_storable(reason.code)[:CODE_CHARS_MAX],
        error=_storable(reason.message)[:ERROR_CHARS_MAX],
        duration_ms=elapsed_ms,
        wait_s=backoff_s(limits.retry, tries, retry_after_s) if again else None,
        trace=_trace(reason.trace),
        throttled=bool(reason.throttled),
        retry_after_s=retry_after_s if reason.throttled else None,
    )


def _storable(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _bounded_s(asked_s: float | None) -> float | None:
    """A pause that a provider asks for, within reason: some send a time of day where seconds belong."""
    if asked_s is None or not math.isfinite(asked_s):
        return None
    return min(max(0.0, asked_s), RETRY_AFTER_S_MAX)
