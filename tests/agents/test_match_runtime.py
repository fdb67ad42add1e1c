"""The `match` runtime with a dataset as its reference, in real batches."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from conftest import Caller, make_agent, wait_for
from datasets_kit import Desk, QuickEmbedder
from gristmill import agents, batches
from gristmill.agents import Agent
from gristmill.agents.runtimes import match
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.batches import Batch, Order
from gristmill.datasets.embedders import embedders
from gristmill.engine import Worker

COMPANIES = [
    ("C1", "Haney Furniture Company", "Butler", "724 654 7732"),
    ("C2", "Blue Harbour Foods", "Kilmore", "053 912 9911"),
    ("C3", "Northern Light Press", "Tromso", "776 00 000"),
    ("C4", "Oak and Sons", "Dorset", "01305 250 001"),
    ("C5", "Mill Works", "Ashford", "01233 111 222"),
    ("C6", "Red Kite Coffee Roasters", "Builth Wells", "01982 552 555"),
]
TABLE = "code,company,town,phone\n" + "".join(",".join(row) + "\n" for row in COMPANIES)
ROWS: list[dict[str, Any]] = [
    {"name": "HANEY FURNITURE CO.", "city": "butler", "tel": "724-654-7732"},
    {"name": "Blue Harbor Foods Ltd", "city": "Kilmore", "tel": "(053) 9129911"},
    {"name": "Entirely Unheard Of", "city": "Nowhere", "tel": "000"},
    {"name": "Red Kite Coffee", "city": "Builth Wells", "tel": "01982552555"},
]


@pytest.fixture
def quick_embedder() -> Any:
    embedders.all()
    embedders._kinds["quick"] = QuickEmbedder()
    yield
    del embedders._kinds["quick"]


@pytest.fixture
def reference(database: Database, owner: Caller, worker: Worker, quick_embedder: Any) -> int:
    keeper = make_agent(database, owner.organization_id).id
    made = Desk(owner, keeper).make(TABLE, template="{{.company}}", primary_key_field="code")
    assert made["ingest_status"] == "completed", made
    return int(made["id"])


def matcher(database: Database, organization_id: int, name: str = "Matcher", **config: Any) -> Agent:
    with database.tx(organization_id) as tx:
        return agents.create(tx, organization_id, {"name": name, "runtime": "match", "config": config})


def run(database: Database, organization_id: int, agent: Agent, rows: list[dict[str, Any]]) -> Batch:
    with database.tx(organization_id) as tx:
        made = batches.create(tx, organization_id, agent, Order(origin={"kind": "items"}, mapping={}), rows)

    def ended() -> Batch | None:
        with database.tx(organization_id) as tx:
            found = batches.get(tx, organization_id, made.id)
        return found if found.status not in {"queued", "running"} else None

    return wait_for(ended, "the end of the batch")


def results(database: Database, organization_id: int, batch: Batch) -> list[dict[str, Any] | None]:
    text = b"".join(batches.export(database, organization_id, batch.id, "jsonl")).decode()
    return [json.loads(line)["result"] for line in text.splitlines()]


def test_rows_find_their_records_by_the_record_key(database: Database, owner: Caller, reference: int) -> None:
    agent = matcher(database, owner.organization_id, dataset_id=reference)
    batch = run(database, owner.organization_id, agent, ROWS)
    assert (batch.status, batch.succeeded, batch.empty) == ("completed", 3, 1), batch.message
    found = results(database, owner.organization_id, batch)
    assert [row and row["referenceId"] for row in found] == ["C1", "C2", None, "C6"]
    assert found[0] is not None
    assert set(found[0]) == {"referenceId", "matchMethod", "matchConfidence", "explanation"}


def test_another_organizations_dataset_is_not_there(database: Database, stranger: Caller, reference: int) -> None:
    agent = matcher(database, stranger.organization_id, dataset_id=reference)
    batch = run(database, stranger.organization_id, agent, ROWS)
    assert batch.status == "failed"
    assert "no dataset" in batch.message


def test_a_row_without_a_match_gets_no_second_trial_alone(
    database: Database, owner: Caller, reference: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    whole = match._match

    def counted(matcher: Any, config: Any, rows: list[dict[str, Any]]) -> Any:
        seen.append(len(rows))
        return whole(matcher, config, rows)

    monkeypatch.setattr(match, "_match", counted)
    agent = matcher(database, owner.organization_id, dataset_id=reference)
    batch = run(database, owner.organization_id, agent, ROWS)
    assert batch.empty == 1
    assert seen == [len(ROWS)]


def test_a_single_try_is_matched_by_itself(owner: Caller, database: Database, reference: int) -> None:
    agent = matcher(database, owner.organization_id, dataset_id=reference)
    answer = owner.post(f"/api/v1/agents/{agent.id}/run", {"input": ROWS[0]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["referenceId"] == "C1"


class Synonyms(QuickEmbedder):
    """Knows that a sofa is a couch, and nothing else."""

    kind: ClassVar[str] = "synonyms"

    @staticmethod
    def vector(text: str, dimensions: int) -> Any:
        return QuickEmbedder.vector(text.lower().replace("sofa", "couch").replace("bike", "bicycle"), dimensions)


COLOURS = ("crimson", "azure", "amber", "ivory", "violet", "emerald")
THINGS = "sku,name\n" + "".join(f"{word}-{c},{word} {c}\n" for word in ("couch", "bicycle", "lamp") for c in COLOURS)


def test_names_that_mean_the_same_are_found_when_asked_for(database: Database, owner: Caller, worker: Worker) -> None:
    embedders.all()
    embedders._kinds["synonyms"] = Synonyms()
    try:
        keeper = make_agent(database, owner.organization_id).id
        made = Desk(owner, keeper).make(
            THINGS, template="{{.name}}", primary_key_field="sku", embedder={"kind": "synonyms", "config": {}}
        )
        assert made["ingest_status"] == "completed", made
        agent = matcher(database, owner.organization_id, dataset_id=int(made["id"]), semantic=True, threshold=0.05)
        before = QuickEmbedder.embedded
        rows = [{"item": f"{word} {c}"} for word in ("sofa", "bike", "lamp") for c in COLOURS]
        batch = run(database, owner.organization_id, agent, rows)
        assert QuickEmbedder.embedded - before == 18 + 18, "each name of both sides is embedded once"
        found = results(database, owner.organization_id, batch)
        expected = [f"{word}-{c}" for word in ("couch", "bicycle", "lamp") for c in COLOURS]
        assert [row and row["referenceId"] for row in found] == expected, batch.message
        plain = matcher(database, owner.organization_id, "Plain", dataset_id=int(made["id"]), threshold=0.0)
        without = results(database, owner.organization_id, run(database, owner.organization_id, plain, rows))
        for number in range(12):
            by_meaning, by_words = found[number], without[number]
            assert by_meaning is not None
            assert by_words is None or by_meaning["matchConfidence"] > by_words["matchConfidence"]
    finally:
        del embedders._kinds["synonyms"]


def test_a_file_is_for_the_users_own_machine_only(database: Database, organization: int) -> None:
    with pytest.raises(Invalid, match="Only `gristmill run`"):
        matcher(database, organization, file="/etc/passwd")
    with pytest.raises(Invalid, match="needs a dataset"):
        matcher(database, organization)
