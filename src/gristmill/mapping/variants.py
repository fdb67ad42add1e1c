"""Search variants: columns that feed no field and yet help to find a lead."""

from __future__ import annotations

from collections.abc import Collection

from gristmill.mapping.sheet import Facts, Sheet

NAMES = frozenset({"company", "trade", "legal", "alias", "parent", "displayname"})
PLACES = frozenset({"street", "address", "city", "state", "zip"})
IDS = frozenset({"registration", "license"})
APART = frozenset(
    {"billing", "shipping", "mailing", "home", "other", "owner", "chief", "person", "legal", "parent", "requester"}
)
POINTS_MIN = 1.0


def variants(sheet: Sheet, used: Collection[int]) -> tuple[int, ...]:
    """Columns that become variants, in their order."""
    return tuple(facts.index for facts in sheet.columns if facts.index not in used and _helps(facts))


def _helps(facts: Facts) -> bool:
    said = facts.said
    kind = max(said, key=lambda kind: said[kind], default="")
    if not kind or facts.scope.category in {"staff", "assistant"}:
        return False
    if kind == "phone":
        return facts.score("phone") > POINTS_MIN
    if kind in NAMES | IDS:
        return facts.score(kind) > POINTS_MIN
    return kind in PLACES and (facts.scope.category in APART or bool(facts.scope.words))
