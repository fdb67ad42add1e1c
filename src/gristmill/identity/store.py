"""SQL of identity."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from gristmill.base.db import Tx
from gristmill.identity.model import ApiKey, Organization

_KEY_COLUMNS: LiteralString = (
    "id, name, scope, agent_id, 'gm_live_****' || last_four AS redacted, created_at, last_used_at, expires_at,"
    " rotated_at, revoked_at"
)


def insert_organization(tx: Tx, name: str) -> Organization:
    """A new tenant (system transaction) with its empty money account."""
    row = tx.one("INSERT INTO organization (name) VALUES (%s) RETURNING id, name, created_at", (name,))
    tx.run("INSERT INTO ledger_account (organization_id) VALUES (%s)", (row["id"],))
    return Organization(**row)


def find_first_organization(tx: Tx) -> Organization | None:
    """The oldest tenant, which a single-machine start uses (system transaction)."""
    row = tx.row("SELECT id, name, created_at FROM organization WHERE NOT anonymous ORDER BY id LIMIT 1")
    return Organization(**row) if row else None


def find_anonymous_organization(tx: Tx) -> int | None:
    """The tenant of uploads without a key (system transaction)."""
    row = tx.row("SELECT id FROM organization WHERE anonymous")
    return int(row["id"]) if row else None


def insert_anonymous_organization(tx: Tx, name: str) -> None:
    """Make that tenant, unless another process just did (system transaction)."""
    row = tx.row(
        "INSERT INTO organization (name, anonymous) VALUES (%s, true) ON CONFLICT DO NOTHING RETURNING id", (name,)
    )
    if row:
        tx.run("INSERT INTO ledger_account (organization_id) VALUES (%s)", (row["id"],))


def insert_key(
    tx: Tx,
    *,
    key_id: UUID,
    organization_id: int,
    agent_id: int | None,
    name: str,
    scope: str,
    secret_sha256: bytes,
    last_four: str,
    expires_at: datetime | None,
) -> ApiKey:
    """Store a new key's hash."""
    row = tx.one(
        "INSERT INTO api_key (id, organization_id, agent_id, name, scope, secret_sha256, last_four, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING " + _KEY_COLUMNS,
        (key_id, organization_id, agent_id, name, scope, secret_sha256, last_four, expires_at),
    )
    return ApiKey(**row)


def find_live_key(tx: Tx, secret_sha256: bytes) -> dict[str, Any] | None:
    """Key by hash, when neither revoked nor expired (system transaction)."""
    return tx.row(
        "SELECT id, organization_id, agent_id, scope, last_used_at FROM api_key"
        " WHERE secret_sha256 = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        (secret_sha256,),
    )


def touch_key(tx: Tx, key_id: UUID) -> None:
    """Note the use of a key, at most once a minute."""
    tx.run(
        "UPDATE api_key SET last_used_at = now()"
        " WHERE id = %s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
        (key_id,),
    )


def list_keys(tx: Tx, organization_id: int, limit: int) -> list[ApiKey]:
    """All keys of a tenant, newest first."""
    rows = tx.rows(
        "SELECT " + _KEY_COLUMNS + " FROM api_key WHERE organization_id = %s ORDER BY created_at DESC LIMIT %s",
        (organization_id, limit),
    )
    return [ApiKey(**row) for row in rows]


def claim_key(tx: Tx, organization_id: int, key_id: UUID) -> ApiKey | None:
    """Lock one key."""
    row = tx.row(
        "SELECT " + _KEY_COLUMNS + " FROM api_key WHERE organization_id = %s AND id = %s FOR UPDATE",
        (organization_id, key_id),
    )
    return ApiKey(**row) if row else None


def update_revoked(tx: Tx, organization_id: int, key_id: UUID) -> None:
    """Revoke a key now."""
    tx.run(
        "UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE organization_id = %s AND id = %s",
        (organization_id, key_id),
    )


def update_rotated(tx: Tx, organization_id: int, key_id: UUID, *, until: datetime) -> None:
    """Note that a key has a successor, and let it expire at a time, or when it would have anyway."""
    tx.run(
        "UPDATE api_key SET rotated_at = now(), expires_at = least(coalesce(expires_at, %(until)s), %(until)s)"
        " WHERE organization_id = %(org)s AND id = %(id)s",
        {"until": until, "org": organization_id, "id": key_id},
    )


def count_live_keys(tx: Tx, organization_id: int) -> int:
    """Number of keys that still open the API."""
    row = tx.one(
        "SELECT count(*) AS n FROM api_key WHERE organization_id = %s AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now())",
        (organization_id,),
    )
    return int(row["n"])


def insert_login(
    tx: Tx, *, token_sha256: bytes, organization_id: int, kind: str, csrf: str, expires_at: datetime
) -> None:
    """Store the hash of a login link or a session."""
    tx.run(
        "INSERT INTO login (token_sha256, organization_id, kind, csrf, expires_at) VALUES (%s, %s, %s, %s, %s)",
        (token_sha256, organization_id, kind, csrf, expires_at),
    )


def consume_login_link(tx: Tx, token_sha256: bytes) -> int | None:
    """Use a login link up; answers its organization (system transaction)."""
    tx.run("DELETE FROM login WHERE expires_at < now()")
    row = tx.row(
        "DELETE FROM login WHERE token_sha256 = %s AND kind = 'link' AND expires_at > now() RETURNING organization_id",
        (token_sha256,),
    )
    return int(row["organization_id"]) if row else None


def find_session(tx: Tx, token_sha256: bytes) -> dict[str, Any] | None:
    """A live session (system transaction)."""
    return tx.row(
        "SELECT organization_id, csrf FROM login WHERE token_sha256 = %s AND kind = 'session' AND expires_at > now()",
        (token_sha256,),
    )


def delete_session(tx: Tx, token_sha256: bytes) -> None:
    """Close a browser session for good (system transaction)."""
    tx.run("DELETE FROM login WHERE token_sha256 = %s AND kind = 'session'", (token_sha256,))
