"""`kill -9` of workers while they deliver: nothing is lost, order holds, and what is sent again has the same id."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import make_organization, wait_for
from events.receiver_server import Receiver
from gristmill import events
from gristmill.base.db import Database
from gristmill.events import webhooks

EVENTS = 60
KILLS = 2


def start_worker(database: Database) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "GRISTMILL_DATABASE_URL": database.url,
        "GRISTMILL_LEASE_TIMEOUT_S": "2",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    return subprocess.Popen([sys.executable, "-m", "gristmill.doors.cli", "worker"], env=environment)


def test_killed_workers_lose_nothing(fresh_database: Database, receiver: Receiver) -> None:
    organization = make_organization(fresh_database)
    paths = [f"/killed-{number}" for number in range(4)]
    receiver.pause_s = 0.02
    for path in paths:
        receiver.answers[path] = [200] * 20 + ["cut", 200] * 3
    with fresh_database.tx(organization) as tx:
        for path in paths:
            webhooks.create_webhook(tx, organization, url=receiver.url + path, event_types=["dataset.*"])
    ids: list[str] = []
    workers = [start_worker(fresh_database)]
    try:
        for number in range(EVENTS):
            with fresh_database.tx(organization) as tx:
                ids.append(
                    str(events.emit(tx, organization, "dataset.created", subject="dataset:1", data={"n": number}))
                )
        for kill in range(KILLS):
            wait_for(lambda wanted=(kill + 1) * 50: len(receiver.calls) > wanted, "some deliveries", within_s=60)
            workers[-1].kill()
            workers[-1].wait()
            workers.append(start_worker(fresh_database))

        def owed() -> int:
            with fresh_database.system() as tx:
                tx.run(  # nobody waits for the ladder; rows that a worker has locked are left to it
                    "UPDATE delivery SET next_at = now() WHERE (receiver_id, event_id) IN"
                    " (SELECT receiver_id, event_id FROM delivery WHERE status = 'pending' FOR UPDATE SKIP LOCKED)"
                )
                tx.run(
                    "UPDATE receiver SET due_at = now() WHERE id IN"
                    " (SELECT id FROM receiver WHERE worker_id IS NULL FOR UPDATE SKIP LOCKED)"
                )
                return int(tx.one("SELECT count(*) AS n FROM delivery WHERE status = 'pending'")["n"])

        wait_for(lambda: owed() == 0, "all deliveries", within_s=90)
    finally:
        receiver.pause_s = 0.0
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(60)
    repeated = 0
    for path in paths:
        calls = receiver.of(path)
        first_seen = list(dict.fromkeys(call.id for call in calls))
        assert first_seen == ids, "lost, or sent before an earlier one"
        assert all(len({call.body for call in calls if call.id == event_id}) == 1 for event_id in ids[:20])
        repeated += len(calls) - len(ids)
    assert repeated < KILLS * len(paths) * 10, "far more was sent again than what was under way"
