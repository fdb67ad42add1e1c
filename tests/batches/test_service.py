"""Batches as their verbs promise, run by a real worker."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from agent_server import AgentServer
from conftest import fund, make_agent, make_organization, wait_for
from gristmill import agents, batches, events
from gristmill.agents.runtimes.python import PythonRuntime
from gristmill.base.db import Database, Unavailable
from gristmill.base.errors import Invalid, TooLarge
from gristmill.base.ids import uuid7
from gristmill.batches import Batch, Order, run_store, steps
from gristmill.batches.model import Finished
from gristmill.batches.runner import rescue, take_over
from gristmill.engine import Worker
from gristmill.engine.store import insert_worker
from gristmill.tables import read_table

ITEMS = Order(origin={"kind": "items"}, mapping={})


def order(**changes: Any) -> Order:
    values: dict[str, Any] = {"origin": {"kind": "items"}, "mapping": {}, **changes}
    return Order(**values)


def create(
    database: Database, agent: agents.Agent, organization: int, rows: list[dict[str, Any]], **more: Any
) -> Batch:
    with database.tx(organization) as tx:
        return batches.create(tx, organization, agent, order(**more), rows)


def get(database: Database, organization: int, batch_id: UUID) -> Batch:
    with database.tx(organization) as tx:
        return batches.get(tx, organization, batch_id)


def ended(database: Database, organization: int, batch_id: UUID) -> Batch:
    return wait_for(
        lambda: (
            (found := get(database, organization, batch_id)).status not in {"queued", "running"}
            and found.running == 0
            and found
        ),
        "the end of the batch",
    )


def rows_of(database: Database, organization: int, batch_id: UUID, **filters: Any) -> list[batches.BatchRow]:
    with database.tx(organization) as tx:
        page = batches.list_rows(
            tx,
            organization,
            batch_id,
            status=filters.get("status"),
            query=filters.get("query"),
            cursor=None,
            limit=1000,
        )
    return page.data


def exported(database: Database, organization: int, batch_id: UUID) -> list[dict[str, str]]:
    text = b"".join(batches.export(database, organization, batch_id, "csv")).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_run_and_come_out_in_their_order(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(database, organization)
    batch = create(database, agent, organization, [{"n": n, "name": f"x{n}"} for n in range(300)])
    done = ended(database, organization, batch.id)
    assert (done.status, done.succeeded, done.rows_in) == ("completed", 300, 300)
    out = exported(database, organization, batch.id)
    assert [line["n"] for line in out] == [str(n) for n in range(300)]
    assert list(out[0]) == ["n", "name", "row_number", "status", "charge_usd", "error_code", "error", "n_2", "name_2"]


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet"])
def test_every_export_is_read_back(database: Database, organization: int, worker: Worker, kind: str) -> None:
    agent = make_agent(database, organization)
    rows = [{"id": f"00{n}", "text": f'=1+{n}, "x"\nü'} for n in range(5)]
    batch = create(database, agent, organization, rows)
    ended(database, organization, batch.id)
    table = read_table(b"".join(batches.export(database, organization, batch.id, kind)))
    out = list(table.rows())
    assert [{"id": line["id"], "text": line["text"]} for line in out] == rows
    assert [(line["row_number"], line["status"]) for line in out] == [(str(n), "succeeded") for n in range(1, 6)]


def test_an_empty_batch_is_complete_at_once(database: Database, organization: int) -> None:
    batch = create(database, make_agent(database, organization), organization, [])
    assert (batch.status, batch.rows_in) == ("completed", 0)


def test_equal_rows_run_once_and_share_the_result(
    database: Database, organization: int, agent_server: AgentServer, worker: Worker
) -> None:
    agent = make_agent(database, organization, runtime="http", config={"url": f"{agent_server.url}/echo"})
    rows = [{"n": 1}, {"n": 2}, {"n": 1}, {"n": 1}]
    batch = create(database, agent, organization, rows)
    done = ended(database, organization, batch.id)
    assert (done.succeeded, done.duplicate) == (2, 2)
    assert len(agent_server.calls.bodies) == 2
    assert [line["echo.n"] for line in exported(database, organization, batch.id)] == ["1", "2", "1", "1"]


def test_rows_with_refused_input_fail_before_they_run_and_cost_nothing(
    database: Database, organization: int, worker: Worker
) -> None:
    fund(database, organization, 1_000_000)
    agent = make_agent(
        database,
        organization,
        price_micro_usd=1000,
        input_fields=[{"name": "n", "type": "integer", "required": True, "description": ""}],
    )
    batch = create(database, agent, organization, [{"n": "7"}, {"n": ""}, {"n": "x"}, {"other": 1}])
    done = ended(database, organization, batch.id)
    assert (done.succeeded, done.failed, done.spent_micro_usd) == (1, 3, 1000)
    refused = rows_of(database, organization, batch.id, status="failed")
    assert {row.error_code for row in refused} == {"input_invalid"}
    assert all(row.tries == 0 for row in refused)


def test_rows_over_the_limit_are_kept_as_skipped(database: Database, organization: int, worker: Worker) -> None:
    batch = create(
        database, make_agent(database, organization), organization, [{"n": n} for n in range(5)], row_limit=2
    )
    done = ended(database, organization, batch.id)
    assert (done.succeeded, done.skipped) == (2, 3)


def test_a_mapping_feeds_the_fields(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(database, organization)
    batch = create(database, agent, organization, [{"E-Mail": "a@x.io", "junk": 1}], mapping={"email": "E-Mail"})
    ended(database, organization, batch.id)
    row = rows_of(database, organization, batch.id)[0]
    assert row.result == {"email": "a@x.io"}
    with database.tx(organization) as tx:
        detail = batches.row_detail(tx, organization, row.id)
    assert detail.input == {"email": "a@x.io"}
    assert row.data == {"E-Mail": "a@x.io", "junk": 1}


def test_a_mapping_of_unknown_columns_is_refused_whole(database: Database, organization: int) -> None:
    agent = make_agent(database, organization)
    with pytest.raises(Invalid, match="columns that the rows do not have: Mail"):
        create(database, agent, organization, [{"email": "a"}], mapping={"email": "Mail"})
    with database.tx(organization) as tx:
        page = batches.list_batches(tx, organization, agent_id=agent.id, status=None, cursor=None, limit=10)
    assert page.data == []


def test_too_many_rows_leave_nothing(database: Database, organization: int, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(database, organization)
    monkeypatch.setattr(
        "gristmill.batches.service.settings", lambda: type("S", (), {"batch_rows_max": 3, "row_bytes_max": 100})
    )
    with pytest.raises(TooLarge, match="at most 3 rows"):
        create(database, agent, organization, [{"n": n} for n in range(4)])


def test_failures_are_grouped_and_retried_by_cause(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(database, organization, config={"entry_point": "sample_agents:odd_breaks"})
    batch = create(database, agent, organization, [{"n": n} for n in range(10)])
    done = ended(database, organization, batch.id)
    assert (done.status, done.succeeded, done.failed) == ("completed", 5, 5)
    with database.tx(organization) as tx:
        groups = batches.failures(tx, organization, batch.id)
    assert [(group.error_code, group.rows) for group in groups] == [("agent_error", 5)]
    with database.tx(organization) as tx:
        changed = agents.update(tx, organization, agent.id, {"config": {"entry_point": "sample_agents:echo"}})
        assert changed.version == 2
        again = batches.retry(
            tx, organization, batch.id, batches.RetryOrder(error_code="agent_error", update_agent=True), changed
        )
    assert again.pending == 5
    done = ended(database, organization, batch.id)
    assert (done.succeeded, done.failed, done.attempts) == (10, 0, 15)


def test_retryable_failures_are_tried_again_and_their_attempts_kept(
    database: Database, organization: int, worker: Worker
) -> None:
    agent = make_agent(
        database,
        organization,
        config={"entry_point": "sample_agents:flaky"},
        retry={"max_attempts": 3, "backoff": 0.01},
    )
    batch = create(database, agent, organization, [{"n": 1}])
    done = ended(database, organization, batch.id)
    assert (done.succeeded, done.attempts) == (1, 3)
    row = rows_of(database, organization, batch.id)[0]
    with database.tx(organization) as tx:
        detail = batches.row_detail(tx, organization, row.id)
    assert [attempt.status for attempt in detail.attempts] == ["retry", "retry", "succeeded"]
    assert detail.attempts[0].error == "ConnectionError: try again"
    assert row.result == {"attempt": 3}


def test_retries_are_bounded(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(
        database, organization, config={"entry_point": "sample_agents:flaky"}, retry={"max_attempts": 2, "backoff": 0.0}
    )
    batch = create(database, agent, organization, [{"n": 1}])
    assert ended(database, organization, batch.id).failed == 1


def test_results_of_earlier_batches_are_reused_at_no_cost(
    database: Database, organization: int, worker: Worker
) -> None:
    fund(database, organization, 1_000_000)
    agent = make_agent(database, organization, price_micro_usd=1000)
    first = create(database, agent, organization, [{"n": n} for n in range(4)])
    ended(database, organization, first.id)
    second = create(database, agent, organization, [{"n": n} for n in range(6)], reuse_within_s=3600)
    assert (second.reused, second.pending) == (4, 2)
    done = ended(database, organization, second.id)
    assert (done.succeeded, done.spent_micro_usd) == (6, 2000)
    row = rows_of(database, organization, second.id)[0]
    with database.tx(organization) as tx:
        detail = batches.row_detail(tx, organization, row.id)
    assert detail.reused_from == rows_of(database, organization, first.id)[0].id
    with database.tx(organization) as tx:
        changed = agents.update(tx, organization, agent.id, {"config": {"entry_point": "sample_agents:echo_async"}})
    third = create(database, changed, organization, [{"n": 1}], reuse_within_s=3600)
    assert third.reused == 0, "another version of the agent may answer otherwise"


def test_rows_changed_since_another_batch_run_again(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(database, organization)
    old = create(database, agent, organization, [{"n": 1}, {"n": 2}])
    ended(database, organization, old.id)
    new = create(database, agent, organization, [{"n": 1}, {"n": 3}])
    ended(database, organization, new.id)
    with database.tx(organization) as tx:
        again = batches.retry(tx, organization, new.id, batches.RetryOrder(changed_since=old.id), agent)
    assert again.pending == 1
    assert ended(database, organization, new.id).attempts == 3


def test_the_batch_pauses_exactly_when_the_next_row_cannot_be_held_and_goes_on_after_a_top_up(
    database: Database, organization: int, worker: Worker
) -> None:
    fund(database, organization, 7_500)
    agent = make_agent(database, organization, price_micro_usd=1_000)
    batch = create(database, agent, organization, [{"n": n} for n in range(20)])
    stopped = ended(database, organization, batch.id)
    assert (stopped.status, stopped.reason, stopped.succeeded, stopped.pending) == ("paused", "balance", 7, 13)
    assert "0.000500 USD does not cover" in stopped.message
    fund(database, organization, 20_000)
    with database.tx(organization) as tx:
        batches.resume(tx, organization, batch.id)
    done = ended(database, organization, batch.id)
    assert (done.status, done.succeeded, done.spent_micro_usd, done.held_micro_usd) == ("completed", 20, 20_000, 0)


def test_a_budget_is_never_exceeded(database: Database, organization: int, worker: Worker) -> None:
    fund(database, organization, 1_000_000)
    agent = make_agent(database, organization, price_micro_usd=1_000, config={"entry_point": "sample_agents:cheap"})
    rows = [{"n": n, "cost": 300} for n in range(20)]
    batch = create(database, agent, organization, rows, budget_micro_usd=3_000)
    stopped = ended(database, organization, batch.id)
    assert (stopped.status, stopped.reason) == ("paused", "budget")
    assert 2_000 < stopped.spent_micro_usd <= 3_000
    assert stopped.spent_micro_usd == stopped.succeeded * 300


def test_a_daily_budget_stops_the_agent(database: Database, organization: int, worker: Worker) -> None:
    fund(database, organization, 1_000_000)
    agent = make_agent(database, organization, price_micro_usd=1_000, daily_budget_micro_usd=5_000)
    batch = create(database, agent, organization, [{"n": n} for n in range(20)])
    stopped = ended(database, organization, batch.id)
    assert (stopped.reason, stopped.spent_micro_usd) == ("budget", 5_000)


@pytest.mark.parametrize(("bill_on_match", "spent"), [(True, 0), (False, 3_000)])
def test_nothing_found_is_billed_by_the_agents_rule(
    database: Database, organization: int, worker: Worker, bill_on_match: bool, spent: int
) -> None:
    fund(database, organization, 1_000_000)
    agent = make_agent(
        database,
        organization,
        price_micro_usd=1_000,
        bill_on_match=bill_on_match,
        config={"entry_point": "sample_agents:nothing"},
    )
    batch = create(database, agent, organization, [{"n": n} for n in range(3)])
    done = ended(database, organization, batch.id)
    assert (done.empty, done.spent_micro_usd) == (3, spent)


def test_too_many_failures_pause_the_batch(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(database, organization, config={"entry_point": "sample_agents:breaks"}, concurrency=1)
    batch = create(database, agent, organization, [{"n": n} for n in range(2_000)], max_failures=5)
    stopped = ended(database, organization, batch.id)
    assert (stopped.status, stopped.reason) == ("paused", "failures")
    assert stopped.failed > 5
    assert stopped.pending > 0


def test_an_agent_that_cannot_start_fails_the_batch_and_keeps_its_rows(
    database: Database, organization: int, worker: Worker
) -> None:
    agent = make_agent(database, organization, config={"entry_point": "sample_agents:not_there"})
    batch = create(database, agent, organization, [{"n": 1}])
    failed = ended(database, organization, batch.id)
    assert (failed.status, failed.pending) == ("failed", 1)
    assert "no function `not_there`" in failed.message


def test_an_agent_that_finds_the_database_away_starts_when_it_is_back(
    database: Database, organization: int, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker often starts together with the database; what it has to read then must not fail a batch."""
    asked: list[bool] = []

    def open_later(runtime: PythonRuntime, config: Any, context: Any) -> Any:
        asked.append(True)
        if len(asked) == 1:
            raise Unavailable("The database is not reachable.")
        return opens(runtime, config, context)

    opens = PythonRuntime.open
    monkeypatch.setattr(PythonRuntime, "open", open_later)
    batch = create(database, make_agent(database, organization), organization, [{"n": 1}])
    assert ended(database, organization, batch.id).status == "completed"
    assert len(asked) == 2


