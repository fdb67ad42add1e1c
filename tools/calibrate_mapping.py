# ruff: noqa: INP001, T201, S311 - a script that prints and shuffles, not a package
"""Fits the confidence of mappings, and measures by cross-validation how far it can be believed.

    python tools/calibrate_mapping.py CASES [--write]

CASES is the folder of labelled tables (`mapping_cases.jsonl`, `manifest.jsonl`, `files/`). A share of the known header
words is left out in each round, another one each time: with all words the tables that the lists were written with look
easier than the next one will be. Cases of one family of headers are never on both sides of a fold.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.base.errors import Error
from gristmill.mapping import confidence, header_rules, headings
from gristmill.mapping.evidence import decide
from gristmill.mapping.propose import SAMPLE_ROWS
from gristmill.mapping.sheet import read_sheet
from gristmill.mapping.words import Lexicon, left_out_words
from gristmill.tables import read_table

WEIGHTS = Path(__file__).parents[1] / "src" / "gristmill" / "mapping" / "weights.json"
ROUNDS, FOLDS, LEFT_OUT = 12, 5, 0.25
RIDGE = 1.0
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Point:
    """One decision about one field of one table."""

    kind: str
    features: list[float]
    right: bool
    family: str


def load(folder: Path) -> Iterator[tuple[dict[str, Any], list[str] | None, list[list[str]], int, str]]:
    """Case, header, rows, width and family of every table that can be read."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    families = {item["id"]: item["family"] or item["id"] for item in map(json.loads, lines)}
    for line in (folder / "mapping_cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        try:
            table = read_table(folder / case["file"])
            rows = list(islice(table.records(), SAMPLE_ROWS))
        except Error as error:
            print(f"{case['file']}: {error.message}")
            continue
        yield case, table.header, rows, len(table.columns), families[case["id"]]


def answers(case: dict[str, Any], name: str) -> list[tuple[int, ...]]:
    """The columns that are right for a field; the empty tuple where it may stay empty."""
    headers = case["headers"] or []

    def index(column: str) -> int:
        return int(column[1:]) if column.startswith("#") and column not in headers else headers.index(column)

    return [tuple(map(index, columns or ())) for columns in case["accept"][name]]


def points(folder: Path) -> list[Point]:
    """All decisions of all rounds."""
    tables = list(load(folder))
    found: list[Point] = []
    for number in range(ROUNDS):
        lexicon = Lexicon(left_out_words(number, LEFT_OUT))
        header_rules.lexicon = lambda lexicon=lexicon: lexicon
        headings.read_header.cache_clear()
        for case, header, rows, width, family in tables:
            decision = decide(read_sheet(header, rows, width))
            for name, chosen in decision.choice.items():
                right = (chosen.columns if chosen else ()) in answers(case, name)
                second = confidence.runner_up(name, decision.choice, decision.candidates)
                if chosen:
                    values = confidence.features(chosen, second)
                    found.append(Point("chosen", values, right, family))
                else:
                    found.append(Point("empty", confidence.empty_features(second), right, family))
    return found


def fit(data: list[Point]) -> np.ndarray:
    """Weights of a logistic regression, by Newton's method with a small ridge."""
    matrix = np.array([point.features for point in data])
    target = np.array([point.right for point in data], dtype=float)
    weights = np.zeros(matrix.shape[1])
    for _ in range(50):
        guess = 1 / (1 + np.exp(-matrix @ weights))
        gradient = matrix.T @ (target - guess) - RIDGE * weights
        hessian = (matrix * (guess * (1 - guess))[:, None]).T @ matrix + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights += step
        if np.abs(step).max() < 1e-8:  # noqa: PLR2004 (converged)
            break
    return weights


def reliability(data: list[Point]) -> None:
    """Cross-validated: of the decisions with a confidence of about p, how many are right."""
    families = sorted({point.family for point in data})
    random.Random(0).shuffle(families)
    fold = {family: number % FOLDS for number, family in enumerate(families)}
    said: list[float] = []
    right: list[bool] = []
    for number in range(FOLDS):
        weights = fit([point for point in data if fold[point.family] != number])
        for point in data:
            if fold[point.family] == number:
                said.append(float(1 / (1 + np.exp(-np.dot(weights, point.features)))))
                right.append(point.right)
    gap = 0.0
    for low, high in pairwise(BINS):
        inside = [index for index, value in enumerate(said) if low <= value < high or (high == BINS[-1] == value)]
        if inside:
            mean = sum(said[index] for index in inside) / len(inside)
            share = sum(right[index] for index in inside) / len(inside)
            gap += abs(mean - share) * len(inside) / len(said)
            print(f"  {low:.2f}-{high:.2f}  {len(inside):6}  said {mean:.3f}  right {share:.3f}")
    print(f"  mean gap {gap:.3f}, right {sum(right) / len(right):.3f}")


def main() -> None:
    """Print the reliability of both curves and write their weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    found = points(given.cases)
    weights: dict[str, list[float]] = {}
    for kind in ("chosen", "empty"):
        data = [point for point in found if point.kind == kind]
        print(f"{kind}: {len(data)} decisions, by {FOLDS}-fold cross-validation over families")
        reliability(data)
        weights[kind] = [round(float(value), 4) for value in fit(data)]
    print(weights)
    if given.write:
        WEIGHTS.write_text(json.dumps(weights) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
