from __future__ import annotations

import numpy as np

from gristmill.matching.contest import matched_share, repeats
from gristmill.matching.decide import threshold_of
from gristmill.matching.vectors import Floats, Ints

ROWS = 400


def contested(share: float) -> tuple[Ints, Ints, Floats]:
    """Rows with eight candidates each; a share of them has a match that is better than chance."""
    dice = np.random.default_rng(5)
    matched = int(ROWS * share)
    i = np.concatenate([np.repeat(np.arange(ROWS), 8), np.arange(matched)])
    j = np.concatenate([dice.integers(0, ROWS, ROWS * 8), np.arange(matched)])
    score = np.concatenate([dice.normal(-4, 1, ROWS * 8), dice.normal(2, 1, matched)])
    _, first = np.unique(i * ROWS + j, return_index=True)
    return i[first], j[first], score[first]


def test_the_share_of_rows_with_a_match_is_told_roughly_without_labels() -> None:
    shares = [matched_share(*contested(share), ROWS) for share in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.15
    assert shares[-1] > 0.9
    assert 0.3 < shares[2] < 0.8


def test_the_fewer_rows_have_a_match_the_more_a_match_must_have_for_it() -> None:
    bounds = [threshold_of(*contested(share), ROWS) for share in (0.02, 0.3, 0.98)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] - bounds[-1] > 1


def test_a_single_row_says_nothing_about_the_share() -> None:
    one = np.zeros(1, np.int64)
    assert 0.4 < matched_share(one, one, np.array([3.0]), 1) < 0.6


def test_which_side_holds_things_several_times() -> None:
    dice = np.random.default_rng(6)
    i = np.concatenate([np.repeat(np.arange(ROWS), 8), np.arange(ROWS)])
    score = np.concatenate([dice.normal(-4, 1, ROWS * 8), dice.normal(2, 1, ROWS)])
    for things, found in ((ROWS, "none"), (ROWS * 2 // 3, "rows"), (ROWS // 5, "rows")):
        j = np.concatenate([dice.integers(0, things, ROWS * 8), np.arange(ROWS) % things])
        assert repeats(i, j, score, ROWS, things) == found
        assert repeats(j, i, score, things, ROWS) == ("records" if found == "rows" else "none")
    nothing = np.zeros(0, np.int64)
    assert repeats(nothing, nothing, np.zeros(0), 0, 0) == "none"


def test_relatives_of_a_few_records_are_not_their_rows() -> None:
    """One row in fifty has a match, and as many come near the same records."""
    dice = np.random.default_rng(7)
    near = ROWS // 50
    i = np.concatenate([np.repeat(np.arange(ROWS), 8), np.arange(2 * near)])
    j = np.concatenate([dice.integers(0, ROWS, ROWS * 8), np.arange(2 * near) % near])
    score = np.concatenate([dice.normal(-4, 1, ROWS * 8), dice.normal(2, 1, near), dice.normal(0.5, 1, near)])
    assert repeats(i, j, score, ROWS, ROWS) == "none"
