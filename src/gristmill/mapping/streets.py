"""The street: lines that are joined, parts that stand side by side, or one column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gristmill.mapping.addresses import distance, repeated, scope_points
from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.judges import HALF, MOST
from gristmill.mapping.sheet import Facts, Sheet

PARTS = frozenset({"housenumber", "housesuffix", "direction", "streettype", "unitno"})
WANTED = frozenset({"street", "address", "extra", "building"}) | PARTS
UNITS = frozenset({"unit", "suite", "apt", "apartment"})
"""Words for a unit, which stands before the house number in some countries."""
GAP_MAX = 3
"""Columns that may lie between two columns of one address."""
LINE_GAP_MAX = 2
ONE_ADDRESS = 0.3
"""Distance below which two scopes are one address."""
SPLIT = 0.5
"""A split address is preferred to a full one by so many points."""
JOINED = 0.3
"""All lines are preferred to the first alone."""
PARTS_REASON = "the parts of a street stand side by side"
LINES_REASON = "further lines of the same address follow"


def candidates(sheet: Sheet) -> list[Candidate]:
    """Candidates for the street."""
    found = [candidate for group in _groups(sheet) for candidate in (*_from_parts(group), *_from_lines(group))]
    for facts in sheet.columns:
        kind = max(("street", "address", "full"), key=facts.score)
        whole = "full" in facts.said or facts.profile["full_address"] > MOST
        points = facts.score(kind) + scope_points(facts.scope) + repeated(sheet, facts) - SPLIT * whole
        if points > 0:
            found.append(Candidate((facts.index,), points, reason(facts, kind), facts.scope))
    return found


def _groups(sheet: Sheet) -> list[list[Facts]]:
    """Columns of address lines and parts whose headers say so, by scope and nearness."""
    groups: list[list[Facts]] = []
    near: list[list[Facts]] = []
    for facts in sheet.of(*WANTED):
        near = [group for group in near if facts.index - group[-1].index <= GAP_MAX]
        for group in reversed(near):
            if distance(facts.scope, group[-1].scope) < ONE_ADDRESS:
                group.append(facts)
                break
        else:
            groups.append([facts])
            near.append(groups[-1])
    return groups


def _from_parts(group: Sequence[Facts]) -> Iterator[Candidate]:
    """`StreetNum` + `Direction` + `StreetName` + `StreetSufx` + `Unit`."""
    marks = [facts for facts in group if facts.kind in {"housenumber", "streettype"}]
    names = [facts for facts in group if facts.kind == "street"] or [facts for facts in group if _is_unnumbered(facts)]
    if not names or not marks:
        return
    name = min(names, key=lambda facts: abs(facts.index - marks[0].index))
    start = min(name.index, marks[0].index)
    parts = [facts for facts in group if facts is name or facts.kind in PARTS or _follows(facts, start)]
    points = max(name.score("street"), name.score("address")) + scope_points(name.scope) + SPLIT
    yield Candidate(tuple(facts.index for facts in parts), points, (PARTS_REASON,), name.scope)


def _is_unnumbered(facts: Facts) -> bool:
    """`Adresse` beside `Hausnummer`: an address that is only the street."""
    return facts.kind == "address" and not facts.heading.ordinal and facts.profile["has_digit"] < HALF


def _follows(facts: Facts, start: int) -> bool:
    return facts.kind == "extra" and (facts.index > start or any(word.text in UNITS for word in facts.heading.words))


def _from_lines(group: Sequence[Facts]) -> Iterator[Candidate]:
    """`Address 1` + `Address 2` + `Suite`."""
    for position, first in enumerate(group):
        if first.kind not in {"address", "street"} or first.heading.ordinal > 1:
            continue
        lines = [first]
        for facts in group[position + 1 :]:
            if facts.index - lines[-1].index > LINE_GAP_MAX:
                break
            next_line = (lines[-1].heading.ordinal or 1) + 1
            numbered = facts.kind in {"address", "street"} and facts.heading.ordinal == next_line
            if numbered or facts.kind == "extra":
                lines.append(facts)
        if len(lines) > 1:
            # Demonstration values often make only one of the lines look like a street.
            best = max(line.score(line.kind) for line in lines if line is first or line.kind != "extra")
            yield Candidate(
                tuple(facts.index for facts in lines),
                best + scope_points(first.scope) + JOINED,
                (*reason(first, first.kind), LINES_REASON),
                first.scope,
            )
