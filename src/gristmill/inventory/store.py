"""SQL of inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json
from pydantic import TypeAdapter

from gristmill.base.db import Tx
from gristmill.inventory.model import Draft, FileColumn, FileReceipt, Inventory, StoredInventory
from gristmill.tables import Dialect

_COLUMNS: LiteralString = (
    "id, organization_id, agent_id, name, origin, object_key, size_bytes, sha256, format, dialect, columns, row_count,"
    " reject_count, receipt, created_at"
)
_DIALECT: TypeAdapter[Dialect] = TypeAdapter(Dialect)


def _inventory(row: Mapping[str, Any]) -> Inventory:
    copied = ("id", "agent_id", "name", "origin", "format", "size_bytes", "sha256", "row_count", "reject_count",
              "created_at")  # fmt: skip
    return Inventory(
        **{name: row[name] for name in copied},
        columns=[FileColumn(**item) for item in row["columns"]],
        receipt=FileReceipt(**row["receipt"]),
    )


def insert_inventory(tx: Tx, organization_id: int, agent_id: int, files: Sequence[tuple[UUID, Draft]]) -> None:
    """New files of an agent."""
    tx.run_each(
        "INSERT INTO inventory (id, organization_id, agent_id, name, origin, object_key, size_bytes, sha256, format,"
        " dialect, columns, row_count, reject_count, receipt) VALUES (%(id)s, %(org)s, %(agent)s, %(name)s, %(origin)s,"
        " %(object_key)s, %(size)s, %(sha256)s, %(format)s, %(dialect)s, %(columns)s, %(rows)s, %(rejects)s,"
        " %(receipt)s)",
        [
            {
                "id": inventory_id,
                "org": organization_id,
                "agent": agent_id,
                "name": draft.name,
                "origin": Json(dict(draft.origin)),
                "object_key": draft.object_key,
                "size": draft.size_bytes,
                "sha256": draft.sha256,
                "format": draft.examined.format,
                "dialect": Json(draft.examined.dialect),
                "columns": Json(draft.examined.columns),
                "rows": draft.examined.receipt.rows,
                "rejects": draft.examined.receipt.rejects,
                "receipt": Json(draft.examined.receipt),
            }
            for inventory_id, draft in files
        ],
    )


def find_inventory(tx: Tx, organization_id: int, inventory_id: UUID) -> StoredInventory | None:
    """A file by id."""
    row = tx.row(
        "SELECT " + _COLUMNS + " FROM inventory WHERE organization_id = %s AND id = %s",
        (organization_id, inventory_id),
    )
    if row is None:
        return None
    return StoredInventory(
        row["organization_id"], _inventory(row), row["object_key"], _DIALECT.validate_python(row["dialect"])
    )


def list_inventory(tx: Tx, organization_id: int, agent_id: int, *, before: UUID | None, limit: int) -> list[Inventory]:
    """Files of an agent, newest first."""
    rows = tx.rows(
        "SELECT " + _COLUMNS + " FROM inventory WHERE organization_id = %(org)s AND agent_id = %(agent)s"
        " AND (%(before)s::uuid IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "agent": agent_id, "before": before, "limit": limit},
    )
    return [_inventory(row) for row in rows]


def update_owner(tx: Tx, inventory_id: UUID, *, organization_id: int, agent_id: int) -> None:
    """Give a file to another organization and its agent (system transaction)."""
    tx.run(
        "UPDATE inventory SET organization_id = %s, agent_id = %s WHERE id = %s",
        (organization_id, agent_id, inventory_id),
    )


def delete_inventory(tx: Tx, organization_id: int, inventory_id: UUID) -> str | None:
    """Remove a file; answers the key of its object."""
    row = tx.row(
        "DELETE FROM inventory WHERE organization_id = %s AND id = %s RETURNING object_key",
        (organization_id, inventory_id),
    )
    return row["object_key"] if row else None
