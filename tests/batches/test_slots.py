"""Who may run what: several batches of one agent, each with seats in several workers, never wait for each other.

A play has the runner's rules in a thread: rows claimed ahead wait for a slot, rows that run take some turns, and what
ends is saved with the next step. Money is short, providers ask for less, retries wait, people change the agent and
pause and resume its batches. Whatever happened, each batch must come to its end within so many turns, and no more rows
may ever run than the agent allows.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import pytest

from conftest import fund, make_agent, make_organization
from gristmill import batches
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.batches import Order, run_store, runner, steps
from gristmill.batches.model import Finished
from gristmill.engine import LOCAL_QUEUE, JobContext
from gristmill.engine.store import insert_worker

PRICE = 1_000
TURNS_MAX = 400
HOUR_S = 3600.0


@dataclass
class Seated:
    """A worker's seat at a batch, as the runner has it."""

    facts: steps.StepFacts
    slots: int = 1
    waiting: dict[int, int] = field(default_factory=dict)
    """Rows claimed and not started: row number -> attempt."""
    running: dict[int, int] = field(default_factory=dict)
    finished: list[Finished] = field(default_factory=list)
    leaves: bool = False


@dataclass
class Stage:
    """One agent, its batches and their seats."""

    database: Database
    concurrency: int
    price: int = 0
    ahead: int = 0
    """Rows that a seat claims beyond its slots."""
    seats: list[Seated] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.organization = make_organization(self.database)
        self.agent = make_agent(
            self.database, self.organization, concurrency=self.concurrency, price_micro_usd=self.price
        )

    def make_batch(self, rows: int, **order: Any) -> UUID:
        with self.database.tx(self.organization) as tx:
            wanted = Order(origin={"kind": "items"}, mapping={}, queue=LOCAL_QUEUE, **order)
            return batches.create(tx, self.organization, self.agent, wanted, [{"n": n} for n in range(rows)]).id

    def get(self, batch_id: UUID) -> batches.Batch:
        with self.database.tx(self.organization) as tx:
            return batches.get(tx, self.organization, batch_id)

    def make_workers(self, count: int) -> list[UUID]:
        workers = [uuid7() for _ in range(count)]
        with self.database.system() as tx:
            for worker in workers:
                insert_worker(tx, worker, host="elsewhere", pid=1, queues=[])
        return workers

    def sit(self, batch_id: UUID, worker: UUID) -> Seated:
        with self.database.tx(self.organization) as tx:
            epoch = tx.one("SELECT epoch FROM batch WHERE id = %s", (batch_id,))["epoch"]
        facts = steps.StepFacts(self.organization, self.agent.id, batch_id, worker, epoch, "python:test")
        self.seats.append(Seated(facts))
        return self.seats[-1]

    def turn(self, seat: Seated, *, want: int | None = None) -> steps.StepResult:
        """Save what has ended and claim what there is room for, as `Sitting._step` does."""
        held = len(seat.waiting) + len(seat.running)
        if want is None:
            want = 1 if seat.slots == 0 else max(0, seat.slots + self.ahead - held)
        if seat.leaves:
            want = 0
        with self.database.tx(self.organization) as tx:
            in_flight = len(seat.running)
            result = steps.step(
                tx, seat.facts, seat.finished, want=want, in_flight=in_flight, held=held, leaving=seat.leaves
            )
        seat.finished = []
        if not result.live:
            self._leave(seat)
            return result
        seat.slots = result.slots
        seat.waiting.update({row[0]: row[1] for row in result.rows})
        self._start(seat)
        return result

    def _leave(self, seat: Seated) -> None:
        seat.leaves = True
        seat.finished += [Finished(*row, "pending", ran=False) for row in seat.waiting.items()]
        seat.waiting.clear()
        if not seat.finished and not seat.running:
            self.seats.remove(seat)
            with self.database.tx(self.organization) as tx:
                run_store.delete_seat(tx, seat.facts.batch_id, seat.facts.worker_id, seat.facts.epoch)

    def _start(self, seat: Seated) -> None:
        while not seat.leaves and seat.waiting and len(seat.running) < seat.slots:
            number = next(iter(seat.waiting))
            seat.running[number] = seat.waiting.pop(number)

    def end(self, seat: Seated, number: int, **how: Any) -> None:
        """A row that runs ends; the next one takes its slot."""
        values: dict[str, Any] = {"status": "succeeded", "result": "{}", "ran": True, **how}
        if values["status"] != "succeeded":
            del values["result"]
        seat.finished.append(Finished(number, seat.running.pop(number), **values))
        self._start(seat)


