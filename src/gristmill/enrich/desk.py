"""The memory of one run: what providers answered before, and the steps that people watch.

All hunts of a run share one desk. It gathers what they want to read and what they want to write, and does each in one
transaction at a time, so that a thousand hunts at once cost the database no more than a few do. Reading waits for no
writing: a hunt can't go on without what it reads.

An answer is written a moment after it came. A worker that is killed within that moment asks again; the row that asked
pays once all the same, since only its result is charged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from gristmill.base import jsons
from gristmill.base.db import Database, Tx
from gristmill.base.errors import PluginError
from gristmill.base.ids import split_row_uuid
from gristmill.base.log import get_log
from gristmill.enrich import answer_store
from gristmill.enrich.hunt import Remembered, Stage
from gristmill.enrich.providers import Asker, Document, Finding, Found, Query

log = get_log("enrich")

WRITE_AFTER_S = 0.1
"""An answer is written this long after it came, or sooner together with something else."""
SHOW_AFTER_S = 0.25
"""A step is shown once it is this old: a hunt that ends sooner needs nobody to watch it."""
STEPS_WAITING_MAX = 10_000
"""Most steps that wait to be shown; the oldest go first. The row's own trace has them all."""


@dataclass(slots=True)
class _Kept:
    digest: bytes
    provider: str
    finding: str
    row_id: UUID
    fetched_at: str
    remember_s: int


@dataclass(slots=True)
class _Step:
    row_id: UUID
    at: float
    text: str


