"""Delimited text -> Arrow record batches, by Arrow's own parser wherever the text is plain.

Arrow parses many times faster than Python, but drops rows without a word where quotes are not closed, and gives up at
a ragged row. So every block is first judged by its bytes: each quote must stand where RFC 4180 allows one, and the
records are counted. A block that is not plain, in which Arrow finds another number of records, or that it refuses, is
read the careful way. The rows are the same in both.
"""

# pyright: reportUnknownParameterType=false
# (pyarrow has no type stubs)

from __future__ import annotations

import codecs
import re
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from gristmill.tables.arrow import text_batch, text_schema
from gristmill.tables.fitting import Fitting
from gristmill.tables.layout import FOOTER_RECORDS_MAX
from gristmill.tables.model import Column, Dialect, RowGroup
from gristmill.tables.pieces import Splitter
from gristmill.tables.table import Log

pc: Any = pyarrow.compute
"""Its functions are made when it is loaded, so type checkers do not know them."""
BLOCK_BYTES = 4 * 1024 * 1024
"""Parsed at once."""
TOP_BYTES = 64 * 1024
"""Read the careful way at once while the header is not reached."""
PARSE_BYTES = 1024 * 1024
"""What one thread of Arrow's parses at a time."""
STRETCH_BYTES = 128 * 1024
"""Looked at for newlines and quotes at a time."""
HELD_BACK = 2 * FOOTER_RECORDS_MAX
"""Filled lines that wait for the careful way, which finds footers at the end."""
HELD_BYTES_MAX = 1024 * 1024
"""Where the last lines are looked for."""

_NEWLINE, _RETURN = ord("\n"), ord("\r")
# A guard of `formulas`, in UTF-8; characters beyond ASCII behind the apostrophe are left to the careful way.
_GUARD = re.compile(rb"'(?<![A-Za-z0-9]')[\s\0']*[=+\-@\t\r\n\0\xc2\xe2\xe3\xef]")

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
Places = np.ndarray[tuple[int], np.dtype[np.int64]]


class Plain(NamedTuple):
    """What is known of a block that looks plain."""

    end: int
    """Bytes of its records."""
    records: int
    """Blank lines included."""
    blank: int
    lines: int
    has_inner_newlines: bool


def read_blocks(
    chunks: Iterator[bytes], dialect: Dialect, columns: Sequence[Column], log: Log
) -> Iterator[pa.RecordBatch]:
    """The rows of a text in UTF-8. Raises TooLargeToRead."""
    return _Blocks(dialect, tuple(columns), log).read(chunks)


