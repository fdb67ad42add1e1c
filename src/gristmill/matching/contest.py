"""Pairs compete: how good is the next best partner of either side, and what does chance alone bring about.

The next best partners of all rows are a sample of what chance alone brings about in this very task, since at most one
of a row's candidates is its match. Scores are judged against that sample, so no labels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gristmill.matching.model import Repeats
from gristmill.matching.vectors import Floats, Ints


@dataclass(frozen=True, slots=True)
class Contest:
    """The standing of every pair among those of its row and of its record, by one score."""

    rival_left: Floats
    """Score of the best other record for the pair's row."""
    rival_right: Floats
    """Score of the best other row for the pair's record."""
    best_left: NDArray[np.bool_]
    """The pair is the best of its row."""
    best_right: NDArray[np.bool_]
    chance: Floats
    """Sorted scores of second bests: what is found by chance. Never empty."""

    @property
    def mutual(self) -> NDArray[np.bool_]:
        """The pair is the best of its row and of its record."""
        return self.best_left & self.best_right


def hold(i: Ints, j: Ints, score: Floats, floor: float | None = None) -> Contest:
    """Let pairs compete by a score. Equal scores: the first pair wins.

    A pair without rivals competes against `floor`, which is the mean of the second bests unless given.
    """
    rival_left, first_left = _rivals(i, score)
    rival_right, first_right = _rivals(j, score)
    seconds = np.concatenate([rival_left[first_left], rival_right[first_right]])
    chance = np.sort(seconds[np.isfinite(seconds)])
    if floor is None:
        floor = float(chance.mean()) if len(chance) else float(score.min(initial=0.0))
    return Contest(
        np.where(np.isfinite(rival_left), rival_left, floor),
        np.where(np.isfinite(rival_right), rival_right, floor),
        first_left,
        first_right,
        chance if len(chance) else np.array([floor]),
    )


def _rivals(group: Ints, score: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(best score of the others in the pair's group, -inf where there is none; whether the pair is first)."""
    count = len(group)
    if not count:
        return np.zeros(0), np.zeros(0, np.bool_)
    order = np.lexsort((np.arange(count), -score, group))
    sorted_group, sorted_score = group[order], score[order]
    first = np.concatenate([[True], sorted_group[1:] != sorted_group[:-1]])
    starts = np.flatnonzero(first)
    owner = np.cumsum(first) - 1
    after = np.minimum(starts + 1, count - 1)
    has_second = (after != starts) & (sorted_group[after] == sorted_group[starts])
    second = np.where(has_second, sorted_score[after], -np.inf)
    rival = np.where(first, second[owner], sorted_score[starts][owner])
    back = np.empty(count, np.int64)
    back[order] = np.arange(count)
    return rival[back], first[back]


def matched_share(i: Ints, j: Ints, score: Floats, size: int) -> float:
    """Estimated share of the rows of the smaller side, `size`, that have a match, 0..1.

    Matches are best from both sides. By chance some pairs are, too: as many as among the pairs that are left once the
    best are taken away. The excess over those is due to matches. It is a rough guess, near 0 and 1 better than between,
    since matches take partners from chance as well. Few rows say little and are drawn to one half.
    """
    contest = hold(i, j, score)
    rest = ~contest.mutual
    if contest.best_left.all() or contest.best_right.all():  # one side competes: a match is above its second bests
        found, by_chance = (score[~rest] > np.quantile(contest.chance, LEVEL)).sum() / max(size, 1), 1 - LEVEL
    else:
        found = contest.mutual.sum() / max(size, 1)
        by_chance = hold(i[rest], j[rest], score[rest]).mutual.sum() / max(size, 1)
    share = float(np.clip((found - by_chance) / max(1 - by_chance, EXCESS_MIN), 0, 1))
    return (share * size + SHARE_PRIOR / 2) / (size + SHARE_PRIOR)


EXCESS_MIN = 0.05
LEVEL = 0.98
"""Share of second bests that a match is above, where one side competes."""
SHARE_PRIOR = 10.0
"""Rows that the expectation of one half counts as."""


def repeats(i: Ints, j: Ints, score: Floats, rows: int, records: int) -> Repeats:
    """Which side holds things several times, of so many `rows` and `records`.

    As long as the other side has each thing once, the second best there is a sample of chance, whatever this side has;
    on this side second bests are often matches, too, and few pairs stand out from them. What stands out on the other
    then meets at one place more often than in other tasks. Where few do at all, those say little about the rest, whose
    nearest are mostly relatives.
    """
    if not len(i):
        return "none"
    (one, met), (other, met_other) = _standing_out(i, j, score), _standing_out(j, i, score)
    if met >= REPEATS_MIN * one and one >= REPEATS_LEAD * other and one >= REPEATS_SURE_MIN * rows:
        return "rows"
    if met_other >= REPEATS_MIN * other and other >= REPEATS_LEAD * one and other >= REPEATS_SURE_MIN * records:
        return "records"
    return "none"


def _standing_out(one: Ints, other: Ints, score: Floats) -> tuple[int, int]:
    """How many of one side have a best that nearly no second best reaches, and how many come where another does."""
    alone = hold(one, np.arange(len(one)), score)
    found = other[alone.best_left & (score > np.quantile(alone.chance, REPEATS_LEVEL))]
    return len(found), len(found) - len(np.unique(found))


REPEATS_LEVEL = 0.995
"""Share of second bests that a sure match is above."""
REPEATS_MIN = 0.06
"""Least share of the sure matches that come to one that has another already."""
REPEATS_LEAD = 1.8
"""Least ratio of the sure matches that are found from either side."""
REPEATS_SURE_MIN = 0.15
"""Least share of a side that has a sure match."""


def surprise(chance: Floats, score: Floats) -> Floats:
    """-log of the share of chance pairs that score as high: how unlikely a score is by chance, in nats."""
    above = len(chance) - np.searchsorted(chance, score, side="left")
    return -np.log((above + 0.5) / (len(chance) + 1))


def first_guess(contest: Contest, score: Floats, size: int) -> Floats:
    """Probability that each pair is a match, from how many pairs chance alone would bring above each score.

    Only pairs that are best from both sides count. This is the local false discovery rate with the second bests as
    decoys, as search engines of mass spectra do it (Elias and Gygi 2007).
    """
    found = np.zeros(len(score))
    mutual = np.flatnonzero(contest.mutual)
    if not len(mutual):
        return found
    order = mutual[np.argsort(-score[mutual], kind="stable")]
    ranks = np.arange(1, len(order) + 1)
    wrong = np.exp(-surprise(contest.chance, score[order])) * size
    wrong = np.minimum.accumulate(np.minimum(wrong / ranks, 1)[::-1])[::-1] * ranks
    window = max(10, len(order) // 20)
    low = np.maximum(ranks - 1 - window, 0)
    high = np.minimum(ranks - 1 + window, len(order) - 1)
    local = (wrong[high] - wrong[low]) / np.maximum(high - low, 1) if len(order) > 1 else wrong
    found[order] = 1 - np.clip(np.maximum.accumulate(local), 0.01, 1)
    return found
