"""Pairs worth a look, out of all: the nearest by whole text, by name, by code and by place. Near-linear in the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from gristmill.matching.contest import Contest, hold
from gristmill.matching.model import Repeats
from gristmill.matching.table import Side
from gristmill.matching.vectors import Features, Floats, Ints, Space, dots, largest_shared, make_space, nearest, weighed

NEIGHBOURS = 8
"""Records taken for each row from each way of looking."""
PLACES_NEAR = 5
PLACE_WEIGHT = 1 / 3
"""Weight of the distance in the first guess; the whole text and the name have the rest, one third each."""
NEAR_M = 10.0
"""Places this near to each other are the same place for any purpose."""


@dataclass(slots=True)
class Candidates:
    """Pairs of rows, sorted, and what whole rows say about each."""

    i: Ints
    j: Ints
    left_size: int
    right_size: int
    facts: dict[str, Floats]
    """Name -> value per pair: cosines of texts, shared information. See `find_candidates`."""
    signs: dict[str, Floats]
    """Name -> how far one sign of sameness holds, 0..1; NaN where a row lacks it. What it is worth differs by task."""
    equal: NDArray[np.bool_]
    """Whether both rows consist of the same words. Never where both have places: a chain has one name at many."""
    base: Floats
    """Mean of the cosines, and of the nearness of places: the first guess, before anything is known about columns."""
    repeats: Repeats = "none"
    """What one thing comes several times in."""

    @property
    def row_group(self) -> Ints:
        """Pairs of one group compete for a row: none does where a thing has several records, all of them right."""
        return np.arange(len(self.i)) if self.repeats == "records" else self.i

    @property
    def record_group(self) -> Ints:
        """Pairs of one group compete for a record: none does where a thing has several rows."""
        return np.arange(len(self.j)) if self.repeats == "rows" else self.j

    def contest(self, score: Floats, floor: float | None = None) -> Contest:
        """The pairs compete by a score, see `hold`."""
        return hold(self.row_group, self.record_group, score, floor)

    @property
    def matches_max(self) -> int:
        """Most matches there can be: of the side that repeats each may have one, else of the smaller one."""
        sizes = {"rows": self.left_size, "records": self.right_size}
        return sizes.get(self.repeats, min(self.left_size, self.right_size))


def find_candidates(left: Side, right: Side, extra: tuple[Ints, Ints] | None = None) -> Candidates:
    """Candidates of every row of `left`, with `extra` pairs among them."""
    texts, names = left.text_of(left.compared), left.text_of(left.main_columns())
    kinds: dict[str, Features] = {"all_trigrams": "trigrams", "all_words": "words", "all_runs": "runs"}
    spaces = {name: make_space(texts, right.lexicon_of(right.compared, kind)) for name, kind in kinds.items()}
    spaces["name_trigrams"] = make_space(names, right.lexicon_of(right.main_columns(), "trigrams"))
    found = [nearest(space.left, space.right, NEIGHBOURS) for space in spaces.values()]
    if left.places and right.places:
        found.append(_near(left.places[1], right.places[1]))
    if extra is not None:
        found.append(extra)
    size = max(right.size, 1)
    packed = np.unique(np.concatenate([i * size + j for i, j in found]))
    i, j = packed // size, packed % size
    spaces["all_digits"] = make_space(texts, right.lexicon_of(right.compared, "digits"))
    facts = {name: dots(space.left, space.right, i, j) for name, space in spaces.items()}
    total = float(np.log(max(left.size + right.size, 3)))
    shared = _information(spaces["all_words"], i, j, total)
    facts["all_shared"], facts["all_held"], facts["rarest"] = shared.amount, shared.held, shared.rarest
    named = make_space(names, right.lexicon_of(right.main_columns(), "words"))
    shared = _information(named, i, j, total)
    facts["name_words"] = dots(named.left, named.right, i, j)
    facts["name_shared"], facts["name_held"], facts["name_unshared"] = shared.amount, shared.held, shared.rest
    codes = make_space(texts, right.lexicon_of(right.compared, "codes"))
    facts["code"] = _information(codes, i, j, total).rarest
    has_code = (np.diff(codes.left_counts.indptr) > 0)[i] & (np.diff(codes.right_counts.indptr) > 0)[j]
    facts["no_code"] = (has_code & (facts["code"] == 0)).astype(np.float64)
    signs = {"code": np.where(has_code, facts["code"], np.nan), "rarest": facts["rarest"], "held": facts["all_held"]}
    signs["numbers"] = _numbers(make_space(texts, right.lexicon_of(right.compared, "numbers")), i, j)
    facts["numbers"] = np.where(np.isnan(signs["numbers"]), 0.5, signs["numbers"])
    equal = np.minimum(np.minimum(facts["all_trigrams"], facts["all_words"]), facts["all_runs"]) >= EQUAL
    if left.places and right.places:
        equal = np.zeros(len(i), np.bool_)
    base = (facts["all_trigrams"] + facts["all_words"] + facts["all_runs"] + facts["name_trigrams"]) / 4
    if left.places and right.places:
        near = nearness(left.places[1], right.places[1], i, j)
        base = np.where(np.isnan(near), base, (1 - PLACE_WEIGHT) * base + PLACE_WEIGHT * np.nan_to_num(near))
    return Candidates(i, j, left.size, right.size, facts, signs, equal, base)


def _numbers(space: Space, i: Ints, j: Ints) -> Floats:
    """How far the numbers of two texts are the same, by what they tell: the mean of the shares of either side's.

    NaN where one has none. A house number, a size or a year that differs parts what nearly the same words join.
    """
    left, right = weighed(space.left_counts, space.weights), weighed(space.right_counts, space.weights)
    shared = dots(left, space.right_counts, i, j)
    a, b = left.sum(axis=1)[i], right.sum(axis=1)[j]
    has = (np.diff(left.indptr) > 0)[i] & (np.diff(right.indptr) > 0)[j]
    both = (shared / np.maximum(a, LEAST) + shared / np.maximum(b, LEAST)) / 2
    return np.where(has, np.clip(both, 0, 1), np.nan)


EQUAL = 0.9999
"""Cosine from which texts are the same."""
LEAST = 1e-6
"""Information, in nats, that stands for none."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """Information of the features that two texts share, in units of what it takes to name one row."""

    amount: Floats
    held: Floats
    """Share of the lesser text's information that is shared, 0..1."""
    rest: Floats
    """What the lesser text has beside it."""
    rarest: Floats
    """The most that one feature has."""


