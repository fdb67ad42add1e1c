"""The worker process: takes a lease and runs jobs until it is told to stop."""

from __future__ import annotations

import os
import sys
import threading

from gristmill import batches, connectors, datasets, engine, enrich, vault
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.log import configure_logging, get_log
from gristmill.doors.process import PARENT_FD, database_url, keep_what_is_loaded, on_stop, prepare_database

log = get_log("doors")

JOB_ROOMS = (batches, connectors, datasets, enrich)
"""Rooms that register jobs when they are imported."""


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then drain: no new claims, rows in flight finish or go back."""
    configure_logging(log_format=settings.log_format, level=settings.log_level, role="worker")
    url = database_url(settings)
    prepare_database(url)
    stop = threading.Event()
    on_stop(stop.set)
    database = Database(url, application="gristmill worker")
    vault.open_vault(database)
    worker = engine.Worker(
        database, settings, queues=(engine.SHARED_QUEUE,), on_lost=_start_over, frozen_s=engine.FROZEN_S
    )
    worker.start()
    keep_what_is_loaded()
    log.info("working", worker=str(worker.id))
    stop.wait()
    log.info("draining", seconds_at_most=settings.drain_s)
    worker.stop()
    database.close()


def _start_over() -> None:
    """The lease is gone, so nothing that this process does still counts: begin again as a new worker."""
    if PARENT_FD in os.environ:
        os._exit(75)  # the supervisor starts another
    os.execv(sys.executable, [sys.executable, "-m", "gristmill.doors.cli", *sys.argv[1:]])  # noqa: S606 - our own program
