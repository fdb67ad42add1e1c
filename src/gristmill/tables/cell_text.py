"""How the value of a spreadsheet's cell is written as text.

A cell holds a number and a format that says how it looks. The text keeps the number whole and takes from the format
only what the number alone does not tell: that it is a moment or a duration, and leading zeros and fixed marks of codes
(`02134`, `(555) 010-1234`). Rounding, percent signs, thousands separators and currencies are looks: 0.17158 shown as
17.2% stays 0.17158.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

Formatter = Callable[[float], str]

INTEGER_MAX = 1e21
"""Whole numbers up to here are written with all their digits."""
SECONDS_PER_DAY = 86_400
_MILLISECONDS = 86_400_000
_DAY_MAX = 2_958_466
"""The day after 9999-12-31 in the calendar that starts with 1900."""
_EPOCH_1900 = datetime(1899, 12, 30)  # noqa: DTZ001 - a spreadsheet's moments have no zone
_EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001 - the same
_LEAP_DAY_1900 = 60
"""1900-02-29, which never was, but which spreadsheets count."""

# Numbers of formats that every workbook has without saying so.
_BUILT_IN_DATES = frozenset((14, 15, 16, 17, 22, *range(27, 32), 36, *range(50, 55), 57, 58))
_BUILT_IN_TIMES = frozenset((18, 19, 20, 21, 32, 33, 34, 35, 45, 47, 55, 56))
_BUILT_IN_DURATIONS = frozenset((46,))

_LITERALS = re.compile(r'"[^"]*"|\\.|_.|\*.')
_BRACKETS = re.compile(r"\[(?!h+\]|m+\]|s+\])[^\]]*\]", re.IGNORECASE)
_DURATION = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
_CONDITION = re.compile(r"\[(<=?|>=?|=|<>)(-?\d+(?:\.\d+)?)\]")
_CODE = re.compile(r'(?:[0#?]|"[^"]*"|\\.|[-() /.:+]|_.)+')
_THOUSANDS = re.compile(r'[#0?]{1,3}(?:(?: |"[ \']"|\\ )[#0?]{3})+(?:_.)*')
_CODE_MARK = re.compile(r'"([^"]*)"|\\(.)|_(.)|([0#?])|(.)')


def number(value: float) -> str:
    """A number with every digit it has: whole ones without a point, others in their shortest exact form."""
    if value != value:  # noqa: PLR0124 (what is not a number is not itself)
        return "NaN"
    if value == value // 1 and abs(value) < INTEGER_MAX:
        return str(int(value))
    return repr(value)


def moment(value: float, *, from_1904: bool = False) -> str:
    """A count of days as `2026-01-31 00:00:00`; one below a day is a time, `08:30:00`.

    A cell's moment always has its time, so that all cells of a column are written alike. The number itself where no
    calendar has such a day.
    """
    if not 0 <= value < _DAY_MAX:
        return number(value)
    milliseconds = round(value * _MILLISECONDS)
    if milliseconds < _MILLISECONDS:
        return _clock(milliseconds)
    if from_1904:
        return _iso(_EPOCH_1904 + timedelta(milliseconds=milliseconds))
    days = milliseconds // _MILLISECONDS
    if days == _LEAP_DAY_1900:
        return f"1900-02-29 {_clock(milliseconds % _MILLISECONDS)}"
    return _iso(_EPOCH_1900 + timedelta(days=days < _LEAP_DAY_1900, milliseconds=milliseconds))


def duration(value: float) -> str:
    """A count of days as hours, minutes and seconds, `26:30:00`."""
    milliseconds = round(abs(value) * _MILLISECONDS)
    return f"{'-' if value < 0 else ''}{_clock(milliseconds)}"


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{rest:03}" if rest else text


def _iso(value: datetime) -> str:
    text = value.isoformat(" ")
    return text[:-3] if value.microsecond else text


def value_text(value: Any) -> str:
    """A value that a library read from a workbook, as text."""
    write = _WRITERS.get(type(value), str)
    return write(value)


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: str,
    bool: lambda value: "true" if value else "false",
    int: number,
    float: number,
    datetime: lambda value: _iso(value.replace(tzinfo=None)),
    date: lambda value: f"{value.isoformat()} 00:00:00",
    time: lambda value: value.isoformat(),
    timedelta: lambda value: duration(value.total_seconds() / SECONDS_PER_DAY),
    type(None): lambda _value: "",
}


def formatter(code: str, built_in: int = -1, *, from_1904: bool = False) -> Formatter | None:
    """How numbers of a format are written; None for those that are written plainly.

    `code` is the format as the workbook has it, `built_in` its number when it has none of its own.
    """
    if built_in in _BUILT_IN_DURATIONS or (code and _DURATION.search(code)):
        return duration
    if built_in in _BUILT_IN_DATES or built_in in _BUILT_IN_TIMES or _is_date(code):
        return lambda value: moment(value, from_1904=from_1904)
    return _code_formatter(code)


def _is_date(code: str) -> bool:
    section = _BRACKETS.sub("", _LITERALS.sub("", code.split(";", 1)[0])).lower()
    return "general" not in section and any(letter in section for letter in "ymdhs")


def _code_formatter(code: str) -> Formatter | None:
    """For formats of digits and fixed marks, like `00000` and `[<=9999999]###-####;(###) ###-####`."""
    sections = code.split(";")[:2]
    ways: list[tuple[Callable[[float], bool], Formatter]] = []
    for section in sections:
        condition = _CONDITION.search(section)
        bare = _BRACKETS.sub("", section)
        if not _is_code(bare):
            return None
        ways.append((_test(condition), _fill(bare)))
        if condition is None:
            break

    def write(value: float) -> str:
        if value < 0 or value != value // 1 or value >= INTEGER_MAX:
            return number(value)
        return next((fill(value) for test, fill in ways if test(value)), number(value))

    return write


def _is_code(section: str) -> bool:
    if not _CODE.fullmatch(section):
        return False
    if _THOUSANDS.fullmatch(section):
        return False
    marks = [match.groups() for match in _CODE_MARK.finditer(section)]
    digits = [digit for *_, digit, _ in marks if digit]
    fixed = any(quoted or escaped or other for quoted, escaped, _, digit, other in marks if not digit)
    # `0`, `#` and `0.00` are plain numbers; a code has several zeros in front, or marks between its digits.
    return "." not in section and (digits[:2] == ["0", "0"] or (fixed and len(digits) > 1))


def _test(condition: re.Match[str] | None) -> Callable[[float], bool]:
    if condition is None:
        return lambda _value: True
    sign, limit = condition[1], float(condition[2])
    tests: dict[str, Callable[[float], bool]] = {
        "<": lambda value: value < limit,
        "<=": lambda value: value <= limit,
        ">": lambda value: value > limit,
        ">=": lambda value: value >= limit,
        "=": lambda value: value == limit,
        "<>": lambda value: value != limit,
    }
    return tests[sign]


def _fill(section: str) -> Formatter:
    """Put the digits of a number in the places of a format, from the right; what is left over goes in front."""
    marks: list[tuple[str, str]] = []
    for quoted, escaped, padding, digit, other in (match.groups() for match in _CODE_MARK.finditer(section)):
        if digit:
            marks.append(("digit", digit))
        elif not padding:
            marks.append(("fixed", quoted or escaped or other or ""))
    places = [place for place, (kind, _) in enumerate(marks) if kind == "digit"]

    def write(value: float) -> str:
        digits = str(int(value))
        digits = "" if digits == "0" else digits
        text: list[str] = []
        for place in range(len(marks) - 1, -1, -1):
            kind, mark = marks[place]
            if kind == "fixed":
                text.append(mark)
                continue
            if place == places[0]:
                text.append(digits or ("0" if mark == "0" else ""))
                digits = ""
            elif digits:
                text.append(digits[-1])
                digits = digits[:-1]
            elif mark == "0":
                text.append("0")
        return "".join(reversed(text))

    return write