def test_who_can_not_pay_leaves_the_slot_to_who_has_paid(fresh_database: Database) -> None:
    """One slot, all money held for rows claimed ahead by one seat; the other, which comes first, can claim none."""
    stage = Stage(fresh_database, concurrency=1, price=PRICE, ahead=2)
    fund(fresh_database, stage.organization, 3 * PRICE)
    batch_id = stage.make_batch(10)
    first, second = stage.make_workers(2)
    holder = stage.sit(batch_id, second)
    stage.turn(holder)
    stage.sit(batch_id, first)
    for _ in range(30):
        for seat in list(stage.seats):
            for number in list(seat.running):
                stage.end(seat, number)
            stage.turn(seat)
    done = stage.get(batch_id)
    assert (done.status, done.reason, done.succeeded) == ("paused", "balance", 3)


def test_rows_that_wait_for_a_retry_keep_no_slot(fresh_database: Database) -> None:
    stage = Stage(fresh_database, concurrency=1)
    urgent, other = stage.make_batch(1, priority=1), stage.make_batch(3, priority=100)
    worker, another = stage.make_workers(2)
    waits = stage.sit(urgent, worker)
    stage.turn(waits)
    stage.end(waits, 1, status="pending", wait_s=HOUR_S)
    stage.turn(waits)
    runs = stage.sit(other, another)
    for _ in range(10):
        stage.turn(waits)
        if runs in stage.seats:
            for number in list(runs.running):
                stage.end(runs, number)
            stage.turn(runs)
    assert stage.get(other).status == "completed"
    assert stage.get(urgent).pending == 1


def test_the_slot_is_taken_again_when_the_retry_is_due(fresh_database: Database) -> None:
    stage = Stage(fresh_database, concurrency=1)
    batch_id = stage.make_batch(1)
    seat = stage.sit(batch_id, *stage.make_workers(1))
    stage.turn(seat)
    stage.end(seat, 1, status="pending", wait_s=HOUR_S)
    assert stage.turn(seat).slots == 0
    assert HOUR_S - 60 < stage.turn(seat).wait_s <= HOUR_S
    with fresh_database.tx(stage.organization) as tx:
        tx.run("UPDATE batch_row SET not_before = now()")
    assert [row[:2] for row in stage.turn(seat).rows] == [(1, 2)]


@pytest.mark.parametrize("how", ["drained", "paused"])
def test_a_seat_that_is_left_keeps_only_the_slots_in_use(fresh_database: Database, how: str) -> None:
    """A row that runs for an hour must not keep nine more from running elsewhere."""
    stage = Stage(fresh_database, concurrency=4)
    batch_id = stage.make_batch(12)
    worker, another = stage.make_workers(2)
    old = stage.sit(batch_id, worker)
    while len(old.running) < 4:
        stage.turn(old)
    for number in list(old.running)[1:]:
        stage.end(old, number)
    if how == "paused":
        with fresh_database.tx(stage.organization) as tx:
            batches.pause(tx, stage.organization, batch_id)
            batches.resume(tx, stage.organization, batch_id)
    else:
        old.leaves = True
    stage.turn(old)
    new = stage.sit(batch_id, another)
    stage.turn(new)
    assert new.slots == 3


