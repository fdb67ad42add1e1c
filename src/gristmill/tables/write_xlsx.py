"""Rows -> XLSX, row by row. A text is always a text cell: nothing in it can run, be a link or turn into a number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from gristmill.tables.flatten import cell
from gristmill.tables.source import CHUNK_BYTES

SHEET_ROWS_MAX = 1_048_576
"""Rows of a sheet, header included; further ones go on in a second one."""
SHEET_COLUMNS_MAX = 16_384
CELL_CHARS_MAX = 32_767
"""Characters of a cell; a longer text is cut and says so."""
WHOLE_NUMBER_MAX = 10**15
"""Spreadsheets round longer whole numbers, so these are written as text."""

_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "nan_inf_to_errors": False,
}


def write_xlsx(rows: Iterable[Sequence[Any]], header: Sequence[str], *, sheet: str = "Rows") -> Iterator[bytes]:
    """A workbook, in chunks once it is complete: its directory is written last, so it lies in a temporary file.

    Numbers and booleans are such cells, None is an empty one, everything else is text as `cell` says. The header is
    bold and stays in sight; with more than SHEET_ROWS_MAX rows it stands on every sheet. Columns beyond
    SHEET_COLUMNS_MAX can't be written: raises ValueError.
    """
    if len(header) > SHEET_COLUMNS_MAX:
        raise ValueError(f"A sheet has at most {SHEET_COLUMNS_MAX} columns; there are {len(header)}.")
    with tempfile.TemporaryFile() as file:
        _write_book(file, rows, header, sheet)
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _write_book(file: IO[bytes], rows: Iterable[Sequence[Any]], header: Sequence[str], name: str) -> None:
    book = xlsxwriter.Workbook(file, _OPTIONS)
    bold = book.add_format({"bold": True})

    def new_sheet(number: int) -> Worksheet:
        page = book.add_worksheet(name if number == 1 else f"{name} {number}")
        page.freeze_panes(1, 0)
        for column, title in enumerate(header):
            page.write_string(0, column, _fitting(title), bold)
        return page

    number, line = 1, 0
    page = new_sheet(number)
    for row in rows:
        line += 1
        if line >= SHEET_ROWS_MAX:
            number, line = number + 1, 1
            page = new_sheet(number)
        for column, value in enumerate(row):
            _write_cell(page, line, column, value)
    book.close()


def _write_cell(page: Worksheet, line: int, column: int, value: Any) -> None:
    kind = type(value)
    if kind is str:
        if value:
            page.write_string(line, column, _fitting(value))
    elif kind is bool:
        page.write_boolean(line, column, value)
    elif (kind is int and -WHOLE_NUMBER_MAX < value < WHOLE_NUMBER_MAX) or (kind is float and value - value == 0):
        page.write_number(line, column, value)
    elif value is not None:
        page.write_string(line, column, _fitting(cell(value)))


def _fitting(text: str) -> str:
    """The text, cut where a cell ends; half surrogate pairs, which XML can't hold, become `?`."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= CELL_CHARS_MAX:
        return text
    told = f" ... [cut: {len(text)} characters, the CSV has all of them]"
    return text[: CELL_CHARS_MAX - len(told)] + told
