"""CSV as a source: the text is kept in the database and read anew each time, always by the same dialect.

A file in UTF-8 is kept character by character, byte order mark included. A file in another encoding is decoded once,
when it is saved, and kept as text; a warning of its receipt names the encoding. Bytes that its encoding does not know
become what they mean in Windows-1252, or U+FFFD in an encoding of several bytes, which is also told. A NUL can't be
stored and is refused.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice

from gristmill.base.errors import FieldError, Invalid, TooLarge
from gristmill.sources.model import (
    Content,
    DialectHints,
    Draft,
    Host,
    Reading,
    RejectedRecord,
    RowStream,
    Sample,
    SourceColumn,
    StoredSource,
    TableReceipt,
    refuse_settings,
)
from gristmill.sources.rungs import Rung
from gristmill.tables import Hints, Table, Unreadable, UnsupportedFormat, read_table, sniff

REJECTS_KEPT = 20
REJECT_CHARS_MAX = 500
TEXT_FORMATS = frozenset({"delimited", "json", "jsonl"})
_BYTEWISE = frozenset({"utf-8", "utf-8-sig", "cp1252"})
"""Encodings in which a byte that is not valid is taken for Windows-1252."""


def _stray_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_windows(bytes([byte])) for byte in bad), error.end


def _windows(byte: bytes) -> str:
    try:
        return byte.decode("cp1252")
    except UnicodeDecodeError:
        return byte.decode("latin-1")


codecs.register_error("gristmill-stray", _stray_byte)


def decode(data: bytes, hints: DialectHints) -> tuple[str, str, list[str]]:
    """Text of a file, its encoding, and what a person should know. Raises `Unreadable`."""
    known: Hints = {} if hints.encoding is None else {"encoding": hints.encoding}
    try:
        found = sniff(data, known)
    except UnsupportedFormat as error:
        raise Unreadable(error.message) from None
    except LookupError:
        message = f"there is no encoding `{hints.encoding}`"
        raise Invalid(
            f"`config.dialect.encoding`: {message}", errors=(_at("config.dialect.encoding", message),)
        ) from None
    if found.compression:
        raise Unreadable("The file is compressed; unpack it first.")
    if found.format not in TEXT_FORMATS:
        raise Unreadable(f"The file is {found.format}; a CSV source keeps text.")
    # The mark of UTF-8 stays in the text, so that it can be given back as it came.
    encoding = "utf-8" if found.encoding == "utf-8-sig" else found.encoding
    notes = [] if encoding == "utf-8" else [f"The file was in {encoding} and is kept as text."]
    try:
        return data.decode(encoding), found.encoding, notes
    except UnicodeDecodeError:
        repair = "gristmill-stray" if encoding in _BYTEWISE else "replace"
        notes.append(f"Some bytes are not valid {encoding} and were repaired.")
        return data.decode(encoding, repair), found.encoding, notes


def _at(name: str, message: str, line: int | None = None) -> FieldError:
    return FieldError(name, message, line=line)


def _check_text(text: str) -> None:
    at = text.find("\x00")
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        message = f"has a NUL character in line {line}, which can't be stored"
        raise Invalid(f"The file {message}.", errors=(_at("csv_data", message, line),))


def read_whole(text: str, hints: DialectHints, encoding: str, notes: list[str]) -> Reading:
    """One pass over all of a text. Raises `Unreadable` for what is no table."""
    try:
        table = read_table(text.encode(), dialect=hints.hints())
    except UnsupportedFormat as error:
        raise Unreadable(error.message) from None
    for _group in table.groups():
        pass
    found = table.receipt
    receipt = TableReceipt(
        lines=found.lines,
        header=found.header,
        preamble=found.preamble,
        rows=found.rows,
        rejects=found.rejects,
        footers=found.footers,
        blank=found.blank,
        warnings=[*notes, *found.warnings],
    )
    rejects = [
        RejectedRecord(item.line, item.raw.decode("utf-8", "replace")[:REJECT_CHARS_MAX], item.reason, item.kind)
        for item in table.rejects[:REJECTS_KEPT]
    ]
    return Reading(_columns(table), table.dialect, encoding, receipt, rejects)


def _columns(table: Table) -> list[SourceColumn]:
    return [SourceColumn(column.name, column.type) for column in table.columns]


class Csv:
    """See the module."""

    kind = "csv"
    title = "CSV file"
    summary = "The text of a file, kept with the source."
    remote = False

    def prepare(self, draft: Draft, before: StoredSource | None, host: Host) -> Content:
        """See SourceKind: decode, read from end to end, keep."""
        refuse_settings(draft.config, self.kind, ("env_key", "query"))
        hints = draft.config.dialect or DialectHints()
        if draft.file is None:
            return self._kept(hints, before)
        size = len(draft.file) if isinstance(draft.file, bytes) else _utf8_size(draft.file)
        limit = host.settings.source_csv_bytes_max
        if size > limit:
            raise TooLarge(f"The file has {size} bytes; at most {limit} are kept.", limit=limit, size=size)
        encoding, notes, text = "utf-8", [], draft.file
        if isinstance(text, bytes):
            text, encoding, notes = decode(text, hints)
        _check_text(text)
        reading = read_whole(text, hints, encoding, notes)
        return Content(text, size, reading, reading.columns)

    def _kept(self, hints: DialectHints, before: StoredSource | None) -> Content:
        """What becomes of the text that is there."""
        if before is None or before.csv_data is None or before.reading is None:
            message = "a CSV source needs its text: csv_data, csv_base64 or a file"
            raise Invalid(f"{message.capitalize()}.", errors=(_at("csv_data", message),))
        old = before.config.dialect or DialectHints()
        reading = before.reading
        if hints.encoding != old.encoding:
            message = "is used when a file is decoded; send the file again with it"
            raise Invalid(f"`config.dialect.encoding` {message}.", errors=(_at("config.dialect.encoding", message),))
        if hints != old:
            notes = [note for note in reading.receipt.warnings if note.endswith(("kept as text.", "were repaired."))]
            reading = read_whole(before.csv_data, hints, reading.encoding, notes)
        return Content(None, before.source.size_bytes, reading, reading.columns)

    def preview(self, source: StoredSource, limit: int, host: Host) -> Sample:
        """See SourceKind."""
        del host
        table = _table(source)
        rows = list(islice(table.rows(), limit + 1))
        return Sample(_columns(table), [dict(row) for row in rows[:limit]], len(rows) > limit)

    @contextmanager
    def open(self, source: StoredSource, host: Host) -> Generator[RowStream]:
        """See SourceKind."""
        del host
        table = _table(source)
        yield RowStream(_columns(table), (dict(row) for row in table.rows()))

    def test(self, source: StoredSource, host: Host) -> list[Rung]:
        """See SourceKind: there is one step."""
        started = time.monotonic()
        with self.open(source, host) as stream:
            count = sum(1 for _row in stream.rows)
        elapsed = round((time.monotonic() - started) * 1000)
        return [Rung("read", duration_ms=elapsed, detail=f"{count} rows of {len(stream.columns)} columns.")]


def _table(source: StoredSource) -> Table:
    if source.csv_data is None or source.reading is None:
        raise Unreadable("The source has no text; send its file again.")
    return read_table(source.csv_data.encode(), dialect=source.reading.dialect)


def _utf8_size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        message = "holds half of a surrogate pair, which is no text"
        raise Invalid(f"`csv_data` {message}.", errors=(_at("csv_data", message),)) from None


PLUGIN = Csv()
