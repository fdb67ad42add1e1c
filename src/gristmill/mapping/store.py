"""SQL of mappings: versions are added and never changed."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import asdict
from typing import Any, LiteralString

from psycopg.types.json import Json
from pydantic import TypeAdapter

from gristmill.base.db import Tx
from gristmill.mapping.model import Mapping, StoredMapping

_COLUMNS: LiteralString = "agent_id, version, edited, mapping, created_at"
_MAPPING: TypeAdapter[Mapping] = TypeAdapter(Mapping)


def _stored(row: Dict[str, Any]) -> StoredMapping:
    mapping = _MAPPING.validate_python(row["mapping"])
    return StoredMapping(mapping, row["agent_id"], row["version"], row["edited"], row["created_at"])


def find_mapping(
    tx: Tx, organization_id: int, agent_id: int | None, fieldset: str, fingerprint: str
) -> StoredMapping | None:
    """The newest version for an agent; None for `agent_id` means the organization's own."""
    row = tx.row(
        "SELECT " + _COLUMNS + " FROM column_mapping WHERE organization_id = %s AND agent_id IS NOT DISTINCT FROM %s"
        " AND fieldset = %s AND fingerprint = %s ORDER BY version DESC LIMIT 1",
        (organization_id, agent_id, fieldset, fingerprint),
    )
    return _stored(row) if row else None


def insert_mapping(
    tx: Tx, organization_id: int, agent_id: int | None, mapping: Mapping, *, version: int, edited: bool
) -> StoredMapping | None:
    """A new version; None when somebody else added it just now."""
    row = tx.row(
        "INSERT INTO column_mapping (organization_id, agent_id, fieldset, fingerprint, version, edited, mapping)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING " + _COLUMNS,
        (
            organization_id,
            agent_id,
            mapping.fieldset,
            mapping.fingerprint,
            version,
            edited,
            Json(asdict(mapping)),
        ),
    )
    return _stored(row) if row else None


def find_input_fields(tx: Tx, organization_id: int, agent_id: int) -> list[Any] | None:
    """The input fields of an agent, None when there is no such agent."""
    row = tx.row("SELECT input_fields FROM agent WHERE organization_id = %s AND id = %s", (organization_id, agent_id))
    return row["input_fields"] if row else None
