"""SQL of syncs, of the ledger of objects, and of messages that were pushed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.connectors.model import Cause, Direction, Entry, Moved, Sync, SyncDetail, SyncReceipt, SyncStatus

COLUMNS: LiteralString = (
    "id, organization_id, connector_id, direction, cause, status, batch_id, tries, due_at, approved, retry_failed,"
    " listed, uploaded, unchanged, rejected, failed, ignored, deferred, bytes, rows, requests, error, created_at,"
    " started_at, fetched_at, finished_at"
)
"""Of a sync, without its manifest."""
_RECEIPT = tuple(item.name for item in fields(SyncReceipt))
_ENTRY: LiteralString = (
    "key, etag, size_bytes AS size, version, status, tries, sync_id, sha256, inventory_id, row_count AS rows,"
    " reject_count AS rejected, error, object_key"
)


def sync_from_row(row: Mapping[str, Any]) -> Sync:
    """A sync from its database row."""
    copied = (
        "id", "connector_id", "direction", "cause", "status", "bytes", "rows", "requests", "tries", "due_at", "error",
        "created_at", "started_at", "fetched_at", "finished_at",
    )  # fmt: skip
    return Sync(
        **{name: row[name] for name in copied},
        job_id=row["batch_id"],
        receipt=SyncReceipt(**{name: row[name] for name in _RECEIPT}),
    )


def insert_sync(
    tx: Tx,
    organization_id: int,
    sync_id: UUID,
    connector_id: int,
    *,
    direction: Direction,
    cause: Cause,
    batch_id: UUID | None = None,
    retry_failed: bool = False,
    parcel: Mapping[str, Any] | None = None,
) -> bool:
    """A new sync; False when a pull of this connector is under way, or waits for approval."""
    count = tx.run(
        "INSERT INTO connector_sync (id, organization_id, connector_id, direction, cause, status, batch_id,"
        " retry_failed, parcel) VALUES (%(id)s, %(org)s, %(connector)s, %(direction)s, %(cause)s, 'QUEUED',"
        " %(batch)s, %(retry)s, %(parcel)s)"
        " ON CONFLICT (connector_id) WHERE direction = 'INBOUND' AND cause <> 'HOOK'"
        " AND status IN ('QUEUED', 'RUNNING', 'HELD') DO NOTHING",
        {
            "id": sync_id,
            "org": organization_id,
            "connector": connector_id,
            "direction": direction,
            "cause": cause,
            "batch": batch_id,
            "retry": retry_failed,
            "parcel": None if parcel is None else Json(dict(parcel)),
        },
    )
    return count == 1


def find_sync(tx: Tx, organization_id: int, sync_id: UUID, *, lock: bool = False) -> dict[str, Any] | None:
    """A sync by id, without its manifest."""
    return tx.row(
        "SELECT " + COLUMNS + ", parcel FROM connector_sync WHERE organization_id = %s AND id = %s"
        + (" FOR UPDATE" if lock else ""),
        (organization_id, sync_id),
    )  # fmt: skip


def find_detail(tx: Tx, organization_id: int, sync_id: UUID) -> SyncDetail | None:
    """A sync with its manifest; of one that runs, the lines so far."""
    row = tx.row(
        "SELECT " + COLUMNS + ", manifest_json, exchanges FROM connector_sync WHERE organization_id = %s AND id = %s",
        (organization_id, sync_id),
    )
    if row is None:
        return None
    lines = row["manifest_json"] or [item["line"] for item in list_lines(tx, sync_id)]
    return SyncDetail(sync_from_row(row), lines, row["exchanges"])


def list_syncs(tx: Tx, organization_id: int, connector_id: int, *, before: UUID | None, limit: int) -> list[Sync]:
    """Syncs of a connector, newest first, without their manifests."""
    rows = tx.rows(
        "SELECT " + COLUMNS + " FROM connector_sync WHERE organization_id = %(org)s AND connector_id = %(id)s"
        " AND (%(before)s::uuid IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "id": connector_id, "before": before, "limit": limit},
    )
    return [sync_from_row(row) for row in rows]


def find_open_pull(tx: Tx, organization_id: int, connector_id: int) -> dict[str, Any] | None:
    """The pull of a connector that waits, runs, or is held."""
    return tx.row(
        "SELECT " + COLUMNS + " FROM connector_sync WHERE organization_id = %s AND connector_id = %s"
        " AND direction = 'INBOUND' AND cause <> 'HOOK' AND status IN ('QUEUED', 'RUNNING', 'HELD')",
        (organization_id, connector_id),
    )


def list_history(tx: Tx, connector_id: int, limit: int) -> list[Moved]:
    """What the latest pulls brought that brought something, newest first."""
    rows = tx.rows(
        "SELECT uploaded + rejected AS files, bytes FROM connector_sync WHERE connector_id = %s"
        " AND direction = 'INBOUND' AND cause <> 'HOOK' AND status = 'COMPLETED' AND uploaded > 0"
        " ORDER BY id DESC LIMIT %s",
        (connector_id, limit),
    )
    return [Moved(row["files"], row["bytes"]) for row in rows]


def lock_running(tx: Tx, sync_id: UUID, worker_id: UUID) -> bool:
    """The fence: whether this worker still has the sync; it keeps it until the transaction ends."""
    found = tx.row(
        "SELECT FROM connector_sync WHERE id = %s AND worker_id = %s AND status = 'RUNNING' FOR UPDATE",
        (sync_id, worker_id),
    )
    return found is not None


def lock_open(tx: Tx, connector_id: int) -> None:
    """Keep syncs that have not ended from going on until the transaction ends."""
    tx.rows(
        "SELECT FROM connector_sync WHERE connector_id = %s AND status IN ('QUEUED', 'RUNNING', 'HELD') ORDER BY id"
        " FOR UPDATE",
        (connector_id,),
    )


def update_waiting(
    tx: Tx, sync_id: UUID, *, error: str | None, delay_s: float, exchanges: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Put a running sync back: it goes on, or is tried again, once the delay has passed."""
    tx.run(
        "UPDATE connector_sync SET status = 'QUEUED', worker_id = NULL, error = %(error)s,"
        " due_at = now() + make_interval(secs => %(delay)s), exchanges = %(exchanges)s WHERE id = %(id)s",
        {"id": sync_id, "error": error, "delay": delay_s, "exchanges": Json(list(exchanges))},
    )


