"""What each pair has for and against it, as numbers that mean the same in every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gristmill.matching.candidates import Candidates
from gristmill.matching.contest import surprise
from gristmill.matching.vectors import Floats

LEVELS = np.array([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.9999])
"""Bounds between levels of likeness. The last level is equality."""
PRIOR_PAIRS = 6.0
"""Pairs that the expectation about a level counts as, beside those that were seen."""
ODDS_MAX = 8.0
_WEIGH = ("base", "all_runs", "all_held", "all_shared", "name_shared", "name_trigrams", "all_words", "all_digits")
"""Scores that are also judged against chance and against likely matches."""


@dataclass(frozen=True, slots=True)
class FieldOdds:
    """How much a level of likeness in a field speaks for a match: log(share in matches / share in other pairs).

    After Fellegi and Sunter (1969), with the shares counted over probable matches instead of labelled ones.
    """

    levels: Floats
    """One value per level, rising."""

    def of(self, alike: Floats) -> Floats:
        """Evidence of each pair; 0 where a cell is empty."""
        level = np.searchsorted(LEVELS, np.nan_to_num(alike), side="right")
        return np.where(np.isnan(alike), 0.0, self.levels[level])


def field_odds(alike: Floats, probability: Floats) -> FieldOdds:
    """Odds of a field from the probabilities that pairs are matches, drawn to an expectation where pairs are few."""
    count = len(LEVELS) + 1
    seen = ~np.isnan(alike)
    level = np.searchsorted(LEVELS, alike[seen], side="right")
    matches = np.bincount(level, probability[seen], count)
    others = np.bincount(level, 1 - probability[seen], count)
    near = np.array([0.25, 0.5, 0.25])
    matches, others = np.convolve(matches, near, "same"), np.convolve(others, near, "same")
    rising = np.linspace(0.5, 1.5, count) / count
    matches = (matches + PRIOR_PAIRS * rising) / (matches.sum() + PRIOR_PAIRS)
    others = (others + PRIOR_PAIRS / count) / (others.sum() + PRIOR_PAIRS)
    odds = np.log(matches / others)
    # No level of likeness speaks less for a match than a lower one: the mean of the bounds from both sides.
    up = np.maximum.accumulate(odds)
    down = np.minimum.accumulate(odds[::-1])[::-1]
    return FieldOdds((up + down) / 2)


@dataclass(frozen=True, slots=True)
class Scale:
    """What a score is by chance and in likely matches of a task, so that scores of different tasks can be compared."""

    seconds: Floats
    """Sorted scores of second bests."""
    chance: float
    """Their mean."""
    match: float
    """Mean score of likely matches."""
    spread: float
    """Standard deviation of the same."""

    def place(self, score: Floats, span_min: float) -> Floats:
        """0 as by chance, 1 as in a likely match."""
        return np.clip((score - self.chance) / max(self.match - self.chance, span_min), -1, 2)

    def lead(self, difference: Floats) -> Floats:
        """A difference of two scores, in units of the distance from chance to match."""
        return np.clip(difference / max(self.match - self.chance, SPAN_MIN), -2, 2)


SPAN_MIN = 0.05
FIELDS_SPAN_MIN = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned of a task without labels, beside its fields."""

    scales: dict[str, Scale]
    signs: dict[str, FieldOdds]
    """What each sign of sameness is worth."""
    rate: float
    """Log-odds that a row of the smaller side has a match."""


def learn_task(pairs: Candidates, odds: list[Floats], probability: Floats) -> Task:
    """The task that pairs come from; `probability` is the first guess about each."""
    scores = {name: score for name, score in _scores(pairs).items() if name in _WEIGH}
    scores["fields"] = _total(pairs, odds)
    rate = min(float(probability.sum()) / max(pairs.matches_max, 1), 1.0)
    return Task(
        {name: _scale_of(pairs, score, probability) for name, score in scores.items()},
        {name: field_odds(values, probability) for name, values in pairs.signs.items()},
        float(np.log((rate + 0.02) / (1.02 - rate))),
    )


