"""A worker process's life: take a lease, say every two seconds that it lives, run jobs, look after the dead.

The lease is a row in `worker`; its id stamps everything the process holds. A worker that falls silent for
`lease_timeout_s` is taken for dead by any other: its row is removed, what it held is given back by the rooms
(`on_worker_lost`), and its unfinished jobs are queued again. All of that is one transaction, so a worker that was
only slow finds its lease gone and every late write refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from gristmill.base.config import Settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Error
from gristmill.base.ids import uuid7
from gristmill.base.log import get_log
from gristmill.engine import store
from gristmill.engine.jobs import (
    APP_NAME,
    APP_VERSION,
    JOBS_PER_WORKER,
    SHARED_QUEUE,
    WORKFLOW,
    JobContext,
    forget_queue,
    function_of,
    queue_name,
    register_queue,
    sqlalchemy_url,
)
from gristmill.engine.lookout import Lookout, spare

log = get_log("engine")

SWEEP_S = 2.0
SWEEP_LOCK = 7_241_002
DBOS_POOL = 6
NOTIFY_S = 1.0
"""Turns of the engine's sender of notifications, which nobody here listens to."""
FORGET_EVERY_S = 300.0
FORGET_AFTER = timedelta(days=1)
FORGET_JOBS_MAX = 5000
RESIDENT_PAUSE_S = 1.0
STUCK_JOBS_MAX = 1000
"""Most jobs of dead workers that one sweep queues again."""
UNSTARTED_S = 30.0
"""A job that this worker has taken begins within this time, or it was lost on the way from the database."""
WINDINGS = 20
FROZEN_S = 300.0
"""A worker process whose event loop has not turned for so long hangs, and ends itself with a traceback."""


class LeaseLost(Error):
    """This worker was silent for too long and its lease was given to others."""

    code = "unavailable"


Resident = Callable[[JobContext], Coroutine[Any, Any, None]]
_lost_hooks: list[Callable[[Tx, UUID], None]] = []
_duties: list[Duty] = []
_residents: list[Resident] = []


@dataclass(slots=True)
class Duty:
    """Something that one of the workers does every so often."""

    seconds: float
    function: Callable[[Tx], None]
    due: float = 0.0


def on_worker_lost(hook: Callable[[Tx, UUID], None]) -> Callable[[Tx, UUID], None]:
    """Register what a room does, in a system transaction, with what a dead worker held."""
    _lost_hooks.append(hook)
    return hook


def every(seconds: float) -> Callable[[Callable[[Tx], None]], Callable[[Tx], None]]:
    """Register a periodic duty, done in a system transaction by one worker at a time."""

    def keep(function: Callable[[Tx], None]) -> Callable[[Tx], None]:
        _duties.append(Duty(seconds, function))
        return function

    return keep


def always(function: Resident) -> Resident:
    """Register a coroutine that every worker of the shared queue runs beside its jobs, until `stopping` is set.

    One that breaks is started again after a moment. A draining worker waits for its end as for a job's.
    """
    _residents.append(function)
    return function


def live_workers(tx: Tx, *, within_s: float) -> int:
    """How many workers gave a sign of life in the last `within_s` seconds (system transaction)."""
    return len(store.list_workers(tx, within_s=within_s))


