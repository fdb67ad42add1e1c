"""A build that dies between any two of its transactions ends the same when it is taken up again."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from conftest import make_agent, make_organization
from datasets_kit import QuickEmbedder, rows_csv
from gristmill.base.config import settings
from gristmill.base.db import Database, Tx
from gristmill.base.ids import uuid7
from gristmill.datasets import files, ingest, service, writing
from gristmill.datasets.build import Build
from gristmill.datasets.lease import Lease, Superseded
from gristmill.datasets.model import Draft, EmbedderChoice, Question, TemplateOptions
from gristmill.datasets.questions import ask
from gristmill.engine import JobContext
from gristmill.engine import store as engine_store


class Crash(BaseException):
    """The process is gone."""


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

    def create(self, text: str) -> None:
        sent = self.file(text)
        draft = Draft("T", "csv", "{{.name}} {{.n}}", TemplateOptions(), "id", EmbedderChoice("quick"))
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


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Let the process die before its `at`-th transaction, which is after the one before; answers how many there were."""
    real_read, real_write = Lease.read, Lease.write
    count = 0

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: Lease, function: Callable[..., Any]) -> Any:
            nonlocal count
            count += 1
            if count == at:
                raise Crash
            return real(self, function)

        return run

    monkeypatch.setattr(Lease, "read", wrapped(real_read))
    monkeypatch.setattr(Lease, "write", wrapped(real_write))
    return lambda: count


FIRST = rows_csv(240)
SECOND = rows_csv(250, lambda number: f"{number} new" if number % 10 == 0 else str(number))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH_ROWS", 12)


@pytest.fixture
def reference(fresh_database: Database) -> dict[str, Any]:
    bench = Bench.make(fresh_database)
    bench.create(FIRST)
    bench.build()
    bench.put(SECOND)
    bench.build()
    return bench.facts()


def test_a_build_that_dies_anywhere_ends_the_same(
    fresh_database: Database, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench.make(fresh_database)
    bench.create(FIRST)
    bench.build()
    expected = {**reference, "stored": 240 + 10 + 24}
    at, died = 0, True
    while died:
        at += 1
        with fresh_database.tx(bench.scope.organization_id) as tx:
            service.delete(tx, bench.scope, bench.dataset_id)
        bench.create(FIRST)
        bench.build()
        bench.put(SECOND)
        old, embedded, worker = bench.keys(), QuickEmbedder.embedded, bench.worker()
        with monkeypatch.context() as patch:
            count = crashing(patch, at)
            try:
                bench.build(worker)
                died = False
            except Crash:
                died = True
            total = count()
        with fresh_database.tx(bench.scope.organization_id) as tx:
            status = service.get(tx, bench.scope, bench.dataset_id).ingest_status
        if status == "processing":
            assert bench.keys() == old, f"step {at}: search must answer from the version of before"
            bench.die(worker)
            bench.build()
        # A death in the sweep leaves what is swept the next time; no version of this story leaves anything.
        assert bench.facts() == expected, f"death before step {at} of {total}"
        assert QuickEmbedder.embedded - embedded <= 34 + 12, "no text is embedded twice, once its vector is kept"
    assert at > 10, "the build has many steps"


def test_a_late_worker_writes_nothing(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench.make(fresh_database)
    bench.create(FIRST)
    slow = bench.worker()
    lease = bench.lease(slow)
    assert lease is not None
    bench.die(slow)
    bench.build()
    done = bench.facts()
    with pytest.raises(Superseded):
        asyncio.run(Build(lease).run())

    def seen(tx: Tx) -> Any:
        return tx.one("SELECT ingest_status, version FROM dataset WHERE id = %s", (bench.dataset_id,))

    with fresh_database.tx(bench.scope.organization_id) as tx:
        assert seen(tx) == {"ingest_status": "completed", "version": 1}
    assert bench.facts() == done
