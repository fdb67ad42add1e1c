"""Verbs of inventory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, BinaryIO
from uuid import UUID

from gristmill import events
from gristmill.base.config import Settings
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.ids import uuid7
from gristmill.base.log import get_log
from gristmill.base.objects import ObjectStore, Stored
from gristmill.base.paging import CursorPage, cursor_page, uuid_cursor
from gristmill.inventory import store
from gristmill.inventory.model import NAME_CHARS_MAX, Draft, Inventory, InventoryNotFound, StoredInventory

log = get_log("inventory")

ADDED = "agent.inventory.added"
"""Kind of the event that tells of a new file, in the transaction that adds it."""


def keep(settings: Settings, organization_id: int, agent_id: int, data: Iterable[bytes] | BinaryIO) -> Stored:
    """Write an uploaded file to the object store. It becomes inventory by `add`, or goes by `delete_object`."""
    key = f"inventory/{organization_id}/{agent_id}/{uuid7()}"
    return ObjectStore.of(settings).put_stream(key, data)


def add(tx: Tx, organization_id: int, agent_id: int, draft: Draft) -> Inventory:
    """Make a file that was kept and read an agent's inventory, and tell of it."""
    return add_all(tx, organization_id, agent_id, [draft])[0]


def add_all(tx: Tx, organization_id: int, agent_id: int, drafts: Sequence[Draft]) -> list[Inventory]:
    """The same with several files of an agent."""
    files = list(map(_identified, drafts))
    store.insert_inventory(tx, organization_id, agent_id, files)
    made = [_made(inventory_id, agent_id, draft, tx.now) for inventory_id, draft in files]
    events.emit_all(tx, organization_id, ADDED, [(f"inventory:{item.id}", _facts(item)) for item in made])
    return made


def _identified(draft: Draft) -> tuple[UUID, Draft]:
    """A new id, and the draft with a name that the database can hold."""
    inventory_id = uuid7()
    name = draft.name.replace("\x00", "\N{REPLACEMENT CHARACTER}")[-NAME_CHARS_MAX:]
    return inventory_id, replace(draft, name=name or str(inventory_id))


def _made(inventory_id: UUID, agent_id: int, draft: Draft, now: datetime) -> Inventory:
    found = draft.examined
    return Inventory(
        inventory_id, agent_id, draft.name, dict(draft.origin), found.format, draft.size_bytes, draft.sha256,
        found.columns, found.receipt.rows, found.receipt.rejects, found.receipt, now,
    )  # fmt: skip


def _facts(made: Inventory) -> dict[str, Any]:
    return {
        "inventory_id": str(made.id),
        "agent_id": made.agent_id,
        "name": made.name,
        "origin": made.origin,
        "size_bytes": made.size_bytes,
        "rows": made.row_count,
        "rejects": made.reject_count,
    }


def get(tx: Tx, organization_id: int, inventory_id: UUID, *, agent_id: int | None = None) -> StoredInventory:
    """A file, of this agent where one is named. Raises `InventoryNotFound`."""
    found = store.find_inventory(tx, organization_id, inventory_id)
    if found is None or agent_id not in {None, found.inventory.agent_id}:
        raise InventoryNotFound(f"There is no file {inventory_id} in the inventory.")
    return found


def list_inventory(
    tx: Tx, organization_id: int, agent_id: int, *, cursor: str | None, limit: int
) -> CursorPage[Inventory]:
    """Files of an agent, newest first."""
    found = store.list_inventory(tx, organization_id, agent_id, before=uuid_cursor(cursor), limit=limit + 1)
    return cursor_page(found, limit, lambda item: str(item.id))


def move(tx: Tx, inventory_id: UUID, *, to_organization_id: int, agent_id: int) -> None:
    """Give a file to another organization and its agent; its bytes stay where they are (system transaction)."""
    store.update_owner(tx, inventory_id, organization_id=to_organization_id, agent_id=agent_id)


def delete(tx: Tx, organization_id: int, inventory_id: UUID) -> str:
    """Remove a file; answers the key for `delete_object`, once the transaction is through. Batches keep their rows."""
    key = store.delete_inventory(tx, organization_id, inventory_id)
    if key is None:
        raise InventoryNotFound(f"There is no file {inventory_id} in the inventory.")
    return key


def delete_object(key: str, settings: Settings) -> None:
    """Remove bytes that are no inventory any more; a store that fails is told to the operator only."""
    try:
        ObjectStore.of(settings).delete(key)
    except Error as error:
        log.warning("an object was left behind", key=key, detail=error.message)