class _Ahead:
    """Bytes that were read and not used yet."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._parts: list[bytes] = []
        self._error: Exception | None = None
        self.is_done = False
        """Whether there is no more to come."""

    def fill(self, size: int) -> bytes:
        """So many of them or more; fewer only at the end. Raises what the source raises."""
        found = sum(map(len, self._parts))
        while found < size and not self.is_done:
            if self._error:
                raise self._error
            chunk = next(self._chunks, None)
            self.is_done = chunk is None
            if chunk is not None:
                self._parts.append(chunk)
                found += len(chunk)
        self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def look(self, size: int) -> bytes:
        """The same before they are due: what the source raises is raised when they are."""
        try:
            return self.fill(size)
        except Exception as error:  # noqa: BLE001 - kept for `fill`
            self._error = error
            return b""

    def drop(self, size: int) -> None:
        """Those at the start were used."""
        self._parts = [self.fill(0)[size:]]

    def put_back(self, data: bytes) -> None:
        """These were not, after all."""
        self._parts.insert(0, data)


class _Blocks:
    """One reading from start to end."""

    def __init__(self, dialect: Dialect, columns: tuple[Column, ...], log: Log) -> None:
        self.dialect, self.log = dialect, log
        self.columns = columns
        self.schema = text_schema(columns)
        self.fitting = Fitting(dialect, columns, log)
        self.splitter = Splitter(dialect, len(columns))
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.blanks = f" \t\r{dialect.delimiter}{dialect.quote}".encode()
        self.is_simple = _is_simple(dialect) and bool(columns)

    def read(self, chunks: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
        ahead = _Ahead(chunks)
        while True:
            block = ahead.fill(TOP_BYTES if self.top_is_due() else BLOCK_BYTES)
            plain = self.judge(block)
            refused = (yield from self.read_plain(ahead, block, plain)) if plain else len(block)
            block = ahead.fill(0)
            if ahead.is_done and refused in (0, len(block)):
                yield from self.read_carefully(block, is_last=True)
                yield from self.batch(self.fitting.finish())
                return
            if refused:
                cut = self.careful_end(block[:refused])
                ahead.drop(cut)
                yield from self.read_carefully(block[:cut], is_last=False)

    def careful_end(self, block: bytes) -> int:
        """How much of a block that is not for Arrow is read at once."""
        is_top = self.top_is_due() and not self.splitter.waiting
        cut = block.rfind(b"\n", 0, TOP_BYTES if is_top else None) + 1
        return cut or block.rfind(b"\n") + 1 or len(block)

    def read_plain(self, ahead: _Ahead, block: bytes, plain: Plain) -> Generator[pa.RecordBatch, None, int]:
        """This block and those behind it as long as they are plain; answers the bytes of one that Arrow refused, or 0.

        Arrow parses in its own threads. In the meantime the next block is read and judged, and whoever gets the rows of
        the one before works with them.
        """
        with ThreadPoolExecutor(1) as pool:
            parsing = pool.submit(self.parse, block, plain)
            while True:
                ahead.drop(plain.end)
                following = ahead.look(BLOCK_BYTES)
                next_plain = self.judge(following)
                table = parsing.result()
                if table is None:
                    ahead.put_back(block[: plain.end])
                    return len(block)
                if next_plain:
                    parsing = pool.submit(self.parse, following, next_plain)
                yield from self.take(table, plain)
                if next_plain is None:
                    return 0
                block, plain = following, next_plain

    def top_is_due(self) -> bool:
        """Whether what is above the rows was not read to its end."""
        return bool(self.fitting.skip or self.fitting.header_due or self.fitting.rule_due)

    def judge(self, block: bytes) -> Plain | None:
        """What is to be parsed of a block that starts with a record; None when that is for the careful way."""
        is_amid = self.top_is_due() or self.splitter.waiting
        # Arrow drops a byte order mark at the start of what it is given, and takes a carriage return for a newline.
        if not self.is_simple or is_amid or b"\0" in block or block.startswith(codecs.BOM_UTF8):
            return None
        if self.dialect.guarded and b"'" in block and _GUARD.search(block):
            return None
        data = np.frombuffer(block[: block.rfind(b"\n") + 1], np.uint8)
        if b"\r" in block and _has_lone_returns(data):
            return None
        quote = self.dialect.quote.encode()
        newlines, quotes = _places(data, quote[0] if quote and quote in block else 0)
        ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0] if quotes.size else newlines
        ends = ends[: len(ends) - _held_back(ends, block, self.blanks)]
        if not ends.size:
            return None
        end = int(ends[-1]) + 1
        quotes = quotes[: int(np.searchsorted(quotes, end))]
        if quotes.size and not self.are_sound(data, quotes):
            return None
        starts = np.concatenate(([0], ends[:-1] + 1))
        lengths = ends - starts
        blank = int(np.count_nonzero((lengths == 0) | ((lengths == 1) & (data[starts] == _RETURN))))
        lines = int(np.searchsorted(newlines, end))
        return Plain(end, len(ends), blank, lines, lines > len(ends))

    def are_sound(self, data: Bytes, quotes: Places) -> bool:
        """Whether every quote opens or closes a cell or is doubled, as RFC 4180 has it."""
        delimiter = ord(self.dialect.delimiter)
        opening, closing = quotes[::2], quotes[1::2]
        before = data[np.maximum(opening - 1, 0)]
        doubled = np.zeros(len(opening), np.bool_)
        doubled[1:] = opening[1:] - closing[: len(opening) - 1] == 1
        opens = (before == delimiter) | (before == _NEWLINE) | (opening == 0) | doubled
        behind = data[closing + 1]
        doubles = np.zeros(len(closing), np.bool_)
        doubles[: len(opening) - 1] = doubled[1:]
        closes = (behind == delimiter) | (behind == _NEWLINE) | (behind == _RETURN) | doubles
        return bool(opens.all() and closes.all())

    def parse(self, block: bytes, plain: Plain) -> pa.Table | None:
        """The block's rows that are not blank; None when Arrow does not see what we see."""
        names = [str(index) for index in range(len(self.columns))]
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(pa.py_buffer(block).slice(0, plain.end)),
                read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=PARSE_BYTES),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.dialect.delimiter,
                    quote_char=self.dialect.quote or False,
                    newlines_in_values=plain.has_inner_newlines,
                ),
                convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
        except pa.ArrowInvalid:  # a ragged row, or bytes that are no UTF-8
            return None
        if table.num_rows != plain.records - plain.blank:
            return None
        mask = _blank_rows(table)
        table = table if mask is None else table.filter(pc.invert(mask))
        # With fewer rows than that, those that wait may still be footers.
        return table if table.num_rows >= FOOTER_RECORDS_MAX else None

    def take(self, table: pa.Table, plain: Plain) -> Iterator[pa.RecordBatch]:
        """The rows of a parsed block, after those that waited."""
        yield from self.batch(self.fitting.release(table.num_rows))
        self.log.blank += plain.records - table.num_rows
        self.splitter.line += plain.lines
        self.log.physical_lines = self.splitter.line - 1
        yield from pa.Table.from_arrays(table.columns, schema=self.schema).to_batches()

    def read_carefully(self, data: bytes, *, is_last: bool) -> Iterator[pa.RecordBatch]:
        text = self.decoder.decode(data, final=is_last)
        for piece in self.splitter.feed(text, is_last=is_last):
            yield from self.batch(self.fitting.add(piece))
        self.log.physical_lines = self.splitter.line - 1

    def batch(self, group: RowGroup | None) -> Iterator[pa.RecordBatch]:
        if group:
            yield text_batch(group.rows, self.schema)