@dataclass(slots=True)
class Desk:
    """See the module's docstring. All methods are for the event loop's thread."""

    database: Database | None
    """None: nothing is remembered, as in a trial without a database."""
    organization_id: int
    _wanted: dict[bytes, asyncio.Future[Remembered | None]] = field(default_factory=dict[Any, Any])
    _kept: dict[bytes, _Kept] = field(default_factory=dict[Any, Any])
    _steps: deque[_Step] = field(default_factory=deque[_Step])
    _asking: dict[bytes, asyncio.Future[tuple[Finding, str]]] = field(default_factory=dict[Any, Any])
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Something is to be read."""
    _told: asyncio.Event = field(default_factory=asyncio.Event)
    """Something is to be written."""
    _started: float = field(default_factory=monotonic)
    _now: datetime | None = None
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="desk"))

    async def recall(self, digest: bytes) -> Remembered | None:
        """The answer that is still good, from memory or from the database."""
        if self.database is None:
            return None
        kept = self._kept.get(digest)
        if kept is not None:
            return Remembered(_finding_of(jsons.loads(kept.finding)), kept.fetched_at, kept.row_id)
        future = self._wanted.get(digest)
        if future is None:
            future = self._wanted[digest] = asyncio.get_running_loop().create_future()
            self._asked.set()
        return await asyncio.shield(future)

    async def ask_once(self, digest: bytes | None, asker: Asker, query: Query) -> tuple[Finding, str, bool]:
        """Ask, or wait for the hunt that asks the same just now."""
        if digest is None:
            return *(await self._ask(asker, query)), True
        running = self._asking.get(digest)
        if running is not None:
            return *(await asyncio.shield(running)), False
        future = self._asking[digest] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._ask(asker, query)
        except BaseException as error:
            reason = error if isinstance(error, PluginError) else _interrupted()
            future.set_exception(reason)
            future.exception()  # whoever waits raises it; nobody waiting is no defect
            raise
        finally:
            del self._asking[digest]
        future.set_result(answer)
        return *answer, True

    async def _ask(self, asker: Asker, query: Query) -> tuple[Finding, str]:
        try:
            async with asyncio.timeout(query.timeout_s):
                return await asker.ask(query), self._time()
        except TimeoutError:
            raise PluginError(f"No answer within {query.timeout_s:g} s.", permanent=False, code="timed_out") from None

    def keep(self, digest: bytes, stage: Stage, finding: Finding, fetched_at: str, row_id: UUID) -> None:
        """Remember an answer; written in a moment."""
        if self.database is None:
            return
        text = jsons.dumps(finding).decode()
        if not self._kept:
            self._told.set()  # so that the wait becomes one for this
        self._kept[digest] = _Kept(digest, stage.name, text, row_id, fetched_at, stage.remember_s)

    def tell(self, row_id: UUID, step: Mapping[str, Any]) -> None:
        """Show a step, unless the hunt ends sooner than anybody could look."""
        if self.database is None:
            return
        if not self._steps:
            self._told.set()
        self._steps.append(_Step(row_id, monotonic(), jsons.dumps(step).decode()))
        if len(self._steps) > STEPS_WAITING_MAX:
            self._steps.popleft()

    def forget_steps(self, row_id: UUID) -> None:
        """A hunt has ended: what was not shown yet is in its row's own trace."""
        self._steps = deque(step for step in self._steps if step.row_id != row_id)

    def _time(self) -> str:
        """The database's time, RFC 3339, without asking it each time."""
        if self._now is None:
            return datetime.now().astimezone().isoformat()
        return (self._now + timedelta(seconds=monotonic() - self._started)).isoformat()

    async def serve(self) -> None:
        """Read and write until cancelled; failures of the database cost memory, never a hunt."""
        await asyncio.gather(self._serve_reading(), self._serve_writing())

    async def _serve_reading(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            wanted, self._wanted = self._wanted, {}
            found = await self._transact(self._read, list(wanted)) or {}
            for digest, future in wanted.items():
                if not future.done():
                    future.set_result(found.get(digest))

    async def _serve_writing(self) -> None:
        while True:
            pause_s = WRITE_AFTER_S if self._kept else SHOW_AFTER_S if self._steps else None
            try:
                async with asyncio.timeout(pause_s):
                    await self._told.wait()
            except TimeoutError:
                pass
            self._told.clear()
            if pause_s is not None:
                await self._write_due()

    async def _write_due(self) -> None:
        kept, due = list(self._kept.values()), monotonic() - SHOW_AFTER_S
        steps: list[_Step] = []
        while self._steps and self._steps[0].at <= due:
            steps.append(self._steps.popleft())
        if not kept and not steps:
            return
        await self._transact(self._write, kept, steps)
        for item in kept:
            if self._kept.get(item.digest) is item:
                del self._kept[item.digest]

    async def _transact(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._in_tx, function, *arguments)
        except Exception as error:  # noqa: BLE001 - memory is a convenience: without it the providers are asked
            log.warning("a desk could not read or write", error=str(error)[:300])

    def _in_tx(self, function: Callable[..., Any], *arguments: Any) -> Any:
        assert self.database is not None  # noqa: S101 - nothing is gathered without one
        with self.database.tx(self.organization_id) as tx:
            if self._now is None:
                self._now = tx.now - timedelta(seconds=monotonic() - self._started)
            return function(tx, *arguments)

    def _read(self, tx: Tx, wanted: list[bytes]) -> dict[bytes, Remembered]:
        return {
            bytes(row["input_hash"]): Remembered(
                _finding_of(row["finding"]), row["fetched_at"].isoformat(), row["row_id"]
            )
            for row in answer_store.find_answers(tx, self.organization_id, wanted)
        }

    def _write(self, tx: Tx, kept: list[_Kept], steps: list[_Step]) -> None:
        if kept:
            kept.sort(key=lambda item: item.digest)  # one order for all workers: no deadlocks
            answer_store.upsert_answers(
                tx,
                self.organization_id,
                digests=[item.digest for item in kept],
                providers=[item.provider for item in kept],
                findings=[item.finding for item in kept],
                row_ids=[item.row_id for item in kept],
                fetched=[item.fetched_at for item in kept],
                seconds=[item.remember_s for item in kept],
            )
        if steps:
            places = [split_row_uuid(step.row_id) for step in steps]
            answer_store.insert_steps(
                tx,
                self.organization_id,
                batch_ids=[place[0] for place in places],
                row_numbers=[place[1] for place in places],
                steps=[step.text for step in steps],
            )

    def close(self) -> None:
        """Nothing is read or written any more."""
        self._threads.shutdown(wait=False)

    async def write_rest(self) -> None:
        """What is still to be remembered, at the end of a run."""
        self._steps.clear()
        await self._write_due()


@asynccontextmanager
async def open_desk(database: Database | None, organization_id: int) -> AsyncGenerator[Desk]:
    """A desk that is served until the run ends."""
    desk = Desk(database, organization_id)
    if database is None:
        yield desk
        return
    serving = asyncio.create_task(desk.serve())
    try:
        yield desk
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await desk.write_rest()
        desk.close()


def _finding_of(value: Mapping[str, Any]) -> Finding:
    return Finding(
        [Found(**item) for item in value["found"]],
        value["confidence"],
        [Document(**item) for item in value["documents"]],
    )


def _interrupted() -> PluginError:
    return PluginError("Who asked first was interrupted.", permanent=False, code="interrupted")
