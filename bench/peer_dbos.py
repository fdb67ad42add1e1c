"""Peer: one task per row on DBOS, the engine below Gristmill. Each row is a durable workflow that returns it.

Run by engine.py: prints `ready`, then works until it is terminated.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from dbos import DBOS

QUEUE = "rows"
WORKFLOW = "row"
VERSION = "1"
CONCURRENCY = 200
POLL_S = 0.2


def row(data: dict[str, Any]) -> dict[str, Any]:
    """The no-op agent."""
    return data


def main(url: str) -> None:
    """Run rows until the end."""
    logging.getLogger("dbos").setLevel(logging.ERROR)
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "executor_id": str(os.getpid()),
            "application_version": VERSION,
            "console_log_level": "ERROR",
            "max_executor_threads": CONCURRENCY + 8,
        }
    )
    DBOS.workflow(name=WORKFLOW)(row)
    DBOS.listen_queues([QUEUE])
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL_S, on_conflict="always_update")
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(sys.argv[1])
