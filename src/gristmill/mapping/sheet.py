"""The columns of a table as evidence: what each header says and what its values look like, weighed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gristmill.mapping.headings import Heading, read_header, strongest
from gristmill.mapping.judges import JUDGES
from gristmill.mapping.mojibake import mended
from gristmill.mapping.shapes import Profile, profile

HEADER_WEIGHT = 3.0
"""Points of a header that says a kind surely. Values can't outvote it alone: labels follow headers."""
OTHER_KIND = -2.6
"""Points of a kind that the header does not say when it says another one surely."""
UNKNOWN_HEADER = -0.3
"""Points of any kind when no word of the header is known."""
AGREEMENT = 0.25
"""Share of their points that values get for a kind that the header says surely: labels follow headers."""
CONTRADICTION = 0.75
"""Least weight of values that are of another kind: already one `True` is no name."""
VALUES_LIMIT, AGAINST_LIMIT = 2.4, -3.0
"""Most points for a kind, and against it, by values."""

LIKELY = 0.8
"""Points from which on a column looks like a kind."""
NUMBER_DIGITS = 2
"""A longer number in a header is a year."""

CATEGORIES = (
    ("staff", "staff"), ("assistant", "assistant"), ("requester", "requester"), ("parent", "parent"),
    ("owner", "owner"), ("other", "other"), ("alias", "other"), ("home", "home"), ("mailing", "mailing"),
    ("email", "mailing"), ("shipping", "shipping"), ("billing", "billing"), ("holder", "chief"), ("chief", "chief"),
    ("person", "person"), ("physical", "physical"), ("main", "main"), ("work", "work"), ("org", "work"),
    ("entity", "entity"), ("party", "entity"), ("account", "entity"), ("branch", "entity"), ("legal", "legal"),
)  # fmt: skip
"""Meaning of a scope word -> category of the scope; the first that is there decides."""
NEAR_MAX = 20
"""Empty columns that are passed over in search of a neighbour."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose address, phone or name a column holds."""

    category: str = ""
    """`billing`, `home`, `person`, ...; empty for no such word, `unknown` for words that are not in the list."""
    words: tuple[str, ...] = ()
    """What tells two scopes of one category apart: numbers and unknown words."""


def number_of(scope: Scope) -> int:
    """The number in a scope: 2 for `Address 2`, 1 without one."""
    return next(
        (int(word) for word in scope.words if word.isdecimal() and len(word) <= NUMBER_DIGITS and word != "0"), 1
    )


@dataclass(frozen=True)
class Facts:
    """What is known about one column."""

    index: int
    heading: Heading
    profile: Profile
    extra_classes: frozenset[str] = frozenset()
    """What a neighbouring column or a section title adds: `Phone 1 - Type` says `Work`."""
    kinds: Mapping[str, float] | None = None
    """Kinds that the context says instead of the header."""

    @cached_property
    def classes(self) -> frozenset[str]:
        """Meanings of everything that says whose."""
        return self.heading.classes | self.extra_classes

    @cached_property
    def scope(self) -> Scope:
        """Whose it is."""
        category = next((name for meaning, name in CATEGORIES if meaning in self.classes), "")
        telling = tuple(sorted(word.text for word in self.heading.scope if word.is_number or not word.meanings))
        if not category and any(not text.isdecimal() for text in telling):
            category = "unknown"
        return Scope(category, telling)

    @property
    def said(self) -> Mapping[str, float]:
        """Kind -> how surely the header, or the context, says so."""
        return self.heading.kinds if self.kinds is None else self.kinds

    @cached_property
    def kind(self) -> str:
        """The kind that the header says most surely; empty for none."""
        return strongest(self.said)

    @property
    def nameless(self) -> bool:
        """Whether there is no header, or none of its words is known."""
        return not self.said

    def score(self, kind: str) -> float:
        """Points for this column being of a kind: header and values together."""
        said, values = self.said, self.values_score(kind)
        if kind in said:
            # The less sure the header, the more the values may add.
            return HEADER_WEIGHT * said[kind] + (values * (AGREEMENT + 1 - said[kind]) if values > 0 else values)
        if said:
            return OTHER_KIND * max(said.values()) + values
        return (UNKNOWN_HEADER if self.heading.words else 0.0) + values

    def values_score(self, kind: str) -> float:
        """Points by values alone, between AGAINST_LIMIT and VALUES_LIMIT; 0 for an empty column."""
        judge = JUDGES.get(kind)
        if judge is None or not self.profile.filled:
            return 0.0
        points = max(AGAINST_LIMIT, min(VALUES_LIMIT, judge(self.profile)))
        return points * (self.profile.weight if points > 0 else max(self.profile.weight, CONTRADICTION))


@dataclass(frozen=True)
class Sheet:
    """All columns of a table."""

    columns: tuple[Facts, ...]
    has_header: bool
    rows: int = field(default=0)
    """Rows that were sampled."""

    def of(self, *kinds: str) -> list[Facts]:
        """Columns whose header says one of these kinds most surely, in their order."""
        found = [facts for kind in dict.fromkeys(kinds) for facts in self._by_kind.get(kind, ())]
        return sorted(found, key=lambda facts: facts.index) if len(kinds) > 1 else found

    @cached_property
    def _by_kind(self) -> Mapping[str, list[Facts]]:
        found: dict[str, list[Facts]] = {}
        for facts in self.columns:
            found.setdefault(facts.kind, []).append(facts)
        return found

    @cached_property
    def firsts(self) -> Mapping[str, int]:
        """Header -> the first column with values that has it."""
        found: dict[str, int] = {}
        for facts in self.columns:
            if facts.profile.filled:
                found.setdefault(facts.heading.text.strip(), facts.index)
        return found

    def refine(self, changes: Mapping[int, Mapping[str, float]]) -> Sheet:
        """The same sheet with kinds from the context for some columns."""
        columns = (
            replace(facts, kinds=changes[facts.index]) if facts.index in changes else facts for facts in self.columns
        )
        return replace(self, columns=tuple(columns))

    def near(self, index: int, step: int) -> Facts | None:
        """The next column with any value in one direction."""
        for at in range(index + step, index + (NEAR_MAX + 1) * step, step):
            if 0 <= at < len(self.columns) and (self.columns[at].profile.filled or self.columns[at].said):
                return self.columns[at]
        return None


def read_sheet(headers: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Sheet:
    """Facts of every column from the headers and a sample of rows, which may be ragged."""
    headers, rows = mended(headers, rows)
    columns = tuple(
        Facts(
            index,
            read_header(headers[index] if headers is not None and index < len(headers) else ""),
            profile(row[index] if index < len(row) else "" for row in rows),
        )
        for index in range(width)
    )
    return Sheet(columns, headers is not None and any(text.strip() for text in headers), len(rows))
