"""Which sheet of a workbook is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gristmill.tables.model import NoSuchSheet, Sheet, Unreadable

SHEETS_NAMED = 20
"""Sheets that a message names."""


def choose_sheet(sheets: Sequence[Sheet], wanted: str | int | None, has_text: Callable[[Sheet], bool]) -> str:
    """The sheet of that name or number, counted from 0; by default the first visible one with text.

    A hidden sheet is read when it is asked for, or when no visible one has any text. Raises NoSuchSheet.
    """
    if isinstance(wanted, int):
        if 0 <= wanted < len(sheets):
            return sheets[wanted].name
        raise NoSuchSheet(f"The workbook has no sheet {wanted}; it has {len(sheets)}, counted from 0.")
    if wanted is not None:
        for same in (str, str.casefold):
            for sheet in sheets:
                if same(sheet.name) == same(wanted):
                    return sheet.name
        raise NoSuchSheet(f"The workbook has no sheet `{wanted[:60]}`; it has: {name_sheets(sheets)}.")
    for visible in (True, False):
        for sheet in sheets:
            if sheet.visible is visible and has_text(sheet):
                return sheet.name
    raise Unreadable("The workbook has no sheet with text.")


def name_sheets(sheets: Sequence[Sheet]) -> str:
    """Names of sheets for a message."""
    names = [f"{sheet.name}{'' if sheet.visible else ' (hidden)'}" for sheet in sheets]
    return ", ".join(names[:SHEETS_NAMED]) + (", ..." if len(names) > SHEETS_NAMED else "")


def sheet_notes(sheets: Sequence[Sheet], chosen: str, wanted: str | int | None) -> list[str]:
    """What a person should know about the choice."""
    if wanted is not None or len(sheets) == 1:
        return []
    return [f"The workbook has {len(sheets)} sheets ({name_sheets(sheets)}). Read is: {chosen}."]
