"""Nouns and pure rules of matching."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gristmill.base.errors import Invalid

Method = Literal["EXACT", "KEY", "STANDARD", "SEMANTIC"]
"""How a match was found: every compared field equal; the reference's own key in the row; by weighing the fields; by
weighing them, with the meaning of the texts as what tipped it."""
OneToOne = Literal["auto"] | bool
Repeats = Literal["none", "rows", "records"]
"""Which side holds most things several times, by the data: neither, the rows, or the records."""
Row = Mapping[str, Any]
Embed = Callable[[list[str]], Any]
"""Texts -> an array of one vector each, of any length above zero."""

CELL_CHARS_MAX = 2_000
"""Characters of a cell that are compared; what stands behind them tells records apart no further."""
COLUMNS_MAX = 200
"""Columns of a row that are compared, the first ones."""
LIFT_MIN = 0.15
"""Least difference between likely matches and random pairs that shows that two columns hold the same fact."""


class BadKey(Invalid):
    """The reference's key column can't name its rows."""


class BadReference(Invalid):
    """There is no reference to match with: call `prepare` first."""


class BadThreshold(Invalid):
    """The threshold is no number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Match:
    """One row and the record of the reference that it is."""

    left: int
    """Number of the row, from 0."""
    reference_id: str
    """The record's key; its row number from 1 where the reference has no key column."""
    method: Method
    confidence: float
    """Estimated probability that the two are the same thing, 0..1."""
    explanation: str
    """Which fields agree and which do not, in words."""


@dataclass(frozen=True, slots=True)
class FieldPair:
    """Columns of the rows that hold the same fact as columns of the reference."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    kind: Kind
    lift: float
    """How much more alike the two are in likely matches than in random pairs, 0..1."""

    @property
    def label(self) -> str:
        """How a person would call it."""
        return "+".join(self.right)


Kind = Literal["text", "number", "code", "phone", "date", "geo"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What matching a set of rows found."""

    matches: list[Match]
    """At most one per row, in the order of the rows."""
    fields: tuple[FieldPair, ...]
    """What was compared with what."""
    key: str | None
    """The reference's key column; None where its rows are numbered."""
    one_to_one: bool
    """Whether a record may be the match of one row only."""
    threshold: float
    """Confidence from which a pair is a match."""


def check_threshold(threshold: float | None) -> None:
    """Raises `BadThreshold`."""
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise BadThreshold(f"A threshold is a confidence from 0 to 1, not {threshold:g}.")


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every column that any row has, in the order in which they appear."""
    seen: dict[str, None] = {}
    for row in rows:
        for name in row:
            seen.setdefault(name)
    return list(seen)[:COLUMNS_MAX]


def cell(value: Any) -> str:
    """A cell as text: None is empty, numbers as Python writes them."""
    return "" if value is None else str(value)[:CELL_CHARS_MAX]
