"""One call from anything with bytes to a Table."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from gristmill.base.errors import Invalid
from gristmill.tables.archive import ZIP_MAGIC, Archive
from gristmill.tables.delimited import DelimitedReader
from gristmill.tables.grid import Grid, GridReader
from gristmill.tables.json_rows import JsonReader
from gristmill.tables.model import Dialect, Format, Hints, NoSuchSheet, Sheet, Unreadable
from gristmill.tables.sheets import name_sheets, sheet_notes
from gristmill.tables.sniff import sniff_head
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
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xls": "xls",
    ".xlsb": "xlsb",
    ".ods": "ods",
    ".parquet": "parquet",
}


def read_table(
    source: str | Path | bytes | BinaryIO,
    *,
    format: Format | Literal["csv", "tsv", "ndjson"] | None = None,  # noqa: A002 (the word every reader uses)
    dialect: Dialect | Hints | None = None,
    sheet: str | int | None = None,
) -> Table:
    """Open a table; rows are read when the Table is iterated.

    `source` is a path, the bytes themselves, or a binary stream such as an object of the object store (read from where
    it stands; it must stay open). `format` overrules the guess from the content; suffixes such as `csv` are understood,
    too. `dialect` is a complete Dialect, taken as it is, or Hints with what is known, the rest being guessed under it.
    `sheet` is the name or number, from 0, of a workbook's sheet or a zip archive's file; by default the first visible
    sheet with text, the largest file.

    Raises UnsupportedFormat, Unreadable (no text, damaged, empty), TooLargeToRead and NoSuchSheet, here or while
    iterating, and Invalid for a dialect that can't be.
    """
    _check_known(dialect)
    form = _form(format)
    if sheet is None and isinstance(dialect, Dialect):
        sheet = dialect.sheet or None
    opened = Source(source, sheet)
    if not opened.head.strip(b"\xef\xbb\xbf \t\r\n\0"):
        raise Unreadable("The file is empty.")
    hints: Hints | None = None
    if isinstance(dialect, Dialect):
        found = replace(dialect, format=form or dialect.format)
    else:
        hints = Hints(**(dialect or {}))
        if form:
            hints["format"] = form
        found = sniff_head(opened.head, hints, is_whole=opened.is_whole, names=_names(opened))
    found = replace(found, compression=opened.compression, sheet=opened.member)
    return _open(opened, found, hints, None if opened.member_was_named else sheet)


def _open(source: Source, found: Dialect, hints: Hints | None, sheet: str | int | None) -> Table:
    """The table of a format. Readers of seldom formats are loaded when they are needed."""
    warnings = [*source.warnings, *_name_warnings(source.suffix, found.format)]
    sheets = tuple(map(Sheet, source.tables))
    if found.format in ("xlsx", "xls", "xlsb", "ods"):
        grid = _grid(source, found.format, sheet)
        warnings += sheet_notes(grid.sheets, grid.sheet, sheet)
        return Table(GridReader(grid, found, hints), warnings, grid.sheets)
    if sheet not in (None, 0):
        there = f"; the archive has: {name_sheets(sheets)}" if sheets else ""
        raise NoSuchSheet(f"There is no sheet `{str(sheet)[:60]}`{there}.")
    if found.format == "delimited":
        return Table(DelimitedReader(source, found), warnings, sheets)
    if found.format == "parquet":
        from gristmill.tables.parquet import ParquetReader  # noqa: PLC0415 - loads pyarrow

        return Table(ParquetReader(source, found), warnings, sheets)
    return Table(JsonReader(source, found), warnings, sheets)


def _grid(source: Source, form: Format, sheet: str | int | None) -> Grid:
    if form == "xlsx":
        from gristmill.tables.xlsx import XlsxGrid  # noqa: PLC0415 - not needed for text

        return XlsxGrid(source, sheet)
    from gristmill.tables.sheet_process import ProcessGrid  # noqa: PLC0415 - the same

    return ProcessGrid(source, form, sheet)


def _names(source: Source) -> list[str] | None:
    """Files of the archive that a workbook is."""
    if not source.head.startswith(ZIP_MAGIC):
        return None
    with source.open() as file:
        return list(Archive(file).members)


def _form(name: str | None) -> Format | None:
    """A format by its own name or by a suffix. Raises `Invalid` for any other, which names those there are."""
    if name is None:
        return None
    known: dict[str, Format] = {suffix[1:]: form for suffix, form in _SUFFIXES.items()}
    known |= {form: form for form in get_args(Format)}
    if name not in known:
        raise Invalid(f"`{name[:60]}` is no format that is read; there are: {', '.join(get_args(Format))}.")
    return known[name]


def _check_known(dialect: Dialect | Hints | None) -> None:
    """Raise Invalid for values that no file can be read with."""
    known = asdict(dialect) if isinstance(dialect, Dialect) else dict(dialect or {})
    unknown = known.keys() - {field.name for field in fields(Dialect)}
    if unknown:
        raise Invalid(f"A dialect has no {', '.join(sorted(unknown))}.")
    if known.get("delimiter") == "" or len(str(known.get("quote", ""))) > 1 or len(str(known.get("escape", ""))) > 1:
        raise Invalid("A delimiter has at least one character, quote and escape at most one.")
    if int(str(known.get("preamble", 0))) < 0:
        raise Invalid("The preamble has 0 records or more.")
    try:
        b"ab".decode(str(known.get("encoding", "utf-8")), "replace")
    except (LookupError, ValueError) as error:
        raise Invalid(f"There is no encoding {known['encoding']}.") from error


def _name_warnings(suffix: str, form: Format) -> list[str]:
    named = _SUFFIXES.get(suffix)
    if named is None or named == form or {named, form} == {"json", "jsonl"}:
        return []
    return [f"The file is called {suffix} but its content is {form}, and so it is read."]
