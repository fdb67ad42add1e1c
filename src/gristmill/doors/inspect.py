"""`gristmill inspect`: how a file is read, before anything is made of it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill.base import jsons
from gristmill.sources.inspection import Inspection, inspect
from gristmill.tables import Dialect, Hints

CELL_CHARS = 30
COLUMN_WIDTH = 16
"""Characters of the terminal's width for each column that is shown."""
REJECTS_SHOWN = 5
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "blanks"}


def inspect_file(file: Path, *, rows: int, sheet: str | None, as_json: bool) -> None:
    """Read a file from end to end and print what was found: for people, or as JSON."""
    found = inspect(file, rows=rows, hints=Hints(), sheet=sheet)
    if as_json:
        sys.stdout.buffer.write(jsons.dumps(asdict(found)) + b"\n")
        return
    console = Console()
    console.print(Text(_told(found)))
    console.print(_columns(found))
    if found.rows:
        console.print(_rows(found, console.width))
    for item in found.rejects[:REJECTS_SHOWN]:
        console.print(Text(f"Line {item.line} is no row: {item.reason}", style="yellow"))
    receipt = found.receipt
    console.print(
        Text(
            f"{receipt.lines:,} records = {receipt.header} header + {receipt.preamble} preamble + {receipt.rows:,} rows"
            f" + {receipt.rejects:,} rejects + {receipt.blank:,} blank"
        )
    )
    for warning in receipt.warnings:
        console.print(Text(warning, style="yellow"))


def cut(text: str, most: int) -> str:
    """A cell on one line, with a mark where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _told(found: Inspection) -> str:
    dialect = found.dialect
    parts = [found.format if found.format != "delimited" else "Delimited text"]
    if dialect.compression:
        parts.append(dialect.compression)
    if found.format == "delimited":
        parts += [
            f"encoding {dialect.encoding}{_sure(dialect, 'encoding')}",
            f"delimiter {NAMES.get(dialect.delimiter, repr(dialect.delimiter))}{_sure(dialect, 'delimiter')}",
            "header" if dialect.header else "no header",
        ]
    if dialect.sheet:
        parts.append(f"sheet {dialect.sheet}")
    return ", ".join(parts)


def _sure(dialect: Dialect, field: str) -> str:
    confidence = dialect.confidence.get(field)
    return "" if confidence is None else f" ({confidence:.0%} sure)"


def _columns(found: Inspection) -> Table:
    table = Table("column", "looks like", "samples")
    for column in found.columns:
        samples = ", ".join(cut(text, CELL_CHARS) for text in column.samples)
        table.add_row(Text(column.name), column.type, Text(samples))
    return table


def _rows(found: Inspection, width: int) -> Table:
    shown = found.columns[: max(1, width // COLUMN_WIDTH)]
    left = len(found.columns) - len(shown)
    table = Table(caption=f"{left} more columns" if left else None)
    for column in shown:
        table.add_column(Text(column.name[:CELL_CHARS]), overflow="ellipsis", no_wrap=True)
    for row in found.rows:
        table.add_row(*(Text(cut(cell, CELL_CHARS)) for cell in row[: len(shown)]))
    return table