def _is_simple(dialect: Dialect) -> bool:
    """Whether Arrow knows such separators."""
    return (
        len(dialect.delimiter) == 1
        and dialect.delimiter.isascii()
        and dialect.delimiter not in " \r\n"
        and dialect.quote.isascii()
        and not dialect.escape
        and not dialect.comment
        and not dialect.skip_initial_space
        and dialect.newline != "\r"
    )


def _places(data: Bytes, quote: int) -> tuple[Places, Places]:
    """Where the newlines and the quotes are; without a quote, 0, where the newlines are.

    A stretch at a time, so that what lies in between stays in the processor's cache.
    """
    found: list[Places] = []
    for start in range(0, len(data), STRETCH_BYTES):
        part = data[start : start + STRETCH_BYTES]
        is_mark = part == _NEWLINE
        if quote:
            is_mark |= part == quote
        found.append(np.flatnonzero(is_mark) + start)
    marks = np.concatenate(found) if found else np.zeros(0, np.int64)
    is_newline = data[marks] == _NEWLINE
    return marks[is_newline], marks[~is_newline]


def _has_lone_returns(data: Bytes) -> bool:
    """Whether a carriage return stands anywhere but before a newline, in text that ends with one."""
    return bool((data[np.flatnonzero(data == _RETURN) + 1] != _NEWLINE).any())


def _held_back(ends: Places, block: bytes, blanks: bytes) -> int:
    """How many of the last records must wait so that HELD_BACK of them have text."""
    filled = 0
    limit = max(0, len(block) - HELD_BYTES_MAX)
    for held, place in enumerate(range(len(ends) - 1, 0, -1), start=1):
        start, end = int(ends[place - 1]) + 1, int(ends[place])
        if start < limit:
            break
        filled += bool(block[start:end].strip(blanks))
        if filled >= HELD_BACK:
            return held
    return len(ends)


def _blank_rows(table: pa.Table) -> Any:
    """Which rows have no text in any cell; None when there are none."""
    mask = None
    for column in table.columns:
        empty = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(column)), 0)
        mask = empty if mask is None else pc.and_(mask, empty)
        if not pc.any(mask).as_py():
            return None
    return mask
