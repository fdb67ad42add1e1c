"""SQL of agents."""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from gristmill.agents.model import Agent, agent_from_row
from gristmill.base.db import Tx

_COLUMNS: LiteralString = (
    "id, name, runtime, config, input_fields, output_schema, concurrency, rate_limit, timeout_s, retry,"
    " price_micro_usd, bill_on_match, daily_budget_micro_usd, rules, schedule_cron, template, version,"
    " created_at, updated_at"
)
_JSON = frozenset({"config", "input_fields", "output_schema", "rate_limit", "retry", "rules"})


def _bind(values: dict[str, Any]) -> dict[str, Any]:
    return {name: Jsonb(value) if name in _JSON and value is not None else value for name, value in values.items()}


def insert_agent(tx: Tx, organization_id: int, values: dict[str, Any]) -> Agent:
    """A new agent; `values` has every column that a user sets."""
    row = tx.one(
        "INSERT INTO agent (organization_id, name, runtime, config, input_fields, output_schema, concurrency,"
        " rate_limit, timeout_s, retry, price_micro_usd, bill_on_match, daily_budget_micro_usd, rules, schedule_cron,"
        " template) VALUES (%(org)s, %(name)s, %(runtime)s, %(config)s, %(input_fields)s, %(output_schema)s,"
        " %(concurrency)s, %(rate_limit)s, %(timeout_s)s, %(retry)s, %(price_micro_usd)s, %(bill_on_match)s,"
        " %(daily_budget_micro_usd)s, %(rules)s, %(schedule_cron)s, %(template)s) RETURNING " + _COLUMNS,
        {**_bind(values), "org": organization_id},
    )
    return agent_from_row(row)


def update_agent(tx: Tx, organization_id: int, agent_id: int, values: dict[str, Any], *, new_version: bool) -> Agent:
    """Write all settable columns of an agent."""
    row = tx.one(
        "UPDATE agent SET name = %(name)s, runtime = %(runtime)s, config = %(config)s,"
        " input_fields = %(input_fields)s, output_schema = %(output_schema)s, concurrency = %(concurrency)s,"
        " rate_limit = %(rate_limit)s, timeout_s = %(timeout_s)s, retry = %(retry)s,"
        " price_micro_usd = %(price_micro_usd)s, bill_on_match = %(bill_on_match)s,"
        " daily_budget_micro_usd = %(daily_budget_micro_usd)s, rules = %(rules)s, schedule_cron = %(schedule_cron)s,"
        " version = version + %(step)s, updated_at = now()"
        " WHERE organization_id = %(org)s AND id = %(id)s RETURNING " + _COLUMNS,
        {**_bind(values), "org": organization_id, "id": agent_id, "step": int(new_version)},
    )
    return agent_from_row(row)


def find_agent(tx: Tx, organization_id: int, agent_id: int, *, lock: bool = False) -> Agent | None:
    """An agent by id; `lock` keeps it as it is until the transaction ends."""
    row = tx.row(
        "SELECT " + _COLUMNS + " FROM agent WHERE organization_id = %s AND id = %s" + (" FOR UPDATE" if lock else ""),
        (organization_id, agent_id),
    )
    return agent_from_row(row) if row else None


def find_agent_by_name(tx: Tx, organization_id: int, name: str) -> Agent | None:
    """An agent by name."""
    row = tx.row("SELECT " + _COLUMNS + " FROM agent WHERE organization_id = %s AND name = %s", (organization_id, name))
    return agent_from_row(row) if row else None


def list_agents(
    tx: Tx, organization_id: int, *, only_id: int | None, limit: int, offset: int
) -> tuple[list[Agent], int]:
    """One page of agents in order of name, and how many there are."""
    rows = tx.rows(
        "SELECT " + _COLUMNS + " FROM agent WHERE organization_id = %(org)s"
        " AND (%(only)s::bigint IS NULL OR id = %(only)s) ORDER BY name, id LIMIT %(limit)s OFFSET %(offset)s",
        {"org": organization_id, "only": only_id, "limit": limit, "offset": offset},
    )
    total = tx.one(
        "SELECT count(*) AS n FROM agent WHERE organization_id = %(org)s"
        " AND (%(only)s::bigint IS NULL OR id = %(only)s)",
        {"org": organization_id, "only": only_id},
    )
    return [agent_from_row(row) for row in rows], int(total["n"])


def has_batches(tx: Tx, agent_id: int) -> bool:
    """Whether any batch refers to the agent."""
    return tx.row("SELECT 1 AS one FROM batch WHERE agent_id = %s LIMIT 1", (agent_id,)) is not None


def list_open_batches_with(tx: Tx, organization_id: int, text: str) -> list[UUID]:
    """Batches that are not finished whose agent's config holds a text, such as the id of a secret."""
    rows = tx.tuples(
        "SELECT id FROM batch WHERE organization_id = %s AND status IN ('queued', 'running', 'paused')"
        " AND strpos((agent->'config')::text, %s) > 0 ORDER BY id",
        (organization_id, text),
    )
    return [row[0] for row in rows]


def delete_agent(tx: Tx, organization_id: int, agent_id: int) -> bool:
    """Remove an agent that no batch refers to."""
    return tx.run("DELETE FROM agent WHERE organization_id = %s AND id = %s", (organization_id, agent_id)) > 0
