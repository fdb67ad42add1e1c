"""SQL of batches: making, listing, reading and changing them. What workers do is in run_store.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx

_ROW: LiteralString = (
    "r.row_number, r.status, r.data, coalesce(r.result, p.result) AS result, r.error_code, r.error, r.duplicate_of,"
    " r.external_id, r.tries, r.charge_micro_usd, r.duration_ms, r.finished_at"
)
_ROW_FROM: LiteralString = (
    " FROM batch_row r LEFT JOIN batch_row p ON p.batch_id = r.batch_id AND p.row_number = r.duplicate_of"
    " WHERE r.organization_id = %(org)s AND r.batch_id = %(batch)s"
)


def insert_batch(tx: Tx, organization_id: int, batch_id: UUID, values: dict[str, Any]) -> None:
    """A new, still empty batch."""
    json_columns = ("agent", "origin", "columns", "mapping")
    tx.run(
        "INSERT INTO batch (id, organization_id, agent_id, agent, agent_version, name, status, origin, columns,"
        " mapping, queue, priority, row_limit, budget_micro_usd, max_failures, callback_url, run_key, price_micro_usd)"
        " VALUES (%(id)s, %(org)s, %(agent_id)s, %(agent)s, %(agent_version)s, %(name)s, 'queued', %(origin)s,"
        " %(columns)s, %(mapping)s, %(queue)s, %(priority)s, %(row_limit)s, %(budget_micro_usd)s, %(max_failures)s,"
        " %(callback_url)s, %(run_key)s, %(price_micro_usd)s)",
        {
            **{name: Json(value) if name in json_columns else value for name, value in values.items()},
            "id": batch_id,
            "org": organization_id,
        },
    )


def insert_rows(
    tx: Tx,
    organization_id: int,
    batch_id: UUID,
    *,
    row_numbers: Sequence[int],
    statuses: Sequence[str],
    data: Sequence[str],
    input_hashes: Sequence[bytes],
    external_ids: Sequence[str | None],
    error_codes: Sequence[str | None],
    errors: Sequence[str | None],
) -> None:
    """One chunk of rows. Row-level security forbids COPY, and `unnest` costs little more."""
    tx.run(
        "INSERT INTO batch_row (batch_id, organization_id, row_number, status, data, input_hash, external_id,"
        " error_code, error)"
        " SELECT %(batch)s, %(org)s, t.* FROM unnest(%(numbers)b::int[], %(statuses)b::text[], %(data)b::json[],"
        " %(hashes)b::bytea[], %(external)b::text[], %(codes)b::text[], %(errors)b::text[]) AS t",
        {
            "batch": batch_id,
            "org": organization_id,
            "numbers": row_numbers,
            "statuses": statuses,
            "data": data,
            "hashes": input_hashes,
            "external": external_ids,
            "codes": error_codes,
            "errors": errors,
        },
    )


def delete_rows(tx: Tx, organization_id: int, batch_id: UUID) -> int:
    """Remove all rows of a batch that was never started."""
    return tx.run("DELETE FROM batch_row WHERE organization_id = %s AND batch_id = %s", (organization_id, batch_id))


def update_owner(
    tx: Tx,
    batch_id: UUID,
    *,
    organization_id: int,
    agent_id: int,
    agent: dict[str, Any],
    agent_version: int,
    price_micro_usd: int,
) -> None:
    """Give a batch and its rows to another organization (system transaction)."""
    tx.run(
        "UPDATE batch SET organization_id = %s, agent_id = %s, agent = %s, agent_version = %s, price_micro_usd = %s,"
        " revision = revision + 1, updated_at = now() WHERE id = %s",
        (organization_id, agent_id, Json(agent), agent_version, price_micro_usd, batch_id),
    )
    tx.run("UPDATE batch_row SET organization_id = %s WHERE batch_id = %s", (organization_id, batch_id))


def analyze_rows(tx: Tx) -> None:
    """Fresh statistics after a bulk load; without them every save scans the table."""
    tx.row("SELECT app_analyze_rows()")


def mark_duplicates(tx: Tx, batch_id: UUID) -> int:
    """Set pending rows whose input equals an earlier one's to `duplicate`."""
    return tx.run(
        "UPDATE batch_row r SET status = 'duplicate', duplicate_of = d.first_row FROM ("
        "   SELECT row_number, min(row_number) OVER (PARTITION BY input_hash) AS first_row"
        "   FROM batch_row WHERE batch_id = %(batch)s AND status = 'pending') d"
        " WHERE r.batch_id = %(batch)s AND r.row_number = d.row_number AND d.row_number <> d.first_row",
        {"batch": batch_id},
    )


