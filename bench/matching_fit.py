"""Fits the scorer of the matching room, and shows what it is worth on sets that it was not fitted to.

    python bench/matching_fit.py                evidence of all tasks -> one fit per set left out -> a table
    python bench/matching_fit.py --write        also fits on all sets and writes src/gristmill/matching/scorer.json

The second command alone makes that file from the sets: the draws are seeded, so that the same sets, lists and code
give the same file, byte for byte.

Needs the public sets beside the project (see matching_tasks.py) and some seven minutes of one core, most of it for
finding the evidence, which is kept in a folder (`--cache`) until the code that finds it changes.

The scorer is a sum of small trees (gradient boosting, Friedman 2001) in which all nodes of a level ask the same
question, and no answer falls with more evidence: that keeps it from learning the habits of a set. Every task weighs
the same for each set, whatever its size; pairs that nobody judged are left out.

Each set is judged by a scorer that was fitted without it and its variants, and by one that was fitted without any set
about the same sort of things (`KINDS`).
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill import tables
from gristmill.matching import matcher as room
from gristmill.matching.decide import choose, confidence, contested, threshold_of
from gristmill.matching.matcher import Matcher
from gristmill.matching.scorer import DEPTH, FILE, Scorer
from gristmill.matching.table import distinct
from harness import table
from matching_tasks import Task, derived, doubled, load, names, rewritten

Floats = NDArray[np.float64]
TARGET = Path(__file__).resolve().parents[1] / "src" / "gristmill" / "matching" / FILE
LISTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "csv" / "files"
FALLING = frozenset({"name_unshared", "no_code"})
"""Evidence that speaks against a match."""
FREE = frozenset({"rate"})
"""Facts about the task that speak neither for nor against."""
BINS = 32
TREES = 100
SLOPE = 0.9
"""How fast confidence rises above the threshold, so that it holds on sets left out; see the table of confidences."""
RATE = 0.12
SHRINK = 30.0
"""Weight of pairs that a leaf is drawn to zero by."""
ROWS_SHARE = 0.4
FEATURES_SHARE = 0.5
OTHERS_MAX = 700
MATCHES_MAX = 300
"""Pairs of a task that are used at most."""
RANKS = 3
"""Candidates of each row and record that are used: the others are easy."""
LIST_ROWS = 75
REWRITTEN = ((0.9, 0.5), (0.5, 0.4), (0.2, 0.3))
"""(share of the rows on both sides, share of words lost) of lists in other words."""
AS_IT_IS = "as it is"
AS_IT_IS_WEIGHT = 2.0
KINDS = (
    frozenset({"abt_buy", "beer"}),
    frozenset({"cddb", "dblp_acm"}),
    frozenset({"geo_osm_fsq", "hotels", "restaurants", "afj_hospital"}),
)
"""Sets that are about the same sort of things: products, works, places. People are alone."""
LISTS_GROUP = "lists"


@dataclass(slots=True)
class Sample:
    """The evidence of one task's pairs."""

    task: Task
    names: tuple[str, ...]
    values: Floats
    """(pairs, evidence) of the pairs that are used."""
    used: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    rows: list[int]
    """Distinct row -> row of the task; the same for records."""
    records: list[int]

    @property
    def group(self) -> str:
        """What is left out together."""
        return LISTS_GROUP if self.task.variant.startswith("doubled") else self.task.name

    def truth(self) -> NDArray[np.bool_]:
        """Whether each used pair is a match."""
        pairs = zip(self.i[self.used].tolist(), self.j[self.used].tolist(), strict=True)
        return np.array([(self.rows[i], self.records[j]) in self.task.truth for i, j in pairs], bool)

    def judged(self) -> NDArray[np.bool_]:
        """Whether each used pair was judged."""
        if self.task.judged is None:
            return np.ones(len(self.used), bool)
        pairs = zip(self.i[self.used].tolist(), self.j[self.used].tolist(), strict=True)
        return np.array([(self.rows[i], self.records[j]) in self.task.judged for i, j in pairs], bool)


class _Spy:
    """Stands in for the scorer and keeps the evidence that it is shown."""

    slope = 1.0

    def __init__(self) -> None:
        self.evidence: dict[str, Floats] = {}

    def log_odds(self, evidence: dict[str, Floats]) -> Floats:
        self.evidence = evidence
        return evidence["together"]


