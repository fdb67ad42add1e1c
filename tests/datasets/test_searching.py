"""Searching: modes, filters, datasets of several versions, an index of many vectors, and a server without pgvector."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets_kit import Bench, Desk, QuickEmbedder, ask_bench, rows_csv
from gristmill.base.db import Database, Tx
from gristmill.datasets import index, searching, vectors_store
from gristmill.datasets.model import NoVectorSearch
from gristmill.datasets.survey import pack

COLLECTIONS = Path(__file__).parents[3] / "shared/data/retrieval"


def test_the_shape_of_an_answer(desk: Desk) -> None:
    made = desk.make(primary_key_field="id")
    answer = desk.caller.post(f"{desk.path}/search", {"query": "a bakery in Paris", "top_k": 2}).json()
    assert answer["meta"]["mode"] == "hybrid"
    assert answer["meta"]["datasets"] == [{"dataset_id": made["id"], "version": 1}]
    hit = answer["data"][0]
    assert {name: hit[name] for name in ("dataset_id", "record_key", "row_number", "text")} == {
        "dataset_id": made["id"],
        "record_key": "2",
        "row_number": 2,
        "text": "Best Bakery in Paris",
    }
    assert hit["metadata"]["price"] == "12"
    marked = [piece["text"][start:end] for piece in hit["highlights"] for start, end in piece["marks"]]
    assert marked == ["Bakery", "Paris"]
    assert len(answer["data"]) == 2
    assert answer["data"][0]["score"] > answer["data"][1]["score"]


def test_meaning_with_the_embedded_model(desk: Desk) -> None:
    lines = ["id,text", "1,The cat sleeps on the sofa", "2,Quarterly revenue grew by ten percent"]
    text = "\n".join([*lines, "3,How to repair a bicycle tyre"])
    desk.make(text, template="{{.text}}", primary_key_field="id", embedder={"kind": "minilm"})
    assert desk.keys("earnings of the company", mode="vector", top_k=1) == ["2"]
    assert desk.keys("a kitten on a couch", mode="vector", top_k=1) == ["1"]
    assert desk.keys("fixing a bike", top_k=1) == ["3"]
    assert desk.keys("fixing a bike", mode="keyword") == []


def test_words_without_case_accents_and_endings(desk: Desk) -> None:
    desk.make("id,t\n1,Bäckereien in ZÜRICH\n2,running shoes\n", template="{{.t}}", primary_key_field="id")
    assert desk.keys("zurich", mode="keyword") == ["1"]
    assert desk.keys("shoe for runs", mode="keyword") == ["2"]
    assert desk.keys("the of and", mode="keyword") == []


def test_only_the_datasets_that_are_meant(desk: Desk) -> None:
    one, two = desk.make(), desk.make(rows_csv(5), template="{{.name}}")
    assert {hit["dataset_id"] for hit in desk.search("item acme", mode="keyword")} == {one["id"], two["id"]}
    hits = desk.search("item acme", mode="keyword", dataset_ids=[one["id"]])
    assert {hit["dataset_id"] for hit in hits} == {one["id"]}
    answer = desk.caller.post(f"{desk.path}/search", {"query": "x", "dataset_ids": [one["id"], 999_999]})
    assert answer.status_code == 404
    assert desk.search("item", dataset_ids=[]) == []


def test_a_filter_on_a_column_that_only_some_datasets_have(desk: Desk) -> None:
    desk.make(primary_key_field="id")
    desk.make(rows_csv(5), template="{{.name}}", primary_key_field="id")
    assert set(desk.keys("in", filter={"city": "Rome"})) == {"1", "3"}
    answer = desk.caller.post(f"{desk.path}/search", {"query": "x", "filter": {"colour": "red"}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "filter.colour")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "x" * 9_000},
        {"query": "x", "top_k": 0},
        {"query": "x", "top_k": 1_000},
        {"query": "x", "mode": "magic"},
        {"query": "x", "filter": [1]},
        {"query": "x", "filter": {"city": {"like": "R"}}},
        {"query": "x\u0000y"},
        {"query": "x", "dataset_ids": ["a"]},
    ],
)
def test_what_is_refused(desk: Desk, body: dict[str, Any]) -> None:
    desk.make()
    answer = desk.caller.post(f"{desk.path}/search", body)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("query", ["'; DROP TABLE dataset; --", "%_\\", "(((", "🦄", "   ?!", "\ud83e"])
def test_odd_questions(desk: Desk, query: str) -> None:
    desk.make()
    for mode in ("hybrid", "keyword", "vector"):
        answer = desk.caller.client.post(
            f"{desk.path}/search",
            content=json.dumps({"query": query, "mode": mode}),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in {200, 400, 422}, answer.text


def test_an_agent_without_datasets(desk: Desk) -> None:
    assert desk.search("anything") == []


def test_many_vectors_get_an_index_that_finds_nearly_all(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "EXACT_CHUNKS_MAX", 500)
    monkeypatch.setattr(searching, "NAMED_MAX", 50)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(3_000, lambda number: f"{number % 50} thing{number % 300} word{number}"))
    bench.build()
    organization_id = bench.scope.organization_id
    with fresh_database.tx(organization_id) as tx:
        row = tx.one("SELECT ef_search, recall, vectors_table FROM dataset_version")
        assert row["recall"] >= 0.98
        assert row["ef_search"] in index.EF_CHOICES
        plan = tx.tuples(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'datasets' AND indexname LIKE '%%nearest'"
        )
        assert len(plan) == 1
    exact = found = 0
    for number in range(0, 3_000, 211):
        text = f"item {number % 50} thing{number % 300} word{number} {number % 7}"
        vector = vectors_store.one(QuickEmbedder.vector(text, 32))
        with fresh_database.tx(organization_id) as tx:
            truth = vectors_store.nearest_of_all(tx, row["vectors_table"], vector, members=None, limit=10)
        hits = ask_bench(bench, text, top_k=10, mode="vector")
        exact += len(truth)
        found += len({str(ordinal) for ordinal, _ in truth} & {hit.record_key for hit in hits})
        for condition, least in (({"n": 3}, 10), ({"id": {"lt": 700}}, 10), ({"id": {"in": [1, 2, 3]}}, 3)):
            narrow = ask_bench(bench, text, top_k=10, mode="vector", filter=condition)
            assert len(narrow) == least, condition
    assert found / exact >= 0.98


def test_what_the_words_found_is_compared_beside_the_nearest_of_an_index(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "EXACT_CHUNKS_MAX", 500)
    monkeypatch.setattr(searching, "INDEX_DEPTH", 1)
    monkeypatch.setattr(searching, "CANDIDATE_COST", 1)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(900, lambda number: f"{number % 50} thing{number % 90} word{number}"))
    bench.build()
    hits = ask_bench(bench, "thing9", top_k=20)
    assert [int(hit.record_key) % 90 for hit in hits[:10]] == [9] * 10
    # All ten have the word once, which is worth a half; what is above is for vectors, of which one was asked for.
    assert sum(hit.score > 0.5 for hit in hits) >= 8


@pytest.mark.parametrize("cost", [1, 10**9])
def test_a_filter_leaves_the_same_whichever_way_is_cheaper(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch, cost: int
) -> None:
    monkeypatch.setattr(index, "EXACT_CHUNKS_MAX", 500)
    monkeypatch.setattr(searching, "NAMED_MAX", 10)
    monkeypatch.setattr(searching, "CANDIDATE_COST", cost)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(700))
    bench.build()
    for _ in range(2):  # the second time with what was kept of the first
        hits = ask_bench(bench, "item 40", top_k=20, filter={"n": 3})
        assert len(hits) == 20
        assert all(int(hit.record_key) % 7 == 3 for hit in hits)
    bench.put("id,name,n\n" + "\n".join(f"{number},item {number},{(number + 1) % 7}" for number in range(700)))
    bench.build()
    hits = ask_bench(bench, "item 40", top_k=20, filter={"n": 3})
    assert {int(hit.record_key) % 7 for hit in hits} == {2}


def scans(tx: Tx, table: int) -> dict[str, int]:
    """How often this connection has read a table of vectors in each way."""
    return tx.one("SELECT seq_scan, idx_scan FROM pg_stat_xact_all_tables WHERE relname = %s", (f"vectors_{table}",))


def test_the_index_is_used_and_not_a_comparison_of_all(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row-level security makes the planner expect few rows, which it would rather read one by one."""
    monkeypatch.setattr(index, "EXACT_CHUNKS_MAX", 500)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(2_000))
    bench.build()
    vector = vectors_store.one(QuickEmbedder.vector("item 7", 32))
    members = pack(np.ones(2_000, bool))
    for some in (None, members):
        with fresh_database.tx(bench.scope.organization_id) as tx:
            table = tx.one("SELECT vectors_table FROM dataset_version")["vectors_table"]
            before = scans(tx, table)
            found = vectors_store.nearest(tx, table, vector, members=some, ef_search=200, limit=120)
            after = scans(tx, table)
            assert tx.one("SELECT current_setting('enable_seqscan') AS on")["on"] == "on"
        assert len(found) == 120
        assert (after["seq_scan"] - before["seq_scan"], after["idx_scan"] - before["idx_scan"]) == (0, 1)