def test_a_row_that_kills_its_call_thread_for_too_long_times_out(
    database: Database, organization: int, worker: Worker
) -> None:
    agent = make_agent(
        database,
        organization,
        config={"entry_point": "sample_agents:wait", "options": {"s": 3.0}},
        timeout_s=0.2,
        retry={"max_attempts": 1, "backoff": 0.0},
    )
    batch = create(database, agent, organization, [{"n": 1}])
    done = ended(database, organization, batch.id)
    assert done.failed == 1
    assert rows_of(database, organization, batch.id)[0].error_code == "timed_out"


def test_cancel_keeps_what_has_finished(database: Database, organization: int, worker: Worker) -> None:
    agent = make_agent(
        database,
        organization,
        config={"entry_point": "sample_agents:wait_async", "options": {"s": 0.05}},
        concurrency=2,
    )
    batch = create(database, agent, organization, [{"n": n} for n in range(500)])
    wait_for(lambda: get(database, organization, batch.id).succeeded > 0, "the first result")
    with database.tx(organization) as tx:
        batches.cancel(tx, organization, batch.id)
    done = ended(database, organization, batch.id)
    assert done.status == "cancelled"
    assert done.succeeded > 0
    assert done.succeeded + done.cancelled == 500


def test_the_end_is_told_to_the_callback(
    database: Database, organization: int, agent_server: AgentServer, worker: Worker
) -> None:
    batch = create(
        database, make_agent(database, organization), organization, [{"n": 1}], callback_url=f"{agent_server.url}/echo"
    )
    ended(database, organization, batch.id)
    done = wait_for(lambda: (found := get(database, organization, batch.id)).callback and found, "the callback")
    assert done.callback == {"attempts": 1, "delivered": True, "status": 200}
    told = agent_server.calls.bodies[-1]
    with database.tx(organization) as tx:
        written = events.list_events(tx, organization, cursor=None, limit=10).data
    assert [event.kind for event in written] == ["agent.batch.started", "agent.batch.completed"]
    assert told["id"] == str(written[-1].id)
    assert told["data"]["receipt"]["closed"] is True


