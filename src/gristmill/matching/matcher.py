"""Matching: rows against a reference that was made ready once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from gristmill.matching.align import align
from gristmill.matching.candidates import Candidates, find_candidates
from gristmill.matching.contest import first_guess, repeats
from gristmill.matching.decide import choose, confidence, contested, threshold_of
from gristmill.matching.evidence import FieldOdds, Task, evidence, field_odds, learn_task, together
from gristmill.matching.explain import EQUAL, explain
from gristmill.matching.fields import similarity
from gristmill.matching.keys import key_pairs, own_key
from gristmill.matching.lessons import Confirmed, Lesson, read_confirmed
from gristmill.matching.meaning import Meaning
from gristmill.matching.model import (
    BadReference,
    Embed,
    FieldPair,
    Match,
    Method,
    OneToOne,
    Outcome,
    Repeats,
    Row,
    check_threshold,
)
from gristmill.matching.scorer import scorer
from gristmill.matching.table import Distinct, Side, distinct, find_key, side_of
from gristmill.matching.vectors import Floats, Ints

THRESHOLD = 0.5
"""Confidence from which a pair is a match, unless the caller says otherwise."""
LIKELY = 0.5
"""First guess from which a pair helps to align columns."""
LIKELY_MIN = 20
"""Pairs that columns are aligned by at least; the best there are, where too few are likely."""


@dataclass(frozen=True, slots=True)
class _Learned:
    """What was learned of rows and reference together."""

    fields: tuple[FieldPair, ...]
    odds: tuple[FieldOdds, ...]
    task: Task
    threshold: float | None
    """Log-odds; None before it is known."""
    repeats: Repeats


@dataclass(slots=True)
class _Scored:
    """Candidate pairs with what was found about them."""

    pairs: Candidates
    alike: list[Floats]
    """Likeness of each field in each pair."""
    log_odds: Floats
    learned: _Learned


@dataclass(frozen=True, slots=True)
class _Decided:
    """Which of the pairs are matches."""

    chosen: Ints
    """Numbers of the pairs, one per row at most."""
    sure: Floats
    """Confidence of every pair."""
    one_to_one: bool


class Matcher:
    """Finds which record of a reference each row is.

    `key` names the reference's id column; it is found when not given. `embed` turns texts into vectors and is optional:
    with it, texts that mean the same are found though they share no word.
    """

    def __init__(self, *, key: str | None = None, embed: Embed | None = None) -> None:
        self._given_key = key
        self._meaning = None if embed is None else Meaning(embed)
        self._all: Side | None = None
        self._distinct: Distinct | None = None
        self._learned: _Learned | None = None

    def prepare(self, reference: Iterable[Row]) -> Self:
        """Take the reference. Raises `BadKey` when the given key column can't name its rows."""
        side = side_of(reference)
        if side.size or self._given_key is None:
            side.key = find_key(side, self._given_key)
            side.columns = [name for name in side.columns if name == side.key or not side.repeats_key(name)]
        self._all, self._distinct, self._learned = side, distinct(side), None
        return self

    def learn(self, rows: Iterable[Row]) -> Self:
        """Learn from a sample of rows. Later calls judge each row by it, however few rows they are given at a time."""
        left = distinct(self._left(rows))
        if left.side.size and self._reference.side.size:
            self._learned = None
            self._learned = self._score(left.side, None).learned
        return self

    def match(
        self,
        rows: Iterable[Row],
        *,
        threshold: float | None = None,
        one_to_one: OneToOne = "auto",
        confirmed: Confirmed | None = None,
    ) -> list[Match]:
        """The matches of some rows, at most one per row. See `outcome`."""
        return self.outcome(rows, threshold=threshold, one_to_one=one_to_one, confirmed=confirmed).matches

    def outcome(
        self,
        rows: Iterable[Row],
        *,
        threshold: float | None = None,
        one_to_one: OneToOne = "auto",
        confirmed: Confirmed | None = None,
    ) -> Outcome:
        """The matches of some rows, and what they were found by.

        `threshold` is the least confidence (one half unless given). `one_to_one` says whether a record may be the match
        of one row only; `auto` decides by the data, and equal rows then always share. `confirmed` holds pairs that a
        person has judged: (row number, record's key), or (row number, None) for a row without a match. Raises
        `BadThreshold` and `BadLesson`.
        """
        check_threshold(threshold)
        least = THRESHOLD if threshold is None else threshold
        reference, whole = self._reference, self._all
        left = self._left(rows)
        if whole is None or not left.size or not whole.size:
            return Outcome([], (), whole.key if whole else None, one_to_one is not False, least)
        lesson = read_confirmed(confirmed, left, whole) if confirmed else Lesson()
        settled = self._settled(left, whole, lesson)
        few = distinct(left)
        taught = lesson.among(few.place, reference.place) if confirmed else None
        scored = self._score(few.side, taught, may_repeat=one_to_one is not True)
        taken = {reference.place[record] for record, _ in settled.values()} if one_to_one is True else set[int]()
        decided = self._decide(scored, least, one_to_one, taken)
        matches: list[Match] = []
        chosen = {int(scored.pairs.i[number]): number for number in decided.chosen.tolist()}
        used: set[int] = set()
        for row in range(left.size):
            number = chosen.get(few.place[row])
            if row in settled:
                record, how = settled[row]
                if how.confidence >= least:
                    matches.append(Match(row, self._id(record), how.method, how.confidence, how.told))
            elif number is not None and row not in lesson.unmatched and not (one_to_one is True and number in used):
                used.add(number)
                matches.append(self._match(row, few.side, scored, number, float(decided.sure[number])))
        return Outcome(matches, scored.learned.fields, whole.key, decided.one_to_one, least)

    @property
    def _reference(self) -> Distinct:
        if self._distinct is None:
            raise BadReference
        return self._distinct

    def _left(self, rows: Iterable[Row]) -> Side:
        left = side_of(rows)
        left.key = own_key(left, self._reference.side)
        return left

    def _settled(self, left: Side, right: Side, lesson: Lesson) -> dict[int, tuple[int, _Settled]]:
        """Row -> (record, how that is known) of the rows that need no weighing."""
        _, joined = key_pairs(left, right)
        by_key = _Settled("KEY", KEY_CONFIDENCE, f"{right.key} is the reference's key")
        confirmed = _Settled("STANDARD", 1.0, "confirmed")
        found = {row: (record, by_key) for row, record in joined.items() if row not in lesson.unmatched}
        return {**found, **{row: (record, confirmed) for row, record in lesson.pairs.items()}}

    def _score(self, left: Side, lesson: Lesson | None, *, may_repeat: bool = True) -> _Scored:
        """Find candidate pairs and weigh what speaks for each."""
        right, known = self._reference.side, self._learned
        near = self._meaning.near(left, right) if self._meaning else None
        pairs = find_candidates(left, right, _together(near, lesson))
        if may_repeat and known is not None:
            pairs.repeats = known.repeats
        elif may_repeat:
            pairs.repeats = repeats(pairs.i, pairs.j, pairs.base, left.size, right.size)
        guess = first_guess(pairs.contest(pairs.base), pairs.base, pairs.matches_max)
        if lesson is not None:
            guess = lesson.teach(pairs, guess)
        fields = tuple(_aligned(left, right, pairs, guess)) if known is None else known.fields
        alike = [similarity(left, right, field, pairs.i, pairs.j) for field in fields]
        if self._meaning is not None:
            alike.append(self._meaning.alike(left, right, pairs.i, pairs.j))
        learned = _learn(pairs, fields, alike, guess, lesson) if known is None or lesson is not None else known
        weighed = [item.of(values) for item, values in zip(learned.odds, alike, strict=True)]
        log_odds = scorer().log_odds(evidence(pairs, weighed, learned.task)) + EQUAL_ODDS * pairs.equal
        if lesson is not None:
            log_odds = lesson.shift(pairs, log_odds)
        if learned.threshold is None:
            bound = threshold_of(pairs.row_group, pairs.record_group, log_odds, pairs.matches_max)
            learned = replace(learned, threshold=bound)
        return _Scored(pairs, alike, log_odds, learned)

    def _decide(self, scored: _Scored, least: float, one_to_one: OneToOne, taken: set[int]) -> _Decided:
        """Let the pairs compete and choose."""
        pairs = scored.pairs
        i, j = pairs.i, pairs.j
        odds = scored.log_odds - (scored.learned.threshold or 0.0)
        sizes = pairs.left_size, pairs.right_size
        odds, strictly = contested(i, j, odds, *sizes, one_to_one, pairs.repeats)
        sure = confidence(odds, scorer().slope)
        sure *= np.minimum(1.0, REPEATS_MAX / self._reference.counts[j])
        sure[np.isin(j, list(taken))] = 0.0
        return _Decided(choose(i, j, odds, sure, least, one_to_one=strictly), sure, strictly)

    def _match(self, row: int, left: Side, scored: _Scored, number: int, sure: float) -> Match:
        pairs, fields, right = scored.pairs, scored.learned.fields, self._reference
        few, record = int(pairs.i[number]), int(pairs.j[number])
        alike = [float(values[number]) for values in scored.alike[: len(fields)]]
        method: Method = "STANDARD"
        if _is_exact(left, right.side, few, record, fields, alike):
            method = "EXACT"
        elif self._meaning is not None and self._meaning.found_alone(few, record):
            method = "SEMANTIC"
        text = explain(left, right.side, few, record, fields, alike)
        return Match(row, self._id(right.first[record]), method, round(sure, 4), text)

    def _id(self, record: int) -> str:
        """What names a record of the whole reference."""
        whole = self._all
        if whole is None or whole.key is None:
            return str(record + 1)
        return whole.cells[whole.key][record]


