"""The columns of a table as evidence: what each header says and what its values look like, weighed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gristmill.mapping.headings import Heading, read_header
from gristmill.mapping.shapes import Profile, profile

HEADER_WEIGHT = 3.0
"""Points of a header that says a kind surely. Values can't outvote it alone: labels follow headers."""
OTHER_KIND = -2.6
"""Points of a kind that the header does not say when it says another one surely."""
UNKNOWN_HEADER = -0.3
"""Points of any kind when no word of the header is known."""
AGREEMENT = 0.25
"""Share of their points that values get for a kind that the header says already: an empty column named so is as good."""
CONTRADICTION = 0.75
"""Least weight of values that are of another kind: already one `True` is no name."""
VALUES_LIMIT = 2.4
"""Most points for or against a kind by values."""

LIKELY = 0.8
"""Points from which on a column looks like a kind."""
NUMBER_DIGITS = 2
"""A longer number in a header is a year."""
HALF, MOST = 0.4, 0.8
"""Shares of values."""

CATEGORIES = (
    ("staff", "staff"), ("assistant", "assistant"), ("requester", "requester"), ("parent", "parent"), ("owner", "owner"),
    ("other", "other"), ("alias", "other"), ("home", "home"), ("mailing", "mailing"), ("email", "mailing"),
    ("shipping", "shipping"), ("billing", "billing"), ("holder", "chief"), ("chief", "chief"), ("person", "person"), ("physical", "physical"),
    ("main", "main"), ("work", "work"), ("org", "work"), ("entity", "entity"), ("party", "entity"), ("account", "entity"),
    ("branch", "entity"), ("legal", "legal"),
)  # fmt: skip
"""Meaning of a scope word -> category of the scope; the first that is there decides."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose address, phone or name a column holds."""

    category: str = ""
    """`billing`, `home`, `person`, ...; empty for no such word, `unknown` for words that are not in the list."""
    words: tuple[str, ...] = ()
    """What tells two scopes of one category apart: numbers and unknown words."""


def number_of(scope: Scope) -> int:
    """The number in a scope: 2 for `Address 2`, 1 without one."""
    return next((int(word) for word in scope.words if word.isdecimal() and len(word) <= NUMBER_DIGITS and word != "0"), 1)


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

    @property
    def kind(self) -> str:
        """The kind that the header says most surely; empty for none."""
        return max(self.said, key=lambda kind: self.said[kind], default="")

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
        """Points by values alone, between -VALUES_LIMIT and VALUES_LIMIT; 0 for an empty column."""
        judge = _JUDGES.get(kind)
        if judge is None or not self.profile.filled:
            return 0.0
        points = max(-VALUES_LIMIT, min(VALUES_LIMIT, judge(self.profile)))
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
        return [facts for facts in self.columns if facts.kind in kinds]

    def refine(self, changes: Mapping[int, Mapping[str, float]]) -> Sheet:
        """The same sheet with kinds from the context for some columns."""
        columns = (
            replace(facts, kinds=changes[facts.index]) if facts.index in changes else facts for facts in self.columns
        )
        return replace(self, columns=tuple(columns))

    def near(self, index: int, step: int) -> Facts | None:
        """The next column with any value in one direction."""
        at = index + step
        while 0 <= at < len(self.columns):
            if self.columns[at].profile.filled or self.columns[at].said:
                return self.columns[at]
            at += step
        return None


