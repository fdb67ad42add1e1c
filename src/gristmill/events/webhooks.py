"""Verbs of webhooks: subscriptions to events, and the deliveries that they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from gristmill import engine, vault
from gristmill.base.db import Tx
from gristmill.base.errors import Malformed
from gristmill.base.ids import uuid7
from gristmill.base.paging import CursorPage, Page, cursor_page, decode_cursor, page_of
from gristmill.base.signing import new_private_key, new_shared_secret, public_key
from gristmill.events import delivery_store, receiver_store
from gristmill.events.model import (
    KINDS,
    Attempt,
    Delivery,
    DeliveryNotFound,
    DeliveryStatus,
    Receiver,
    Status,
    check_event_types,
    topics_of,
)
from gristmill.events.receivers import (
    S_PER_HOUR,
    WEBHOOK,
    TooMany,
    checked,
    delete,
    find,
    note_status,
    owner_of,
    secret_id_of,
)

WEBHOOKS_MAX = 200
REPLAYS_MAX = 10_000
"""Deliveries that one call replays; the answer says whether there are more."""
KEEP_DAYS = 30
"""How long a delivery is kept after its end."""
CLEAN_EVERY_S = 600.0
CLEAN_MAX = 5000

Signing = Literal["v1", "v1a"]
Which = Literal["dead", "missing", "all"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription to events."""

    id: UUID
    url: str
    description: str
    event_types: list[str]
    """Kinds of events, whole or with `*` at the end."""
    headers: dict[str, str]
    ordered: bool
    """Whether a delivery waits until the one before it was delivered or is dead."""
    status: Status
    """`paused` by a person: deliveries wait. `disabled` by failures: events are not kept for it; replay them later."""
    reason: str | None
    """Why it was disabled."""
    signing: Signing
    secret_redacted: str
    secret_overlap_until: datetime | None
    """Until then requests are signed with the secret before the last rotation too."""
    public_key: str | None
    """Only `v1a`: what verifies the signatures."""
    owed: int
    """Deliveries that wait."""
    failing_since: datetime | None
    last_delivered_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook with its secret."""

    webhook: Webhook
    secret: str | None
    """Verifies the signatures; shown this once. Null for `v1a`, where `public_key` does."""


@dataclass(frozen=True, slots=True)
class DeliveryWithAttempts:
    """A delivery and every request that was made for it."""

    delivery: Delivery
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay of a time has begun."""

    replayed: int
    """Deliveries that are owed again, or for the first time."""
    more: bool
    """Whether the limit of one call was reached; the same call again goes on."""


def create_webhook(
    tx: Tx,
    organization_id: int,
    *,
    url: str,
    event_types: list[str],
    description: str = "",
    headers: Mapping[str, str] | None = None,
    ordered: bool = True,
    signing: Signing = "v1",
) -> NewWebhook:
    """A new subscription, with a secret made for it. Raises `Invalid`, `EgressRefused` or `TooMany`."""
    topics = check_event_types(event_types)
    if receiver_store.count_receivers(tx, organization_id, "webhook") >= WEBHOOKS_MAX:
        raise TooMany(f"An organization has at most {WEBHOOKS_MAX} webhooks.")
    receiver_id = uuid7()
    key = new_shared_secret() if signing == "v1" else new_private_key()
    config = checked(WEBHOOK, {"url": url, "headers": dict(headers or {})}, {"key": key})
    secret = vault.put(
        tx, organization_id, name=f"Webhook {url}"[:200], values={"key": key}, owner=owner_of("webhook", receiver_id)
    )
    receiver = receiver_store.insert_receiver(
        tx,
        organization_id,
        receiver_id,
        agent_id=None,
        form="webhook",
        kind=WEBHOOK,
        name=description,
        config=config,
        secret_id=secret.id,
        topics=topics,
        ordered=ordered,
        public_key=None if signing == "v1" else public_key(key),
    )
    return NewWebhook(_webhook(tx, receiver, 0), key if signing == "v1" else None)


def update_webhook(tx: Tx, organization_id: int, webhook_id: UUID, changes: Mapping[str, Any]) -> Webhook:
    """Change what was sent of: url, event_types, description, headers, ordered, status."""
    before = find(tx, organization_id, webhook_id, lock=True)
    topics = check_event_types(changes["event_types"]) if "event_types" in changes else before.topics
    config = {**before.config, **{name: changes[name] for name in ("url", "headers") if name in changes}}
    values = {"key": new_shared_secret()}  # any will do: only the rest of the config is judged
    status: Status = changes.get("status", before.status)
    after = receiver_store.update_receiver(
        tx,
        organization_id,
        webhook_id,
        name=changes.get("description", before.name),
        config=checked(WEBHOOK, config, values),
        secret_id=before.secret_id,
        topics=topics,
        ordered=changes.get("ordered", before.ordered),
        status=status,
        fingerprint=None,
    )
    note_status(tx, before, status)
    return _webhook(tx, after)


def get_webhook(tx: Tx, organization_id: int, webhook_id: UUID) -> Webhook:
    """A webhook. Raises `WebhookNotFound`."""
    return _webhook(tx, find(tx, organization_id, webhook_id))


def list_webhooks(tx: Tx, organization_id: int, *, page: int, per_page: int) -> Page[Webhook]:
    """One page of webhooks, newest first."""
    found, total = receiver_store.list_receivers(
        tx, organization_id, form="webhook", agent_id=None, limit=per_page, offset=(page - 1) * per_page
    )
    owed = receiver_store.count_owed(tx, organization_id, [item.id for item in found])
    data = [_webhook(tx, item, owed.get(item.id, 0)) for item in found]
    return page_of(data, page=page, per_page=per_page, total=total)


