"""The kill test: workers, server and database die at random moments, and the books are right in the end.

By default 3,000 rows and one round of kills; with GRISTMILL_SOAK=1 20,000 rows and several rounds. The seed is printed,
and GRISTMILL_KILL_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from flows.processes import SAMPLES, AgentProcess, Api, Up, kill, running_up, wait_for
from gristmill.base.ids import row_uuid

SOAK = os.environ.get("GRISTMILL_SOAK") == "1"
ROWS = 10_000 if SOAK else 1_500
"""Of each of the two batches."""
ROUNDS = 4 if SOAK else 1
CONCURRENCY = 16 if SOAK else 12
PRICE = 1_500
TAKEOVER_S_MAX = 30.0
PATIENCE_S = 60.0

pytestmark = [pytest.mark.xdist_group("kill"), pytest.mark.timeout(1800 if SOAK else 300)]


@dataclass
class Story:
    """What was killed, and how long it took until nothing of it was left."""

    up: Up
    api: Api
    chance: random.Random
    batches: list[str]
    takeovers: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def done(self) -> int:
        """Rows that have ended."""
        found = [self.api.batch(batch, patience_s=PATIENCE_S) for batch in self.batches]
        return sum(batch["rows_in"] - batch["pending"] - batch["running"] for batch in found)

    def tell(self, what: str, since: float) -> None:
        self.lines.append(f"{what}: {time.monotonic() - since:.2f} s")

    def kill_worker(self) -> None:
        """What it held must be somebody else's soon."""
        with self.up.connect() as connection:
            pid = self.chance.choice(wait_for(lambda: self.up.children("worker"), "a worker"))
            found = connection.execute("SELECT id FROM worker WHERE pid = %s", (pid,)).fetchone()
            kill(pid)
            killed = time.monotonic()
            if found is None:  # it was still starting
                return
            held = "SELECT count(*) FROM batch_row WHERE worker_id = %s"
            rows = connection.execute(held, found).fetchone()[0]  # type: ignore[index]
            wait_for(lambda: connection.execute(held, found).fetchone() == (0,), "the takeover", TAKEOVER_S_MAX)
            self.takeovers.append(time.monotonic() - killed)
            self.tell(f"a worker with {rows} rows in flight, taken over after", killed)

    def kill_server(self) -> None:
        """The API must answer again."""
        old = self.up.children("server")
        if not old:
            return
        kill(old[0])
        killed = time.monotonic()
        wait_for(lambda: self.up.children("server") not in ([], old), "another server")
        wait_for(self.up.is_ready, "the server's readiness", PATIENCE_S)
        self.tell("the server, ready again after", killed)

    def kill_database(self) -> None:
        """Rows must go on, with the workers that are there."""
        old, before = self.up.postmaster(), self.done()
        kill(old)
        killed = time.monotonic()
        wait_for(lambda: self.up.postmaster() not in {0, old}, "another database")
        wait_for(lambda: self.done() > before, "a row after the database's end", TAKEOVER_S_MAX)
        self.tell("the database, rows go on after", killed)


