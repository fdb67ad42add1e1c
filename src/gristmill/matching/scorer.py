"""The learned part: from the evidence of a pair to the log-odds that it is a match.

A sum of small trees, each of which asks three questions of the evidence and never answers lower for more evidence.
It was fitted once, on public sets with known matches, on distortions of them and on lists against themselves in other
words; `python bench/matching_fit.py --write` makes scorer.json of them, byte for byte. Nothing here knows a domain or a
column: the evidence is in units that mean the same everywhere.

Half of the judgement is left to one plain rule that learned nothing: a pair is a match when it is nearer to the likely
matches of its task than to what chance brings about, and the more so when it shares numbers and codes that matches of
the task share. On sets that the trees do not know, the two together are better than either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from gristmill.base import jsons
from gristmill.matching.vectors import Floats

DEPTH = 3
FILE = "scorer.json"
LEARNED = 0.5
"""Weight of the trees."""
PLAIN = 1.0
"""Weight of the plain rule."""
SIGNS = 0.075
"""Weight of the signs of sameness in it."""
MIDDLE = 1.0
"""Half way from chance (0) to a likely match (2) in the score of whole rows and fields together."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Trees of equal depth: all leaves of a level ask the same question."""

    names: tuple[str, ...]
    """Evidence that is asked for."""
    bias: float
    features: NDArray[np.int64]
    """(trees, DEPTH): which evidence each level asks about."""
    bounds: Floats
    """(trees, DEPTH): whether it is above this."""
    leaves: Floats
    """(trees, 2 ** DEPTH): what is added to the log-odds."""
    slope: float
    """How fast confidence rises with the log-odds above the threshold."""

    def log_odds(self, evidence: Mapping[str, Floats]) -> Floats:
        """Log-odds of each pair, for a task in which chance and match are as frequent as in the fitted ones."""
        values = [evidence[name] for name in self.names]
        count = len(values[0]) if values else 0
        total = np.full(count, self.bias)
        for features, bounds, leaves in zip(self.features, self.bounds, self.leaves, strict=True):
            leaf = np.zeros(count, np.int64)
            for level in range(DEPTH):
                leaf += (values[features[level]] > bounds[level]).astype(np.int64) << level
            total += leaves[leaf]
        plain = PLAIN * (evidence["together"] - MIDDLE) + SIGNS * evidence["signs"]
        return LEARNED * total + plain


@cache
def scorer() -> Scorer:
    """The fitted scorer."""
    data = jsons.loads(resources.files(__package__ or "").joinpath(FILE).read_bytes())
    return Scorer(
        tuple(data["names"]),
        data["bias"],
        np.array(data["features"], np.int64),
        np.array(data["bounds"], np.float64),
        np.array(data["leaves"], np.float64),
        data["slope"],
    )
