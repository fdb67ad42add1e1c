"""SQL of datasets: making, listing, reading and changing them. What a build writes is in build_store.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.datasets.model import Draft, Sent

_DATASET: LiteralString = (
    "d.id, d.organization_id, d.agent_id, d.title, d.type, d.template, d.options, d.primary_key_field, d.embedder,"
    " d.ingest_status, d.last_error, d.progress, d.last_unfurled_at, d.source_count, d.version, d.created_at,"
    " d.updated_at, d.revision, d.file_id, f.object_key, f.name AS file_name, f.size_bytes, f.sha256,"
    " f.type AS file_type, v.rows_in, v.records, v.duplicates, v.empties, v.failures, v.reading, v.warnings"
)
_FROM: LiteralString = (
    " FROM dataset d JOIN dataset_file f ON f.id = d.file_id"
    " LEFT JOIN dataset_version v ON v.dataset_id = d.id AND v.version = d.version"
)
_VERSION: LiteralString = (
    "v.version, v.file_id, v.template, v.options, v.primary_key_field, v.embedder, v.columns, v.reading, v.warnings,"
    " v.rows_in, v.records, v.duplicates, v.empties, v.failures, v.added, v.changed, v.removed, v.unchanged, v.chunks,"
    " v.embedded, v.rows_table, v.vectors_table, v.ef_search, v.recall, v.seconds, v.created_at,"
    " f.object_key, f.name AS file_name"
)
_FILE: LiteralString = "id, object_key, name, type, size_bytes, sha256"


def has_agent(tx: Tx, organization_id: int, agent_id: int) -> bool:
    """Whether the organization has this agent."""
    return tx.row("SELECT FROM agent WHERE organization_id = %s AND id = %s", (organization_id, agent_id)) is not None


def insert_file(tx: Tx, organization_id: int, agent_id: int, file: Sent, keep_hours: int) -> None:
    """A file that no dataset uses yet."""
    tx.run(
        "INSERT INTO dataset_file (id, organization_id, agent_id, object_key, name, type, size_bytes, sha256,"
        " expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now() + make_interval(hours => %s))",
        (
            file.id,
            organization_id,
            agent_id,
            file.object_key,
            file.name,
            file.type,
            file.size_bytes,
            file.sha256,
            keep_hours,
        ),
    )


def find_file(tx: Tx, organization_id: int, agent_id: int, object_key: str) -> Sent | None:
    """A file by its path."""
    row = tx.row(
        "SELECT " + _FILE + " FROM dataset_file WHERE organization_id = %s AND agent_id = %s AND object_key = %s",
        (organization_id, agent_id, object_key),
    )
    return Sent(**row) if row else None


def use_file(tx: Tx, organization_id: int, file_id: UUID, dataset_id: int) -> bool:
    """Bind a file to a dataset; False when another dataset has it, or nobody any more."""
    return (
        tx.run(
            "UPDATE dataset_file SET dataset_id = %(dataset)s WHERE organization_id = %(org)s AND id = %(id)s"
            " AND (dataset_id IS NULL OR dataset_id = %(dataset)s)",
            {"org": organization_id, "id": file_id, "dataset": dataset_id},
        )
        > 0
    )


def list_expired_files(tx: Tx, limit: int) -> list[dict[str, Any]]:
    """Files that nobody uses any more (system transaction)."""
    return tx.rows(
        "SELECT id, object_key FROM dataset_file WHERE dataset_id IS NULL AND expires_at < now() LIMIT %s"
        " FOR UPDATE SKIP LOCKED",
        (limit,),
    )


def delete_files(tx: Tx, file_ids: Sequence[UUID]) -> None:
    """Forget files whose objects are gone (system transaction)."""
    tx.run("DELETE FROM dataset_file WHERE id = ANY(%s) AND dataset_id IS NULL", (list(file_ids),))


def insert_dataset(tx: Tx, organization_id: int, agent_id: int, draft: Draft, file_id: UUID) -> int:
    """A new dataset that waits to be processed; answers its id."""
    row = tx.one(
        "INSERT INTO dataset (organization_id, agent_id, title, type, file_id, template, options, primary_key_field,"
        " embedder, ingest_status) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'pending') RETURNING id",
        (
            organization_id,
            agent_id,
            draft.title,
            draft.type,
            file_id,
            draft.template,
            Json(asdict(draft.options)),
            draft.primary_key_field,
            Json(asdict(draft.embedder)),
        ),
    )
    return int(row["id"])


def find_dataset(tx: Tx, organization_id: int, agent_id: int, dataset_id: int) -> dict[str, Any] | None:
    """A dataset with the receipt of its version."""
    return tx.row(
        "SELECT " + _DATASET + _FROM + " WHERE d.organization_id = %s AND d.agent_id = %s AND d.id = %s",
        (organization_id, agent_id, dataset_id),
    )


def find_agent_of(tx: Tx, organization_id: int, dataset_id: int) -> int | None:
    """Whose dataset it is."""
    row = tx.row("SELECT agent_id FROM dataset WHERE organization_id = %s AND id = %s", (organization_id, dataset_id))
    return int(row["agent_id"]) if row else None


def list_ids(tx: Tx, organization_id: int, agent_id: int) -> list[int]:
    """All datasets of an agent."""
    rows = tx.tuples("SELECT id FROM dataset WHERE organization_id = %s AND agent_id = %s", (organization_id, agent_id))
    return [row[0] for row in rows]


def list_datasets(
    tx: Tx, organization_id: int, agent_id: int, *, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """One page of an agent's datasets, newest first, and how many there are."""
    rows = tx.rows(
        "SELECT " + _DATASET + _FROM + " WHERE d.organization_id = %s AND d.agent_id = %s"
        " ORDER BY d.id DESC LIMIT %s OFFSET %s",
        (organization_id, agent_id, limit, offset),
    )
    total = tx.one(
        "SELECT count(*) AS n FROM dataset WHERE organization_id = %s AND agent_id = %s", (organization_id, agent_id)
    )
    return rows, int(total["n"])


