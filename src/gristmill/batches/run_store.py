"""SQL of running batches: claim, save, seats, pace. Whoever calls these holds the batch's row lock first.

That lock makes all effects of one batch happen one after the other, so no row needs a lock of its own. Locks are
taken in one order everywhere: batch, pace, ledger account.

Long lists travel in binary (`%b`): as text, the driver escapes every element in Python, ten times as slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.batches.model import LOSSES_SUSPECT, Finished, Seat


def claim_batch(tx: Tx, batch_id: UUID) -> dict[str, Any] | None:
    """Lock a batch and read what a step needs."""
    return tx.row("SELECT * FROM batch WHERE id = %s FOR UPDATE", (batch_id,))


def find_state(tx: Tx, batch_id: UUID) -> tuple[str, int] | None:
    """Status and epoch without a lock: the idle worker's look."""
    row = tx.row("SELECT status, epoch FROM batch WHERE id = %s", (batch_id,))
    return (row["status"], row["epoch"]) if row else None


def update_finished(
    tx: Tx, batch_id: UUID, worker_id: UUID, rows: Sequence[Finished], charges: Sequence[int]
) -> list[dict[str, Any]]:
    """Write how rows ended and what each costs, if this worker still holds this very attempt; answers those written.

    The WHERE is the fence: after its lease has expired a late worker's write changes nothing.
    """
    return tx.rows(
        "WITH x AS (SELECT * FROM unnest(%(numbers)b::int[], %(attempts)b::int[], %(statuses)b::text[],"
        "   %(ran)b::int[], %(lost)b::int[], %(results)b::json[], %(codes)b::text[], %(errors)b::text[], %(ms)b::int[],"
        "   %(traces)b::json[], %(waits)b::float8[], %(charges)b::bigint[])"
        "   AS t(row_number, attempt, status, ran, lost, result, error_code, error, ms, trace, wait_s,"
        "   charge))"
        " UPDATE batch_row r SET status = x.status, worker_id = NULL, held_micro_usd = 0, tries = r.tries + x.ran,"
        "   losses = r.losses + x.lost, charge_micro_usd = r.charge_micro_usd + x.charge,"
        "   result = x.result, error_code = x.error_code, error = x.error,"
        "   duration_ms = coalesce(x.ms, r.duration_ms), trace = coalesce(x.trace, r.trace),"
        "   not_before = CASE WHEN x.wait_s IS NOT NULL THEN now() + make_interval(secs => x.wait_s) END,"
        "   history = CASE WHEN x.status = 'pending' AND x.ran + x.lost > 0 THEN (coalesce(r.history::jsonb, '[]') ||"
        "     jsonb_build_object('error_code', x.error_code, 'error', x.error, 'ms', x.ms, 'at', now()))::json"
        "     ELSE r.history END,"
        "   finished_at = CASE WHEN x.status <> 'pending' THEN now() END"
        " FROM x WHERE r.batch_id = %(batch)s AND r.row_number = x.row_number"
        "   AND r.status = 'running' AND r.worker_id = %(worker)s AND r.attempt = x.attempt"
        " RETURNING r.row_number, r.attempt, r.status, x.ran",
        {
            "batch": batch_id,
            "worker": worker_id,
            "numbers": [row.row_number for row in rows],
            "attempts": [row.attempt for row in rows],
            "statuses": [row.status for row in rows],
            "ran": [int(row.ran) for row in rows],
            "lost": [int(row.lost) for row in rows],
            "results": [row.result for row in rows],
            "codes": [row.error_code for row in rows],
            "errors": [row.error for row in rows],
            "ms": [row.duration_ms for row in rows],
            "traces": [row.trace for row in rows],
            "waits": [None if row.wait_s is None else float(row.wait_s) for row in rows],
            "charges": list(charges),
        },
    )


def claim_rows(
    tx: Tx,
    batch_id: UUID,
    worker_id: UUID,
    epoch: int,
    *,
    after: int,
    limit: int,
    held_micro_usd: int,
    suspects: bool = False,
) -> list[tuple[int, int, int, str]]:
    """Take pending rows after a row number: (row number, attempt, tries, data as JSON text), in order.

    Rows that several workers held when they died are taken only with `suspects`.
    """
    rows = tx.tuples(
        "UPDATE batch_row r SET status = 'running', worker_id = %(worker)s, epoch = %(epoch)s, attempt = r.attempt + 1,"
        "   held_micro_usd = %(held)s, not_before = NULL, started_at = now()"
        " FROM (SELECT row_number FROM batch_row WHERE batch_id = %(batch)s AND row_number > %(after)s"
        "   AND status = 'pending' AND (not_before IS NULL OR not_before <= now())"
        "   AND (losses >= %(suspect)s) = %(suspects)s"
        "   ORDER BY row_number LIMIT %(limit)s) picked"
        " WHERE r.batch_id = %(batch)s AND r.row_number = picked.row_number"
        " RETURNING r.row_number, r.attempt, r.tries, r.data::text",
        {
            "worker": worker_id,
            "epoch": epoch,
            "held": held_micro_usd,
            "batch": batch_id,
            "after": after,
            "limit": limit,
            "suspect": LOSSES_SUSPECT,
            "suspects": suspects,
        },
    )
    return sorted(rows, key=lambda row: row[0])


