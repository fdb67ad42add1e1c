"""A candidate: columns that could feed a field, with points and the reasons for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from gristmill.mapping.sheet import Facts, Scope

THRESHOLD = 0.9
"""Points a candidate needs; below it a field is better left empty."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Columns that could feed one field, in the order they are joined."""

    columns: tuple[int, ...]
    score: float
    reasons: tuple[str, ...] = ()
    scope: Scope = field(default=Scope())
    shared: bool = False
    """Whether other fields may take the same column: `City, ST ZIP`."""
    free: bool = False
    """Whether it may take columns that feed other fields too: a full name beside first and last name."""


def reason(facts: Facts, kind: str) -> tuple[str, ...]:
    """In words why a column may be of a kind."""
    reasons: list[str] = []
    said = facts.said.get(kind, 0.0)
    if said and facts.kinds is None:
        reasons.append(f"the header `{facts.heading.text.strip()[:60]}` says {kind}")
    elif said:
        reasons.append(f"the columns around it make it {kind}")
    values = facts.values_score(kind)
    if values > 0.3:  # noqa: PLR2004 (less is noise)
        reasons.append(f"its values look like {kind}")
    elif values < -0.3:  # noqa: PLR2004
        reasons.append(f"its values do not look like {kind}")
    if facts.scope.category not in {"", "unknown"}:
        reasons.append(f"it belongs to: {facts.scope.category}")
    return tuple(reasons) or (f"it could be {kind}, and nothing speaks against it",)
