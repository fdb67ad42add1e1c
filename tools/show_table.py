# ruff: noqa: INP001 - a script, not a package
"""Show the first rows of a results file: a telling column of the user's, the status, and what the agent found.

python tools/show_table.py out/demo.csv [ROWS]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROWS = 8
CHARS = 28
"""Columns with longer cells, such as ids and addresses of pages, say little at a glance."""
OWN_COLUMNS = 1
FACTS = "row_number", "status", "charge_usd", "error_code", "error"


def main(path: Path, rows: int) -> None:
    """Print the table."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = list(csv.reader(file))
    facts = head.index(FACTS[0])
    own = [index for index in range(facts) if _telling([line[index] for line in lines])][:OWN_COLUMNS]
    found = [index for index in range(facts + len(FACTS), len(head)) if any(line[index] for line in lines)]
    table = Table(title=f"First {min(rows, len(lines))} of {len(lines)} rows", title_justify="left")
    shown = [*own, facts + 1, *found]
    for index in shown:
        table.add_column(head[index], no_wrap=True, overflow="ellipsis", max_width=CHARS)
    for line in lines[:rows]:
        table.add_row(*(line[index] for index in shown))
    Console(width=max(124, Console().width)).print(table)


def _telling(cells: list[str]) -> bool:
    return len(set(cells)) > len(cells) / 2 and max(map(len, cells), default=0) <= CHARS * 2 and _short(cells)


def _short(cells: list[str]) -> bool:
    return sum(map(len, cells)) / max(len(cells), 1) <= CHARS


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROWS)  # noqa: PLR2004 - the optional argument
