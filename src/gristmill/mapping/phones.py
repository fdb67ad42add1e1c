"""The first and the second voice phone. Fax, pager and the phones of assistants are none."""

from __future__ import annotations

from collections.abc import Mapping

from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.sheet import HEADER_WEIGHT, LIKELY, Facts, Sheet, number_of

PREFERENCE: Mapping[str, float] = {
    "": 0.35, "entity": 0.35, "work": 0.35, "main": 0.2, "physical": 0.36, "unknown": 0.1, "person": -0.05,
    "legal": -0.1,
    "billing": -0.4, "shipping": -0.5, "mailing": -0.5, "owner": -0.5, "chief": -0.4, "home": -0.7, "other": -0.8,
    "parent": -0.9, "requester": -0.8, "staff": -2.5, "assistant": -2.5,
}  # fmt: skip
ORDER, ORDER_NAMELESS = 0.02, 0.3
"""Of equal phones the first column wins; without headers all are equal."""
MOBILE = -0.35
TOLL_FREE = -0.4
UNNAMED = 1.2
SECOND = -0.3
"""Points of a secondary or alternative phone."""
NUMBERED = -0.08
"""Points for each step after the first: `Phone 2`."""
NUMBERED_SCOPE = -0.5
"""The same for whose phone it is: `Contact2 Phone`."""


def candidates(sheet: Sheet) -> list[Candidate]:
    """Candidates for either number; the better one is number1."""
    named = bool(sheet.of("phone"))
    return [
        Candidate((facts.index,), points, reason(facts, "phone"), facts.scope)
        for facts in sheet.columns
        if (points := _points(facts) - _order(facts) * facts.index / len(sheet.columns) - _unnamed(facts, named)) > 0
    ]


def _unnamed(facts: Facts, named: bool) -> float:
    """Points lost by a column that only looks like a phone, where another one is called so."""
    return UNNAMED if named and facts.nameless else 0.0


def _order(facts: Facts) -> float:
    return ORDER_NAMELESS if facts.nameless else ORDER


def _points(facts: Facts) -> float:
    said = facts.said.get("phone", 0.0)
    # Which phone is first is a matter of headers; values only confirm that it is one.
    sure = said > LIKELY
    points = HEADER_WEIGHT * said + 0.03 * facts.values_score("phone") if sure else facts.score("phone")
    points += PREFERENCE.get(facts.scope.category, 0.0)
    if facts.classes & {"fax", "pager"}:
        points -= 3.0
    if facts.classes & {"extra", "alias"}:
        points += SECOND
    if "mobile" in facts.classes:
        points += MOBILE
    if "tollfree" in facts.classes:
        points += TOLL_FREE
    return points + NUMBERED * max(0, facts.heading.ordinal - 1) + NUMBERED_SCOPE * (number_of(facts.scope) - 1)
