"""Verbs of events and pending items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import UUID

from gristmill.base.db import Tx
from gristmill.base.ids import parse_uuid, uuid7
from gristmill.base.paging import CursorPage, cursor_page, decode_cursor
from gristmill.events import store
from gristmill.events.model import KINDS, Event, ItemNotFound, ItemResolved, NoSuchAgent, PendingItem

Listener = Callable[[Tx, int, Sequence[Event]], None]
"""Called with (tx, organization id, events of its kind that happen together)."""
Decision = Literal["done", "approve", "reject"]
MESSAGE_CHARS_MAX = 2000

_listeners: defaultdict[str, list[Listener]] = defaultdict(list)


def on(kind: str, listener: Listener) -> None:
    """Have a higher room do something in the very transaction of every event of this kind.

    The listener writes and enqueues only: what it raises undoes the change that the event tells of.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown event kind {kind}")
    if listener not in _listeners[kind]:
        _listeners[kind].append(listener)


def emit(
    tx: Tx, organization_id: int, kind: str, *, subject: str, data: dict[str, Any], except_for: UUID | None = None
) -> UUID:
    """Record an event in this transaction; it exists if and only if the transaction commits. Answers its id.

    Webhooks and channels that subscribed to it are owed a delivery from that moment. `data["agent_id"]`, where there is
    one, keeps it from other agents' channels. `except_for` is a receiver that must not hear of it.
    """
    return emit_all(tx, organization_id, kind, [(subject, data)], except_for=except_for)[0]


def emit_all(
    tx: Tx,
    organization_id: int,
    kind: str,
    happened: Sequence[tuple[str, dict[str, Any]]],
    *,
    except_for: UUID | None = None,
) -> list[UUID]:
    """Record events of one kind, each (subject, data), as `emit` does one. Answers their ids."""
    if kind not in KINDS:
        raise ValueError(f"unknown event kind {kind}")
    events = [Event(uuid7(), kind, subject, data, tx.now) for subject, data in happened]
    store.insert_events(tx, organization_id, events, except_for=except_for)
    for listener in _listeners[kind]:
        listener(tx, organization_id, events)
    return [event.id for event in events]


def list_events(tx: Tx, organization_id: int, *, cursor: str | None, limit: int) -> CursorPage[Event]:
    """Events in the order they happened, oldest first."""
    after = parse_uuid(str(decode_cursor(cursor)), "cursor") if cursor else None
    rows = store.list_events(tx, organization_id, after=after, limit=limit + 1)
    return cursor_page([Event(**row) for row in rows], limit, lambda event: str(event.id))


def require_agent(tx: Tx, organization_id: int, agent_id: int) -> None:
    """Raises `NoSuchAgent` unless the organization has this agent."""
    if not store.has_agent(tx, organization_id, agent_id):
        raise NoSuchAgent(f"There is no agent {agent_id}.")


def file_pending(
    tx: Tx,
    organization_id: int,
    agent_id: int | None,
    kind: str,
    *,
    message: str,
    facts: dict[str, Any],
    key: str = "",
) -> PendingItem:
    """Have a person look at something. While an item of the same kind and key is open, it is only counted up.

    `kind` is such as `DATA_SOURCE_PULL_FAILED`, `key` what it is about, such as `connector:12`. A new item is told to
    channels by `pending.filed`; `events.on("pending.resolved", ...)` learns what was decided.
    """
    item = store.file_item(
        tx, uuid7(), organization_id, agent_id, kind=kind, key=key, message=message[:MESSAGE_CHARS_MAX], facts=facts
    )
    if item.times == 1:
        emit(tx, organization_id, "pending.filed", subject=f"pending:{item.id}", data=_told(item))
    return item


def list_pending(
    tx: Tx, organization_id: int, *, agent_id: int | None, is_open: bool | None, cursor: str | None, limit: int
) -> CursorPage[PendingItem]:
    """Items of an agent, or of the whole organization, newest first."""
    before = parse_uuid(str(decode_cursor(cursor)), "cursor") if cursor else None
    found = store.list_items(tx, organization_id, agent_id=agent_id, is_open=is_open, before=before, limit=limit + 1)
    return cursor_page(found, limit, lambda item: str(item.id))


def get_pending(tx: Tx, organization_id: int, item_id: UUID, *, agent_id: int | None = None) -> PendingItem:
    """An item, of this agent where one is named. Raises `ItemNotFound`."""
    return _item(tx, organization_id, item_id, agent_id, lock=False)


def resolve_pending(
    tx: Tx,
    organization_id: int,
    item_id: UUID,
    *,
    decision: Decision,
    note: str = "",
    agent_id: int | None = None,
) -> PendingItem:
    """Close an item with what was decided; whoever filed it acts on that in the same transaction.

    Raises `ItemNotFound`, or `ItemResolved` for one that is closed already.
    """
    if _item(tx, organization_id, item_id, agent_id, lock=True).resolved_at is not None:
        raise ItemResolved
    item = store.resolve_item(tx, organization_id, item_id, {"decision": decision, "note": note})
    data = {**_told(item), "decision": decision, "note": note}
    emit(tx, organization_id, "pending.resolved", subject=f"pending:{item.id}", data=data)
    return item


def withdraw_pending(tx: Tx, organization_id: int, agent_id: int | None, kind: str, *, key: str = "") -> None:
    """The cause of an item is gone by itself: close it, if it is open."""
    store.resolve_items(tx, organization_id, agent_id, kind=kind, key=key)


def _item(tx: Tx, organization_id: int, item_id: UUID, agent_id: int | None, *, lock: bool) -> PendingItem:
    found = store.find_item(tx, organization_id, item_id, lock=lock)
    if found is None or (agent_id is not None and found.agent_id != agent_id):
        raise ItemNotFound(f"There is no pending item {item_id}.")
    return found


def _told(item: PendingItem) -> dict[str, Any]:
    told = {"item_id": str(item.id), "item_kind": item.kind, "message": item.message, "facts": item.facts}
    return told if item.agent_id is None else {**told, "agent_id": item.agent_id}
