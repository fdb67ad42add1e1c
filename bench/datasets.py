"""Datasets: ingest beside LlamaIndex + Chroma with the same model, then 100,000 rows and searches in them.

    python bench/datasets.py              10,000 rows with the real model beside the peer, 100,000 without a model
    python bench/datasets.py --quick      1,000 and 10,000

Both sides of the first part embed the same texts with the same model on the same threads, so what is compared is the
rest: processor seconds of the whole minus those inside of the model. The second part makes its vectors of 4,000 real
ones of other such rows, since a hundred thousand real ones would take the time of the whole benchmark; it says nothing
about quality. Its questions go through the real model, and its memory is the growth above that of the process with file
and model in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_builder import Builder, Measured, meter_minilm
from harness import Cluster, machine, number, rss_mb, scratch, table, verdict

TEMPLATE = "{{.name}} ({{.category}}) in {{.city}}\n{{.description}}"
CITIES = ("Rome", "Paris", "Oslo", "Lima", "Berlin", "Tokyo", "Quito", "Accra")
FASTER_GOAL = 5.0
"""Ingest beside the peer, without the model's own time."""
CHANGED_SHARE_MAX = 0.03
"""Time with 1 % of the rows changed, of the time for all."""
GROWTH_MB_MAX = 500.0
P50_MS_MAX, P99_MS_MAX, RECALL_MIN = 15.0, 60.0, 0.98
QUESTIONS = 200
LEARNED = 4_000
SYLLABLES = ("ba", "ke", "ri", "to", "mo", "lu", "sa", "ne", "fi", "do", "ga", "pe", "ru", "vi", "za", "ho")


def vocabulary(size: int) -> list[str]:
    """Words that nobody uses, the frequent ones short."""
    dice = random.Random(5)
    words: dict[str, None] = {}
    while len(words) < size:
        words["".join(dice.choices(SYLLABLES, k=2 if len(words) < 100 else 3 if len(words) < 2000 else 4))] = None
    return list(words)


def rows(count: int, seed: int = 1, words: int = 40) -> list[str]:
    """Lines of a CSV; word frequencies fall as in real texts."""
    terms = vocabulary(20_000)
    chances = 1 / np.arange(2, len(terms) + 2) ** 0.95
    picks = np.random.default_rng(seed).choice(len(terms), (count, words), p=chances / chances.sum())
    return [
        f"{number},{terms[line[0]]} {terms[line[1]]} {number},{CITIES[number % 8]},{number * 37 % 10_000 / 100},"
        f"{number % 50},cat{number % 20},{' '.join(terms[item] for item in line)}"
        for number, line in enumerate(picks)
    ]


def file_of(lines: Sequence[str]) -> bytes:
    """The CSV."""
    return "\n".join(["id,name,city,price,stock,category,description", *lines, ""]).encode()


def changed(lines: Sequence[str], share: float = 0.01) -> list[str]:
    """The same with some rows changed."""
    dice = random.Random(9)
    touched = set(dice.sample(range(len(lines)), max(1, int(len(lines) * share))))
    return [line.replace(",", ",changed ", 1) if number in touched else line for number, line in enumerate(lines)]


def beside_peer(builder: Builder, folder: Path, count: int) -> bool:
    """The same rows, the same model."""
    lines = rows(count, words=15)
    first, second = folder / "rows.csv", folder / "changed.csv"
    first.write_bytes(file_of(lines))
    second.write_bytes(file_of(changed(lines)))
    meter = meter_minilm()
    builder.build(builder.create(file_of(rows(20, seed=3)), TEMPLATE))  # as a server that has done something before
    dataset = builder.create(first.read_bytes(), TEMPLATE)
    ours: dict[str, tuple[Measured, float]] = {}
    for name, prepare in (
        ("full", lambda: None),
        ("changed", lambda: builder.replace(dataset, second.read_bytes())),
        ("unchanged", lambda: builder.process(dataset)),
    ):
        prepare()
        model = meter.cpu_s
        measured = builder.build(dataset)
        ours[name] = (measured, meter.cpu_s - model)
    command = [sys.executable, str(Path(__file__).with_name("peer_llamaindex.py")), str(first), str(second)]
    peer = subprocess.run([*command, str(folder / "chroma")], stdout=subprocess.PIPE, text=True, check=True)
    theirs = {item["step"]: item for item in map(json.loads, peer.stdout.splitlines())}
    lines_out = []
    for name, (measured, model) in ours.items():
        item = theirs[name]
        lines_out += [
            (name, "gristmill", *_figures(count, measured.seconds, measured.cpu_s, model, measured.peak_mb)),
            (name, "LlamaIndex + Chroma",
             *_figures(count, item["seconds"], item["cpu_s"], item["model_s"], item["peak_mb"])),
        ]  # fmt: skip
    print(table(("step", "what", "rows/s", "seconds", "CPU s", "of it model", "the rest", "peak MB"), lines_out))
    full, model = ours["full"]
    rest, theirs_rest = full.cpu_s - model, theirs["full"]["cpu_s"] - theirs["full"]["model_s"]
    share = ours["changed"][0].cpu_s / full.cpu_s
    return judge(
        ("CPU s without the model, the peer's over ours", theirs_rest / rest, FASTER_GOAL, False),
        ("CPU s of the whole, the peer's over ours", theirs["full"]["cpu_s"] / full.cpu_s, 1.0, False),
        ("1 % changed, share of the CPU s for all", share, CHANGED_SHARE_MAX, True),
    )


