"""Datasets of a real agent, made over HTTP and processed by a real worker; a quick embedder for what needs no meaning."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from conftest import Caller, wait_for
from gristmill.datasets.embedders import EmbedderContext, Encode, Model

CSV = "id,Company Name,city,price\n1,Acme,Rome,9.50\n2,Best Bakery,Paris,12\n3,Crumb & Co,Rome,3\n"
TEMPLATE = '{{index . "Company Name"}} in {{.city}}'


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: int = 32
    pause_s: float = 0.0


class QuickEmbedder:
    """Vectors from hashes of words: equal words, near vectors. It counts its texts and can be slow."""

    kind: ClassVar[str] = "quick"
    title: ClassVar[str] = "For tests"
    summary: ClassVar[str] = "Hashes of words."
    Config: ClassVar[type[BaseModel]] = _Config
    embedded: ClassVar[int] = 0

    def check(self, config: _Config, context: EmbedderContext) -> None:
        pass

    def model(self, config: _Config, context: EmbedderContext) -> Model:
        return Model(f"quick-{config.dimensions}", config.dimensions, 64, 1e6)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    @asynccontextmanager
    async def open(self, config: _Config, context: EmbedderContext) -> AsyncGenerator[Encode]:
        async def encode(texts: Sequence[str]) -> Any:
            if config.pause_s:
                await asyncio.sleep(config.pause_s)
            QuickEmbedder.embedded += len(texts)
            return np.array([self.vector(text, config.dimensions) for text in texts])

        yield encode

    @staticmethod
    def vector(text: str, dimensions: int) -> Any:
        total = np.full(dimensions, 1e-3, np.float32)
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
            total += np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
        return total / np.linalg.norm(total)


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class Desk:
    """An agent's datasets, as a client uses them."""

    def __init__(self, caller: Caller, agent_id: int) -> None:
        self.caller = caller
        self.agent_id = agent_id
        self.path = f"/api/agents/{agent_id}"

    def body(self, text: str | bytes = CSV, **more: Any) -> dict[str, Any]:
        return {
            "title": "Companies",
            "file_base64": encoded(text),
            "file_filename": "companies.csv",
            "type": "csv",
            "template": TEMPLATE,
            "embedder": {"kind": "quick"},
            **more,
        }

    def create(self, text: str | bytes = CSV, **more: Any) -> Any:
        answer = self.caller.post(f"{self.path}/datasets", self.body(text, **more))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def make(self, text: str | bytes = CSV, **more: Any) -> Any:
        return self.done(self.create(text, **more)["id"])

    def get(self, dataset_id: int) -> Any:
        return self.caller.get(f"{self.path}/datasets/{dataset_id}").json()

    def done(self, dataset_id: int, within_s: float = 60) -> Any:
        def ended() -> Any:
            found = self.get(dataset_id)
            return found if found["ingest_status"] in {"completed", "failed"} else None

        return wait_for(ended, f"the end of dataset {dataset_id}", within_s)

    def put(self, dataset_id: int, text: str | bytes, **more: Any) -> Any:
        body = {"file_base64": encoded(text), "file_filename": "companies.csv", **more}
        answer = self.caller.client.put(f"{self.path}/datasets/{dataset_id}/file", json=body)
        assert answer.status_code == 200, answer.text
        return self.done(dataset_id)

    def versions(self, dataset_id: int) -> Any:
        return self.caller.get(f"{self.path}/datasets/{dataset_id}/versions").json()["data"]

    def search(self, query: str, **more: Any) -> Any:
        answer = self.caller.post(f"{self.path}/search", {"query": query, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def keys(self, query: str, **more: Any) -> list[str]:
        return [hit["record_key"] for hit in self.search(query, **more)]

    def sql(self, dataset_id: int, text: str, **more: Any) -> Any:
        answer = self.caller.post(f"{self.path}/query", {"dataset_id": dataset_id, "sql": text, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def records(self, dataset_id: int) -> list[Any]:
        return self.caller.get(f"{self.path}/datasets/{dataset_id}/records?limit=1000").json()["data"]


def rows_csv(count: int, change: Callable[[int], str] = str) -> str:
    """A CSV of `count` rows with a key, a text and a number."""
    lines = [f"{number},item {change(number)},{number % 7}" for number in range(count)]
    return "\n".join(["id,name,n", *lines]) + "\n"
