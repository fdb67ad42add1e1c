"""One call from anything with bytes to a Table."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import BinaryIO

from gristmill.base.errors import Invalid
from gristmill.tables.delimited import DelimitedReader
from gristmill.tables.json_rows import JsonReader
from gristmill.tables.model import Dialect, Format, Hints, Unreadable
from gristmill.tables.sniff import sniff
from gristmill.tables.source import Source
from gristmill.tables.table import Table

_SUFFIXES: dict[str, Format] = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".psv": "delimited",
    ".json": "json",
    ".geojson": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def read_table(
    source: str | Path | bytes | BinaryIO,
    *,
    format: Format | None = None,  # noqa: A002 (the word every reader uses)
    dialect: Dialect | Hints | None = None,
    sheet: str | int | None = None,
) -> Table:
    """Open a table; rows are read when the Table is iterated.

    `source` is a path, the bytes themselves, or a binary stream (read from where it stands; it must stay
    open). `format` overrules the guess from the content. `dialect` is a complete Dialect, taken as it is,
    or Hints with what is known, the rest being guessed under it. `sheet` is for formats with sheets and
    ignored by the others.

    Raises UnsupportedFormat, Unreadable (no text, damaged, empty) and TooLargeToRead, here or while
    iterating, and Invalid for a dialect that can't be.
    """
    del sheet
    _check_known(dialect)
    bytes_source = Source(source)
    if not bytes_source.head.strip(b"\xef\xbb\xbf \t\r\n\0"):
        raise Unreadable("The file is empty.")
    if isinstance(dialect, Dialect):
        found = replace(dialect, format=format or dialect.format)
    else:
        hints = Hints(**(dialect or {}))
        if format:
            hints["format"] = format
        found = sniff(bytes_source.head, hints, is_whole=bytes_source.is_whole)
    found = replace(found, compression=bytes_source.compression)
    reader = DelimitedReader(bytes_source, found) if found.format == "delimited" else JsonReader(bytes_source, found)
    return Table(reader, _name_warnings(bytes_source.suffix, found.format))


def _check_known(dialect: Dialect | Hints | None) -> None:
    """Raise Invalid for values that no file can be read with."""
    known = asdict(dialect) if isinstance(dialect, Dialect) else dict(dialect or {})
    unknown = known.keys() - {field.name for field in fields(Dialect)}
    if unknown:
        raise Invalid(f"A dialect has no {', '.join(sorted(unknown))}.")
    if known.get("delimiter") == "" or len(str(known.get("quote", ""))) > 1 or len(str(known.get("escape", ""))) > 1:
        raise Invalid("A delimiter has at least one character, quote and escape at most one.")
    try:
        b"ab".decode(str(known.get("encoding", "utf-8")), "replace")
    except (LookupError, ValueError) as error:
        raise Invalid(f"There is no encoding {known['encoding']}.") from error


def _name_warnings(suffix: str, form: Format) -> list[str]:
    named = _SUFFIXES.get(suffix)
    if named is None or named == form or {named, form} == {"json", "jsonl"}:
        return []
    return [f"The file is called {suffix} but is read as {form}, which its content looks like."]
