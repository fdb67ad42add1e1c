"""Rows and records have one partner at most: what is left of a pair's odds once all others have made their claims.

Two candidates of one row can't both be right, so each speaks against the other, and the less so the better that other
one's record is served elsewhere. Weighed through to the end this is a matching of a graph in which every edge has its
odds (Heilmann and Lieb 1972), and the odds that an edge is part of it follow by passing messages along the edges until
they no longer change (Zdeborova and Mezard 2006): exact on trees, near enough on the sparse graphs of candidates.
"""

from __future__ import annotations

import numpy as np

from gristmill.matching.vectors import Floats, Ints

CLAIM = 0.8
"""Part of its log-odds with which a pair speaks against its rivals: rivals are alike, and their evidence the same."""
RIVALS = 3
"""Pairs of a row or record, the best by their odds, that claim it: the many poor ones are chance and would add up."""
ROUNDS_MAX = 25
CHANGE_MIN = 1e-3
"""Change of a share of a row below which the messages have settled."""
_ODDS_MAX = 35.0


def among_rivals(i: Ints, j: Ints, odds: Floats, *, one_to_one: bool) -> Floats:
    """Log-odds of each pair among its rivals; never above its own. Without `one_to_one` only a row's records compete.

    `odds` are log-odds with the threshold at 0, of every pair by itself.
    """
    if not len(i):
        return odds
    weight = np.exp(np.clip(CLAIM * odds, -_ODDS_MAX, _ODDS_MAX))
    weight[(_rank(i, odds) >= RIVALS) & (_rank(j, odds) >= RIVALS)] = 0.0
    # What a row leaves for a pair when all the row's other pairs have claimed it, 0..1; the same of a record.
    row_left, record_left = np.ones(len(i)), np.ones(len(i))
    for _ in range(ROUNDS_MAX if one_to_one else 1):
        before = row_left, record_left
        row_left = _left(i, weight * record_left)
        if not one_to_one:
            break
        row_left = (before[0] + row_left) / 2  # half a step at a time, or they swing
        record_left = (before[1] + _left(j, weight * row_left)) / 2
        change = max(np.abs(row_left - before[0]).max(), np.abs(record_left - before[1]).max())
        if change < CHANGE_MIN:
            break
    return odds + np.log(row_left) + np.log(record_left)


def _left(group: Ints, claims: Floats) -> Floats:
    """1 over 1 and the claims of the other pairs of each pair's group."""
    others = np.bincount(group, claims)[group] - claims
    return 1 / (1 + np.maximum(others, 0.0))


def _rank(group: Ints, odds: Floats) -> Ints:
    """Place of each pair in its group by its odds, from 0."""
    order = np.lexsort((-odds, group))
    first = np.concatenate([[True], group[order][1:] != group[order][:-1]])
    starts = np.flatnonzero(first)
    places = np.empty(len(group), np.int64)
    places[order] = np.arange(len(group)) - starts[np.cumsum(first) - 1]
    return places