def sample(task: Task) -> Sample:
    """The evidence that the room finds in a task."""
    spy = _Spy()
    kept, room.scorer = room.scorer, lambda: spy  # type: ignore[assignment]
    try:
        matcher = Matcher().prepare(task.right)
        left = distinct(matcher._left(task.left))
        scored = matcher._score(left.side, None, may_repeat=False)  # the sets have each thing once
    finally:
        room.scorer = kept
    pairs = scored.pairs
    known = tuple(spy.evidence)
    reference = matcher._reference
    found = Sample(task, known, np.zeros((0, 0)), np.zeros(0, np.int64), pairs.i, pairs.j, left.first, reference.first)
    near = _ranks(pairs.i, pairs.base) < RANKS
    near |= _ranks(pairs.j, pairs.base) < RANKS
    found.used = np.arange(len(pairs.i))
    found.used = np.flatnonzero(near | found.truth())
    found.values = np.stack([spy.evidence[name][found.used] for name in known], axis=1)
    return found


def _ranks(group: NDArray[np.int64], score: Floats) -> NDArray[np.int64]:
    order = np.lexsort((-score, group))
    starts = np.flatnonzero(np.concatenate([[True], group[order][1:] != group[order][:-1]]))
    sizes = np.diff(np.append(starts, len(group)))
    ranks = np.empty(len(group), np.int64)
    ranks[order] = np.arange(len(group)) - np.repeat(starts, sizes)
    return ranks


def all_tasks() -> Iterator[Task]:
    """Every set and what is derived of it, and small lists against distorted parts of themselves."""
    for name in names():
        yield from (task for task in derived(load(name)) if task.left and task.right)
    for path in sorted(LISTS.glob("*")):
        try:
            rows = [dict(row) for row in tables.read_table(path).rows()]
        except tables.Unreadable:
            continue
        rows = list(
            {tuple(row.values()): {str(name): str(text) for name, text in row.items()} for row in rows}.values()
        )
        if len(rows) >= LIST_ROWS and len(rows[0]) > 1:
            yield doubled(path.name, rows, 0.5, 0.8)
            yield doubled(path.name, rows, 0.15, 1.2)
            for overlap, lost in REWRITTEN:
                yield rewritten(path.name, rows, overlap, lost)


# Trees


def fit(values: Floats, truth: Floats, weight: Floats, known: Sequence[str], *, seed: int = 0) -> Scorer:
    """A scorer from pairs with known answers."""
    signs = [-1 if name in FALLING else 0 if name in FREE else 1 for name in known]
    bounds = [np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])) for column in values.T]
    binned = np.stack([np.searchsorted(cut, column) for cut, column in zip(bounds, values.T, strict=True)], axis=1)
    binned = binned.astype(np.uint8)
    dice = np.random.default_rng(seed)
    weight = weight / weight.mean()
    share = float(np.clip((weight * truth).sum() / weight.sum(), 1e-3, 1 - 1e-3))
    bias = float(np.log(share / (1 - share)))
    odds = np.full(len(truth), bias)
    trees: list[tuple[list[int], list[float], Floats]] = []
    for _ in range(TREES):
        rows = np.flatnonzero(dice.random(len(truth)) < ROWS_SHARE)
        columns = np.flatnonzero(dice.random(len(known)) < FEATURES_SHARE)
        chance = 1 / (1 + np.exp(-odds[rows]))
        slope = weight[rows] * (truth[rows] - chance)
        curve = weight[rows] * np.maximum(chance * (1 - chance), 1e-3)
        leaf = np.zeros(len(rows), np.int64)
        asked: list[int] = []
        cuts: list[int] = []
        for level in range(DEPTH):
            column, cut = _best_question(binned[rows], leaf, slope, curve, columns, bounds, signs, 1 << level)
            asked.append(column)
            cuts.append(cut)
            leaf += (binned[rows, column] > cut).astype(np.int64) << level
        up = np.bincount(leaf, slope, 1 << DEPTH)
        width = np.bincount(leaf, curve, 1 << DEPTH)
        leaves = _ordered(RATE * up / (width + SHRINK), width + 1, [signs[column] for column in asked])
        trees.append((asked, [float(bounds[column][cut]) for column, cut in zip(asked, cuts, strict=True)], leaves))
        place = sum(
            (binned[:, column] > cut).astype(np.int64) << level
            for level, (column, cut) in enumerate(zip(asked, cuts, strict=True))
        )
        odds += leaves[place]
    features, limits, leaves_of = zip(*trees, strict=True)
    return Scorer(tuple(known), bias, np.array(features), np.array(limits), np.array(leaves_of), SLOPE)