@dataclass(frozen=True, slots=True)
class _Settled:
    """How a match is known without weighing."""

    method: Method
    confidence: float
    told: str


KEY_CONFIDENCE = 0.995
EQUAL_ODDS = 4.0
"""What rows of the same words have in their favour beside all else, in log-odds: however alike all records are to each
other, the one that is equal is meant."""
REPEATS_MAX = 3
"""Equal records that are taken for one thing. Of more, the first is right as often as one in so many."""


def match(
    left_rows: Iterable[Row],
    right_rows: Iterable[Row],
    *,
    key: str | None = None,
    threshold: float | None = None,
    one_to_one: OneToOne = "auto",
    confirmed: Confirmed | None = None,
    embed: Embed | None = None,
) -> list[Match]:
    """Which record of the reference `right_rows` each of `left_rows` is: at most one match per row.

    Untrained; columns need not have the same names. See `Matcher.outcome` for the arguments and what is raised.
    """
    matcher = Matcher(key=key, embed=embed).prepare(right_rows)
    return matcher.match(left_rows, threshold=threshold, one_to_one=one_to_one, confirmed=confirmed)


def _learn(
    pairs: Candidates, fields: tuple[FieldPair, ...], alike: list[Floats], guess: Floats, lesson: Lesson | None
) -> _Learned:
    """What the fields say in matches, from a first guess by whole rows and a second one that knows the fields."""
    _, task, weighed = _weigh(pairs, alike, guess)
    score = together(pairs, weighed, task)
    guess = first_guess(pairs.contest(score), score, pairs.matches_max)
    if lesson is not None:
        guess = lesson.teach(pairs, guess)
    odds, task, _ = _weigh(pairs, alike, guess)
    return _Learned(fields, odds, task, None, pairs.repeats)


