"""The nouns of a table: Dialect, Column, Reject, Receipt, and the Table that reads itself."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, NamedTuple, Protocol, TypedDict

from gristmill.base.errors import Error, TooLarge

type_names = ("int", "float", "bool", "date", "phone", "email", "url", "zip", "text")
Type = Literal["int", "float", "bool", "date", "phone", "email", "url", "zip", "text"]
Format = Literal["delimited", "json", "jsonl"]

REJECTS_KEPT_MAX = 10_000
"""Rejects kept with their bytes; the receipt counts the rest."""
REJECT_BYTES_MAX = 64 * 1024
"""Bytes kept of one reject."""
WARNINGS_MAX = 100
"""Warnings kept per table."""


class Unreadable(Error):
    """The file can't be read as a table."""

    code = "unreadable_file"


class UnsupportedFormat(Error):
    """This kind of file is not read."""

    code = "unsupported_type"


class TooLargeToRead(TooLarge):
    """A record, a row or the unpacked file is over its limit."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the bytes of one file are to be read. For JSON only format, compression and encoding count."""

    format: Format = "delimited"
    compression: Literal["", "gzip"] = ""
    encoding: str = "utf-8"
    """A Python codec name; `utf-8-sig` and `utf-16` where the file has a byte order mark."""
    delimiter: str = ","
    """One or more characters. A run of blanks counts as one when it is a blank."""
    quote: str = '"'
    """One character, or empty when quotes mean nothing."""
    escape: str = ""
    """A character that makes a following quote literal; empty where quotes are doubled instead."""
    skip_initial_space: bool = False
    """Blanks after a delimiter are no part of the cell."""
    newline: Literal["\n", "\r", ""] = "\n"
    r"""What ends a record: `\n` (also `\r\n`), `\r` alone, or empty for any mixture."""
    preamble: int = 0
    """Records (blank ones included) before the header, or before the first row where there is none."""
    header: bool = True
    """Whether the first record after the preamble names the columns."""
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])
    """Guessed field -> 0..1. A field that was given, not guessed, has 1.0."""


class Hints(TypedDict, total=False):
    """What the caller knows about a file; everything else is sniffed."""

    format: Format
    encoding: str
    delimiter: str
    quote: str
    escape: str
    skip_initial_space: bool
    newline: Literal["\n", "\r", ""]
    preamble: int
    header: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    """Unique in the table: `name`, `name_2`; `column_3` where the header is empty."""
    original: str
    """The header cell as in the file; empty where there is none."""
    index: int
    """0-based."""
    type: Type
    """What the sampled cells look like. Cells stay text: see `infer.typed`."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is no row."""

    line: int
    """1-based line where it starts."""
    raw: bytes
    """Its bytes without the final newline, at most REJECT_BYTES_MAX, in the encoding of the file."""
    reason: str
    """One sentence for a person."""
    kind: Literal["malformed", "footer"] = "malformed"
    """`footer`: totals and notes under the table, which are no error."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of every record: lines = header + preamble + rows + rejects + blank."""

    lines: int = 0
    """Records read. A quoted newline does not start a new one."""
    header: int = 0
    preamble: int = 0
    """Records before the header that are not blank."""
    rows: int = 0
    rejects: int = 0
    """Footers included."""
    footers: int = 0
    """How many of the rejects are totals and notes under the table."""
    blank: int = 0
    """Records without any text."""
    physical_lines: int = 0
    """Newline-terminated lines, quoted newlines counted."""
    warnings: tuple[str, ...] = ()
    """Things a person should know about that did not stop the reading."""
    complete: bool = False
    """Whether the file was read to its end."""


class Log:
    """The receipt and rejects of one pass while it runs."""

    def __init__(self, warnings: Iterable[str] = ()) -> None:
        self.header = self.preamble = self.rows = self.blank = self.physical_lines = 0
        self.rejected = self.footers = 0
        self.rejects: list[Reject] = []
        self.warnings: dict[str, int] = dict.fromkeys(warnings, 1)
        self.complete = False

    def reject(self, reject: Reject) -> None:
        """Count a reject and keep it while there is room."""
        self.rejected += 1
        self.footers += reject.kind == "footer"
        if len(self.rejects) < REJECTS_KEPT_MAX:
            self.rejects.append(reject)

    def note(self, message: str) -> None:
        """Count a warning; the same message is told once, with the number of times."""
        if message in self.warnings or len(self.warnings) < WARNINGS_MAX:
            self.warnings[message] = self.warnings.get(message, 0) + 1

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
            warnings=tuple(text if n == 1 else f"{text} ({n} times)" for text, n in self.warnings.items()),
            complete=self.complete,
        )


class Batch(NamedTuple):
    """Some rows in a row. Every row has exactly one cell per column."""

    lines: list[int]
    """1-based line where each row starts."""
    rows: list[list[str]]


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

    def batches(self, log: Log) -> Iterator[Batch]:
        """Read from the start, counting into `log`. Raises Unreadable or TooLargeToRead."""
        ...


class Table:
    """Rows of text cells with named columns, read anew from the source by every iterator.

    Memory stays flat: only a head for guessing and one batch are held. Iterators of one table may not
    run at the same time when the source is a stream.
    """

    def __init__(self, reader: Reader, warnings: Iterable[str] = ()) -> None:
        self._reader = reader
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

    def batches(self) -> Iterator[Batch]:
        """Rows with their line numbers, many at a time: the fastest way to read."""
        log = self._log = Log(self._warnings)
        for batch in self._reader.batches(log):
            log.rows += len(batch.rows)
            yield batch
        log.complete = True

    def records(self) -> Iterator[list[str]]:
        """Rows as lists of text; header, preamble, blank rows and footers are left out."""
        return chain.from_iterable(batch.rows for batch in self.batches())

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        """(1-based line where the row starts, its cells)."""
        return chain.from_iterable(zip(batch.lines, batch.rows, strict=True) for batch in self.batches())

    def rows(self) -> Iterator[dict[str, str]]:
        """Rows as dicts by column name."""
        names = [column.name for column in self.columns]
        return (dict(zip(names, row, strict=True)) for row in self.records())


def unique_names(header: list[str]) -> list[str]:
    """Column names from header cells: trimmed, `name_2` for a repeated one, `column_3` for an empty one."""
    seen: set[str] = set()
    taken = {" ".join(cell.split()) for cell in header}
    names: list[str] = []
    for position, cell in enumerate(header, start=1):
        base = name = " ".join(cell.split()) or f"column_{position}"
        count = 1
        # A made-up name may not take the place of a header that is really called `name_2`.
        while name in seen or (name in taken and name != " ".join(cell.split())):
            count += 1
            name = f"{base}_{count}"
        seen.add(name)
        names.append(name)
    return names


def fingerprint(header: list[str]) -> str:
    """See `Table.fingerprint`."""
    words = [re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", cell).casefold()) for cell in header]
    return hashlib.sha256("\x1f".join(words).encode("utf-8", "replace")).hexdigest()[:32]
