"""Verbs of connectors.

What calls the other side takes no transaction: `ping` and `testing.try_connector` run between two short ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel, ValidationError

from gristmill import events, vault
from gristmill.base.config import Settings
from gristmill.base.cron import BadCron, Cron
from gristmill.base.db import Tx
from gristmill.base.errors import Conflict, Error, FieldError, Invalid
from gristmill.base.log import get_log
from gristmill.base.objects import ObjectStore
from gristmill.base.paging import Page, page_of
from gristmill.base.signing import new_shared_secret
from gristmill.connectors import store, sync_store
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.model import (
    HOOK_PATH,
    PULL_FAILED,
    PUSH_FAILED,
    Connector,
    ConnectorNotFound,
    Role,
    Status,
    StoredConnector,
)
from gristmill.connectors.remote import Door, RemoteFailed
from gristmill.inventory import FORMATS
from gristmill.vault.model import merge

log = get_log("connectors")

HOOK_ID_BYTES = 16
INBOUND_KEY = "key"


class PingFailed(Invalid):
    """The other side could not be reached, or refused."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A connector as it should become."""

    name: str
    role: Role
    type: str
    config: Mapping[str, Any]
    schedule_cron: str | None = None
    timezone: str = "UTC"
    format: str | None = None
    status: Status = "ACTIVE"
    secret_ref: UUID | None = None
    secret: Mapping[str, str | None] | None = None
    """Values to be kept in the vault; of a change, only those that change."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft that was checked and can be saved."""

    draft: Draft
    config: BaseModel
    values: Mapping[str, str] | None
    """What opens the other side."""

    @property
    def saved_config(self) -> dict[str, Any]:
        """What is kept of the config."""
        return self.config.model_dump(mode="json", by_alias=True, exclude_unset=True)


def prepare(draft: Draft, known: Mapping[str, str] | None, settings: Settings) -> Prepared:
    """Check a new connector, or what one should become; no network. `known`: the values of its secret so far.

    Raises `Invalid` or `EgressRefused` that names the field.
    """
    kind = KINDS.get(draft.type)
    config = parse_config(kind.Config, draft.config)
    _check_schedule(draft, settings)
    formats = kind.push_formats if draft.role == "RESULTS_SINK" else FORMATS
    if draft.format is not None and draft.format not in formats:
        message = f"must be one of {', '.join(formats)}"
        raise Invalid(f"`format` {message}.", errors=(FieldError("format", message),))
    values = known
    if draft.secret is not None:
        unknown = sorted(set(draft.secret) - set(kind.secret_values))
        if unknown:
            message = f"is no value of this secret; there are: {', '.join(kind.secret_values)}"
            raise Invalid(f"`secret.{unknown[0]}` {message}.", errors=(FieldError(f"secret.{unknown[0]}", message),))
        values = merge(known or {}, draft.secret)
    kind.check(config, draft.role, values, Door.of(settings))
    return Prepared(draft, config, values)


def parse_config(model: type[BaseModel], config: Mapping[str, Any]) -> BaseModel:
    """A kind's config from JSON. Raises `Invalid` with one error per field."""
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(["config", *(str(part) for part in item["loc"])]), item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5]), errors=wrong) from None


def _check_schedule(draft: Draft, settings: Settings) -> None:
    try:
        Cron.of("0 0 * * *", draft.timezone)
    except BadCron as error:
        raise Invalid(f"`timezone` {error}.", errors=(FieldError("timezone", str(error)),)) from None
    if draft.schedule_cron is None:
        return
    try:
        Cron.of(draft.schedule_cron, draft.timezone, pause_s_min=settings.connector_pause_s_min)
    except BadCron as error:
        raise Invalid(f"`scheduleCron` {error}.", errors=(FieldError("scheduleCron", str(error)),)) from None


async def ping(prepared: Prepared, settings: Settings) -> None:
    """One cheap request that shows whether this can work at all. Raises `PingFailed` with what to do."""
    draft = prepared.draft
    try:
        async with KINDS.get(draft.type).open(prepared.config, prepared.values or {}, Door.of(settings)) as remote:
            await remote.ping(draft.role)
    except RemoteFailed as error:
        text = f"{error.message} {error.fix}".strip()
        raise PingFailed(text, errors=(FieldError("config", text),), remote_error=error.raw, fix=error.fix) from None