def reuse_results(
    tx: Tx, organization_id: int, batch_id: UUID, *, agent_id: int, agent_version: int, since: datetime
) -> int:
    """Give pending rows the newest result of the same input from earlier batches of the same agent version."""
    return tx.run(
        "UPDATE batch_row r SET status = o.status, result = o.result, reused_from = o.row_id, finished_at = now()"
        " FROM (SELECT DISTINCT ON (old.input_hash) old.input_hash, old.status, old.result,"
        "   (substr(old.batch_id::text, 1, 28) || lpad(to_hex(old.row_number), 8, '0'))::uuid AS row_id"
        "   FROM batch b JOIN batch_row old ON old.batch_id = b.id"
        "   WHERE b.organization_id = %(org)s AND b.agent_id = %(agent)s AND b.agent_version = %(version)s"
        "     AND b.id <> %(batch)s AND b.updated_at >= %(since)s AND old.status IN ('succeeded', 'empty')"
        "     AND old.finished_at >= %(since)s"
        "   ORDER BY old.input_hash, old.finished_at DESC) o"
        " WHERE r.batch_id = %(batch)s AND r.status = 'pending' AND r.input_hash = o.input_hash",
        {
            "org": organization_id,
            "agent": agent_id,
            "version": agent_version,
            "batch": batch_id,
            "since": since,
        },
    )


def count_reusable(
    tx: Tx,
    organization_id: int,
    *,
    agent_id: int,
    agent_version: int,
    since: datetime,
    input_hashes: Sequence[bytes],
) -> int:
    """Of some inputs, how many have a result in earlier batches of the same agent version."""
    row = tx.one(
        "SELECT count(DISTINCT old.input_hash) AS n FROM batch b JOIN batch_row old ON old.batch_id = b.id"
        " WHERE b.organization_id = %(org)s AND b.agent_id = %(agent)s AND b.agent_version = %(version)s"
        " AND b.updated_at >= %(since)s AND old.status IN ('succeeded', 'empty') AND old.finished_at >= %(since)s"
        " AND old.input_hash = ANY(%(hashes)s)",
        {
            "org": organization_id,
            "agent": agent_id,
            "version": agent_version,
            "since": since,
            "hashes": list(input_hashes),
        },
    )
    return int(row["n"])


def count_rows(tx: Tx, batch_id: UUID) -> dict[str, int]:
    """Rows by status."""
    rows = tx.rows("SELECT status, count(*) AS n FROM batch_row WHERE batch_id = %s GROUP BY status", (batch_id,))
    return {row["status"]: row["n"] for row in rows}


def update_counts(tx: Tx, batch_id: UUID, counts: dict[str, int], *, reused: int) -> None:
    """Set all counters of a batch at once, after rows were made or changed in bulk."""
    complete = {name: counts.get(name, 0) for name in (
        "pending", "running", "succeeded", "empty", "failed", "skipped", "duplicate", "cancelled",
    )}  # fmt: skip
    tx.run(
        "UPDATE batch SET rows_in = %(rows_in)s, pending = %(pending)s, running = %(running)s,"
        " succeeded = %(succeeded)s, empty = %(empty)s, failed = %(failed)s, skipped = %(skipped)s,"
        " duplicate = %(duplicate)s, cancelled = %(cancelled)s, reused = %(reused)s, revision = revision + 1,"
        " updated_at = now() WHERE id = %(id)s",
        {**complete, "rows_in": sum(complete.values()), "reused": reused, "id": batch_id},
    )


def update_columns(tx: Tx, batch_id: UUID, columns: list[str]) -> None:
    """The user's columns, once all rows have been seen."""
    tx.run("UPDATE batch SET columns = %s WHERE id = %s", (Json(columns), batch_id))


def update_callback(tx: Tx, organization_id: int, batch_id: UUID, outcome: dict[str, Any]) -> None:
    """How the call of the batch's callback_url went."""
    tx.run(
        "UPDATE batch SET callback = %s, revision = revision + 1 WHERE organization_id = %s AND id = %s",
        (Json(outcome), organization_id, batch_id),
    )