def update_queued(tx: Tx, sync_id: UUID, *, approved: bool = False, retries: bool = False) -> None:
    """Let a held or dead sync run; `retries` gives it all its tries again."""
    tx.run(
        "UPDATE connector_sync SET status = 'QUEUED', approved = approved OR %(approved)s, due_at = now(),"
        " finished_at = NULL,"
        " manifest_json = CASE WHEN %(approved)s THEN '[]' ELSE manifest_json END,"
        " tries = CASE WHEN %(retries)s THEN 0 ELSE tries END WHERE id = %(id)s",
        {"id": sync_id, "approved": approved, "retries": retries},
    )


def update_closed(tx: Tx, sync_id: UUID, status: SyncStatus, values: Mapping[str, Any]) -> None:
    """End or hold a sync, with its receipt, manifest and exchanges."""
    tx.run(
        "UPDATE connector_sync SET status = %(status)s, worker_id = NULL,"
        " finished_at = CASE WHEN %(status)s = 'HELD' THEN NULL ELSE clock_timestamp() END,"
        " listed = %(listed)s, uploaded = %(uploaded)s, unchanged = %(unchanged)s, rejected = %(rejected)s,"
        " failed = %(failed)s, ignored = %(ignored)s, deferred = %(deferred)s, bytes = %(bytes)s, rows = %(rows)s,"
        " requests = requests + %(requests)s, error = %(error)s, manifest_json = %(manifest)s,"
        " exchanges = %(exchanges)s WHERE id = %(id)s",
        {
            **values,
            "id": sync_id,
            "status": status,
            "manifest": Json(values["manifest"]),
            "exchanges": Json(values["exchanges"]),
        },
    )


def update_fetched(tx: Tx, sync_id: UUID) -> None:
    """All bytes have come."""
    tx.run("UPDATE connector_sync SET fetched_at = clock_timestamp() WHERE id = %s", (sync_id,))


def update_parcel(tx: Tx, sync_id: UUID, parcel: Mapping[str, Any]) -> None:
    """What is pushed, and what of it has arrived."""
    tx.run("UPDATE connector_sync SET parcel = %s WHERE id = %s", (Json(dict(parcel)), sync_id))


def update_rejected(tx: Tx, sync_id: UUID) -> None:
    """A person does not want what a held sync would bring."""
    tx.run("UPDATE connector_sync SET status = 'REJECTED', finished_at = clock_timestamp() WHERE id = %s", (sync_id,))


def find_exchanges(tx: Tx, sync_id: UUID) -> list[dict[str, Any]]:
    """Requests and answers kept so far."""
    return list(tx.one("SELECT exchanges FROM connector_sync WHERE id = %s", (sync_id,))["exchanges"])