def create(tx: Tx, organization_id: int, agent_id: int, prepared: Prepared) -> Connector:
    """Save a new connector; secrets go into the vault in the same transaction. Raises `Conflict` for a name in use."""
    draft = prepared.draft
    values = {**_values(prepared), "role": draft.role, "type": draft.type, "hook_id": secrets.token_hex(HOOK_ID_BYTES)}
    try:
        connector_id = store.insert_connector(tx, organization_id, agent_id, values)
    except psycopg.errors.UniqueViolation:
        raise _name_taken(draft.name) from None
    _keep_secret(tx, organization_id, connector_id, None, draft)
    return get(tx, organization_id, connector_id, agent_id=agent_id).connector


def update(tx: Tx, before: StoredConnector, prepared: Prepared) -> Connector:
    """Save a changed connector. Raises `Conflict` when somebody changed it since `before` was loaded."""
    organization_id = before.organization_id
    now = get(tx, organization_id, before.id, agent_id=before.agent_id, lock=True)
    if now.connector.updated_at != before.connector.updated_at:
        raise Conflict("The connector was changed by someone else just now; look at it and try again.")
    try:
        store.update_connector(tx, organization_id, before.id, _values(prepared))
    except psycopg.errors.UniqueViolation:
        raise _name_taken(prepared.draft.name) from None
    _keep_secret(tx, organization_id, before.id, now, prepared.draft)
    if prepared.draft.status == "ACTIVE":
        _withdraw(tx, now)
    return get(tx, organization_id, before.id, agent_id=before.agent_id).connector


def _values(prepared: Prepared) -> dict[str, Any]:
    draft = prepared.draft
    return {
        "name": draft.name,
        "config": prepared.saved_config,
        "format": draft.format,
        "schedule_cron": draft.schedule_cron,
        "timezone": draft.timezone,
        "status": draft.status,
    }


def _name_taken(name: str) -> Conflict:
    return Conflict(f"The agent has a connector named `{name}` already.")


def owner_of(connector_id: int) -> str:
    """How a connector is called as the keeper of secrets and the cause of pending items."""
    return f"connector:{connector_id}"


def _inbound_owner_of(connector_id: int) -> str:
    return f"{owner_of(connector_id)}:inbound"


def _keep_secret(tx: Tx, organization_id: int, connector_id: int, before: StoredConnector | None, draft: Draft) -> None:
    """Put inline values into the vault, or note that a shared secret is needed; let go of what was used before."""
    owner = owner_of(connector_id)
    old = before.secret_id if before else None
    if draft.secret is not None:
        kept = vault.get(tx, organization_id, old) if old else None
        if kept is not None and kept.owner == owner:
            vault.change(tx, organization_id, kept.id, values=draft.secret, owner=owner)
            return
        plain = {name: value for name, value in draft.secret.items() if value is not None}
        made = vault.put(tx, organization_id, name=f"{draft.name}"[:200], values=plain, owner=owner)
        store.update_secret(tx, organization_id, connector_id, made.id)
    elif draft.secret_ref != old:
        if draft.secret_ref is not None:
            vault.refer(tx, organization_id, draft.secret_ref, owner)
        store.update_secret(tx, organization_id, connector_id, draft.secret_ref)
    else:
        return
    if old is not None:
        _let_go(tx, organization_id, old, owner)


def _let_go(tx: Tx, organization_id: int, secret_id: UUID, owner: str) -> None:
    vault.unrefer(tx, organization_id, secret_id, owner)
    if vault.get(tx, organization_id, secret_id).owner == owner:
        vault.delete(tx, organization_id, secret_id, owner=owner)


def get(
    tx: Tx, organization_id: int, connector_id: int, *, agent_id: int | None = None, lock: bool = False
) -> StoredConnector:
    """A connector, of this agent where one is named. Raises `ConnectorNotFound`."""
    found = store.find_connector(tx, organization_id, connector_id, lock=lock)
    if found is None or agent_id not in {None, found.agent_id}:
        raise ConnectorNotFound(f"There is no connector {connector_id} of this agent.")
    return found


