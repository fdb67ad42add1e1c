"""The first and the second voice phone. Fax, pager and the phones of assistants are none."""

from __future__ import annotations

from collections.abc import Mapping

from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.sheet import Facts, Sheet

PREFERENCE: Mapping[str, float] = {
    "": 0.35, "entity": 0.35, "work": 0.35, "main": 0.2, "physical": 0.2, "unknown": 0.1, "person": -0.05, "legal": -0.1,
    "billing": -0.4, "shipping": -0.5, "mailing": -0.5, "owner": -0.5, "chief": -0.4, "home": -0.7, "other": -0.8,
    "parent": -0.9, "requester": -0.8, "staff": -2.5, "assistant": -2.5,
}  # fmt: skip
MOBILE = -0.35
TOLL_FREE = -0.4
NUMBERED = -0.08


def candidates(sheet: Sheet) -> list[Candidate]:
    """Candidates for either number; the better one is number1."""
    return [
        Candidate((facts.index,), points, reason(facts, "phone"), facts.scope)
        for facts in sheet.columns
        if (points := _points(facts)) > 0
    ]


def _points(facts: Facts) -> float:
    said = facts.said.get("phone", 0.0)
    # Which phone is first is a matter of headers; values only confirm that it is one.
    points = 3.0 * said + 0.05 * facts.values_score("phone") if said else facts.score("phone")
    points += PREFERENCE.get(facts.scope.category, 0.0)
    if facts.classes & {"fax", "pager"}:
        points -= 3.0
    if "mobile" in facts.classes:
        points += MOBILE
    if "tollfree" in facts.classes:
        points += TOLL_FREE
    number = next((int(word) for word in facts.scope.words if word.isdecimal() and len(word) < 3), 1)  # noqa: PLR2004
    return points + NUMBERED * max(0, facts.heading.ordinal - 1) - 0.5 * max(0, min(number, 5) - 1)
