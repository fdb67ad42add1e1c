from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.matching.compete import CLAIM, among_rivals
from gristmill.matching.vectors import Floats, Ints


def by_counting(i: Ints, j: Ints, weight: Floats) -> Floats:
    """Log-odds that each edge is in a matching, each matching weighing the product of its edges: all are counted."""
    whole, having = 0.0, np.zeros(len(i))
    for size in range(len(i) + 1):
        for edges in combinations(range(len(i)), size):
            chosen = list(edges)
            if len(set(i[chosen])) == size == len(set(j[chosen])):
                product = float(np.prod(weight[chosen]))
                whole += product
                having[chosen] += product
    return np.log(having / (whole - having))


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=7))
@example([0.0, 4.0])
@example([4.0, -4.0, 4.0, -4.0, 4.0])
def test_on_a_chain_of_rivals_it_is_what_counting_all_matchings_gives(odds: list[float]) -> None:
    steps = np.arange(len(odds))
    i, j, own = (steps + 1) // 2, steps // 2, np.array(odds)  # 0-0, 1-0, 1-1, 2-1 ...
    expected = by_counting(i, j, np.exp(CLAIM * own)) + (1 - CLAIM) * own
    # Messages have settled when no share changes by a thousandth: 0.05 in log-odds of a share of a fiftieth.
    assert among_rivals(i, j, own, one_to_one=True) == pytest.approx(expected, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(-30, 30)), max_size=30))
def test_rivals_never_add_and_a_pair_without_any_keeps_its_own(found: list[tuple[int, int, float]]) -> None:
    known = {(row, record): odds for row, record, odds in found}
    i, j = (np.array([pair[side] for pair in known], np.int64) for side in (0, 1))
    own = np.array(list(known.values()))
    for one_to_one in (True, False):
        odds = among_rivals(i, j, own, one_to_one=one_to_one)
        assert np.isfinite(odds).all()
        assert (odds <= own + 1e-9).all()
        alone = [np.sum(i == a) == 1 and (not one_to_one or np.sum(j == b) == 1) for a, b in zip(i, j, strict=True)]
        assert odds[alone] == pytest.approx(own[alone])


def test_a_rival_that_is_served_elsewhere_counts_for_less() -> None:
    # Row 0 may be record 0 or 1; row 1 is surely record 1, or is not there.
    i, j = np.array([0, 0, 1]), np.array([0, 1, 1])
    served = among_rivals(i, j, np.array([1.0, 1.0, 8.0]), one_to_one=True)
    free = among_rivals(i, j, np.array([1.0, 1.0, -8.0]), one_to_one=True)
    assert served[0] > free[0] + 0.5
    assert served[1] < free[1] - 2
    shared = among_rivals(i, j, np.array([1.0, 1.0, 8.0]), one_to_one=False)
    assert shared[0] == pytest.approx(shared[1])