def list_connectors(
    tx: Tx, organization_id: int, agent_id: int | None, *, role: Role | None, page: int, per_page: int
) -> Page[Connector]:
    """One page of an agent's connectors, or of all agents'."""
    data, total = store.list_connectors(
        tx, organization_id, agent_id, role=role, limit=per_page, offset=(page - 1) * per_page
    )
    return page_of([item.connector for item in data], page=page, per_page=per_page, total=total)


def reveal(tx: Tx, connector: StoredConnector, purpose: str) -> Mapping[str, str] | None:
    """What opens the other side, to be used now and kept nowhere."""
    if connector.secret_id is None:
        return None
    return dict(vault.reveal(tx, connector.organization_id, connector.secret_id, purpose=purpose))


def delete(tx: Tx, organization_id: int, connector_id: int) -> list[str]:
    """Remove a connector with its ledger and history; the inventory that it brought stays.

    Answers keys of objects for `delete_objects`, once the transaction is through.
    """
    get(tx, organization_id, connector_id)
    sync_store.lock_open(tx, connector_id)  # before the connector, as those do who run them
    found = get(tx, organization_id, connector_id, lock=True)
    keys = [item.object_key for item in sync_store.list_stored(tx, connector_id) if item.object_key]
    for row in sync_store.list_parcels(tx, connector_id):
        keys += parcel_keys(row["status"], row["parcel"])
    _withdraw(tx, found)
    store.delete_connector(tx, organization_id, connector_id)
    if found.secret_id is not None:
        _let_go(tx, organization_id, found.secret_id, owner_of(connector_id))
    if found.inbound_secret_id is not None:
        _let_go(tx, organization_id, found.inbound_secret_id, _inbound_owner_of(connector_id))
    return keys


def parcel_keys(status: str, parcel: Mapping[str, Any]) -> list[str]:
    """Keys of the objects that a sync keeps. A file that was pushed in belongs to the inventory once it was read."""
    pieces = [str(item["object_key"]) for item in parcel.get("pieces", [])]
    return [*pieces, *([str(parcel["raw"])] if "raw" in parcel and status != "COMPLETED" else [])]


def delete_objects(keys: Iterable[str], settings: Settings) -> None:
    """Remove objects that nothing refers to any more; a store that fails is told to the operator only."""
    for key in keys:
        try:
            ObjectStore.of(settings).delete(key)
        except Error as error:
            log.warning("an object was left behind", key=key, detail=error.message)


def _withdraw(tx: Tx, connector: StoredConnector) -> None:
    """Whatever waited for somebody to mend the connector is moot."""
    for kind in (PULL_FAILED, PUSH_FAILED):
        events.withdraw_pending(tx, connector.organization_id, connector.agent_id, kind, key=owner_of(connector.id))


def record_test(tx: Tx, connector: StoredConnector, *, ok: bool) -> None:
    """Note how a test went; a green one activates a connector that failures have paused."""
    store.update_tested(tx, connector.id, ok=ok)
    if connector.secret_id is not None:
        vault.record_test(tx, connector.organization_id, connector.secret_id, ok=ok)
    now = get(tx, connector.organization_id, connector.id, lock=True)
    if ok and now.connector.status == "PAUSED" and now.connector.status_reason:
        store.update_status(tx, connector.id, "ACTIVE", "")
        _withdraw(tx, now)


@dataclass(frozen=True, slots=True)
class InboundSecret:
    """What signs files that are pushed in. The key is in this answer and nowhere else."""

    inbound_url: str
    key: str


def renew_inbound_secret(tx: Tx, connector: StoredConnector, *, overlap_s: float) -> InboundSecret:
    """Make a key for the inbound URL; one that is there stays valid for the overlap."""
    organization_id, owner = connector.organization_id, _inbound_owner_of(connector.id)
    key = new_shared_secret()
    if connector.inbound_secret_id is None:
        name = f"{connector.connector.name} (inbound)"[-200:]
        made = vault.put(tx, organization_id, name=name, values={INBOUND_KEY: key}, owner=owner)
        store.update_inbound_secret(tx, organization_id, connector.id, made.id)
    else:
        vault.rotate(
            tx,
            organization_id,
            connector.inbound_secret_id,
            values={INBOUND_KEY: key},
            overlap_s=overlap_s,
            owner=owner,
        )
    return InboundSecret(HOOK_PATH + connector.hook_id, key)
