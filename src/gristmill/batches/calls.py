"""The calls of one worker at one batch: starts rows as slots allow, gathers how they ended.

Two kinds behind one shape: coroutines as tasks on the event loop, plain functions in threads of our own that pull
rows from a queue, so that neither kind pays for the other's machinery.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from gristmill.agents import Retry, RowCall, RowFunction, RowResult
from gristmill.agents.model import backoff_s
from gristmill.base import jsons
from gristmill.base.errors import PluginError
from gristmill.base.ids import row_uuid
from gristmill.batches.model import Finished
from gristmill.tables import flatten

THREADS_MAX = 256
"""Most threads for plain functions of one batch in one worker."""
STUCK_THREADS_MAX = 64
"""Most threads given up on because their call overran its time limit."""
ERROR_CHARS_MAX = 2_000
TRACE_BYTES_MAX = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A row that this worker holds."""

    row_number: int
    attempt: int
    """The claim's number; the fence."""
    tries: int
    """Attempts that ran before."""
    input: dict[str, Any]


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
        self._pool: _Tasks | _Threads = (
            _Tasks(cast("Callable[[RowCall], Awaitable[RowResult]]", function), self._finish, self._call)
            if inspect.iscoroutinefunction(function)
            else _Threads(cast("Callable[[RowCall], RowResult]", function), self._finish, self._call)
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
        """Fail calls in threads that overran their time limit."""
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
        self._done.append(judge(row, outcome, int(elapsed_ms), self._limits))
        if not self._signalled:
            self._signalled = True
            self._loop.call_soon_threadsafe(self._changed.set)


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
    again = not reason.permanent and tries < limits.retry.max_attempts
    return Finished(
        row.row_number,
        row.attempt,
        "pending" if again else "failed",
        ran=True,
        error_code=reason.code,
        error=reason.message.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        .encode("utf-8", "replace")
        .decode()[:ERROR_CHARS_MAX],
        duration_ms=elapsed_ms,
        wait_s=backoff_s(limits.retry, tries, reason.retry_after_s) if again else None,
        trace=_trace(reason.trace),
        throttled=reason.throttled,
        retry_after_s=reason.retry_after_s if reason.throttled else None,
    )


_Finish = Callable[[Claimed, RowResult | PluginError, float], None]


def _crash(error: BaseException) -> PluginError:
    """A defect of the plug-in: its author sees the type and the message, the row fails for good."""
    return PluginError(f"{type(error).__name__}: {error}", permanent=True)


def _overdue(timeout_s: float) -> PluginError:
    return PluginError(f"The agent did not answer within {timeout_s:g} s.", permanent=False, code="timed_out")


class _Tasks:
    """Coroutine functions: one task a row."""

    def __init__(
        self, function: Callable[[RowCall], Awaitable[RowResult]], finish: _Finish, call: Callable[[Claimed], RowCall]
    ) -> None:
        self._function = function
        self._finish = finish
        self._call = call
        self._slots = 0
        self._waiting: deque[Claimed] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    @property
    def held(self) -> int:
        return len(self._waiting) + len(self._tasks)

    def set_slots(self, slots: int) -> None:
        self._slots = slots
        self._start()

    def offer(self, rows: list[Claimed]) -> None:
        self._waiting.extend(rows)
        self._start()

    def withdraw(self) -> list[Claimed]:
        rows = list(self._waiting)
        self._waiting.clear()
        return rows

    def give_up_on_overdue(self, timeout_s: float) -> None:
        """Tasks carry their own time limit."""

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < self._slots:
            task = asyncio.create_task(self._run(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start()

    async def _run(self, row: Claimed) -> None:
        call = self._call(row)
        started = time.monotonic()
        outcome: RowResult | PluginError
        try:
            async with asyncio.timeout(call.timeout_s):
                outcome = await self._function(call)
        except PluginError as error:
            outcome = error
        except TimeoutError:
            outcome = _overdue(call.timeout_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something that the plug-in waited for was cancelled, and nobody has asked this task to end.
            outcome = PluginError("The agent's call was cancelled from within.", permanent=False)
        except BaseException as error:  # noqa: BLE001 - a plug-in's defect, or its exit(), fails its row, not the run
            outcome = _crash(error)
        self._finish(row, outcome, time.monotonic() - started)


class _Threads:
    """Plain functions: as many threads as slots, each pulling rows."""

    def __init__(
        self, function: Callable[[RowCall], RowResult], finish: _Finish, call: Callable[[Claimed], RowCall]
    ) -> None:
        self._function = function
        self._finish = finish
        self._call = call
        self._queue: queue.SimpleQueue[Claimed | None] = queue.SimpleQueue()
        self._running: dict[Claimed, float] = {}
        self._abandoned: set[Claimed] = set()
        self._threads = 0
        self._wanted = 0
        self._stuck = 0
        self._leaving = 0
        self._held = 0
        self._lock = threading.Lock()

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def held(self) -> int:
        """Counted, not derived: a row between the queue and its thread is in neither."""
        return self._held

    def set_slots(self, slots: int) -> None:
        self._wanted = min(slots, THREADS_MAX)
        with self._lock:
            surplus = self._threads - self._stuck - self._leaving - self._wanted
            self._leaving += max(surplus, 0)
        for _ in range(surplus):
            self._queue.put(None)
        self._staff()

    def offer(self, rows: list[Claimed]) -> None:
        with self._lock:
            self._held += len(rows)
        for row in rows:
            self._queue.put(row)
        self._staff()

    def _staff(self) -> None:
        """Start the threads that are wanted and have something to do."""
        with self._lock:
            alive = self._threads - self._leaving
            missing = min(self._wanted + self._stuck, THREADS_MAX + STUCK_THREADS_MAX) - alive
            missing = max(0, min(missing, self._queue.qsize()))
            self._threads += missing
        for _ in range(missing):
            threading.Thread(target=self._work, name="agent-call", daemon=True).start()

    def withdraw(self) -> list[Claimed]:
        rows: list[Claimed] = []
        while True:
            try:
                row = self._queue.get_nowait()
            except queue.Empty:
                return rows
            with self._lock:
                if row is None:
                    self._leaving -= 1
                else:
                    self._held -= 1
                    rows.append(row)

    def give_up_on_overdue(self, timeout_s: float) -> None:
        """Fail calls that overran: a thread can't be stopped, so it is left behind and another may take its place."""
        now = time.monotonic()
        for row, started in list(self._running.items()):
            if now - started <= timeout_s:
                continue
            with self._lock:
                if row not in self._running:
                    continue
                del self._running[row]
                self._abandoned.add(row)
                self._stuck += 1
            self._end(row, _overdue(timeout_s), now - started)
        self._staff()

    async def close(self) -> None:
        self.set_slots(0)

    def _work(self) -> None:
        while (row := self._queue.get()) is not None:
            started = time.monotonic()
            self._running[row] = started
            outcome: RowResult | PluginError
            try:
                outcome = self._function(self._call(row))
            except PluginError as error:
                outcome = error
            except BaseException as error:  # noqa: BLE001 - a plug-in's defect, or its exit(), fails its row
                outcome = _crash(error)
            with self._lock:
                late = row in self._abandoned
                if late:
                    self._abandoned.discard(row)
                    self._stuck -= 1
                else:
                    del self._running[row]
            if not late:
                self._end(row, outcome, time.monotonic() - started)
        with self._lock:
            self._threads -= 1
            self._leaving -= 1

    def _end(self, row: Claimed, outcome: RowResult | PluginError, elapsed_s: float) -> None:
        """Hand the outcome on before the row stops being held, so that it is never in neither place."""
        self._finish(row, outcome, elapsed_s)
        with self._lock:
            self._held -= 1
