"""Stage 3, local evidence: headers, values, order and neighbours decide together, without network or key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gristmill.mapping import addresses, identifiers, labels, people, phones, streets
from gristmill.mapping.assign import Choice, best
from gristmill.mapping.candidates import Candidate
from gristmill.mapping.sheet import Scope, Sheet

ADDRESS_FIELDS = ("street", "city", "state", "zip")
APART = 1.6
"""Points lost by a column that belongs to another address."""
SCOPES_MAX = 30
SECOND = 0.05
"""number2 counts a little less, so that the better phone becomes number1."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence says."""

    sheet: Sheet
    choice: Choice
    candidates: dict[str, list[Candidate]]
    points: float


def look(sheet: Sheet) -> Sheet:
    """The columns with what neighbours say too."""
    for in_context in (labels.in_context, identifiers.in_context, people.in_context, addresses.in_context):
        sheet = in_context(sheet)
    return sheet


def decide(sheet: Sheet) -> Decision:
    """The best mapping of columns to lead fields by the columns alone."""
    sheet = look(sheet)
    found = {
        "company": people.companies(sheet),
        "dm_name": people.people(sheet),
        "street": streets.candidates(sheet),
        **addresses.candidates(sheet),
        "number1": phones.candidates(sheet),
        "number2": [Candidate(c.columns, c.score - SECOND, c.reasons, c.scope) for c in phones.candidates(sheet)],
        "contact_id": identifiers.candidates(sheet),
    }
    points, choice = max((best(found, _apart(scope)) for scope in _scopes(found)), key=lambda result: result[0])
    return Decision(sheet, _in_order(choice), found, points)


def _scopes(found: Mapping[str, Sequence[Candidate]]) -> list[Scope]:
    """Whose address it may be: those with the best columns."""
    points: dict[Scope, float] = {}
    for name in ADDRESS_FIELDS:
        for candidate in found[name]:
            points[candidate.scope] = max(points.get(candidate.scope, 0.0), candidate.score)
    kept = sorted(points, key=lambda scope: (-points[scope], scope.category, scope.words))[:SCOPES_MAX]
    return sorted(kept, key=lambda scope: (scope.category, scope.words)) or [Scope()]


def _apart(scope: Scope):  # noqa: ANN202
    def penalty(name: str, candidate: Candidate) -> float:
        return APART * addresses.distance(candidate.scope, scope) if name in ADDRESS_FIELDS else 0.0

    return penalty


def _in_order(choice: Choice) -> Choice:
    """number1 before number2."""
    if choice["number1"] is None and choice["number2"] is not None:
        return {**choice, "number1": choice["number2"], "number2": None}
    return choice