def test_a_seat_that_only_waits_makes_room_for_the_jobs_of_others(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With enough batches of one agent all places of a worker would be taken by seats without a slot."""
    monkeypatch.setattr(runner, "IDLE_S_MAX", 0.2)
    stage = Stage(fresh_database, concurrency=1)
    first, second = stage.make_batch(1), stage.make_batch(1)
    worker, another = stage.make_workers(2)
    stage.turn(stage.sit(first, worker))
    payload = {"organization_id": stage.organization, "batch_id": str(second), "epoch": 1}
    full: list[bool] = []

    async def wait_for_a_slot() -> None:
        context = JobContext(another, fresh_database, settings(), asyncio.Event(), is_full=lambda: bool(full))
        seat = asyncio.ensure_future(runner.run_seat(context, payload))
        await asyncio.sleep(0.6)
        assert not seat.done(), "nobody else wants the place"
        full.append(True)
        await asyncio.wait_for(seat, 10)

    asyncio.run(wait_for_a_slot())
    with fresh_database.tx(stage.organization) as tx:
        assert [seat.batch_id for seat in run_store.list_seats(tx, stage.agent.id)] == [first]
    assert stage.get(second).status == "queued"
    with psycopg.connect(fresh_database.url) as connection:
        queued = connection.execute(
            "SELECT count(*) FROM dbos.workflow_status WHERE queue_partition_key = %s", (f"{second}-1",)
        ).fetchone()
    assert queued == (2,), "the first job, which nobody took, and the one that goes on"


@pytest.mark.parametrize("seed", range(12))
def test_every_batch_ends_whatever_the_agent_and_its_people_do(database: Database, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    stage = Stage(database, chance.randint(1, 3), price=chance.choice([0, PRICE]), ahead=chance.choice([0, 1, 3]))
    ids = [
        stage.make_batch(chance.randint(1, 8), priority=chance.choice([1, 100])) for _ in range(chance.randint(1, 3))
    ]
    workers = stage.make_workers(chance.randint(1, 3))
    if stage.price:
        fund(database, stage.organization, chance.randint(1, 6) * PRICE)
    found: list[batches.Batch] = []
    for turn in range(TURNS_MAX):
        calm = turn > TURNS_MAX // 4
        _meddle(stage, ids, chance, calm=calm)
        found = [stage.get(batch_id) for batch_id in ids]
        if calm and all(batch.status in {"completed", "cancelled"} and not batch.running for batch in found):
            return
        for batch in found:
            if batch.status in {"queued", "running"} and chance.random() < 0.7:
                _seat_somebody(stage, batch.id, chance.choice(workers))
        for seat in list(stage.seats):
            for number in list(seat.running):
                if chance.random() < 0.5:
                    stage.end(seat, number, **_outcome(chance, calm=calm))
            stage.turn(seat)
        with database.tx(stage.organization) as tx:
            taken = sum(seat.slots for seat in run_store.list_seats(tx, stage.agent.id))
        assert sum(len(seat.running) for seat in stage.seats) <= taken
    pytest.fail(f"stuck: {[(batch.status, batch.pending, batch.running) for batch in found]}, {stage.seats}")


def _seat_somebody(stage: Stage, batch_id: UUID, worker: UUID) -> None:
    with stage.database.tx(stage.organization) as tx:
        epoch = tx.one("SELECT epoch FROM batch WHERE id = %s", (batch_id,))["epoch"]
    taken = {(seat.facts.batch_id, seat.facts.worker_id, seat.facts.epoch) for seat in stage.seats}
    if (batch_id, worker, epoch) not in taken:
        stage.sit(batch_id, worker)


def _outcome(chance: random.Random, *, calm: bool) -> dict[str, Any]:
    how = chance.choice(["succeeded"] * 4 + ([] if calm else ["retry", "throttled", "failed"]))
    if how == "succeeded":
        return {}
    if how == "failed":
        return {"status": "failed", "error_code": "x", "error": "x"}
    wait_s = chance.choice([0.0, HOUR_S])
    return {"status": "pending", "wait_s": wait_s, "throttled": how == "throttled", "retry_after_s": wait_s / HOUR_S}


def _meddle(stage: Stage, ids: list[UUID], chance: random.Random, *, calm: bool) -> None:
    """What people and time do; in calm times only what brings a batch on."""
    batch_id = chance.choice(ids)
    with stage.database.tx(stage.organization) as tx:
        batch = batches.get(tx, stage.organization, batch_id)
        if batch.status in {"paused", "failed"} and chance.random() < 0.5:
            batches.resume(tx, stage.organization, batch_id)
        elif not calm and batch.status in {"queued", "running"} and chance.random() < 0.05:
            chance.choice([batches.pause, batches.pause, batches.cancel])(tx, stage.organization, batch_id)
        if not calm and chance.random() < 0.1:
            tx.run("UPDATE agent SET concurrency = %s WHERE id = %s", (chance.randint(1, 3), stage.agent.id))
        if chance.random() < 0.3:  # an hour passes
            tx.run("UPDATE batch_row SET not_before = now() WHERE not_before IS NOT NULL")
            tx.run("UPDATE pace SET blocked_until = now()")
    if stage.price and chance.random() < 0.3:
        fund(stage.database, stage.organization, chance.randint(1, 2) * PRICE)
