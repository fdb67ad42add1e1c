"""What the values of a column look like, whatever its header says.

A profile is the share of a column's different values that have each shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gristmill.mapping.values import shapes

VALUES_MAX = 200
"""Different values of a column that are looked at."""
VALUE_CHARS_MAX = 300
"""A longer value is looked at up to here."""
NUMBER_DIGITS_MAX = 15
COUNTING_MIN, COUNTING_SHARE = 3, 0.7
"""Values, and share of steps by one, that make a column count up."""
NULLS = frozenset(
    {"", "-", "--", "n/a", "na", "null", "none", "nan", "nil", "#n/a", "\\n", "<na>", "unknown", "tbd", "(null)"}
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What the sampled values of one column look like."""

    rows: int
    """Rows that were sampled."""
    filled: int
    """Cells with a value."""
    distinct: int
    """Different values among them."""
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """Shape -> share of the different values that have it."""
    samples: tuple[str, ...] = ()
    """The first three different values."""
    length: float = 0.0
    """Mean characters of a value."""
    words: float = 0.0
    """Mean words of a value."""
    sequential: bool = False
    """Whether the values are numbers that count up by one."""

    def __getitem__(self, shape: str) -> float:
        return self.shares.get(shape, 0.0)

    @property
    def fill(self) -> float:
        """Share of the rows with a value."""
        return self.filled / self.rows if self.rows else 0.0

    @property
    def unique(self) -> float:
        """Different values per value."""
        return self.distinct / self.filled if self.filled else 0.0

    @property
    def weight(self) -> float:
        """How much the values may say, 0..1: little when there are few."""
        return min(1.0, 0.4 + 0.15 * self.distinct + 0.02 * self.filled) if self.filled else 0.0


def profile(cells: Iterable[str]) -> Profile:
    """Look at the cells of one column."""
    rows = filled = 0
    seen: dict[str, None] = {}
    for cell in cells:
        rows += 1
        value = cell.strip()
        if value.casefold() in NULLS:
            continue
        filled += 1
        seen[value[:VALUE_CHARS_MAX]] = None
    values = list(seen)[:VALUES_MAX]
    if not values:
        return Profile(rows, 0, 0)
    shares: dict[str, int] = {}
    for value in values:
        for shape in shapes(value):
            shares[shape] = shares.get(shape, 0) + 1
    total = len(values)
    return Profile(
        rows,
        filled,
        len(seen),
        {shape: count / total for shape, count in shares.items()},
        tuple(values[:3]),
        sum(map(len, values)) / total,
        sum(len(value.split()) for value in values) / total,
        _counts_up(values),
    )


def _counts_up(values: Sequence[str]) -> bool:
    numbers = [int(value) for value in values if value.isdecimal() and len(value) <= NUMBER_DIGITS_MAX]
    steps = sum(1 for one, next_one in pairwise(numbers) if next_one == one + 1)
    return len(numbers) == len(values) >= COUNTING_MIN and steps >= COUNTING_SHARE * (len(numbers) - 1)
