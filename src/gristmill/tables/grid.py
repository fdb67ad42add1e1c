"""A sheet as a table: where it starts, its columns, its footers. Sheets are rows of text cells with row numbers.

Layout is found by the rules that delimited text has. A sheet's cells lie where they lie, so every column in which the
sampled rows have text is a column of the table, with or without a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from gristmill.tables.infer import SAMPLE_ROWS, infer
from gristmill.tables.layout import (
    BODY_RECORDS,
    FOOTER_RECORDS_MAX,
    PREAMBLE_RECORDS_MAX,
    Tail,
    count_footers,
    detect_layout,
)
from gristmill.tables.model import (
    REJECT_BYTES_MAX,
    Column,
    Dialect,
    Hints,
    Reject,
    RowGroup,
    Sheet,
    TooLargeToRead,
    Unreadable,
    unique_names,
)
from gristmill.tables.table import Log

COLUMNS_MAX = 16_384
"""Columns of a sheet; what Excel allows."""
CELLS_MAX = 256 * 1024 * 1024
"""Rows times columns of the smallest rectangle around all cells: a sheet with two far corners is no table."""
HEAD_ROWS = PREAMBLE_RECORDS_MAX + BODY_RECORDS + SAMPLE_ROWS
"""Rows that layout, columns and types are found from."""


class GridRow(NamedTuple):
    """A row of a sheet with text in it: a row of blanks only is none."""

    number: int
    """1-based row of the sheet."""
    cells: list[str]
    """Up to the last cell with text."""


class Grid(Protocol):
    """An open workbook with one sheet chosen."""

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """All sheets with cells, in the workbook's order."""
        ...

    @property
    def sheet(self) -> str:
        """The sheet that is read."""
        ...

    def rows(self, log: Log) -> Iterator[list[GridRow]]:
        """The rows from the first, some at a time, numbers rising. Raises Unreadable and TooLargeToRead."""
        ...

    def outer_column(self) -> int:
        """How many columns the workbook says that the sheet has; 0 where it does not say."""
        ...


class GridReader:
    """Reads one sheet."""

    def __init__(self, grid: Grid, dialect: Dialect, hints: Hints | None) -> None:
        """`hints` is None when the whole dialect was given. Raises Unreadable for a workbook without any text."""
        self._grid = grid
        self.sheets = grid.sheets
        head, is_whole = self._read_head()
        self.dialect = dialect if hints is None else _find_layout(dialect, head, hints)
        self.dialect = replace(self.dialect, sheet=grid.sheet)
        body = [row for row in head if row.number > self.dialect.preamble]
        self.header: list[str] | None = body.pop(0).cells if self.dialect.header and body else None
        sample = [row.cells for row in body[:SAMPLE_ROWS]]
        width = max((len(cells) for cells in [self.header or [], *(row.cells for row in body)]), default=0)
        if not is_whole and grid.outer_column() > width:
            width = max(width, self._widest())
        _check_box(width, 1)
        originals = [*(self.header or []), *[""] * (width - len(self.header or []))]
        self.columns = tuple(
            Column(name, original, index, infer((cells[index] for cells in sample if index < len(cells)), original))
            for index, (name, original) in enumerate(zip(unique_names(originals), originals, strict=True))
        )

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """See table.Reader."""
        return _Pass(self, log).groups()

    def blocks(self, log: Log) -> Iterator[list[GridRow]]:
        """The rows of the sheet as they are, some at a time."""
        return self._grid.rows(log)

    def _read_head(self) -> tuple[list[GridRow], bool]:
        head: list[GridRow] = []
        for block in self._grid.rows(Log()):
            head += block
            if len(head) >= HEAD_ROWS:
                return head, False
        if not head:
            raise Unreadable("The sheet is empty.")
        return head, True

    def _widest(self) -> int:
        """Columns that have text anywhere below the preamble. The workbook's own word may count empty ones."""
        return max(
            len(row.cells) for block in self._grid.rows(Log()) for row in block if row.number > self.dialect.preamble
        )


