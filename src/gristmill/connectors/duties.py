"""Duties of connectors: pulls that the schedules ask for begin, and what is too old is forgotten."""

from __future__ import annotations

from gristmill.base.db import Tx
from gristmill.connectors import schedule, sync_store
from gristmill.engine import every

LOOK_EVERY_S = 1.0
AT_ONCE_MAX = 200
DELIVERIES_KEPT_DAYS = 7
FORGET_EVERY_S = 600.0
FORGET_MAX = 10_000


@every(LOOK_EVERY_S)
def start_scheduled(tx: Tx) -> None:
    """Begin the pulls that the schedules ask for (system transaction)."""
    schedule.plan(tx, AT_ONCE_MAX)
    schedule.start_due(tx, AT_ONCE_MAX)


@every(FORGET_EVERY_S)
def forget_deliveries(tx: Tx) -> None:
    """Messages too old to be sent again by any sender (system transaction)."""
    sync_store.delete_old_deliveries(tx, DELIVERIES_KEPT_DAYS, FORGET_MAX)