def _best_question(
    binned: NDArray[np.uint8],
    leaf: NDArray[np.int64],
    slope: Floats,
    curve: Floats,
    columns: NDArray[np.int64],
    bounds: list[Floats],
    signs: list[int],
    leaves: int,
) -> tuple[int, int]:
    """The column and cut that explain most over all leaves, none of them against the column's direction."""
    best = (-1.0, int(columns[0]), 0)
    for column in columns.tolist():
        if not len(bounds[column]):
            continue
        at = leaf * BINS + binned[:, column]
        up = np.bincount(at, slope, leaves * BINS).reshape(leaves, BINS).cumsum(axis=1)
        width = np.bincount(at, curve, leaves * BINS).reshape(leaves, BINS).cumsum(axis=1)
        low, low_width = up[:, :-1], width[:, :-1]
        high, high_width = up[:, -1:] - low, width[:, -1:] - low_width
        gain = low**2 / (low_width + SHRINK) + high**2 / (high_width + SHRINK)
        if signs[column]:
            rise = high / (high_width + SHRINK) - low / (low_width + SHRINK)
            gain = np.where(signs[column] * rise < 0, up[:, -1:] ** 2 / (width[:, -1:] + SHRINK), gain)
        total = gain.sum(axis=0)[: len(bounds[column])]
        if total.max() > best[0]:
            best = (float(total.max()), column, int(total.argmax()))
    return best[1], best[2]


def _ordered(leaves: Floats, weight: Floats, signs: list[int]) -> Floats:
    """Leaves in which no answer goes against its direction: neighbours that do are replaced by their mean."""
    leaves = leaves.copy()
    for _ in range(4 * DEPTH):
        for level, sign in enumerate(signs):
            for low in range(len(leaves)):
                high = low | 1 << level
                if sign and low != high and sign * (leaves[high] - leaves[low]) < 0:
                    both = weight[low] + weight[high]
                    leaves[low] = leaves[high] = (leaves[low] * weight[low] + leaves[high] * weight[high]) / both
    return leaves


def training(samples: Sequence[Sample], without: frozenset[str]) -> tuple[Floats, Floats, Floats]:
    """Values, answers and weights of the pairs of all groups but some."""
    values: list[Floats] = []
    truths: list[Floats] = []
    weights: list[Floats] = []
    for item in samples:
        if item.group in without:
            continue
        truth, judged = item.truth(), item.judged()
        matches, others = np.flatnonzero(truth & judged), np.flatnonzero(~truth & judged)
        few_matches, few_others = _thinned(matches, MATCHES_MAX), _thinned(others, OTHERS_MAX)
        chosen = np.concatenate([few_matches, few_others])
        whole = AS_IT_IS_WEIGHT if item.task.variant == AS_IT_IS else 1.0
        whole /= max(len(matches), 0.05 * min(len(item.task.left), len(item.task.right)))
        values.append(item.values[chosen])
        truths.append(truth[chosen].astype(np.float64))
        stands_for = (len(matches) / max(len(few_matches), 1), len(others) / max(len(few_others), 1))
        weights.append(whole * np.repeat(stands_for, (len(few_matches), len(few_others))))
    return np.concatenate(values), np.concatenate(truths), np.concatenate(weights)


