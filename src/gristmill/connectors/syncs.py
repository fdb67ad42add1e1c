"""Verbs of syncs: begin one, look at it, decide what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from gristmill import batches
from gristmill.base.config import Settings
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.ids import uuid7
from gristmill.base.objects import CHUNK_BYTES, ObjectStore
from gristmill.base.paging import CursorPage, cursor_page, uuid_cursor
from gristmill.batches.model import BatchNotFound
from gristmill.connectors import sync_store
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.model import (
    Cause,
    ConnectorBusy,
    ConnectorPaused,
    Entry,
    StoredConnector,
    Sync,
    SyncDetail,
    SyncNotFound,
    WrongState,
)
from gristmill.connectors.service import parse_config


def start_pull(tx: Tx, connector: StoredConnector, *, cause: Cause, retry_failed: bool = False) -> Sync:
    """Have a pull begin. Raises `ConnectorBusy`, `ConnectorPaused` or `Invalid`."""
    shown = connector.connector
    kind = KINDS.get(shown.type)
    if shown.role != "INVENTORY_SOURCE":
        raise Invalid("Results go there; nothing is pulled from a sink.", errors=(FieldError("role", "is a sink"),))
    if not kind.pulls(parse_config(kind.Config, connector.config)):
        raise Invalid("There is nothing to pull from: files are pushed to the inbound URL, or set config.url.")
    if shown.status == "PAUSED":
        raise ConnectorPaused
    sync_id = uuid7()
    if not sync_store.insert_sync(
        tx,
        connector.organization_id,
        sync_id,
        connector.id,
        direction="INBOUND",
        cause=cause,
        retry_failed=retry_failed,
    ):
        running = sync_store.find_open_pull(tx, connector.organization_id, connector.id)
        state = {"QUEUED": "waits to begin", "HELD": "waits for approval"}.get(
            running["status"] if running else "", "runs"
        )
        raise ConnectorBusy(f"A pull of this connector {state} already.", sync_id=str(running["id"]) if running else "")
    return get_sync(tx, connector.organization_id, connector.id, sync_id).sync


def start_push(tx: Tx, connector: StoredConnector, job_id: UUID) -> Sync:
    """Have a batch's results pushed. Raises `Invalid`, `BatchNotFound`, or `WrongState` before its end."""
    if connector.connector.role != "RESULTS_SINK":
        raise Invalid("Inventory comes from there; results are pushed to a sink.")
    if connector.connector.status == "PAUSED":
        raise ConnectorPaused
    batch = batches.get(tx, connector.organization_id, job_id)
    if batch.agent_id != connector.agent_id:
        raise BatchNotFound(f"There is no batch {job_id} of this agent.")
    if batch.status != "completed":
        raise WrongState(
            f"The batch is {batch.status}; results of a completed one are pushed.", status_now=batch.status
        )
    return queue_push(tx, connector.organization_id, connector.id, job_id, cause="MANUAL")


def queue_push(tx: Tx, organization_id: int, connector_id: int, job_id: UUID, *, cause: Cause) -> Sync:
    """Put a push into the caller's transaction."""
    sync_id = uuid7()
    sync_store.insert_sync(
        tx, organization_id, sync_id, connector_id, direction="OUTBOUND", cause=cause, batch_id=job_id
    )
    return get_sync(tx, organization_id, connector_id, sync_id).sync


def list_syncs(tx: Tx, organization_id: int, connector_id: int, *, cursor: str | None, limit: int) -> CursorPage[Sync]:
    """Syncs of a connector, newest first."""
    found = sync_store.list_syncs(tx, organization_id, connector_id, before=uuid_cursor(cursor), limit=limit + 1)
    return cursor_page(found, limit, lambda sync: str(sync.id))


def get_sync(tx: Tx, organization_id: int, connector_id: int, sync_id: UUID) -> SyncDetail:
    """A sync with its manifest. Raises `SyncNotFound`."""
    found = sync_store.find_detail(tx, organization_id, sync_id)
    if found is None or found.sync.connector_id != connector_id:
        raise SyncNotFound(f"There is no sync {sync_id} of this connector.")
    return found


def raw_key(tx: Tx, organization_id: int, connector_id: int, sync_id: UUID) -> str:
    """Key of the object with a file that was pushed in. Raises `SyncNotFound` for other syncs."""
    row = sync_store.find_sync(tx, organization_id, sync_id)
    if row is None or row["connector_id"] != connector_id or "raw" not in (row["parcel"] or {}):
        raise SyncNotFound(f"No file was pushed in by a sync {sync_id} of this connector.")
    return str(row["parcel"]["raw"])


def read_object(key: str, settings: Settings) -> Iterator[bytes]:
    """The bytes of an object, in chunks. Raises `ObjectNotFound` before the first of them."""
    file = ObjectStore.of(settings).open(key)

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    return chunks()


def approve(tx: Tx, organization_id: int, sync_id: UUID) -> None:
    """Let a held pull bring what it found. Raises `WrongState`."""
    _claim(tx, organization_id, sync_id, "HELD", "approved")
    sync_store.update_queued(tx, sync_id, approved=True)


def reject(tx: Tx, organization_id: int, sync_id: UUID) -> None:
    """Do not bring what a held pull found; the same objects are left out from now on, until they change."""
    row = _claim(tx, organization_id, sync_id, "HELD", "rejected")
    found = sync_store.find_detail(tx, organization_id, sync_id)
    lines = found.manifest_json if found else []
    entries = [
        (Entry(line["key"], line["etag"], line["size"], line.get("version") or "", "ignored", 0, sync_id), None)
        for line in lines
        if line["status"] == "held"
    ]
    sync_store.upsert_entries(tx, organization_id, row["connector_id"], entries)
    sync_store.update_rejected(tx, sync_id)


def replay(tx: Tx, organization_id: int, sync_id: UUID) -> None:
    """Try a dead push again, with the same bytes under the same ids. Raises `WrongState`."""
    _claim(tx, organization_id, sync_id, "DEAD", "replayed")
    sync_store.update_queued(tx, sync_id, retries=True)


def _claim(tx: Tx, organization_id: int, sync_id: UUID, status: str, verb: str) -> dict[str, Any]:
    row = sync_store.find_sync(tx, organization_id, sync_id, lock=True)
    if row is None:
        raise SyncNotFound(f"There is no sync {sync_id}.")
    if row["status"] != status:
        raise WrongState(f"A {row['status']} sync can't be {verb}.", status_now=row["status"])
    return row
