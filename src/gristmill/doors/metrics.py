"""Prometheus metrics that are counted by the database, so that they are right for any number of processes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from gristmill.base.db import Database, Unavailable
from gristmill.doors import store


def database_metrics(database: Database) -> bytes:
    """Batches, live rows, workers, money and deliveries, as they are now; nothing while the database is away."""
    try:
        with database.system() as tx:
            batches = store.count_batches(tx)
            totals = store.sum_live(tx)
    except Unavailable:
        return b""
    registry = CollectorRegistry()
    by_status = Gauge("gristmill_batches", "Batches by status", ["status"], registry=registry)
    for status, count in batches.items():
        by_status.labels(status).set(count)
    for name, meaning in (
        ("rows_pending", "Rows of live batches that wait"),
        ("rows_running", "Rows that run now"),
        ("workers", "Live workers"),
        ("held_micro_usd", "Money held for rows that run now, in micro-USD"),
        ("deliveries_pending", "Events that are owed to webhooks, channels and callbacks"),
        ("deliveries_overdue_seconds", "How long the first of them has been due without being sent"),
        ("receivers_disabled", "Webhooks and channels that were disabled by failures"),
    ):
        Gauge(f"gristmill_{name}", meaning, registry=registry).set(totals[name])
    return generate_latest(registry)