def _scale_of(pairs: Candidates, score: Floats, probability: Floats) -> Scale:
    seconds = pairs.contest(score).chance
    weight = max(float(probability.sum()), 1e-9)
    match = float((probability * score).sum()) / weight
    spread = float(np.sqrt((probability * (score - match) ** 2).sum() / weight))
    return Scale(seconds, float(seconds.mean()), match, spread)


def _scores(pairs: Candidates) -> dict[str, Floats]:
    return {**pairs.facts, "base": pairs.base}


def _total(pairs: Candidates, odds: list[Floats]) -> Floats:
    return np.sum(odds, axis=0) if odds else np.zeros(len(pairs.i))


def together(pairs: Candidates, odds: list[Floats], task: Task) -> Floats:
    """Whole rows and fields in one score: 0 as by chance, 2 as in a likely match."""
    fields = task.scales["fields"].place(_total(pairs, odds), FIELDS_SPAN_MIN)
    return task.scales["base"].place(pairs.base, SPAN_MIN) + fields


def evidence(pairs: Candidates, odds: list[Floats], task: Task) -> dict[str, Floats]:
    """Name -> value per pair of everything that the scorer may ask for."""
    scores = _scores(pairs)
    found = dict(scores)
    for name in _WEIGH:
        score, scale = scores[name], task.scales[name]
        contest = pairs.contest(score, scale.chance)
        lead_left, lead_right = score - contest.rival_left, score - contest.rival_right
        found[f"{name}:chance"] = surprise(scale.seconds, score)
        found[f"{name}:place"] = scale.place(score, SPAN_MIN)
        found[f"{name}:lead"] = scale.lead(np.minimum(lead_left, lead_right))
        if name == "base":
            found["base:lead_left"], found["base:lead_right"] = scale.lead(lead_left), scale.lead(lead_right)
            found["share"] = _share(pairs, scale, score)
    found.update(_fields(pairs, odds, task.scales["fields"]))
    found.update(_signs(pairs, task))
    found["together"] = found["base:place"] + found["fields:place"]
    found["together:lead"] = found["together"] + found["all_held:place"] + 0.5 * found["base:lead"]
    found["rate"] = np.full(len(pairs.i), task.rate)
    return found


def _signs(pairs: Candidates, task: Task) -> dict[str, Floats]:
    """The evidence of the signs, each and together: two of them stand for themselves, the others repeat the texts."""
    found = {f"sign:{name}": task.signs[name].of(values) for name, values in pairs.signs.items()}
    total = found["sign:code"] + found["sign:numbers"]
    contest = pairs.contest(total, 0.0)
    lead = total - np.maximum(contest.rival_left, contest.rival_right)
    return {**found, "signs": total, "signs:lead": np.clip(lead, -ODDS_MAX, ODDS_MAX)}


def _share(pairs: Candidates, scale: Scale, score: Floats) -> Floats:
    """The pair's share of all that its row and its record could be matched with."""
    weight = np.exp(np.clip(SHARPNESS * (score - scale.chance) / max(scale.match - scale.chance, SPAN_MIN), -30, 30))
    row = np.bincount(pairs.row_group, weight)[pairs.row_group]
    record = np.bincount(pairs.record_group, weight)[pairs.record_group]
    return weight / (1 + row + record - weight)


SHARPNESS = 8.0


def _fields(pairs: Candidates, odds: list[Floats], scale: Scale) -> dict[str, Floats]:
    """The evidence of the aligned fields together."""
    total = _total(pairs, odds)
    each = np.stack(odds) if odds else np.zeros((1, len(pairs.i)))
    contest = pairs.contest(total, scale.chance)
    return {
        "fields": total / np.sqrt(1 + len(odds)),
        "fields:worst": np.minimum(each.min(axis=0), 0),
        "fields:against": np.minimum(each, 0).sum(axis=0),
        "fields:for": np.maximum(each, 0).sum(axis=0),
        "fields:lead_left": np.clip(total - contest.rival_left, -ODDS_MAX, ODDS_MAX),
        "fields:lead_right": np.clip(total - contest.rival_right, -ODDS_MAX, ODDS_MAX),
        "fields:place": scale.place(total, FIELDS_SPAN_MIN),
        "fields:chance": surprise(scale.seconds, total),
        "fields:typical": np.clip((total - scale.match) / (scale.spread + 0.5), -6, 3),
    }
