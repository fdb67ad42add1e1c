"""The runner: what is claimed is run, what is lost comes back, and dead servers hold up nobody."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from conftest import Caller, make_agent, wait_for
from connector_world import Place, make_place, rules
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.base.signing import signed_headers
from gristmill.connectors import queue_store, sync_store
from gristmill.engine import Worker
from receiver import Receiver

DEAD = 200
DELAY_S_MAX = 2.0


@pytest.fixture
def silent() -> Iterator[str]:
    """URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def sink_body(url: str, name: str = "Out") -> dict[str, Any]:
    return {
        "name": name, "role": "RESULTS_SINK", "type": "HTTPS_WEBHOOK", "config": {"url": url, "authScheme": "Bearer"},
        "secret": {"token": "a-long-secret-token"},
    }  # fmt: skip


def copies(database: Database, place: Place, count: int, url: str) -> list[int]:
    """So many more connectors like one, which lead elsewhere."""
    with database.tx(place.caller.organization_id) as tx:
        rows = tx.rows(
            "INSERT INTO connector (organization_id, agent_id, name, role, type, config, secret_id, hook_id)"
            " SELECT organization_id, agent_id, 'Dead ' || n, role, type,"
            " jsonb_set(config::jsonb, '{url}', to_jsonb(%s::text))::json, secret_id, 'dead-' || id || '-' || n"
            " FROM connector, generate_series(1, %s) AS n WHERE id = %s RETURNING id",
            (url, count, place.id),
        )
    return [row["id"] for row in rows]


def batch_of(caller: Caller, agent: int) -> str:
    made = caller.post(f"/api/v1/agents/{agent}/batch_executions", {"items": [{"n": 1}]}).json()
    where = f"/api/v1/batch_executions/{made['id']}"
    wait_for(lambda: caller.get(where).json()["status"] == "completed", "completion")
    return str(made["id"])


def running(database: Database, ids: list[int]) -> int:
    with database.system() as tx:
        row = tx.one(
            "SELECT count(*) AS n FROM connector_sync WHERE connector_id = ANY(%s) AND status = 'RUNNING'", (ids,)
        )
    return int(row["n"])


def pushed_after(receiver: Receiver, place: Place, batch: str) -> float:
    """Seconds from asking for a push until the receiver has it."""
    began = time.monotonic()
    seen = len(receiver.posts)
    place.caller.post(f"{place.path}/push", {"jobId": batch})
    wait_for(lambda: len(receiver.posts) > seen, "the results")
    return time.monotonic() - began


def test_two_hundred_dead_receivers_delay_neither_a_healthy_one_nor_a_batch(
    database: Database, owner: Caller, stranger: Caller, receiver: Receiver, silent: str, worker: Worker
) -> None:
    del worker
    sink = make_place(database, owner, sink_body(f"{receiver.url}/r"))
    job = batch_of(owner, sink.agent)
    alone = pushed_after(receiver, sink, job)
    dead = copies(database, sink, DEAD, f"{silent}/r")
    rules(database, owner, sink.agent, {"data_sinks": {"retry_failed_push": 0}})
    with database.tx(owner.organization_id) as tx:
        for connector_id in dead:
            sync_store.insert_sync(
                tx, owner.organization_id, uuid7(), connector_id, direction="OUTBOUND", cause="MANUAL",
                batch_id=UUID(job),
            )  # fmt: skip
    wait_for(lambda: running(database, dead) == DEAD, "all of the dead under way")
    foreign = make_place(database, stranger, sink_body(f"{receiver.url}/s"))
    began = time.monotonic()
    other = batch_of(stranger, foreign.agent)
    assert time.monotonic() - began < DELAY_S_MAX + 3, "batches are not held up either"  # starting one takes a while
    for place, batch in ((sink, job), (foreign, other)):
        assert pushed_after(receiver, place, batch) < alone + DELAY_S_MAX
    assert running(database, dead) == DEAD
    for connector_id in dead:
        owner.delete(f"/api/v1/agents/{sink.agent}/data-sources/{connector_id}")