def test_hostile_cells_are_disarmed_in_csv_and_kept_in_jsonl(
    database: Database, organization: int, worker: Worker
) -> None:
    evil = "=cmd|' /C calc'!A0"
    batch = create(database, make_agent(database, organization), organization, [{"a": evil, "b": "-5", "c": "007"}])
    ended(database, organization, batch.id)
    line = exported(database, organization, batch.id)[0]
    assert (line["a"], line["b"], line["c"]) == (f"'{evil}", "-5", "007")
    assert evil.encode() in b"".join(batches.export(database, organization, batch.id, "jsonl"))


def test_long_numbers_and_odd_text_survive(database: Database, organization: int, worker: Worker) -> None:
    row = {
        "id": 123456789012345678901234567890,
        "z": "0012",
        "u": "naïve ☃ \u202e",
        "f": 0.1,
        "nul": "a\u0000b",
        "deep": {"a": [1, {"b": None}]},
    }
    batch = create(database, make_agent(database, organization), organization, [row])
    ended(database, organization, batch.id)
    assert rows_of(database, organization, batch.id)[0].result == row


def test_a_batch_whose_jobs_are_gone_is_given_a_new_seat(fresh_database: Database) -> None:
    organization = make_organization(fresh_database)
    batch = create(fresh_database, make_agent(fresh_database, organization), organization, [{"n": 1}])
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute("DELETE FROM dbos.workflow_status")
        connection.execute("UPDATE batch SET updated_at = now() - interval '1 minute'")
    with fresh_database.system() as tx:
        rescue(tx)
    with psycopg.connect(fresh_database.url) as connection:
        jobs = connection.execute("SELECT queue_partition_key FROM dbos.workflow_status").fetchall()
    assert jobs == [(f"{batch.id}-1",)]