def list_inputs(tx: Tx, batch_id: UUID, *, after: int, limit: int) -> list[tuple[int, str]]:
    """(row number, data as JSON text) of the rows after a row number that run or have run, in order."""
    return tx.tuples(
        "SELECT row_number, data::text FROM batch_row WHERE batch_id = %s AND row_number > %s"
        " AND status NOT IN ('duplicate', 'skipped') ORDER BY row_number LIMIT %s",
        (batch_id, after, limit),
    )


def next_due(tx: Tx, batch_id: UUID) -> datetime | None:
    """When the first pending row may run; None when there is none."""
    row = tx.one(
        "SELECT min(coalesce(not_before, now())) AS due FROM batch_row WHERE batch_id = %s AND status = 'pending'",
        (batch_id,),
    )
    return row["due"]


def add_counts(tx: Tx, batch_id: UUID, changes: dict[str, int], *, result_columns: list[str] | None) -> int:
    """Add to a batch's counters and make a new revision; answers the revision."""
    names = (
        "pending",
        "running",
        "succeeded",
        "empty",
        "failed",
        "cancelled",
        "attempts",
        "failures_run",
        "held",
        "spent",
    )
    row = tx.one(
        "UPDATE batch SET pending = pending + %(pending)s, running = running + %(running)s,"
        " succeeded = succeeded + %(succeeded)s, empty = empty + %(empty)s, failed = failed + %(failed)s,"
        " cancelled = cancelled + %(cancelled)s, attempts = attempts + %(attempts)s,"
        " failures_run = failures_run + %(failures_run)s,"
        " held_micro_usd = held_micro_usd + %(held)s, spent_micro_usd = spent_micro_usd + %(spent)s,"
        " result_columns = coalesce(%(columns)s, result_columns), revision = revision + 1, updated_at = now()"
        " WHERE id = %(id)s RETURNING revision",
        {
            **{name: changes.get(name, 0) for name in names},
            "columns": Json(result_columns) if result_columns is not None else None,
            "id": batch_id,
        },
    )
    return int(row["revision"])


def insert_progress(tx: Tx, organization_id: int, batch_id: UUID, revision: int, rows: list[list[Any]]) -> None:
    """One line of the change list."""
    tx.run(
        "INSERT INTO batch_progress (batch_id, revision, organization_id, rows) VALUES (%s, %s, %s, %s)",
        (batch_id, revision, organization_id, Json(rows)),
    )


def list_seats(tx: Tx, agent_id: int) -> list[Seat]:
    """All seats at batches of one agent."""
    rows = tx.tuples(
        "SELECT batch_id, worker_id, epoch, priority, want, slots FROM seat WHERE agent_id = %s"
        " ORDER BY batch_id, worker_id, epoch",
        (agent_id,),
    )
    return [Seat(*row) for row in rows]


def upsert_seat(tx: Tx, organization_id: int, agent_id: int, seat: Seat) -> None:
    """Take or change a seat."""
    tx.run(
        "INSERT INTO seat (agent_id, batch_id, worker_id, epoch, organization_id, priority, want, slots)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (agent_id, batch_id, worker_id, epoch)"
        " DO UPDATE SET want = excluded.want, slots = excluded.slots, seen_at = now()",
        (agent_id, seat.batch_id, seat.worker_id, seat.epoch, organization_id, seat.priority, seat.want, seat.slots),
    )


def shrink_seat(tx: Tx, batch_id: UUID, worker_id: UUID, epoch: int, slots: int) -> None:
    """Keep only the slots that are in use: this seat takes nothing new."""
    tx.run(
        "UPDATE seat SET want = 0, slots = %s WHERE batch_id = %s AND worker_id = %s AND epoch = %s",
        (slots, batch_id, worker_id, epoch),
    )


def delete_seat(tx: Tx, batch_id: UUID, worker_id: UUID, epoch: int | None = None) -> None:
    """Leave a seat, or all seats of a worker at a batch."""
    tx.run(
        "DELETE FROM seat WHERE batch_id = %(batch)s AND worker_id = %(worker)s"
        " AND (%(epoch)s::int IS NULL OR epoch = %(epoch)s)",
        {"batch": batch_id, "worker": worker_id, "epoch": epoch},
    )


def seats_of_worker(tx: Tx, worker_id: UUID) -> list[UUID]:
    """Batches at which a worker has a seat (system transaction)."""
    rows = tx.rows("SELECT DISTINCT batch_id FROM seat WHERE worker_id = %s ORDER BY batch_id", (worker_id,))
    return [row["batch_id"] for row in rows]


