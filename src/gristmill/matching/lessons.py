"""What a person has confirmed: it settles those rows, and teaches how the rest is to be judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from gristmill.base.errors import Invalid
from gristmill.matching.candidates import Candidates
from gristmill.matching.contest import hold
from gristmill.matching.table import Side
from gristmill.matching.vectors import Floats, Ints

Confirmed = Iterable[tuple[int, str | None]]
"""(row number, record's key) of a confirmed match, (row number, None) of a row that has none."""
STEPS = 25
FIRM = 4.0
"""Confirmed rows that the unlearned judgement counts as."""


class BadLesson(Invalid):
    """A confirmed pair names a row or a record that is not there."""


@dataclass(slots=True)
class Lesson:
    """Confirmed pairs by number."""

    pairs: dict[int, int] = field(default_factory=dict[int, int])
    unmatched: set[int] = field(default_factory=set[int])

    def among(self, rows: list[int], records: list[int]) -> Lesson:
        """The same pairs by other numbers: those of the distinct rows and records that stand for them."""
        pairs = {rows[row]: records[record] for row, record in self.pairs.items()}
        return Lesson(pairs, {rows[row] for row in self.unmatched} - pairs.keys())

    def as_pairs(self) -> tuple[Ints, Ints]:
        """The confirmed matches as (rows, records)."""
        rows = np.fromiter(self.pairs, np.int64, len(self.pairs))
        return rows, np.fromiter(self.pairs.values(), np.int64, len(self.pairs))

    def _truth(self, pairs: Candidates) -> Floats:
        """1 for confirmed matches, 0 for the other pairs of judged rows, NaN for all others."""
        truth = np.full(len(pairs.i), np.nan)
        truth[np.isin(pairs.i, [*self.pairs, *self.unmatched])] = 0.0
        size = max(pairs.right_size, 1)
        truth[np.isin(pairs.i * size + pairs.j, [row * size + record for row, record in self.pairs.items()])] = 1.0
        return truth

    def teach(self, pairs: Candidates, guess: Floats) -> Floats:
        """The first guess with what is known put in."""
        truth = self._truth(pairs)
        return np.where(np.isnan(truth), guess, truth)

    def shift(self, pairs: Candidates, log_odds: Floats) -> Floats:
        """Log-odds moved and stretched so that they fit the judged rows (Platt 1999), drawn to no change.

        Only the best pair of each judged row and the confirmed one count: the others are easy and would drown them.
        """
        truth = self._truth(pairs)
        best = hold(pairs.i, pairs.record_group, log_odds).best_left
        used = np.flatnonzero(~np.isnan(truth) & (best | (truth == 1)))
        if not len(used):
            return log_odds
        slope, offset = 1.0, 0.0
        x, y = log_odds[used], truth[used]
        for _ in range(STEPS):  # Newton's method
            chance = 1 / (1 + np.exp(-np.clip(slope * x + offset, -35, 35)))
            spread = np.maximum(chance * (1 - chance), 1e-6)
            gradient = np.array(
                [(x * (chance - y)).sum() + FIRM * (slope - 1), (chance - y).sum() + FIRM * 0.1 * offset]
            )
            curve = np.array(
                [
                    [(spread * x * x).sum() + FIRM, (spread * x).sum()],
                    [(spread * x).sum(), spread.sum() + FIRM * 0.1],
                ]
            )
            move = np.linalg.solve(curve, gradient)
            slope, offset = slope - float(np.clip(move[0], -0.5, 0.5)), offset - float(np.clip(move[1], -2, 2))
        return max(slope, 0.1) * log_odds + offset


def read_confirmed(confirmed: Confirmed, left: Side, right: Side) -> Lesson:
    """Confirmed pairs by number, of the rows as they came. Raises `BadLesson`."""
    record_of = (
        {str(number + 1): number for number in range(right.size)}
        if right.key is None
        else {text: number for number, text in enumerate(right.cells[right.key])}
    )
    lesson = Lesson()
    for row, identity in confirmed:
        if not 0 <= row < left.size:
            raise BadLesson(f"There is no row {row}; rows are counted from 0 and there are {left.size}.")
        if identity is None:
            lesson.unmatched.add(row)
        elif identity not in record_of:
            raise BadLesson(f"The reference has no record `{identity[:60]}`.")
        else:
            lesson.pairs[row] = record_of[identity]
    return lesson
