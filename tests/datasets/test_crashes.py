"""A build that dies between any two of its transactions ends the same when it is taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from datasets_kit import Bench, QuickEmbedder, rows_csv
from gristmill.base.db import Database, Tx
from gristmill.datasets import service, writing
from gristmill.datasets.build import Build
from gristmill.datasets.lease import Lease, Superseded


class Crash(BaseException):
    """The process is gone."""


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Let the process die before its `at`-th transaction, after the one before; answers how many there were."""
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
