"""How rows are run: coroutines as tasks on the event loop, plain functions in threads of our own.

Two kinds behind one shape, so that neither pays for the other's machinery. Whatever a function does, its row ends:
one that overruns and can't be stopped is left behind, and another takes its place.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gristmill.agents import RowCall, RowResult
from gristmill.base.errors import Error, PluginError

THREADS_MAX = 256
"""Most threads for plain functions of one batch in one worker."""
STUCK_THREADS_MAX = 64
"""Most threads given up on because their call overran its time limit."""
STUCK_S_MAX = 60.0
"""So long no row gets a thread, because all hang in calls that overran, before the run is given up."""
HEED_S = 5.0
"""A coroutine that has not heeded its cancellation after this time is given up, too."""


class CallsStuck(Error):
    """The agent's function hangs, in so many calls that no thread is left for others."""

    code = "unavailable"


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A row that this worker holds."""

    row_number: int
    attempt: int
    """The claim's number; the fence."""
    tries: int
    """Attempts that ran before."""
    input: dict[str, Any]


Finish = Callable[[Claimed, RowResult | PluginError, float], None]
"""Told how a row ended and after how many seconds; from any thread."""


def _crash(error: BaseException) -> PluginError:
    """A defect of the plug-in: its author sees the type and the message, the row fails for good."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception that can't even be shown
        message = "?"
    return PluginError(f"{type(error).__name__}: {message}", permanent=True)


def _overdue(timeout_s: float) -> PluginError:
    return PluginError(f"The agent did not answer within {timeout_s:g} s.", permanent=False, code="timed_out")


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs is in one
    return task


class Tasks:
    """Coroutine functions: one task a row."""

    def __init__(
        self, function: Callable[[RowCall], Awaitable[RowResult]], finish: Finish, call: Callable[[Claimed], RowCall]
    ) -> None:
        self._function = function
        self._finish = finish
        self._call = call
        self._slots = 0
        self._waiting: deque[Claimed] = deque()
        self._tasks: dict[asyncio.Task[None], tuple[Claimed, float]] = {}
        """Those in flight, with the row of each and when it began."""

    @property
    def in_flight(self) -> int:
        """Rows whose function has been called and has not ended."""
        return len(self._tasks)

    @property
    def held(self) -> int:
        """Rows waiting or in flight."""
        return len(self._waiting) + len(self._tasks)

    def set_slots(self, slots: int) -> None:
        """Change how many rows may be in flight."""
        self._slots = slots
        self._start()

    def offer(self, rows: list[Claimed]) -> None:
        """Take rows to be started as soon as slots are free."""
        self._waiting.extend(rows)
        self._start()

    def withdraw(self) -> list[Claimed]:
        """Take back all rows that have not started."""
        rows = list(self._waiting)
        self._waiting.clear()
        return rows

    def give_up_on_overdue(self, timeout_s: float) -> None:
        """Tasks carry their own time limit; one that does not heed it is left behind, and another takes its place."""
        now = time.monotonic()
        for task, (row, started) in list(self._tasks.items()):
            if now - started > timeout_s + HEED_S:
                del self._tasks[task]
                task.cancel()
                self._finish(row, _overdue(timeout_s), now - started)
        self._start()

    async def close(self) -> None:
        """Stop what can be stopped."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=HEED_S)

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < self._slots:
            row = self._waiting.popleft()
            task = asyncio.create_task(self._run(row))
            self._tasks[task] = row, math.inf
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._start()

    async def _run(self, row: Claimed) -> None:
        call = self._call(row)
        task, started = _this_task(), time.monotonic()
        self._tasks[task] = row, started
        outcome: RowResult | PluginError
        try:
            async with asyncio.timeout(call.timeout_s):
                outcome = await self._function(call)
        except PluginError as error:
            outcome = error
        except TimeoutError:
            outcome = _overdue(call.timeout_s)
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            # Something that the plug-in waited for was cancelled, and nobody has asked this task to end.
            outcome = PluginError("The agent's call was cancelled from within.", permanent=False)
        except BaseException as error:  # noqa: BLE001 - a plug-in's defect, or its exit(), fails its row, not the run
            outcome = _crash(error)
        if task in self._tasks:  # else it was given up
            self._finish(row, outcome, time.monotonic() - started)


