"""Records -> rows: fit each record to the columns, and sort out what is none.

A record is kept whenever it can be understood. Too few cells: filled up with empty ones. Too many cells:
empty ones are dropped; an unquoted delimiter in the last column is mended when the cells before it fit
their columns; otherwise the cells can't be told apart and the record is a reject with its bytes.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from operator import itemgetter
from typing import NamedTuple

from gristmill.tables.delimiters import normalize_newlines
from gristmill.tables.formulas import unguard
from gristmill.tables.infer import shape
from gristmill.tables.layout import FOOTER_RECORDS_MAX, Tail, count_footers, is_blank, is_rule
from gristmill.tables.model import REJECT_BYTES_MAX, Column, Dialect, Reject, RowGroup
from gristmill.tables.pieces import Piece, has_broken_bytes
from gristmill.tables.records import Block
from gristmill.tables.table import Log

COMMENT_REASON = "A comment."
RULE_REASON = "A line under the header."
QUOTES_NOTE = "A record has quotes that are not closed or not doubled; they were taken as text."
NUL_REASON = "The record has NUL characters."
END_OF_FILE = "\x1a"
"""How DOS ends a text."""
_REPAIRABLE = frozenset(("utf-8", "utf-8-sig", "cp1252"))


class Fitted(NamedTuple):
    """Rows of one piece."""

    rows: list[list[str]]
    indexes: MutableSequence[int] | range
    """Index of each among the piece's records."""
    gaps: set[int]
    """Rows that have a blank record before them."""


