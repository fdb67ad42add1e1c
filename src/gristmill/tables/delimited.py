"""Delimited text as a stream of rows: decode, split into records (`pieces`), fit them to the columns (`fitting`).

Cells that a fair share of the sampled rows have beyond the header are columns of their own.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from gristmill.tables.delimiters import first_lines, normalize_newlines
from gristmill.tables.fitting import Fitting, repaired
from gristmill.tables.formulas import unguard
from gristmill.tables.infer import SAMPLE_ROWS, infer
from gristmill.tables.layout import is_blank, is_rule, names_rows, table_width
from gristmill.tables.model import Column, Dialect, RowGroup, TooLargeToRead, unique_names
from gristmill.tables.pieces import Splitter
from gristmill.tables.records import Grammar, split_records
from gristmill.tables.source import Source
from gristmill.tables.table import Log

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS_MAX = 16_384
"""Columns a table may have."""
HEAD_LINES = 3_000
"""Lines that columns and their types are found in."""
_SWAPPED = bytes.maketrans(b"\r\n", b"\n\r")


def without_comments(rows: list[list[str]], comment: str) -> list[list[str]]:
    """The rows with blank ones in place of comments."""
    if not comment:
        return rows
    return [[] if row and row[0].lstrip().startswith(comment) else row for row in rows]


class DelimitedReader:
    """Reads one delimited file as its dialect says."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        """Raises TooLargeToRead for a header beyond COLUMNS_MAX."""
        self._source = source
        self.dialect = dialect
        self.header: list[str] | None = None
        self.columns: tuple[Column, ...] = ()
        self._read_head()

    def _read_head(self) -> None:
        text = decode_head(self._source.head, self.dialect.encoding, is_whole=self._source.is_whole)
        dialect = self.dialect
        grammar = Grammar(dialect.delimiter, dialect.quote, dialect.escape, dialect.skip_initial_space)
        text = normalize_newlines(text, dialect.newline)
        top = first_lines(text, HEAD_LINES + dialect.preamble)
        block = split_records(top, grammar, is_last=self._source.is_whole and len(top) == len(text))
        rows = block.rows[self.dialect.preamble :]
        records = [repaired(row, self.dialect) for row in without_comments(rows, self.dialect.comment)]
        if self.dialect.guarded:
            records = [[unguard(cell) for cell in row] for row in records]
        while records and is_blank(records[0]):
            records.pop(0)
        header = records.pop(0) if self.dialect.header and records else None
        if header:
            header[0] = header[0].removeprefix("\ufeff")  # a second mark, by programs that put one before another
        if header and records and is_rule(records[0]):
            records.pop(0)
        body = [row for row in records[:SAMPLE_ROWS] if not is_blank(row)]
        if header and names_rows(header, body, dialect.delimiter):
            header = ["", *header]
        width = table_width(header, body)
        if width > COLUMNS_MAX:
            raise TooLargeToRead(f"The table has more than {COLUMNS_MAX} columns.", limit=COLUMNS_MAX)
        self.header = header
        originals = [*(header or []), *[""] * (width - len(header or []))]
        self.columns = tuple(
            Column(name, original, index, infer((row[index] for row in body if index < len(row)), original))
            for index, (name, original) in enumerate(zip(unique_names(originals), originals, strict=True))
        )

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """See table.Reader."""
        fitting, splitter = Fitting(self.dialect, self.columns, log), Splitter(self.dialect, len(self.columns))
        for text, is_last in self._texts(log):
            for piece in splitter.feed(text, is_last=is_last):
                group = fitting.add(piece)
                if group:
                    yield group
            log.physical_lines = splitter.line - 1
        group = fitting.finish()
        if group:
            yield group

    def batches(self, log: Log) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType] (no stubs)
        """The same rows as Arrow record batches: by Arrow's own parser wherever the text is plain."""
        from gristmill.tables.blocks import read_blocks  # noqa: PLC0415 - loads pyarrow and numpy

        return read_blocks(self._utf8(log), self.dialect, self.columns, log)

    def _utf8(self, log: Log) -> Iterator[bytes]:
        r"""The text in UTF-8, newlines normalised; bytes that can't be decoded stay as they are."""
        if self.dialect.encoding not in ("utf-8", "utf-8-sig") or not self.dialect.newline:
            for text, _ in self._texts(log):
                yield text.encode("utf-8", "surrogateescape")
            return
        chunks = self._source.chunks()
        if self.dialect.encoding == "utf-8-sig":
            head = b""
            while len(head) < len(codecs.BOM_UTF8) and (chunk := next(chunks, b"")):
                head += chunk
            chunks = chain([head.removeprefix(codecs.BOM_UTF8)], chunks)
        for chunk in chunks:
            yield chunk.translate(_SWAPPED) if self.dialect.newline == "\r" else chunk

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