def test_pushes_of_one_sink_go_one_after_the_other(
    database: Database, owner: Caller, receiver: Receiver, worker: Worker
) -> None:
    del worker
    receiver.delay_s = 0.1
    sink = make_place(database, owner, sink_body(f"{receiver.url}/r"))
    jobs = [batch_of(owner, sink.agent) for _ in range(4)]
    syncs = [owner.post(f"{sink.path}/push", {"jobId": job}).json()["id"] for job in jobs]
    for sync in syncs:
        assert sink.end_of(sync)["sync"]["status"] == "COMPLETED"
    assert [json.loads(got.body)["jobId"] for got in receiver.posts] == jobs


def test_a_sync_that_its_worker_does_not_know_of_comes_back(
    database: Database, owner: Caller, receiver: Receiver, worker: Worker
) -> None:
    """As when the answer to a claim was lost with the connection."""
    sink = make_place(database, owner, sink_body(f"{receiver.url}/r"))
    job = batch_of(owner, sink.agent)
    sync_id = uuid7()
    with database.tx(owner.organization_id) as tx:
        sync_store.insert_sync(
            tx, owner.organization_id, sync_id, sink.id, direction="OUTBOUND", cause="MANUAL", batch_id=UUID(job)
        )
        tx.run("UPDATE connector_sync SET status = 'RUNNING', worker_id = %s WHERE id = %s", (worker.id, sync_id))
    assert sink.end_of(str(sync_id))["sync"]["status"] == "COMPLETED"
    assert len(receiver.posts) == 1


def test_a_connector_is_deleted_while_its_syncs_end(
    database: Database, owner: Caller, anyone: httpx.Client, worker: Worker
) -> None:
    """Both take the same locks in the same order, so that neither is refused."""
    del worker
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    for round_number in range(6):
        body = {
            "name": "In", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK",
            "config": {"authScheme": "HmacSha256"}, "secret": {"key": key},
        }  # fmt: skip
        place = make_place(database, owner, body)
        url = place.show()["inboundUrl"]
        for number in range(4):
            data = b"a,b\n%d,%d\n" % (round_number, number)
            headers = {"Content-Type": "text/csv", **signed_headers([key], f"m{number}", int(time.time()), data)}
            assert anyone.post(url, content=data, headers=headers).status_code == 202
        assert owner.delete(place.path).status_code == 204


def test_who_waits_is_listed_in_turns(fresh_database: Database) -> None:
    """Two organizations, one with many connectors: each gets every second place."""
    from gristmill import identity  # noqa: PLC0415 - only here

    database = fresh_database
    made: dict[int, list[int]] = {}
    for count in (5, 2):
        with database.system() as tx:
            organization = identity.create_organization(tx, "Org").id
        agent = make_agent(database, organization).id
        with database.tx(organization) as tx:
            made[organization] = [
                tx.one(
                    "INSERT INTO connector (organization_id, agent_id, name, role, type, config, hook_id)"
                    " VALUES (%s, %s, %s, 'RESULTS_SINK', 'HTTPS_WEBHOOK', '{}', %s) RETURNING id",
                    (organization, agent, f"C{number}", f"hook-{organization}-{number}"),
                )["id"]
                for number in range(count)
            ]
            for connector in made[organization]:
                for _ in range(2):
                    sync_store.insert_sync(tx, organization, uuid7(), connector, direction="OUTBOUND", cause="MANUAL")
    many, few = made
    with database.system() as tx:
        listed = queue_store.list_waiting(tx, of_one=3, limit=100)
        assert [item.organization_id for item in listed] == [many, few, many, few, many]
        assert {item.lane for item in listed} == {"push"}
        tx.run("UPDATE connector SET failures_in_row = 1 WHERE id = %s", (made[few][0],))
        listed = queue_store.list_waiting(tx, of_one=9, limit=100)
        assert [item.failing for item in listed] == [False] * 6 + [True], "one of each connector, failing ones last"
        sign = "SELECT " + queue_store.WAITING + " AS up"
        assert tx.one(sign)["up"]
        tx.run("UPDATE connector_sync SET due_at = now() + interval '1 hour'")
        assert not tx.one(sign)["up"]
