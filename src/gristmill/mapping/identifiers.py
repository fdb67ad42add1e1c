"""The source's own id of the entity. Licence and tax numbers, ids of something else and GIS ids come after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.sheet import Facts, Sheet

KINDS: Mapping[str, float] = {"id": 0.6, "registration": -0.3, "license": -0.6, "record": -1.0, "gisid": -1.6}
ENTITY_CLASSES = frozenset({"entity", "org", "party", "account"})
EARLY = 0.5
UNIQUE = 0.95
SIREN_REASON = "SIREN and NIC together number a place of business"
FRONT = 3
"""The number of an order or a permit names the row only in one of the first columns."""


def in_context(sheet: Sheet) -> Sheet:
    """`Customer` over numbers is the customer's id, not a name."""
    return sheet.refine({facts.index: {"id": 0.8} for facts in sheet.of("company") if _are_numbers(facts)})


def _are_numbers(facts: Facts) -> bool:
    return bool(facts.profile.filled) and facts.profile["has_letter"] == 0 and facts.profile["has_digit"] > UNIQUE


def candidates(sheet: Sheet) -> list[Candidate]:
    """Candidates for contact_id."""
    width = max(1, len(sheet.columns))
    found: list[Candidate] = []
    for facts in sheet.columns:
        kind = max(KINDS, key=lambda kind, facts=facts: _base(sheet, facts, kind))
        points = _base(sheet, facts, kind) + EARLY * (1 - facts.index / width)
        if kind in facts.said and kind != "record":
            points += _whose(sheet, facts)
        if facts.profile.filled >= 5:  # noqa: PLR2004
            points += 0.8 * (facts.profile.unique - 0.8)
        if points > 0:
            found.append(Candidate((facts.index,), points, reason(facts, kind)))
    return [*found, *_siren(sheet, found)]


def _base(sheet: Sheet, facts: Facts, kind: str) -> float:
    if not facts.nameless:
        late = -1.5 if kind == "record" and facts.index >= FRONT else 0.0
        return facts.score(kind) + late + (KINDS[kind] if kind in facts.said else 0.0)
    # Values alone: the first column is an id more often than any other, and only when its values are all different.
    coded = max(facts.profile["code"], facts.profile["uuid"]) - facts.profile["coordinate"]
    if not sheet.has_header:
        coded = max(coded - facts.profile["date"], facts.profile["integer"])
    certain = facts.profile.unique > UNIQUE and coded > UNIQUE - 0.05
    if kind != "id" or not certain or (facts.index > 0 and not facts.profile["uuid"]):
        return -1.0
    return facts.score(kind) + 0.7


def _whose(sheet: Sheet, facts: Facts) -> float:
    """Points when the id names the same thing as the company column does, or nothing at all."""
    words = {word.text for word in facts.heading.scope if not word.is_number}
    if not words:
        return 0.4
    names = {word.text for column in sheet.of("company", "trade", "name") for word in column.heading.scope}
    if words & names:
        return 0.5
    if facts.classes & ENTITY_CLASSES:
        return 0.2
    return 0.0 if facts.scope.category != "unknown" else -0.2


def _siren(sheet: Sheet, found: Iterable[Candidate]) -> Sequence[Candidate]:
    """France numbers a place of business by two columns, SIREN and NIC."""
    by_name = {facts.heading.text.strip().casefold(): facts.index for facts in sheet.columns}
    siren, nic = by_name.get("siren"), by_name.get("nic")
    scores = {candidate.columns: candidate.score for candidate in found}
    if siren is None or nic is None or abs(siren - nic) > 1 or (siren,) not in scores:
        return []
    return [Candidate((siren, nic), max(scores[siren,], scores.get((nic,), 0.0)) + 0.3, (SIREN_REASON,))]
