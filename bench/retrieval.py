"""Search quality on public test collections: nDCG@10 of the three modes, beside textbook BM25 and Chroma.

    python bench/retrieval.py [COLLECTION ...] [--folder FOLDER]

A collection is a folder with `docs.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and `qrels.tsv`
(query, document, score), as BEIR has them; their licences keep them out of this project. Without any, nothing is
measured.

Every document is a row of a CSV (key, title, text) and goes through the product as any file does. Chroma has the same
model and its own defaults otherwise: one vector per document, cut where the model's window ends. The textbook is BM25
with k1 = 1.2 and b = 0.75 over lower-case words, without stemming and stop words.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import math
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_builder import Builder
from harness import HERE, Cluster, machine, scratch, table, verdict

FOLDER = HERE.parents[1] / "shared" / "data" / "retrieval"
TEMPLATE = "{{.title}}. {{.text}}"
MODES = ("hybrid", "vector", "keyword")
TOP = 10
_WORD = re.compile(r"\w+")


class Collection:
    """Documents, questions, and which documents answer which question."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.documents = self._lines(folder / "docs.jsonl")
        self.relevant: defaultdict[str, set[str]] = defaultdict(set)
        for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
            query, document, score = line.split("\t")
            if float(score) > 0:
                self.relevant[query].add(document)
        self.questions = [item for item in self._lines(folder / "queries.jsonl") if self.relevant[item["_id"]]]
        self.texts = [f"{item['title']}. {item['text']}" for item in self.documents]
        self.keys = [item["_id"] for item in self.documents]

    def csv(self) -> bytes:
        """The documents as a file."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(("id", "title", "text"))
        writer.writerows((item["_id"], item["title"], item["text"]) for item in self.documents)
        return out.getvalue().encode()

    def ndcg(self, answers: Sequence[Sequence[str]]) -> float:
        """The mean over all questions."""
        return float(
            np.mean([self._one(item["_id"], keys) for item, keys in zip(self.questions, answers, strict=True)])
        )

    def _one(self, question: str, keys: Sequence[str]) -> float:
        relevant = self.relevant[question]
        gained = sum(1 / math.log2(place + 2) for place, key in enumerate(keys[:TOP]) if key in relevant)
        return gained / sum(1 / math.log2(place + 2) for place in range(min(TOP, len(relevant))))

    @staticmethod
    def _lines(path: Path) -> list[dict[str, str]]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ours(builder: Builder, collection: Collection) -> dict[str, float]:
    """All modes."""
    dataset = builder.create(collection.csv(), TEMPLATE)
    builder.build(dataset)
    return {mode: collection.ndcg(asyncio.run(_ask_all(builder, dataset, collection, mode))) for mode in MODES}


async def _ask_all(builder: Builder, dataset: int, collection: Collection, mode: Any) -> list[list[str]]:
    from gristmill.datasets import Question, ask  # noqa: PLC0415 - after the environment is set

    out = []
    for item in collection.questions:
        question = Question(item["text"], TOP, mode, [dataset])
        found = await ask(builder.database, builder.settings, builder.organization_id, builder.agent_id, question)
        out.append([hit.record_key for hit in found.hits])
    return out


def textbook(collection: Collection, k1: float = 1.2, b: float = 0.75) -> float:
    """Plain BM25."""
    counts = [Counter(_WORD.findall(text.lower())) for text in collection.texts]
    lengths = np.array([item.total() for item in counts], float)
    norm = k1 * (1 - b + b * lengths / lengths.mean())
    postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, item in enumerate(counts):
        for word, count in item.items():
            postings[word].append((number, count))
    answers = []
    for item in collection.questions:
        scores = np.zeros(len(counts))
        for word, times in Counter(_WORD.findall(item["text"].lower())).items():
            if found := postings.get(word):
                places, frequency = np.array(found).T
                rarity = math.log(1 + (len(counts) - len(found) + 0.5) / (len(found) + 0.5))
                scores[places] += times * rarity * frequency * (k1 + 1) / (frequency + norm[places])
        answers.append([collection.keys[place] for place in np.argsort(-scores, kind="stable")[:TOP]])
    return collection.ndcg(answers)


def chroma(collection: Collection, folder: Path) -> float:
    """Chroma with the same vectors."""
    os.environ["ANONYMIZED_TELEMETRY"] = "False"
    import chromadb  # noqa: PLC0415 - after the environment is set

    client = chromadb.PersistentClient(str(folder))
    store = client.create_collection(collection.name, embedding_function=None, metadata={"hnsw:space": "cosine"})
    for start in range(0, len(collection.keys), 1000):
        part = slice(start, start + 1000)
        store.add(ids=collection.keys[part], embeddings=_vectors(collection.texts[part]))
    asked = _vectors([item["text"] for item in collection.questions])
    return collection.ndcg(store.query(query_embeddings=asked, n_results=TOP, include=[])["ids"])


def _vectors(texts: Sequence[str]) -> Any:
    from gristmill.datasets.embedders import minilm  # noqa: PLC0415 - after the environment is set

    return asyncio.run(minilm._encode(texts))


def embed_once() -> None:
    """Remember vectors: Chroma's documents mostly are the product's chunks."""
    from gristmill.datasets.embedders import minilm  # noqa: PLC0415 - after the environment is set

    real, known = minilm._Session.embed, {}

    def embed(self: Any, text: str) -> Any:
        if text not in known:
            known[text] = real(self, text)
        return known[text]

    minilm._Session.embed = embed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="*")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    chosen = parser.parse_args()
    wanted = chosen.collections or sorted(path.parent.name for path in chosen.folder.glob("*/qrels.tsv"))
    if not wanted:
        print(f"No collections in {chosen.folder}")
        return 0
    print(machine())
    rows: list[tuple[str, dict[str, float]]] = []
    with scratch() as folder:
        cluster = Cluster(folder)
        builder = Builder(cluster, folder)
        embed_once()
        try:
            for name in wanted:
                collection = Collection(chosen.folder / name)
                found = {**ours(builder, collection), "textbook BM25": textbook(collection)}
                rows.append((name, {**found, "Chroma": chroma(collection, folder / "chroma")}))
        finally:
            builder.stop()
            cluster.stop()
    names = list(rows[0][1])
    mean = {name: float(np.mean([found[name] for _, found in rows])) for name in names}
    lines = [(name, *(f"{found[item]:.4f}" for item in names)) for name, found in (*rows, ("mean", mean))]
    print(table(("nDCG@10", *names), lines))
    best = max(value for name, value in mean.items() if name != "hybrid")
    print(f"hybrid, the mean: {mean['hybrid']:.4f}, best of the others {verdict(mean['hybrid'], round(best, 4))}")
    return int(mean["hybrid"] < best)


if __name__ == "__main__":
    sys.exit(main())
