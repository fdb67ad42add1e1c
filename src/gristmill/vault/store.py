"""SQL of the vault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.vault.model import Place, Sealed, Secret, SecretUse

_COLUMNS: LiteralString = (
    "s.id, s.name, s.redacted, s.owner, s.version, s.created_at, s.updated_at, s.last_used_at, s.last_tested_at,"
    " s.last_test_ok,"
    " ARRAY(SELECT referrer FROM secret_reference r WHERE r.secret_id = s.id ORDER BY referrer) AS referrers,"
    " (SELECT max(valid_until) FROM secret_version v WHERE v.secret_id = s.id AND v.valid_until > now())"
    " AS overlap_until"
)


def find_current_key(tx: Tx) -> str | None:
    """Id of the master key that seals what is new."""
    row = tx.row("SELECT id FROM master_key WHERE is_current")
    return row["id"] if row else None


def insert_first_key(tx: Tx, key_id: str) -> None:
    """Note the first master key; another process may have been quicker."""
    tx.run("INSERT INTO master_key (id, is_current) VALUES (%s, true) ON CONFLICT DO NOTHING", (key_id,))


def update_current_key(tx: Tx, key_id: str) -> None:
    """Let another master key seal what is new (system transaction)."""
    tx.run("UPDATE master_key SET is_current = false WHERE is_current")
    tx.run(
        "INSERT INTO master_key (id, is_current) VALUES (%s, true) ON CONFLICT (id) DO UPDATE SET is_current = true",
        (key_id,),
    )


def list_needed_keys(tx: Tx) -> list[str]:
    """Ids of the master keys that open anything, and of the current one (system transaction)."""
    rows = tx.tuples(
        "SELECT id FROM master_key k WHERE is_current"
        " OR EXISTS (SELECT FROM secret_version v WHERE v.key_id = k.id) ORDER BY is_current DESC, id"
    )
    return [row[0] for row in rows]


def claim_wrapped(tx: Tx, current: str, limit: int) -> list[tuple[Place, Sealed]]:
    """Versions under other master keys than the current one, locked (system transaction)."""
    rows = tx.rows(
        "SELECT organization_id, secret_id, version, key_id, wrapped_key FROM secret_version WHERE key_id <> %s"
        " ORDER BY secret_id, version LIMIT %s FOR UPDATE",
        (current, limit),
    )
    return [
        (
            Place(row["organization_id"], row["secret_id"], row["version"]),
            Sealed(row["key_id"], row["wrapped_key"], b""),
        )
        for row in rows
    ]


def update_wrapped(tx: Tx, place: Place, key_id: str, wrapped: bytes) -> None:
    """The data key under another master key (system transaction)."""
    tx.run(
        "UPDATE secret_version SET key_id = %s, wrapped_key = %s"
        " WHERE organization_id = %s AND secret_id = %s AND version = %s",
        (key_id, wrapped, place.organization_id, place.secret_id, place.version),
    )


def insert_secret(
    tx: Tx, organization_id: int, secret_id: UUID, *, name: str, owner: str | None, redacted: Mapping[str, str]
) -> None:
    """A new secret; its first version comes next."""
    tx.run(
        "INSERT INTO secret (id, organization_id, name, owner, redacted) VALUES (%s, %s, %s, %s, %s)",
        (secret_id, organization_id, name, owner, Json(dict(redacted))),
    )


def insert_version(tx: Tx, place: Place, sealed: Sealed) -> None:
    """The values of a version."""
    tx.run(
        "INSERT INTO secret_version (secret_id, version, organization_id, key_id, wrapped_key, sealed)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (place.secret_id, place.version, place.organization_id, sealed.key_id, sealed.wrapped_key, sealed.sealed),
    )


def end_versions(tx: Tx, organization_id: int, secret_id: UUID, *, before: int, at: datetime) -> None:
    """Versions before the current one end then, unless they end sooner."""
    tx.run(
        "UPDATE secret_version SET valid_until = least(valid_until, %s)"
        " WHERE organization_id = %s AND secret_id = %s AND version < %s",
        (at, organization_id, secret_id, before),
    )


def delete_ended_versions(tx: Tx) -> int:
    """Forget values that nobody may use any more (system transaction)."""
    return tx.run("DELETE FROM secret_version WHERE valid_until < now()")


def update_secret(
    tx: Tx, organization_id: int, secret_id: UUID, *, name: str, redacted: Mapping[str, str], version: int
) -> None:
    """Write what is shown of a secret."""
    tx.run(
        "UPDATE secret SET name = %s, redacted = %s, version = %s, updated_at = now()"
        " WHERE organization_id = %s AND id = %s",
        (name, Json(dict(redacted)), version, organization_id, secret_id),
    )


def find_secret(tx: Tx, organization_id: int, secret_id: UUID, *, lock: bool = False) -> Secret | None:
    """A secret without its values."""
    if lock:
        tx.run("SELECT FROM secret WHERE organization_id = %s AND id = %s FOR UPDATE", (organization_id, secret_id))
    row = tx.row(
        "SELECT " + _COLUMNS + " FROM secret s WHERE s.organization_id = %s AND s.id = %s",
        (organization_id, secret_id),
    )
    return Secret(**row) if row else None


def find_owned(tx: Tx, organization_id: int, owner: str) -> Secret | None:
    """The secret that an object keeps."""
    row = tx.row(
        "SELECT " + _COLUMNS + " FROM secret s WHERE s.organization_id = %s AND s.owner = %s", (organization_id, owner)
    )
    return Secret(**row) if row else None


def list_secrets(tx: Tx, organization_id: int, *, limit: int, offset: int) -> tuple[list[Secret], int]:
    """One page of secrets, newest first, and how many there are."""
    rows = tx.rows(
        "SELECT " + _COLUMNS + " FROM secret s WHERE s.organization_id = %s"
        " ORDER BY s.created_at DESC, s.id DESC LIMIT %s OFFSET %s",
        (organization_id, limit, offset),
    )
    total = tx.one("SELECT count(*) AS n FROM secret WHERE organization_id = %s", (organization_id,))
    return [Secret(**row) for row in rows], int(total["n"])


def list_valid_versions(tx: Tx, organization_id: int, secret_id: UUID) -> list[tuple[Place, Sealed, datetime | None]]:
    """Versions that may be used now, the current one first, each with its end."""
    rows = tx.rows(
        "SELECT version, key_id, wrapped_key, sealed, valid_until FROM secret_version"
        " WHERE organization_id = %s AND secret_id = %s AND (valid_until IS NULL OR valid_until > now())"
        " ORDER BY version DESC",
        (organization_id, secret_id),
    )
    return [
        (
            Place(organization_id, secret_id, row["version"]),
            Sealed(row["key_id"], row["wrapped_key"], row["sealed"]),
            row["valid_until"],
        )
        for row in rows
    ]


def insert_use(tx: Tx, organization_id: int, secret_id: UUID, *, version: int, purpose: str) -> None:
    """Note that the values were revealed. `last_used_at` waits for nobody: another use of this minute is as good."""
    tx.run(
        "INSERT INTO secret_use (organization_id, secret_id, version, purpose) VALUES (%s, %s, %s, %s)",
        (organization_id, secret_id, version, purpose),
    )
    tx.run(
        "UPDATE secret SET last_used_at = now() WHERE organization_id = %(org)s AND id = (SELECT id FROM secret"
        " WHERE organization_id = %(org)s AND id = %(id)s"
        " AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute') FOR NO KEY UPDATE SKIP LOCKED)",
        {"org": organization_id, "id": secret_id},
    )


def list_uses(
    tx: Tx, organization_id: int, secret_id: UUID, *, before: int | None, limit: int
) -> list[tuple[int, SecretUse]]:
    """Uses of a secret, newest first, each with its number."""
    rows = tx.tuples(
        "SELECT id, version, purpose, used_at FROM secret_use WHERE organization_id = %(org)s AND secret_id = %(id)s"
        " AND (%(before)s::bigint IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "id": secret_id, "before": before, "limit": limit},
    )
    return [(row[0], SecretUse(*row[1:])) for row in rows]


def update_test(tx: Tx, organization_id: int, secret_id: UUID, *, ok: bool) -> None:
    """Note how trying the secret went."""
    tx.run(
        "UPDATE secret SET last_tested_at = now(), last_test_ok = %s WHERE organization_id = %s AND id = %s",
        (ok, organization_id, secret_id),
    )


def insert_reference(tx: Tx, organization_id: int, secret_id: UUID, referrer: str) -> bool:
    """Note who needs a secret; False when there is no such secret."""
    found = tx.row(
        "SELECT FROM secret WHERE organization_id = %s AND id = %s FOR KEY SHARE", (organization_id, secret_id)
    )
    if found is None:
        return False
    tx.run(
        "INSERT INTO secret_reference (organization_id, secret_id, referrer) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (organization_id, secret_id, referrer),
    )
    return True


def delete_reference(tx: Tx, organization_id: int, secret_id: UUID, referrer: str) -> None:
    """It is needed no more by this referrer."""
    tx.run(
        "DELETE FROM secret_reference WHERE organization_id = %s AND secret_id = %s AND referrer = %s",
        (organization_id, secret_id, referrer),
    )


def delete_other_references(tx: Tx, organization_id: int, referrer: str, keep: list[UUID]) -> None:
    """This referrer needs these and no others."""
    tx.run(
        "DELETE FROM secret_reference WHERE organization_id = %s AND referrer = %s AND secret_id <> ALL(%s)",
        (organization_id, referrer, keep),
    )


def delete_secret(tx: Tx, organization_id: int, secret_id: UUID) -> None:
    """Remove a secret with all its values."""
    tx.run("DELETE FROM secret WHERE organization_id = %s AND id = %s", (organization_id, secret_id))
