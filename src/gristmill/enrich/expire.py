"""What does not stay: uploads that nobody linked, answers that are no longer good, steps that nobody will watch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from gristmill import inventory
from gristmill.base.config import Settings
from gristmill.base.db import Database, Tx
from gristmill.base.log import get_log
from gristmill.engine import JobContext, enqueue, every, register
from gristmill.enrich import answer_store, store

log = get_log("enrich")

FORGET_JOB = "enrich.forget"
LOOK_EVERY_S = 300.0
JOBS_MAX = 100
FORGET_EVERY_S = 600.0
ROWS_MAX = 20_000
STEPS_KEPT_HOURS = 24


@every(LOOK_EVERY_S)
def look_for_expired(tx: Tx) -> None:
    """Have each expired upload deleted by a job of its own (system transaction)."""
    for row in store.list_expired(tx, JOBS_MAX):
        name = f"forget-{row['batch_id']}-{int(tx.now.timestamp() // LOOK_EVERY_S)}"
        enqueue(tx, FORGET_JOB, {"batch_id": str(row["batch_id"])}, key=name, partition=name)


@every(FORGET_EVERY_S)
def forget_old_memory(tx: Tx) -> None:
    """Drop expired answers, and live steps: a row that has ended keeps its trace itself (system transaction)."""
    answer_store.delete_expired_answers(tx, ROWS_MAX)
    answer_store.delete_old_steps(tx, hours=STEPS_KEPT_HOURS, limit=ROWS_MAX)


@register(FORGET_JOB)
async def run_forget(context: JobContext, payload: Mapping[str, Any]) -> None:
    """Delete one."""
    await asyncio.to_thread(forget, context.database, context.settings, UUID(payload["batch_id"]))


def forget(database: Database, settings: Settings, batch_id: UUID) -> None:
    """Delete an expired upload: first what refers to the file, then the file."""
    with database.system() as tx:
        found = store.find_expired(tx, batch_id)
    if found is None:
        return
    organization_id = found["organization_id"]
    with database.tx(organization_id) as tx:
        inventory_id = store.delete_expired(tx, organization_id, batch_id)
        key = inventory.delete(tx, organization_id, inventory_id) if inventory_id else None
    if key is not None:
        inventory.delete_object(key, settings)
        log.info("an upload that nobody linked was deleted", batch=str(batch_id))