def test_an_index_is_kept_up_to_date(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "EXACT_CHUNKS_MAX", 100)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(400))
    bench.build()
    bench.put(rows_csv(405, lambda number: "zebra" if number == 7 else str(number)))
    bench.build()
    assert ask_bench(bench, "item zebra 0", top_k=1, mode="vector")[0].record_key == "7"
    assert {hit.record_key for hit in ask_bench(bench, "item 404", top_k=3, mode="vector")} >= {"404"}
    with fresh_database.tx(bench.scope.organization_id) as tx:
        tables = tx.rows("SELECT DISTINCT vectors_table FROM dataset_version")
    assert len(tables) == 1


@pytest.mark.parametrize(("share", "spare"), [(0.0, 3.0), (0.5, 3.0), (0.5, 0.0)], ids=["before", "after", "too few"])
def test_what_other_versions_left_in_an_index_is_never_found(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch, share: float, spare: float
) -> None:
    """Whether it is left out in the database or after it; and where it takes the place of too many, there are more."""
    monkeypatch.setattr(index, "EXACT_CHUNKS_MAX", 100)
    monkeypatch.setattr(searching, "CANDIDATE_COST", 1)
    monkeypatch.setattr(searching, "INDEX_DEPTH_ALONE", 40)
    monkeypatch.setattr(searching, "STRANGE_SHARE_MAX", share)
    monkeypatch.setattr(searching, "STRANGE_SPARE", spare)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(1_000, lambda number: f"zebra {number}" if number < 60 else str(number)))
    bench.build()
    bench.put(rows_csv(1_000, lambda number: f"apple {number}" if number < 60 else str(number)))
    bench.build()
    hits = ask_bench(bench, "item zebra", top_k=40, mode="vector")
    assert len({hit.record_key for hit in hits}) == 40
    assert not any("zebra" in hit.text for hit in hits)
    with fresh_database.tx(bench.scope.organization_id) as tx:
        row = tx.one("SELECT vectors_table, members FROM dataset_version ORDER BY version DESC LIMIT 1")
        vector = vectors_store.one(QuickEmbedder.vector("item zebra", 32))
        truth = vectors_store.nearest_of_all(tx, row["vectors_table"], vector, members=row["members"], limit=40)
    assert sum(score for _, score in truth) - sum(hit.score for hit in hits) < 0.05


