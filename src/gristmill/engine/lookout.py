"""The lookout: one cheap question to the database, ten times a second, for all that waits for work in a worker.

Whatever looks for work opens a transaction, takes locks and writes: a millisecond or two of the processor each time,
several times a second, which an idle machine pays for nothing. So it asks the lookout first, which reads whether there
may be work for anybody, in one statement. It errs on the side of yes: where the database has not answered lately,
everything looks for itself, and every few seconds it does so in any case. There are no messages that could be lost.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from gristmill.base.db import KEEPALIVE, SYSTEM_ROLE
from gristmill.base.log import get_log
from gristmill.engine import store

log = get_log("engine")

LOOK_S = 0.1
REST_S = 5.0
"""Everything looks for itself so often, whatever the lookout says."""
STALE_S = 1.0
"""An older answer counts as none."""
TROUBLE_S = 1.0
"""Pause after the database has failed."""
STATEMENT_MS_MAX = 5_000
LOOK = b"look"
JOBS = "jobs"
"""The sign of queued jobs."""
INTERNAL_QUEUE = "_dbos_internal_queue"
QUEUE_S = 0.15
"""Looks at one queue are no closer together while its jobs wait for their turn; above LOOK_S, so every second one."""
SETTINGS_S, UNUSED_S = 10.0, 60.0
"""How often DBOS reads the settings of queues, and looks for what there is none of."""

_conditions: dict[str, LiteralString] = {}


def watch(sign: str, condition: LiteralString) -> None:
    """Name a condition that is true while there may be work of a kind.

    It is read ten times a second by the system role, so an index must answer it.
    """
    _conditions[sign] = condition


class Lookout:
    """One worker's. Its thread is the caller's."""

    def __init__(self, url: str, queues: Sequence[str], *, only_jobs: bool = False) -> None:
        """`queues` are the engine's names of those whose jobs the worker runs."""
        self._url = url
        self._signs = [JOBS, *(() if only_jobs else _conditions)]
        conditions = [] if only_jobs else list(_conditions.values())
        self._statement = store.signs_query(queues, conditions)
        self._seen: dict[str, bool] = {}
        self._seen_at = -math.inf

    def is_due(self, sign: str, looked_at: float) -> bool:
        """Whether to look for work of a kind that was last looked for then (`time.monotonic`)."""
        now = time.monotonic()
        if now - looked_at >= REST_S or now - self._seen_at > STALE_S:
            return True
        return self._seen.get(sign, True)

    def run(self, halt: threading.Event) -> None:
        """Look until `halt`."""
        while not halt.is_set():
            try:
                with psycopg.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=10,
                    application_name="gristmill lookout",
                    options=f"-c role={SYSTEM_ROLE} -c statement_timeout={STATEMENT_MS_MAX}",
                    **KEEPALIVE,
                ) as connection:
                    self._look(connection, halt)
            except psycopg.Error as error:
                log.warning("the lookout does not reach the database", error=str(error)[:200])
                halt.wait(TROUBLE_S)

    def _look(self, connection: psycopg.Connection, halt: threading.Event) -> None:
        """By libpq itself: the driver's way around a statement takes several times as long as the statement."""
        server = connection.pgconn
        _check(server, server.prepare(LOOK, self._statement.as_bytes(connection)))
        while not halt.wait(LOOK_S):
            found = _check(server, server.exec_prepared(LOOK, ()))
            self._seen = {sign: found.get_value(0, number) == b"t" for number, sign in enumerate(self._signs)}
            self._seen_at = time.monotonic()


def _check(server: PGconn, result: PGresult) -> PGresult:
    if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
        raise psycopg.OperationalError(server.get_error_message())
    return result


def spare(system: Any, lookout: Lookout) -> None:
    """Let DBOS ask its database only when a job may wait; `system` is its `SystemDatabase`.

    The thread of a queue reads the queue's settings and then its jobs in every turn, that of the queues which there
    are, and another one, under a lock, jobs that are delayed or have a deadline, of which there are none here. They
    keep their turns, which cost nothing while nobody asks.
    """
    looked_at: dict[str, float] = {}
    scopes_of, lock = system.dequeue_scopes, system.background_job_lock

    def dequeue_scopes(queue: str) -> list[str | None]:
        last = looked_at.get(queue, -math.inf)
        least_s = UNUSED_S if queue == INTERNAL_QUEUE else QUEUE_S
        if time.monotonic() - last < least_s or not lookout.is_due(JOBS, last):
            return []
        looked_at[queue] = time.monotonic()
        return scopes_of(queue)

    locked_at = -math.inf

    @contextlib.contextmanager
    def background_job_lock(name: str) -> Generator[bool]:
        nonlocal locked_at
        if time.monotonic() - locked_at < UNUSED_S:
            yield False
            return
        locked_at = time.monotonic()
        with lock(name) as mine:
            yield mine

    system.dequeue_scopes = dequeue_scopes
    system.background_job_lock = background_job_lock
    system.get_queue = _now_and_then(system.get_queue, SETTINGS_S)
    system.list_queues = _now_and_then(system.list_queues, SETTINGS_S)


def _now_and_then(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """The same function, whose answer for the same arguments is given again for a while."""
    answers: dict[Any, tuple[float, Any]] = {}

    def ask(*args: Any, **options: Any) -> Any:
        key = (args, tuple(sorted(options.items())))
        asked_at, answer = answers.get(key, (-math.inf, None))
        if time.monotonic() - asked_at > seconds:
            answer = function(*args, **options)
            answers[key] = (time.monotonic(), answer)
        return answer

    return ask