def _thinned(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return rows[:: int(np.ceil(len(rows) / count))] if len(rows) > count else rows


# What it is worth


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scorer is worth in one task."""

    f1: float
    """At the product's own threshold."""
    best: float
    """The same at the best threshold, which nobody knows beforehand."""
    share: float
    """Share of the rows that are given a match."""
    sure: Floats
    """Confidence of each found pair that was judged."""
    right: NDArray[np.bool_]
    """Whether it is a match."""


def judge(item: Sample, scorer: Scorer) -> Verdict:
    """Let a scorer decide a task as the product does, but for rows of the same words."""
    odds = np.full(len(item.i), -20.0)
    odds[item.used] = scorer.log_odds(dict(zip(item.names, item.values.T, strict=True)))
    size = min(len(item.rows), len(item.records))
    odds -= threshold_of(item.i, item.j, odds, size)
    odds, strictly = contested(item.i, item.j, odds, len(item.rows), len(item.records), "auto")
    found = choose(item.i, item.j, odds, np.ones(len(odds)), 0.5, one_to_one=strictly)
    found = found[np.argsort(-odds[found], kind="stable")]
    pairs = [(item.rows[int(item.i[number])], item.records[int(item.j[number])]) for number in found]
    truth = np.array([pair in item.task.truth for pair in pairs], bool)
    judged = np.array([item.task.judged is None or pair in item.task.judged for pair in pairs], bool)
    scores = 2 * np.cumsum(truth) / (np.arange(1, len(truth) + 1) + max(len(item.task.truth), 1))
    count = int((odds[found] >= 0).sum())
    sure = confidence(odds[found], SLOPE)[:count][judged[:count]]
    f1 = float(scores[count - 1]) if count else 0.0
    return Verdict(
        f1, float(scores.max(initial=0.0)), count / max(len(item.rows), 1), sure, truth[:count][judged[:count]]
    )


def report(samples: Sequence[Sample], scorers: dict[str, Scorer], by_kind: dict[str, Scorer]) -> None:
    """Print F1 by set and by variant, false rows and how far confidences hold, by scorers that do not know the set.

    `by_kind` know nothing of its kind.
    """
    found = {(item.task.name, item.task.variant): judge(item, scorers[item.group]) for item in samples}
    kin = {item.task.name: judge(item, by_kind[item.group]) for item in samples if item.task.variant == AS_IT_IS}
    matched = {
        (item.task.name, item.task.variant): found[item.task.name, item.task.variant]
        for item in samples
        if item.task.truth
    }
    lines = [
        (
            name,
            *_means(matched, lambda key, n=name: key == (n, AS_IT_IS)),
            f"{kin[name].f1:.3f}",
            *_means(matched, lambda key, n=name: key[0] == n),
        )
        for name in names()
    ]
    own = set(names())
    lines.append(
        (
            "mean",
            *_means(matched, lambda key: key[1] == AS_IT_IS),
            f"{np.mean([item.f1 for item in kin.values()]):.3f}",
            *_means(matched, lambda key: key[0] in own),
        )
    )
    columns = ("left out", "F1", "best threshold", "its kind left out", "with its variants", "best threshold")
    print(table(columns, lines))
    variants = sorted({key[1] for key in matched})
    print(table(("variant", "F1", "best"), [(v, *_means(matched, lambda key, v=v: key[1] == v)) for v in variants]))
    for variant in ("no match", "apart"):
        shares = {key[0]: item.share for key, item in found.items() if key[1] == variant}
        each = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
        print(f"Rows with a match where there is none ({variant}): mean {np.mean(list(shares.values())):.3f}; {each}")
    asked = [item for key, item in found.items() if key[0] in own and key[1] == AS_IT_IS]
    sure, right = np.concatenate([item.sure for item in asked]), np.concatenate([item.right for item in asked])
    weight = np.concatenate([np.full(len(item.sure), 1 / max(len(item.sure), 1)) for item in asked])
    bounds = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
    rows = []
    for low, high in pairwise(bounds):
        part = (sure >= low) & (sure < high)
        if part.any():
            told = (np.average(values[part], weights=weight[part]) for values in (sure, right))
            rows.append((f"{low:g} to {high:g}", str(int(part.sum())), *(f"{value:.3f}" for value in told)))
    print(table(("confidence, each set alike", "pairs", "mean", "matches"), rows))


def _means(found: dict[tuple[str, str], Verdict], which: Any) -> tuple[str, str]:
    chosen = [item for key, item in found.items() if which(key)]
    return f"{np.mean([item.f1 for item in chosen]):.3f}", f"{np.mean([item.best for item in chosen]):.3f}"


def write(scorer: Scorer) -> None:
    """Keep the fitted numbers, only of evidence that is asked for."""
    asked = sorted({int(column) for column in scorer.features.ravel()})
    place = {column: number for number, column in enumerate(asked)}
    data = {
        "names": [scorer.names[column] for column in asked],
        "bias": round(scorer.bias, 4),
        "slope": scorer.slope,
        "features": [[place[int(column)] for column in row] for row in scorer.features],
        "bounds": [[float(f"{bound:.5g}") for bound in row] for row in scorer.bounds],
        "leaves": [[round(float(leaf), 4) for leaf in row] for row in scorer.leaves],
    }
    TARGET.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"wrote {TARGET.name}: {len(scorer.features)} trees, {len(asked)} kinds of evidence")


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description="Fit the scorer of the matching room.")
    parser.add_argument("--write", action="store_true", help="write the scorer that is fitted on all sets")
    parser.add_argument("--cache", type=Path, help="folder that keeps the evidence between runs")
    options = parser.parse_args()
    samples: list[Sample] = []
    for task in all_tasks():
        kept = options.cache and options.cache / f"{task.name} {task.variant}.pickle".replace("/", "_")
        if kept and kept.is_file():
            samples.append(replace(pickle.loads(kept.read_bytes()), task=task))
        else:
            samples.append(sample(task))
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(pickle.dumps(samples[-1]))
    known = samples[0].names
    scorers = {name: fit(*training(samples, frozenset({name})), known) for name in (*names(), LISTS_GROUP)}
    kin = {name: next((kind for kind in KINDS if name in kind), frozenset({name})) for name in names()}
    by_kind = {name: fit(*training(samples, kin[name]), known) for name in names()}
    report(samples, scorers, by_kind)
    if options.write:
        write(fit(*training(samples, frozenset()), known))


if __name__ == "__main__":
    main()
