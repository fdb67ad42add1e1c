"""HTTP of batches: bodies, lists and moments."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from conftest import Caller, make_agent, wait_for
from gristmill.base.db import Database
from gristmill.engine import Worker

API = "/api/v1/batch_executions"


def create(owner: Caller, agent_id: int, **body: Any) -> Any:
    return owner.post(f"/api/v1/agents/{agent_id}/batch_executions", body)


def run(owner: Caller, agent_id: int, rows: int) -> str:
    batch = create(owner, agent_id, items=[{"n": number} for number in range(rows)]).json()
    wait_for(lambda: owner.get(f"{API}/{batch['id']}").json()["status"] == "completed", "the end of the batch")
    return str(batch["id"])


@pytest.mark.parametrize("ids", [[], ["1"], ["1", "2", "3", "4"]])
def test_other_than_one_id_for_each_row_is_refused(owner: Caller, database: Database, ids: list[str]) -> None:
    agent = make_agent(database, owner.organization_id)
    answer = create(owner, agent.id, items=[{"n": 1}, {"n": 2}, {"n": 3}], external_ids=ids)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "external_ids", "message": "must have one id for each of the 3 rows"}]
    assert owner.get(f"/api/v1/agents/{agent.id}/batch_executions").json()["data"] == []


def test_the_last_page_says_that_it_is_the_last(owner: Caller, database: Database, worker: Worker) -> None:
    del worker
    agent = make_agent(database, owner.organization_id)
    path = f"{API}/{run(owner, agent.id, 4)}/rows"
    for limit, sizes in ((1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (5, [4])):
        seen, cursor = [], ""
        while cursor is not None:
            page = owner.get(path, params={"limit": limit, "cursor": cursor}).json()
            seen.append([row["row_number"] for row in page["data"]])
            cursor = page["meta"]["next_cursor"]
        assert [len(item) for item in seen] == sizes
        assert sum(seen, []) == [1, 2, 3, 4]  # noqa: RUF017 - four numbers


def test_lists_of_batches_end_with_no_cursor(owner: Caller, database: Database) -> None:
    agent = make_agent(database, owner.organization_id)
    made = [create(owner, agent.id, items=[]).json()["id"] for _ in range(2)]
    for path in (API, f"/api/v1/agents/{agent.id}/batch_executions"):
        page = owner.get(path, params={"limit": 2}).json()
        assert [item["id"] for item in page["data"]] == made[::-1]
        assert page["meta"] == {"next_cursor": None}
        first = owner.get(path, params={"limit": 1}).json()
        last = owner.get(path, params={"limit": 1, "cursor": first["meta"]["next_cursor"]}).json()
        assert last["data"][0]["id"] == made[0]
        assert last["meta"] == {"next_cursor": None}


def test_moments_are_all_written_alike(owner: Caller, database: Database, worker: Worker) -> None:
    del worker
    agent = make_agent(database, owner.organization_id)
    batch_id = run(owner, agent.id, 1)
    row = owner.get(f"{API}/{batch_id}/rows").json()["data"][0]
    detail = owner.get(f"{API}/{batch_id}/rows/{row['id']}").json()
    assert detail["attempts"][0]["at"] == row["finished_at"]
    assert row["finished_at"].endswith("Z")


def test_a_retry_without_a_body_means_all_that_failed(owner: Caller, database: Database, worker: Worker) -> None:
    del worker
    agent = make_agent(database, owner.organization_id)
    batch_id = run(owner, agent.id, 1)
    answer = owner.client.post(f"{API}/{batch_id}/retry")
    assert (answer.status_code, answer.json()["detail"]) == (422, "No row of the batch fits; nothing was changed.")


def test_ids_of_rows_come_out_again(owner: Caller, database: Database, worker: Worker) -> None:
    del worker
    agent = make_agent(database, owner.organization_id)
    rows = [{"n": 1}, {"n": 1}, {"n": 2}]
    batch = create(owner, agent.id, items=rows, external_ids=["x-1", "x-2", ""]).json()
    wait_for(lambda: owner.get(f"{API}/{batch['id']}").json()["status"] == "completed", "the end of the batch")
    lines = list(csv.DictReader(io.StringIO(owner.get(f"{API}/{batch['id']}/export.csv").text)))
    assert [(line["n"], line["external_id"], line["status"]) for line in lines] == [
        ("1", "x-1", "succeeded"),
        ("1", "x-2", "duplicate"),
        ("2", "", "succeeded"),
    ]
    assert list(lines[0])[:7] == ["n", "row_number", "status", "charge_usd", "error_code", "error", "external_id"]
    plain = owner.get(f"{API}/{run(owner, agent.id, 1)}/export.csv").text
    assert "external_id" not in plain


def test_json_may_begin_with_a_byte_order_mark(owner: Caller, database: Database) -> None:
    agent = make_agent(database, owner.organization_id)
    path = f"/api/v1/agents/{agent.id}/batch_executions"
    for kind, body in (
        ("application/json", b'{"items": [{"n": 1}]}'),
        ("application/x-ndjson", b'{"n": 1}\n{"n": 2}\n'),
    ):
        answer = owner.client.post(path, content=b"\xef\xbb\xbf" + body, headers={"Content-Type": kind})
        assert answer.status_code == 202, answer.text
        assert answer.json()["columns"] == ["n"]
