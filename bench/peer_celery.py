"""Peer: one task per row on Celery with Redis as broker and as result backend. Each task returns its row.

Late acknowledgement, so that a killed worker's rows are not lost; Redis without persistence and a long prefetch, which
are the fast settings. Workers are started by engine.py as `celery -A peer_celery worker -P solo` and note their first
start and last end in a file when they shut down.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_shutdown

PREFETCH = 100

app = Celery("rows", broker=os.environ["BENCH_REDIS"] + "/0", backend=os.environ["BENCH_REDIS"] + "/1")
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=PREFETCH,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_send_sent_event=False,
    worker_send_task_events=False,
)
_seen: dict[str, float] = {"rows": 0}


@app.task(name="row")
def row(data: dict[str, Any]) -> dict[str, Any]:
    """The no-op agent."""
    _seen.setdefault("first", time.time())
    _seen["rows"] += 1
    _seen["last"] = time.time()
    return data


@worker_shutdown.connect
def note(**_: Any) -> None:
    """Write down what this worker saw."""
    if _seen["rows"]:
        (Path(os.environ["BENCH_OUT"]) / f"{os.getpid()}.json").write_text(json.dumps(_seen))
