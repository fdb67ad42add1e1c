"""The peer of bench/datasets.py, in a process of its own: LlamaIndex's ingestion pipeline into Chroma, same model.

    python bench/peer_llamaindex.py rows.csv changed.csv FOLDER

Prints JSON lines: each step's seconds, processor seconds, the model's share of them, and peak memory. Documents go in
2,000 at a time: with 10,000 at once the pipeline embeds them all and then fails on Chroma's limit for one batch. The
document store is kept in a folder after each step; without it, the next process would embed everything again.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
import threading
import time
from typing import Any

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb
from llama_index.core import Document
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.chroma import ChromaVectorStore

from dataset_builder import meter_minilm
from gristmill.datasets.embedders import minilm
from harness import rss_mb

AT_ONCE = 2_000


class SameModel(BaseEmbedding):
    """The product's own embedder, as LlamaIndex takes it; one text at a time on as many threads as processors."""

    def _embed(self, texts: list[str]) -> list[list[float]]:
        return asyncio.run(minilm._encode(texts)).tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embed(texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embed([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._embed([query])[0]


def documents(path: str) -> list[Document]:
    """One document per row, with the text that the product's template gives."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            Document(
                id_=row["id"],
                text=f"{row['name']} ({row['category']}) in {row['city']}\n{row['description']}",
                metadata={name: row[name] for name in ("city", "price", "stock", "category")},
                excluded_embed_metadata_keys=["city", "price", "stock", "category"],
            )
            for row in csv.DictReader(file)
        ]


def main() -> None:
    first, changed, folder = sys.argv[1:4]
    meter = meter_minilm()
    collection = chromadb.PersistentClient(folder).get_or_create_collection("bench")
    pipeline = IngestionPipeline(
        transformations=[SameModel(model_name="same", embed_batch_size=256)],
        vector_store=ChromaVectorStore(chroma_collection=collection),
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    peak = [0.0]

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], rss_mb(os.getpid()))
            time.sleep(0.25)

    threading.Thread(target=watch, daemon=True).start()
    minilm._session()
    for name, path in (("full", first), ("changed", changed), ("unchanged", changed)):
        model, started, cpu = meter.cpu_s, time.monotonic(), time.process_time()
        found = documents(path)
        for start in range(0, len(found), AT_ONCE):
            pipeline.run(documents=found[start : start + AT_ONCE])
        pipeline.persist(f"{folder}-pipeline")
        line: dict[str, Any] = {
            "step": name,
            "seconds": time.monotonic() - started,
            "cpu_s": time.process_time() - cpu,
            "model_s": meter.cpu_s - model,
            "peak_mb": peak[0],
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
