"""A look at a file: how it is read, what its columns hold, and what became of every record. Nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gristmill.tables import Dialect, Hints, Receipt, Reject, Table, read_table

SAMPLES = 3
SAMPLE_CHARS_MAX = 200
ROWS_DEFAULT = 10
ROWS_MAX = 100
REJECTS_SHOWN = 100
CELL_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class InspectedColumn:
    """One column of a file."""

    name: str
    """Unique in the file: `name`, `name_2`; `column_3` where the header is empty."""
    original: str
    """The header cell as in the file; empty where there is none."""
    type: str
    """What the cells look like. Cells stay text."""
    samples: list[str]
    """The first different values."""


@dataclass(frozen=True, slots=True)
class InspectedReject:
    """A record that is no row."""

    line: int
    """1-based line where it starts; of a sheet its row."""
    text: str
    """The record, cut when it is long."""
    reason: str
    kind: str
    """`malformed`, or `footer` for totals and notes under the table."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """How a file is read."""

    format: str
    dialect: Dialect
    """How the file is read, with the confidence of every guess."""
    header: list[str] | None
    """The header cells as in the file; null when it has none."""
    columns: list[InspectedColumn]
    rows: list[list[str]]
    """The first rows, long cells cut."""
    rejects: list[InspectedReject]
    """The first records that are no rows; the receipt counts all."""
    receipt: Receipt
    """Of the whole file: lines = header + preamble + rows + rejects + blank."""
    fingerprint: str
    """Equal for equal headers, whatever their case, spacing and punctuation."""


def inspect(source: Path | BinaryIO | bytes, *, rows: int, hints: Hints, sheet: str | int | None = None) -> Inspection:
    """Read a file from end to end with flat memory. Raises what `read_table` raises."""
    table = read_table(source, dialect=hints, sheet=sheet)
    records = table.records()
    first = list(islice(records, max(rows, ROWS_DEFAULT)))
    for _ in records:
        pass
    return Inspection(
        format=table.dialect.format,
        dialect=table.dialect,
        header=table.header,
        columns=_columns(table, first),
        rows=[[cell[:CELL_CHARS_MAX] for cell in row] for row in first[:rows]],
        rejects=[_reject(item) for item in table.rejects[:REJECTS_SHOWN]],
        receipt=table.receipt,
        fingerprint=table.fingerprint,
    )


def _reject(item: Reject) -> InspectedReject:
    text = item.raw.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return InspectedReject(item.line, text[:CELL_CHARS_MAX], item.reason, item.kind)


def _columns(table: Table, rows: list[list[str]]) -> list[InspectedColumn]:
    found: list[InspectedColumn] = []
    for column in table.columns:
        cells = (row[column.index].strip() for row in rows)
        distinct = list(dict.fromkeys(cell[:SAMPLE_CHARS_MAX] for cell in cells if cell))
        found.append(InspectedColumn(column.name, column.original, column.type, distinct[:SAMPLES]))
    return found
