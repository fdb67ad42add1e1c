"""The runner's transactions under every crash we can think of.

A state machine plays several workers on one batch. Each rule is one named step or one mishap between two: a
transaction that rolls back, one that commits but whose answer is lost, a worker that dies with rows in hand, a dead
worker that comes back and writes late, a pause, a resume, a cancel, a retry, a top-up. After every rule the books must
balance; at the end the workers that are left must finish by themselves, each running no more rows than it has slots
for, and every row must have ended once and been charged at most once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from conftest import fund, make_agent, make_organization
from gristmill import batches, ledger
from gristmill.base.db import Database, Tx
from gristmill.base.ids import uuid7
from gristmill.batches import run_store, steps, store
from gristmill.batches.model import Finished
from gristmill.batches.runner import take_over
from gristmill.engine import LOCAL_QUEUE
from gristmill.engine.store import delete_worker, insert_worker

PRICE = 1_000
OUTCOMES = st.sampled_from(["succeeded", "succeeded", "succeeded", "empty", "failed", "pending", "throttled"])
ROUNDS_MAX = 300


class LostError(Exception):
    """Raised to roll a transaction back, as a crash would."""


@dataclass
class Player:
    """A worker as the test plays it."""

    facts: steps.StepFacts
    hand: dict[int, int] = field(default_factory=dict)
    """Rows it knows that it holds: row number -> attempt."""
    slots: int = 0
    unsure: bool = False
    dead: bool = False


class Play(RuleBasedStateMachine):
    database: Database

    @initialize(
        rows=st.integers(1, 12),
        money=st.integers(0, 14),
        priced=st.booleans(),
        concurrency=st.integers(1, 4),
        limit=st.none() | st.integers(1, 12),
        max_failures=st.none() | st.integers(0, 3),
    )
    def begin(
        self, rows: int, money: int, priced: bool, concurrency: int, limit: int | None, max_failures: int | None
    ) -> None:
        self.organization = make_organization(self.database)
        self.concurrency = concurrency
        agent = make_agent(
            self.database,
            self.organization,
            concurrency=concurrency,
            price_micro_usd=PRICE if priced else 0,
            retry={"max_attempts": 3, "backoff": 0.0},
        )
        self.agent = agent
        if money:
            fund(self.database, self.organization, money * PRICE)
        with self.tx() as tx:
            order = batches.Order(
                origin={"kind": "items"}, mapping={}, queue=LOCAL_QUEUE, row_limit=limit, max_failures=max_failures
            )
            items = [{"n": number // 2 if number % 5 == 4 else number + 100} for number in range(rows)]
            self.batch_id = batches.create(tx, self.organization, agent, order, items).id
        self.players: list[Player] = []
        for _ in range(3):
            self._enter()

    def tx(self) -> Any:
        return self.database.tx(self.organization)

    def batch(self, tx: Tx) -> dict[str, Any]:
        found = store.find_batch(tx, self.organization, self.batch_id)
        assert found is not None
        return found

    def _enter(self) -> Player:
        with self.tx() as tx:
            epoch = self.batch(tx)["epoch"]
        worker_id = uuid7()
        with self.database.system() as tx:
            insert_worker(tx, worker_id, host="test", pid=1, queues=[])
        facts = steps.StepFacts(self.organization, self.agent.id, self.batch_id, worker_id, epoch, "python:test")
        player = Player(facts)
        self.players.append(player)
        return player

    @rule(
        index=st.integers(0, 5), ends=st.lists(OUTCOMES, max_size=4), want=st.integers(0, 5), mishap=st.integers(0, 9)
    )
    def step(self, index: int, ends: list[str], want: int, mishap: int) -> None:
        """One step of a worker: some rows it holds have ended, and it wants more."""
        player = self.players[index % len(self.players)]
        held = list(player.hand.items())
        finished = [self._end(number, attempt, end) for (number, attempt), end in zip(held, ends, strict=False)]
        in_flight = min(len(held) - len(finished), player.slots)
        try:
            with self.tx() as tx:
                if player.unsure:
                    batch = run_store.claim_batch(tx, self.batch_id)
                    assert batch is not None
                    steps.give_back(tx, batch, player.facts.worker_id, player.facts.epoch, keep=player.hand, lost=False)
                room = max(0, min(want, self.concurrency - in_flight))
                left = len(held) - len(finished)
                result = steps.step(tx, player.facts, finished, want=room, in_flight=in_flight, held=left)
                if mishap == 0:
                    raise LostError
        except LostError:
            player.unsure = True
            return
        except steps.LeaseLost:
            assert player.dead
            return
        if mishap == 1:  # committed, but the worker never hears of it
            player.unsure = True
            return
        player.unsure = False
        player.slots = result.slots if result.live else player.slots
        if player.dead:
            assert not result.rows, "a worker without a lease must get no rows"
            assert result.refused == len(finished), "a dead worker's write must change nothing"
        for row in finished:
            player.hand.pop(row.row_number)
        player.hand.update({row[0]: row[1] for row in result.rows})

    def _end(self, number: int, attempt: int, end: str) -> Finished:
        if end == "succeeded":
            return Finished(
                number, attempt, "succeeded", ran=True, result='{"ok": true}', columns=("ok",), duration_ms=1
            )
        if end == "empty":
            return Finished(number, attempt, "empty", ran=True, duration_ms=1)
        if end == "failed":
            return Finished(number, attempt, "failed", ran=True, error_code="x", error="x")
        throttled = end == "throttled"
        return Finished(
            number, attempt, "pending", ran=True, error_code="x", error="x", wait_s=0.0, throttled=throttled
        )

    @rule(index=st.integers(0, 5))
    def die(self, index: int) -> None:
        """A worker dies and is found dead; it may come back later as a zombie that knows nothing of it."""
        player = self.players[index % len(self.players)]
        self._reap(player)
        if sum(not item.dead for item in self.players) == 0:
            self._enter()

    def _reap(self, player: Player) -> None:
        with self.database.system() as tx:
            take_over(tx, player.facts.worker_id)
            delete_worker(tx, player.facts.worker_id)
        player.dead = True

    @rule()
    def join(self) -> None:
        if len(self.players) < 6:
            self._enter()

    @rule(what=st.sampled_from(["pause", "resume", "cancel", "retry"]))
    def command(self, what: str) -> None:
        with self.tx() as tx:
            try:
                if what == "retry":
                    batches.retry(tx, self.organization, self.batch_id, batches.RetryOrder(), self.agent)
                else:
                    getattr(batches, what)(tx, self.organization, self.batch_id)
            except (batches.WrongState, Exception) as error:
                if type(error).__name__ not in {"WrongState", "Invalid"}:
                    raise

    @rule(cents=st.integers(1, 5))
    def top_up(self, cents: int) -> None:
        fund(self.database, self.organization, cents * PRICE)

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "batch_id"):
            with self.tx() as tx:
                check_books(tx, self.organization, self.batch_id)
                seats = run_store.list_seats(tx, self.agent.id)
                assert sum(seat.slots for seat in seats) <= self.concurrency

    def teardown(self) -> None:
        if not hasattr(self, "batch_id"):
            return
        fund(self.database, self.organization, 100 * PRICE)
        status = self._play_on()
        with self.tx() as tx:
            check_books(tx, self.organization, self.batch_id)
            receipt = batches.receipt(tx, self.organization, self.batch_id)
        assert status in {"completed", "cancelled"}
        assert receipt.pending == 0
        assert receipt.running == 0
        assert receipt.held_usd == "0.000000"

    def _play_on(self) -> str:
        """Whoever is alive goes on until the batch ends."""
        for _ in range(ROUNDS_MAX):
            with self.tx() as tx:
                status = self.batch(tx)["status"]
                if status in {"paused", "failed"}:
                    batches.resume(tx, self.organization, self.batch_id)
            alive = [player for player in self.players if not player.dead]
            if status in {"completed", "cancelled"} and not any(player.hand or player.unsure for player in alive):
                return status
            for player in alive or [self._enter()]:
                self._take_turn(player)
        pytest.fail("the batch does not end")

    def _take_turn(self, player: Player) -> None:
        """What the runner does: run as many rows as there are slots, save them, ask for as many as may run."""
        ran = [self._end(*row, "succeeded") for row in list(player.hand.items())[: player.slots]]
        left = len(player.hand) - len(ran)
        with self.tx() as tx:
            batch = run_store.claim_batch(tx, self.batch_id)
            assert batch is not None
            if player.unsure:
                steps.give_back(tx, batch, player.facts.worker_id, player.facts.epoch, keep=player.hand, lost=False)
            want = max(1 if player.slots == 0 else 0, player.slots - left)
            result = steps.step(tx, player.facts, ran, want=want, in_flight=0, held=left)
            if not result.live:
                steps.give_back(tx, batch, player.facts.worker_id, player.facts.epoch, keep={}, lost=False)
                run_store.delete_seat(tx, self.batch_id, player.facts.worker_id)
        player.unsure = False
        if not result.live:
            self.players.remove(player)
            return
        for row in ran:
            player.hand.pop(row.row_number)
        player.slots = result.slots
        player.hand.update({row[0]: row[1] for row in result.rows})


def check_books(tx: Tx, organization: int, batch_id: UUID) -> None:
    """Everything that must be true of a batch and its money at any moment."""
    batch = store.find_batch(tx, organization, batch_id)
    assert batch is not None
    counted = store.count_rows(tx, batch_id)
    for status in ("pending", "running", "succeeded", "empty", "failed", "skipped", "duplicate", "cancelled"):
        assert batch[status] == counted.get(status, 0), f"{status} is counted wrong"
    sums = tx.one(
        "SELECT coalesce(sum(held_micro_usd), 0) AS held, coalesce(sum(charge_micro_usd), 0) AS charged,"
        " count(*) FILTER (WHERE status = 'running' AND worker_id IS NULL) AS orphans"
        " FROM batch_row WHERE batch_id = %s",
        (batch_id,),
    )
    balance = ledger.balance(tx, organization)
    assert sums["held"] == batch["held_micro_usd"] == balance.held_micro_usd
    assert sums["charged"] == batch["spent_micro_usd"] == balance.spent_micro_usd
    assert sums["orphans"] == 0
    moved = tx.one(
        "SELECT coalesce(sum(amount_micro_usd) FILTER (WHERE kind = 'hold'), 0) AS hold,"
        " coalesce(sum(amount_micro_usd) FILTER (WHERE kind = 'settle'), 0) AS settle,"
        " coalesce(sum(amount_micro_usd) FILTER (WHERE kind = 'release'), 0) AS release FROM ledger_entry"
        " WHERE organization_id = %s",
        (organization,),
    )
    assert moved["hold"] == moved["settle"] + moved["release"] + balance.held_micro_usd
    assert moved["settle"] == balance.spent_micro_usd
    twice = tx.rows(
        "SELECT row_number FROM ledger_entry WHERE batch_id = %s AND kind = 'settle' GROUP BY row_number"
        " HAVING count(*) > 1",
        (batch_id,),
    )
    assert not twice, "a row was charged twice"


def test_any_order_of_steps_and_mishaps(database: Database) -> None:
    Play.database = database
    run = Play.TestCase
    run.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run().runTest()