class Worker:
    """Runs jobs in this process: DBOS polls in threads, the jobs' coroutines share one event loop."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        queues: tuple[str, ...],
        on_lost: Callable[[], None] | None = None,
        frozen_s: float | None = None,
    ) -> None:
        """`on_lost` is called once, from a thread, when the lease is gone; by default the process ends itself.

        With `frozen_s` the process ends, too, when the event loop does not turn for so long: code that blocks it, or
        that never lets go of the interpreter, would keep all its rows and everything else of this worker for ever.
        """
        self.id = uuid7()
        self._database = database
        self._settings = settings
        self._queues = queues
        self._on_lost = on_lost or _end_process
        self._frozen_s = frozen_s
        self._loop = _new_loop()
        self._stopping: asyncio.Event | None = None
        self._halt = threading.Event()
        self._threads: list[threading.Thread] = []
        self._dbos: Any = None
        self._lookout = Lookout(database.url, [*map(queue_name, queues)], only_jobs=SHARED_QUEUE not in queues)
        self._jobs = 0
        self._running: set[str] = set()
        """Jobs that this process runs."""
        self._unknown: set[str] = set()
        """Jobs that it has by the engine's word alone, by the last sweep."""
        self._judges_from = 0.0
        """No worker is taken for dead before that, but for those whose process is gone."""
        self._forget_due = 0.0
        self._jobs_changed = threading.Condition()

    def start(self) -> None:
        """Take a lease and begin to run jobs; returns when the first poll is under way."""
        with self._database.system() as tx:
            store.insert_worker(tx, self.id, host=host_identity(), pid=os.getpid(), queues=list(self._queues))
        self._stopping = asyncio.Event()
        self._spawn(self._run_loop, "worker-loop")
        if self._frozen_s is not None:
            self._loop.call_soon_threadsafe(self._wind_up, self._frozen_s)
        self._spawn(self._beat, "worker-heartbeat")
        self._spawn(lambda: self._lookout.run(self._halt), "worker-lookout")
        self._launch()
        if SHARED_QUEUE in self._queues:
            for function in _residents:
                self._count_jobs(1)
                asyncio.run_coroutine_threadsafe(self._reside(function, self._stopping), self._loop)
        self._spawn(self._sweep, "worker-sweeper")

    def stop(self) -> None:
        """Drain: no new jobs, rows in flight finish within `drain_s`, then the lease is given up."""
        stopping = self._stopping
        if stopping is None:
            return
        for event in self._dbos.background_thread_stop_events:  # else it takes what it has just handed over
            event.set()
        self._loop.call_soon_threadsafe(stopping.set)
        with self._jobs_changed:
            self._jobs_changed.wait_for(lambda: self._jobs == 0, timeout=self._settings.drain_s)
        self._halt.set()
        for thread in self._threads[1:]:
            thread.join(timeout=5)
        # Its queue thread may still try to start what it has just taken; that goes back below, and is no error.
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        self._dbos.destroy()
        with contextlib.suppress(Error, SQLAlchemyError, psycopg.Error):
            with self._database.system() as tx:
                _give_back(tx, self.id)
            for queue in self._queues:
                forget_queue(self._database.url, queue)
        if self._frozen_s is not None:
            faulthandler.cancel_dump_traceback_later()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._threads[0].join(timeout=5)

    def _spawn(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _wind_up(self, frozen_s: float) -> None:
        """Put off the end of this process; the timer is a thread in C, which waits for nobody."""
        faulthandler.dump_traceback_later(frozen_s, exit=True)
        self._loop.call_later(frozen_s / WINDINGS, self._wind_up, frozen_s)

    def _launch(self) -> None:
        from dbos import DBOS  # noqa: PLC0415 - a second of import that only workers need

        logging.getLogger("dbos").setLevel(logging.ERROR)
        for queue in self._queues:
            register_queue(self._database.url, queue)
        engine = DBOS(
            config={
                "name": APP_NAME,
                "system_database_url": sqlalchemy_url(self._database.url),
                "executor_id": str(self.id),
                "application_version": APP_VERSION,
                "sys_db_pool_size": DBOS_POOL,
                "console_log_level": "ERROR",
                "run_migrations": False,
                "max_executor_threads": JOBS_PER_WORKER + 8,
                "notification_coalesce_sec": NOTIFY_S,
            }
        )

        def run(name: str, payload: dict[str, Any]) -> None:  # a method can't be a workflow
            self._run_job(DBOS.workflow_id or "", name, payload)

        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(run)
        DBOS.listen_queues([queue_name(queue) for queue in self._queues])
        DBOS.launch()
        spare(engine._sys_db, self._lookout)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001 - no setting does it
        self._dbos = engine

    def _run_job(self, job_id: str, name: str, payload: dict[str, Any]) -> None:
        """The one DBOS workflow: run the job's coroutine on the worker's loop, wait for its end in this thread."""
        if self._stopping is None:
            raise RuntimeError("the worker has not started")
        context = JobContext(self.id, self._database, self._settings, self._stopping, self._lookout, self._is_full)
        self._count_jobs(1)
        self._running.add(job_id)
        try:
            asyncio.run_coroutine_threadsafe(function_of(name)(context, payload), self._loop).result()
        finally:
            self._running.discard(job_id)
            self._count_jobs(-1)

    def _is_full(self) -> bool:
        return len(self._running) >= JOBS_PER_WORKER

    async def _reside(self, function: Resident, stopping: asyncio.Event) -> None:
        context = JobContext(self.id, self._database, self._settings, stopping, self._lookout)
        try:
            while not stopping.is_set():
                try:
                    await function(context)
                except Exception:
                    log.exception("a resident broke; it is started again", resident=function.__name__)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), RESIDENT_PAUSE_S)
        finally:
            self._count_jobs(-1)

    def _count_jobs(self, change: int) -> None:
        with self._jobs_changed:
            self._jobs += change
            self._jobs_changed.notify_all()

    def _beat(self) -> None:
        while not self._halt.wait(self._settings.heartbeat_s):
            try:
                with self._database.system() as tx:
                    silent_s = store.touch_worker(tx, self.id)
            except Exception as error:  # noqa: BLE001 - the database may be away; the lease decides what that means
                log.warning("heartbeat failed", error=str(error)[:200])
                continue
            self._note_silence(silent_s)
            if silent_s is None and not self._halt.is_set():
                log.error("lease lost: this worker was silent for too long", worker=str(self.id))
                self._halt.set()
                self._on_lost()

    def _note_silence(self, silent_s: float | None) -> None:
        """Whoever was silent itself judges nobody for a while.

        The database was away, the machine slept, or the clock jumped, and the others are about to renew their leases.
        """
        much_s = max(self._settings.lease_timeout_s / 2, self._settings.heartbeat_s * 2)
        if silent_s is not None and silent_s > much_s:
            self._judges_from = time.monotonic() + self._settings.lease_timeout_s

    def _sweep(self) -> None:
        pause = min(SWEEP_S, self._settings.lease_timeout_s / 4)
        while not self._halt.wait(pause):
            try:
                self._sweep_once()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next sweep tries again
                log.warning("sweep failed", error=str(error)[:300])

    def _sweep_once(self) -> None:
        """Look after the dead first, in a transaction that nothing else can spoil; then the duties, each in its own."""
        with self._database.system() as tx:
            if not store.try_lock(tx, SWEEP_LOCK):
                return
            self._note_silence(store.find_silence(tx, self.id))
            dead = reap_dead_processes(tx)
            if time.monotonic() >= self._judges_from:
                dead += reap(tx, self._settings.lease_timeout_s)
            for worker_id in dead:
                log.warning("a worker is gone; its rows were taken back", worker=str(worker_id))
            orphans = store.list_orphans(
                tx,
                [queue_name(queue) for queue in self._queues],
                self.id,
                list(self._running),
                young_s=UNSTARTED_S,
                limit=STUCK_JOBS_MAX,
            )
        self._recover(orphans)
        self._forget_finished()
        for duty in _duties:
            if duty.due > time.monotonic():
                continue
            duty.due = time.monotonic() + duty.seconds
            with self._database.system() as tx:
                if store.try_lock(tx, SWEEP_LOCK):
                    duty.function(tx)

    def _forget_finished(self) -> None:
        """Delete the engine's records of jobs that ended long ago; what they did is in the rooms' own tables."""
        if self._forget_due > time.monotonic():
            return
        self._forget_due = time.monotonic() + FORGET_EVERY_S
        before = datetime.now(UTC) - FORGET_AFTER
        ended = self._dbos.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"],
            completed_before=before.isoformat(),
            load_input=False,
            load_output=False,
            limit=FORGET_JOBS_MAX,
        )
        if ended:
            self._dbos.delete_workflows([job.workflow_id for job in ended])

    def _recover(self, orphans: Sequence[tuple[str, str, bool]]) -> None:
        """Queue unfinished jobs that nobody runs again; the engine alone would leave them pending.

        One of this worker's own may just have ended, its end not yet written down: the next sweep will tell.
        """
        mine = {job for _, job, is_mine in orphans if is_mine}
        early = (mine - self._unknown) | self._running
        self._unknown = mine
        jobs: defaultdict[str, list[str]] = defaultdict(list)
        for queue, job, _ in orphans:
            if job not in early:
                jobs[queue].append(job)
        for queue, lost in jobs.items():
            log.warning("jobs that nobody runs are queued again", queue=queue, jobs=len(lost))
            self._dbos.resume_workflows(lost, queue_name=queue)


