"""Calls that are safe to repeat: the same Idempotency-Key with the same body gets the first answer again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Json

from gristmill.base import jsons
from gristmill.base.db import Tx
from gristmill.base.errors import Error

KEY_CHARS_MAX = 255


class IdempotencyConflict(Error):
    """The Idempotency-Key was used for another call."""

    code = "idempotency_conflict"


@dataclass(frozen=True, slots=True)
class Answer:
    """A first answer, kept."""

    status: int
    body: Any


def find_answer(tx: Tx, organization_id: int, key: str, *, call: str, body_sha256: bytes, hours: int) -> Answer | None:
    """The first answer to this key, or None when this call is the first; then the key is taken until `keep_answer`.

    A second call with the same key waits here until the first has committed. Raises `IdempotencyConflict` when the key
    was used for another path or body.
    """
    tx.run(
        "DELETE FROM idempotency WHERE organization_id = %s AND key = %s"
        " AND created_at < now() - make_interval(hours => %s)",
        (organization_id, key, hours),
    )
    taken = tx.run(
        "INSERT INTO idempotency (organization_id, key, call, body_sha256, status) VALUES (%s, %s, %s, %s, 0)"
        " ON CONFLICT (organization_id, key) DO NOTHING",
        (organization_id, key, call, body_sha256),
    )
    if taken:
        return None
    row = tx.one(
        "SELECT call, body_sha256, status, answer FROM idempotency WHERE organization_id = %s AND key = %s",
        (organization_id, key),
    )
    if row["call"] != call or row["body_sha256"] != body_sha256:
        raise IdempotencyConflict("This Idempotency-Key was used for another call; use a new one.")
    return Answer(row["status"], row["answer"])


def keep_answer(tx: Tx, organization_id: int, key: str, *, status: int, body: bytes) -> None:
    """Keep the first answer, in the transaction that made it true."""
    tx.run(
        "UPDATE idempotency SET status = %s, answer = %s WHERE organization_id = %s AND key = %s",
        (status, Json(jsons.loads(body)), organization_id, key),
    )
