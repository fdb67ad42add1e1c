"""SQL of the doors: sums over all tenants for the operator."""

from __future__ import annotations

from typing import Any

from gristmill.base.db import Tx


def count_batches(tx: Tx) -> dict[str, int]:
    """Batches by status."""
    return {row["status"]: row["n"] for row in tx.rows("SELECT status, count(*) AS n FROM batch GROUP BY status")}


def sum_live(tx: Tx) -> dict[str, Any]:
    """What is under way now."""
    return tx.one(
        "SELECT coalesce(sum(pending), 0)::bigint AS rows_pending, coalesce(sum(running), 0)::bigint AS rows_running,"
        " (SELECT count(*) FROM worker) AS workers,"
        " (SELECT coalesce(sum(held_micro_usd), 0)::bigint FROM ledger_account) AS held_micro_usd,"
        " (SELECT count(*) FROM delivery WHERE status = 'pending') AS deliveries_pending,"
        " (SELECT coalesce(extract(epoch FROM max(now() - due_at)), 0)::float8 FROM receiver WHERE due_at < now()"
        " AND worker_id IS NULL AND status = 'active') AS deliveries_overdue_seconds,"
        " (SELECT count(*) FROM receiver WHERE status = 'disabled') AS receivers_disabled"
        " FROM batch WHERE status IN ('queued', 'running')"
    )
