"""SQL of sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json
from pydantic import TypeAdapter

from gristmill.base.db import Tx
from gristmill.sources.model import (
    Content,
    Draft,
    Reading,
    Snapshot,
    SnapshotDraft,
    Source,
    StoredSource,
    config_from,
)

_COLUMNS: LiteralString = "id, organization_id, name, kind, config, size_bytes, reading, created_at, updated_at"
_SNAPSHOT: LiteralString = "id, data_source_id, columns, object_key, row_count, created_at"
_READING: TypeAdapter[Reading] = TypeAdapter(Reading)


def _reading(row: Mapping[str, Any]) -> Reading | None:
    return None if row["reading"] is None else _READING.validate_python(row["reading"])


def _source(row: Mapping[str, Any], reading: Reading | None, csv_data: str | None = None) -> Source:
    return Source(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        config=config_from(row["config"]),
        size_bytes=row["size_bytes"],
        columns=reading.columns if reading else None,
        row_count=reading.receipt.rows if reading else None,
        reject_count=reading.receipt.rejects if reading else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        csv_data=csv_data,
    )


def _values(draft: Draft, content: Content) -> dict[str, Any]:
    return {
        "name": draft.name,
        "config": Json(asdict(draft.config)),
        "csv_data": content.text,
        "size_bytes": content.size_bytes,
        "reading": None if content.reading is None else Json(asdict(content.reading)),
    }


def insert_source(tx: Tx, organization_id: int, draft: Draft, content: Content) -> Source:
    """A new source."""
    row = tx.one(
        "INSERT INTO data_source (organization_id, name, kind, config, csv_data, size_bytes, reading)"
        " VALUES (%(org)s, %(name)s, %(kind)s, %(config)s, %(csv_data)s, %(size_bytes)s, %(reading)s) RETURNING "
        + _COLUMNS,
        {**_values(draft, content), "org": organization_id, "kind": draft.kind},
    )
    return _source(row, _reading(row))


def update_source(tx: Tx, before: StoredSource, draft: Draft, content: Content) -> Source | None:
    """Write a changed source; None when it is no more as it was `before`."""
    row = tx.row(
        "UPDATE data_source SET name = %(name)s, config = %(config)s, csv_data = coalesce(%(csv_data)s, csv_data),"
        " size_bytes = %(size_bytes)s, reading = %(reading)s, updated_at = clock_timestamp()"
        " WHERE organization_id = %(org)s AND id = %(id)s AND updated_at = %(before)s RETURNING " + _COLUMNS,
        {
            **_values(draft, content),
            "org": before.organization_id,
            "id": before.id,
            "before": before.source.updated_at,
        },
    )
    return _source(row, _reading(row)) if row else None


def find_source(tx: Tx, organization_id: int, source_id: int, *, text: bool) -> StoredSource | None:
    """A source by id; with `text` also what a CSV holds."""
    row = tx.row(
        "SELECT " + _COLUMNS + (", csv_data" if text else ", NULL AS csv_data") + " FROM data_source"
        " WHERE organization_id = %s AND id = %s",
        (organization_id, source_id),
    )
    if row is None:
        return None
    reading = _reading(row)
    return StoredSource(row["organization_id"], _source(row, reading), row["csv_data"], reading)


def list_sources(tx: Tx, organization_id: int, *, limit: int, offset: int) -> tuple[list[Source], int]:
    """One page of sources, newest first, without their texts, and how many there are."""
    rows = tx.rows(
        "SELECT " + _COLUMNS + " FROM data_source WHERE organization_id = %s ORDER BY id DESC LIMIT %s OFFSET %s",
        (organization_id, limit, offset),
    )
    total = tx.one("SELECT count(*) AS n FROM data_source WHERE organization_id = %s", (organization_id,))
    return [_source(row, _reading(row)) for row in rows], int(total["n"])


def lock_source(tx: Tx, organization_id: int, source_id: int) -> bool:
    """Keep a source as it is until the transaction ends; False when there is none."""
    found = tx.row(
        "SELECT FROM data_source WHERE organization_id = %s AND id = %s FOR UPDATE", (organization_id, source_id)
    )
    return found is not None


def list_open_batches(tx: Tx, organization_id: int, source_id: int, limit: int) -> list[UUID]:
    """Batches from this source that are not finished, oldest first."""
    rows = tx.tuples(
        "SELECT id FROM batch WHERE organization_id = %s AND status IN ('queued', 'running', 'paused')"
        " AND origin->>'data_source_id' = %s ORDER BY id LIMIT %s",
        (organization_id, str(source_id), limit),
    )
    return [row[0] for row in rows]


def delete_source(tx: Tx, organization_id: int, source_id: int) -> list[str]:
    """Remove a source and its snapshots; answers the keys of their objects."""
    keys = tx.tuples(
        "DELETE FROM data_source_snapshot WHERE organization_id = %s AND data_source_id = %s RETURNING object_key",
        (organization_id, source_id),
    )
    tx.run("DELETE FROM data_source WHERE organization_id = %s AND id = %s", (organization_id, source_id))
    return [row[0] for row in keys]


def insert_snapshot(tx: Tx, organization_id: int, source_id: int, draft: SnapshotDraft) -> None:
    """A new snapshot."""
    tx.run(
        "INSERT INTO data_source_snapshot (id, organization_id, data_source_id, columns, object_key, row_count)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (
            draft.id,
            organization_id,
            source_id,
            Json([column.name for column in draft.sample.columns]),
            draft.object_key,
            draft.row_count,
        ),
    )


def delete_old_snapshots(tx: Tx, organization_id: int, source_id: int, keep: int) -> list[str]:
    """Remove all but the newest snapshots of a source; answers the keys of their objects."""
    rows = tx.tuples(
        "DELETE FROM data_source_snapshot WHERE organization_id = %(org)s AND id IN (SELECT id"
        " FROM data_source_snapshot WHERE organization_id = %(org)s AND data_source_id = %(source)s"
        " ORDER BY id DESC OFFSET %(keep)s) RETURNING object_key",
        {"org": organization_id, "source": source_id, "keep": keep},
    )
    return [row[0] for row in rows]


def find_snapshot(tx: Tx, organization_id: int, source_id: int, snapshot_id: UUID) -> Snapshot | None:
    """A snapshot of a source."""
    row = tx.row(
        "SELECT " + _SNAPSHOT + " FROM data_source_snapshot"
        " WHERE organization_id = %s AND data_source_id = %s AND id = %s",
        (organization_id, source_id, snapshot_id),
    )
    return Snapshot(**row) if row else None
