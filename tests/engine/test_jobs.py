"""Jobs exist if and only if their transaction commits; a lease that is gone is gone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import create_engine

from conftest import wait_for
from gristmill import engine
from gristmill.base.config import settings
from gristmill.base.db import KEEPALIVE, Database, Tx
from gristmill.base.ids import uuid7
from gristmill.engine import store
from gristmill.engine import worker as engine_worker
from gristmill.engine.jobs import sqlalchemy_url
from gristmill.engine.worker import reap

ran: list[dict[str, Any]] = []


@engine.register("test.note")
async def note(context: engine.JobContext, payload: dict[str, Any]) -> None:
    ran.append(payload)


def test_a_job_runs_once_after_its_transaction_commits(
    database: Database, organization: int, worker: engine.Worker
) -> None:
    key = str(uuid7())
    for _ in range(3):
        with database.tx(organization) as tx:
            engine.enqueue(tx, "test.note", {"key": key}, key=key, partition=key)
    wait_for(lambda: {"key": key} in ran, "the job")
    assert ran.count({"key": key}) == 1


def test_a_job_of_a_transaction_that_fails_does_not_exist(
    database: Database, organization: int, worker: engine.Worker
) -> None:
    lost, after = str(uuid7()), str(uuid7())
    with pytest.raises(RuntimeError), database.tx(organization) as tx:
        engine.enqueue(tx, "test.note", {"key": lost}, key=lost, partition=lost)
        raise RuntimeError
    with database.tx(organization) as tx:
        engine.enqueue(tx, "test.note", {"key": after}, key=after, partition=after)
    wait_for(lambda: {"key": after} in ran, "the later job")
    with psycopg.connect(database.url) as connection:
        found = connection.execute("SELECT 1 FROM dbos.workflow_status WHERE workflow_uuid = %s", (lost,)).fetchone()
    assert found is None
    assert {"key": lost} not in ran


def silent_worker(database: Database, seconds: float) -> UUID:
    worker_id = uuid7()
    with database.system() as tx:
        store.insert_worker(tx, worker_id, host="elsewhere", pid=1, queues=[])
        tx.run("UPDATE worker SET seen_at = now() - make_interval(secs => %s) WHERE id = %s", (seconds, worker_id))
    return worker_id


def _up_for(database: Database, seconds: float) -> bool:
    with psycopg.connect(database.url) as connection:
        row = connection.execute("SELECT now() - pg_postmaster_start_time() > make_interval(secs => %s)", (seconds,))
        return bool(row.fetchone() == (True,))


def test_only_workers_that_are_silent_too_long_are_reaped(fresh_database: Database) -> None:
    wait_for(lambda: _up_for(fresh_database, 5.0), "the database's being up for a while")
    old, young = silent_worker(fresh_database, 60), silent_worker(fresh_database, 0)
    with fresh_database.system() as tx:
        assert reap(tx, 4.0) == [old]
        assert store.touch_worker(tx, old) is None
        assert 0 <= (store.touch_worker(tx, young) or 0) < 60


def test_a_database_that_has_just_started_excuses_everyone(fresh_database: Database) -> None:
    silent_worker(fresh_database, 10_000)
    with fresh_database.system() as tx:
        assert reap(tx, 9_000) == []


def test_a_worker_whose_lease_is_gone_is_told(fresh_database: Database) -> None:
    told: list[bool] = []
    stray = engine.Worker(fresh_database, settings(), queues=(), on_lost=lambda: told.append(True))
    with fresh_database.system() as tx:
        store.insert_worker(tx, stray.id, host="here", pid=1, queues=[])
        store.delete_worker(tx, stray.id)
    stray._beat()
    assert told == [True]


def test_records_of_old_jobs_are_forgotten(database: Database, organization: int, worker: engine.Worker) -> None:
    old, young = str(uuid7()), str(uuid7())
    for key in (old, young):
        with database.tx(organization) as tx:
            engine.enqueue(tx, "test.note", {"key": key}, key=key, partition=key)

    def ended(key: str) -> bool:
        with psycopg.connect(database.url) as connection:
            row = connection.execute(
                "SELECT 1 FROM dbos.workflow_status WHERE workflow_uuid = %s AND completed_at IS NOT NULL", (key,)
            ).fetchone()
        return row is not None

    wait_for(lambda: ended(old) and ended(young), "the end of both jobs")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE dbos.workflow_status SET completed_at = completed_at - 200000000 WHERE workflow_uuid = %s", (old,)
        )
    worker._forget_due = 0.0
    worker._forget_finished()
    with psycopg.connect(database.url) as connection:
        left = connection.execute(
            "SELECT workflow_uuid FROM dbos.workflow_status WHERE workflow_uuid = ANY(%s)", ([old, young],)
        ).fetchall()
    assert left == [(young,)]


def test_a_job_that_was_lost_on_its_way_to_the_worker_runs_after_all(
    database: Database, organization: int, worker: engine.Worker
) -> None:
    """The worker lives, so nobody will ever take it from him; only he can know that he does not run it."""
    key = str(uuid7())
    with database.tx(organization) as tx:
        engine.enqueue(tx, "test.note", {"key": key}, key=key, partition=key, queue="nobody's")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE dbos.workflow_status SET queue_name = 'shared', status = 'PENDING', executor_id = %s,"
            " started_at_epoch_ms = 1 WHERE workflow_uuid = %s",
            (str(worker.id), key),
        )
        wait_for(lambda: {"key": key} in ran, "the job's run")
        found = connection.execute(
            "SELECT executor_id FROM dbos.workflow_status WHERE workflow_uuid = %s", (key,)
        ).fetchone()
    assert found == (str(worker.id),)
    assert ran.count({"key": key}) == 1


def test_one_dead_worker_that_can_not_be_buried_keeps_no_other_from_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursed, other = silent_worker(database, 0), silent_worker(database, 0)

    def hook(tx: Tx, worker_id: UUID) -> None:
        tx.run("UPDATE worker SET host = 'buried' WHERE id = %s", (worker_id,))
        if worker_id == cursed:
            tx.run("SELECT 1 / 0")

    monkeypatch.setattr(engine_worker, "_lost_hooks", [hook])
    with database.system() as tx:
        assert engine_worker._bury(tx, [cursed, other]) == [other]
    with database.system() as tx:
        assert {cursed, other} & set(store.list_workers(tx)) == {cursed}
        assert store.list_workers_of_host(tx, "buried") == []
        store.delete_worker(tx, cursed)


def test_who_was_silent_itself_judges_nobody(fresh_database: Database) -> None:
    """A database or a machine that slept for a while makes all workers look dead to the first that wakes up."""
    current = settings().model_copy(update={"lease_timeout_s": 4.0, "heartbeat_s": 1.0})
    judge = engine.Worker(fresh_database, current, queues=(), on_lost=lambda: None)
    judge._recover = lambda *_: None  # type: ignore[method-assign]
    judge._forget_finished = lambda: None  # type: ignore[method-assign]
    other = silent_worker(fresh_database, 60)
    wait_for(lambda: _up_for(fresh_database, 5.0), "the database's being up for a while")
    with fresh_database.system() as tx:
        store.insert_worker(tx, judge.id, host="elsewhere", pid=1, queues=[])
        tx.run("UPDATE worker SET seen_at = now() - interval '1 minute' WHERE id = %s", (judge.id,))
    judge._sweep_once()
    with fresh_database.system() as tx:
        assert set(store.list_workers(tx)) == {other, judge.id}
        store.touch_worker(tx, judge.id)
    judge._judges_from = 0.0
    judge._sweep_once()
    with fresh_database.system() as tx:
        assert store.list_workers(tx) == [judge.id]


HANGS = """
import re, sys, time
from gristmill import engine
from gristmill.base.config import settings
from gristmill.base.db import Database

