"""Verbs of identity."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import psycopg

from gristmill.base.db import Tx
from gristmill.base.errors import Conflict, FieldError, Invalid, NotFound
from gristmill.base.ids import uuid7
from gristmill.identity import store
from gristmill.identity.model import (
    KEY_PREFIX,
    KEYS_MAX,
    LINK_LIFETIME,
    SESSION_LIFETIME,
    Actor,
    ApiKey,
    NewApiKey,
    Organization,
    Scope,
    Unauthenticated,
    digest,
    new_secret,
)

TOKEN_CHARS_MAX = 200
EXPIRES_IN_DAYS_MAX = 3650


def create_organization(tx: Tx, name: str) -> Organization:
    """A new tenant (system transaction)."""
    return store.insert_organization(tx, name)


def ensure_default_organization(tx: Tx) -> Organization:
    """The tenant of a single-machine installation, made when there is none (system transaction)."""
    return store.find_first_organization(tx) or store.insert_organization(tx, "Default")


def anonymous_organization(tx: Tx) -> int:
    """Id of the tenant that holds what people without a key uploaded, made when there is none (system transaction)."""
    found = store.find_anonymous_organization(tx)
    if found is None:
        store.insert_anonymous_organization(tx, "Uploads without a key")
        found = store.find_anonymous_organization(tx)
    assert found is not None  # noqa: S101 - inserted, or another process has committed it
    return found


def issue_first_key(tx: Tx, organization_id: int) -> NewApiKey | None:
    """An admin key for an organization that has never had a key, else None."""
    if store.list_keys(tx, organization_id, 1):
        return None
    return issue_key(tx, organization_id, name="First admin key", scope="admin")


def issue_key(
    tx: Tx,
    organization_id: int,
    *,
    name: str,
    scope: Scope,
    agent_id: int | None = None,
    lifetime: timedelta | None = None,
) -> NewApiKey:
    """A new API key; its secret is in the answer and nowhere else."""
    if not name.strip():
        raise Invalid("A key needs a name.", errors=(FieldError("name", "must not be empty"),))
    if store.count_live_keys(tx, organization_id) >= KEYS_MAX:
        raise Conflict(f"An organization has at most {KEYS_MAX} live keys; revoke some.")
    secret = new_secret(KEY_PREFIX)
    try:
        key = store.insert_key(
            tx,
            key_id=uuid7(),
            organization_id=organization_id,
            agent_id=agent_id,
            name=name.strip(),
            scope=scope,
            secret_sha256=digest(secret),
            last_four=secret[-4:],
            expires_at=None if lifetime is None else tx.now + lifetime,
        )
    except psycopg.errors.ForeignKeyViolation:
        wrong = FieldError("agent_id", "is no agent of this organization")
        raise Invalid(f"There is no agent {agent_id}.", errors=(wrong,)) from None
    return NewApiKey(key, secret)


def list_keys(tx: Tx, organization_id: int) -> list[ApiKey]:
    """All keys, newest first, revoked ones included."""
    return store.list_keys(tx, organization_id, KEYS_MAX)


def rotate_key(tx: Tx, organization_id: int, key_id: UUID, *, overlap_hours: int) -> NewApiKey:
    """A new key with the same rights and the same lifetime; the old one works for `overlap_hours` more.

    Raises `Conflict` for a key that opens nothing any more, or that has a successor already.
    """
    old = store.claim_key(tx, organization_id, key_id)
    if old is None:
        raise NotFound(f"There is no key {key_id}.")
    if old.revoked_at is not None:
        raise Conflict("The key is revoked; make a new one instead.")
    if old.rotated_at is not None:
        raise Conflict("The key was rotated already; rotate the one that took its place.")
    if old.expires_at is not None and old.expires_at <= tx.now:
        raise Conflict("The key has expired; make a new one instead.")
    store.update_rotated(tx, organization_id, key_id, until=tx.now + timedelta(hours=overlap_hours))
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    return issue_key(tx, organization_id, name=old.name, scope=old.scope, agent_id=old.agent_id, lifetime=lifetime)


def revoke_key(tx: Tx, organization_id: int, key_id: UUID) -> None:
    """Close a key for good."""
    if store.claim_key(tx, organization_id, key_id) is None:
        raise NotFound(f"There is no key {key_id}.")
    store.update_revoked(tx, organization_id, key_id)


def authenticate_key(tx: Tx, secret: str) -> Actor:
    """The actor of a key (system transaction: the tenant is what we look for). Raises `Unauthenticated`."""
    row = store.find_live_key(tx, digest(secret)) if len(secret) <= TOKEN_CHARS_MAX else None
    if row is None:
        raise Unauthenticated("The key is unknown, revoked or expired.")
    if row["last_used_at"] is None or tx.now - row["last_used_at"] > timedelta(minutes=1):
        store.touch_key(tx, row["id"])
    return Actor(row["organization_id"], row["scope"], row["agent_id"], row["id"])


def note_use(tx: Tx, key_id: UUID) -> None:
    """Remember that a key was used just now, for a call whose own transaction was undone (system transaction)."""
    store.touch_key(tx, key_id)


def create_login_link(tx: Tx, organization_id: int) -> str:
    """A one-time token that opens a browser session within fifteen minutes."""
    token = new_secret()
    store.insert_login(
        tx,
        token_sha256=digest(token),
        organization_id=organization_id,
        kind="link",
        csrf="",
        expires_at=tx.now + LINK_LIFETIME,
    )
    return token


def open_session(tx: Tx, token: str) -> str:
    """Trade a login link for a session token (system transaction). Raises `Unauthenticated` for a used or old link."""
    organization_id = store.consume_login_link(tx, digest(token)) if len(token) <= TOKEN_CHARS_MAX else None
    if organization_id is None:
        raise Unauthenticated("The login link was used already or is too old; make a new one with `gristmill login`.")
    return _new_session(tx, organization_id)


def open_session_with_key(tx: Tx, secret: str) -> str:
    """Trade an API key for a session token (system transaction).

    Raises `Unauthenticated` for an unknown key, and `Forbidden` for one with less than all rights: a session has them.
    """
    actor = authenticate_key(tx, secret)
    actor.require_admin()
    actor.require_whole_organization()
    return _new_session(tx, actor.organization_id)


def _new_session(tx: Tx, organization_id: int) -> str:
    session = new_secret()
    store.insert_login(
        tx,
        token_sha256=digest(session),
        organization_id=organization_id,
        kind="session",
        csrf=new_secret(),
        expires_at=tx.now + SESSION_LIFETIME,
    )
    return session


def authenticate_session(tx: Tx, token: str) -> Actor:
    """The actor of a browser session (system transaction). Raises `Unauthenticated`."""
    row = store.find_session(tx, digest(token)) if len(token) <= TOKEN_CHARS_MAX else None
    if row is None:
        raise Unauthenticated("Please log in again.")
    return Actor(row["organization_id"], "admin", csrf=row["csrf"])


def close_session(tx: Tx, token: str) -> None:
    """End a browser session for good (system transaction); one that is unknown is no error."""
    if len(token) <= TOKEN_CHARS_MAX:
        store.delete_session(tx, digest(token))
