"""Many nested values at once as flat columns: what `flatten` answers for each of them, found level by level.

Results of one agent are mostly alike. So a level of all values is taken apart in a few calls of the interpreter's own
loops (their keys, the types below each key), and only where values differ are they sorted into groups. What that can't
do as `flatten` does it (colliding paths, too many shapes, too many columns) is left to `flatten`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from gristmill.tables.flatten import COLUMNS_MAX, DEPTH_MAX, flatten

GROUPS_SHARE_MAX = 0.25
"""With more groups for each value, taking them apart one by one is as quick."""
GROUPS_MIN = 16

Values = Sequence[Any]
Groups = dict[Any, tuple[Values, Sequence[int]]]
"""By what they have in common: the values, and which rows they belong to."""

_NESTED = frozenset((dict, list))
_KNOWN = frozenset((dict, list, str, int, float, bool, type(None)))


class FlatColumn(NamedTuple):
    """One dotted path of some values."""

    name: str
    rows: Sequence[int]
    """Which of the values have it, ascending."""
    cells: Sequence[Any]
    """What they have there, one for each of `rows`."""

    def filled(self, count: int) -> Sequence[Any]:
        """The cells of all `count` values, None where a value has no such path."""
        if len(self.cells) == count:
            return self.cells
        cells: list[Any] = [None] * count
        for row, cell in zip(self.rows, self.cells, strict=True):
            cells[row] = cell
        return cells


def flat_columns(values: Sequence[Any]) -> list[FlatColumn]:
    """The columns of some values, in the order in which they are first met value after value."""
    if not values:
        return []
    try:
        return _Spreading(len(values)).columns(values)
    except _Unlike:
        return _one_by_one(values)


def _one_by_one(values: Sequence[Any]) -> list[FlatColumn]:
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for row, value in enumerate(values):
        for name, cell in flatten(value).items():
            rows, cells = columns.setdefault(name, ([], []))
            rows.append(row)
            cells.append(cell)
    return [FlatColumn(name, rows, cells) for name, (rows, cells) in columns.items()]


class _Unlike(Exception):
    """The values have too little in common, or paths collide."""


class _Spreading:
    """Some values on their way."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.groups_left = GROUPS_MIN + int(GROUPS_SHARE_MAX * count)
        self.parts: list[FlatColumn] = []

    def columns(self, values: Sequence[Any]) -> list[FlatColumn]:
        """Raises _Unlike."""
        self.spread("", values, range(self.count), 1)
        # The parts of one value are in its own order, so the first value that has a path decides where that stands.
        self.parts.sort(key=lambda part: part.rows[0])
        columns: dict[str, list[FlatColumn]] = {}
        for part in self.parts:
            columns.setdefault(part.name, []).append(part)
        return [_joined(parts) for parts in columns.values()]

    def spread(self, path: str, values: Sequence[Any], rows: Sequence[int], depth: int) -> None:
        """What some rows have at a path; `depth` counts from 1 for the value itself, as `flatten` does."""
        kinds = set(map(type, values))
        if any(issubclass(kind, (dict, list)) for kind in kinds - _KNOWN):
            raise _Unlike
        if kinds.isdisjoint(_NESTED) or depth > DEPTH_MAX or not any(values):
            self.put(path, values, rows, depth)
            return
        groups = {kinds.pop(): (values, rows)} if len(kinds) == 1 and all(values) else self.by_kind(values, rows)
        for kind, (members, places) in groups.items():
            if kind is dict:
                self.spread_objects(path, members, places, depth)
            elif kind is list:
                self.spread_lists(path, members, places, depth)
            else:
                self.put(path, members, places, depth)

    def spread_objects(self, path: str, objects: Values, rows: Sequence[int], depth: int) -> None:
        prefix = f"{path}." if depth > 1 else ""
        shapes = set(map(tuple, objects))
        groups = (
            {shapes.pop(): (objects, rows)} if len(shapes) == 1 else self.grouped(map(tuple, objects), objects, rows)
        )
        for shape, (members, places) in groups.items():
            if set(map(type, shape)) != {str}:  # other keys may be equal and look different
                raise _Unlike
            for key in shape:
                self.spread(f"{prefix}{key}", list(map(itemgetter(key), members)), places, depth + 1)

    def spread_lists(self, path: str, lists: Values, rows: Sequence[int], depth: int) -> None:
        prefix = f"{path}." if depth > 1 else ""
        lengths = list(map(len, lists))
        shortest = min(lengths)
        for index in range(shortest):
            self.spread(f"{prefix}{index}", list(map(itemgetter(index), lists)), rows, depth + 1)
        for index in range(shortest, max(lengths)):
            self.take_group()
            places = [place for place, length in enumerate(lengths) if length > index]
            values = [lists[place][index] for place in places]
            self.spread(f"{prefix}{index}", values, [rows[place] for place in places], depth + 1)

    def by_kind(self, values: Values, rows: Sequence[int]) -> Groups:
        """Objects, lists, and what is one cell: scalars and what is empty."""
        return self.grouped(
            [type(value) if value and type(value) in _NESTED else None for value in values], values, rows
        )

    def grouped(self, keys: Iterable[Any], values: Values, rows: Sequence[int]) -> Groups:
        groups: dict[Any, tuple[list[Any], list[int]]] = {}
        for key, value, row in zip(keys, values, rows, strict=True):
            if key not in groups:
                self.take_group()
                groups[key] = ([], [])
            members, places = groups[key]
            members.append(value)
            places.append(row)
        return {**groups}

    def take_group(self) -> None:
        self.groups_left -= 1
        if self.groups_left < 0:
            raise _Unlike

    def put(self, path: str, cells: Values, rows: Sequence[int], depth: int) -> None:
        self.parts.append(FlatColumn(path if depth > 1 else "value", rows, cells))
        if len(self.parts) >= COLUMNS_MAX:
            raise _Unlike


def _joined(parts: list[FlatColumn]) -> FlatColumn:
    """Parts of one column as one. Raises _Unlike where one value has the path twice."""
    if len(parts) == 1:
        return parts[0]
    cells = dict(chain.from_iterable(zip(part.rows, part.cells, strict=True) for part in parts))
    if len(cells) < sum(len(part.rows) for part in parts):
        raise _Unlike
    rows = sorted(cells)
    return FlatColumn(parts[0].name, rows, [cells[row] for row in rows])
