"""One side of a matching as columns: its cells, plain texts, places, and what is a mere row number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gristmill.matching.model import BadKey, Row, cell, columns_of
from gristmill.matching.text import plain
from gristmill.matching.values import points_of
from gristmill.matching.vectors import Features, Lexicon, make_lexicon

KEY_NAME = re.compile(
    r"^(.*[^a-z])?(id|ids|key|uuid|guid|index|rowid|objectid|fid|pk)$|^(id|key|no|nr|code)\b", re.IGNORECASE
)
MAIN_NAME = re.compile(r"name|title|label|bezeichnung|nom\b|nombre", re.IGNORECASE)
DENSE_MAX = 2.0
"""Numbers spread over at most this many times their count, all different, only count rows."""
_SHAPE = re.compile(r"^(\D*)(\d+)(\D*)$")


@dataclass(slots=True)
class Side:
    """The rows of one side, by column."""

    columns: list[str]
    cells: dict[str, list[str]]
    size: int
    key: str | None = None
    """The column that names the rows."""
    places: tuple[tuple[str, ...], NDArray[np.float64]] | None = None
    plain: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    lexicons: dict[tuple[tuple[str, ...], Features], Lexicon] = field(
        default_factory=dict[tuple[tuple[str, ...], Features], Lexicon]
    )

    @property
    def compared(self) -> list[str]:
        """Columns that are compared as texts and values: all but the key and places."""
        skipped = {self.key, *(self.places[0] if self.places else ())}
        return [name for name in self.columns if name not in skipped]

    def repeats_key(self, column: str) -> bool:
        """Whether a column holds nothing but the key: as an id it says nothing about what the row is."""
        return self.key is not None and self.cells[column] == self.cells[self.key]

    def text_of(self, columns: Iterable[str]) -> list[str]:
        """The plain texts of some columns, joined, for each row."""
        parts = [self.plain_of(name) for name in columns]
        if not parts:
            return [""] * self.size
        return [" ".join(filter(None, texts)) for texts in zip(*parts, strict=True)]

    def plain_of(self, column: str) -> list[str]:
        """The plain texts of a column."""
        if column not in self.plain:
            known: dict[str, str] = {}
            texts = self.cells[column]
            for text in texts:
                if text not in known:
                    known[text] = plain(text)
            self.plain[column] = [known[text] for text in texts]
        return self.plain[column]

    def lexicon_of(self, columns: Sequence[str], kind: Features) -> Lexicon:
        """The features of the texts of some columns; found once."""
        key = (tuple(columns), kind)
        if key not in self.lexicons:
            self.lexicons[key] = make_lexicon(self.text_of(columns), kind)
        return self.lexicons[key]

    def main_columns(self) -> list[str]:
        """The columns that name what a row is: called so, or else the one with the most different texts."""
        named = [name for name in self.compared if MAIN_NAME.search(name)]
        filled = [name for name in named if any(self.cells[name])]
        if filled:
            return filled
        texts = self.compared
        return [max(texts, key=lambda name: len(set(self.cells[name])))] if texts else []


def side_of(rows: Iterable[Row]) -> Side:
    """Rows by column. A row that lacks a column has an empty cell there."""
    rows = list(rows)
    columns = columns_of(rows)
    cells = {name: [cell(row.get(name)) for row in rows] for name in columns}
    side = Side(columns, cells, len(rows))
    side.places = points_of(columns, cells)
    return side


@dataclass(frozen=True, slots=True)
class Distinct:
    """A side with one row for each that differs from all others, their own numbers and keys aside."""

    side: Side
    first: list[int]
    """Row of `side` -> the first of the original rows that are like it."""
    place: list[int]
    """Original row -> row of `side`."""
    counts: NDArray[np.int64]
    """How many original rows are like each row of `side`."""


def distinct(side: Side) -> Distinct:
    """Leave out repeated rows: they would compete with each other, though they are the same answer."""
    columns = [side.cells[name] for name in side.columns if name != side.key]
    seen: dict[tuple[str, ...], int] = {}
    first: list[int] = []
    place: list[int] = []
    for number, row in enumerate(zip(*columns, strict=True) if columns else [()] * side.size):
        at = seen.setdefault(row, len(first))
        if at == len(first):
            first.append(number)
        place.append(at)
    cells = {name: [texts[number] for number in first] for name, texts in side.cells.items()}
    less = Side(side.columns, cells, len(first), side.key)
    if side.places is not None:
        less.places = side.places[0], side.places[1][first]
    return Distinct(less, first, place, np.bincount(place, minlength=len(first)))


def find_key(side: Side, given: str | None) -> str | None:
    """The column whose cells name the rows. Raises `BadKey` when the given one can't."""
    if given is not None:
        if given not in side.cells:
            raise BadKey(f"The reference has no column `{given}`; it has: {', '.join(side.columns)}.")
        empty = sum(not text.strip() for text in side.cells[given])
        if empty:
            raise BadKey(f"The key column `{given}` is empty in {empty} rows of the reference.")
        repeated = side.size - len(set(side.cells[given]))
        if repeated:
            raise BadKey(f"The key column `{given}` repeats a value in {repeated} rows of the reference.")
        return given
    unique = [name for name in side.columns if _is_unique(side.cells[name]) and (len(side.columns) > 1)]
    named = [name for name in unique if KEY_NAME.search(name)]
    if named:
        return named[0]
    return next((name for name in unique if counts_rows(side.cells[name])), None)


def _is_unique(cells: list[str]) -> bool:
    return bool(cells) and all(text.strip() for text in cells) and len(set(cells)) == len(cells)


def counts_rows(cells: list[str]) -> bool:
    """Whether cells are all different and only number the rows (`L00001`, `17`), in whatever order."""
    if not _is_unique(cells):
        return False
    parts = [_SHAPE.match(text.strip()) for text in cells]
    found = [part for part in parts if part is not None]
    if len(found) < len(cells) or len({(part[1], part[3]) for part in found}) > 1:
        return False
    numbers = [int(part[2][:18]) for part in found]
    return max(numbers) - min(numbers) < DENSE_MAX * len(numbers) + 10  # a short list may have gaps