def lock_dataset(tx: Tx, organization_id: int, agent_id: int, dataset_id: int) -> dict[str, Any] | None:
    """Status, version and revision of a dataset, which stays as it is until the transaction ends."""
    return tx.row(
        "SELECT ingest_status, version, revision FROM dataset"
        " WHERE organization_id = %s AND agent_id = %s AND id = %s FOR UPDATE",
        (organization_id, agent_id, dataset_id),
    )


def update_dataset(
    tx: Tx, organization_id: int, dataset_id: int, draft: Draft, file_id: UUID, version: int | None
) -> None:
    """Write what a user may change, and which version is searched."""
    tx.run(
        "UPDATE dataset SET title = %(title)s, type = %(type)s, template = %(template)s, options = %(options)s,"
        " primary_key_field = %(key)s, embedder = %(embedder)s, file_id = %(file)s, version = %(version)s,"
        " updated_at = clock_timestamp() WHERE organization_id = %(org)s AND id = %(id)s",
        {
            "org": organization_id,
            "id": dataset_id,
            "title": draft.title,
            "type": draft.type,
            "template": draft.template,
            "options": Json(asdict(draft.options)),
            "key": draft.primary_key_field,
            "embedder": Json(asdict(draft.embedder)),
            "file": file_id,
            "version": version,
        },
    )


def update_pending(tx: Tx, organization_id: int, dataset_id: int, *, confirmed: bool) -> int:
    """Ask for processing: the dataset waits, or what runs starts over; answers the new revision."""
    row = tx.one(
        "UPDATE dataset SET revision = revision + 1, confirmed = %s, last_error = NULL, updated_at = clock_timestamp(),"
        " ingest_status = CASE ingest_status WHEN 'processing' THEN 'processing' ELSE 'pending' END,"
        " progress = CASE ingest_status WHEN 'processing' THEN progress END"
        " WHERE organization_id = %s AND id = %s RETURNING revision",
        (confirmed, organization_id, dataset_id),
    )
    return int(row["revision"])


def update_completed(tx: Tx, organization_id: int, dataset_id: int, records: int) -> None:
    """After going back to a version: what is searched is what is wanted."""
    tx.run(
        "UPDATE dataset SET ingest_status = 'completed', last_error = NULL, revision = revision + 1, source_count = %s"
        " WHERE organization_id = %s AND id = %s",
        (records, organization_id, dataset_id),
    )