def delete_old_syncs(tx: Tx, connector_id: int, keep: int) -> list[dict[str, Any]]:
    """Forget all but the newest syncs of a connector; answers what those that are gone kept."""
    return tx.rows(
        "DELETE FROM connector_sync WHERE connector_id = %(id)s AND status NOT IN ('QUEUED', 'RUNNING', 'HELD')"
        " AND id <= (SELECT id FROM connector_sync WHERE connector_id = %(id)s ORDER BY id DESC OFFSET %(keep)s"
        " LIMIT 1) RETURNING status, parcel",
        {"id": connector_id, "keep": keep},
    )


def find_last_parcel(tx: Tx, connector_id: int, batch_id: UUID, before: UUID) -> Mapping[str, Any] | None:
    """What an earlier push of the same batch delivered."""
    row = tx.row(
        "SELECT parcel FROM connector_sync WHERE connector_id = %s AND batch_id = %s AND id < %s"
        " AND direction = 'OUTBOUND' AND status = 'COMPLETED' ORDER BY id DESC LIMIT 1",
        (connector_id, batch_id, before),
    )
    return row["parcel"] if row else None


def list_parcels(tx: Tx, connector_id: int) -> list[dict[str, Any]]:
    """What the syncs of a connector keep in the object store."""
    return tx.rows(
        "SELECT status, parcel FROM connector_sync WHERE connector_id = %s AND parcel IS NOT NULL", (connector_id,)
    )


# The ledger of objects


def list_entries(tx: Tx, connector_id: int) -> dict[str, Entry]:
    """The whole ledger of a connector, by key."""
    rows = tx.rows("SELECT " + _ENTRY + " FROM connector_object WHERE connector_id = %s", (connector_id,))
    return {row["key"]: Entry(**row) for row in rows}


def list_stored(tx: Tx, connector_id: int) -> list[Entry]:
    """Objects whose bytes are here and were not read yet."""
    rows = tx.rows(
        "SELECT " + _ENTRY + " FROM connector_object WHERE connector_id = %s AND status = 'stored' ORDER BY key",
        (connector_id,),
    )
    return [Entry(**row) for row in rows]


def upsert_entries(
    tx: Tx, organization_id: int, connector_id: int, entries: Sequence[tuple[Entry, datetime | None]]
) -> None:
    """What is known now of some keys, with the times that the other side gives them."""
    names = ("key", "etag", "size", "version", "status", "tries", "sync_id", "sha256", "inventory_id", "rows",
             "rejected", "error", "object_key")  # fmt: skip
    tx.run(
        "INSERT INTO connector_object (connector_id, organization_id, key, etag, size_bytes, version, status, tries,"
        " sync_id, sha256, inventory_id, row_count, reject_count, error, object_key, modified_at)"
        " SELECT %(connector)s, %(org)s, * FROM unnest(%(key)s::text[], %(etag)s::text[], %(size)s::bigint[],"
        " %(version)s::text[], %(status)s::text[], %(tries)s::int[], %(sync_id)s::uuid[], %(sha256)s::text[],"
        " %(inventory_id)s::uuid[], %(rows)s::bigint[], %(rejected)s::bigint[], %(error)s::text[],"
        " %(object_key)s::text[], %(modified)s::timestamptz[])"
        " ON CONFLICT (connector_id, key) DO UPDATE SET etag = excluded.etag, size_bytes = excluded.size_bytes,"
        " version = excluded.version, status = excluded.status, tries = excluded.tries, sync_id = excluded.sync_id,"
        " sha256 = excluded.sha256, inventory_id = excluded.inventory_id, row_count = excluded.row_count,"
        " reject_count = excluded.reject_count, error = excluded.error, object_key = excluded.object_key,"
        " modified_at = coalesce(excluded.modified_at, connector_object.modified_at), updated_at = clock_timestamp()",
        {
            "connector": connector_id,
            "org": organization_id,
            "modified": [modified for _, modified in entries],
            **{name: [getattr(entry, name) for entry, _ in entries] for name in names},
        },
    )


