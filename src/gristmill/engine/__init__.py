"""The durable job engine behind a few functions; no other room knows which one it is.

`register` names a job's function, `enqueue` queues one in the caller's own transaction, `Worker` runs
them, `live_workers` and `on_worker_lost` tell about processes that come and go, `every` adds a
periodic duty of the workers and `always` something that each of them does all the time, `watch` tells it when to
look for work, `prepare` creates the engine's tables.
"""

from gristmill.engine.jobs import (
    LOCAL_QUEUE,
    SHARED_QUEUE,
    JobContext,
    enqueue,
    prepare,
    register,
    warm_up,
)
from gristmill.engine.lookout import watch
from gristmill.engine.worker import FROZEN_S, Worker, always, every, live_workers, on_worker_lost, reap_dead_processes

__all__ = [
    "FROZEN_S",
    "LOCAL_QUEUE",
    "SHARED_QUEUE",
    "JobContext",
    "Worker",
    "always",
    "enqueue",
    "every",
    "live_workers",
    "on_worker_lost",
    "prepare",
    "reap_dead_processes",
    "register",
    "warm_up",
    "watch",
]
