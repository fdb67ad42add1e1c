"""Search variants: columns that feed no field and yet help to find a lead.

Other names, other addresses, further phones, licence and tax numbers, and second ids of the same thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from gristmill.mapping.header_rules import ID_WORDS
from gristmill.mapping.people import PAYING
from gristmill.mapping.sheet import Facts, Sheet

NAMES = frozenset({"trade", "legal", "alias", "parent", "branch", "displayname"})
PLACES = frozenset({"street", "address", "extra", "city", "state", "zip"})
NUMBERS = frozenset({"registration", "license"})
APART = frozenset(
    {"billing", "shipping", "mailing", "home", "other", "owner", "chief", "person", "legal", "parent", "requester"}
)
"""Scopes whose address is another one than the lead's."""
BESIDE: Mapping[str, frozenset[str]] = {"entity": frozenset({"main"}), "physical": frozenset({"main", "entity"})}
"""Scope of the lead's address -> scopes that are another address beside it: the head office, who runs the place."""
OWN_IDS = frozenset({"", "entity", "work", "unknown"})
"""Scopes whose ids are of the lead itself."""
POINTS_MIN = 1.8
"""Points that a name or a number needs: its header is sure and its values do not contradict."""
SERIES = 4
"""So many columns of one name are a list of something else: `Org Abbrev1` .. `Org Abbrev10`."""


def variants(sheet: Sheet, used: Collection[int]) -> tuple[int, ...]:
    """Columns that become variants, in their order."""
    series = Counter(_words(facts) for facts in sheet.columns)
    chosen = {facts.scope.category for facts in sheet.columns if facts.index in used and facts.kind in PLACES}
    apart = APART.union(*(others for category, others in BESIDE.items() if category in chosen))
    return tuple(
        facts.index
        for facts in sheet.columns
        if facts.index not in used
        and _helps(facts, apart)
        and (facts.kind == "phone" or series[_words(facts)] < SERIES)
    )


def _words(facts: Facts) -> str:
    return " ".join(word.text for word in facts.heading.words if not word.is_number)


def _helps(facts: Facts, apart: Collection[str]) -> bool:
    kind = facts.kind
    if not kind or facts.scope.category in {"staff", "assistant"}:
        return False
    if kind == "phone" or (kind == "name" and facts.scope.category in PAYING):
        return facts.score(kind) > 0
    if kind in NAMES | NUMBERS:
        return facts.score(kind) > POINTS_MIN
    if kind == "company":
        plain = all(word.meanings & {"entity"} for word in facts.heading.words)
        return facts.score(kind) > POINTS_MIN - 0.4 * plain and (facts.said[kind] > 0.7 or plain)  # noqa: PLR2004
    if kind == "id":
        own = facts.scope.category in OWN_IDS and facts.said[kind] > 0.7 and facts.values_score(kind) > -0.3  # noqa: PLR2004
        return own and bool(facts.heading.words[-1].meanings & set(ID_WORDS))
    second = any(word.is_number and word.text != "1" for word in facts.heading.scope)
    return kind in PLACES and (facts.scope.category in apart or second)
