"""What happens by itself: results that are pushed, files that are run, decisions that are carried out.

The listeners write and enqueue in the transaction of the event; the job makes a batch of a file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg

from gristmill import agents, batches, events, inventory
from gristmill.agents import Agent
from gristmill.base.db import Tx
from gristmill.base.errors import Error, NotFound
from gristmill.base.ids import uuid7
from gristmill.base.log import get_log
from gristmill.base.objects import StoreUnavailable
from gristmill.connectors import syncs
from gristmill.connectors.model import PUSH_FAILED, SYNC_HELD, SyncNotFound, WrongState
from gristmill.connectors.push import push_completed
from gristmill.connectors.session import AWAY, until_back
from gristmill.engine import JobContext, enqueue, register
from gristmill.events import Event

log = get_log("connectors")

RUN_FILE_JOB = "connectors.run_file"
MAPPING_NEEDED = "MAPPING_NEEDED"
"""Kind of the pending item for a file whose columns feed too few of the agent's fields."""
FILE_NOT_RUN = "FILE_NOT_RUN"
"""Kind of the pending item for a file that no batch could be made of."""
AWAY_PAUSE_S = 2.0
"""Pause after the database or the object store was away."""


def on_batch_completed(tx: Tx, organization_id: int, completed: Sequence[Event]) -> None:
    """Push its results where the agent's rule says so."""
    for event in completed:
        push_completed(tx, organization_id, event.data)


def on_inventory_added(tx: Tx, organization_id: int, added: Sequence[Event]) -> None:
    """Run the agent over the file where its rule says so."""
    run: dict[int, bool] = {}
    for event in added:
        data = event.data
        agent_id = int(data["agent_id"])
        if agent_id not in run:
            run[agent_id] = _runs_files(tx, organization_id, agent_id)
        if run[agent_id] and data["rows"]:
            file = data["inventory_id"]
            payload = {"organization_id": organization_id, "agent_id": agent_id, "inventory_id": file}
            _enqueue(tx, payload, f"run-file-{file}")


def _runs_files(tx: Tx, organization_id: int, agent_id: int) -> bool:
    try:
        rules = agents.read_rules(agents.get(tx, organization_id, agent_id).rules)
    except Error as error:  # a rule that can't be read must not keep a file from coming in
        log.warning("the rules of an agent can't be read", agent=agent_id, error=error.message)
        return False
    return rules.mapping_jobs.trigger_on_new_inventory_upload


def on_pending_resolved(tx: Tx, organization_id: int, resolved: Sequence[Event]) -> None:
    """Carry out what was decided about held pulls and dead pushes."""
    for event in resolved:
        _carry_out(tx, organization_id, event.data)


def _carry_out(tx: Tx, organization_id: int, data: Mapping[str, Any]) -> None:
    decision, sync_id = data["decision"], data["facts"].get("sync_id")
    if data["item_kind"] not in {SYNC_HELD, PUSH_FAILED} or decision == "done" or sync_id is None:
        return
    try:
        if data["item_kind"] == PUSH_FAILED:
            if decision == "approve":
                syncs.replay(tx, organization_id, UUID(sync_id))
        elif decision == "approve":
            syncs.approve(tx, organization_id, UUID(sync_id))
        else:
            syncs.reject(tx, organization_id, UUID(sync_id))
    except (SyncNotFound, WrongState):
        return  # it was decided elsewhere meanwhile, or the connector is gone


@register(RUN_FILE_JOB)
async def run_file(context: JobContext, payload: dict[str, Any]) -> None:
    """Make a batch of a file, or say why there is none; a second run of this job finds the batch of the first."""
    organization_id, inventory_id = payload["organization_id"], UUID(payload["inventory_id"])
    while not await _is_settled(context, organization_id, inventory_id):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(context.stopping.wait(), AWAY_PAUSE_S)
            key = f"run-file-{inventory_id}-{uuid7()}"  # this worker drains: another goes on
            await until_back(context, organization_id, lambda tx: _enqueue(tx, payload, key))  # noqa: B023 - used at once
            return


