"""Jobs: a name, a function, a payload; queued in the transaction that made the work, on DBOS.

Every job is one workflow of the single DBOS workflow `gristmill.job`, whose arguments are the job's name
and payload. A job that is run again (its worker died) starts from the top, so job functions read what is
left to do from their own tables and repeat nothing.

DBOS takes a second to import, so this module does it on first use; `warm_up` does it ahead of time.
"""

from __future__ import annotations

import importlib.metadata
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from sqlalchemy.engine import make_url

from gristmill.base.config import Settings
from gristmill.base.db import APP_ROLE, KEEPALIVE, SYSTEM_ROLE, Database, Tx
from gristmill.base.ids import uuid7
from gristmill.engine import store

if TYPE_CHECKING:
    import asyncio

    from dbos import DBOSClient

    from gristmill.engine.lookout import Lookout

APP_NAME = "gristmill"
APP_VERSION = "1"
"""Pinned: by default it is a hash of the source, which would strand queued work after every upgrade."""
WORKFLOW = "gristmill.job"
SHARED_QUEUE = "shared"
"""Jobs that any worker may run."""
LOCAL_QUEUE = "local"
"""Jobs of `gristmill run`, which only the process that queued them runs: the agent may be a file that only it can
import. What a dead one left queued is never run; the call that goes on with its batch queues anew."""
JOBS_PER_WORKER = 64
"""Most jobs that one worker runs at a time; each holds a thread that waits."""
POLL_S = 0.1
"""Turns of the engine's queues; most of them ask nothing (see lookout.py)."""
_own_queue = f"{LOCAL_QUEUE}-{uuid7()}"
PAYLOAD_KEYS_MAX = 32
PREPARE_LOCK = 7_241_003
PREPARE_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job function gets beside its payload."""

    worker_id: UUID
    """The lease: a stamp on everything that this process holds."""
    database: Database
    settings: Settings
    stopping: asyncio.Event
    """Set when the process drains: finish what is under way, take nothing new."""
    lookout: Lookout | None = None
    """None: nothing is known of what waits."""
    is_full: Callable[[], bool] = lambda: False
    """Whether the process runs as many jobs as it may: one that only waits should make room, and queue itself again."""

    def is_due(self, sign: str, looked_at: float) -> bool:
        """Whether to look for work of a kind (see `watch`) that was last looked for then (`time.monotonic`)."""
        return self.lookout is None or self.lookout.is_due(sign, looked_at)


JobFunction = Callable[[JobContext, dict[str, Any]], Coroutine[Any, Any, None]]
_functions: dict[str, JobFunction] = {}


def register(name: str) -> Callable[[JobFunction], JobFunction]:
    """Name the coroutine function that runs a job, `async def run(context, payload)`."""

    def keep(function: JobFunction) -> JobFunction:
        _functions[name] = function
        return function

    return keep


def function_of(name: str) -> JobFunction:
    """The function registered under a name."""
    return _functions[name]


def enqueue(tx: Tx, name: str, payload: dict[str, Any], *, key: str, partition: str, queue: str = SHARED_QUEUE) -> None:
    """Queue a job in this transaction; it exists if and only if the transaction commits.

    `key` makes it idempotent: a key is only ever queued once. A worker runs at most one job of a `partition` at a
    time, and looks at the partitions in random order, so that none starves another.
    """
    if len(payload) > PAYLOAD_KEYS_MAX:
        raise ValueError("a job's payload names its work, it does not carry it")
    client = _client(tx.database.url)
    client.enqueue_in_transaction(
        tx.connection,
        {
            "workflow_name": WORKFLOW,
            "queue_name": queue_name(queue),
            "workflow_id": key,
            "app_version": APP_VERSION,
            "queue_partition_key": partition,
        },
        name,
        payload,
    )


def prepare(url: str) -> None:
    """Create or update the engine's own tables (schema `dbos`) and let the app's role enqueue.

    Safe from several processes at once, and quick when the tables are those of the installed engine already.
    """
    wanted = importlib.metadata.version("dbos")
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        # Not pg_advisory_lock: the engine makes indexes concurrently, which waits for every statement under way, and
        # so for the processes that would wait here in one.
        while not store.try_session_lock(connection, PREPARE_LOCK):
            time.sleep(PREPARE_LOOK_S)
        if store.engine_version(connection) == wanted:
            return
        from dbos import DBOS  # noqa: PLC0415 - a second of import, needed on a first start only

        for role in (APP_ROLE, SYSTEM_ROLE):
            DBOS.migrate(sqlalchemy_url(url), schema="dbos", application_role=role)
        store.set_engine_version(connection, wanted)


def queue_name(queue: str) -> str:
    """The engine's name of a queue; each process has a local one of its own."""
    return _own_queue if queue == LOCAL_QUEUE else queue


def register_queue(url: str, queue: str) -> None:
    """Let the engine know a queue before it starts to look at it."""
    _client(url).register_queue(
        queue_name(queue),
        worker_concurrency=JOBS_PER_WORKER,
        partition_worker_concurrency=1,
        polling_interval_sec=POLL_S,
        on_conflict="always_update",
    )


def forget_queue(url: str, queue: str) -> None:
    """Remove this process's local queue; the shared one stays."""
    if queue == LOCAL_QUEUE:
        _client(url).delete_queue(queue_name(queue))


def warm_up(url: str) -> threading.Thread:
    """Load the engine in the background, so that the first request that enqueues does not wait for it."""
    thread = threading.Thread(target=_client, args=(url,), name="engine-warm-up", daemon=True)
    thread.start()
    return thread


def sqlalchemy_url(url: str) -> str:
    """The same database for SQLAlchemy with psycopg 3; a server that is gone is noticed as by our own connections."""
    made = make_url("postgresql+psycopg://" + url.split("://", 1)[1])
    missing = {name: str(value) for name, value in KEEPALIVE.items() if name not in made.query}
    return made.update_query_dict(missing).render_as_string(hide_password=False)


_client_lock = threading.Lock()


def _client(url: str) -> DBOSClient:
    with _client_lock:
        return _make_client(url)


@lru_cache(maxsize=8)
def _make_client(url: str) -> DBOSClient:
    from dbos import DBOSClient  # noqa: PLC0415 - see the module's docstring

    return DBOSClient(system_database_url=sqlalchemy_url(url), application_name=APP_NAME, lazy=True)
