"""A worker's seat at a batch, from taking it to leaving it.

Read `run_seat` aloud: look, claim and hold, run, settle and save, and again, until nothing is left. The agent runs
outside any transaction; everything a row changes is one transaction, fenced by the worker's lease (steps.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from gristmill.agents import InputField, Retry, RuntimeContext, input_of, runtimes
from gristmill.agents.service import parse_config
from gristmill.base import jsons
from gristmill.base.clock import Deadline
from gristmill.base.db import Tx, Unavailable
from gristmill.base.errors import Error
from gristmill.base.ids import uuid7
from gristmill.base.log import get_log
from gristmill.batches import run_store, steps, store
from gristmill.batches.calls import CallLimits, Calls
from gristmill.batches.model import CLAIM_ROWS_MAX, FLUSH_S_MAX, IDLE_S_MAX, LIVE, LOOK_S, PREFETCH_S, Finished
from gristmill.batches.pools import Claimed
from gristmill.engine import LOCAL_QUEUE, SHARED_QUEUE, JobContext, enqueue, every, on_worker_lost, register

log = get_log("batches")
T = TypeVar("T")

AWAY = (Unavailable, psycopg.OperationalError)
"""What tells that the database can't be reached just now."""
SEAT_JOB = "batches.seat"
RENEW_S = 1.0
"""How often a seat whose rows all run asks whether it may run more."""
RETRY_PAUSE_S = 0.5
"""Pause before a step is tried again after the database was away."""
PREFETCH_PACE_S_MAX = 1.0
"""Calls slower than this are not worth claiming ahead for."""
AHEAD_ROWS_MAX = 2 * CLAIM_ROWS_MAX
INPUTS_AT_ONCE = 5_000
"""Rows read at a time by a runtime that sees all rows of a batch together."""
PROGRESS_EVERY_S = 600.0
PROGRESS_KEPT_HOURS = 24
PROGRESS_BATCHES_MAX = 100
RESCUE_EVERY_S = 5.0
RESCUE_QUIET_S = 10.0
"""A live batch that nobody sits at and that has not changed for this long gets a new seat."""
RESCUE_AGAIN_S = 60
RESCUE_BATCHES_MAX = 100
FLUSH_SHARE = 0.1
"""A finished row waits at most this share of a call's usual time to be saved together with others."""
_transactions = ThreadPoolExecutor(max_workers=16, thread_name_prefix="step")


@register(SEAT_JOB)
async def run_seat(context: JobContext, payload: dict[str, Any]) -> None:
    """Take part in one batch until it ends, is paused, or this worker drains."""
    while not await _take_part(context, payload):
        pass


async def _take_part(context: JobContext, payload: dict[str, Any]) -> bool:
    """False to begin anew: the database went away before the agent was ready, which says nothing about the batch."""
    organization_id, batch_id, epoch = payload["organization_id"], UUID(payload["batch_id"]), payload["epoch"]
    batch = await _until_back(context, organization_id, lambda tx: store.find_batch(tx, organization_id, batch_id))
    if batch is None or batch["epoch"] != epoch or batch["status"] not in LIVE:
        return True
    agent = batch["agent"]
    local = batch["queue"] == LOCAL_QUEUE
    try:
        runtime = runtimes.get(agent["runtime"])
        config = parse_config(runtime.Config, agent["config"])
        concurrency = await _until_back(context, organization_id, lambda tx: _concurrency(tx, batch["agent_id"]))
        opening = runtime.open(
            config,
            RuntimeContext(
                context.settings,
                organization_id,
                agent["name"],
                concurrency,
                local,
                batch["agent_id"],
                batch["price_micro_usd"],
                context.database,
                lambda: _inputs(context, batch),
            ),
        )
        async with opening as function:
            limits = CallLimits(
                batch_id, agent["timeout_s"], Retry(**agent["retry"]), context.settings.result_bytes_max
            )
            calls = Calls(function, limits, asyncio.get_running_loop())
            facts = steps.StepFacts(
                organization_id,
                batch["agent_id"],
                batch_id,
                context.worker_id,
                epoch,
                runtime.provider_key(config),
                known_columns=dict.fromkeys(batch["result_columns"]),
            )
            await Sitting(context, facts, calls, batch).sit()
    except steps.LeaseLost:
        log.warning("a seat ends: its worker's lease is gone", batch=str(batch_id))
    except Unavailable as error:
        log.warning("a seat waits for the database", batch=str(batch_id), error=error.message)
        await asyncio.sleep(RETRY_PAUSE_S)
        await _until_back(context, organization_id, lambda tx: _get_up(tx, context, batch_id, epoch))
        return False
    except Error as error:
        message = error.message
        log.warning("a batch can't run", batch=str(batch_id), error=message)
        await _until_back(context, organization_id, lambda tx: _fail(tx, context, batch_id, epoch, message))
    except Exception:
        log.exception("a seat broke", batch=str(batch_id))
        message = "A defect of ours stopped the run; the workers' log has the details. Resume goes on from here."
        await _until_back(context, organization_id, lambda tx: _fail(tx, context, batch_id, epoch, message))
    return True