def count_reused(tx: Tx, batch_id: UUID) -> int:
    """Rows whose result came from an earlier batch."""
    row = tx.one("SELECT count(*) AS n FROM batch_row WHERE batch_id = %s AND reused_from IS NOT NULL", (batch_id,))
    return int(row["n"])


def update_agent_snapshot(tx: Tx, batch_id: UUID, *, agent: dict[str, Any], version: int, price_micro_usd: int) -> None:
    """Let a batch go on with another version of its agent."""
    tx.run(
        "UPDATE batch SET agent = %s, agent_version = %s, price_micro_usd = %s WHERE id = %s",
        (Json(agent), version, price_micro_usd, batch_id),
    )


def find_batch(tx: Tx, organization_id: int, batch_id: UUID, *, lock: bool = False) -> dict[str, Any] | None:
    """A batch; `lock` serialises everything that changes it or its rows."""
    return tx.row(
        "SELECT * FROM batch WHERE organization_id = %s AND id = %s" + (" FOR UPDATE" if lock else ""),
        (organization_id, batch_id),
    )


def find_batch_by_run_key(tx: Tx, organization_id: int, run_key: str) -> dict[str, Any] | None:
    """The batch of a run that was started before with the same key."""
    return tx.row("SELECT * FROM batch WHERE organization_id = %s AND run_key = %s", (organization_id, run_key))


def forget_run_key(tx: Tx, organization_id: int, batch_id: UUID) -> None:
    """Let the same run start afresh next time."""
    tx.run("UPDATE batch SET run_key = NULL WHERE organization_id = %s AND id = %s", (organization_id, batch_id))


