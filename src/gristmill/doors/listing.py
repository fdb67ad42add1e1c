"""Lists of the command line: aligned columns for people, lines with tabs for programs; a heading for both."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | int | datetime | None

BREAKS = str.maketrans("\t\r\n\v\f", "     ")
"""A cell stays in its line and column."""


def print_list(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows under their heads to standard output; whole numbers are grouped and on the right for people only."""
    lines = [list(row) for row in rows]
    if not sys.stdout.isatty():
        for line in [list[Cell](heads), *lines]:
            typer.echo("\t".join(_plain(cell) for cell in line))
        return
    columns = [[line[at] for line in lines] for at in range(len(heads))]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head, cells in zip(heads, columns, strict=True):
        number = any(isinstance(cell, int) for cell in cells)
        whole = number or any(isinstance(cell, datetime) for cell in cells)
        table.add_column(Text(head), justify="right" if number else "left", overflow="fold", no_wrap=whole)
    for line in lines:
        # Cells are texts of others: not markup.
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else _plain(cell)) for cell in line))
    Console().print(table)


def _plain(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M}"
    return str(cell).translate(BREAKS)