def host_identity() -> str:
    """Where a pid of this process means something: the machine, its boot, and the process namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def reap_dead_processes(tx: Tx) -> list[UUID]:
    """Give back what workers held whose process on this very host is gone, without waiting for their leases."""
    dead = [row["id"] for row in store.list_workers_of_host(tx, host_identity()) if not _is_alive(row["pid"])]
    return _bury(tx, dead)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # without /proc nothing is known, and the lease decides
    except (OSError, IndexError):
        return True
    return state not in {"Z", "X"}


def reap(tx: Tx, lease_timeout_s: float) -> list[UUID]:
    """Remove workers that have been silent too long and give back what they held; answers their ids."""
    return _bury(tx, store.claim_silent_workers(tx, lease_timeout_s))


def _bury(tx: Tx, dead: Sequence[UUID]) -> list[UUID]:
    """Give back what dead workers held, but for those where that fails: they must not keep the others from it."""
    buried: list[UUID] = []
    for worker_id in dead:
        try:
            with tx.raw.transaction():
                _give_back(tx, worker_id)
        except (Error, psycopg.Error):
            if tx.raw.closed:
                raise
            log.exception("what a dead worker held can't be taken back", worker=str(worker_id))
        else:
            buried.append(worker_id)
    return buried


def _give_back(tx: Tx, worker_id: UUID) -> None:
    for hook in _lost_hooks:
        hook(tx, worker_id)
    store.delete_worker(tx, worker_id)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _end_process() -> None:
    """The lease is gone, so nothing that this process does still counts; the supervisor starts a fresh one."""
    os._exit(75)
