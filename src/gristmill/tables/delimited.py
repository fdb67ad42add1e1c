"""Delimited text as a stream of rows: decode, split into records, fit each record to the columns.

A record is kept whenever it can be understood. Too few cells: filled up with empty ones. Too many cells:
empty ones are dropped; an unquoted delimiter in the last column is mended when the cells before it fit
their columns; otherwise the cells can't be told apart and the record is a reject with its bytes. Cells
that a fair share of the sampled rows have beyond the header are columns of their own.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, NamedTuple

from gristmill.tables.delimiters import normalize_newlines
from gristmill.tables.formulas import may_be_guarded, unguard
from gristmill.tables.infer import SAMPLE_ROWS, infer, shape
from gristmill.tables.layout import FOOTER_RECORDS_MAX, Tail, count_footers, is_blank, table_width
from gristmill.tables.model import (
    REJECT_BYTES_MAX,
    Column,
    Dialect,
    Reject,
    RowGroup,
    TooLargeToRead,
    unique_names,
)
from gristmill.tables.records import QUOTED_CHARS_MAX, RECORD_CHARS_MAX, Block, Grammar, split_records
from gristmill.tables.source import Source
from gristmill.tables.table import Log

COLUMNS_MAX = 16_384
"""Columns a table may have."""
COMMENT_REASON = "A comment."
NUL_REASON = "The record has NUL characters."
_REPAIRABLE = frozenset(("utf-8", "utf-8-sig", "cp1252"))


def without_comments(rows: list[list[str]], comment: str) -> list[list[str]]:
    """The rows with blank ones in place of comments."""
    if not comment:
        return rows
    return [[] if row and row[0].lstrip().startswith(comment) else row for row in rows]


class Piece(NamedTuple):
    """Records of one stretch of text and what is true for all of them."""

    block: Block
    first_line: int
    has_nul: bool
    needs_repair: bool
    has_broken_bytes: bool
    has_guards: bool
    blank: int = 0
    """Blank lines, when there is nothing else: a file may have millions of them."""


class Fitted(NamedTuple):
    """Rows of one piece."""

    rows: list[list[str]]
    indexes: Any
    """Index of each among the piece's records."""
    gaps: set[int]
    """Rows that have a blank record before them."""


