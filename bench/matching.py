"""Matching: F1 on public sets beside a fuzzy baseline and Splink 4, all untrained, and how cost grows with the rows.

    python bench/matching.py              the sets, then 10,000, 50,000 and 100,000 rows a side
    python bench/matching.py --quick      three sets and 2,000 and 10,000 rows
    python bench/matching.py --part sets  only the sets; `growth`: only how cost grows
    python bench/matching.py --sets DIR   other sets, each a folder with left.csv, right.csv (with a column `id`) and
                                          truth.csv (left_id, right_id)

All three get the same tables and no settings for a set. `ours` is the product as it is, at its own threshold. `mutual`
is the best of the baselines that were tried: mean of the TF-IDF cosines of whole rows and of names (runs of three
characters), kept where best from both sides and at least 0.5. `splink` compares the columns that both sides have by
Jaro-Winkler (exactly where a column has few values), blocks on rare words, learns by EM, takes p >= 0.5 and the best
partner. F1 counts found pairs that nobody judged as wrong, where a set has such (p); `judged` leaves them out. The sets
lie beside the project and are no part of it; without them only the growth is measured.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import resource
import time
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from gristmill.matching import Matcher
from harness import machine, number, table, verdict
from matching_tasks import SETS, Task, doubled, load, names

GAIN_GOAL = 0.08
"""How far the mean F1 is to be above the best baseline's."""
LOSS_MAX = 0.01
"""How far F1 may be below it on any set."""
GROWTH_MAX = 1.5
"""Cost per row at the largest size, over that at the smallest: near-linear."""
SIZES = (10_000, 50_000, 100_000)
Pairs = set[tuple[int, int]]


def ours(task: Task) -> Pairs:
    """The product."""
    left, right = task.with_ids()
    row_of = {row["id"]: number for number, row in enumerate(right)}
    return {(item.left, row_of[item.reference_id]) for item in Matcher().prepare(right).match(left)}


# Mutual nearest neighbours


def mutual(task: Task) -> Pairs:
    """Best from both sides by the mean cosine of whole rows and names, at least one half."""
    texts = [[_plain(" ".join(row.values())) for row in side] for side in (task.left, task.right)]
    named = [[_plain(" ".join(row[c] for c in _names(side))) for row in side] for side in (task.left, task.right)]
    both = [_cosines(*texts), _cosines(*named)]
    likeness = ((both[0] + both[1]) / 2).tocsr()
    best_right = _argmax(likeness)
    best_left = _argmax(likeness.T.tocsr())
    return {(i, j) for i, (j, score) in best_right.items() if score >= 0.5 and best_left.get(j, (-1, 0.0))[0] == i}


def _plain(text: str) -> str:
    text = "".join(char for char in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(char))
    return " ".join("".join(char if char.isalnum() else " " for char in text).split())


def _names(rows: list[dict[str, str]]) -> list[str]:
    columns = list(rows[0])
    found = [name for name in columns if re.search("name|title", name, re.IGNORECASE)]
    return found or [max(columns, key=lambda name: len({row[name] for row in rows}))]


def _cosines(some: list[str], others: list[str]) -> Any:
    places: dict[str, int] = {}
    sides = []
    for texts in (some, others):
        rows, columns = [], []
        for row, text in enumerate(texts):
            for word in text.split():
                padded = f" {word} "
                for at in range(len(padded) - 2):
                    rows.append(row)
                    columns.append(places.setdefault(padded[at : at + 3], len(places)))
        sides.append((rows, columns, len(texts)))
    matrices = [
        sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, len(places)))
        for rows, columns, count in sides
    ]
    seen = sum(np.bincount(matrix.indices, minlength=len(places)) for matrix in matrices)
    weight = np.log((1 + len(some) + len(others)) / (1 + seen)) + 1
    scaled = [(matrix @ sparse.diags_array(weight)).tocsr() for matrix in matrices]
    for matrix in scaled:
        length = np.sqrt(matrix.multiply(matrix).sum(axis=1))
        matrix.data /= np.repeat(np.where(length == 0, 1, length), np.diff(matrix.indptr))
    return (scaled[0] @ scaled[1].T).tocsr()


