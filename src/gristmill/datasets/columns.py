"""What kind of values a column has, by all of its cells, and a cell as a value of that kind. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any

from gristmill.datasets.model import DatasetColumn, Kind, sql_names, storable
from gristmill.tables import Column, typed

COLUMNS_TYPED_MAX = 400
"""Columns that SQL and filters reach: more would not fit on a page of PostgreSQL when all are filled."""
FIT_SHARE_MIN = 0.9
"""Share of the filled cells that must be of a kind for the column to be of it."""
LOOK_ROWS = 1_000
"""After so many filled cells a column that is of no kind yet is text for good."""
TEXT_CHARS_MAX = 100
"""No number, date or boolean is longer."""
INT_MAX = 2**63 - 1

_INT = re.compile(r"[+-]?(?:0|[1-9]\d{0,18}|[1-9]\d{0,2}(?:,\d{3}){1,5})")
_NUMBER = re.compile(
    r"[+-]?(?:\d{1,18}\.\d*|\.\d+|0|[1-9]\d{0,18}|[1-9]\d{0,2}(?:,\d{3}){1,5}(?:\.\d*)?)(?:[eE][+-]?\d{1,2})?"
)
_MONEY = re.compile(r"(?P<minus>-)?(?P<open>\()?\s?[$€£¥]\s?(?P<digits>[+-]?[\d,]*\.?\d+)(?(open)\))")
_BOOLS = {"true": True, "yes": True, "y": True, "t": True, "false": False, "no": False, "n": False, "f": False}
_TRIPLE = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s?([AaPp]\.?[Mm]\.?)?\s?(Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?"
)
_DATED = re.compile(r"\d{1,4}[-/. ]|[A-Za-z]{3,9}\.? \d{1,2},? ")
"""How every date begins that can be read."""
_CENTURY_TURN = 69
"""Years of two digits from here on are of the last century, as in POSIX."""
_NOON = 12


def read_int(text: str) -> int | None:
    """A whole number that a bigint holds; no leading zeros, commas only between thousands."""
    if not _INT.fullmatch(text):
        return None
    value = int(text.replace(",", ""))
    return value if -INT_MAX <= value <= INT_MAX else None


def read_number(text: str) -> Decimal | None:
    """A decimal number, exact; also with a currency sign, and in brackets for a negative amount."""
    if _NUMBER.fullmatch(text):
        return Decimal(text.replace(",", ""))
    found = _MONEY.fullmatch(text)
    if found is None or not _NUMBER.fullmatch(found["digits"]):
        return None
    value = Decimal(found["digits"].replace(",", ""))
    return -value if found["minus"] or found["open"] else value


def read_bool(text: str) -> bool | None:
    """True, yes, y, t or their opposites, in any case."""
    return _BOOLS.get(text.lower())


def read_moment(text: str, *, day_first: bool) -> datetime | date | None:
    """A day, or a moment where the text has a time; without a zone it is UTC."""
    found = _TRIPLE.fullmatch(text)
    if found is None:
        value = typed(text, "date")
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        return value if isinstance(value, date) else None
    try:
        return _of_triple(found, day_first=day_first)
    except (ValueError, OverflowError):
        return None


def _of_triple(found: re.Match[str], *, day_first: bool) -> datetime | date | None:
    first, separator, second, third = found[1], found[2], int(found[3]), found[4]
    if len(first) > 2:  # noqa: PLR2004 - a year has more than two digits
        year, month, day = int(first), second, int(third)
    elif day_first or separator == ".":
        year, month, day = _year(third), second, int(first)
    else:
        year, month, day = _year(third), int(first), second
    whole = date(year, month, day)
    if found[5] is None:
        return whole
    hour, half = int(found[5]), (found[9] or "").lower()
    if half:
        hour = hour % _NOON + (_NOON if half[0] == "p" else 0)
    fraction = int((found[8] or "0")[:6].ljust(6, "0"))
    zone = _zone(found[10])
    return datetime(year, month, day, hour, int(found[6]), int(found[7] or 0), fraction, zone)


def _year(text: str) -> int:
    value = int(text)
    return value if len(text) > 2 else value + (1900 if value >= _CENTURY_TURN else 2000)  # noqa: PLR2004 - digits


def _zone(text: str | None) -> timezone:
    if text is None or text[0] not in "+-":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def reader(column: DatasetColumn) -> Callable[[str], Any]:
    """A function from a cell to its value: int, Decimal, bool, date, datetime, str; None for empty or unfit cells."""
    kind = column.kind
    if kind == "text":
        return _read_text
    if kind in {"date", "moment"}:
        day_first, whole_days = column.day_first, kind == "date"

        def read(cell: str) -> Any:
            value = read_moment(cell.strip(), day_first=day_first)
            if value is None or isinstance(value, datetime) != whole_days:
                return value
            if whole_days:
                return None
            return datetime(value.year, value.month, value.day, tzinfo=UTC)

        return read
    plain: Callable[[str], Any] = _PLAIN[kind]
    return lambda cell: plain(cell.strip())


def _read_text(cell: str) -> str | None:
    return storable(cell) if cell.strip() else None


_PLAIN: dict[Kind, Callable[[str], Any]] = {"int": read_int, "number": read_number, "bool": read_bool}


_IS_INT, _IS_NUMBER, _IS_BOOL, _DAY_FIRST, _MONTH_FIRST, _TIMED = (1 << bit for bit in range(6))
"""What a cell could be, as bits."""


@lru_cache(maxsize=65_536)
def _signs(text: str) -> int:
    if read_int(text) is not None:
        return _IS_INT | _IS_NUMBER
    if read_number(text) is not None:
        return _IS_NUMBER
    if text.lower() in _BOOLS:
        return _IS_BOOL
    if not _DATED.match(text):
        return 0
    monthly, daily = read_moment(text, day_first=False), read_moment(text, day_first=True)
    timed = isinstance(monthly, datetime) or isinstance(daily, datetime)
    return _DAY_FIRST * (daily is not None) | _MONTH_FIRST * (monthly is not None) | _TIMED * timed


@dataclass(slots=True)
class _Watch:
    """What was seen of one column."""

    column: Column
    open: bool = True
    """Whether it may still be something else than text."""
    filled: int = 0
    ints: int = 0
    numbers: int = 0
    bools: int = 0
    days_first: int = 0
    months_first: int = 0
    timed: int = 0

    def add(self, cells: Sequence[str]) -> None:
        filled = [cell for cell in cells if cell and not cell.isspace()]
        self.filled += len(filled)
        if not self.open or not filled:
            return
        texts = (cell.strip() for cell in filled)
        for signs, count in Counter([_signs(text) if len(text) <= TEXT_CHARS_MAX else 0 for text in texts]).items():
            self.ints += count * bool(signs & _IS_INT)
            self.numbers += count * bool(signs & _IS_NUMBER)
            self.bools += count * bool(signs & _IS_BOOL)
            self.days_first += count * bool(signs & _DAY_FIRST)
            self.months_first += count * bool(signs & _MONTH_FIRST)
            self.timed += count * bool(signs & _TIMED)
        if self.filled > LOOK_ROWS and self._best()[1] < FIT_SHARE_MIN * self.filled:
            self.open = False

    def _best(self) -> tuple[Kind, int]:
        dates = max(self.days_first, self.months_first)
        found: list[tuple[Kind, int]] = [
            ("int", self.ints),
            ("number", self.numbers),
            ("bool", self.bools),
            ("moment" if self.timed else "date", dates),
        ]
        return max(found, key=lambda item: item[1])

    def result(self, sql_name: str | None) -> DatasetColumn:
        kind, fits = self._best()
        if (
            not self.open
            or not self.filled
            or fits < FIT_SHARE_MIN * self.filled
            or self.column.type in {"zip", "phone"}
        ):
            return DatasetColumn(self.column.name, "text", sql_name, self.filled, 0)
        day_first = kind in {"date", "moment"} and self.days_first > self.months_first
        return DatasetColumn(self.column.name, kind, sql_name, self.filled, self.filled - fits, day_first)


class Watches:
    """Looks at every cell of a file, a group of rows at a time, and says of what kind each column is."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._watches = [_Watch(column) for column in columns]
        for watch in self._watches[COLUMNS_TYPED_MAX:]:
            watch.open = False

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Look at some more rows, each with one cell per column."""
        for watch, cells in zip(self._watches, zip(*rows, strict=True), strict=True):
            watch.add(cells)

    def columns(self) -> list[DatasetColumn]:
        """What was found so far."""
        names = sql_names([watch.column.name for watch in self._watches], COLUMNS_TYPED_MAX)
        return [watch.result(name) for watch, name in zip(self._watches, names, strict=True)]