def _weigh(pairs: Candidates, alike: list[Floats], guess: Floats) -> tuple[tuple[FieldOdds, ...], Task, list[Floats]]:
    """(odds of the fields, scales of the task, evidence of each field in each pair) by a guess of what matches."""
    odds = tuple(field_odds(values, guess) for values in alike)
    weighed = [item.of(values) for item, values in zip(odds, alike, strict=True)]
    return odds, learn_task(pairs, weighed, guess), weighed


def _aligned(left: Side, right: Side, pairs: Candidates, guess: Floats) -> list[FieldPair]:
    """Field pairs by the likely matches, or by the best pairs there are where too few are likely."""
    likely = np.flatnonzero(guess > LIKELY)
    if len(likely) < LIKELY_MIN:
        mutual = np.flatnonzero(pairs.contest(pairs.base).mutual)
        likely = np.sort(mutual[np.argsort(-pairs.base[mutual], kind="stable")][:LIKELY_MIN])
    return align(left, right, pairs.i[likely], pairs.j[likely])


def _is_exact(
    left: Side, right: Side, row: int, record: int, fields: tuple[FieldPair, ...], alike: list[float]
) -> bool:
    """Every field has the same text on both sides, but for capitals and blanks, and one at least is filled."""
    filled = False
    for field, value in zip(fields, alike, strict=True):
        if field.kind == "geo":
            if value < EQUAL:
                return False
            continue
        some = " ".join(" ".join(left.cells[name][row] for name in field.left).casefold().split())
        other = " ".join(" ".join(right.cells[name][record] for name in field.right).casefold().split())
        if some != other:
            return False
        filled = filled or bool(some)
    return filled


def _together(near: tuple[Ints, Ints] | None, lesson: Lesson | None) -> tuple[Ints, Ints] | None:
    """Pairs that must be looked at, from both sources."""
    found = [pair for pair in (near, lesson.as_pairs() if lesson else None) if pair is not None]
    if not found:
        return None
    return np.concatenate([i for i, _ in found]), np.concatenate([j for _, j in found])