def read_sheet(headers: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Sheet:
    """Facts of every column from the headers and a sample of rows, which may be ragged."""
    columns = tuple(
        Facts(
            index,
            read_header(headers[index] if headers is not None and index < len(headers) else ""),
            profile(row[index] if index < len(row) else "" for row in rows),
        )
        for index in range(width)
    )
    return Sheet(columns, headers is not None and any(text.strip() for text in headers), len(rows))


def _phone(p: Profile) -> float:
    like = p["phone"]
    return (
        0.7 * like
        + 1.3 * p["phone_formatted"]
        + 0.8 * p["phone_nanp"]
        - 1.4 * (1 - like)
        - 0.9 * p["date"]
        - 0.6 * p["email"]
    )


def _zip(p: Profile) -> float:
    return -1.5 * p.sequential + 1.0 * p["zip"] + 0.8 * p["zip_letters"] + 0.3 * p["zip5"] - 1.5 * (1 - p["zip"]) - 0.4 * p["date"]


def _state(p: Profile) -> float:
    known = min(1.0, p["state_code"] + p["region"])
    vague = 0.4 if p["place"] + p["upper_code"] > 0.8 else 1.0  # noqa: PLR2004 (words that could be regions of any country)
    return (
        2.2 * p["state_code"] + 1.8 * p["region"] - 1.3 * vague * (1 - known) - 0.5 * p["integer"] - 0.4 * p["company"]
    )


def _city(p: Profile) -> float:
    foreign = p["person"] + p["company"] + p["country"] + 0.5 * p["region"] + p["salutation"] + p["boolean"]
    return (
        0.9 * p["place"]
        - 1.5 * (1 - p["place"])
        - 0.7 * foreign
        - 0.8 * p["upper_code"]
        + 0.3 * (1 - p.unique)
        - 0.8 * p["long"]
    )


def _street(p: Profile) -> float:
    return (
        1.6 * p["street_numbered"]
        + 0.6 * p["street"]
        - 1.1 * (1 - p["street"])
        - 0.8 * p["email"]
        - 0.8 * p["url"]
        - 0.5 * p["long"]
    )


def _full(p: Profile) -> float:
    return 1.5 * p["full_address"] + 0.6 * p["street"] - 1.0 * (1 - p["street"])


def _city_state(p: Profile) -> float:
    return 2.0 * p["city_state"] - 1.4 * (1 - p["city_state"])


def _zip_city(p: Profile) -> float:
    return 1.9 * p["zip_city"] - 1.4 * (1 - p["zip_city"]) - 1.5 * p["street_numbered"]


def _country(p: Profile) -> float:
    return 2.0 * p["country"] - 1.0 * (1 - p["country"])


def _company(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["geometry"] + p["phone"] + 2 * p["boolean"] + p["coordinate"]
    numbers = 1 - p["has_letter"]
    return (
        1.3 * p["company"] + 0.5 * p.unique + 0.2 - 1.6 * other - 2.0 * numbers - 1.2 * p["long"] - 0.9 * p["person"]
        - 0.8 * p["full_address"] - 0.5 * p["upper_code"] - 0.8 * p["code"]
    )  # fmt: skip


def _person(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["phone"] + p["boolean"] + p["zip"] + p["long"]
    classes = 1.2 * (1 - p.unique) if p["person"] < HALF else 0.0  # OWNER: NON-PROFIT, GOVERNMENT
    return 2.2 * p["person"] - 1.5 * other - 0.9 * p["company"] - 0.7 * (1 - p["person"]) - 1.0 * (1 - p["has_letter"]) - classes


def _given(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["phone"] + p["long"] + p["company"]
    return (
        2.0 * p["given"]
        - 0.5 * (1 - p["given"])
        - 1.5 * other
        - 1.0 * (1 - p["has_letter"])
        - 0.3 * max(0.0, p.words - 2)
    )


def _family(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["phone"] + p["long"] + p["company"]
    return 0.6 * p["place"] - 1.5 * other - 1.0 * (1 - p["has_letter"]) - 0.4 * max(0.0, p.words - 2)


def _identifier(p: Profile) -> float:
    coded = max(p["code"], p["integer"], p["uuid"])
    other = (
        p["email"]
        + p["url"]
        + p["geometry"]
        + p["long"]
        + p["boolean"] * (p.distinct < 3)
        + p["coordinate"]
        + p["date"]
    )  # noqa: PLR2004
    return (
        0.9 * coded
        + 1.0 * (p.unique - 0.6)
        - 1.3 * other
        - 0.5 * (1 - coded)
        - 0.8 * p["phone_formatted"] * (1 - p["uuid"])
    )


def _house_number(p: Profile) -> float:
    return 1.5 * p["house_number"] - 1.5 * (1 - p["house_number"])


_JUDGES: Mapping[str, Callable[[Profile], float]] = {
    "phone": _phone,
    "fax": _phone,
    "zip": _zip,
    "state": _state,
    "city": _city,
    "street": _street,
    "address": _street,
    "full": _full,
    "citystatezip": _city_state,
    "zipcity": _zip_city,
    "country": _country,
    "company": _company,
    "name": _company,
    "trade": _company,
    "legal": _company,
    "person": _person,
    "first": _given,
    "last": _family,
    "id": _identifier,
    "registration": _identifier,
    "license": _identifier,
    "housenumber": _house_number,
    "email": lambda p: 2.2 * p["email"] - 1.4 * (1 - p["email"]),
    "url": lambda p: 2.0 * p["url"] - 1.4 * (1 - p["url"]),
    "date": lambda p: 2.0 * p["date"] - 1.4 * (1 - p["date"]),
    "geo": lambda p: (
        1.8 * max(p["coordinate"], p["geometry"]) - 1.2 * (1 - max(p["coordinate"], p["geometry"], p["number"]))
    ),
}
