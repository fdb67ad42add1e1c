"""SQL of receivers: subscriptions, channels, callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.events.model import Form, Receiver, Status

_COLUMNS: LiteralString = (
    "id, organization_id, agent_id, form, kind, name, config, secret_id, public_key, topics, ordered, status, reason,"
    " failures, failing_since, last_delivered_at, last_error, created_at, updated_at"
)


def insert_receiver(
    tx: Tx,
    organization_id: int,
    receiver_id: UUID,
    *,
    agent_id: int | None,
    form: Form,
    kind: str,
    name: str,
    config: dict[str, Any],
    secret_id: UUID | None,
    topics: Sequence[str],
    ordered: bool,
    fingerprint: bytes | None = None,
    public_key: str | None = None,
) -> Receiver:
    """A new receiver."""
    row = tx.one(
        "INSERT INTO receiver (id, organization_id, agent_id, form, kind, name, config, secret_id, topics, ordered,"
        " fingerprint, public_key) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING " + _COLUMNS,
        (
            receiver_id,
            organization_id,
            agent_id,
            form,
            kind,
            name,
            Json(config),
            secret_id,
            list(topics),
            ordered,
            fingerprint,
            public_key,
        ),
    )
    return Receiver(**row)


def ensure_callback(tx: Tx, organization_id: int, receiver_id: UUID, *, url: str, secret_id: UUID) -> UUID:
    """The receiver of callbacks at a URL, made when there is none; answers its id."""
    tx.run(
        "INSERT INTO receiver (id, organization_id, form, kind, config, secret_id, topics, ordered)"
        " VALUES (%s, %s, 'callback', 'WEBHOOK', %s, %s, '{}', false)"
        " ON CONFLICT (organization_id, (config->>'url')) WHERE form = 'callback' DO NOTHING",
        (receiver_id, organization_id, Json({"url": url}), secret_id),
    )
    row = tx.one(
        "SELECT id FROM receiver WHERE organization_id = %s AND form = 'callback' AND config->>'url' = %s",
        (organization_id, url),
    )
    found: UUID = row["id"]
    return found


def update_receiver(
    tx: Tx,
    organization_id: int,
    receiver_id: UUID,
    *,
    name: str,
    config: dict[str, Any],
    secret_id: UUID | None,
    topics: Sequence[str],
    ordered: bool,
    status: Status,
    fingerprint: bytes | None,
) -> Receiver:
    """Write what a user sets. Being active again forgets failures, and what is owed is looked at anew."""
    row = tx.one(
        "UPDATE receiver SET name = %(name)s, config = %(config)s, secret_id = %(secret)s, topics = %(topics)s,"
        " ordered = %(ordered)s, fingerprint = %(fingerprint)s, updated_at = now(),"
        " reason = CASE WHEN %(status)s = 'active' THEN NULL ELSE reason END,"
        " failures = CASE WHEN status <> %(status)s THEN 0 ELSE failures END,"
        " failing_since = CASE WHEN status <> %(status)s THEN NULL ELSE failing_since END,"
        " due_at = now(), status = %(status)s WHERE organization_id = %(org)s AND id = %(id)s RETURNING " + _COLUMNS,
        {
            "org": organization_id,
            "id": receiver_id,
            "name": name,
            "config": Json(config),
            "secret": secret_id,
            "topics": list(topics),
            "ordered": ordered,
            "status": status,
            "fingerprint": fingerprint,
        },
    )
    return Receiver(**row)


def update_public_key(tx: Tx, organization_id: int, receiver_id: UUID, key: str) -> None:
    """What verifies the signatures from now on."""
    tx.run(
        "UPDATE receiver SET public_key = %s WHERE organization_id = %s AND id = %s",
        (key, organization_id, receiver_id),
    )


def disable_receiver(tx: Tx, organization_id: int, receiver_id: UUID, reason: str) -> None:
    """Send it nothing more until a person says so."""
    tx.run(
        "UPDATE receiver SET status = 'disabled', reason = %s, due_at = NULL, updated_at = now()"
        " WHERE organization_id = %s AND id = %s",
        (reason, organization_id, receiver_id),
    )


def find_receiver(
    tx: Tx, organization_id: int, receiver_id: UUID, *, form: Form, agent_id: int | None = None, lock: bool = False
) -> Receiver | None:
    """A receiver of one form, and of one agent where it is a channel."""
    row = tx.row(
        "SELECT " + _COLUMNS + " FROM receiver WHERE organization_id = %s AND id = %s AND form = %s"
        " AND agent_id IS NOT DISTINCT FROM %s" + (" FOR NO KEY UPDATE" if lock else ""),
        (organization_id, receiver_id, form, agent_id),
    )
    return Receiver(**row) if row else None


def list_receivers(
    tx: Tx, organization_id: int, *, form: Form, agent_id: int | None, limit: int, offset: int
) -> tuple[list[Receiver], int]:
    """One page of receivers, newest first, and how many there are."""
    facts = {"org": organization_id, "form": form, "agent": agent_id, "limit": limit, "offset": offset}
    rows = tx.rows(
        "SELECT " + _COLUMNS + " FROM receiver WHERE organization_id = %(org)s AND form = %(form)s"
        " AND agent_id IS NOT DISTINCT FROM %(agent)s ORDER BY created_at DESC, id DESC"
        " LIMIT %(limit)s OFFSET %(offset)s",
        facts,
    )
    total = tx.one(
        "SELECT count(*) AS n FROM receiver WHERE organization_id = %(org)s AND form = %(form)s"
        " AND agent_id IS NOT DISTINCT FROM %(agent)s",
        facts,
    )
    return [Receiver(**row) for row in rows], int(total["n"])


def count_receivers(tx: Tx, organization_id: int, form: Form) -> int:
    """How many receivers of a form the organization has."""
    row = tx.one("SELECT count(*) AS n FROM receiver WHERE organization_id = %s AND form = %s", (organization_id, form))
    return int(row["n"])


def count_owed(tx: Tx, organization_id: int, receiver_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many deliveries each receiver is owed; none is not in the answer."""
    rows = tx.tuples(
        "SELECT receiver_id, count(*) FROM delivery WHERE organization_id = %s AND receiver_id = ANY(%s)"
        " AND status = 'pending' GROUP BY receiver_id",
        (organization_id, list(receiver_ids)),
    )
    return dict(rows)


def list_channels(tx: Tx, organization_id: int, agent_id: int) -> list[Receiver]:
    """All channels of an agent."""
    rows = tx.rows(
        "SELECT " + _COLUMNS + " FROM receiver WHERE organization_id = %s AND agent_id = %s ORDER BY id",
        (organization_id, agent_id),
    )
    return [Receiver(**row) for row in rows]


def delete_receiver(tx: Tx, organization_id: int, receiver_id: UUID) -> None:
    """Remove a receiver with what it is owed and what it got."""
    tx.run("DELETE FROM receiver WHERE organization_id = %s AND id = %s", (organization_id, receiver_id))
