"""SQL of connectors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.connectors.model import HOOK_PATH, Connector, Role, Status, StoredConnector

_COLUMNS: LiteralString = (
    "c.id, c.organization_id, c.agent_id, c.name, c.role, c.type, c.config, c.secret_id, c.inbound_secret_id,"
    " c.hook_id, c.format, c.status, c.status_reason, c.schedule_cron, c.timezone, c.next_run_at, c.failures_in_row,"
    " c.last_started_at, c.last_synced_at, c.last_tested_at, c.last_test_ok, c.created_at, c.updated_at,"
    " coalesce(s.redacted, '{}') AS secret"
)
_FROM: LiteralString = (
    " FROM connector c LEFT JOIN secret s ON s.organization_id = c.organization_id AND s.id = c.secret_id"
)


def _connector(row: Mapping[str, Any]) -> StoredConnector:
    copied = (
        "id", "agent_id", "name", "role", "type", "secret", "format", "status", "status_reason", "schedule_cron",
        "timezone", "next_run_at", "failures_in_row", "last_synced_at", "last_tested_at", "last_test_ok", "created_at",
        "updated_at",
    )  # fmt: skip
    secret_ref = {} if row["secret_id"] is None else {"secretRef": str(row["secret_id"])}
    shown = Connector(
        **{name: row[name] for name in copied},
        config={**row["config"], **secret_ref},
        secret_ref=row["secret_id"],
        inbound_url=HOOK_PATH + row["hook_id"] if row["role"] == "INVENTORY_SOURCE" else None,
    )
    return StoredConnector(
        row["organization_id"],
        shown,
        row["config"],
        row["secret_id"],
        row["inbound_secret_id"],
        row["hook_id"],
        row["last_started_at"],
    )


def insert_connector(tx: Tx, organization_id: int, agent_id: int, values: Mapping[str, Any]) -> int:
    """A new connector; answers its id."""
    row = tx.one(
        "INSERT INTO connector (organization_id, agent_id, name, role, type, config, hook_id, format, schedule_cron,"
        " timezone, status) VALUES (%(org)s, %(agent)s, %(name)s, %(role)s, %(type)s, %(config)s, %(hook_id)s,"
        " %(format)s, %(schedule_cron)s, %(timezone)s, %(status)s) RETURNING id",
        {**values, "config": Json(values["config"]), "org": organization_id, "agent": agent_id},
    )
    return int(row["id"])


def update_connector(tx: Tx, organization_id: int, connector_id: int, values: Mapping[str, Any]) -> None:
    """Write everything that a user sets. An active connector has no failures and no reason to be paused."""
    tx.run(
        "UPDATE connector SET name = %(name)s, config = %(config)s, format = %(format)s, timezone = %(timezone)s,"
        " schedule_cron = %(schedule_cron)s, status = %(status)s, planned_by = NULL,"
        " failures_in_row = CASE WHEN %(status)s = 'ACTIVE' AND status = 'PAUSED' THEN 0 ELSE failures_in_row END,"
        " status_reason = CASE WHEN %(status)s = status THEN status_reason ELSE '' END,"
        " updated_at = clock_timestamp() WHERE organization_id = %(org)s AND id = %(id)s",
        {**values, "config": Json(values["config"]), "org": organization_id, "id": connector_id},
    )


def update_secret(tx: Tx, organization_id: int, connector_id: int, secret_id: UUID | None) -> None:
    """Which secret opens the other side."""
    tx.run(
        "UPDATE connector SET secret_id = %s WHERE organization_id = %s AND id = %s",
        (secret_id, organization_id, connector_id),
    )


def update_inbound_secret(tx: Tx, organization_id: int, connector_id: int, secret_id: UUID) -> None:
    """Which secret signs what is pushed in."""
    tx.run(
        "UPDATE connector SET inbound_secret_id = %s, updated_at = clock_timestamp()"
        " WHERE organization_id = %s AND id = %s",
        (secret_id, organization_id, connector_id),
    )


def find_connector(tx: Tx, organization_id: int, connector_id: int, *, lock: bool = False) -> StoredConnector | None:
    """A connector by id; `lock` keeps it as it is until the transaction ends."""
    row = tx.row(
        "SELECT " + _COLUMNS + _FROM + " WHERE c.organization_id = %s AND c.id = %s"
        + (" FOR UPDATE OF c" if lock else ""),
        (organization_id, connector_id),
    )  # fmt: skip
    return _connector(row) if row else None


def find_by_hook(tx: Tx, hook_id: str) -> StoredConnector | None:
    """A connector by the last part of its inbound URL (system transaction: the caller is not known yet)."""
    row = tx.row("SELECT " + _COLUMNS + _FROM + " WHERE c.hook_id = %s", (hook_id,))
    return _connector(row) if row else None


def list_connectors(
    tx: Tx, organization_id: int, agent_id: int | None, *, role: Role | None, limit: int, offset: int
) -> tuple[list[StoredConnector], int]:
    """One page of an agent's connectors, or of all agents', oldest first, and how many there are."""
    params = {"org": organization_id, "agent": agent_id, "role": role, "limit": limit, "offset": offset}
    where: LiteralString = " WHERE c.organization_id = %(org)s"
    where += " AND (%(agent)s::bigint IS NULL OR c.agent_id = %(agent)s)"
    where += " AND (%(role)s::text IS NULL OR c.role = %(role)s)"
    rows = tx.rows("SELECT " + _COLUMNS + _FROM + where + " ORDER BY c.id LIMIT %(limit)s OFFSET %(offset)s", params)
    total = tx.one("SELECT count(*) AS n FROM connector c" + where, params)
    return [_connector(row) for row in rows], int(total["n"])


def delete_connector(tx: Tx, organization_id: int, connector_id: int) -> None:
    """Remove a connector with its ledger and history."""
    tx.run("DELETE FROM connector WHERE organization_id = %s AND id = %s", (organization_id, connector_id))


def update_status(tx: Tx, connector_id: int, status: Status, reason: str) -> None:
    """Pause or activate; an active connector starts without failures."""
    tx.run(
        "UPDATE connector SET status = %(status)s, status_reason = %(reason)s, updated_at = clock_timestamp(),"
        " failures_in_row = CASE WHEN %(status)s = 'ACTIVE' THEN 0 ELSE failures_in_row END WHERE id = %(id)s",
        {"id": connector_id, "status": status, "reason": reason},
    )


def update_tested(tx: Tx, connector_id: int, *, ok: bool) -> None:
    """Note that it was tested."""
    tx.run(
        "UPDATE connector SET last_tested_at = clock_timestamp(), last_test_ok = %s WHERE id = %s", (ok, connector_id)
    )


def update_started(tx: Tx, connector_id: int) -> None:
    """Note that a pull was begun."""
    tx.run("UPDATE connector SET last_started_at = clock_timestamp() WHERE id = %s", (connector_id,))


def update_synced(tx: Tx, connector_id: int) -> None:
    """Note that a sync went well."""
    tx.run(
        "UPDATE connector SET failures_in_row = 0, last_synced_at = clock_timestamp() WHERE id = %s", (connector_id,)
    )


def count_failure(tx: Tx, connector_id: int) -> int:
    """Count one more failure; answers how many there were in a row."""
    row = tx.one(
        "UPDATE connector SET failures_in_row = failures_in_row + 1 WHERE id = %s RETURNING failures_in_row",
        (connector_id,),
    )
    return int(row["failures_in_row"])


def list_sinks_to_push(tx: Tx, organization_id: int, agent_id: int) -> list[int]:
    """Active sinks of an agent."""
    rows = tx.tuples(
        "SELECT id FROM connector WHERE organization_id = %s AND agent_id = %s AND role = 'RESULTS_SINK'"
        " AND status = 'ACTIVE' ORDER BY id",
        (organization_id, agent_id),
    )
    return [row[0] for row in rows]


def list_unplanned(tx: Tx, limit: int) -> list[dict[str, Any]]:
    """Connectors whose next run is not worked out for the schedule that holds now (system transaction)."""
    return tx.rows(
        "SELECT * FROM (SELECT c.id, c.role, c.type, c.config, c.status, c.timezone, c.last_started_at, c.planned_by,"
        " coalesce(c.schedule_cron, a.schedule_cron) AS cron, concat_ws(' ', c.status, c.timezone,"
        " coalesce(c.schedule_cron, a.schedule_cron, '')) AS planned_for FROM connector c"
        " JOIN agent a ON a.id = c.agent_id) AS x WHERE planned_by IS DISTINCT FROM planned_for ORDER BY id LIMIT %s",
        (limit,),
    )


def update_plan(tx: Tx, connector_id: int, planned_by: str, next_run_at: datetime | None) -> None:
    """When a source runs next, and the schedule that says so."""
    tx.run(
        "UPDATE connector SET planned_by = %s, next_run_at = %s WHERE id = %s",
        (planned_by, next_run_at, connector_id),
    )


def claim_due(tx: Tx, limit: int) -> list[dict[str, Any]]:
    """Sources whose time has come, locked (system transaction)."""
    return tx.rows(
        "SELECT c.id, c.organization_id, c.agent_id, c.planned_by, c.timezone, c.next_run_at, a.rules,"
        " coalesce(c.schedule_cron, a.schedule_cron) AS cron FROM connector c JOIN agent a ON a.id = c.agent_id"
        " WHERE c.next_run_at <= now() AND c.status = 'ACTIVE' ORDER BY c.next_run_at LIMIT %s"
        " FOR UPDATE OF c SKIP LOCKED",
        (limit,),
    )


def count_matched(tx: Tx, batch_id: UUID) -> int:
    """Rows of a batch with a result, those that share another's included."""
    row = tx.one(
        "SELECT count(*) AS n FROM batch_row AS r LEFT JOIN batch_row AS first ON first.batch_id = r.batch_id"
        " AND first.row_number = r.duplicate_of WHERE r.batch_id = %s"
        " AND coalesce(first.status, r.status) = 'succeeded' AND r.status IN ('succeeded', 'duplicate')",
        (batch_id,),
    )
    return int(row["n"])