def test_a_server_without_pgvector(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_store, "is_available", lambda _: False)
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(20))
    bench.build()
    assert ask_bench(bench, "item 7", mode="keyword", top_k=1)[0].record_key == "7"
    for mode in ("hybrid", "vector"):
        with pytest.raises(NoVectorSearch, match="extension `vector`"):
            ask_bench(bench, "item 7", mode=mode)
    monkeypatch.undo()
    embedded = QuickEmbedder.embedded
    with fresh_database.tx(bench.scope.organization_id) as tx:
        from gristmill.datasets import service  # noqa: PLC0415

        service.process(tx, bench.scope, bench.dataset_id)
    bench.build()
    assert ask_bench(bench, "item 7 0", top_k=1)[0].record_key == "7"
    assert QuickEmbedder.embedded == embedded + 1, "only the question: the vectors were kept all along"


def test_searches_see_one_version_while_another_is_swapped_in(fresh_database: Database) -> None:
    bench = Bench.make(fresh_database)
    bench.create(rows_csv(60))
    bench.build()
    worker = bench.worker()
    bench.put(rows_csv(60, lambda number: f"fresh {number}"))
    lease = bench.lease(worker)
    assert lease is not None
    assert ask_bench(bench, "fresh", mode="keyword") == []
    assert ask_bench(bench, "item 5", mode="keyword", top_k=1)[0].text == "item 5 5"


def ndcg(ranked: list[str], relevant: dict[str, int], top: int = 10) -> float:
    gained = sum(relevant.get(item, 0) / math.log2(place + 2) for place, item in enumerate(ranked[:top]))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(top, sum(relevant.values()))))
    return gained / ideal if ideal else 0.0


@pytest.mark.parametrize(("name", "floor"), [("cranfield", 0.37), ("cisi", 0.36), ("cacm", 0.46)])
def test_keyword_search_is_as_good_as_bm25(own_database: Database, name: str, floor: float) -> None:
    """The floors are BM25 as other engines have it on these collections, a hundredth off."""
    folder = COLLECTIONS / name
    if not folder.is_dir():
        pytest.skip("the collections do not lie beside the project")
    documents = [json.loads(line) for line in (folder / "docs.jsonl").read_text().splitlines()]
    relevant: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        relevant[query][document] = int(float(score) > 0)
    bench = Bench.make(own_database)
    text = "id,name,n\n" + "\n".join(
        f'{item["_id"]},"{(item["title"] + ". " + item["text"]).replace(chr(34), " ")}",' for item in documents
    )
    bench.create(text, "{{.name}}", window=10_000)
    bench.build()
    scores = []
    for line in (folder / "queries.jsonl").read_text().splitlines():
        query = json.loads(line)
        if any(relevant[query["_id"]].values()):
            hits = ask_bench(bench, query["text"], top_k=10, mode="keyword")
            scores.append(ndcg([hit.record_key for hit in hits], relevant[query["_id"]]))
    assert float(np.mean(scores)) >= floor
