"""SQL of syncs that wait: which may begin, and who has them then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from gristmill.base.db import Tx
from gristmill.connectors.queue import Waiting
from gristmill.connectors.sync_store import COLUMNS

_LANE: LiteralString = (
    "CASE WHEN s.direction = 'OUTBOUND' THEN 'push' WHEN s.cause = 'HOOK' THEN 'hook' ELSE 'pull' END"
)

WAITING: LiteralString = "EXISTS (SELECT FROM connector_sync WHERE status = 'QUEUED' AND due_at <= now())"
"""While there may be a sync to begin."""


def list_waiting(tx: Tx, *, of_one: int, limit: int) -> list[Waiting]:
    """Syncs that may begin, in the order in which they should (system transaction).

    The organizations take turns, with at most `of_one` of each in a lane. One pull and one push of a connector run at a
    time, so that results leave in the order in which they were made.
    """
    rows = tx.tuples(
        "SELECT id, organization_id, lane, failing FROM ("
        " SELECT *, row_number() OVER (PARTITION BY organization_id, lane ORDER BY failing, due_at, id) AS place FROM ("
        " SELECT *, row_number() OVER (PARTITION BY connector_id, lane ORDER BY due_at, id) AS turn FROM ("
        " SELECT s.id, s.organization_id, s.connector_id, s.due_at, " + _LANE + " AS lane,"
        " (s.error IS NOT NULL OR c.failures_in_row > 0) AS failing"
        " FROM connector_sync s JOIN connector c ON c.id = s.connector_id"
        " WHERE s.status = 'QUEUED' AND s.due_at <= now()) AS due) AS turns"
        " WHERE lane = 'hook' OR (turn = 1 AND NOT EXISTS (SELECT FROM connector_sync s WHERE"
        " s.connector_id = turns.connector_id AND s.status = 'RUNNING' AND " + _LANE + " = turns.lane))) AS places"
        " WHERE place <= %s ORDER BY failing, place, due_at, id LIMIT %s",
        (of_one, limit),
    )  # fmt: skip
    return [Waiting(*row) for row in rows]


def claim_syncs(tx: Tx, ids: Sequence[UUID], worker_id: UUID) -> list[dict[str, Any]]:
    """Begin syncs that wait, but for those that another worker begins (system transaction)."""
    return tx.rows(
        "UPDATE connector_sync SET status = 'RUNNING', worker_id = %(worker)s, tries = tries + 1,"
        " started_at = coalesce(started_at, clock_timestamp()), error = NULL WHERE id IN (SELECT id FROM connector_sync"
        " WHERE id = ANY(%(ids)s) AND status = 'QUEUED' AND due_at <= now() FOR UPDATE SKIP LOCKED)"
        " AND EXISTS (SELECT FROM worker w WHERE w.id = %(worker)s) RETURNING "
        + COLUMNS + ", parcel",
        {"ids": list(ids), "worker": worker_id},
    )  # fmt: skip


def release_syncs_of(tx: Tx, worker_id: UUID, known: Sequence[UUID]) -> int:
    """Put back what a worker has, but for what it knows of; all of it when the worker is gone (system transaction)."""
    return tx.run(
        "UPDATE connector_sync SET status = 'QUEUED', worker_id = NULL, due_at = now()"
        " WHERE worker_id = %s AND id <> ALL(%s)",
        (worker_id, list(known)),
    )