async def _is_settled(context: JobContext, organization_id: int, inventory_id: UUID) -> bool:
    """False when the database or the object store was away: that says nothing about the file."""
    run_key = f"inventory:{inventory_id}"

    def look(tx: Tx) -> tuple[inventory.StoredInventory, Agent] | None:
        if batches.get_by_run_key(tx, organization_id, run_key) is not None:
            return None
        stored = inventory.get(tx, organization_id, inventory_id)
        return stored, agents.get(tx, organization_id, stored.inventory.agent_id)

    try:
        found = await until_back(context, organization_id, look)
    except NotFound as error:
        log.warning("a file is not run", file=str(inventory_id), error=error.message)
        return True
    if found is None:
        return True
    stored, agent = found
    try:
        await asyncio.to_thread(_create, context, organization_id, run_key, stored, agent)
    except (*AWAY, StoreUnavailable) as error:
        log.warning("a file waits to be run", file=str(inventory_id), error=str(error)[:200])
        return False
    except Error as error:
        reason = error.message
    except Exception:
        log.exception("a file could not be run", file=str(inventory_id))
        reason = "A defect of ours stopped it; the workers' log has the details."
    else:
        return True
    await until_back(
        context, organization_id, lambda tx: _tell_not_run(tx, organization_id, stored, agent, FILE_NOT_RUN, reason, {})
    )
    return True


def _enqueue(tx: Tx, payload: dict[str, Any], key: str) -> None:
    enqueue(tx, RUN_FILE_JOB, payload, key=key, partition=f"run-files-{payload['agent_id']}")


def _tell_not_run(
    tx: Tx,
    organization_id: int,
    stored: inventory.StoredInventory,
    agent: Agent,
    kind: str,
    reason: str,
    facts: dict[str, Any],
) -> None:
    """Have a person look at a file that came in and was not run."""
    events.file_pending(
        tx,
        organization_id,
        agent.id,
        kind,
        message=f"`{stored.inventory.name}` was not run: {reason}",
        facts={"inventory_id": str(stored.id), **facts},
        key=f"inventory:{stored.id}",
    )


def _create(
    context: JobContext, organization_id: int, run_key: str, stored: inventory.StoredInventory, agent: Agent
) -> None:
    shown = stored.inventory
    given = agents.read_rules(agent.rules).mapping_jobs.mapping
    mapping, lacking = match_columns([column.name for column in shown.columns], agent, given)
    if lacking:
        reason = (
            f"no column feeds {', '.join(lacking)}. Say which in the rule mapping_jobs.mapping, or start a batch with a"
            " mapping."
        )
        with context.database.tx(organization_id) as tx:
            _tell_not_run(tx, organization_id, stored, agent, MAPPING_NEEDED, reason, {"fields": lacking})
        return
    origin = {"kind": "inventory", "inventory_id": str(stored.id), "name": shown.name, "trigger": "rule"}
    with inventory.open_rows(stored, context.settings) as opened:
        order = batches.Order(
            origin=origin, mapping=mapping, columns=opened.columns, name=shown.name[-200:], run_key=run_key
        )
        try:
            with context.database.tx(organization_id) as tx:
                batches.create(tx, organization_id, agent, order, opened.rows)
        except psycopg.errors.UniqueViolation:
            return  # another run of this job was quicker


def match_columns(columns: Sequence[str], agent: Agent, given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """(field -> column, required fields without one): what the rule says, else the column of the same name.

    Names are compared without case, spaces and punctuation. An agent without fields gets the row as it is.
    """
    mapping = {name: column for name, column in given.items() if column in columns}
    by_name = {_plain(column): column for column in reversed(columns)}
    for item in agent.input_fields:
        column = by_name.get(_plain(item.name))
        if item.name not in mapping and column is not None:
            mapping[item.name] = column
    return mapping, [item.name for item in agent.input_fields if item.required and item.name not in mapping]


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def listen() -> None:
    """Hear of what others do; once per process."""
    events.on("agent.batch.completed", on_batch_completed)
    events.on(inventory.ADDED, on_inventory_added)
    events.on("pending.resolved", on_pending_resolved)