def _find_layout(dialect: Dialect, head: list[GridRow], hints: Hints) -> Dialect:
    """Preamble and header. Blank rows of the sheet count as records, as they do in text."""
    given = hints.get("preamble")
    records: list[list[str]] = []
    numbers: list[int] = []
    last = head[0].number - 1 if given is None else given
    for number, cells in head:
        if number <= last:
            continue
        gap = min(number - last - 1, PREAMBLE_RECORDS_MAX)
        records += [[]] * gap
        numbers += [last] * gap
        records.append(cells)
        numbers.append(number)
        last = number
    # Sheets have no ragged rows: every row is as wide as the sheet, filled or not.
    width = max(map(len, records), default=0)
    square = [cells + [""] * (width - len(cells)) for cells in records[: PREAMBLE_RECORDS_MAX + BODY_RECORDS]]
    layout = detect_layout(square, None if given is None else 0, header=hints.get("header"))
    start = numbers[layout.preamble] - 1 if layout.preamble < len(numbers) else last
    confidence = {"preamble": layout.preamble_confidence, "header": layout.header_confidence}
    return replace(
        dialect,
        preamble=start if given is None else given,
        header=layout.header,
        confidence={**dialect.confidence, **confidence},
    )


def _check_box(width: int, height: int) -> None:
    if width > COLUMNS_MAX:
        raise TooLargeToRead(f"The sheet has more than {COLUMNS_MAX} columns.", limit=COLUMNS_MAX)
    if width * height > CELLS_MAX:
        raise TooLargeToRead(
            f"The sheet has {height} rows and {width} columns, more than {CELLS_MAX} cells.", limit=CELLS_MAX
        )


class _Pass:
    """One reading from start to end."""

    def __init__(self, reader: GridReader, log: Log) -> None:
        self.reader, self.log = reader, log
        self.width = len(reader.columns)
        self.preamble = reader.dialect.preamble
        self.header_due = reader.dialect.header
        self.number = 0
        self.widest = 0
        self.lines: list[int] = []
        self.rows: list[list[str]] = []
        self.gaps: set[int] = set()
        """Numbers of rows with a blank one before them."""

    def groups(self) -> Iterator[RowGroup]:
        yielded = 0
        for block in self.reader.blocks(self.log):
            self.take(block)
            cut = max(0, len(self.rows) - FOOTER_RECORDS_MAX)
            if cut:
                yielded += cut
                yield RowGroup(self.lines[:cut], self.rows[:cut])
                self.lines, self.rows = self.lines[cut:], self.rows[cut:]
                self.gaps = {number for number in self.gaps if number >= self.lines[0]}
        # Cells between the last filled one and the edge of the sheet are no sign of a note: all rows have them.
        tail = [
            Tail(line, row, "", self.width, line in self.gaps) for line, row in zip(self.lines, self.rows, strict=True)
        ]
        kept = len(tail) - count_footers(tail, yielded)
        for item in tail[kept:]:
            self.reject(item.line, item.row, "A total or a note under the table.", footer=True)
        if kept:
            yield RowGroup(self.lines[:kept], self.rows[:kept])

    def take(self, block: list[GridRow]) -> None:
        """Sort the rows of a block into what they are, as wide as the table."""
        index = 0
        while index < len(block) and (self.header_due or block[index].number <= self.preamble):
            self.skip(block[index])
            index += 1
        if index == len(block):
            return
        rest = block[index:] if index else block
        last = rest[-1].number
        widest = max(len(row.cells) for row in rest)
        self.widest = max(self.widest, widest)
        _check_box(self.widest, last)
        if last - self.number == len(rest) and widest <= self.width:
            # The common case: no blank row among them, none too wide.
            self.lines += range(self.number + 1, last + 1)
            self.rows += [self.padded(cells) for _, cells in rest]
        else:
            for number, cells in rest:
                self.settle(number, cells)
        self.log.physical_lines = self.number = last

    def skip(self, row: GridRow) -> None:
        """A row of the preamble, or the header."""
        self.log.blank += row.number - self.number - 1
        self.log.physical_lines = self.number = row.number
        if row.number <= self.preamble:
            self.log.preamble += 1
        else:
            self.log.header += 1
            self.header_due = False

    def settle(self, number: int, cells: list[str]) -> None:
        """One row, with whatever blank ones are before it."""
        gap = number - self.number - 1
        self.log.blank += gap
        self.number = number
        if len(cells) > self.width:
            self.reject(number, cells, f"{len(cells)} cells where the table has {self.width} columns.")
            return
        if gap:
            self.gaps.add(number)
        self.lines.append(number)
        self.rows.append(self.padded(cells))

    def padded(self, cells: list[str]) -> list[str]:
        """The row with a cell for every column."""
        return cells if len(cells) == self.width else cells + [""] * (self.width - len(cells))

    def reject(self, number: int, cells: list[str], reason: str, *, footer: bool = False) -> None:
        raw = "\t".join(cells)[:REJECT_BYTES_MAX].encode("utf-8", "replace")[:REJECT_BYTES_MAX]
        self.log.reject(Reject(number, raw, reason, "footer" if footer else "malformed"))