def delete_webhook(tx: Tx, organization_id: int, webhook_id: UUID) -> None:
    """Remove a webhook with its deliveries and its secret. Raises `WebhookNotFound`."""
    delete(tx, find(tx, organization_id, webhook_id))


def rotate_webhook(tx: Tx, organization_id: int, webhook_id: UUID, *, overlap_hours: int) -> NewWebhook:
    """Another secret. Until the overlap has passed, requests are signed with both."""
    receiver = find(tx, organization_id, webhook_id, lock=True)
    shared = receiver.public_key is None
    key = new_shared_secret() if shared else new_private_key()
    vault.rotate(
        tx,
        organization_id,
        secret_id_of(receiver),
        values={"key": key},
        overlap_s=overlap_hours * S_PER_HOUR,
        owner=owner_of("webhook", webhook_id),
    )
    if not shared:
        receiver_store.update_public_key(tx, organization_id, webhook_id, public_key(key))
    return NewWebhook(get_webhook(tx, organization_id, webhook_id), key if shared else None)


def list_deliveries(
    tx: Tx,
    organization_id: int,
    webhook_id: UUID,
    *,
    status: DeliveryStatus | None,
    cursor: str | None,
    limit: int,
) -> CursorPage[Delivery]:
    """Deliveries of a webhook, newest first."""
    find(tx, organization_id, webhook_id)
    before = decode_cursor(cursor) if cursor else None
    if not isinstance(before, int | None):
        raise Malformed("The cursor is not one of ours.")
    rows = delivery_store.list_deliveries(
        tx, organization_id, webhook_id, status=status, before=before, limit=limit + 1
    )
    page = cursor_page(rows, limit, lambda row: row[0])
    return CursorPage([delivery for _, delivery in page.data], page.meta)


def get_delivery(tx: Tx, organization_id: int, webhook_id: UUID, event_id: UUID) -> DeliveryWithAttempts:
    """A delivery with every request. Raises `WebhookNotFound` or `DeliveryNotFound`."""
    find(tx, organization_id, webhook_id)
    delivery = delivery_store.find_delivery(tx, organization_id, webhook_id, event_id)
    if delivery is None:
        raise DeliveryNotFound(f"Webhook {webhook_id} has no delivery of event {event_id}.")
    return DeliveryWithAttempts(delivery, delivery_store.list_attempts(tx, organization_id, webhook_id, event_id))


def replay_delivery(tx: Tx, organization_id: int, webhook_id: UUID, event_id: UUID) -> DeliveryWithAttempts:
    """Owe an event again at once, under the same id. Raises `WebhookNotFound` or `DeliveryNotFound`."""
    get_delivery(tx, organization_id, webhook_id, event_id)
    delivery_store.replay_delivery(tx, organization_id, webhook_id, event_id)
    delivery_store.add_wake(tx, organization_id, webhook_id)
    return get_delivery(tx, organization_id, webhook_id, event_id)


def replay(
    tx: Tx,
    organization_id: int,
    webhook_id: UUID,
    *,
    since: datetime,
    until: datetime | None,
    which: Which,
) -> Replayed:
    """Owe the events of a time again: those that are dead, those that it was never owed, or all."""
    receiver = find(tx, organization_id, webhook_id, lock=True)
    states: dict[Which, list[DeliveryStatus]] = {"dead": ["dead"], "missing": [], "all": ["dead", "delivered"]}
    count = 0
    if states[which]:
        count += delivery_store.replay_deliveries(
            tx, organization_id, webhook_id, since=since, until=until, states=states[which], limit=REPLAYS_MAX
        )
    if which != "dead":
        wanted = [kind for kind in KINDS if set(topics_of(kind, {})) & set(receiver.topics)]
        count += delivery_store.add_missing_deliveries(
            tx,
            organization_id,
            webhook_id,
            since=since,
            until=until,
            kinds=wanted,
            limit=REPLAYS_MAX - count,
        )
    delivery_store.add_wake(tx, organization_id, webhook_id)
    return Replayed(count, count >= REPLAYS_MAX)


@engine.every(CLEAN_EVERY_S)
def forget_deliveries(tx: Tx) -> None:
    """Deliveries that ended long ago are forgotten; the events themselves stay."""
    delivery_store.delete_old_deliveries(tx, days=KEEP_DAYS, limit=CLEAN_MAX)


def _webhook(tx: Tx, receiver: Receiver, owed: int | None = None) -> Webhook:
    secret = vault.get(tx, receiver.organization_id, secret_id_of(receiver))
    if owed is None:
        owed = receiver_store.count_owed(tx, receiver.organization_id, [receiver.id]).get(receiver.id, 0)
    return Webhook(
        id=receiver.id,
        url=receiver.config["url"],
        description=receiver.name,
        event_types=receiver.topics,
        headers=receiver.config["headers"],
        ordered=receiver.ordered,
        status=receiver.status,
        reason=receiver.reason,
        signing="v1" if receiver.public_key is None else "v1a",
        secret_redacted=secret.redacted["key"],
        secret_overlap_until=secret.overlap_until,
        public_key=receiver.public_key,
        owed=owed,
        failing_since=receiver.failing_since,
        last_delivered_at=receiver.last_delivered_at,
        last_error=receiver.last_error,
        created_at=receiver.created_at,
        updated_at=receiver.updated_at,
    )
