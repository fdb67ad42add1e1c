"""Verbs of channels: how the people behind an agent are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from gristmill import vault
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.ids import uuid7
from gristmill.base.signing import new_shared_secret
from gristmill.events import receiver_store
from gristmill.events.channels import channels
from gristmill.events.model import Receiver, Status, Topic
from gristmill.events.receivers import (
    WEBHOOK,
    TooMany,
    checked,
    delete,
    find,
    note_status,
    owner_of,
    release_secret,
    wrong,
)
from gristmill.events.service import require_agent

CHANNELS_MAX = 50
"""Of one agent."""


@dataclass(frozen=True, slots=True)
class ChannelDraft:
    """What a user sets of a channel."""

    name: str
    config: dict[str, Any]
    topics: list[Topic]
    secret: dict[str, str | None] | None = None
    """Values to keep in the vault; one that equals its redaction stays as it is."""
    secret_ref: str | None = None
    """Or a secret that is there."""
    status: Status = "active"


@dataclass(frozen=True, slots=True)
class KeptChannel:
    """A channel with what is shown of its secret."""

    receiver: Receiver
    secret: vault.Secret | None
    new_key: str | None = None
    """A signing secret that was made just now."""


def create_channel(tx: Tx, organization_id: int, agent_id: int, kind: str, draft: ChannelDraft) -> KeptChannel:
    """A new channel of an agent. Raises `NoSuchAgent`, `Invalid`, `EgressRefused` or `TooMany`."""
    require_agent(tx, organization_id, agent_id)
    if len(receiver_store.list_channels(tx, organization_id, agent_id)) >= CHANNELS_MAX:
        raise TooMany(f"An agent has at most {CHANNELS_MAX} channels.")
    channel = channels.get(kind)
    receiver_id, new_key = uuid7(), None
    if kind == WEBHOOK and draft.secret is None and draft.secret_ref is None:
        new_key = new_shared_secret()
        draft = replace(draft, secret={"key": new_key})
    given = {name: value for name, value in (draft.secret or {}).items() if value is not None}
    values = _values(tx, organization_id, draft.secret_ref) if draft.secret_ref else given
    _need(channel.secret_names, values)
    config = checked(kind, draft.config, values)
    secret_id = _keep_secret(tx, organization_id, receiver_id, draft, given) if channel.secret_names else None
    receiver = receiver_store.insert_receiver(
        tx,
        organization_id,
        receiver_id,
        agent_id=agent_id,
        form="channel",
        kind=kind,
        name=draft.name,
        config=config,
        secret_id=secret_id,
        topics=draft.topics,
        ordered=False,
        fingerprint=_fingerprint(kind, config, values),
    )
    return KeptChannel(receiver, _secret_of(tx, receiver), new_key)


def update_channel(tx: Tx, organization_id: int, agent_id: int, channel_id: UUID, draft: ChannelDraft) -> KeptChannel:
    """Save a channel as it should become; `draft` has all of it. Raises what `create_channel` raises."""
    before = find(tx, organization_id, channel_id, form="channel", agent_id=agent_id, lock=True)
    channel, secret_id = channels.get(before.kind), before.secret_id
    if draft.secret_ref is not None and draft.secret_ref != str(secret_id):
        values = _values(tx, organization_id, draft.secret_ref)
        release_secret(tx, before)
        secret_id = _keep_secret(tx, organization_id, channel_id, draft, {})
    elif draft.secret:
        owner = owner_of("channel", channel_id)
        if secret_id is None:
            raise wrong("secret", f"is not for a channel of type {before.kind}")
        vault.change(tx, organization_id, secret_id, values=draft.secret, owner=owner)
        values = _values(tx, organization_id, str(secret_id))
    else:
        values = _values(tx, organization_id, str(secret_id)) if secret_id else {}
    _need(channel.secret_names, values)
    config = checked(before.kind, draft.config, values)
    after = receiver_store.update_receiver(
        tx,
        organization_id,
        channel_id,
        name=draft.name,
        config=config,
        secret_id=secret_id,
        topics=draft.topics,
        ordered=False,
        status=draft.status,
        fingerprint=_fingerprint(before.kind, config, values),
    )
    note_status(tx, before, draft.status)
    return KeptChannel(after, _secret_of(tx, after))


def get_channel(tx: Tx, organization_id: int, agent_id: int, channel_id: UUID) -> KeptChannel:
    """A channel of an agent. Raises `ChannelNotFound`."""
    receiver = find(tx, organization_id, channel_id, form="channel", agent_id=agent_id)
    return KeptChannel(receiver, _secret_of(tx, receiver))


def list_channels(tx: Tx, organization_id: int, agent_id: int) -> list[KeptChannel]:
    """All channels of an agent. Raises `NoSuchAgent`."""
    require_agent(tx, organization_id, agent_id)
    found = receiver_store.list_channels(tx, organization_id, agent_id)
    return [KeptChannel(item, _secret_of(tx, item)) for item in found]


def delete_channel(tx: Tx, organization_id: int, agent_id: int, channel_id: UUID) -> None:
    """Remove a channel and the secret it kept. Raises `ChannelNotFound`."""
    delete(tx, find(tx, organization_id, channel_id, form="channel", agent_id=agent_id))


def forget_agent(tx: Tx, organization_id: int, agent_id: int) -> None:
    """Remove the channels of an agent that is about to be deleted."""
    for receiver in receiver_store.list_channels(tx, organization_id, agent_id):
        delete(tx, receiver)


def _need(names: Sequence[str], values: Mapping[str, str]) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise wrong("secret", f"must have {' and '.join(f'`{name}`' for name in missing)}")
    if not names and values:
        raise wrong("secret", "is not needed for this type")


def _values(tx: Tx, organization_id: int, secret_ref: str) -> Mapping[str, str]:
    try:
        return vault.reveal(tx, organization_id, secret_ref, purpose="channel check")
    except vault.SecretNotFound as error:
        raise Invalid(error.message, errors=(FieldError("secretRef", "names no secret"),)) from None


def _keep_secret(
    tx: Tx, organization_id: int, channel_id: UUID, draft: ChannelDraft, values: Mapping[str, str]
) -> UUID:
    owner = owner_of("channel", channel_id)
    if draft.secret_ref is not None:
        vault.refer(tx, organization_id, draft.secret_ref, owner)
        return UUID(draft.secret_ref)
    return vault.put(tx, organization_id, name=f"Channel {draft.name}"[:200], values=values, owner=owner).id


def _secret_of(tx: Tx, receiver: Receiver) -> vault.Secret | None:
    return None if receiver.secret_id is None else vault.get(tx, receiver.organization_id, receiver.secret_id)


def _fingerprint(kind: str, config: dict[str, Any], values: Mapping[str, str]) -> bytes:
    """Equal for channels that reach the same people. A signing key does not tell who is reached."""
    return vault.fingerprint([kind, config, values.get("url")])