class Threads:
    """Plain functions: as many threads as slots, each pulling rows."""

    def __init__(
        self, function: Callable[[RowCall], RowResult], finish: Finish, call: Callable[[Claimed], RowCall]
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
        self._held = 0
        self._stuck_since: float | None = None
        """Since when rows wait and every thread hangs."""
        self._lock = threading.Lock()

    @property
    def in_flight(self) -> int:
        """Rows whose function has been called and has not ended."""
        return len(self._running)

    @property
    def held(self) -> int:
        """Counted, not derived: a row between the queue and its thread is in neither."""
        return self._held

    def set_slots(self, slots: int) -> None:
        """Change how many rows may be in flight."""
        wanted = min(slots, THREADS_MAX)
        with self._lock:
            surplus = self._threads - self._stuck - wanted if wanted < self._wanted else 0
            self._wanted = wanted
        self._wake(surplus)
        self._staff()

    def _wake(self, count: int) -> None:
        """Let threads that wait for a row see that they are too many; those that are busy see it before their next."""
        for _ in range(count):
            self._queue.put(None)

    def offer(self, rows: list[Claimed]) -> None:
        """Take rows to be started as soon as slots are free."""
        with self._lock:
            self._held += len(rows)
        for row in rows:
            self._queue.put(row)
        self._staff()

    def _staff(self) -> None:
        """Start the threads that are wanted and have something to do."""
        with self._lock:
            missing = min(self._wanted + self._stuck, THREADS_MAX + STUCK_THREADS_MAX) - self._threads
            missing = max(0, min(missing, self._queue.qsize()))
            self._threads += missing
        for _ in range(missing):
            threading.Thread(target=self._work, name="agent-call", daemon=True).start()

    def withdraw(self) -> list[Claimed]:
        """Take back all rows that have not started."""
        rows: list[Claimed] = []
        wakes = 0
        with suppress(queue.Empty):
            while True:
                row = self._queue.get_nowait()
                if row is None:
                    wakes += 1
                else:
                    rows.append(row)
        with self._lock:
            self._held -= len(rows)
        self._wake(wakes)
        return rows

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
        self._check_stuck(now, timeout_s)

    def _check_stuck(self, now: float, timeout_s: float) -> None:
        with self._lock:
            free = self._threads - self._stuck
            stuck = self._wanted > 0 and free <= 0 and self._held > len(self._running)
        if not stuck:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > STUCK_S_MAX:
            raise CallsStuck(
                f"{self._stuck} calls of the agent's function hang: they did not return within {timeout_s:g} s, nor"
                " later, and no thread is left for other rows. Let the function give up in time, restart the workers,"
                " and resume."
            )

    async def close(self) -> None:
        """Stop what can be stopped."""
        self.set_slots(0)
        self._wake(self._threads)

    def _work(self) -> None:
        while True:
            row = self._queue.get()
            if self._is_surplus(row):
                return
            if row is None:
                continue
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

    def _is_surplus(self, row: Claimed | None) -> bool:
        """Whether this thread has to go; what it took from the queue is for those that stay."""
        with self._lock:
            if self._threads - self._stuck <= self._wanted:
                return False
            self._threads -= 1
        if row is not None:
            self._queue.put(row)
        return True

    def _end(self, row: Claimed, outcome: RowResult | PluginError, elapsed_s: float) -> None:
        """Hand the outcome on before the row stops being held, so that it is never in neither place."""
        self._finish(row, outcome, elapsed_s)
        with self._lock:
            self._held -= 1
