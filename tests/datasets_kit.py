"""What tests of datasets share: a quick embedder, an agent's datasets over HTTP, and a dataset built by hand."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ConfigDict

from conftest import Caller, make_agent, make_organization, wait_for
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.datasets import files, ingest, service
from gristmill.datasets.build import Build
from gristmill.datasets.embedders import EmbedderContext, Encode, Model
from gristmill.datasets.lease import Lease
from gristmill.datasets.model import Draft, EmbedderChoice, Question, TemplateOptions
from gristmill.datasets.questions import ask
from gristmill.engine import JobContext
from gristmill.engine import store as engine_store

CSV = "id,Company Name,city,price\n1,Acme,Rome,9.50\n2,Best Bakery,Paris,12\n3,Crumb & Co,Rome,3\n"
TEMPLATE = '{{index . "Company Name"}} in {{.city}}'


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: int = 32
    pause_s: float = 0.0
    window: int = 64


class QuickEmbedder:
    """Vectors from hashes of words: equal words, near vectors. It counts its texts and can be slow."""

    kind: ClassVar[str] = "quick"
    title: ClassVar[str] = "For tests"
    summary: ClassVar[str] = "Hashes of words."
    Config: ClassVar[type[BaseModel]] = _Config
    embedded: ClassVar[int] = 0

    def check(self, config: _Config, context: EmbedderContext) -> None:
        pass

    def model(self, config: _Config, context: EmbedderContext) -> Model:  # noqa: ARG002 - the family's signature
        return Model(f"quick-{config.dimensions}", config.dimensions, config.window, 1e6)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    @asynccontextmanager
    async def open(self, config: _Config, context: EmbedderContext) -> AsyncGenerator[Encode]:  # noqa: ARG002 - the same
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


@dataclass
class Bench:
    """One dataset on a database of its own, built by hand."""

    database: Database
    scope: service.Scope
    dataset_id: int = 0

    @classmethod
    def make(cls, database: Database) -> Bench:
        organization_id = make_organization(database)
        return cls(database, service.Scope(organization_id, make_agent(database, organization_id).id))

    def file(self, text: str) -> Any:
        sent = files.keep(
            settings(), self.scope.organization_id, self.scope.agent_id, "c.csv", "csv", io.BytesIO(text.encode())
        )
        with self.database.tx(self.scope.organization_id) as tx:
            service.keep_file(tx, self.scope, sent)
        return sent

    def create(self, text: str, template: str = "{{.name}} {{.n}}", **config: Any) -> None:
        sent = self.file(text)
        draft = Draft("T", "csv", template, TemplateOptions(), "id", EmbedderChoice("quick", config))
        with self.database.tx(self.scope.organization_id) as tx:
            self.dataset_id = service.create(tx, self.scope, draft, sent).id

    def put(self, text: str) -> None:
        sent = self.file(text)
        with self.database.tx(self.scope.organization_id) as tx:
            service.update(tx, self.scope, self.dataset_id, service.Changes(file=sent))

    def worker(self) -> UUID:
        worker_id = uuid7()
        with self.database.system() as tx:
            engine_store.insert_worker(tx, worker_id, host="h", pid=1, queues=[])
        return worker_id

    def lease(self, worker_id: UUID) -> Lease | None:
        context = JobContext(worker_id, self.database, settings(), asyncio.Event())
        with self.database.tx(self.scope.organization_id) as tx:
            work = ingest.claim(tx, context, self.scope.organization_id, self.dataset_id)
        return None if work is None else Lease(context, work)

    def build(self, worker_id: UUID | None = None) -> None:
        lease = self.lease(worker_id or self.worker())
        assert lease is not None
        asyncio.run(Build(lease).run())

    def die(self, worker_id: UUID) -> None:
        with self.database.system() as tx:
            ingest.take_back(tx, worker_id)
            engine_store.delete_worker(tx, worker_id)

    def facts(self) -> dict[str, Any]:
        organization_id = self.scope.organization_id
        with self.database.tx(organization_id) as tx:
            found = service.get(tx, self.scope, self.dataset_id)
            version = service.list_versions(tx, self.scope, self.dataset_id)[0]
            records = dict(service.record_rows(tx, organization_id, self.dataset_id))
            stored = tx.one("SELECT count(*) AS n FROM dataset_record WHERE dataset_id = %s", (self.dataset_id,))["n"]
        answers = {}
        for mode in ("keyword", "vector", "hybrid"):
            question = Question("item 3 4", 5, mode)  # type: ignore[arg-type]
            hits = asyncio.run(ask(self.database, settings(), organization_id, self.scope.agent_id, question)).hits
            answers[mode] = [(hit.record_key, hit.row_number, hit.text, round(hit.score, 4)) for hit in hits]
        return {
            "status": found.ingest_status,
            "count": found.source_count,
            "receipt": found.receipt,
            "version": version.version,
            "difference": version.difference,
            "records": records,
            "stored": stored,
            "answers": answers,
        }

    def keys(self) -> list[str]:
        question = Question("item 3 4", 5, "keyword")
        organization_id = self.scope.organization_id
        hits = asyncio.run(ask(self.database, settings(), organization_id, self.scope.agent_id, question)).hits
        return [hit.text for hit in hits]


def ask_bench(bench: Bench, text: str, **more: Any) -> Any:
    """Hits of a question to the datasets of a bench."""
    question = Question(text, **more)
    scope = bench.scope
    return asyncio.run(ask(bench.database, settings(), scope.organization_id, scope.agent_id, question)).hits
