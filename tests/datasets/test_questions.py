"""Questions from an edge: words looked up while the question is embedded, and datasets that change meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conftest import wait_for
from datasets_kit import Bench, QuickEmbedder, ask_bench, rows_csv
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.errors import Invalid, PluginError
from gristmill.datasets import searching, service
from gristmill.datasets.embedders import EmbedderContext, Encode, embedders
from gristmill.datasets.model import EmbedderChoice, Question, SearchResult
from gristmill.datasets.questions import ask


class SlowEmbedder(QuickEmbedder):
    """One whose vector of a question takes as long as `meanwhile` does."""

    meanwhile: Callable[[], Any] | None = None

    @asynccontextmanager
    async def open(self, config: Any, context: EmbedderContext) -> AsyncGenerator[Encode]:
        async with super().open(config, context) as encode:

            async def slowly(texts: Sequence[str]) -> Any:
                if len(texts) == 1 and self.meanwhile is not None:
                    work, self.meanwhile = self.meanwhile, None
                    await asyncio.to_thread(work)
                return await encode(texts)

            yield slowly


@pytest.fixture
def slow() -> Iterator[SlowEmbedder]:
    made = SlowEmbedder()
    quick = embedders._kinds["quick"]
    embedders._kinds["quick"] = made
    yield made
    embedders._kinds["quick"] = quick


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Questions whose words were looked up ahead."""
    questions: list[Question] = []
    prepare = searching.prepare

    def note(*given: Any) -> searching.Prepared:
        made = prepare(*given)
        questions.append(given[-1])
        return made

    monkeypatch.setattr(searching, "prepare", note)
    return questions


def answer_of(bench: Bench, text: str, **more: Any) -> SearchResult:
    scope = bench.scope
    question = Question(text, **more)
    return asyncio.run(ask(bench.database, settings(), scope.organization_id, scope.agent_id, question))


def test_words_that_are_looked_up_ahead_give_the_same_answer(
    fresh_database: Database, prepared: list[Question]
) -> None:
    bench = Bench.make(fresh_database)
    for count in (300, 40):
        bench.create(rows_csv(count, lambda number: f"thing{number % 30} word{number}"), pause_s=0.01)
        bench.build()
    for text in ("item thing7 word8", "thing29", "nowhere", "the of"):
        for more in ({}, {"filter": {"n": {"lt": 3}}}, {"filter": {"n": 99}}, {"top_k": 100}):
            question = f"{text} {more}"
            prepared.clear()
            first = answer_of(bench, question, **more)
            assert len(prepared) == 1
            assert answer_of(bench, question, **more) == first, "the vector is known: all in one transaction"
            assert len(prepared) == 1
    assert answer_of(bench, "thing7 again", mode="keyword").hits
    assert answer_of(bench, "thing7 anew", mode="vector").hits
    assert len(prepared) == 1, "only the two sides together have anything to do ahead"


def test_a_version_that_is_swapped_in_while_a_question_is_embedded_answers_alone(
    fresh_database: Database, slow: SlowEmbedder, prepared: list[Question]
) -> None:
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(60))
    bench.build()
    bench.put(rows_csv(60, lambda number: f"fresh {number}"))

    def swap() -> None:
        wait_for(lambda: prepared, "the words")
        bench.build()

    slow.meanwhile = swap
    found = answer_of(bench, "item fresh 5", top_k=50)
    assert [item.version for item in found.datasets] == [2]
    assert len(found.hits) == 50
    assert all("fresh" in hit.text for hit in found.hits)
    assert found == answer_of(bench, "item fresh 5", top_k=50)


def test_a_dataset_that_changes_to_another_model_meanwhile_is_asked_by_that(
    fresh_database: Database, slow: SlowEmbedder
) -> None:
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(30))
    bench.build()

    def change() -> None:
        with fresh_database.tx(bench.scope.organization_id) as tx:
            choice = EmbedderChoice("quick", {"dimensions": 48})
            service.update(tx, bench.scope, bench.dataset_id, service.Changes(embedder=choice))
            service.process(tx, bench.scope, bench.dataset_id)
        bench.build()

    for mode in ("vector", "hybrid"):
        slow.meanwhile = change
        assert ask_bench(bench, f"item 7 0 {mode}", mode=mode, top_k=1)[0].record_key == "7"
        with fresh_database.tx(bench.scope.organization_id) as tx:
            service.update(
                tx, bench.scope, bench.dataset_id, service.Changes(embedder=EmbedderChoice("quick", {"dimensions": 32}))
            )
            service.process(tx, bench.scope, bench.dataset_id)
        bench.build()


def test_what_one_side_refuses_is_told_whatever_the_other_does(fresh_database: Database, slow: SlowEmbedder) -> None:
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(20))
    bench.build()

    def fail() -> None:
        raise PluginError("The embedder is out.", permanent=False)

    slow.meanwhile = fail
    with pytest.raises(PluginError, match="out"):
        ask_bench(bench, "item 3 of the first")
    slow.meanwhile = fail
    with pytest.raises(Invalid):
        ask_bench(bench, "item 3 of the second", filter={"colour": "red"})


TWO_WAYS_TO_NUMPY = """
import threading
from gristmill.datasets import questions
from gristmill.datasets.embedders import minilm

ways = threading.Barrier(2)

def embed():
    ways.wait()
    minilm._Session()

def search():
    ways.wait()
    import gristmill.datasets.searching

threads = [threading.Thread(target=work) for work in (embed, search)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
import numpy
"""


def test_a_first_search_loads_numpy_once() -> None:
    """The embedder and the search come for it at the same time, in a process that has not loaded it yet."""
    running = [
        subprocess.Popen([sys.executable, "-c", TWO_WAYS_TO_NUMPY], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Error" not in said