def judge(*goals: tuple[str, float, float, bool]) -> bool:
    """Print each value with its goal; whether all are met. The last of each: the goal is a maximum."""
    for name, value, goal, at_most in goals:
        print(f"{name}: {number(value)} {verdict(value, goal, at_most=at_most)}")
    print()
    return all(value <= goal if at_most else value >= goal for _, value, goal, at_most in goals)


def _figures(count: int, seconds: float, cpu: float, model: float, peak: float) -> tuple[str, ...]:
    return (
        f"{count / seconds:,.0f}", f"{seconds:.1f}", f"{cpu:.1f}", f"{model:.1f}", f"{cpu - model:.2f}", f"{peak:,.0f}"
    )  # fmt: skip


def at_scale(builder: Builder, count: int) -> bool:
    """Many rows with a stand-in for the model, and searches in them."""
    builder.fast.learn([line.partition(",")[2] for line in rows(min(LEARNED, count), seed=4, words=15)])
    lines = rows(count, seed=2)
    data = file_of(lines)
    dataset = builder.create(data, TEMPLATE, kind="fast")
    del data
    before = rss_mb(os.getpid())
    full = builder.build(dataset)
    version = builder.version(dataset)
    builder.replace(dataset, file_of(changed(lines)))
    part = builder.build(dataset)
    builder.replace(dataset, file_of(changed(lines)[::-1]))
    reverse = builder.build(dataset)
    embedded = builder.version(dataset).embedded
    builds = (("full", full), ("1 % changed", part), ("another order", reverse))
    growth = full.peak_mb - before
    print(
        table(
            (f"{count:,} rows", "seconds", "CPU s", "rows/s", "growth MB"),
            [
                (name, f"{item.seconds:.1f}", f"{item.cpu_s:.1f}", f"{count / item.seconds:,.0f}",
                 f"{item.peak_mb - before:,.0f}")
                for name, item in builds
            ],
        )
    )  # fmt: skip
    fine = judge(
        ("memory growth in MB", growth, GROWTH_MB_MAX, True),
        ("texts embedded for another order", embedded, 0, True),
        ("recall@10 of the vector index", version.recall or 0.0, RECALL_MIN, False),
    )
    return fine & searches(builder)


def searches(builder: Builder) -> bool:
    """One client, questions of eight words."""
    terms = vocabulary(20_000)
    chances = 1 / np.arange(2, len(terms) + 2) ** 0.95
    dice = np.random.default_rng(77)
    questions = [
        " ".join(terms[item] for item in dice.choice(len(terms), 8, p=chances / chances.sum()))
        for _ in range(QUESTIONS + 20)
    ]
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("hybrid", {}),
        ("keyword", {"mode": "keyword"}),
        ("vector", {"mode": "vector"}),
        ("hybrid, city = Rome", {"filter": {"city": "Rome"}}),
        ("hybrid, 1 <= price < 2", {"filter": {"price": {"gte": 1, "lt": 2}}}),
    ]
    lines = []
    times: dict[str, list[float]] = {}
    for name, more in wanted:
        times[name] = asyncio.run(_ask_all(builder, questions, more))
        p50, p99 = np.percentile(times[name], (50, 99))
        lines.append((name, f"{p50:.1f}", f"{p99:.1f}"))
    print(table(("search", "p50 ms", "p99 ms"), lines))
    p50, p99 = np.percentile(times["hybrid"], (50, 99))
    return judge(("hybrid p50 in ms", p50, P50_MS_MAX, True), ("hybrid p99 in ms", p99, P99_MS_MAX, True))


async def _ask_all(builder: Builder, questions: Sequence[str], more: dict[str, Any]) -> list[float]:
    from gristmill.datasets import Question, ask  # noqa: PLC0415 - after the environment is set

    out = []
    for asked, text in enumerate(questions):
        started = time.perf_counter()
        await ask(builder.database, builder.settings, builder.organization_id, builder.agent_id, Question(text, **more))
        if asked >= 20:
            out.append((time.perf_counter() - started) * 1000)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("peer", "scale"))
    parser.add_argument("--rows", type=int, help="rows of the first part")
    chosen = parser.parse_args()
    print(machine())
    fine = True
    with scratch() as folder:
        cluster = Cluster(folder)
        try:
            builder = Builder(cluster, folder)
            if chosen.only != "scale":
                fine &= beside_peer(builder, folder, chosen.rows or (1_000 if chosen.quick else 10_000))
            builder.stop()
            if chosen.only != "peer":
                again = Builder(cluster, folder)
                fine &= at_scale(again, 10_000 if chosen.quick else 100_000)
                again.stop()
        finally:
            cluster.stop()
    return 0 if fine or chosen.quick else 1


if __name__ == "__main__":
    sys.exit(main())
