"""Company and decision maker: names of businesses and of people, and which of several it is.

The operating or trade name wins over the legal name. A CRM's record owner, an inspector or an assistant is nobody to
talk to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.sheet import Facts, Scope, Sheet

COMPANY_KINDS: Mapping[str, float] = {
    "trade": 0.6, "company": 0.3, "name": 0.2, "legal": -0.7, "displayname": -0.8, "title": -0.9, "alias": -1.2,
    "parent": -1.2, "branch": -1.9,
}  # fmt: skip
"""Kind -> points beside those of the column itself."""
PERSON_SCOPES: Mapping[str, float] = {
    "": 0.3, "person": 0.4, "main": 0.4, "work": 0.2, "entity": 0.1, "owner": 0.1, "chief": 0.1, "unknown": 0.0, "physical": 0.0,
    "billing": -0.2, "shipping": -0.5, "mailing": -0.5, "home": 0.0, "other": -0.9, "parent": -0.9, "requester": -0.7,
    "staff": -3.0, "assistant": -3.0, "legal": -0.2,
}  # fmt: skip
COMPANY_SCOPES: Mapping[str, float] = {
    "other": -1.2, "parent": -1.0, "requester": -1.2, "staff": -2.0, "assistant": -2.0, "person": -0.7, "owner": -0.7, "chief": -0.5,
    "billing": -0.6, "shipping": -0.7, "mailing": -0.6, "home": -1.0,
}  # fmt: skip
EARLY = 0.35
"""Points of the first column over the last: what a table is about stands in front."""


def in_context(sheet: Sheet) -> Sheet:
    """What names mean beside each other: `Vorname` + `Name` is a family name, `Name` + `Firma` a person."""
    firsts, lasts = sheet.of("first"), sheet.of("last")
    changes: dict[int, Mapping[str, float]] = {}
    generic = [facts for facts in sheet.of("name") if facts.scope.category in {"", "person", "unknown"}]
    named = [facts for facts in sheet.of("person") if firsts and facts.scope == firsts[0].scope and "name" in facts.classes]
    if firsts and not lasts and named:
        changes[named[0].index] = {"last": 0.9, "person": 0.3}
    elif firsts and not lasts and generic:
        nearest = min(generic, key=lambda facts: abs(facts.index - firsts[0].index))
        if abs(nearest.index - firsts[0].index) <= 2:  # noqa: PLR2004 (side by side, or with a title between)
            changes[nearest.index] = {"last": 0.9, "name": 0.3}
    if lasts and not firsts and generic:
        nearest = min(generic, key=lambda facts: abs(facts.index - lasts[0].index))
        if abs(nearest.index - lasts[0].index) <= 2:  # noqa: PLR2004
            changes[nearest.index] = {"first": 0.9, "name": 0.3}
    if firsts or lasts or sheet.of("person"):
        for facts in [*sheet.of("title"), *(name for name in sheet.of("name") if name.heading.words[0].text == "designation")]:
            changes[facts.index] = {"jobtitle": 0.9}
    if firsts or lasts:
        for facts in generic:
            if facts.index not in changes and firsts and lasts and _is_named_person(sheet, facts):
                changes[facts.index] = {"displayname": 0.9, "name": 0.2}
    else:
        for facts in generic:
            if facts.profile["person"] >= 0.5 and facts.profile["company"] < 0.2:  # noqa: PLR2004 (mostly people)
                changes[facts.index] = {"person": 0.9, "name": 0.3}
                for title in sheet.of("title"):
                    changes[title.index] = {"jobtitle": 0.9}
        named = sheet.of("company", "trade", "name")
        businesses = [facts for facts in named if facts.profile["company"] > facts.profile["person"]]
        for facts in named:
            if businesses and facts.profile["person"] >= 0.4 and facts.index not in changes:  # noqa: PLR2004
                changes[facts.index] = {"person": 0.8, "company": 0.5}
    columns = tuple(facts.refine(changes[facts.index]) if facts.index in changes else facts for facts in sheet.columns)
    return Sheet(columns, sheet.has_header, sheet.rows)


def _is_named_person(sheet: Sheet, facts: Facts) -> bool:
    """Whether a bare `Name` is the person's: the company has a column of its own, or the names are people's."""
    del facts
    return bool(sheet.of("company", "trade"))


def companies(sheet: Sheet) -> list[Candidate]:
    """Candidates for the company."""
    found: list[Candidate] = []
    width = max(1, len(sheet.columns))
    for facts in sheet.columns:
        kind = max(COMPANY_KINDS, key=lambda kind: facts.score(kind) + COMPANY_KINDS[kind])
        points = facts.score(kind) + COMPANY_KINDS[kind] + COMPANY_SCOPES.get(facts.scope.category, 0.0)
        points += EARLY * (1 - facts.index / width) - 0.3 * max(0, facts.heading.ordinal - 1)
        if facts.profile.filled >= 8:  # noqa: PLR2004 (a few values say nothing about repetition)
            points -= 0.8 * (1 - facts.profile.unique) ** 2
        if facts.profile.rows >= 8 and facts.profile.fill < 0.1 and _others_filled(sheet, kind):  # noqa: PLR2004
            points -= 0.5
        if points > 0:
            found.append(Candidate((facts.index,), points, reason(facts, kind), facts.scope))
    return found


def _others_filled(sheet: Sheet, kind: str) -> bool:
    return any(facts.profile.fill > 0.5 for facts in sheet.of("company", "name", "trade", "legal") if kind)  # noqa: PLR2004


def people(sheet: Sheet) -> list[Candidate]:
    """Candidates for the decision maker: pairs of first and last name, and columns of whole names."""
    found = list(_pairs(sheet))
    for facts in sheet.columns:
        points = (
            facts.score("person")
            + PERSON_SCOPES.get(facts.scope.category, 0.0)
            - 0.2 * max(0, facts.heading.ordinal - 1)
        )
        if points > 0:
            found.append(Candidate((facts.index,), points, reason(facts, "person"), facts.scope))
    return found


def _pairs(sheet: Sheet) -> Iterator[Candidate]:
    for first in sheet.columns:
        if first.score("first") < 0.8:  # noqa: PLR2004 (neither the header nor the values say given name)
            continue
        lasts = [
            last
            for last in sheet.columns
            if last.index != first.index and last.score("last") > 0.8 - 0.8 * last.nameless
        ]  # noqa: PLR2004
        near = sorted(
            lasts,
            key=lambda last: (
                last.scope != first.scope,
                last.nameless and not first.nameless,
                abs(last.index - first.index),
            ),
        )
        if not near or (near[0].nameless and abs(near[0].index - first.index) > 2):  # noqa: PLR2004
            continue
        last = near[0]
        points = (
            min(first.score("first"), last.score("last") + 1.0 * last.nameless)
            + PERSON_SCOPES.get(first.scope.category, 0.0)
            + 0.5
        )
        points -= 0.25 * _number(first.scope)
        yield Candidate(
            (first.index, last.index),
            points,
            (*reason(first, "first"), f"the last name stands in column {last.index}"),
            first.scope,
        )


def _may_be_last(facts: Facts) -> bool:
    if facts.nameless:
        return bool(facts.profile.filled) and facts.score("last") > -0.1 and facts.profile.length > 2 and facts.profile["has_letter"] > 0.9  # noqa: PLR2004
    return facts.score("last") > 0.8  # noqa: PLR2004


def _number(scope: Scope) -> int:
    return max(0, next((int(word) for word in scope.words if word.isdecimal() and len(word) < 3), 1) - 1)  # noqa: PLR2004
