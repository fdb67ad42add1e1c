"""SQL of enrichment jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx

_COLUMNS: LiteralString = (
    "batch_id, organization_id, inventory_id, mapping, process_limit, token_expires_at, linked_at, created_at"
)


def insert_job(
    tx: Tx,
    organization_id: int,
    batch_id: UUID,
    *,
    inventory_id: UUID,
    mapping: dict[str, Any],
    process_limit: int | None,
    token_sha256: bytes | None,
    token_expires_at: datetime | None,
) -> None:
    """A new job."""
    tx.run(
        "INSERT INTO batch_enrich_job (batch_id, organization_id, inventory_id, mapping, process_limit, token_sha256,"
        " token_expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (batch_id, organization_id, inventory_id, Json(mapping), process_limit, token_sha256, token_expires_at),
    )


def find_job(tx: Tx, organization_id: int, batch_id: UUID, *, lock: bool = False) -> dict[str, Any] | None:
    """A job."""
    return tx.row(
        "SELECT "
        + _COLUMNS
        + " FROM batch_enrich_job WHERE organization_id = %s AND batch_id = %s"
        + (" FOR UPDATE" if lock else ""),
        (organization_id, batch_id),
    )


def find_job_by_token(tx: Tx, batch_id: UUID, token_sha256: bytes, *, lock: bool = False) -> dict[str, Any] | None:
    """A job that waits to be linked, for whoever has its token (system transaction)."""
    return tx.row(
        "SELECT " + _COLUMNS + " FROM batch_enrich_job WHERE batch_id = %s AND token_sha256 = %s"
        " AND token_expires_at > now()" + (" FOR UPDATE" if lock else ""),
        (batch_id, token_sha256),
    )


def list_jobs(tx: Tx, organization_id: int, *, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Jobs, newest first."""
    return tx.rows(
        "SELECT " + _COLUMNS + " FROM batch_enrich_job WHERE organization_id = %(org)s"
        " AND (%(before)s::uuid IS NULL OR batch_id < %(before)s) ORDER BY batch_id DESC LIMIT %(limit)s",
        {"org": organization_id, "before": before, "limit": limit},
    )


def update_mapping(tx: Tx, organization_id: int, batch_id: UUID, mapping: dict[str, Any]) -> None:
    """Another mapping of the same file."""
    tx.run(
        "UPDATE batch_enrich_job SET mapping = %s WHERE organization_id = %s AND batch_id = %s",
        (Json(mapping), organization_id, batch_id),
    )


def update_owner(tx: Tx, batch_id: UUID, organization_id: int) -> None:
    """Link a job to an organization; its token is used up (system transaction)."""
    tx.run(
        "UPDATE batch_enrich_job SET organization_id = %s, token_sha256 = NULL, token_expires_at = NULL,"
        " linked_at = now() WHERE batch_id = %s",
        (organization_id, batch_id),
    )


def count_waiting(tx: Tx, organization_id: int) -> int:
    """Uploads that nobody has linked yet."""
    row = tx.one(
        "SELECT count(*) AS n FROM batch_enrich_job WHERE organization_id = %s AND token_expires_at > now()",
        (organization_id,),
    )
    return int(row["n"])


def list_expired(tx: Tx, limit: int) -> list[dict[str, Any]]:
    """Uploads that nobody linked in time (system transaction)."""
    return tx.rows(
        "SELECT batch_id, organization_id FROM batch_enrich_job WHERE token_expires_at <= now() LIMIT %s", (limit,)
    )


def find_expired(tx: Tx, batch_id: UUID) -> dict[str, Any] | None:
    """Whose an expired upload is (system transaction)."""
    return tx.row(
        "SELECT organization_id FROM batch_enrich_job WHERE batch_id = %s AND token_expires_at <= now()", (batch_id,)
    )


def delete_expired(tx: Tx, organization_id: int, batch_id: UUID) -> UUID | None:
    """Remove an expired upload with its batch and rows; answers the file it was made of."""
    row = tx.row(
        "SELECT inventory_id FROM batch_enrich_job WHERE organization_id = %s AND batch_id = %s"
        " AND token_expires_at <= now() FOR UPDATE",
        (organization_id, batch_id),
    )
    if row is None:
        return None
    tx.run("DELETE FROM batch WHERE organization_id = %s AND id = %s", (organization_id, batch_id))
    return row["inventory_id"]


def count_found(tx: Tx, organization_id: int, batch_id: UUID) -> dict[str, int]:
    """How many contacts, phones, e-mails, entities and addresses the results hold."""
    return tx.one(
        "SELECT coalesce(sum(json_array_length(result->'contacts')), 0)::bigint AS contacts,"
        " coalesce(sum(json_array_length(result->'phones')), 0)::bigint AS phones,"
        " coalesce(sum(json_array_length(result->'emails')), 0)::bigint AS emails,"
        " coalesce(sum(json_array_length(result->'entities')), 0)::bigint AS entities,"
        " coalesce(sum(json_array_length(result->'addresses')), 0)::bigint AS addresses"
        " FROM batch_row WHERE organization_id = %s AND batch_id = %s AND status = 'succeeded'",
        (organization_id, batch_id),
    )


def find_row(tx: Tx, organization_id: int, batch_id: UUID, row_number: int) -> dict[str, Any] | None:
    """What a row's receipt and trace are made of."""
    return tx.row(
        "SELECT r.row_number, r.status, r.data, coalesce(r.result, p.result) AS result, r.trace, r.input_hash,"
        " r.charge_micro_usd, r.duplicate_of, r.reused_from, r.error_code, r.error, r.attempt, r.tries,"
        " b.price_micro_usd, b.agent"
        " FROM batch_row r JOIN batch b ON b.id = r.batch_id"
        " LEFT JOIN batch_row p ON p.batch_id = r.batch_id AND p.row_number = r.duplicate_of"
        " WHERE r.organization_id = %s AND r.batch_id = %s AND r.row_number = %s",
        (organization_id, batch_id, row_number),
    )
