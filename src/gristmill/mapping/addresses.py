"""Street, city, state and zip: blocks of columns that belong to one address, and lines that are joined.

Where a table has several addresses, the physical one wins over the mailing, billing, shipping and home address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gristmill.mapping.candidates import PLAIN, Candidate, reason
from gristmill.mapping.sheet import Facts, Scope, Sheet

PREFERENCE: Mapping[str, float] = {
    "physical": 0.5, "entity": 0.35, "": 0.35, "main": 0.3, "work": 0.3, "unknown": 0.0, "legal": -0.3, "billing": -0.35,
    "person": -0.4, "shipping": -0.5, "mailing": -0.55, "home": -0.7, "owner": -0.9, "chief": -0.9, "parent": -1.2,
    "other": -1.2, "requester": -1.5, "assistant": -2.0, "staff": -2.0,
}  # fmt: skip
"""Category of a scope -> points of its address."""
NUMBERED = -0.25
"""Points for each step of a numbered address after the first: `Address 2 City`."""
ADDRESS_SCOPES = frozenset({"billing", "shipping", "mailing", "home", "work", "other"})
PARTS = frozenset({"housenumber", "housesuffix", "direction", "streettype", "unitno"})
LINE_KINDS = ("address", "street", "full")
TOWNS = frozenset(
    "city cityname cities town towncity posttown ort stadt ville ciudad poblacion citta cidade plaats plaatsnaam woonplaats by"
    " poststed postort miasto miejscowosc mesto varos".split()
)
LOCALITIES = frozenset("locality village localite localidad localidade community settlement placename naselje".split())
GAP_MAX = 3
"""Columns that may lie between two lines of one address."""
SPLIT_BONUS = 0.5
"""A split address is preferred to a full one."""
COMBINED = -0.5
"""Points of a combined column for a field that could have its own."""


def scope_points(scope: Scope) -> float:
    """Points of an address by whose it is."""
    number = next((int(word) for word in scope.words if word.isdecimal() and len(word) < 3), 1)  # noqa: PLR2004 (no year)
    return PREFERENCE.get(scope.category, 0.0) + NUMBERED * max(0, min(number, 5) - 1)


def distance(one: Scope, other: Scope) -> float:
    """How little two scopes may be one address: 0 for the same, up to 1."""
    if one == other:
        return 0.0
    if one.category == other.category:
        return 0.15 if not one.words or not other.words else 0.6
    if one.category in PLAIN and other.category in PLAIN:
        return 0.05 if {one.category, other.category} <= {"", "entity"} else 0.2
    return 1.0 if one.category in PLAIN or other.category in PLAIN else 0.8


def in_context(sheet: Sheet) -> Sheet:
    """What words mean inside an address: `Billing Code` beside `Billing City` is a zip, `Number` before `Street` a house."""
    changes: dict[int, Mapping[str, float]] = {}
    streets = sheet.of("street")
    for facts in sheet.columns:
        kind = _kind(facts)
        if kind == "id" and facts.heading.words[-1].text in {"code", "pin"} and facts.scope.category in ADDRESS_SCOPES:
            same = [other for other in sheet.of("city", "state", "street", "address") if other.scope == facts.scope]
            zips = [other for other in sheet.of("zip") if other.scope == facts.scope]
            if same and not zips:
                changes[facts.index] = {"zip": 0.9}
        beside = any(abs(street.index - facts.index) <= GAP_MAX for street in streets)
        if beside and "housenumber" in facts.said and facts.values_score("housenumber") >= 0 and not sheet.of("housenumber"):
            changes[facts.index] = {"housenumber": 0.9}
        number = facts.profile["house_number"] > 0.8 and any(street.index == facts.index + 1 for street in streets)  # noqa: PLR2004
        if kind == "building" and number and not sheet.of("housenumber"):
            changes[facts.index] = {"housenumber": 0.9}
    columns = tuple(facts.refine(changes[facts.index]) if facts.index in changes else facts for facts in sheet.columns)
    return Sheet(columns, sheet.has_header, sheet.rows)


def candidates(sheet: Sheet) -> dict[str, list[Candidate]]:
    """Candidates for street, city, state and zip."""
    found: dict[str, list[Candidate]] = {"street": list(_streets(sheet)), "city": [], "state": [], "zip": []}
    for facts in sheet.columns:
        for name, kinds in (
            ("city", (("city", 0.0), ("zipcity", COMBINED), ("citystatezip", COMBINED))),
            ("state", (("state", 0.0), ("citystatezip", COMBINED), ("county", -2.5))),
            ("zip", (("zip", 0.0), ("zipcity", COMBINED), ("citystatezip", COMBINED))),
        ):
            kind, extra = max(kinds, key=lambda item: facts.score(item[0]) + item[1])
            points = facts.score(kind) + extra + scope_points(facts.scope) + _around(sheet, facts, name) + repeated(sheet, facts)
            if points > 0:
                found[name].append(
                    Candidate(
                        (facts.index,),
                        points,
                        reason(facts, kind),
                        facts.scope,
                        shared=kind in {"zipcity", "citystatezip"},
                    )
                )
    return found


def repeated(sheet: Sheet, facts: Facts) -> float:
    """Points lost by a column whose header stood before."""
    text = facts.heading.text.strip()
    before = (other for other in sheet.columns[: facts.index] if text and other.heading.text.strip() == text)
    return -1.5 if any(other.profile.filled for other in before) else 0.0


def _around(sheet: Sheet, facts: Facts, name: str) -> float:
    """Points by neighbours, for a column whose header says nothing: addresses are written in one order everywhere."""
    if facts.said:
        return _rank(facts) if name == "city" else 0.0
    before, after = sheet.near(facts.index, -1), sheet.near(facts.index, 1)
    points = 0.0
    if name == "city":
        points += 0.9 * (
            _is(before, "street") + 0.7 * _is(after, "state") + 0.7 * _is(after, "zip") + 0.5 * _is(before, "zip")
        )
    elif name == "state":
        points += 0.5 * (_is(before, "city") + _is(after, "zip"))
    elif name == "zip":
        points += 0.7 * (
            _is(before, "state") + 0.7 * _is(before, "city") + 0.7 * _is(after, "city") + 0.7 * _is(before, "street")
        )
    return points


def _rank(facts: Facts) -> float:
    """A town before a municipality, a municipality before a locality, where a table has both."""
    words = {word.text for word in facts.heading.words}
    return 0.15 * bool(words & TOWNS) - 0.15 * bool(words & LOCALITIES)


def _is(facts: Facts | None, kind: str) -> bool:
    return facts is not None and facts.score(kind) > 0.8  # noqa: PLR2004 (looks like it, surely enough to lean on)


def _streets(sheet: Sheet) -> Iterator[Candidate]:
    """Streets from parts, from lines, and single columns."""
    for group in _groups(sheet):
        yield from _from_parts(group)
        yield from _from_lines(group)
    for facts in sheet.columns:
        kind = max(("street", "address", "full"), key=facts.score)
        points = facts.score(kind) + scope_points(facts.scope) + repeated(sheet, facts)
        if points > 0:
            yield Candidate(
                (facts.index,), points - (SPLIT_BONUS if "full" in facts.said else 0), reason(facts, kind), facts.scope
            )


def _groups(sheet: Sheet) -> list[list[Facts]]:
    """Columns of address lines and parts whose headers say so, by scope and nearness."""
    wanted = {"street", "address", "extra", "building", *PARTS}
    groups: list[list[Facts]] = []
    for facts in sheet.columns:
        kind = max(facts.said, key=lambda kind: facts.said[kind], default="")
        if kind not in wanted:
            continue
        for group in reversed(groups):
            last = group[-1]
            if facts.index - last.index <= GAP_MAX and distance(facts.scope, last.scope) < 0.3:  # noqa: PLR2004 (one address)
                group.append(facts)
                break
        else:
            groups.append([facts])
    return groups


def _kind(facts: Facts) -> str:
    return max(facts.said, key=lambda kind: facts.said[kind], default="")


def _from_parts(group: Sequence[Facts]) -> Iterator[Candidate]:
    """`StreetNum` + `Direction` + `StreetName` + `StreetSufx` + `Unit`."""
    names = [facts for facts in group if _kind(facts) == "street"]
    kinds = [facts for facts in group if _kind(facts) in {"housenumber", "streettype"}]
    if not names or not kinds:
        return
    name = min(names, key=lambda facts: abs(facts.index - kinds[0].index))
    start = min(name.index, kinds[0].index)
    parts = [f for f in group if _kind(f) in PARTS or f is name or (_kind(f) == "extra" and f.index > start)]
    points = name.score("street") + scope_points(name.scope) + SPLIT_BONUS
    yield Candidate(
        tuple(facts.index for facts in parts), points, ("the parts of a street stand side by side",), name.scope
    )


def _from_lines(group: Sequence[Facts]) -> Iterator[Candidate]:
    """`Address 1` + `Address 2` + `Suite`."""
    for position, first in enumerate(group):
        if _kind(first) not in {"address", "street"} or first.heading.ordinal > 1:
            continue
        lines = [first]
        for facts in group[position + 1 :]:
            line = facts.heading.ordinal
            numbered = _kind(facts) in {"address", "street"} and line == (lines[-1].heading.ordinal or 1) + 1
            if facts.index - lines[-1].index <= 2 and (
                numbered or (_kind(facts) == "extra" and line != 1) or (_kind(facts) == "extra")
            ):  # noqa: PLR2004
                lines.append(facts)
        if len(lines) > 1:
            kind = _kind(first)
            yield Candidate(
                tuple(facts.index for facts in lines),
                max(first.score(kind), *(line.score(_kind(line)) for line in lines[1:] if _kind(line) != "extra"), 0.0)
                + scope_points(first.scope)
                + 0.3,
                (*reason(first, kind), "further lines of the same address follow"),
                first.scope,
            )
