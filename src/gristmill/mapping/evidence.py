"""Stage 3, local evidence: headers, values, order and neighbours decide together, without network or key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.mapping import addresses, identifiers, labels, people, phones, streets
from gristmill.mapping.assign import Choice, best
from gristmill.mapping.candidates import Candidate
from gristmill.mapping.sheet import Scope, Sheet, read_sheet

ADDRESS_FIELDS = ("street", "city", "state", "zip")
APART = 1.6
"""Points lost by a column that belongs to another address."""
SECOND = 0.05
"""number2 counts a little less, so that the better phone becomes number1."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence says."""

    sheet: Sheet
    choice: Choice
    candidates: dict[str, list[Candidate]]
    points: float


def look(headers: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Sheet:
    """The columns with all that headers, values and neighbours say."""
    sheet = read_sheet(headers, rows, width)
    for in_context in (labels.in_context, identifiers.in_context, people.in_context, addresses.in_context):
        sheet = in_context(sheet)
    return sheet


def decide(headers: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Decision:
    """The best mapping of columns to lead fields by the columns alone."""
    sheet = look(headers, rows, width)
    found = {
        "company": people.companies(sheet),
        "dm_name": people.people(sheet),
        "street": streets.candidates(sheet),
        **addresses.candidates(sheet),
        "number1": phones.candidates(sheet),
        "number2": [Candidate(c.columns, c.score - SECOND, c.reasons, c.scope) for c in phones.candidates(sheet)],
        "contact_id": identifiers.candidates(sheet),
    }
    scopes = {candidate.scope for name in ADDRESS_FIELDS for candidate in found[name]} or {Scope()}
    results = [(*best(found, _apart(scope)), scope) for scope in sorted(scopes, key=lambda s: (s.category, s.words))]
    points, choice, _ = max(results, key=lambda result: result[0])
    return Decision(sheet, _in_order(choice), found, points)


def _apart(scope: Scope):  # noqa: ANN202
    def penalty(name: str, candidate: Candidate) -> float:
        return APART * addresses.distance(candidate.scope, scope) if name in ADDRESS_FIELDS else 0.0

    return penalty


def _in_order(choice: Choice) -> Choice:
    """number1 before number2."""
    if choice["number1"] is None and choice["number2"] is not None:
        return {**choice, "number1": choice["number2"], "number2": None}
    return choice
