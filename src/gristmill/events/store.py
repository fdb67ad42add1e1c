"""SQL of events and pending items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.events.model import Event, PendingItem, topics_of

_ITEM: LiteralString = "id, agent_id, kind, message, facts, times, created_at, seen_at, resolved_at, resolution"


def insert_events(tx: Tx, organization_id: int, events: Sequence[Event], *, except_for: UUID | None) -> None:
    """Put events in the outbox, and for each one delivery for each receiver that it concerns.

    Channels that reach the same people get an event of the whole organization once.
    """
    tx.run_each(
        "WITH told AS (INSERT INTO event (id, organization_id, kind, subject, data)"
        " VALUES (%(event)s, %(org)s, %(kind)s, %(subject)s, %(data)s)),"
        " concerned AS (SELECT DISTINCT ON (coalesce(fingerprint, uuid_send(id))) id FROM receiver"
        " WHERE organization_id = %(org)s AND status <> 'disabled' AND topics && %(topics)s"
        " AND (agent_id IS NULL OR %(agent)s::bigint IS NULL OR agent_id = %(agent)s)"
        " AND id IS DISTINCT FROM %(except)s ORDER BY coalesce(fingerprint, uuid_send(id)), id),"
        " owed AS (INSERT INTO delivery (receiver_id, event_id, organization_id)"
        " SELECT id, %(event)s, %(org)s FROM concerned RETURNING receiver_id)"
        " INSERT INTO receiver_wake (organization_id, receiver_id) SELECT %(org)s, receiver_id FROM owed",
        [
            {
                "event": event.id,
                "org": organization_id,
                "kind": event.kind,
                "subject": event.subject,
                "data": Json(event.data),
                "topics": topics_of(event.kind, event.data),
                "agent": event.data.get("agent_id"),
                "except": except_for,
            }
            for event in events
        ],
    )


def list_events(tx: Tx, organization_id: int, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Events in the order they happened."""
    return tx.rows(
        "SELECT id, kind, subject, data, created_at FROM event WHERE organization_id = %(org)s"
        " AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
        {"org": organization_id, "after": after, "limit": limit},
    )


def has_agent(tx: Tx, organization_id: int, agent_id: int) -> bool:
    """Whether the organization has this agent."""
    found = tx.row("SELECT FROM agent WHERE organization_id = %s AND id = %s", (organization_id, agent_id))
    return found is not None


def file_item(
    tx: Tx,
    item_id: UUID,
    organization_id: int,
    agent_id: int | None,
    *,
    kind: str,
    key: str,
    message: str,
    facts: dict[str, Any],
) -> PendingItem:
    """A new item, or the open one of the same kind and key, filed once more."""
    row = tx.one(
        "INSERT INTO pending_item (id, organization_id, agent_id, kind, key, message, facts)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (organization_id, coalesce(agent_id, 0), kind, key) WHERE resolved_at IS NULL"
        " DO UPDATE SET message = excluded.message, facts = excluded.facts, times = pending_item.times + 1,"
        " seen_at = now() RETURNING " + _ITEM,
        (item_id, organization_id, agent_id, kind, key, message, Json(facts)),
    )
    return PendingItem(**row)


def find_item(tx: Tx, organization_id: int, item_id: UUID, *, lock: bool = False) -> PendingItem | None:
    """An item; `lock` keeps it as it is until the transaction ends."""
    row = tx.row(
        "SELECT "
        + _ITEM
        + " FROM pending_item WHERE organization_id = %s AND id = %s"
        + (" FOR UPDATE" if lock else ""),
        (organization_id, item_id),
    )
    return PendingItem(**row) if row else None


def list_items(
    tx: Tx, organization_id: int, *, agent_id: int | None, is_open: bool | None, before: UUID | None, limit: int
) -> list[PendingItem]:
    """Items of an agent, or of all, newest first; `is_open` None is both open and resolved."""
    rows = tx.rows(
        "SELECT " + _ITEM + " FROM pending_item WHERE organization_id = %(org)s"
        " AND (%(agent)s::bigint IS NULL OR agent_id = %(agent)s)"
        " AND (%(open)s::boolean IS NULL OR (resolved_at IS NULL) = %(open)s)"
        " AND (%(before)s::uuid IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "agent": agent_id, "open": is_open, "before": before, "limit": limit},
    )
    return [PendingItem(**row) for row in rows]


def resolve_item(tx: Tx, organization_id: int, item_id: UUID, resolution: dict[str, Any]) -> PendingItem:
    """Close an item."""
    row = tx.one(
        "UPDATE pending_item SET resolved_at = now(), resolution = %s WHERE organization_id = %s AND id = %s RETURNING "
        + _ITEM,
        (Json(resolution), organization_id, item_id),
    )
    return PendingItem(**row)


def resolve_items(tx: Tx, organization_id: int, agent_id: int | None, *, kind: str, key: str) -> list[UUID]:
    """Close the open item of a kind and key, because its cause is gone; answers its id, if there was one."""
    rows = tx.tuples(
        "UPDATE pending_item SET resolved_at = now(), resolution = %s WHERE organization_id = %s"
        " AND agent_id IS NOT DISTINCT FROM %s AND kind = %s AND key = %s AND resolved_at IS NULL RETURNING id",
        (Json({"decision": "gone", "note": ""}), organization_id, agent_id, kind, key),
    )
    return [row[0] for row in rows]
