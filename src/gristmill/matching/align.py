"""Which columns of the rows hold the same fact as which columns of the reference, whatever they are called.

Likely matches are found on whole rows first, without columns. A pair of columns belongs together when its cells are
much more alike in likely matches than in random pairs; names only break ties. Columns that are left over join the pair
they agree with, so that an address may be one column here and four there.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from gristmill.matching.model import LIFT_MIN, FieldPair, Kind
from gristmill.matching.table import Side
from gristmill.matching.text import trigrams
from gristmill.matching.values import kind_of
from gristmill.matching.vectors import Ints

PAIRS_MAX = 300
"""Likely matches that are looked at."""
PAIRS_MIN = 3
"""Fewer pairs with both cells filled say nothing about two columns."""
JOIN_LIFT_MIN = 0.2
"""Least lift of a further column that joins a pair."""
SAME_NAME_BONUS = 0.3


def align(left: Side, right: Side, i: Ints, j: Ints) -> list[FieldPair]:
    """Field pairs from likely matches (i, j). The strongest first; places come last."""
    columns_left, columns_right = left.compared, right.compared
    pairs: list[FieldPair] = []
    if columns_left and columns_right:
        lifts, scores = _lifts(left, right, columns_left, columns_right, i, j)
        pairs = _pairs(left, right, columns_left, columns_right, lifts, scores)
    if left.places and right.places:
        pairs.append(FieldPair(left.places[0], right.places[0], "geo", 1.0))
    return pairs


def _lifts(
    left: Side, right: Side, columns_left: list[str], columns_right: list[str], i: Ints, j: Ints
) -> tuple[np.ndarray, np.ndarray]:
    """(lift, lift with the bonus of equal names) of every pair of columns."""
    step = max(1, math.ceil(len(i) / PAIRS_MAX))
    i, j = i[::step], j[::step]
    other = np.roll(j, len(j) // 2 + 1) if len(j) > 1 else (j + 1) % max(right.size, 1)
    grams_left = {name: [trigrams(left.plain_of(name)[row]) for row in i] for name in columns_left}
    grams_right = {name: [trigrams(right.plain_of(name)[row]) for row in j] for name in columns_right}
    grams_other = {name: [trigrams(right.plain_of(name)[row]) for row in other] for name in columns_right}
    lifts = np.zeros((len(columns_left), len(columns_right)))
    bonus = np.zeros_like(lifts)
    for x, a in enumerate(columns_left):
        for y, b in enumerate(columns_right):
            alike = _mean_alike(grams_left[a], grams_right[b])
            by_chance = _mean_alike(grams_left[a], grams_other[b])
            lifts[x, y] = 0.0 if math.isnan(alike) else alike - (0.0 if math.isnan(by_chance) else by_chance)
            if _bare(a) == _bare(b):
                bonus[x, y] = SAME_NAME_BONUS
    return lifts, lifts + bonus


def _pairs(
    left: Side, right: Side, columns_left: list[str], columns_right: list[str], lifts: np.ndarray, scores: np.ndarray
) -> list[FieldPair]:
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for x, y in zip(*linear_sum_assignment(-scores), strict=True):
        if scores[x, y] > LIFT_MIN:
            groups[int(x)] = ([int(x)], [int(y)])
    taken = {y for _, ys in groups.values() for y in ys}
    for y in range(len(columns_right)):
        x = int(lifts[:, y].argmax())
        if y not in taken and x in groups and lifts[x, y] > JOIN_LIFT_MIN:
            groups[x][1].append(y)
    home = {y: xs for xs, ys in groups.values() for y in ys}
    for x in range(len(columns_left)):
        y = int(lifts[x].argmax())
        if x not in groups and y in home and lifts[x, y] > JOIN_LIFT_MIN:
            home[y].append(x)
    found = [
        FieldPair(
            tuple(columns_left[x] for x in xs),
            tuple(columns_right[y] for y in ys),
            _kind(left, right, [columns_left[x] for x in xs], [columns_right[y] for y in ys]),
            float(np.clip(lifts[xs[0], ys[0]], 0.0, 1.0)),
        )
        for xs, ys in groups.values()
    ]
    return sorted(found, key=lambda pair: (-pair.lift, pair.right))


def _kind(left: Side, right: Side, columns_left: list[str], columns_right: list[str]) -> Kind:
    """The kind of a pair: that of both columns where there is one of each and they agree, else text."""
    if len(columns_left) > 1 or len(columns_right) > 1:
        return "text"
    kinds: set[Kind] = {
        kind_of(left.cells[columns_left[0]], columns_left[0]),
        kind_of(right.cells[columns_right[0]], columns_right[0]),
    }
    if len(kinds) == 1:
        return kinds.pop()
    return "code" if kinds <= {"code", "number", "phone"} else "text"


def _mean_alike(some: list[frozenset[str]], others: list[frozenset[str]]) -> float:
    """Mean cosine of two lists of texts, pair by pair, over the pairs with both filled; NaN when those are too few."""
    found = [len(a & b) / math.sqrt(len(a) * len(b)) for a, b in zip(some, others, strict=True) if a and b]
    return sum(found) / len(found) if len(found) >= min(PAIRS_MIN, len(some)) and found else math.nan


def _bare(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
