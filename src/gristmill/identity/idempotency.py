"""Calls that are safe to repeat: the same Idempotency-Key with the same body gets the first answer again.

A first answer may hold a secret that is shown once, such as a new API key, so it is kept sealed with the
Idempotency-Key itself, of which the database has only a digest. Whoever repeats the call brings the key; nobody else
can open it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gristmill.base import jsons
from gristmill.base.db import Tx
from gristmill.base.errors import Error

KEY_CHARS_MAX = 255
NONCE_BYTES = 12


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
    digest = _derive(key, "name")
    body_digest = hmac.digest(_derive(key, "body"), body_sha256, hashlib.sha256)
    tx.run(
        "DELETE FROM idempotency WHERE organization_id = %s AND key = %s"
        " AND created_at < now() - make_interval(hours => %s)",
        (organization_id, digest, hours),
    )
    taken = tx.run(
        "INSERT INTO idempotency (organization_id, key, call, body_digest, status) VALUES (%s, %s, %s, %s, 0)"
        " ON CONFLICT (organization_id, key) DO NOTHING",
        (organization_id, digest, call, body_digest),
    )
    if taken:
        return None
    row = tx.one(
        "SELECT call, body_digest, status, answer FROM idempotency WHERE organization_id = %s AND key = %s",
        (organization_id, digest),
    )
    return _opened(row, key, call, body_digest)


def peek_answer(tx: Tx, organization_id: int, key: str, *, call: str, body_sha256: bytes, hours: int) -> Answer | None:
    """The same without taking the key: for a call that asks others before it does its own work.

    None also while a first call is under way.
    """
    row = tx.row(
        "SELECT call, body_digest, status, answer FROM idempotency WHERE organization_id = %s AND key = %s"
        " AND created_at >= now() - make_interval(hours => %s)",
        (organization_id, _derive(key, "name"), hours),
    )
    return None if row is None else _opened(row, key, call, hmac.digest(_derive(key, "body"), body_sha256, "sha256"))


def _opened(row: Mapping[str, Any], key: str, call: str, body_digest: bytes) -> Answer:
    if row["call"] != call or row["body_digest"] != body_digest:
        raise IdempotencyConflict("This Idempotency-Key was used for another call; use a new one.")
    return Answer(row["status"], None if row["answer"] is None else jsons.loads(_unseal(key, row["answer"])))


def keep_answer(tx: Tx, organization_id: int, key: str, *, status: int, body: bytes) -> None:
    """Keep the first answer, in the transaction that made it true."""
    tx.run(
        "UPDATE idempotency SET status = %s, answer = %s WHERE organization_id = %s AND key = %s",
        (status, _seal(key, body), organization_id, _derive(key, "name")),
    )


def _derive(key: str, use: str) -> bytes:
    """32 bytes for one use of an Idempotency-Key, which tell nothing about those for another."""
    return hmac.digest(key.encode("utf-8", "surrogatepass"), f"gristmill.idempotency {use}".encode(), hashlib.sha256)


def _seal(key: str, answer: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - a start needs no cipher

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(_derive(key, "answer")).encrypt(nonce, answer, None)


def _unseal(key: str, sealed: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - the same

    return AESGCM(_derive(key, "answer")).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