def seat_at(database: Database, organization: int, batch: Batch) -> steps.StepFacts:
    """What a worker elsewhere knows that has come to a batch's first run."""
    worker_id = uuid7()
    with database.system() as tx:
        insert_worker(tx, worker_id, host="elsewhere", pid=1, queues=[])
    return steps.StepFacts(organization, batch.agent_id, batch.id, worker_id, 1, "python:test")


def test_a_row_claimed_ahead_gets_its_slot_back_after_the_provider_asked_for_less(fresh_database: Database) -> None:
    """It is the last one and nobody else can run it: without a slot the batch would never end."""
    organization = make_organization(fresh_database)
    agent = make_agent(fresh_database, organization)
    batch = create(fresh_database, agent, organization, [{"n": 1}, {"n": 2}])
    facts = seat_at(fresh_database, organization, batch)
    with fresh_database.tx(organization) as tx:
        first, _ = steps.step(tx, facts, [], want=2, in_flight=0, held=0).rows
    refused = Finished(first[0], first[1], "pending", ran=True, wait_s=0.0, throttled=True, retry_after_s=60.0)
    with fresh_database.tx(organization) as tx:
        assert steps.step(tx, facts, [refused], want=0, in_flight=0, held=1).slots == 0
        tx.run(
            "UPDATE batch_row SET status = 'succeeded' WHERE row_number = %s AND batch_id = %s", (first[0], batch.id)
        )
        tx.run("UPDATE batch SET pending = 0, succeeded = 1 WHERE id = %s", (batch.id,))
        tx.run("UPDATE pace SET blocked_until = now()")
    with fresh_database.tx(organization) as tx:
        assert steps.step(tx, facts, [], want=1, in_flight=0, held=1).slots == 1


