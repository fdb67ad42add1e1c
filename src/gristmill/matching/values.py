"""What kind of fact a column holds, and its cells as values of that kind."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from gristmill.matching.model import Kind
from gristmill.tables import infer, typed

SAMPLE_CELLS = 1_000
CODE_DIGITS_MIN = 5.0
"""Whole numbers that are at least this long on average are codes (tax, article numbers), not quantities."""
FIXED_DIGITS_MIN = 3
"""The same of whole numbers that nearly all have one length, at least this one: postal codes, years."""
FIXED_SHARE_MIN = 0.95
SHARE_MIN = 0.8
"""Share of the filled cells that must have a kind for the column to be of it."""
CODE_CHARS_MAX = 24
CODE_WORDS_MAX = 2
PHONE_TAIL = 7
"""Last digits of a phone number that make it the same number, whatever stands for the country or the area."""
EARTH_M = 6_371_000.0

_NUMBER = re.compile(r"[^\d.,-]{0,4}?(-?\d[\d.,]*|-?[.,]\d+)\s*[^\d.,]{0,5}")
_POINT = re.compile(r"\s*[(\[]?\s*(-?\d{1,3}[.]\d+)\s*[;,/ ]\s*(-?\d{1,3}[.]\d+)\s*[)\]]?\s*")
_WKT_POINT = re.compile(r"\s*POINT\s*\(\s*(-?\d{1,3}[.]\d+)\s+(-?\d{1,3}[.]\d+)\s*\)\s*", re.IGNORECASE)
_LATITUDE = re.compile(r"^(.*[^a-z])?lat(itude)?([^a-z].*)?$|^y([^a-z].*)?$", re.IGNORECASE)
_LONGITUDE = re.compile(r"^(.*[^a-z])?(lon|lng|long|longitude)([^a-z].*)?$|^x([^a-z].*)?$", re.IGNORECASE)
_DAYS = re.compile(r"(1[89]|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_BY_TYPE: dict[str, Kind] = {
    "phone": "phone", "date": "date", "zip": "code", "email": "text", "url": "text", "bool": "text",
}  # fmt: skip


def kind_of(cells: Sequence[str], name: str) -> Kind:
    """The kind of a column, from its filled cells and its name."""
    filled = [text for text in (cell.strip() for cell in cells) if text][:SAMPLE_CELLS]
    if not filled:
        return "text"
    found = infer(filled, name)
    if found in _BY_TYPE:
        return _BY_TYPE[found]
    least = SHARE_MIN * len(filled)
    if found == "int" and sum(bool(_DAYS.fullmatch(text)) for text in filled) >= least:
        return "date"
    if sum(not math.isnan(number(text)) for text in filled) >= least:
        whole = [text for text in filled if text.isdecimal()]
        return "code" if len(whole) >= least and _has_fixed_width(whole) else "number"
    return "code" if sum(map(_looks_like_code, filled)) >= least else "text"


def _has_fixed_width(whole: Sequence[str]) -> bool:
    """Whether whole numbers are long, or of one length, as codes are."""
    lengths = Counter(map(len, whole))
    length, count = lengths.most_common(1)[0]
    mean = sum(size * times for size, times in lengths.items()) / len(whole)
    return mean >= CODE_DIGITS_MIN or (length >= FIXED_DIGITS_MIN and count >= FIXED_SHARE_MIN * len(whole))


def _looks_like_code(text: str) -> bool:
    """Whether a cell is letters and digits in one or two short words, as postal codes and article numbers are."""
    bare = "".join(char for char in text if char.isalnum())
    return any(map(str.isdigit, bare)) and len(bare) <= CODE_CHARS_MAX and text.count(" ") < CODE_WORDS_MAX


def number(text: str) -> float:
    """A number with what may stand around it (`$1,299.00`, `5.4 %`); NaN for anything else."""
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        return math.nan
    digits = found[1]
    if "," in digits and "." in digits:
        decimal = max(digits.rfind(","), digits.rfind("."))
        digits = re.sub(r"[.,]", "", digits[:decimal]) + "." + digits[decimal + 1 :]
    elif digits.count(",") == 1 and len(digits) - digits.rfind(",") != 4:  # noqa: PLR2004 - no group of three digits
        digits = digits.replace(",", ".")
    elif digits.count(".") > 1:
        digits = digits.replace(".", "")
    try:
        return float(digits.replace(",", ""))
    except ValueError:
        return math.nan


def code(text: str) -> str:
    """A code without its punctuation and leading zeros."""
    found = "".join(char for char in text.casefold() if char.isalnum())
    return found.lstrip("0") or found


def phone(text: str) -> str:
    """A phone number's digits, without an extension and leading zeros."""
    digits = "".join(char for char in re.split(r"(?i)ext|x", text, maxsplit=1)[0] if char.isdecimal())
    return digits.lstrip("0")


def day(text: str) -> str:
    """A date as eight digits; the text's own digits where it is none."""
    text = text.strip()
    value = typed(text, "date")
    if isinstance(value, date):
        return f"{value:%Y%m%d}"
    return "".join(char for char in text if char.isdecimal())


def points_of(
    columns: Sequence[str], cells: dict[str, list[str]]
) -> tuple[tuple[str, ...], NDArray[np.float64]] | None:
    """(columns, positions on a sphere in metres, one row each, NaN where there is none) of a table that has places.

    Places are two columns of degrees called by one of their usual names, or one column of pairs.
    """
    for name in columns:
        pairs = [_point(text) for text in cells[name][:SAMPLE_CELLS] if text.strip()]
        if pairs and sum(pair is not None for pair in pairs) >= SHARE_MIN * len(pairs):
            return (name,), _sphere([_point(text) or (math.nan, math.nan) for text in cells[name]])
    latitude = next((name for name in columns if _LATITUDE.match(name) and _degrees(cells[name], 90)), None)
    longitude = next((name for name in columns if _LONGITUDE.match(name) and _degrees(cells[name], 180)), None)
    if latitude is None or longitude is None:
        return None
    both = [(number(a), number(b)) for a, b in zip(cells[latitude], cells[longitude], strict=True)]
    return (latitude, longitude), _sphere(both)


def _point(text: str) -> tuple[float, float] | None:
    """(latitude, longitude) of one cell."""
    found = _POINT.fullmatch(text)
    if found:
        return float(found[1]), float(found[2])
    found = _WKT_POINT.fullmatch(text)
    return (float(found[2]), float(found[1])) if found else None


def _degrees(cells: Sequence[str], most: int) -> bool:
    """Whether a column holds degrees with a fraction."""
    filled = [text for text in cells[:SAMPLE_CELLS] if text.strip()]
    fitting = [text for text in filled if "." in text and abs(number(text)) <= most]
    return bool(filled) and len(fitting) >= SHARE_MIN * len(filled)


def _sphere(degrees: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    angles = np.radians(np.array(degrees, np.float64).reshape(-1, 2))
    latitude, longitude = angles[:, 0], angles[:, 1]
    flat = np.cos(latitude)
    return EARTH_M * np.column_stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)])
