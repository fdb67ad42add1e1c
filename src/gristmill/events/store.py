"""SQL of events."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx


def insert_event(
    tx: Tx, event_id: UUID, organization_id: int, *, kind: str, subject: str, data: dict[str, Any]
) -> None:
    """Put an event in the outbox."""
    tx.run(
        "INSERT INTO event (id, organization_id, kind, subject, data) VALUES (%s, %s, %s, %s, %s)",
        (event_id, organization_id, kind, subject, Json(data)),
    )


def list_events(tx: Tx, organization_id: int, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Events in the order they happened."""
    return tx.rows(
        "SELECT id, kind, subject, data, created_at FROM event WHERE organization_id = %(org)s"
        " AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
        {"org": organization_id, "after": after, "limit": limit},
    )