def list_batches(
    tx: Tx,
    organization_id: int,
    *,
    agent_id: int | None,
    status: str | None,
    before: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Batches, newest first."""
    return tx.rows(
        "SELECT * FROM batch WHERE organization_id = %(org)s AND (%(agent)s::bigint IS NULL OR agent_id = %(agent)s)"
        " AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(before)s::uuid IS NULL OR id < %(before)s)"
        " ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "agent": agent_id, "status": status, "before": before, "limit": limit},
    )


def update_status(
    tx: Tx, batch_id: UUID, *, status: str, reason: str | None = None, message: str = "", new_epoch: bool = False
) -> None:
    """Move a batch to another state; `new_epoch` ends the work of older seats."""
    tx.run(
        "UPDATE batch SET status = %(status)s, reason = %(reason)s, message = %(message)s,"
        " epoch = epoch + %(step)s, revision = revision + 1, updated_at = now(),"
        " failures_run = CASE WHEN %(step)s = 1 THEN 0 ELSE failures_run END,"
        " started_at = CASE WHEN %(status)s = 'running' THEN coalesce(started_at, now()) ELSE started_at END,"
        " finished_at = CASE WHEN %(status)s IN ('completed', 'failed', 'cancelled') THEN now() END"
        " WHERE id = %(id)s",
        {"status": status, "reason": reason, "message": message, "step": int(new_epoch), "id": batch_id},
    )


def cancel_pending(tx: Tx, batch_id: UUID) -> int:
    """End all rows that have not started."""
    return tx.run(
        "UPDATE batch_row SET status = 'cancelled', finished_at = now() WHERE batch_id = %s AND status = 'pending'",
        (batch_id,),
    )


_RESET: LiteralString = (
    "UPDATE batch_row r SET status = 'pending', not_before = NULL, tries = 0, losses = 0,"
    " error_code = NULL, error = NULL, result = NULL, finished_at = NULL, reused_from = NULL, trace = NULL,"
    " duplicate_of = NULL WHERE r.batch_id = %(batch)s"
)


def reset_rows_by_status(tx: Tx, batch_id: UUID, statuses: Sequence[str], *, error_code: str | None) -> int:
    """Send ended rows back to be run, all of some states or those with one cause of failure."""
    return tx.run(
        _RESET + " AND r.status = ANY(%(statuses)s) AND (%(code)s::text IS NULL OR r.error_code = %(code)s)"
        " AND r.error_code IS DISTINCT FROM 'input_invalid'",
        {"batch": batch_id, "statuses": list(statuses), "code": error_code},
    )


def reset_rows_by_number(tx: Tx, batch_id: UUID, row_numbers: Sequence[int]) -> int:
    """Send chosen rows back to be run, unless they run now, wait already, or share another row's result."""
    return tx.run(
        _RESET + " AND r.row_number = ANY(%(numbers)s) AND r.status NOT IN ('pending', 'running', 'duplicate')",
        {"batch": batch_id, "numbers": list(row_numbers)},
    )


def reset_rows_changed_since(tx: Tx, batch_id: UUID, since_batch_id: UUID) -> int:
    """Send rows back whose input has no successful result in another batch."""
    return tx.run(
        _RESET + " AND r.status IN ('succeeded', 'empty', 'failed', 'cancelled') AND NOT EXISTS ("
        "   SELECT FROM batch_row o WHERE o.batch_id = %(since)s AND o.input_hash = r.input_hash"
        "   AND o.status IN ('succeeded', 'empty'))",
        {"batch": batch_id, "since": since_batch_id},
    )


def list_rows(
    tx: Tx,
    organization_id: int,
    batch_id: UUID,
    *,
    status: str | None,
    query: str | None,
    after: int,
    limit: int,
    error_code: str | None = None,
) -> list[dict[str, Any]]:
    """Rows in their order after a row number; `query` is looked for in data, result and error."""
    return tx.rows(
        "SELECT " + _ROW + _ROW_FROM + " AND r.row_number > %(after)s"
        " AND (%(status)s::text IS NULL OR r.status = %(status)s)"
        " AND (%(code)s::text IS NULL OR r.error_code = %(code)s)"
        " AND (%(q)s::text IS NULL OR r.data::text ILIKE %(q)s OR r.result::text ILIKE %(q)s OR r.error ILIKE %(q)s)"
        " ORDER BY r.row_number LIMIT %(limit)s",
        {
            "org": organization_id,
            "batch": batch_id,
            "after": after,
            "status": status,
            "code": error_code,
            "q": f"%{_escape_like(query)}%" if query else None,
            "limit": limit,
        },
    )


def find_row(tx: Tx, organization_id: int, batch_id: UUID, row_number: int) -> dict[str, Any] | None:
    """One row with its attempts and its trace."""
    return tx.row(
        "SELECT " + _ROW + ", r.history, r.trace, r.reused_from" + _ROW_FROM + " AND r.row_number = %(row)s",
        {"org": organization_id, "batch": batch_id, "row": row_number},
    )


def has_external_ids(tx: Tx, organization_id: int, batch_id: UUID) -> bool:
    """Whether the rows came with ids of the user's: all of them do, or none."""
    row = tx.row(
        "SELECT external_id FROM batch_row WHERE organization_id = %s AND batch_id = %s AND row_number = 1",
        (organization_id, batch_id),
    )
    return row is not None and row["external_id"] is not None


def row_charges(tx: Tx, organization_id: int, batch_id: UUID, row_number: int) -> list[dict[str, Any]]:
    """Ledger moves of one row."""
    return tx.rows(
        "SELECT kind, amount_micro_usd, key, created_at FROM ledger_entry WHERE organization_id = %s"
        " AND batch_id = %s AND row_number = %s ORDER BY id",
        (organization_id, batch_id, row_number),
    )


def failure_groups(tx: Tx, organization_id: int, batch_id: UUID, limit: int) -> list[dict[str, Any]]:
    """Failed rows by cause, most frequent first."""
    return tx.rows(
        "SELECT coalesce(error_code, '') AS error_code, min(error) AS example, count(*) AS rows FROM batch_row"
        " WHERE organization_id = %s AND batch_id = %s AND status = 'failed'"
        " GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT %s",
        (organization_id, batch_id, limit),
    )


def list_progress(tx: Tx, organization_id: int, batch_id: UUID, *, after: int, limit: int) -> list[dict[str, Any]]:
    """What changed since a revision, oldest first."""
    return tx.rows(
        "SELECT revision, rows FROM batch_progress WHERE organization_id = %s AND batch_id = %s AND revision > %s"
        " ORDER BY revision LIMIT %s",
        (organization_id, batch_id, after, limit),
    )


def delete_old_progress(tx: Tx, *, hours: int, limit: int) -> int:
    """Forget the change lists of batches that ended long ago (system transaction)."""
    return tx.run(
        "DELETE FROM batch_progress p USING (SELECT id FROM batch WHERE status IN ('completed', 'failed', 'cancelled')"
        " AND finished_at < now() - make_interval(hours => %s) AND EXISTS (SELECT FROM batch_progress q"
        " WHERE q.batch_id = batch.id) LIMIT %s) old WHERE p.batch_id = old.id",
        (hours, limit),
    )


def _escape_like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
