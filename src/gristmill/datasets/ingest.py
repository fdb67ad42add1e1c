"""Processing a dataset: a durable job that claims it, builds a version, and says how it went.

    pending -> processing      claimed by one worker, whose lease it is from then on
    processing -> completed    the swap
    processing -> failed       it can't go on; `last_error` says why
    processing -> pending      its worker died or drains, or something newer is wanted

Whatever becomes of a job, a duty of the workers finds a dataset that waits for too long and queues it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from gristmill import events
from gristmill.base.db import Tx, Unavailable
from gristmill.base.errors import Error, PluginError
from gristmill.base.log import get_log
from gristmill.base.objects import ObjectStore
from gristmill.datasets import build_store, store
from gristmill.datasets.lease import Draining, Lease, Superseded
from gristmill.datasets.model import Draft, EmbedderChoice, Progress, Sent, TemplateOptions, Work
from gristmill.engine import SHARED_QUEUE, JobContext, enqueue, every, on_worker_lost, register

log = get_log("datasets")
T = TypeVar("T")

INGEST_JOB = "datasets.ingest"
BUILDS_AT_ONCE = 2
"""Builds of one worker process; each keeps the processors busy and some memory."""
WAIT_S_MAX = 5.0
"""A job that has waited for its turn for so long makes room when others wait for its place in the worker."""
RETRY_PAUSE_S = 0.5
RESCUE_EVERY_S = 5.0
RESCUE_QUIET_S = 10.0
"""A dataset that has waited for so long gets a new job, whatever became of the last."""
RESCUE_AGAIN_S = 60
RESCUE_DATASETS_MAX = 100
CLEAN_EVERY_S = 600.0
CLEAN_FILES_MAX = 200
VECTORS_KEPT_DAYS = 90
CLEAN_VECTORS_MAX = 20_000
AWAY = (Unavailable, psycopg.OperationalError)
"""What tells that the database can't be reached just now."""

_slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def enqueue_ingest(tx: Tx, organization_id: int, dataset_id: int, key: str, *, queue: str = SHARED_QUEUE) -> None:
    """Have a dataset processed, in the transaction that wants it; `key` tells one wish from another."""
    enqueue(
        tx,
        INGEST_JOB,
        {"organization_id": organization_id, "dataset_id": dataset_id},
        key=f"dataset-{dataset_id}-{key}",
        partition=f"dataset-{dataset_id}",
        queue=queue,
    )


@register(INGEST_JOB)
async def ingest(context: JobContext, payload: dict[str, Any]) -> None:
    """Process one dataset until nothing newer is wanted of it."""
    organization_id, dataset_id = payload["organization_id"], payload["dataset_id"]
    slots = _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(BUILDS_AT_ONCE))
    if not await _has_turn(context, slots):
        return
    try:
        while not context.stopping.is_set():
            work = await _until_back(
                context, organization_id, lambda tx: claim(tx, context, organization_id, dataset_id)
            )
            if work is None or not await _attempt(Lease(context, work)):
                return
    finally:
        slots.release()


async def _has_turn(context: JobContext, slots: asyncio.Semaphore) -> bool:
    """Wait for a turn; False when the place is for others, and the dataset waits for its rescue."""
    while not context.stopping.is_set():
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await slots.acquire()
        except TimeoutError:
            if context.is_full():
                return False
        else:
            return True
    return False


def claim(tx: Tx, context: JobContext, organization_id: int, dataset_id: int) -> Work | None:
    """Take a dataset that waits; None when there is nothing to do."""
    row = build_store.claim(tx, organization_id, dataset_id, context.worker_id, Progress("waiting"))
    if row is None:
        return None
    file = Sent(row["file_id"], row["object_key"], row["file_name"], row["file_type"], row["size_bytes"], row["sha256"])
    draft = Draft(
        row["title"],
        row["type"],
        row["template"],
        TemplateOptions(**row["options"]),
        row["primary_key_field"],
        EmbedderChoice(**row["embedder"]),
    )
    events.emit(
        tx,
        organization_id,
        "dataset.processing",
        subject=f"dataset:{dataset_id}",
        data={"dataset_id": dataset_id, "version": row["version_next"]},
    )
    return Work(
        organization_id,
        dataset_id,
        context.worker_id,
        row["epoch"],
        row["revision"],
        row["version_next"],
        row["version"],
        row["confirmed"],
        draft,
        file,
    )


