"""The nouns of a table: Dialect, Column, Reject, Receipt, RowGroup, and the names of columns."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

from gristmill.base.errors import Error, Invalid, TooLarge

type_names = ("int", "float", "bool", "date", "phone", "email", "url", "zip", "text")
Type = Literal["int", "float", "bool", "date", "phone", "email", "url", "zip", "text"]
Format = Literal["delimited", "json", "jsonl", "xlsx", "xls", "xlsb", "ods", "parquet"]
Compression = Literal["", "gzip", "zip", "zstd"]

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


class NoSuchSheet(Invalid):
    """The workbook or archive has no such sheet."""


class TooLargeToRead(TooLarge):
    """A record, a row or the unpacked file is over its limit."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the bytes of one file are to be read.

    Delimited text uses everything but `sheet`, JSON format, compression and encoding, workbooks format, compression,
    sheet, preamble and header, Parquet format and compression.
    """

    format: Format = "delimited"
    compression: Compression = ""
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
    comment: str = ""
    """How lines start that are no records; empty where there are none between the rows."""
    newline: Literal["\n", "\r", ""] = "\n"
    r"""What ends a record: `\n` (also `\r\n`), `\r` alone, or empty for any mixture."""
    preamble: int = 0
    """Records (blank ones included) before the header, or before the first row where there is none."""
    header: bool = True
    """Whether the first record after the preamble names the columns."""
    guarded: bool = True
    """An apostrophe before what a spreadsheet would run as a formula is no part of the cell: see `formulas`."""
    sheet: str = ""
    """The sheet of a workbook, or the file of a zip archive; empty where there are none."""
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])
    """Guessed field -> 0..1. A field that was given, not guessed, has 1.0."""


class Hints(TypedDict, total=False):
    """What the caller knows about a file; everything else is sniffed."""

    format: Format
    encoding: str
    delimiter: str
    quote: str
    escape: str
    comment: str
    skip_initial_space: bool
    newline: Literal["\n", "\r", ""]
    preamble: int
    header: bool
    guarded: bool


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
    """`footer`: totals and notes under the table, comments, and a line under the header, which are no error."""


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
    """How many of the rejects are totals and notes under the table, or comments."""
    blank: int = 0
    """Records without any text."""
    physical_lines: int = 0
    """Newline-terminated lines, quoted newlines counted."""
    warnings: tuple[str, ...] = ()
    """Things a person should know about that did not stop the reading."""
    complete: bool = False
    """Whether the file was read to its end."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of a workbook, or a file of a zip archive."""

    name: str
    visible: bool = True


class RowGroup(NamedTuple):
    """Some rows in a row. Every row has exactly one cell per column."""

    lines: list[int]
    """1-based line where each row starts; in a sheet its row, in JSON the number of the element."""
    rows: list[list[str]]
    values: list[Any] | None = None
    """Of JSON: the elements as they are, nested and with their types; None for other formats."""


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
