"""Which candidate feeds which field: the best of all consistent choices, found by branch and bound.

A choice is worth the points of its candidates, less what separates the columns of its address. A column feeds one field
only, unless it holds several (`City, ST ZIP`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gristmill.mapping.candidates import THRESHOLD, Candidate

KEPT_MAX = 6
"""Candidates of a field that are tried."""

STEPS_MAX = 50_000
"""Steps after which the best choice until then is taken: many fields may want the same columns."""
ROUNDING = 1e-9
"""Sums of the same points in another order are equal."""

Choice = dict[str, Candidate | None]
Penalty = Callable[[str, Candidate], float]


def best(candidates: Mapping[str, Sequence[Candidate]], penalty: Penalty) -> tuple[float, Choice]:
    """The choice with the most points, and its points; a field without a good candidate stays empty."""
    fields = list(candidates)
    ranked = [
        sorted(
            (
                (points, candidate)
                for candidate in candidates[name]
                if (points := candidate.score - THRESHOLD - penalty(name, candidate)) > 0
            ),
            key=lambda item: (-item[0], item[1].columns),
        )[:KEPT_MAX]
        for name in fields
    ]
    # What the fields from here on can add at most.
    bound = [0.0] * (len(fields) + 1)
    for at in range(len(fields) - 1, -1, -1):
        bound[at] = bound[at + 1] + (ranked[at][0][0] if ranked[at] else 0.0)
    record: tuple[float, list[Candidate | None]] = (-1.0, [None] * len(fields))
    chosen: list[Candidate | None] = [None] * len(fields)

    steps = 0

    def search(at: int, points: float, taken: frozenset[int]) -> None:
        nonlocal record, steps
        steps += 1
        if points + bound[at] <= record[0] + ROUNDING or (steps > STEPS_MAX and record[0] >= 0):
            return
        if at == len(fields):
            record = (points, list(chosen))
            return
        for gain, candidate in ranked[at]:
            if candidate.free or taken.isdisjoint(candidate.columns):
                chosen[at] = candidate
                kept = candidate.free or candidate.shared
                search(at + 1, points + gain, taken if kept else taken.union(candidate.columns))
        chosen[at] = None
        search(at + 1, points, taken)

    search(0, 0.0, frozenset())
    return record[0], dict(zip(fields, record[1], strict=True))
