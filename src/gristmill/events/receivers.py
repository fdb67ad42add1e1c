"""What webhooks, channels and callbacks have in common: finding, checking, testing, deleting a receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gristmill import vault
from gristmill.base.config import Settings, settings
from gristmill.base.db import Tx
from gristmill.base.egress import Egress
from gristmill.base.errors import Conflict, FieldError, Invalid
from gristmill.base.fetch import http_session
from gristmill.base.ids import uuid7
from gristmill.events import receiver_store
from gristmill.events.channels import Tools, channels
from gristmill.events.model import (
    TEST_KIND,
    ChannelNotFound,
    Event,
    Form,
    Receiver,
    Sent,
    Status,
    WebhookNotFound,
    message_of,
)
from gristmill.events.outcomes import DISABLED_ITEM
from gristmill.events.sending import parse_config, send
from gristmill.events.service import withdraw_pending

WEBHOOK = "WEBHOOK"
OVERLAP_HOURS = 24
S_PER_HOUR = 3600.0


class TooMany(Conflict):
    """There are as many as there may be."""


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver as a test needs it."""

    receiver: Receiver
    secrets: list[vault.Revealed]


def find(
    tx: Tx,
    organization_id: int,
    receiver_id: UUID,
    *,
    form: Form = "webhook",
    agent_id: int | None = None,
    lock: bool = False,
) -> Receiver:
    """A receiver of one form. Raises `WebhookNotFound` or `ChannelNotFound`."""
    found = receiver_store.find_receiver(tx, organization_id, receiver_id, form=form, agent_id=agent_id, lock=lock)
    if found is not None:
        return found
    if form == "channel":
        raise ChannelNotFound(f"Agent {agent_id} has no channel {receiver_id}.")
    raise WebhookNotFound(f"There is no webhook {receiver_id}.")


def checked(kind: str, config: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """A config that its kind accepts together with the secret's values, with defaults filled in. Raises `Error`."""
    channel = channels.get(kind)
    parsed = parse_config(channel, config)
    channel.check(parsed, values, settings())
    return parsed.model_dump(mode="json")


def release_secret(tx: Tx, receiver: Receiver) -> None:
    """The receiver needs its secret no more; one that it kept by itself is deleted with it."""
    if receiver.secret_id is None:
        return
    owner = owner_of(receiver.form, receiver.id)
    if vault.get(tx, receiver.organization_id, receiver.secret_id).owner == owner:
        vault.delete(tx, receiver.organization_id, receiver.secret_id, owner=owner)
    else:
        vault.unrefer(tx, receiver.organization_id, receiver.secret_id, owner)


def delete(tx: Tx, receiver: Receiver) -> None:
    """Remove a receiver with its deliveries and the secret that it kept."""
    receiver_store.delete_receiver(tx, receiver.organization_id, receiver.id)
    release_secret(tx, receiver)
    subject = f"{receiver.form}:{receiver.id}"
    withdraw_pending(tx, receiver.organization_id, receiver.agent_id, DISABLED_ITEM, key=subject)


def note_status(tx: Tx, before: Receiver, status: Status) -> None:
    """Nobody needs to look at a receiver that a person has made active again."""
    if status == "active" and before.status == "disabled":
        subject = f"{before.form}:{before.id}"
        withdraw_pending(tx, before.organization_id, before.agent_id, DISABLED_ITEM, key=subject)


def secret_id_of(receiver: Receiver) -> UUID:
    """The secret of a receiver that always has one."""
    if receiver.secret_id is None:
        raise LookupError("a webhook has a secret")
    return receiver.secret_id


def owner_of(form: Form, receiver_id: UUID) -> str:
    """How the vault calls a receiver."""
    return f"{form}:{receiver_id}"


def wrong(name: str, message: str) -> Invalid:
    """An error about one field."""
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


def target_of(tx: Tx, organization_id: int, receiver_id: UUID, *, form: Form, agent_id: int | None = None) -> Target:
    """What a test needs, to be sent once the transaction is over."""
    receiver = find(tx, organization_id, receiver_id, form=form, agent_id=agent_id)
    if receiver.secret_id is None:
        return Target(receiver, [])
    purpose = f"{form}:{receiver_id} test"
    return Target(receiver, vault.reveal_all(tx, organization_id, receiver.secret_id, purpose=purpose))


async def test(target: Target, current: Settings) -> Sent:
    """Send a message that says that it is a test, now and once, whatever the receiver's status."""
    data = {"message": "A test of this receiver; nothing happened."}
    subject = f"{target.receiver.form}:{target.receiver.id}"
    event = Event(uuid7(), TEST_KIND, subject, data, datetime.now(UTC))
    egress = Egress.of(current.egress_allow)
    async with http_session(egress, connections=1) as session:
        tools = Tools(session, egress, current)
        return await send(target.receiver.kind, target.receiver.config, message_of(event), target.secrets, tools)


def keep_test(tx: Tx, organization_id: int, target: Target, sent: Sent) -> None:
    """Note with the secret whether it opened what it should."""
    if target.receiver.secret_id is not None:
        vault.record_test(tx, organization_id, target.receiver.secret_id, ok=sent.ok)
