"""Stage 2, what was mapped before: the same headers and the same shapes of values get the same mapping again.

A person's edit is used for ever, whatever the values; a proposal only while the columns hold the same kinds of values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from gristmill.mapping.judges import MOST
from gristmill.mapping.model import Mapping
from gristmill.mapping.sheet import Facts

EMPTY = "-"
LETTERS = (("email", "e"), ("url", "u"), ("date", "d"), ("phone_formatted", "p"), ("number", "n"), ("phone", "p"))
"""Shape -> its letter in a signature; the first that most values have decides, and `t` is any text."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A mapping that was settled before."""

    mapping: Mapping
    edited: bool
    """By a person."""


class Cache(Protocol):
    """Where settled mappings are looked up."""

    def find(self, fingerprint: str, fieldset: str) -> Remembered | None:
        """The mapping of tables with these headers, a person's before any other."""
        ...


@dataclass(slots=True)
class Memory:
    """A cache that holds what was loaded before."""

    entries: dict[tuple[str, str], Remembered] = field(default_factory=dict[tuple[str, str], Remembered])

    def find(self, fingerprint: str, fieldset: str) -> Remembered | None:
        """See Cache."""
        return self.entries.get((fingerprint, fieldset))


def recall(cache: Cache, fingerprint: str, fieldset: str, shapes: str, width: int) -> Remembered | None:
    """What is remembered and may be used for so many columns with values of these shapes."""
    found = cache.find(fingerprint, fieldset)
    if found is None or len(found.mapping.columns) != width:
        return None
    return found if found.edited or alike(found.mapping.shapes, shapes) else None


def signature(columns: Iterable[Facts]) -> str:
    """One letter for each column: what its values look like."""
    return "".join(map(_letter, columns))


def alike(one: str, other: str) -> bool:
    """Whether two signatures agree in every column; an empty column agrees with anything."""
    return len(one) == len(other) and all(a == b or EMPTY in {a, b} for a, b in zip(one, other, strict=True))


def _letter(facts: Facts) -> str:
    if not facts.profile.filled:
        return EMPTY
    return next((letter for shape, letter in LETTERS if facts.profile[shape] >= MOST), "t")