def _information(space: Space, i: Ints, j: Ints, total: float) -> _Shared:
    left, right = weighed(space.left_counts, space.weights), weighed(space.right_counts, space.weights)
    shared = dots(left, space.right_counts, i, j)
    lesser = np.minimum(left.sum(axis=1)[i], right.sum(axis=1)[j])
    rarest = largest_shared(left, space.right_counts, i, j)
    held = np.minimum(shared / np.maximum(lesser, LEAST), 1)
    return _Shared(shared / total, held, np.maximum(lesser - shared, 0) / total, rarest / total)


def nearness(left: Floats, right: Floats, i: Ints, j: Ints) -> Floats:
    """From 1 at NEAR_M or less to 0 at the distance that pairs have by chance, by its logarithm; NaN without places."""
    metres = np.linalg.norm(left[i] - right[j], axis=1)
    far = np.linalg.norm(left[i] - np.roll(right[j], len(j) // 2 + 1, axis=0), axis=1)
    far = far[np.isfinite(far)]
    decades = np.log10(max(float(np.median(far)) if len(far) else 0.0, NEAR_M * 10) / NEAR_M)
    return np.clip(1 - np.log10(np.maximum(metres, NEAR_M) / NEAR_M) / decades, 0, 1)


def _near(left: Floats, right: Floats) -> tuple[Ints, Ints]:
    """The nearest places of each row that has one."""
    here, there = np.flatnonzero(np.isfinite(left).all(axis=1)), np.flatnonzero(np.isfinite(right).all(axis=1))
    if not len(here) or not len(there):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    count = min(PLACES_NEAR, len(there))
    _, nearest_there = KDTree(right[there]).query(left[here], count)
    return np.repeat(here, count), there[np.asarray(nearest_there).reshape(-1)]