worker = engine.Worker(Database(sys.argv[1]), settings(), queues=(), frozen_s=2.0)
worker.start()
time.sleep(2.5)
print("turns", flush=True)
if sys.argv[2] == "blocks":
    worker._loop.call_soon_threadsafe(time.sleep, 60)
else:
    worker._loop.call_soon_threadsafe(re.match, "(a+)+$", "a" * 64 + "b")
time.sleep(60)
"""


def test_a_worker_that_hangs_ends_itself(fresh_database: Database) -> None:
    """Its lease may be renewed all the while, so nobody else can tell."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HANGS, fresh_database.url, how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for how in ("blocks", "keeps the interpreter")
    ]
    for process in started:
        said, trace = process.communicate(timeout=40)
        assert (process.returncode, said) == (1, "turns\n")
        assert "Timeout" in trace


def test_every_connection_notices_a_server_that_is_gone(database: Database) -> None:
    with database.system() as tx:
        asked = tx.raw.info.get_parameters()
    assert {name: str(value) for name, value in KEEPALIVE.items()}.items() <= asked.items()
    made = create_engine(sqlalchemy_url("postgresql://who:p%40ss@host:5433/name?sslmode=require&keepalives_idle=99"))
    _, options = made.dialect.create_connect_args(made.url)
    assert (options["password"], options["sslmode"], options["keepalives_idle"]) == ("p@ss", "require", "99")
    assert options["tcp_user_timeout"] == str(KEEPALIVE["tcp_user_timeout"])