class DelimitedReader:
    """Reads one delimited file as its dialect says."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        """Raises TooLargeToRead for a header beyond COLUMNS_MAX."""
        self._source = source
        self.dialect = dialect
        self.header: list[str] | None = None
        self.columns: tuple[Column, ...] = ()
        self._width = 0
        self._read_head()

    def _grammar(self) -> Grammar:
        dialect = self.dialect
        return Grammar(dialect.delimiter, dialect.quote, dialect.escape, dialect.skip_initial_space, self._width)

    def _read_head(self) -> None:
        text = decode_head(self._source.head, self.dialect.encoding, is_whole=self._source.is_whole)
        block = split_records(
            normalize_newlines(text, self.dialect.newline), self._grammar(), is_last=self._source.is_whole
        )
        rows = block.rows[self.dialect.preamble :]
        records = [_repaired(row, self.dialect) for row in without_comments(rows, self.dialect.comment)]
        if self.dialect.guarded:
            records = [[unguard(cell) for cell in row] for row in records]
        while records and is_blank(records[0]):
            records.pop(0)
        header = records.pop(0) if self.dialect.header and records else None
        body = [row for row in records[:SAMPLE_ROWS] if not is_blank(row)]
        self._width = table_width(header, body)
        if self._width > COLUMNS_MAX:
            raise TooLargeToRead(f"The table has more than {COLUMNS_MAX} columns.", limit=COLUMNS_MAX)
        self.header = header
        originals = [*(header or []), *[""] * (self._width - len(header or []))]
        self.columns = tuple(
            Column(name, original, index, infer((row[index] for row in body if index < len(row)), original))
            for index, (name, original) in enumerate(zip(unique_names(originals), originals, strict=True))
        )

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """See table.Reader."""
        return _Pass(self, log).groups()

    def pieces(self, log: Log) -> Iterator[Piece]:
        """The file as records, a chunk at a time. A record still open at the end of a chunk waits."""
        grammar = self._grammar()
        waiting, line, enough = "", 1, 0
        for text, is_last in self._texts(log):
            waiting += text
            if len(waiting) < enough and not is_last:
                continue
            if len(waiting) > RECORD_CHARS_MAX and waiting.find("\n", 0, RECORD_CHARS_MAX) < 0:
                raise TooLargeToRead(
                    f"The record at line {line} is longer than {RECORD_CHARS_MAX} characters.",
                    limit=RECORD_CHARS_MAX,
                    line=line,
                )
            cut = len(waiting) if is_last else waiting.rfind("\n") + 1
            if not cut:
                continue
            ready, waiting = waiting[:cut], waiting[cut:]
            used = ready.isspace()
            if used:
                blank = ready.count("\n") + (not ready.endswith("\n"))
                yield Piece(
                    Block(),
                    line,
                    has_nul=False,
                    needs_repair=False,
                    has_broken_bytes=False,
                    has_guards=False,
                    blank=blank,
                )
                line += blank
                log.physical_lines = line - 1
                continue
            while ready:
                block = split_records(ready, grammar, is_last=is_last)
                if not block.rows:
                    break
                used = True
                yield self._piece(block, line, ready)
                line += block.used
                log.physical_lines = line - 1
                ready = block.rest
            waiting = ready + waiting
            # A long open record is tried again only when twice as much is there: linear, not quadratic.
            enough = 0 if used else min(2 * len(waiting), len(waiting) + QUOTED_CHARS_MAX)

    def _piece(self, block: Block, line: int, text: str) -> Piece:
        has_guards = self.dialect.guarded and may_be_guarded(text)
        return Piece(block, line, "\0" in text, self._needs_repair(text), _has_broken_bytes(text), has_guards)

    def _needs_repair(self, text: str) -> bool:
        return _has_broken_bytes(text) or (self.dialect.newline == "\r" and "\r" in text)

    def _texts(self, log: Log) -> Iterator[tuple[str, bool]]:
        """Decoded chunks with newlines normalised, and whether it is the last."""
        decoder = codecs.getincrementaldecoder(self.dialect.encoding)(_error_handler(self.dialect.encoding))
        held = ""
        for chunk in self._source.chunks():
            text = held + _decode(decoder, chunk, log)
            held = ""
            if not self.dialect.newline and text.endswith("\r"):  # perhaps the first half of \r\n
                text, held = text[:-1], "\r"
            yield normalize_newlines(text, self.dialect.newline), False
        yield normalize_newlines(held + _decode(decoder, b"", log, final=True), self.dialect.newline), True


class _Pass:
    """One reading from start to end."""

    def __init__(self, reader: DelimitedReader, log: Log) -> None:
        self.reader, self.log, self.dialect = reader, log, reader.dialect
        self.width = len(reader.columns)
        self.skip = self.dialect.preamble
        self.header_due = self.dialect.header
        self.tail: list[Tail] = []
        self.yielded = 0
        self.last_is_blank = False
        kinds = [column.type for column in reader.columns]
        self.typed = [index for index, kind in enumerate(kinds[:-1]) if kind != "text"]
        self.last_is_text = bool(kinds) and kinds[-1] == "text"

    def groups(self) -> Iterator[RowGroup]:
        for piece in self.reader.pieces(self.log):
            lines, rows, tail = self.fit(piece)
            if lines:
                self.yielded += len(lines)
                yield RowGroup(lines, rows)
            self.tail = tail
        footers = count_footers(self.tail, self.yielded)
        kept = self.tail[: len(self.tail) - footers]
        for item in self.tail[len(kept) :]:
            self.reject(item.line, item.raw, "A total or a note under the table.", footer=True)
        if kept:
            yield RowGroup([item.line for item in kept], [item.row for item in kept])

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
        for malformed in block.malformed:
            line = piece.first_line + block.starts[malformed]
            self.log.note("A record has quotes that are not closed or not doubled; they were taken as text.", line)
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
        gaps = {0} if self.last_is_blank else set[int]()
        rows = piece.block.rows[index:]
        self.last_is_blank = self.last_is_blank and not rows
        return Fitted(rows, range(index, len(piece.block.rows)), gaps)

    def settle_all(self, piece: Piece, index: int) -> Fitted:
        """Every record from here on, looked at by itself."""
        block, width = piece.block, self.width
        careful = piece.has_nul or piece.needs_repair or piece.has_guards or bool(self.dialect.comment)
        new = Fitted([], [], set())
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
            new.indexes.append(place)
        return new

    def skip_top(self, block: Block, first_line: int) -> int:
        """Count preamble and header; the index of the first record below them."""
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
                row = _repaired(row, self.dialect)
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
        if any(not _fits(row[index], self.reader.columns[index].type) for index in self.typed):
            return None
        self.log.note("A row with unquoted delimiters in its last cell was mended.", line)
        return [*row[: self.width - 1], self.dialect.delimiter.join(row[self.width - 1 :])]

    def reject(self, line: int, raw: str, reason: str, *, footer: bool = False) -> None:
        text = normalize_newlines(raw, "\r") if self.dialect.newline == "\r" else raw
        text, encoding = text[:REJECT_BYTES_MAX], self.dialect.encoding.removesuffix("-sig")
        try:
            data = text.encode(encoding, "surrogateescape")
        except UnicodeEncodeError:  # what was replaced while decoding has no bytes of its own
            data = text.encode(encoding, "replace")
        self.log.reject(Reject(line, data[:REJECT_BYTES_MAX], reason, "footer" if footer else "malformed"))


def _fits(cell: str, kind: str) -> bool:
    found = shape(cell)
    numbers = ("int", "float", "phone", "zip", "amount")
    return found in ("", kind) or (kind in numbers and found in numbers)


def decode_head(head: bytes, encoding: str, *, is_whole: bool) -> str:
    """The head as text; undecodable bytes stay as escapes."""
    decoder = codecs.getincrementaldecoder(encoding)(_error_handler(encoding))
    try:
        return decoder.decode(head, final=is_whole)
    except UnicodeDecodeError:
        return head.decode(encoding, "replace")


def _error_handler(encoding: str) -> str:
    """Escapes keep undecodable bytes exact for rejects; encodings of wider units can't hold them."""
    return "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, log: Log, *, final: bool = False) -> str:
    try:
        return decoder.decode(chunk, final)
    except UnicodeDecodeError as error:  # a byte below 0x80 that no escape exists for
        log.note("Some bytes could not be decoded and were replaced.")
        decoder.reset()
        return chunk.decode(error.encoding, "replace")


def _has_broken_bytes(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _repaired(row: list[str], dialect: Dialect) -> list[str]:
    r"""Cells with undecodable bytes read as cp1252, which is what stray bytes in UTF-8 mostly are.

    Where records end in `\r` alone, `\n` inside cells gets its own character back.
    """
    if dialect.newline == "\r":
        row = [cell.replace("\r", "\n") for cell in row]
    return [cell if cell.isascii() else _repair(cell, dialect.encoding) for cell in row]


def _repair(cell: str, encoding: str) -> str:
    if not _has_broken_bytes(cell):
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
