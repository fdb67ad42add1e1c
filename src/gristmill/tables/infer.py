"""What kind of value is in a cell, and in a column? A view beside the text, never instead of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime

from gristmill.tables.model import Type

SAMPLE_ROWS = 1_000
"""Rows a column's type is inferred from."""
CELL_CHARS_MAX = 256
"""A longer cell is text without a look."""
SHARE_MIN = 0.9
"""Share of the filled cells that must be of a type for the column to be of it."""

_INT = re.compile(r"[+-]?(?:0|[1-9]\d{0,17}|[1-9]\d{0,2}(?:,\d{3}){1,5})")
_FLOAT = re.compile(
    r"[+-]?(?:\d{1,18}\.\d*|\.\d+|(?:0|[1-9]\d{0,17})|[1-9]\d{0,2}(?:,\d{3}){1,5}(?:\.\d*)?)(?:[eE][+-]?\d{1,3})?"
)
_AMOUNT = re.compile(r"[+-]?\s?[$€£¥]\s?[+-]?[\d.,\s]*\d|\(?[$€£¥]?[\d.,]*\d\)?\s?[%€$£¥]?|[+-]?\d{1,15},\d{1,9}")
_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})"
    r"|\d{1,2}[ -](?P<month>[A-Za-z]{3,9})\.?[ -,]\s?\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4})"
    r"(?:[T ]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?\s?(?:[AaPp]\.?[Mm]\.?)?)?(?:\s?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
)
_TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?\s?(?:[AaPp]\.?[Mm]\.?)?")
_EMAIL = re.compile(r"[^\s@<>\",;]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_URL = re.compile(
    r"(?:https?|ftp)://\S+|www\.[\w-]+\.\S+|(?:[a-z0-9-]{1,63}\.){1,4}(?:com|org|net|edu|gov|io)(?:/\S*)?",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?:\+|00)?[\d\s().\-/]{7,24}(?:\s?(?:x|ext\.?|#)\s?\d{1,6})?", re.IGNORECASE)
_ZIP = re.compile(r"\d{5}(?:-\d{4})?|[A-Za-z]\d[A-Za-z] ?\d[A-Za-z]\d|[A-Za-z]{1,2}\d[A-Za-z\d]? \d[A-Za-z]{2}")
_BOOL = re.compile(r"true|false|yes|no|[yntf]", re.IGNORECASE)
_TRUE = frozenset(("true", "yes", "y", "t", "1"))
_ZIP_NAME = re.compile(r"zip|postal|post ?code|^plz$|^cp$|^cap$", re.IGNORECASE)
_PHONE_NAME = re.compile(r"phone|tel|mobile|cell|fax|number ?\d", re.IGNORECASE)
_PHONE_DIGITS = range(7, 16)
_NANP = re.compile(r"1?[2-9]\d{2}[2-9]\d{6}")
# The first that matches wins: narrow kinds before wide ones.
_NUMERIC_SHAPES = (
    ("int", _INT), ("float", _FLOAT), ("date", _DATE), ("time", _TIME), ("zip", _ZIP), ("phone", _PHONE),
    ("amount", _AMOUNT), ("email", _EMAIL), ("url", _URL),
)  # fmt: skip
_WORD_SHAPES = (("email", _EMAIL), ("url", _URL), ("bool", _BOOL), ("zip", _ZIP), ("date", _DATE))
_BY_SHAPE_ALONE: tuple[Type, ...] = ("int", "float", "bool", "date", "email", "url")
_DATE_FORMATS = (
    "%m/%d/%Y", "%m/%d/%y", "%d/%m/%Y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d",
    "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
)  # fmt: skip


def shape(cell: str) -> str:
    """The narrowest kind one cell by itself can be: a Type, `amount`, `time`, or empty for no text.

    A plain run of digits is `int` here even where it is a phone or a zip: only the column can tell.
    """
    cell = cell.strip()
    if not cell or len(cell) > CELL_CHARS_MAX:
        return "text" if cell else ""
    patterns = _NUMERIC_SHAPES if cell[0].isdigit() or cell[0] in "+-($€£¥." else _WORD_SHAPES
    for kind, pattern in patterns:
        if pattern.fullmatch(cell) and (kind != "phone" or _has_phone_length(cell)):
            return kind
    return "text"


def _has_phone_length(cell: str) -> bool:
    return sum(map(str.isdigit, cell)) in _PHONE_DIGITS


def infer(cells: Iterable[str], name: str = "") -> Type:
    """The type of a column from a sample of its cells; its name decides between look-alikes.

    `text` where fewer than SHARE_MIN of the filled cells agree or none is filled.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    if not filled:
        return "text"
    counts = Counter(map(shape, filled))
    total = len(filled) * SHARE_MIN
    zips = sum(1 for cell in filled if _ZIP.fullmatch(cell))
    # Formatted numbers, or ten digits that a North American exchange could have.
    phones = counts["phone"] + sum(1 for cell in filled if cell.isdecimal() and _NANP.fullmatch(cell))
    if zips >= total and (_ZIP_NAME.search(name) or counts["zip"]):
        return "zip"
    if phones >= total or (_PHONE_NAME.search(name) and sum(map(_has_phone_length, filled)) >= total):
        return "phone"
    counts["float"] += counts["int"]
    agreed: list[Type] = [kind for kind in _BY_SHAPE_ALONE if counts[kind] >= total]
    return agreed[0] if agreed else "text"


def typed(cell: str, kind: Type) -> int | float | bool | date | str | None:
    """The cell as a value of its column's type.

    None when the cell is empty; the text itself when it does not fit, so nothing is lost. A day and a
    month that could be swapped are read month first.
    """
    text = cell.strip()
    if not text:
        return None
    value: int | float | bool | date | None = None
    if kind == "int" and _INT.fullmatch(text):
        value = int(text.replace(",", ""))
    elif kind == "float" and _FLOAT.fullmatch(text):
        value = float(text.replace(",", ""))
    elif kind == "bool" and _BOOL.fullmatch(text):
        value = text.lower() in _TRUE
    elif kind == "date":
        value = _parse_date(text)
    return cell if value is None else value


def _parse_date(text: str) -> date | None:
    try:
        return datetime.fromisoformat(text) if len(text) > len("2026-01-31") else date.fromisoformat(text)
    except ValueError:
        pass
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007 (a day has no zone)
        except ValueError:
            continue
    return None
