"""The Table: rows of text with named columns, read anew by every iterator, and the counts of each reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from gristmill.tables.model import (
    REJECTS_KEPT_MAX,
    WARNINGS_MAX,
    Column,
    Dialect,
    Receipt,
    Reject,
    RowGroup,
    Sheet,
    fingerprint,
)

if TYPE_CHECKING:
    import pyarrow as pa


class Log:
    """The receipt and rejects of one pass while it runs."""

    def __init__(self, warnings: Iterable[str] = ()) -> None:
        self.header = self.preamble = self.rows = self.blank = self.physical_lines = 0
        self.rejected = self.footers = 0
        self.rejects: list[Reject] = []
        self.warnings: dict[str, int] = dict.fromkeys(warnings, 1)
        self.first_lines: dict[str, int] = {}
        self.complete = False

    def reject(self, reject: Reject) -> None:
        """Count a reject and keep it while there is room."""
        self.rejected += 1
        self.footers += reject.kind == "footer"
        if len(self.rejects) < REJECTS_KEPT_MAX:
            self.rejects.append(reject)

    def note(self, message: str, line: int = 0, times: int = 1) -> None:
        """Count a warning; the same message is told once, with the number of times and the first line."""
        if message in self.warnings:
            self.warnings[message] += times
        elif len(self.warnings) < WARNINGS_MAX:
            self.warnings[message] = times
            self.first_lines[message] = line

    def _told(self) -> Iterator[str]:
        for message, count in self.warnings.items():
            line = self.first_lines.get(message, 0)
            facts = [f"line {line}" if count == 1 else f"first in line {line}"] if line else []
            facts += [f"{count} times"] if count > 1 else []
            yield f"{message} ({', '.join(facts)})" if facts else message

    def receipt(self) -> Receipt:
        """What was read so far."""
        return Receipt(
            lines=self.header + self.preamble + self.rows + self.rejected + self.blank,
            header=self.header,
            preamble=self.preamble,
            rows=self.rows,
            rejects=self.rejected,
            footers=self.footers,
            blank=self.blank,
            physical_lines=self.physical_lines,
            warnings=tuple(self._told()),
            complete=self.complete,
        )


class Reader(Protocol):
    """A format: knows its columns after the head and yields all rows of a fresh pass."""

    @property
    def header(self) -> list[str] | None:
        """The header cells as in the file."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns every row is padded to."""
        ...

    @property
    def dialect(self) -> Dialect:
        """What was guessed or given."""
        ...

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """Read from the start, counting into `log`. Raises Unreadable or TooLargeToRead."""
        ...


class Table:
    """Rows of text cells with named columns, read anew from the source by every iterator.

    Memory stays flat: only a head for guessing and one group of rows are held. Iterators of one table may not
    run at the same time when the source is a stream.
    """

    def __init__(self, reader: Reader, warnings: Iterable[str] = (), sheets: tuple[Sheet, ...] = ()) -> None:
        self._reader = reader
        self.sheets = sheets
        """Sheets of the workbook or files of the archive; `dialect.sheet` is the one that is read."""
        self._warnings = tuple(warnings)
        self._log = Log(self._warnings)

    @property
    def header(self) -> list[str] | None:
        """The header cells as in the file (for JSON the keys), None when there is no header."""
        return self._reader.header

    @property
    def columns(self) -> tuple[Column, ...]:
        """One for each cell of a row."""
        return self._reader.columns

    @property
    def dialect(self) -> Dialect:
        """How the file is read, with the confidence of every guess."""
        return self._reader.dialect

    @property
    def rejects(self) -> list[Reject]:
        """Records of the latest pass that are no rows, at most REJECTS_KEPT_MAX."""
        return self._log.rejects

    @property
    def receipt(self) -> Receipt:
        """Counts of the latest pass; `complete` after an iterator ran to the end of the file."""
        return self._log.receipt()

    @property
    def fingerprint(self) -> str:
        """A hash that is equal for equal headers, whatever their case, spacing and punctuation.

        32 hex digits. Tables without a header share one fingerprint per number of columns.
        """
        return fingerprint([column.original for column in self.columns])

    def groups(self) -> Iterator[RowGroup]:
        """Rows with their line numbers, many at a time: the fastest way to Python lists."""
        log = self._log = Log(self._warnings)
        for group in self._reader.groups(log):
            log.rows += len(group.rows)
            yield group
        log.complete = True

    def records(self) -> Iterator[list[str]]:
        """Rows as lists of text; header, preamble, blank rows and footers are left out."""
        return chain.from_iterable(group.rows for group in self.groups())

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        """(1-based line where the row starts, its cells)."""
        return chain.from_iterable(zip(group.lines, group.rows, strict=True) for group in self.groups())

    def batches(self) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType] (no stubs)
        """Rows as Arrow record batches whose columns are all text, named as `columns`."""
        from gristmill.tables.arrow import text_batches  # noqa: PLC0415 - pyarrow is loaded when it is asked for

        native = getattr(self._reader, "batches", None)
        if native is None:
            yield from text_batches(self.groups(), self.columns)
            return
        log = self._log = Log(self._warnings)
        for batch in native(log):
            log.rows += batch.num_rows
            yield batch
        log.complete = True

    def typed_batches(self) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType] (no stubs)
        """The same with numbers, booleans and moments where `columns` says so; what does not fit is null."""
        from gristmill.tables.typed_view import typed_batches  # noqa: PLC0415 - pyarrow is loaded when asked for

        return typed_batches(self.batches(), self.columns)

    def rows(self) -> Iterator[dict[str, str]]:
        """Rows as dicts by column name."""
        names = [column.name for column in self.columns]
        return (dict(zip(names, row, strict=True)) for row in self.records())
