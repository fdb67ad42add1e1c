"""Verbs of events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from gristmill.base.db import Tx
from gristmill.base.ids import parse_uuid, uuid7
from gristmill.base.paging import CursorMeta, CursorPage, decode_cursor, encode_cursor
from gristmill.events import store
from gristmill.events.model import KINDS, Event

Listener = Callable[[Tx, int, UUID, str, dict[str, Any]], None]
"""Called with (tx, organization id, event id, subject, data)."""

_listeners: defaultdict[str, list[Listener]] = defaultdict(list)


def on(kind: str, listener: Listener) -> None:
    """Have a higher room do something in the very transaction of every event of this kind.

    The listener writes and enqueues only: what it raises undoes the change that the event tells of.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown event kind {kind}")
    if listener not in _listeners[kind]:
        _listeners[kind].append(listener)


def emit(tx: Tx, organization_id: int, kind: str, *, subject: str, data: dict[str, Any]) -> UUID:
    """Record an event in this transaction; it exists if and only if the transaction commits. Answers its id."""
    if kind not in KINDS:
        raise ValueError(f"unknown event kind {kind}")
    event_id = uuid7()
    store.insert_event(tx, event_id, organization_id, kind=kind, subject=subject, data=data)
    for listener in _listeners[kind]:
        listener(tx, organization_id, event_id, subject, data)
    return event_id


def list_events(tx: Tx, organization_id: int, *, cursor: str | None, limit: int) -> CursorPage[Event]:
    """Events in the order they happened, oldest first."""
    after = parse_uuid(str(decode_cursor(cursor)), "cursor") if cursor else None
    rows = store.list_events(tx, organization_id, after=after, limit=limit)
    data = [Event(**row) for row in rows]
    return CursorPage(data, CursorMeta(encode_cursor(str(data[-1].id)) if len(data) == limit else None))