def _inputs(context: JobContext, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the agent gets of every row of a batch that runs, in order, read in pages."""
    input_fields = [InputField(**item) for item in batch["agent"]["input_fields"]]
    after = 0
    while True:
        with context.database.tx(batch["organization_id"]) as tx:
            page = run_store.list_inputs(tx, batch["id"], after=after, limit=INPUTS_AT_ONCE)
        for _, text in page:
            yield input_of(jsons.loads(text), batch["mapping"], input_fields)
        if len(page) < INPUTS_AT_ONCE:
            return
        after = page[-1][0]


class Sitting:
    """One seat while it is taken."""

    def __init__(self, context: JobContext, facts: steps.StepFacts, calls: Calls, batch: dict[str, Any]) -> None:
        self._context = context
        self._facts = facts
        self._calls = calls
        self._mapping: dict[str, str] = batch["mapping"]
        self._input_fields = [InputField(**item) for item in batch["agent"]["input_fields"]]
        self._slots = 1
        self._not_before = Deadline(0.0)
        self._renewal = Deadline(0.0)
        """When this seat asks for its slots again though it has nothing to save or claim: others may have left."""
        self._held: dict[int, int] = {}
        """Row number -> attempt of every row claimed and not yet saved."""
        self._unsure = False
        """A step's outcome is unknown: the database may hold rows for this seat that the seat does not know of."""
        self._id = uuid7()
        self._idle = Deadline(IDLE_S_MAX)
        """When this seat has been of no use for long."""

    async def sit(self) -> None:
        """Run rows until the batch is over, paused, or somebody else should; then give back what has not started."""
        live = True
        try:
            while live and not self._context.stopping.is_set() and not self._is_in_the_way():
                live, more = await self._step()
                if live and not more:
                    await self._rest()
        except BaseException:
            await self._calls.close()  # run_seat gives back what is held, where that is still ours to do
            raise
        await self._leave()
        if live:
            await self._persist(self._hand_over)

    def _is_in_the_way(self) -> bool:
        """Whether the worker's other jobs, for which there is no room, have waited long enough for this seat."""
        if self._calls.held or self._calls.finished:
            self._idle = Deadline(IDLE_S_MAX)
        return self._idle.passed and self._context.is_full()

    async def _step(self) -> tuple[bool, bool]:
        """Save what has finished, claim what comes next, start it: (batch is live, more can be claimed at once)."""
        finished = self._calls.take(CLAIM_ROWS_MAX)
        want = 0 if self._not_before.left_s > 0 else self._room()
        if not finished and want == 0 and not self._renewal.passed:
            return await self._look(), False
        self._renewal = Deadline(RENEW_S)
        result = await self._save_and_claim(finished, want)
        self._slots = result.slots
        starved = want > 0 and not result.rows
        # Never longer than a renewal: rows of a worker that died may come back before a retry is due.
        self._not_before = Deadline(min(result.wait_s, RENEW_S) or (LOOK_S if starved else 0.0))
        self._calls.set_slots(result.slots)
        self._calls.offer(result.calls)
        return result.live, 0 < want == len(result.rows) and self._room() > 0

    def _room(self) -> int:
        """Rows to claim: what slots are free, and what will start while the next step is under way."""
        if self._slots == 0:
            return 1  # others must shrink first: ask again
        pace_s = self._calls.pace_ms / 1000
        ahead = max(self._slots / 2, self._slots * PREFETCH_S / pace_s) if 0 < pace_s < PREFETCH_PACE_S_MAX else 0.0
        held_max = int(self._slots + min(ahead, AHEAD_ROWS_MAX))
        return min(max(0, held_max - self._calls.held), CLAIM_ROWS_MAX)

    async def _save_and_claim(self, finished: list[Finished], want: int, *, leaving: bool = False) -> steps.StepResult:
        """The step's transaction, tried again for as long as the database is away: results wait, none is dropped."""
        result = await self._persist(lambda tx: self._transact(tx, finished, want, leaving=leaving), self._read)
        self._unsure = False
        for row in finished:
            self._held.pop(row.row_number, None)
        self._held.update({row[0]: row[1] for row in result.rows})
        if result.refused:
            log.warning("late rows refused", batch=str(self._facts.batch_id), rows=result.refused)
        return result

    async def _persist(self, function: Callable[[Tx], T], after: Callable[[T], None] | None = None) -> T:
        """Run a transaction, again and again while the database is away; then `after`, in the same thread."""
        return await _until_back(self._context, self._facts.organization_id, function, after, self._doubt)

    def _doubt(self) -> None:
        """A transaction ended without an answer: it may have committed."""
        self._unsure = True
        self._facts.known_columns.clear()

    def _transact(self, tx: Tx, finished: list[Finished], want: int, *, leaving: bool) -> steps.StepResult:
        if self._unsure:
            batch = run_store.claim_batch(tx, self._facts.batch_id)
            if batch:
                steps.give_back(tx, batch, self._facts.worker_id, self._facts.epoch, keep=self._held, lost=False)
        in_flight, held = self._calls.in_flight, self._calls.held
        return steps.step(tx, self._facts, finished, want=want, in_flight=in_flight, held=held, leaving=leaving)

    async def _look(self) -> bool:
        """Whether the batch still wants this seat's work."""
        try:
            state = await self._in_tx(lambda tx: run_store.find_state(tx, self._facts.batch_id))
        except AWAY:
            return True
        return state is not None and state[0] in LIVE and state[1] == self._facts.epoch

    async def _rest(self) -> None:
        """Wait until there is something to save or to claim, letting finished rows gather for a moment."""
        self._calls.give_up_on_overdue()
        wait_s = LOOK_S if self._not_before.left_s == 0 else min(LOOK_S, self._not_before.left_s)
        if self._calls.finished == 0 and self._calls.held == 0 and self._slots > 0:
            wait_s = min(wait_s, LOOK_S / 2)
        await self._calls.wait(wait_s)
        if 0 < self._calls.finished < CLAIM_ROWS_MAX / 2 and self._calls.held > 0:
            await asyncio.sleep(min(FLUSH_S_MAX, self._calls.pace_ms / 1000 * FLUSH_SHARE))

    async def _leave(self) -> None:
        """Give back rows that have not started, wait for those in flight, save them, leave the seat."""
        told = False
        while self._calls.finished or self._calls.held:
            self._calls.put_back(self._calls.withdraw())
            finished = self._calls.take(CLAIM_ROWS_MAX)
            if finished or not told:
                await self._save_and_claim(finished, 0, leaving=True)
                told = True
            else:
                self._calls.give_up_on_overdue()
                await self._calls.wait(LOOK_S)
        await self._calls.close()
        await self._persist(
            lambda tx: run_store.delete_seat(tx, self._facts.batch_id, self._facts.worker_id, self._facts.epoch)
        )

    def _hand_over(self, tx: Tx) -> None:
        """Rows are left, but this worker drains, or has others to serve first: let the next one take the seat."""
        batch = run_store.claim_batch(tx, self._facts.batch_id)
        if batch and batch["status"] in LIVE and batch["epoch"] == self._facts.epoch:
            enqueue_seat(tx, batch, key=f"handed-over-{self._id}")

    def _read(self, result: steps.StepResult) -> None:
        """Read the claimed rows, once the batch's lock is free again for others."""
        result.calls = [
            Claimed(number, attempt, tries, input_of(jsons.loads(data), self._mapping, self._input_fields))
            for number, attempt, tries, data in result.rows
        ]

    async def _in_tx(self, function: Callable[[Tx], T]) -> T:
        return await _in_tx(self._context, self._facts.organization_id, function)


def enqueue_seat(tx: Tx, batch: dict[str, Any], *, key: str) -> None:
    """Ask for one more worker at a batch."""
    enqueue(
        tx,
        SEAT_JOB,
        {"organization_id": batch["organization_id"], "batch_id": str(batch["id"]), "epoch": batch["epoch"]},
        key=f"seat-{batch['id']}-{batch['epoch']}-{key}",
        partition=f"{batch['id']}-{batch['epoch']}",
        queue=batch["queue"],
    )


def _concurrency(tx: Tx, agent_id: int) -> int:
    limits = run_store.find_agent_limits(tx, agent_id)
    return int(limits["concurrency"]) if limits else 1


def _get_up(tx: Tx, context: JobContext, batch_id: UUID, epoch: int) -> dict[str, Any] | None:
    """No row of this run of the batch stays with this worker, nor its seat; answers the batch as it was."""
    batch = run_store.claim_batch(tx, batch_id)
    if batch:
        steps.give_back(tx, batch, context.worker_id, epoch, keep={}, lost=False)
        run_store.delete_seat(tx, batch_id, context.worker_id, epoch)
    return batch


def _fail(tx: Tx, context: JobContext, batch_id: UUID, epoch: int, message: str) -> None:
    """End a run that can't go on."""
    batch = _get_up(tx, context, batch_id, epoch)
    if batch and batch["epoch"] == epoch and batch["status"] in LIVE:
        steps.fail(tx, batch, message)


@on_worker_lost
def take_over(tx: Tx, worker_id: UUID) -> None:
    """Give the rows of a dead worker back, each counted as one loss, and free its seats (system transaction)."""
    batch_ids = run_store.seats_of_worker(tx, worker_id)
    batches = [run_store.claim_batch(tx, batch_id) for batch_id in batch_ids]  # all locks before anything else
    for batch in batches:
        if batch is None:
            continue
        count = steps.give_back(tx, batch, worker_id, None, keep={}, lost=True)
        run_store.delete_seat(tx, batch["id"], worker_id)
        after = run_store.claim_batch(tx, batch["id"])
        if after:
            steps.close_if_over(tx, after)
        log.info("rows taken over", batch=str(batch["id"]), worker=str(worker_id), rows=count)


@every(PROGRESS_EVERY_S)
def forget_old_progress(tx: Tx) -> None:
    """Drop the change lists of batches that ended long ago; whoever comes back reads the rows anew."""
    store.delete_old_progress(tx, hours=PROGRESS_KEPT_HOURS, limit=PROGRESS_BATCHES_MAX)


@every(RESCUE_EVERY_S)
def rescue(tx: Tx) -> None:
    """Seat a worker at live batches that have none, whatever became of their jobs (system transaction)."""
    for batch in run_store.live_batches_without_seat(tx, SHARED_QUEUE, RESCUE_QUIET_S, RESCUE_BATCHES_MAX):
        enqueue_seat(tx, batch, key=f"rescue-{batch['revision']}-{int(tx.now.timestamp() // RESCUE_AGAIN_S)}")


async def _until_back(
    context: JobContext,
    organization_id: int,
    function: Callable[[Tx], T],
    after: Callable[[T], None] | None = None,
    doubt: Callable[[], None] = lambda: None,
) -> T:
    """Run a transaction, again and again while the database is away; `doubt` is told of each one without an answer."""
    while True:
        try:
            return await _in_tx(context, organization_id, function, after)
        except AWAY as error:
            log.warning("a seat waits for the database", error=str(error)[:200])
            doubt()
            await asyncio.sleep(RETRY_PAUSE_S)


async def _in_tx(
    context: JobContext, organization_id: int, function: Callable[[Tx], T], after: Callable[[T], None] | None = None
) -> T:
    """Run a function in a transaction in a thread: database calls never block the loop."""

    def work() -> T:
        with context.database.tx(organization_id) as tx:
            result = function(tx)
        if after is not None:
            after(result)
        return result

    return await asyncio.get_running_loop().run_in_executor(_transactions, work)