def upsert_lines(
    tx: Tx, organization_id: int, sync_id: UUID, lines: Iterable[tuple[str, str, int, str, Mapping[str, Any]]]
) -> None:
    """Lines of the manifest to be: (key, ETag as listed, size, status, line)."""
    listed = list(lines)
    tx.run(
        "INSERT INTO connector_sync_line (sync_id, organization_id, key, etag, size_bytes, status, line)"
        " SELECT %(sync)s, %(org)s, * FROM unnest(%(key)s::text[], %(etag)s::text[], %(size)s::bigint[],"
        " %(status)s::text[], %(line)s::json[]) ON CONFLICT (sync_id, key, etag) DO UPDATE SET"
        " size_bytes = excluded.size_bytes, status = excluded.status, line = excluded.line",
        {
            "sync": sync_id,
            "org": organization_id,
            "key": [item[0] for item in listed],
            "etag": [item[1] for item in listed],
            "size": [item[2] for item in listed],
            "status": [item[3] for item in listed],
            "line": [Json(dict(item[4])) for item in listed],
        },
    )


def update_lines(tx: Tx, sync_id: UUID, lines: Sequence[tuple[str, str, Mapping[str, Any]]]) -> set[str]:
    """Lines of objects that were stored and are read now: (key, status, line); answers the keys that had one."""
    rows = tx.tuples(
        "UPDATE connector_sync_line AS l SET status = x.status, line = x.line FROM (SELECT * FROM"
        " unnest(%(key)s::text[], %(status)s::text[], %(line)s::json[]) AS u (key, status, line)) AS x"
        " WHERE l.sync_id = %(sync)s AND l.key = x.key AND l.status = 'stored' RETURNING l.key",
        {
            "sync": sync_id,
            "key": [item[0] for item in lines],
            "status": [item[1] for item in lines],
            "line": [Json(dict(item[2])) for item in lines],
        },
    )
    return {row[0] for row in rows}


def lock_stored(tx: Tx, connector_id: int, keys: Sequence[str]) -> set[tuple[str, str]]:
    """(key, ETag) of those keys whose bytes still wait to be read, kept so until the transaction ends."""
    rows = tx.tuples(
        "SELECT key, etag FROM connector_object WHERE connector_id = %s AND key = ANY(%s) AND status = 'stored'"
        " ORDER BY key FOR UPDATE",
        (connector_id, list(keys)),
    )
    return set(rows)  # pyright: ignore[reportArgumentType]  # two texts each


def list_lines(tx: Tx, sync_id: UUID) -> list[dict[str, Any]]:
    """Lines of a running sync, by key."""
    return tx.rows(
        "SELECT key, etag, size_bytes AS size, status, line FROM connector_sync_line WHERE sync_id = %s"
        " ORDER BY key, etag",
        (sync_id,),
    )


def delete_lines(tx: Tx, sync_id: UUID) -> None:
    """The lines have become the manifest."""
    tx.run("DELETE FROM connector_sync_line WHERE sync_id = %s", (sync_id,))


# Messages that were pushed in


def insert_delivery(
    tx: Tx, organization_id: int, connector_id: int, delivery_id: str, body_sha256: str, sync_id: UUID
) -> dict[str, Any] | None:
    """Note a message; answers the line of an earlier one with this id, if there is one."""
    params = {
        "connector": connector_id,
        "id": delivery_id,
        "org": organization_id,
        "sha256": body_sha256,
        "sync": sync_id,
    }
    added = tx.run(
        "INSERT INTO connector_delivery (connector_id, delivery_id, organization_id, body_sha256, sync_id)"
        " VALUES (%(connector)s, %(id)s, %(org)s, %(sha256)s, %(sync)s) ON CONFLICT DO NOTHING",
        params,
    )
    return None if added else find_delivery(tx, connector_id, delivery_id)


def find_delivery(tx: Tx, connector_id: int, delivery_id: str) -> dict[str, Any] | None:
    """A message that came before."""
    return tx.row(
        "SELECT body_sha256, sync_id FROM connector_delivery WHERE connector_id = %s AND delivery_id = %s",
        (connector_id, delivery_id),
    )


def count_deliveries(tx: Tx, connector_id: int, within_s: float) -> int:
    """Messages of the last seconds."""
    row = tx.one(
        "SELECT count(*) AS n FROM connector_delivery WHERE connector_id = %s"
        " AND received_at > now() - make_interval(secs => %s)",
        (connector_id, within_s),
    )
    return int(row["n"])


def delete_old_deliveries(tx: Tx, days: int, limit: int) -> None:
    """Forget messages that are too old to be sent again (system transaction)."""
    tx.run(
        "DELETE FROM connector_delivery WHERE (connector_id, delivery_id) IN (SELECT connector_id, delivery_id"
        " FROM connector_delivery WHERE received_at < now() - make_interval(days => %s) LIMIT %s)",
        (days, limit),
    )
