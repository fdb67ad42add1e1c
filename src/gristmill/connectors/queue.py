"""Queueing syncs: in the transaction that makes them, and again when their time has come."""

from __future__ import annotations

from uuid import UUID

from gristmill.base.db import Tx
from gristmill.base.ids import uuid7
from gristmill.connectors.model import Cause
from gristmill.engine import enqueue

SYNC_JOB = "connectors.sync"


def enqueue_sync(tx: Tx, organization_id: int, connector_id: int, sync_id: UUID, cause: Cause) -> None:
    """Ask for a worker, in this transaction. Asking twice is harmless: only one of them can begin the sync.

    Files that are pushed in don't wait behind a pull of the same connector.
    """
    lane = {"HOOK": "in", "BATCH": "out"}.get(cause, "asked")
    payload = {"organization_id": organization_id, "sync_id": str(sync_id)}
    enqueue(tx, SYNC_JOB, payload, key=f"sync-{uuid7()}", partition=f"connector-{connector_id}-{lane}")