def test_nothing_is_lost_or_done_twice_whatever_is_killed(folder: Path, agent: AgentProcess) -> None:
    seed = int(os.environ.get("GRISTMILL_KILL_SEED") or random.randrange(10**6))  # noqa: S311 - no secret
    print(f"GRISTMILL_KILL_SEED={seed}")  # noqa: T201 - repeats a failure
    chance = random.Random(seed)  # noqa: S311 - the same
    # An outage of the database must not look like silence of a worker, so the lease is the usual one.
    with running_up(folder / "data", workers=2, env=SAMPLES) as up:
        api = up.api()
        funded = api.top_up("100")["funded_micro_usd"]
        common: dict[str, Any] = {"retry": {"max_attempts": 20, "backoff": 0.1}}
        there = api.make_agent(
            runtime="http", config={"url": f"{agent.url}/slow/150"}, concurrency=CONCURRENCY, **common
        )
        here = api.make_agent(
            config={"entry_point": "sample_agents:wait_async", "options": {"s": 0.15}},
            concurrency=CONCURRENCY,
            price_usd=f"{PRICE / 10**6:.6f}",
            **common,
        )
        batches = [api.run(agent_id, [{"n": n} for n in range(ROWS)], name="kill") for agent_id in (there, here)]
        story = Story(up, api, chance, batches)
        kills: list[Callable[[], None]] = [story.kill_worker, story.kill_server, story.kill_database] * ROUNDS
        moments = sorted(chance.sample(range(ROWS // 20, 2 * ROWS * 4 // 10), len(kills)))
        for moment, what in zip(moments, kills, strict=True):
            wait_for(lambda moment=moment: story.done() >= moment, f"{moment} rows", 600)
            assert story.done() < 2 * ROWS, "too fast: nothing was left to be interrupted"
            what()
        for batch in batches:
            done = api.await_batch(batch, within_s=600, patience_s=PATIENCE_S)
            assert done["succeeded"] == done["rows_in"] == ROWS
        story.lines.append(f"longest takeover: {max(story.takeovers, default=0):.2f} s")
        print("\n".join(story.lines))  # noqa: T201 - what was measured
        check_rows(api, batches, agent)
        with up.connect() as connection:
            check_books(connection, batches, funded)
            check_calls(connection, batches[0], agent)
        assert up.stop() == 0


def check_rows(api: Api, batches: list[str], agent: AgentProcess) -> None:
    """Every row ended once, with its own result; a call that was repeated is an attempt that is on record."""
    calls = agent.calls()
    for batch in batches:
        receipt = api.get(f"/batch_executions/{batch}/receipt")
        assert receipt["closed"]
        assert (receipt["rows_in"], receipt["succeeded"], receipt["held_usd"]) == (ROWS, ROWS, "0.000000")
        rows = api.rows(batch)
        assert [row["row_number"] for row in rows] == list(range(1, ROWS + 1))
        assert {row["status"] for row in rows} == {"succeeded"}
    for row in api.rows(batches[0]):
        assert row["result"] == {"echo": {"n": row["row_number"] - 1}}
    assert set(calls) == {row["id"] for row in api.rows(batches[0])}
    for row in api.rows(batches[1]):
        assert row["charge_micro_usd"] == PRICE


def check_calls(connection: psycopg.Connection, batch: str, agent: AgentProcess) -> None:
    """A row is called once more than it ended only where a worker died with it, and that is on record."""
    calls = agent.calls()
    rows = connection.execute("SELECT row_number, tries, losses FROM batch_row WHERE batch_id = %s", (batch,))
    for number, tries, losses in rows:
        assert tries <= calls[str(row_uuid(UUID(batch), number))] <= tries + losses, number


def check_books(connection: psycopg.Connection, batches: list[str], funded: int) -> None:
    """Each charge once, nothing held, the four accounts add up, and each batch told of its end once."""
    settles = connection.execute(
        "SELECT batch_id::text, row_number, count(*), sum(amount_micro_usd)::bigint FROM ledger_entry"
        " WHERE kind = 'settle' GROUP BY 1, 2"
    ).fetchall()
    assert {row[0] for row in settles} == {batches[1]}
    assert len(settles) == ROWS
    assert {row[2:] for row in settles} == {(1, PRICE)}
    moves = dict(connection.execute("SELECT kind, sum(amount_micro_usd)::bigint FROM ledger_entry GROUP BY 1"))  # type: ignore[arg-type]
    assert moves["hold"] == moves["settle"] + moves.get("release", 0)
    account = connection.execute(
        "SELECT funded_micro_usd, available_micro_usd, held_micro_usd, spent_micro_usd FROM ledger_account"
    ).fetchone()
    assert account == (funded, funded - ROWS * PRICE, 0, ROWS * PRICE)
    for batch in batches:
        kept = connection.execute(
            "SELECT status, running, held_micro_usd, spent_micro_usd FROM batch WHERE id = %s", (batch,)
        ).fetchone()
        assert kept == ("completed", 0, 0, ROWS * PRICE if batch == batches[1] else 0)
    left = connection.execute("SELECT count(*) FROM batch_row WHERE status = 'running' OR worker_id IS NOT NULL")
    assert left.fetchone() == (0,)
    wait_for(lambda: connection.execute("SELECT count(*) FROM seat").fetchone() == (0,), "all seats to be free")
    told = Counter(
        kind
        for (kind,) in connection.execute(
            "SELECT kind FROM event WHERE kind IN ("
            "'agent.batch.started', 'agent.batch.completed', 'agent.batch.paused', 'agent.batch.failed')"
        )
    )
    assert told == {"agent.batch.started": 2, "agent.batch.completed": 2}