def delete_dataset(tx: Tx, organization_id: int, dataset_id: int) -> None:
    """Remove a dataset with all that was made of it; its files expire."""
    tx.run(
        "UPDATE dataset_file SET expires_at = now() WHERE organization_id = %s AND dataset_id = %s",
        (organization_id, dataset_id),
    )
    tx.run("DELETE FROM dataset WHERE organization_id = %s AND id = %s", (organization_id, dataset_id))


def list_versions(tx: Tx, organization_id: int, dataset_id: int) -> list[dict[str, Any]]:
    """All versions that are kept, newest first."""
    return tx.rows(
        "SELECT " + _VERSION + " FROM dataset_version v JOIN dataset_file f ON f.id = v.file_id"
        " WHERE v.organization_id = %s AND v.dataset_id = %s ORDER BY v.version DESC",
        (organization_id, dataset_id),
    )


def find_version(tx: Tx, organization_id: int, dataset_id: int, version: int) -> dict[str, Any] | None:
    """One version."""
    return tx.row(
        "SELECT " + _VERSION + ", f.type AS file_type FROM dataset_version v JOIN dataset_file f ON f.id = v.file_id"
        " WHERE v.organization_id = %s AND v.dataset_id = %s AND v.version = %s",
        (organization_id, dataset_id, version),
    )


def find_positions(tx: Tx, organization_id: int, dataset_id: int, version: int) -> bytes:
    """Row number of each ordinal's record in a version."""
    row = tx.one(
        "SELECT positions FROM dataset_version WHERE organization_id = %s AND dataset_id = %s AND version = %s",
        (organization_id, dataset_id, version),
    )
    return row["positions"]


def list_records(tx: Tx, organization_id: int, dataset_id: int, ordinals: Sequence[int]) -> list[dict[str, Any]]:
    """Records by ordinal."""
    return tx.rows(
        "SELECT ordinal, parts, record_key, data FROM dataset_record"
        " WHERE organization_id = %s AND dataset_id = %s AND ordinal = ANY(%b::int[])",
        (organization_id, dataset_id, list(ordinals)),
    )


def list_chunks(tx: Tx, organization_id: int, dataset_id: int, ordinals: Sequence[int]) -> list[dict[str, Any]]:
    """Chunks by ordinal, each with its record."""
    return tx.rows(
        "SELECT c.ordinal, c.text, r.ordinal AS record, r.record_key FROM dataset_chunk c"
        " CROSS JOIN LATERAL (SELECT ordinal, record_key FROM dataset_record WHERE dataset_id = c.dataset_id"
        " AND ordinal <= c.ordinal ORDER BY ordinal DESC LIMIT 1) r"
        " WHERE c.organization_id = %s AND c.dataset_id = %s AND c.ordinal = ANY(%b::int[]) ORDER BY c.ordinal",
        (organization_id, dataset_id, list(ordinals)),
    )


def find_ordinals(tx: Tx, organization_id: int, dataset_id: int, text: str) -> list[int]:
    """Ordinals of the records, of any version, whose key or row has a text in it."""
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = tx.tuples(
        "SELECT ordinal FROM dataset_record WHERE organization_id = %(org)s AND dataset_id = %(id)s"
        " AND (record_key ILIKE %(text)s OR EXISTS (SELECT FROM json_each_text(data) e WHERE e.value ILIKE %(text)s))",
        {"org": organization_id, "id": dataset_id, "text": pattern},
    )
    return [row[0] for row in rows]


def list_errors(tx: Tx, organization_id: int, dataset_id: int, version: int, *, after: int, limit: int) -> list[Any]:
    """Rows that are not in a version as they are in its file: (number, kind, line, record_key, reason, data)."""
    return tx.tuples(
        "SELECT number, kind, line, record_key, reason, data FROM dataset_error"
        " WHERE organization_id = %s AND dataset_id = %s AND version = %s AND number > %s ORDER BY number LIMIT %s",
        (organization_id, dataset_id, version, after, limit),
    )


def find_error_version(tx: Tx, organization_id: int, dataset_id: int) -> int | None:
    """The version whose errors are told: of the latest processing, also where it failed."""
    row = tx.row(
        "SELECT greatest((SELECT max(version) FROM dataset_error WHERE dataset_id = d.id"
        " AND version >= d.version_next), d.version) AS version FROM dataset d"
        " WHERE d.organization_id = %s AND d.id = %s",
        (organization_id, dataset_id),
    )
    return row["version"] if row else None