class Fitting:
    """One reading from start to end."""

    def __init__(self, dialect: Dialect, columns: tuple[Column, ...], log: Log) -> None:
        self.log, self.dialect, self.columns = log, dialect, columns
        self.width = len(columns)
        self.skip = self.dialect.preamble
        self.header_due = self.rule_due = dialect.header
        self.tail: list[Tail] = []
        self.yielded = 0
        self.last_is_blank = False
        kinds = [column.type for column in columns]
        self.typed = [index for index, kind in enumerate(kinds[:-1]) if kind != "text"]
        self.last_is_text = bool(kinds) and kinds[-1] == "text"

    def add(self, piece: Piece) -> RowGroup | None:
        """The rows that are surely no footers; the last ones wait."""
        lines, rows, self.tail = self.fit(piece)
        self.yielded += len(lines)
        return RowGroup(lines, rows) if lines else None

    def release(self, more: int) -> RowGroup | None:
        """The rows that wait, since they are no footers: so many more rows were read elsewhere."""
        waiting, self.tail = self.tail, []
        self.yielded += len(waiting) + more
        self.last_is_blank = False
        return _group(waiting)

    def finish(self) -> RowGroup | None:
        """The rows that wait, without the footers among them."""
        if self.tail and "".join(self.tail[-1].row) == END_OF_FILE:
            self.tail.pop()
            self.log.blank += 1
        footers = count_footers(self.tail, self.yielded)
        kept = self.tail[: len(self.tail) - footers]
        for item in self.tail[len(kept) :]:
            self.reject(item.line, item.raw, "A total or a note under the table.", footer=True)
        return _group(kept)

    def fit(self, piece: Piece) -> tuple[list[int], list[list[str]], list[Tail]]:
        """Rows that are surely no footers, and the new tail."""
        block = piece.block
        if piece.blank:
            self.log.blank += piece.blank
            self.skip = max(0, self.skip - piece.blank)
            self.last_is_blank = True
            return [], [], self.tail
        if piece.has_broken_bytes:
            self.log.note(f"Some bytes are not valid {self.dialect.encoding} and were repaired.", piece.first_line)
        if block.malformed:
            line = piece.first_line + block.starts[block.malformed[0]]
            self.log.note(QUOTES_NOTE, line, times=len(block.malformed))
        index = self.skip_top(block, piece.first_line)
        new = self.take(piece, index) if self.is_plain(piece, index) else self.settle_all(piece, index)
        kept = len(self.tail)
        lines = [*(item.line for item in self.tail), *(piece.first_line + block.starts[i] for i in new.indexes)]
        rows = [*(item.row for item in self.tail), *new.rows]
        cut = max(0, len(rows) - FOOTER_RECORDS_MAX)
        tail = self.tail[cut:]
        for place in range(max(0, cut - kept), len(new.rows)):
            index = new.indexes[place]
            tail.append(
                Tail(lines[kept + place], new.rows[place], block.raw(index), len(block.rows[index]), place in new.gaps)
            )
        return lines[:cut], rows[:cut], tail

    def is_plain(self, piece: Piece, index: int) -> bool:
        """Whether every record from here on is a row as it is: the common case, judged without a loop of our own."""
        if piece.has_nul or piece.needs_repair or piece.has_guards or self.dialect.comment:
            return False
        rows = piece.block.rows[index:]
        return set(map(len, rows)) <= {self.width} and all(map(str.strip, map(itemgetter(0), rows)))

    def take(self, piece: Piece, index: int) -> Fitted:
        """All records from here on, as they are."""
        gaps: set[int] = {0} if self.last_is_blank else set()
        rows = piece.block.rows[index:]
        self.last_is_blank = self.last_is_blank and not rows
        return Fitted(rows, range(index, len(piece.block.rows)), gaps)

    def settle_all(self, piece: Piece, index: int) -> Fitted:
        """Every record from here on, looked at by itself."""
        block, width = piece.block, self.width
        careful = piece.has_nul or piece.needs_repair or piece.has_guards or bool(self.dialect.comment)
        indexes: list[int] = []
        new = Fitted([], indexes, set())
        for place in range(index, len(block.rows)):
            row = block.rows[place]
            if len(row) != width or careful or not row[0].strip():
                fitted = self.settle(row, block, place, piece)
                if fitted is None:
                    self.last_is_blank = is_blank(row)
                    continue
                row = fitted
            if self.last_is_blank:
                new.gaps.add(len(new.rows))
                self.last_is_blank = False
            new.rows.append(row)
            indexes.append(place)
        return new

    def skip_top(self, block: Block, first_line: int) -> int:
        """Count preamble, header and a line under it; the index of the first record below them."""
        index = 0
        while index < len(block.rows) and (self.skip or self.header_due):
            row = block.rows[index]
            if is_blank(row):
                self.log.blank += 1
            elif self.is_comment(row, block, index):
                self.reject(first_line + block.starts[index], block.raw(index), COMMENT_REASON, footer=True)
            elif self.skip:
                self.log.preamble += 1
            else:
                self.log.header += 1
                self.header_due = False
            self.skip = max(0, self.skip - 1)
            index += 1
        if self.rule_due and index < len(block.rows):
            self.rule_due = False
            if is_rule(block.rows[index]):
                self.reject(first_line + block.starts[index], block.raw(index), RULE_REASON, footer=True)
                index += 1
        return index

    def settle(self, row: list[str], block: Block, index: int, piece: Piece) -> list[str] | None:
        """The row fitted to the columns; None when it was counted as blank or reject."""
        line = piece.first_line + block.starts[index]
        if is_blank(row):
            self.log.blank += 1
        elif self.is_comment(row, block, index):
            self.reject(line, block.raw(index), COMMENT_REASON, footer=True)
        elif piece.has_nul and any("\0" in cell for cell in row):
            self.reject(line, block.raw(index), NUL_REASON)
        else:
            if piece.needs_repair:
                row = repaired(row, self.dialect)
            if piece.has_guards:
                row = [unguard(cell) for cell in row]
            fitted = self.widen(row, line)
            if fitted is None:
                self.reject(line, block.raw(index), f"{len(row)} cells where the table has {self.width} columns.")
            return fitted
        return None

    def widen(self, row: list[str], line: int) -> list[str] | None:
        """The row with as many cells as there are columns; None when that can't be."""
        extra = len(row) - self.width
        if extra < 0:
            self.log.note("A row with too few cells was filled up with empty ones.", line)
            return row + [""] * -extra
        if extra and not any(cell.strip() for cell in row[self.width :]):
            return row[: self.width]
        return self.mend(row, line) if extra else row

    def is_comment(self, row: list[str], block: Block, index: int) -> bool:
        """Whether the line starts as comments do; a quoted cell that starts so is none."""
        mark = self.dialect.comment
        return bool(mark) and row[0].lstrip().startswith(mark) and block.raw(index).lstrip().startswith(mark)

    def mend(self, row: list[str], line: int) -> list[str] | None:
        """Join what the last column's own delimiters tore apart, when the cells before are in place."""
        if not self.last_is_text or not self.typed:
            return None
        if any(not _fits(row[index], self.columns[index].type) for index in self.typed):
            return None
        self.log.note("A row with unquoted delimiters in its last cell was mended.", line)
        return [*row[: self.width - 1], self.dialect.delimiter.join(row[self.width - 1 :])]

    def reject(self, line: int, raw: str, reason: str, *, footer: bool = False) -> None:
        """Count a record that is no row, and keep its bytes as they were."""
        text = normalize_newlines(raw, "\r") if self.dialect.newline == "\r" else raw
        text, encoding = text[:REJECT_BYTES_MAX], self.dialect.encoding.removesuffix("-sig")
        try:
            data = text.encode(encoding, "surrogateescape")
        except UnicodeEncodeError:  # what was replaced while decoding has no bytes of its own
            data = text.encode(encoding, "replace")
        self.log.reject(Reject(line, data[:REJECT_BYTES_MAX], reason, "footer" if footer else "malformed"))


def _group(items: list[Tail]) -> RowGroup | None:
    return RowGroup([item.line for item in items], [item.row for item in items]) if items else None


def _fits(cell: str, kind: str) -> bool:
    found = shape(cell)
    numbers = ("int", "float", "phone", "zip", "amount")
    return found in ("", kind) or (kind in numbers and found in numbers)


def repaired(row: list[str], dialect: Dialect) -> list[str]:
    r"""Cells with undecodable bytes read as cp1252, which is what stray bytes in UTF-8 mostly are.

    Where records end in `\r` alone, `\n` inside cells gets its own character back.
    """
    if dialect.newline == "\r":
        row = [cell.replace("\r", "\n") for cell in row]
    return [cell if cell.isascii() else _repair(cell, dialect.encoding) for cell in row]


def _repair(cell: str, encoding: str) -> str:
    if not has_broken_bytes(cell):
        return cell
    repaired: list[str] = []
    for char in cell:
        if not "\ud800" <= char <= "\udfff":
            repaired.append(char)
        elif encoding in _REPAIRABLE and "\udc80" <= char <= "\udcff":
            byte = bytes([ord(char) - 0xDC00])
            try:
                repaired.append(byte.decode("cp1252"))
            except UnicodeDecodeError:
                repaired.append(byte.decode("latin-1"))
        else:
            repaired.append("\ufffd")
    return "".join(repaired)
