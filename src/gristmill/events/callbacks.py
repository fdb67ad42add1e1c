"""Verbs of callbacks: one event to a URL that was given for it, signed with the organization's own secret."""

from __future__ import annotations

from uuid import UUID

import psycopg

from gristmill import vault
from gristmill.base.db import Tx
from gristmill.base.ids import uuid7
from gristmill.base.signing import new_shared_secret
from gristmill.events import delivery_store, receiver_store
from gristmill.events.receivers import S_PER_HOUR

CALLBACKS = "callbacks"
"""Owner of the secret that an organization's callbacks are signed with."""


def call_back(tx: Tx, organization_id: int, url: str, event_id: UUID) -> None:
    """Owe an event to a URL that was given for this once. `on_called_back` tells how it goes."""
    secret = _callback_secret(tx, organization_id)
    receiver_id = receiver_store.ensure_callback(tx, organization_id, uuid7(), url=url, secret_id=secret.id)
    delivery_store.add_delivery(tx, organization_id, receiver_id, event_id)


def callback_secret(tx: Tx, organization_id: int) -> vault.Secret:
    """The secret that the organization's callbacks are signed with."""
    return _callback_secret(tx, organization_id)


def rotate_callback_secret(tx: Tx, organization_id: int, *, overlap_hours: int) -> tuple[vault.Secret, str]:
    """Another one; answers it with its value. Until the overlap has passed, callbacks are signed with both."""
    key = new_shared_secret()
    secret = vault.rotate(
        tx,
        organization_id,
        _callback_secret(tx, organization_id).id,
        values={"key": key},
        overlap_s=overlap_hours * S_PER_HOUR,
        owner=CALLBACKS,
    )
    return secret, key


def _callback_secret(tx: Tx, organization_id: int) -> vault.Secret:
    found = vault.find_owned(tx, organization_id, CALLBACKS)
    if found is not None:
        return found
    try:
        with tx.raw.transaction():
            return vault.put(
                tx, organization_id, name="Callbacks of batches", values={"key": new_shared_secret()}, owner=CALLBACKS
            )
    except psycopg.errors.UniqueViolation:  # somebody made it just now
        found = vault.find_owned(tx, organization_id, CALLBACKS)
        if found is None:
            raise
        return found
