"""A row that kills its worker each time: it ends as failed, alone, and takes no other row with it."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

from conftest import make_agent, make_organization, wait_for
from gristmill import batches
from gristmill.base.db import Database
from gristmill.base.errors import Error

RESTARTS_MAX = 12


def start_worker(database: Database) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "GRISTMILL_DATABASE_URL": database.url,
        "GRISTMILL_LEASE_TIMEOUT_S": "2",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    return subprocess.Popen([sys.executable, "-m", "gristmill.doors.cli", "worker"], env=environment)


def test_a_poison_row_fails_alone(fresh_database: Database) -> None:
    organization = make_organization(fresh_database)
    agent = make_agent(
        fresh_database, organization, config={"entry_point": "sample_agents:kills_worker"}, concurrency=4
    )
    rows = [{"n": number, "poison": number == 7} for number in range(40)]
    with fresh_database.tx(organization) as tx:
        order = batches.Order(origin={"kind": "items"}, mapping={})
        batch = batches.create(tx, organization, agent, order, rows)
    worker = start_worker(fresh_database)
    restarts = 0

    def ended() -> bool:
        nonlocal worker, restarts
        if worker.poll() is not None:
            restarts += 1
            assert restarts <= RESTARTS_MAX, "the poison row is run for ever"
            worker = start_worker(fresh_database)
        try:
            with fresh_database.tx(organization) as tx:
                return batches.get(tx, organization, batch.id).status == "completed"
        except Error:
            return False

    try:
        wait_for(ended, "the end of the batch", within_s=120)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    text = b"".join(batches.export(fresh_database, organization, batch.id, "csv")).decode()
    lines = list(csv.DictReader(io.StringIO(text)))
    failed = [line for line in lines if line["status"] == "failed"]
    assert [(line["n"], line["error_code"]) for line in failed] == [("7", "worker_lost")]
    assert sum(line["status"] == "succeeded" for line in lines) == 39
