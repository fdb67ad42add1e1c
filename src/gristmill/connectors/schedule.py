"""Pulls by the schedule: when a source runs next, and beginning it when that time has come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from gristmill import agents
from gristmill.base.config import settings
from gristmill.base.cron import BadCron, Cron
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.ids import uuid7
from gristmill.base.log import get_log
from gristmill.connectors import service, store, sync_store
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.model import jitter_s

log = get_log("connectors")

SLACK = timedelta(seconds=60)


def plan(tx: Tx, limit: int) -> None:
    """Work out the next run of sources whose schedule is new, or changed with their agent's (system transaction)."""
    for row in store.list_unplanned(tx, limit):
        wanted = row["status"] == "ACTIVE" and row["role"] == "INVENTORY_SOURCE" and row["cron"] and _pulls(row)
        next_run = _next_run(row, tx.now, row["last_started_at"]) if wanted else None
        store.update_plan(tx, row["id"], row["planned_for"], next_run)


def _pulls(row: dict[str, Any]) -> bool:
    try:
        kind = KINDS.get(row["type"])
        return kind.pulls(service.parse_config(kind.Config, row["config"]))
    except Error as error:  # a plug-in that is not installed any more
        log.warning("a connector can't be scheduled", connector=row["id"], error=error.message)
        return False


def start_due(tx: Tx, limit: int) -> None:
    """Begin a pull of each source that is due. Times that were missed are one time (system transaction).

    A source whose pull still runs, or waits for approval, is not pulled twice: its next time comes.
    """
    for row in store.claim_due(tx, limit):
        if _begins_by_itself(row):
            sync_store.insert_sync(
                tx, row["organization_id"], uuid7(), row["id"], direction="INBOUND", cause="SCHEDULE"
            )
        next_run = _next_run(row, tx.now, row["next_run_at"]) if row["cron"] else None
        store.update_plan(tx, row["id"], row["planned_by"], next_run)


def _begins_by_itself(row: dict[str, Any]) -> bool:
    try:
        return agents.read_rules(row["rules"]).data_sources.auto_pull_on_schedule
    except Error as error:  # one agent's rules must not keep all other sources from being pulled
        log.warning("the rules of an agent can't be read", connector=row["id"], error=error.message)
        return False


def _next_run(row: dict[str, Any], now: datetime, last: datetime | None) -> datetime | None:
    """The next time by the schedule, a little late, always by as much for one connector."""
    current = settings()
    late = timedelta(seconds=jitter_s(row["id"], current.connector_jitter_s))
    try:
        cron = Cron.of(row["cron"], row["timezone"])
    except BadCron as error:
        log.warning("a schedule can't be read", connector=row["id"], error=str(error))
        return None
    # A run that began a moment late does not push the next one away; one that was missed does.
    before = None if last is None else max(last, now - SLACK) - late
    after = cron.next_with_pause(now - late, before, current.connector_pause_s_min)
    return None if after is None else after + late
