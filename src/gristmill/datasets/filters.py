"""Filters on records: JSON to a checked condition. Pure; the SQL of a condition is in rows_store.py.

    {"city": "Paris"}                                  equal
    {"price": {"gte": 10, "lt": 20}}                   a range; several operators of a column must all hold
    {"city": {"in": ["Paris", "Rome"]}}                one of several; also `nin`, `eq`, `ne`
    {"and": [...]}, {"or": [...]}, {"not": {...}}      combined; several keys of an object must all hold

Operators may be written with a dollar sign, `$and`, `$gte`; that is the only form for a combination whose name is also
that of a column. An empty or unfit cell is null: it equals null only, is in no range, and `ne` and `nin` hold for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from gristmill.base.errors import FieldError, Invalid
from gristmill.datasets.columns import read_number, reader
from gristmill.datasets.model import DatasetColumn, storable

DEPTH_MAX = 20
CONDITIONS_MAX = 1_000
"""Comparisons in one filter, each value of an `in` counted."""
COLUMNS_SHOWN = 40

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
_OPERATORS: frozenset[str] = frozenset({"eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"})
_RANGES = frozenset({"gt", "gte", "lt", "lte"})
_LISTS = frozenset({"in", "nin"})
_COMBINATIONS = frozenset({"and", "or", "not"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column beside values of its kind."""

    column: int
    """Index of the column."""
    operator: Operator
    values: tuple[Any, ...]
    """One value, or those of a list; None is null."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions that must all hold, or one of which must; of `not` there is one, which must not."""

    word: Literal["and", "or", "not"]
    parts: tuple[Condition, ...]


Condition = Comparison | Combination


class UnknownColumn(Invalid):
    """The filter names a column that the dataset does not have."""


def parse(value: Any, columns: Sequence[DatasetColumn], name: str = "filter") -> Condition:
    """A checked condition over a dataset's columns. Raises `Invalid` with the place; `UnknownColumn` for a column."""
    known = {column.name: index for index, column in enumerate(columns) if column.sql_name is not None}
    return _Parser(columns, known).condition(value, name, 0)


@dataclass(slots=True)
class _Parser:
    columns: Sequence[DatasetColumn]
    known: Mapping[str, int]
    conditions: int = 0

    def condition(self, value: Any, place: str, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise _wrong(place, f"is nested more than {DEPTH_MAX} levels deep")
        if not isinstance(value, dict):
            raise _wrong(place, "must be an object")
        parts = [
            self._part(str(key), item, f"{place}.{key}", depth) for key, item in cast("dict[str, Any]", value).items()
        ]
        return parts[0] if len(parts) == 1 else Combination("and", tuple(parts))

    def _part(self, key: str, value: Any, place: str, depth: int) -> Condition:
        word = key.removeprefix("$")
        if word in _COMBINATIONS and (key.startswith("$") or key not in self.known):
            return self._combination(word, value, place, depth)
        if key not in self.known:
            shown = ", ".join(list(self.known)[:COLUMNS_SHOWN])
            raise UnknownColumn(
                f"`{key[:80]}` is no column; there are: {shown}.", errors=(FieldError(place, "is no column"),)
            )
        index = self.known[key]
        if not isinstance(value, dict):
            return self._comparison(index, "eq", value, place)
        operators = cast("dict[str, Any]", value)
        if not operators:
            raise _wrong(place, "needs an operator")
        parts = [self._comparison(index, str(word), item, f"{place}.{word}") for word, item in operators.items()]
        return parts[0] if len(parts) == 1 else Combination("and", tuple(parts))

    def _combination(self, word: str, value: Any, place: str, depth: int) -> Combination:
        if word == "not":
            return Combination("not", (self.condition(value, place, depth + 1),))
        if not isinstance(value, list):
            raise _wrong(place, "must be a list of conditions")
        items = cast("list[Any]", value)
        parts = tuple(self.condition(item, f"{place}.{number}", depth + 1) for number, item in enumerate(items))
        return Combination("and" if word == "and" else "or", parts)

    def _comparison(self, index: int, operator: str, value: Any, place: str) -> Comparison:
        word = operator.removeprefix("$")
        if word not in _OPERATORS:
            raise _wrong(place, f"is no operator; there are: {', '.join(sorted(_OPERATORS))}")
        if (word in _LISTS) != isinstance(value, list):
            raise _wrong(place, "must be a list" if word in _LISTS else "must not be a list")
        values = cast("list[Any]", value) if word in _LISTS else [value]
        self.conditions += max(1, len(values))
        if self.conditions > CONDITIONS_MAX:
            raise _wrong(place, f"is one comparison too many; {CONDITIONS_MAX} are allowed")
        if word in _RANGES and value is None:
            raise _wrong(place, "can't be null")
        converted = tuple(_converted(item, self.columns[index], place) for item in values)
        return Comparison(index, cast("Operator", word), converted)


def _converted(value: Any, column: DatasetColumn, place: str) -> Any:
    """A value of the column's kind."""
    if value is None:
        return None
    if isinstance(value, (dict, list)):
        raise _wrong(place, "must be a text, a number, true, false or null")
    if column.kind == "text":
        return storable(_text(value))
    # Whole numbers are compared with decimals as well: 2.5 lies between two of them.
    found = read_number(_text(value).strip()) if column.kind == "int" else reader(column)(_text(value))
    if found is None or (column.kind == "bool") != isinstance(found, bool):
        raise _wrong(place, f"must be of the column's kind, {column.kind}")
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _wrong(place: str, message: str) -> Invalid:
    return Invalid(f"`{place[:200]}` {message}.", errors=(FieldError(place[:200], message),))