async def _attempt(lease: Lease) -> bool:
    """One build; True when the dataset must be looked at again."""
    from gristmill.datasets.build import Build  # noqa: PLC0415 - NumPy takes a while to load, and only builds need it

    work = lease.work
    try:
        await Build(lease).run()
    except Superseded:
        return await _give_back(lease)
    except Draining:
        await _give_back(lease, hand_over=True)
    except AWAY as error:
        log.warning("a build waits for the database", dataset=work.dataset_id, error=str(error)[:200])
        return await _give_back(lease)
    except (Error, PluginError) as error:
        return await _fail(lease, error.message)
    except Exception:
        log.exception("a build broke", dataset=work.dataset_id)
        return await _fail(lease, "A defect of ours stopped the processing; the workers' log has the details.")
    return False


async def _give_back(lease: Lease, *, hand_over: bool = False) -> bool:
    """Let the dataset wait again; False when it was not ours any more."""
    work = lease.work

    def release(tx: Tx) -> bool:
        if not build_store.update_released(tx, work):
            return False
        if hand_over:
            enqueue_ingest(tx, work.organization_id, work.dataset_id, f"{work.revision}-after-{work.epoch}")
        return True

    return await _until_back(lease.context, work.organization_id, release)


async def _fail(lease: Lease, message: str) -> bool:
    """End the processing with a reason; True when something newer is wanted anyway."""
    work = lease.work

    def fail(tx: Tx) -> bool:
        if build_store.update_failed(tx, work, message):
            events.emit(
                tx,
                work.organization_id,
                "dataset.failed",
                subject=f"dataset:{work.dataset_id}",
                data={"dataset_id": work.dataset_id, "message": message},
            )
            return False
        return build_store.update_released(tx, work)

    log.warning("a dataset can't be processed", dataset=work.dataset_id, error=message)
    return await _until_back(lease.context, work.organization_id, fail)


async def _until_back(context: JobContext, organization_id: int, function: Callable[[Tx], T]) -> T:
    """Run a transaction, again and again while the database is away."""

    def work() -> T:
        with context.database.tx(organization_id) as tx:
            return function(tx)

    while True:
        try:
            return await asyncio.to_thread(work)
        except AWAY:
            await asyncio.sleep(RETRY_PAUSE_S)


@on_worker_lost
def take_back(tx: Tx, worker_id: UUID) -> None:
    """Let datasets wait again whose worker is gone; its jobs are queued again by the engine (system transaction)."""
    for row in build_store.release_worker(tx, worker_id):
        log.info("a dataset is taken back", dataset=row["id"], worker=str(worker_id))


@every(RESCUE_EVERY_S)
def rescue(tx: Tx) -> None:
    """Queue datasets that have waited for long, whatever became of their jobs (system transaction)."""
    for row in build_store.list_waiting(tx, RESCUE_QUIET_S, RESCUE_DATASETS_MAX):
        moment = int(tx.now.timestamp()) // RESCUE_AGAIN_S
        enqueue_ingest(tx, row["organization_id"], row["id"], f"{row['revision']}-{row['epoch']}-rescue-{moment}")


@every(CLEAN_EVERY_S)
def forget_unused(tx: Tx) -> None:
    """Remove files that no dataset uses any more, and vectors that nothing asked for in a long time."""
    from gristmill.base.config import settings  # noqa: PLC0415 - a duty gets nothing but its transaction

    objects = ObjectStore.of(settings())
    gone: list[UUID] = []
    for row in store.list_expired_files(tx, CLEAN_FILES_MAX):
        with suppress(Error):  # the store is away: the next time
            objects.delete(row["object_key"])
            gone.append(row["id"])
    store.delete_files(tx, gone)
    build_store.delete_old_vectors(tx, VECTORS_KEPT_DAYS, CLEAN_VECTORS_MAX)
