"""From log-odds to matches: the threshold of this very task, who may be matched with whom, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gristmill.matching.contest import hold, matched_share, surprise
from gristmill.matching.model import OneToOne
from gristmill.matching.vectors import Floats, Ints

FALSE_SHARE = 0.1
"""Share of false pairs at which the threshold by chance alone stands."""
CHANCE_WEIGHT = 0.2
"""What that one adds to the threshold."""
CHANCE_BOUNDS = (-5.0, 1.0)
MATCHED_WEIGHT = 0.6
"""How far the threshold falls with the log-odds that a row has a match: where most have one, doubt is worth less."""
MATCHED_BOUNDS = (-3.0, 1.5)
SHARED_MIN = 0.1
"""Share of sure matches that meet at one record from which many rows may match one record."""
SURE = 2.0
"""Log-odds above the threshold at which a match is sure."""
CONFIDENCE_MAX = 0.99
"""What weighing evidence can reach at most."""


def threshold_of(i: Ints, j: Ints, odds: Floats, size: int) -> float:
    """The log-odds from which a pair is a match, found without labels.

    Two things that differ by task decide. How many rows have a match at all moves the threshold as Bayes' rule does.
    And where second best partners reach tells what chance brings about: a table of many near-alike products needs other
    bounds than one of people. Both have but a part of their weight, since rows without a match may have relatives in
    the reference that are nearer than chance.
    """
    contest = hold(i, j, odds)
    found = np.sort(odds[contest.mutual])[::-1]
    if not len(found):
        return 0.0
    ranks = np.arange(1, len(found) + 1)
    unmatched = np.maximum(0.02, 1 - ranks / max(size, 1))
    wrong = np.exp(-surprise(contest.chance, found)) * size * unmatched
    false_share = np.minimum.accumulate((wrong / ranks)[::-1])[::-1]
    count = int((false_share < FALSE_SHARE).sum())
    by_chance = float(found[count - 1]) if count else CHANCE_BOUNDS[1]
    share = matched_share(i, j, odds, size)
    matched = float(np.log((share + 0.02) / (1.02 - share)))
    return CHANCE_WEIGHT * float(np.clip(by_chance, *CHANCE_BOUNDS)) - MATCHED_WEIGHT * float(
        np.clip(matched, *MATCHED_BOUNDS)
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """The pairs that are matches, and how that was decided."""

    chosen: NDArray[np.int64]
    """Numbers of the pairs, one per row at most."""
    one_to_one: bool


def decide(i: Ints, j: Ints, odds: Floats, sure: Floats, bound: float, least: float, one_to_one: OneToOne) -> Decision:
    """One record per row at most, the best; with one-to-one also one row per record.

    `odds` are log-odds with their threshold `bound`, `sure` the same as confidences with the least that is asked for.
    `auto` lets rows share a record when sure matches do so often: the rows then hold duplicates, or many of one kind.
    """
    order = np.lexsort((j, i, -odds))
    order = order[sure[order] >= least]
    if one_to_one == "auto":
        one_to_one = not _rows_share(i, j, odds, bound)
    rows: set[int] = set()
    records: set[int] = set()
    chosen: list[int] = []
    for pair in order.tolist():
        row, record = int(i[pair]), int(j[pair])
        if row not in rows and not (one_to_one and record in records):
            rows.add(row)
            records.add(record)
            chosen.append(pair)
    return Decision(np.array(sorted(chosen, key=lambda pair: int(i[pair])), np.int64), bool(one_to_one))


def _rows_share(i: Ints, j: Ints, odds: Floats, threshold: float) -> bool:
    best = hold(i, j, odds).best_left & (odds >= threshold + SURE)
    records = j[best]
    if not len(records):
        return False
    _, counts = np.unique(records, return_counts=True)
    return int((counts - 1).sum()) > SHARED_MIN * len(records)


def confidence(odds: Floats, threshold: float, slope: float) -> Floats:
    """Log-odds as a probability: one half at the threshold."""
    return np.minimum(1 / (1 + np.exp(-np.clip(slope * (odds - threshold), -35, 35))), CONFIDENCE_MAX)