def test_a_seat_gives_back_no_row_of_the_run_before(fresh_database: Database) -> None:
    """After a pause, slow rows go on in one seat while the same worker takes another: they would run twice."""
    organization = make_organization(fresh_database)
    agent = make_agent(fresh_database, organization)
    batch = create(fresh_database, agent, organization, [{"n": 1}, {"n": 2}])
    first_run = seat_at(fresh_database, organization, batch)
    second_run = replace(first_run, epoch=2)
    rows = []
    for facts in (first_run, second_run):
        with fresh_database.tx(organization) as tx:
            rows += steps.step(tx, facts, [], want=1, in_flight=0, held=0).rows
            if facts is first_run:
                batches.pause(tx, organization, batch.id)
                batches.resume(tx, organization, batch.id)
    with fresh_database.tx(organization) as tx:
        found = run_store.claim_batch(tx, batch.id)
        assert found is not None
        assert steps.give_back(tx, found, second_run.worker_id, second_run.epoch, keep={}, lost=False) == 1
        first = Finished(rows[0][0], rows[0][1], "succeeded", ran=True, result="{}", duration_ms=1)
        assert steps.step(tx, first_run, [first], want=0, in_flight=0, held=0).refused == 0
    done = get(fresh_database, organization, batch.id)
    assert (done.succeeded, done.pending, done.running) == (1, 1, 0)


def test_a_paused_batch_ends_when_its_last_row_dies_with_its_worker(fresh_database: Database) -> None:
    """The end is found by the one who takes over, who must be able to announce it and to call back."""
    organization = make_organization(fresh_database)
    agent = make_agent(fresh_database, organization)
    batch = create(fresh_database, agent, organization, [{"n": 1}], callback_url="https://example.com/")
    facts = seat_at(fresh_database, organization, batch)
    with fresh_database.tx(organization) as tx:
        assert steps.step(tx, facts, [], want=1, in_flight=0, held=0).rows
        batches.pause(tx, organization, batch.id)
        tx.run("UPDATE batch_row SET losses = 10")
    with fresh_database.system() as tx:
        take_over(tx, facts.worker_id)
    done = get(fresh_database, organization, batch.id)
    assert (done.status, done.failed) == ("completed", 1)
