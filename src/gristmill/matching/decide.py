"""From log-odds to matches: the threshold of this very task, who may be matched with whom, and how sure that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gristmill.matching.compete import among_rivals
from gristmill.matching.contest import hold, matched_share, surprise
from gristmill.matching.model import OneToOne, Repeats
from gristmill.matching.vectors import Floats, Ints

FALSE_SHARE = 0.1
"""Share of false pairs at which the threshold by chance alone stands."""
CHANCE_WEIGHT = 0.2
"""What that one adds to the threshold."""
CHANCE_BOUNDS = (-5.0, 1.0)
MATCHED_WEIGHT = 0.6
"""How far the threshold falls with the log-odds that a row has a match: where most have one, doubt is worth less."""
MATCHED_BOUNDS = (-3.0, 1.5)
BOUND_ALONE = -1.2
"""Where the threshold stands for a pair without rivals: those that have some lose by them, see `among_rivals`."""
FEW_ROWS = 20
"""Rows with which it stands half way there: of a single row nobody knows what its rivals would be."""
SHARED_MIN = 0.06
"""Share of sure matches that meet at a record with others as good from which many rows may match one record."""
SURE = 2.0
"""Log-odds above the threshold at which a match is sure."""
AS_GOOD = 1.0
"""Log-odds below the record's best row within which another row is as good: what is worse is likely a relative."""
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
    matched = _matched(matched_share(i, j, odds, size))
    alone = BOUND_ALONE * size / (size + FEW_ROWS)
    return alone + CHANCE_WEIGHT * float(np.clip(by_chance, *CHANCE_BOUNDS)) - MATCHED_WEIGHT * matched


def rows_doubt(i: Ints, j: Ints, odds: Floats, rows: int, size: int) -> float:
    """How much higher the threshold is where rows may share records, log-odds; `odds` have the threshold at 0.

    It was set by how many of the smaller side, `size`, have a match. Where each record may have any number of rows, the
    share of the `rows` that have one counts instead: few of many rows, and most that are near a record are relatives.
    """
    found = int((hold(i, j, odds).best_left & (odds >= 0)).sum())
    fewer = _matched(matched_share(i, j, odds, size)) - _matched(found / max(rows, 1))
    return MATCHED_WEIGHT * max(0.0, fewer)


def _matched(share: float) -> float:
    """Log-odds of a share of rows that have a match, within what they count for."""
    return float(np.clip(np.log((share + 0.02) / (1.02 - share)), *MATCHED_BOUNDS))


def records_are_taken(i: Ints, j: Ints, odds: Floats, one_to_one: OneToOne) -> bool:
    """Whether a record may be the match of one row only. `odds` are log-odds with the threshold at 0.

    `auto` lets rows share a record when sure matches do so often: the rows then hold duplicates, or many of one kind.
    """
    return not _rows_share(i, j, odds) if one_to_one == "auto" else one_to_one


def contested(
    i: Ints, j: Ints, odds: Floats, rows: int, records: int, one_to_one: OneToOne, repeats: Repeats = "none"
) -> tuple[Floats, bool]:
    """What is left of log-odds once all pairs have competed, and whether a record may be the match of one row only.

    `odds` have the threshold at 0; there are so many `rows` and `records`. Where one side `repeats`, its own do not
    compete.
    """
    if repeats == "rows":
        return among_rivals(i, j, odds, one_to_one=False), False
    if repeats == "records":
        return among_rivals(j, i, odds, one_to_one=False), one_to_one is not False
    strictly = records_are_taken(i, j, odds, one_to_one)
    if not strictly:
        odds = odds - rows_doubt(i, j, odds, rows, min(rows, records))
    return among_rivals(i, j, odds, one_to_one=strictly), strictly


def choose(i: Ints, j: Ints, odds: Floats, sure: Floats, least: float, *, one_to_one: bool) -> NDArray[np.int64]:
    """Numbers of the pairs that are matches: one record per row at most, the best; with one-to-one one row per record.

    `odds` say which is better, `sure` are confidences with the least that is asked for.
    """
    order = np.lexsort((j, i, -odds))
    order = order[sure[order] >= least]
    rows: set[int] = set()
    records: set[int] = set()
    chosen: list[int] = []
    for pair in order.tolist():
        row, record = int(i[pair]), int(j[pair])
        if row not in rows and not (one_to_one and record in records):
            rows.add(row)
            records.add(record)
            chosen.append(pair)
    return np.array(sorted(chosen, key=lambda pair: int(i[pair])), np.int64)


def _rows_share(i: Ints, j: Ints, odds: Floats) -> bool:
    best = np.flatnonzero(hold(i, j, odds).best_left & (odds >= SURE))
    if not len(best):
        return False
    records, odds = j[best], odds[best]
    highest = np.full(int(records.max()) + 1, -np.inf)
    np.maximum.at(highest, records, odds)
    equals = records[odds >= highest[records] - AS_GOOD]
    return len(equals) - len(np.unique(equals)) > SHARED_MIN * len(equals)


def confidence(odds: Floats, slope: float) -> Floats:
    """Log-odds with the threshold at 0 as a probability: one half there."""
    return np.minimum(1 / (1 + np.exp(-np.clip(slope * odds, -35, 35))), CONFIDENCE_MAX)