def running_rows_of_worker(tx: Tx, batch_id: UUID, worker_id: UUID, epoch: int | None) -> list[dict[str, Any]]:
    """What a worker holds of a batch, claimed in one of its runs or in any."""
    return tx.rows(
        "SELECT row_number, attempt, losses FROM batch_row"
        " WHERE batch_id = %(batch)s AND status = 'running' AND worker_id = %(worker)s"
        " AND (%(epoch)s::int IS NULL OR epoch = %(epoch)s) ORDER BY row_number",
        {"batch": batch_id, "worker": worker_id, "epoch": epoch},
    )


def live_batches_without_seat(tx: Tx, queue: str, quiet_s: float, limit: int) -> list[dict[str, Any]]:
    """Live batches that no worker sits at and that nothing has happened to for a while (system transaction).

    In no order: were it always the same ones, those that only wait for their turn would hide one that is lost.
    """
    return tx.rows(
        "SELECT b.id, b.organization_id, b.epoch, b.revision, b.queue FROM batch b"
        " WHERE b.status IN ('queued', 'running') AND b.queue = %s"
        " AND b.updated_at < now() - make_interval(secs => %s)"
        " AND NOT EXISTS (SELECT FROM seat s WHERE s.batch_id = b.id)"
        " ORDER BY random() LIMIT %s",
        (queue, quiet_s, limit),
    )


def claim_pace(tx: Tx, organization_id: int, agent_key: str, provider_key: str) -> dict[str, dict[str, Any]]:
    """Lock the pace of an agent and of its provider, making them when they are missing: key -> row."""
    keys = sorted({agent_key, provider_key})
    query_rows = tx.rows(
        "SELECT key, tokens, extract(epoch FROM now() - refilled_at)::float8 AS idle_s, slots_limit,"
        " extract(epoch FROM now() - lowered_at)::float8 AS lowered_s,"
        " greatest(0, extract(epoch FROM blocked_until - now()))::float8 AS blocked_s"
        " FROM pace WHERE organization_id = %s AND key = ANY(%s) ORDER BY key FOR UPDATE",
        (organization_id, keys),
    )
    found = {row["key"]: row for row in query_rows}
    if len(found) < len(keys):
        tx.run(
            "INSERT INTO pace (organization_id, key, refilled_at) SELECT %s, t.key, now() - interval '1 day'"
            " FROM unnest(%s::text[]) AS t(key) ON CONFLICT DO NOTHING",
            (organization_id, keys),
        )
        return claim_pace(tx, organization_id, agent_key, provider_key)
    return found


def update_tokens(tx: Tx, organization_id: int, key: str, tokens: float) -> None:
    """Store what is left in a rate limit's bucket, as of now."""
    tx.run(
        "UPDATE pace SET tokens = %s, refilled_at = now() WHERE organization_id = %s AND key = %s",
        (tokens, organization_id, key),
    )


def update_limit(
    tx: Tx, organization_id: int, key: str, *, slots_limit: float | None, lowered: bool, block_s: float
) -> None:
    """Store a provider's pace; `block_s` adds a pause until then."""
    tx.run(
        "UPDATE pace SET slots_limit = %(limit)s, lowered_at = CASE WHEN %(lowered)s THEN now() ELSE lowered_at END,"
        " blocked_until = CASE WHEN %(block)s > 0"
        "   THEN greatest(blocked_until, now() + make_interval(secs => %(block)s)) ELSE blocked_until END"
        " WHERE organization_id = %(org)s AND key = %(key)s",
        {"limit": slots_limit, "lowered": lowered, "block": block_s, "org": organization_id, "key": key},
    )


def agent_spent_today(tx: Tx, agent_id: int) -> int:
    """Micro-USD an agent has spent on this UTC day and holds for rows that run now."""
    row = tx.one(
        "SELECT coalesce((SELECT spent_micro_usd FROM agent_day WHERE agent_id = %(agent)s"
        " AND day = (now() AT TIME ZONE 'UTC')::date), 0)"
        " + coalesce((SELECT sum(held_micro_usd) FROM batch WHERE agent_id = %(agent)s AND held_micro_usd > 0), 0)"
        " AS n",
        {"agent": agent_id},
    )
    return int(row["n"])


def add_agent_spent(tx: Tx, organization_id: int, agent_id: int, amount: int) -> int:
    """Count spending against the agent's UTC day; answers what the day comes to."""
    row = tx.one(
        "INSERT INTO agent_day (agent_id, organization_id, day, spent_micro_usd)"
        " VALUES (%s, %s, (now() AT TIME ZONE 'UTC')::date, %s) ON CONFLICT (agent_id, day)"
        " DO UPDATE SET spent_micro_usd = agent_day.spent_micro_usd + excluded.spent_micro_usd"
        " RETURNING spent_micro_usd",
        (agent_id, organization_id, amount),
    )
    return int(row["spent_micro_usd"])


def find_agent_limits(tx: Tx, agent_id: int) -> dict[str, Any] | None:
    """An agent's limits as they are now: an edit slows or speeds up a batch under way."""
    return tx.row("SELECT concurrency, rate_limit, daily_budget_micro_usd FROM agent WHERE id = %s", (agent_id,))
