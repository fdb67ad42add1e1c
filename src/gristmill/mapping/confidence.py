"""How often a choice like this one is right.

A logistic curve over how far the choice is above the threshold and how far above the next best columns. Its weights are
fitted by `tools/calibrate_mapping.py` to real tables, read with a part of the known words left out: what is unsure
about the next table are the words that nobody has put into the lists yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from gristmill.base import jsons
from gristmill.mapping.assign import Choice
from gristmill.mapping.candidates import THRESHOLD, Candidate

POINTS_MAX = 3.0
"""Points beyond this add nothing."""
DIGITS = 3


def features(candidate: Candidate, second: Candidate | None) -> list[float]:
    """What the confidence of a choice depends on: constant, gain and lead."""
    gain = min(POINTS_MAX, candidate.score - THRESHOLD)
    lead = min(POINTS_MAX, candidate.score - max(second.score if second else 0.0, THRESHOLD - 1))
    return [1.0, gain, lead]


def empty_features(best: Candidate | None) -> list[float]:
    """The same for a field that stays empty: constant, and how near the best columns came."""
    return [1.0, min(POINTS_MAX, THRESHOLD - best.score) if best else POINTS_MAX]


def chosen(candidate: Candidate, second: Candidate | None) -> float:
    """Confidence of a choice."""
    return _curve("chosen", features(candidate, second))


def left_empty(best: Candidate | None) -> float:
    """Confidence of leaving a field empty."""
    return _curve("empty", empty_features(best))


def runner_up(name: str, choice: Choice, candidates: Mapping[str, list[Candidate]]) -> Candidate | None:
    """The next best columns for a field among those that no other field took."""
    mine = choice.get(name)
    taken = {
        index
        for other, candidate in choice.items()
        if other != name and candidate is not None and not candidate.shared
        for index in candidate.columns
    }
    free = [
        candidate
        for candidate in candidates[name]
        if taken.isdisjoint(candidate.columns) and (mine is None or candidate.columns != mine.columns)
    ]
    return max(free, key=lambda candidate: candidate.score, default=None)


def _curve(name: str, values: list[float]) -> float:
    weights = _weights()[name]
    points = sum(weight * value for weight, value in zip(weights, values, strict=True))
    return round(1 / (1 + math.exp(-points)), DIGITS)


@lru_cache(maxsize=1)
def _weights() -> Mapping[str, list[float]]:
    text = resources.files(__package__ or "").joinpath("weights.json").read_text(encoding="utf-8")
    found: dict[str, list[float]] = jsons.loads(text)
    return found
