"""Public sets with known answers, kept outside of the repository. `bench/matching.py` measures all of them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gristmill.matching import match

SETS = Path(__file__).parents[2] / ".." / "shared" / "data" / "matching"
pytestmark = pytest.mark.skipif(not SETS.is_dir(), reason=f"the public sets are not at {SETS}: nothing to compare with")
FLOORS = {
    "restaurants": 0.95,
    "hotels": 0.80,
    "beer": 0.66,
    "abt_buy": 0.86,
    "afj_hospital": 0.71,
    "geo_osm_fsq": 0.80,
}
"""F1 at the product's own threshold; a pair that nobody judged counts as wrong. A little below what was measured."""


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_f1_is_at_least(name: str) -> None:
    left, right = read(SETS / name / "left.csv"), read(SETS / name / "right.csv")
    truth = {(pair["left_id"], pair["right_id"]) for pair in read(SETS / name / "truth.csv")}
    found = {(left[item.left]["id"], item.reference_id) for item in match(left, right, key="id")}
    score = 2 * len(found & truth) / (len(found) + len(truth))
    assert score >= FLOORS[name], f"F1 {score:.3f}"