def _argmax(matrix: Any) -> dict[int, tuple[int, float]]:
    found = {}
    for row in range(matrix.shape[0]):
        begin, end = matrix.indptr[row], matrix.indptr[row + 1]
        if end > begin:
            at = begin + int(matrix.data[begin:end].argmax())
            found[row] = (int(matrix.indices[at]), float(matrix.data[at]))
    return found


# Splink


def splink(task: Task) -> Pairs:
    """Splink 4 with usual settings: the columns that both sides have, blocked on rare words."""
    import duckdb  # noqa: PLC0415 - heavy, and not always there
    import pandas as pd  # noqa: PLC0415 - heavy, and not always there
    import splink.comparison_library as cl  # noqa: PLC0415
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on  # noqa: PLC0415

    logging.disable(logging.WARNING)  # it tells of every step
    warnings.simplefilter("ignore")
    shared = [name for name in task.left[0] if name in task.right[0]]
    words = [[set(_plain(" ".join(row.values())).split()) for row in side] for side in (task.left, task.right)]
    common = Counter(word for side in words for row in side for word in row)

    def rare(row: set[str], place: int) -> str | None:
        ranked = sorted((word for word in row if common[word] > 1), key=lambda word: (common[word], word))
        return ranked[place] if place < len(ranked) else None

    frames = []
    for side, sets in zip((task.left, task.right), words, strict=True):
        frame = pd.DataFrame(
            [{name: _plain(row[name]) or None for name in shared} for row in side], columns=shared, dtype=object
        )
        frame.insert(0, "unique_id", range(len(side)))
        for place in range(3):
            frame[f"rare_{place}"] = [rare(row, place) for row in sets]
        frames.append(frame.where(frame.notna(), None))
    few = {name for name in shared if len({row[name] for row in (*task.left, *task.right)}) < 50}
    comparisons = [
        cl.ExactMatch(name) if name in few else cl.JaroWinklerAtThresholds(name, [0.95, 0.88, 0.75]) for name in shared
    ]
    rules = [block_on(f"rare_{place}") for place in range(3)]
    rules += [block_on(name) for name in shared if name not in few][:2]
    settings = SettingsCreator(
        link_type="link_only", comparisons=comparisons, blocking_rules_to_generate_predictions=rules
    )
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    linker = Linker(frames, settings, db_api=DuckDBAPI(connection=connection))
    linker.training.estimate_probability_two_random_records_match(rules[:1], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in rules[:2]:
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    found = linker.inference.predict(threshold_match_probability=0.5).as_pandas_dataframe()
    best: dict[int, tuple[float, int]] = {}
    less_is_left = len(task.left) <= len(task.right)
    for row in found.itertuples():
        i, j = int(row.unique_id_l), int(row.unique_id_r)
        mine, other = (i, j) if less_is_left else (j, i)
        if mine not in best or row.match_probability > best[mine][0]:
            best[mine] = (row.match_probability, other)
    return {(mine, other) if less_is_left else (other, mine) for mine, (_, other) in best.items()}


METHODS: dict[str, Callable[[Task], Pairs]] = {"ours": ours, "mutual": mutual, "splink": splink}


def compare(chosen: list[str], sets: Path) -> None:
    """Print F1 and seconds of each method on each set."""
    scores: dict[str, list[float]] = {name: [] for name in METHODS}
    exact: dict[str, list[float]] = {name: [] for name in METHODS}
    lines = []
    for name in chosen:
        task = load(name, sets)
        cells = [f"{name}{' p' if task.judged is not None else ''}", f"{len(task.left)} x {len(task.right)}"]
        for method, run in METHODS.items():
            begun = time.process_time()
            try:
                found = run(task)
            except Exception as error:  # noqa: BLE001 - a peer that fails on a set is a result, too
                print(f"{method} failed on {name}: {type(error).__name__}: {str(error)[:200]}")
                found = set()
            seconds = time.process_time() - begun
            scores[method].append(task.f1(found))
            exact[method].append(task.f1(found, exact=True))
            judged = f" ({exact[method][-1]:.3f})" if task.judged is not None else ""
            cells.append(f"{scores[method][-1]:.3f}{judged} {seconds:.0f}s")
        lines.append(tuple(cells))
    lines.append(("mean", "", *(f"{np.mean(scores[method]):.3f} ({np.mean(exact[method]):.3f})" for method in METHODS)))
    print(table(("set", "rows", *METHODS), lines))
    best = max(float(np.mean(scores[method])) for method in METHODS if method != "ours")
    gain = float(np.mean(scores["ours"])) - best
    worst = min(a - max(b, c) for a, b, c in zip(*scores.values(), strict=True))
    rows = [
        ("mean F1 above the best baseline", f"{gain:+.3f}", verdict(gain, GAIN_GOAL)),
        ("least lead over both on a set", f"{worst:+.3f}", verdict(worst, -LOSS_MAX)),
    ]
    print(table(("what", "measured", "goal"), rows))


def people(count: int) -> list[dict[str, str]]:
    """Made-up people for measuring growth: as many different words as rows ask for."""
    dice = random.Random(count)
    syllables = ["ba", "ri", "no", "ke", "lu", "sa", "mi", "to", "ve", "da", "po", "ne", "ga", "li", "ro", "mu"]

    def word(least: int, most: int) -> str:
        return "".join(dice.choice(syllables) for _ in range(dice.randint(least, most))).title()

    towns = [word(2, 4) for _ in range(max(20, count // 50))]
    streets = [word(2, 4) + " Street" for _ in range(max(50, count // 10))]
    return [
        {
            "name": f"{word(2, 3)} {word(2, 4)}",
            "street": f"{dice.randint(1, 250)} {dice.choice(streets)}",
            "town": dice.choice(towns),
            "postcode": f"{dice.randint(10_000, 99_999)}",
            "phone": f"0{dice.randint(100_000_000, 999_999_999)}",
        }
        for _ in range(count)
    ]


def grow(sizes: tuple[int, ...]) -> None:
    """Print the cost of matching people with distorted ones, half of them the same."""
    lines = []
    per_row: list[float] = []
    for size in sizes:
        rows = people(size * 3 // 2)
        task = doubled("people", rows, 1 / 3, 0.8)
        begun, wall = time.process_time(), time.monotonic()
        found = ours(task)
        cpu = time.process_time() - begun
        per_row.append(cpu / size)
        lines.append(
            (f"{len(task.left):,} x {len(task.right):,}", number(cpu), number(time.monotonic() - wall),
             f"{1e3 * cpu / size:.2f}", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f}",
             f"{task.f1(found):.3f}")
        )  # fmt: skip
    print(table(("rows", "cpu s", "wall s", "cpu ms per row", "most MB so far", "F1"), lines))
    growth = per_row[-1] / per_row[0]
    print(table(("what", "measured", "goal"), [
        (f"cost per row, {sizes[-1]:,} over {sizes[0]:,}", f"{growth:.2f}", verdict(growth, GROWTH_MAX, at_most=True))
    ]))  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="F1 of matching beside its peers, and how its cost grows.")
    parser.add_argument("--quick", action="store_true", help="three sets and small sizes")
    parser.add_argument("--part", choices=("sets", "growth"), help="one of the two parts alone")
    parser.add_argument("--sets", type=Path, default=SETS, help="folder of the sets")
    options = parser.parse_args()
    print(f"Matching. {machine()}")
    chosen = names(options.sets)
    if not chosen:
        print("The public sets are not beside the project: only the growth is measured.")
    elif options.part != "growth":
        compare(chosen[:3] if options.quick else chosen, options.sets)
    if options.part != "sets":
        grow((2_000, 10_000) if options.quick else SIZES)


if __name__ == "__main__":
    main()
