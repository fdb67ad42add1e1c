"""Nouns and pure rules of inventory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from gristmill.base.errors import NotFound
from gristmill.tables import Dialect

NAME_CHARS_MAX = 1024

Format = Literal["CSV", "JSON", "JSONL", "XLSX", "PARQUET"]
FORMATS: tuple[Format, ...] = ("CSV", "JSON", "JSONL", "XLSX", "PARQUET")
_WORDS: Mapping[str, Format] = {
    "delimited": "CSV",
    "json": "JSON",
    "jsonl": "JSONL",
    "xlsx": "XLSX",
    "xls": "XLSX",
    "xlsb": "XLSX",
    "ods": "XLSX",
    "parquet": "PARQUET",
}
"""The reader's formats in the words of the API; XLSX stands for all workbooks."""
_ALIKE = ({"JSON", "JSONL"},)
"""Formats that a sender may take for one another."""


class InventoryNotFound(NotFound):
    """There is no such file in the inventory."""


def format_of(dialect: Dialect) -> Format:
    """The format of a file in the words of the API."""
    return _WORDS[dialect.format]


def fits(declared: Format | None, found: Format) -> bool:
    """Whether a file is what it was said to be."""
    return declared in {None, found} or any({declared, found} <= pair for pair in _ALIKE)


@dataclass(frozen=True, slots=True)
class FileColumn:
    """One column of a file."""

    name: str
    """Unique in the file; the key in each row."""
    type: str
    """What the cells look like: `text`, `int`, `email`, ..."""


@dataclass(frozen=True, slots=True)
class FileReceipt:
    """What became of every record of a file: lines = header + preamble + rows + rejects + blank."""

    lines: int
    header: int
    preamble: int
    rows: int
    rejects: int
    """Footers included."""
    footers: int
    """Totals and notes under the table, which are no error."""
    blank: int
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Examined:
    """What one pass over a whole file found."""

    format: Format
    dialect: Dialect
    columns: list[FileColumn]
    receipt: FileReceipt


@dataclass(frozen=True, slots=True)
class Draft:
    """A file that was kept and read, and can become inventory."""

    name: str
    origin: Mapping[str, Any]
    object_key: str
    size_bytes: int
    sha256: str
    examined: Examined


@dataclass(frozen=True, slots=True)
class Inventory:
    """A file that came in for an agent."""

    id: UUID
    agent_id: int
    name: str
    """Of the file, or the key that a connector found it under."""
    origin: dict[str, Any]
    """`{kind: upload}`, or `{kind: connector, connector_id, sync_id, key}`."""
    format: Format
    size_bytes: int
    """As it came, packed or not."""
    sha256: str
    columns: list[FileColumn]
    row_count: int
    reject_count: int
    """Records that are no rows; they can be downloaded with their line and reason."""
    receipt: FileReceipt
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredInventory:
    """A file with what reading it needs."""

    organization_id: int
    inventory: Inventory
    object_key: str
    dialect: Dialect

    @property
    def id(self) -> UUID:
        """The file's id."""
        return self.inventory.id


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """Rows on their way into a batch. Taking them touches no network."""

    name: str
    columns: list[str]
    rows: Iterator[dict[str, Any]]
