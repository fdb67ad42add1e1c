"""Company and decision maker: names of businesses and of people, and which of several it is.

The operating or trade name wins over the legal name. A CRM's record owner, an inspector or an assistant is nobody to
talk to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.judges import HALF, MOST
from gristmill.mapping.sheet import LIKELY, Facts, Sheet, number_of

COMPANY_KINDS: Mapping[str, float] = {
    "trade": 0.6, "company": 0.3, "name": 0.2, "legal": -0.7, "displayname": -0.8, "title": -0.9, "alias": -1.2,
    "parent": -1.2, "branch": -1.9,
}  # fmt: skip
"""Kind -> points beside those of the column itself."""
COMPANY_SCOPES: Mapping[str, float] = {
    "other": -1.2, "parent": -1.0, "requester": -1.2, "staff": -2.0, "assistant": -2.0, "person": -0.7, "owner": -0.7,
    "chief": -0.5, "billing": -0.6, "shipping": -0.7, "mailing": -0.6, "home": -1.0,
}  # fmt: skip
PERSON_SCOPES: Mapping[str, float] = {
    "": 0.3, "person": 0.4, "main": 0.4, "work": 0.2, "entity": 0.1, "owner": 0.1, "chief": 0.1, "unknown": 0.0,
    "physical": 0.0, "billing": -0.2, "shipping": -0.5, "mailing": -0.5, "home": 0.0, "other": -0.9, "parent": -0.9,
    "requester": -0.7, "staff": -3.0, "assistant": -3.0, "legal": -0.2,
}  # fmt: skip
EARLY = 0.35
"""Points of the first column over the last: what a table is about stands in front."""
REPETITION = -0.8
"""Points of a company column in which one value stands everywhere."""
ENOUGH = 8
"""Values from which on repetition and emptiness say something."""
SPARSE = 0.1
PAYING = frozenset({"billing", "shipping", "mailing"})
"""Scopes of names that stand on an envelope: a variant, and nobody to talk to."""
PAIRED = 0.5
"""First and last name are preferred to one column with both."""
BESIDE = 2
"""Columns within which two names are one person's."""
PAIRS_MAX = 50
"""First names for which a last name is looked for."""
BUSINESSES = 0.2
"""Share of business names from which on a column does not hold people."""


def in_context(sheet: Sheet) -> Sheet:
    """What names mean beside each other: `Vorname` + `Name` is a family name, `Name` + `Firma` a person."""
    changes: dict[int, Mapping[str, float]] = {}
    firsts, lasts = sheet.of("first"), sheet.of("last")
    generic = [facts for facts in sheet.of("name") if facts.scope.category in {"", "person", "unknown"}]
    if firsts and not lasts:
        named = [facts for facts in sheet.of("person") if facts.scope == firsts[0].scope and "name" in facts.classes]
        changes |= {facts.index: {"last": 0.9} for facts in named[:1] or _beside(generic, firsts[0])}
    elif lasts and not firsts:
        changes |= {facts.index: {"first": 0.9} for facts in _beside(generic, lasts[0])}
    elif firsts and sheet.of("company", "trade"):
        changes |= {facts.index: {"displayname": 0.9, "name": 0.2} for facts in generic}
    elif not firsts:
        changes |= {facts.index: {"person": 0.9, "name": 0.3} for facts in generic if _are_people(facts)}
        named = sheet.of("company", "trade", "name")
        if any(facts.profile["company"] > facts.profile["person"] for facts in named):
            mixed = (
                facts
                for facts in named
                if facts.profile["person"] >= HALF and facts.index not in changes and facts.scope.category not in PAYING
            )
            changes |= {facts.index: {"person": 0.8, "company": 0.5} for facts in mixed}
    if firsts or lasts or sheet.of("person") or any("person" in kinds for kinds in changes.values()):
        designations = [facts for facts in sheet.of("name") if facts.heading.words[0].text == "designation"]
        changes |= {facts.index: {"jobtitle": 0.9} for facts in [*sheet.of("title"), *designations]}
    return sheet.refine(changes)


def _beside(names: list[Facts], other: Facts) -> list[Facts]:
    """The nearest of some columns, if it stands beside another."""
    nearest = min(names, key=lambda facts: abs(facts.index - other.index), default=None)
    return [nearest] if nearest and abs(nearest.index - other.index) <= BESIDE else []


def _are_people(facts: Facts) -> bool:
    return facts.profile["person"] >= HALF and facts.profile["company"] < BUSINESSES


def companies(sheet: Sheet) -> list[Candidate]:
    """Candidates for the company."""
    found: list[Candidate] = []
    filled = any(facts.profile.fill > HALF for facts in sheet.of("company", "name", "trade", "legal"))
    for facts in sheet.columns:
        kind = max(COMPANY_KINDS, key=lambda kind: facts.score(kind) + COMPANY_KINDS[kind])
        points = facts.score(kind) + COMPANY_KINDS[kind] + COMPANY_SCOPES.get(facts.scope.category, 0.0)
        points += EARLY * (1 - facts.index / len(sheet.columns)) - 0.3 * max(0, facts.heading.ordinal - 1)
        if facts.profile.filled >= ENOUGH:
            points += REPETITION * (1 - facts.profile.unique) ** 2
        if filled and facts.profile.rows >= ENOUGH and facts.profile.fill < SPARSE:
            points -= 0.5
        if points > 0:
            found.append(Candidate((facts.index,), points, reason(facts, kind), facts.scope))
    return found


def people(sheet: Sheet) -> list[Candidate]:
    """Candidates for the decision maker: pairs of first and last name, and columns of whole names."""
    found = list(_pairs(sheet))
    for facts in sheet.columns:
        points = facts.score("person") + PERSON_SCOPES.get(facts.scope.category, 0.0)
        points -= 0.2 * max(0, facts.heading.ordinal - 1)
        if points > 0:
            found.append(Candidate((facts.index,), points, reason(facts, "person"), facts.scope))
    return found


def _pairs(sheet: Sheet) -> Iterator[Candidate]:
    named = [facts for facts in sheet.columns if not facts.nameless and facts.score("last") > LIKELY]
    for first in [facts for facts in sheet.columns if facts.score("first") >= LIKELY][:PAIRS_MAX]:
        beside = sheet.columns[first.index + 1 : first.index + 1 + BESIDE] if first.nameless else ()
        lasts = [*named, *(last for last in beside if last.nameless and _may_be_last(last))]
        lasts = [last for last in lasts if last is not first]
        last = min(lasts, key=lambda last: (last.scope != first.scope, abs(last.index - first.index)), default=None)
        if last is None:
            continue
        points = min(first.score("first"), last.score("last") + 1.0 * last.nameless) + PAIRED
        points += PERSON_SCOPES.get(first.scope.category, 0.0) - 0.25 * (number_of(first.scope) - 1)
        why = f"the last name stands in column {last.index + 1}"
        yield Candidate((first.index, last.index), points, (*reason(first, "first"), why), first.scope)


def _may_be_last(facts: Facts) -> bool:
    """Beside a first name: words of more than two letters."""
    worded = facts.profile["has_letter"] > MOST and facts.profile.length > BESIDE
    return worded and facts.score("last") > -SPARSE
