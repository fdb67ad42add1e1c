"""The HTTP of datasets, as its users call it."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest

from conftest import Caller, MakeCaller, make_agent
from datasets_kit import CSV, Desk, encoded
from gristmill import vault
from gristmill.base.db import Database


def test_the_fields_of_the_contract_are_there(desk: Desk) -> None:
    made = desk.create(primary_key_field="id")
    assert {
        "id", "agent_id", "title", "file_path", "type", "template", "primary_key_field", "ingest_status",
        "last_unfurled_at", "source_count", "created_at", "updated_at",
    } <= made.keys()  # fmt: skip
    assert made["ingest_status"] == "pending"
    assert made["agent_id"] == desk.agent_id
    assert made["last_unfurled_at"] is None
    done = desk.done(made["id"])
    assert done["ingest_status"] == "completed"
    assert done["source_count"] == 3
    assert done["last_unfurled_at"]
    assert done["receipt"]["rows_in"] == done["receipt"]["records"] == 3


def test_both_prefixes_answer(desk: Desk) -> None:
    made = desk.make()
    for prefix in ("/api", "/api/v1"):
        page = desk.caller.get(f"{prefix}/agents/{desk.agent_id}/datasets").json()
        assert [item["id"] for item in page["data"]] == [made["id"]]
        assert page["meta"] == {"page": 1, "per_page": 50, "total": 1, "total_pages": 1}
        assert desk.caller.get(f"{prefix}/agents/{desk.agent_id}/datasets/{made['id']}").json()["id"] == made["id"]


def test_wrong_ids_and_foreign_agents(desk: Desk, database: Database) -> None:
    caller = desk.caller
    assert caller.get("/api/agents/none/datasets").status_code == 400
    assert caller.get("/api/agents/999999/datasets").status_code == 404
    assert caller.post("/api/agents/999999/datasets", desk.body()).status_code == 404
    assert caller.get(f"{desk.path}/datasets/x").status_code == 400
    assert caller.get(f"{desk.path}/datasets/999999").status_code == 404
    other = make_agent(database, caller.organization_id)
    made = desk.make()
    assert caller.get(f"/api/agents/{other.id}/datasets/{made['id']}").status_code == 404


def test_a_wrong_template_is_told_with_line_and_column(desk: Desk) -> None:
    answer = desk.caller.post(f"{desk.path}/datasets", desk.body(template="Line one\n{{.city} in"))
    problem = answer.json()
    assert answer.status_code == 422
    assert problem["errors"][0]["field"] == "template"
    assert problem["errors"][0]["line"] == 2
    assert "bad character" in problem["errors"][0]["message"]
    made = desk.make()
    answer = desk.caller.patch(f"{desk.path}/datasets/{made['id']}", {"template": "{{nope .x}}"})
    assert answer.status_code == 422
    assert 'function "nope" not defined' in answer.json()["errors"][0]["message"]
    assert desk.get(made["id"])["ingest_status"] == "completed"


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"file_base64": "***"}, 400, "file_base64"),
        ({"file_base64": None, "file_path": None}, 422, "file_base64"),
        ({"file_path": "datasets/1/2/nothing", "file_base64": None}, 404, None),
        ({"file_path": "datasets/1/2/nothing"}, 422, "file_path"),
        ({"file_filename": None}, 422, "file_filename"),
        ({"file_filename": ""}, 422, "file_filename"),
        ({"file_base64": encoded("not json"), "file_filename": "x.json", "type": "json"}, 422, None),
        ({"file_base64": encoded(""), "file_filename": "x.csv"}, 422, None),
        ({"type": "pdf"}, 422, "type"),
        ({"type": "json"}, 422, "type"),
        ({"title": " "}, 422, "title"),
        ({"template": " "}, 422, "template"),
        ({"primary_key_field": "nope"}, 422, "primary_key_field"),
        ({"embedder": {"kind": "psychic"}}, 422, "embedder.kind"),
        ({"embedder": {"kind": "minilm", "config": {"x": 1}}}, 422, "embedder.config.x"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_what_is_refused(desk: Desk, change: dict[str, Any], status: int, field: str | None) -> None:
    answer = desk.caller.post(f"{desk.path}/datasets", {**desk.body(), **change})
    assert answer.status_code == status, answer.text
    if field:
        assert answer.json()["errors"][0]["field"] == field
    assert desk.caller.get(f"{desk.path}/datasets").json()["data"] == []


def test_a_file_may_come_in_four_ways(desk: Desk) -> None:
    client, path = desk.caller.client, f"{desk.path}/datasets"
    fields = {"title": "T", "template": "{{.city}}", "embedder": '{"kind": "quick"}'}
    form = client.post(path, data=fields, files={"file": ("c.csv", io.BytesIO(CSV.encode()), "text/csv")})
    assert form.status_code == 201, form.text
    raw = client.post(
        path, params={**fields, "file_filename": "c.csv"}, content=CSV, headers={"Content-Type": "text/csv"}
    )
    assert raw.status_code == 201, raw.text
    analysis = desk.caller.post(f"{path}/analyze", {"file_base64": encoded(CSV), "file_filename": "c.csv"}).json()
    body = {**desk.body(), "file_base64": None, "file_path": analysis["file_path"]}
    by_path = desk.caller.post(path, body)
    assert by_path.status_code == 201, by_path.text
    assert by_path.json()["file_path"] == analysis["file_path"]
    again = desk.caller.post(path, body)
    assert again.status_code == 404, "a file belongs to one dataset"
    for answer in (form, raw, by_path):
        assert desk.done(answer.json()["id"])["source_count"] == 3


def test_the_same_call_again_makes_nothing_twice(desk: Desk) -> None:
    headers = {"Idempotency-Key": "once"}
    first = desk.caller.client.post(f"{desk.path}/datasets", json=desk.body(), headers=headers)
    second = desk.caller.client.post(f"{desk.path}/datasets", json=desk.body(), headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    other = desk.caller.client.post(f"{desk.path}/datasets", json=desk.body(title="Else"), headers=headers)
    assert other.status_code == 409
    assert desk.caller.get(f"{desk.path}/datasets").json()["meta"]["total"] == 1


def test_analysis_says_what_a_file_is_like(desk: Desk) -> None:
    answer = desk.caller.post(
        f"{desk.path}/datasets/analyze", {"file_base64": encoded(CSV), "file_filename": "companies.csv"}
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["type"], found["row_count"], found["primary_key_field"]) == ("csv", 3, "id")
    columns = {column["name"]: column for column in found["columns"]}
    assert [columns[name]["type"] for name in ("id", "Company Name", "price")] == ["int", "text", "number"]
    assert columns["city"]["distinct_share"] == pytest.approx(2 / 3, abs=1e-3)
    assert columns["city"]["samples"] == ["Rome", "Paris"]
    best = found["templates"][0]
    assert 'index . "Company Name"' in best["template"]
    assert len(best["samples"]) == 3
    assert "Acme" in best["samples"][0]
    made = desk.done(
        desk.caller.post(
            f"{desk.path}/datasets",
            {**desk.body(), "file_base64": None, "file_path": found["file_path"], "template": best["template"]},
        ).json()["id"]
    )
    assert made["ingest_status"] == "completed"


@pytest.mark.parametrize(
    ("content", "name"), [("***", "c.csv"), (encoded("x"), "c.pdf"), (encoded(b""), "c.csv"), (encoded(b"{"), "c.json")]
)
def test_an_analysis_that_fails_answers_400(desk: Desk, content: str, name: str) -> None:
    answer = desk.caller.post(f"{desk.path}/datasets/analyze", {"file_base64": content, "file_filename": name})
    assert answer.status_code == 400, answer.text


def test_an_analysis_needs_the_name_of_its_content(desk: Desk) -> None:
    for name in ({}, {"file_filename": None}, {"file_filename": ""}):
        answer = desk.caller.post(f"{desk.path}/datasets/analyze", {"file_base64": encoded(CSV), **name})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "file_filename")


def test_content_may_be_wrapped_or_a_data_url(desk: Desk) -> None:
    wrapped = base64.encodebytes(CSV.encode()).decode()
    for content in (wrapped, wrapped.replace("\n", "\r\n"), f"data:text/csv;base64,{encoded(CSV)}"):
        made = desk.caller.post(f"{desk.path}/datasets", {**desk.body(), "file_base64": content})
        assert made.status_code == 201, made.text
        assert desk.done(made.json()["id"])["source_count"] == desk.make()["source_count"]


def test_both_prefixes_are_the_same_call(desk: Desk) -> None:
    key = {"Idempotency-Key": "one-call"}
    first = desk.caller.post(f"{desk.path}/datasets", desk.body(), headers=key)
    again = desk.caller.post(f"{desk.path.replace('/api/', '/api/v1/')}/datasets", desk.body(), headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    made = desk.done(first.json()["id"])
    for path in ("", f"/{made['id']}", f"/{made['id']}/records", f"/{made['id']}/chunks", f"/{made['id']}/versions"):
        answers = [desk.caller.get(f"/{prefix}/agents/{desk.agent_id}/datasets{path}") for prefix in ("api", "api/v1")]
        assert [item.status_code for item in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()


def test_what_waits_for_processing_has_no_progress_of_before(desk: Desk) -> None:
    made = desk.make()
    assert made["progress"]["phase"] == "done"
    waiting = desk.caller.patch(f"{desk.path}/datasets/{made['id']}", {"template": "{{.city}}"}).json()
    assert (waiting["ingest_status"], waiting["progress"]) == ("pending", None)
    desk.done(made["id"])


def test_a_changed_template_processes_and_a_title_does_not(desk: Desk) -> None:
    made = desk.make(primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    renamed = desk.caller.patch(path, {"title": "Firms", "template": None}).json()
    assert (renamed["title"], renamed["ingest_status"], renamed["version"]) == ("Firms", "completed", 1)
    changed = desk.caller.patch(path, {"template": "City: {{.city}}"}).json()
    assert changed["ingest_status"] == "pending"
    done = desk.done(made["id"])
    assert done["version"] == 2
    assert desk.search("city", mode="keyword")[0]["text"].startswith("City: ")
    assert desk.versions(made["id"])[0]["difference"] == {"added": 0, "changed": 3, "removed": 0, "unchanged": 0}


def test_deleting(desk: Desk) -> None:
    made = desk.make()
    path = f"{desk.path}/datasets/{made['id']}"
    assert desk.caller.delete(path).status_code == 204
    assert desk.caller.get(path).status_code == 404
    assert desk.caller.delete(path).status_code == 404
    assert desk.search("acme") == []


def test_it_can_not_be_deleted_while_it_is_processed(desk: Desk) -> None:
    slow = {"kind": "quick", "config": {"pause_s": 1.0}}
    made = desk.create(embedder=slow)
    path = f"{desk.path}/datasets/{made['id']}"
    from conftest import wait_for  # noqa: PLC0415

    wait_for(lambda: desk.get(made["id"])["ingest_status"] == "processing", "the start")
    refused = desk.caller.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    desk.done(made["id"])
    assert desk.caller.delete(path).status_code == 204


def test_processing_again_answers_200_and_repeats_nothing(desk: Desk) -> None:
    made = desk.make()
    answer = desk.caller.post(f"{desk.path}/datasets/{made['id']}/process")
    assert (answer.status_code, answer.json()["ingest_status"]) == (200, "pending")
    done = desk.done(made["id"])
    assert (done["ingest_status"], done["version"]) == ("completed", 1)
    assert done["progress"]["embedded"] == 0
    assert desk.caller.post(f"{desk.path}/datasets/999999/process").status_code == 404


def test_records_chunks_and_errors(desk: Desk) -> None:
    text = CSV + "2,Best Bakery again,Oslo,1\n"
    made = desk.make(text, primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    page = desk.caller.get(f"{path}/records?limit=2").json()
    assert [(item["record_key"], item["row_number"]) for item in page["data"]] == [("1", 1), ("3", 3)]
    assert page["data"][0]["data"]["Company Name"] == "Acme"
    rest = desk.caller.get(f"{path}/records", params={"cursor": page["meta"]["next_cursor"]}).json()
    assert [item["record_key"] for item in rest["data"]] == ["2"]
    assert rest["meta"]["next_cursor"] is None
    found = desk.caller.get(f"{path}/records?q=oslo").json()["data"]
    assert [item["record_key"] for item in found] == ["2"]
    chunks = desk.caller.get(f"{path}/chunks").json()["data"]
    assert [(item["text"], item["part"]) for item in chunks][:1] == [("Acme in Rome", 0)]
    errors = desk.caller.get(f"{path}/errors.csv")
    assert errors.headers["content-type"].startswith("text/csv")
    assert "duplicate" in errors.text
    assert "Best Bakery" in errors.text
    assert made["receipt"]["duplicates"] == 1
    for bad in ("records?cursor=x", "records?limit=0", "chunks?limit=1001", "records?q=%00"):
        assert desk.caller.get(f"{path}/{bad}").status_code in {400, 422}, bad


def test_a_usage_key_reads_and_asks_and_changes_nothing(desk: Desk, teammate: Caller) -> None:
    made = desk.make()
    path = f"{desk.path}/datasets/{made['id']}"
    for read in (path, f"{desk.path}/datasets", f"{path}/versions", f"{path}/records", f"{path}/chunks"):
        assert teammate.get(read).status_code == 200, read
    assert teammate.post(f"{desk.path}/search", {"query": "acme"}).status_code == 200
    assert teammate.post(f"{desk.path}/query", {"dataset_id": made["id"], "sql": "SELECT 1"}).status_code == 200
    assert teammate.post(f"{path}/plan").status_code == 200
    assert teammate.post(f"{desk.path}/datasets", desk.body()).status_code == 403
    assert teammate.post(f"{desk.path}/datasets/analyze", {"file_base64": "", "file_filename": "x"}).status_code == 403
    assert teammate.patch(path, {"title": "x"}).status_code == 403
    assert teammate.post(f"{path}/process").status_code == 403
    assert teammate.client.put(f"{path}/file", json={}).status_code == 403
    assert teammate.post(f"{path}/versions/1/activate").status_code == 403
    assert teammate.delete(path).status_code == 403


def test_a_stranger_finds_nothing(desk: Desk, stranger: Caller, database: Database) -> None:
    made = desk.make()
    own = make_agent(database, stranger.organization_id)
    for agent in (desk.agent_id, own.id):
        base = f"/api/agents/{agent}/datasets/{made['id']}"
        for path in (base, f"{base}/records", f"{base}/chunks", f"{base}/versions", f"{base}/errors.csv"):
            assert stranger.get(path).status_code == 404, path
        assert stranger.post(f"{base}/plan").status_code == 404
        assert stranger.delete(base).status_code == 404
        asked = stranger.post(f"/api/agents/{agent}/search", {"query": "acme", "dataset_ids": [made["id"]]})
        assert asked.status_code == 404
        asked = stranger.post(f"/api/agents/{agent}/query", {"dataset_id": made["id"], "sql": "SELECT * FROM records"})
        assert asked.status_code == 404
    assert stranger.post(f"/api/agents/{own.id}/search", {"query": "acme"}).json()["data"] == []
    body = {**desk.body(), "file_base64": None, "file_path": made["file_path"]}
    assert stranger.post(f"/api/agents/{own.id}/datasets", body).status_code == 404


def test_a_key_limited_to_one_agent(desk: Desk, database: Database, make_caller: MakeCaller) -> None:
    other = make_agent(database, desk.caller.organization_id)
    limited = make_caller(desk.caller.organization_id, agent_id=other.id)
    assert limited.get(f"{desk.path}/datasets").status_code == 403
    assert limited.post(f"{desk.path}/search", {"query": "x"}).status_code == 403
    assert limited.get(f"/api/agents/{other.id}/datasets").status_code == 200


def test_deleting_an_agent_takes_its_datasets_along(desk: Desk, database: Database) -> None:
    made = desk.make()
    with database.tx(desk.caller.organization_id) as tx:
        tables = tx.tuples("SELECT id, kind FROM dataset_table WHERE dataset_id = %s", (made["id"],))
    assert len(tables) == 2
    with database.tx(desk.caller.organization_id) as tx:
        secret = vault.put(tx, desk.caller.organization_id, name="Model", values={"token": "tok-canary-7713-abcdef"})
        vault.refer_only(tx, desk.caller.organization_id, [str(secret.id)], f"dataset:{made['id']}")
    assert desk.caller.delete(f"/api/v1/secrets/{secret.id}").status_code == 409
    assert desk.caller.delete(f"/api/v1/agents/{desk.agent_id}").status_code == 204
    assert desk.caller.delete(f"/api/v1/secrets/{secret.id}").status_code == 204, "nothing needs it any more"
    with database.system() as tx:
        for table in ("dataset", "dataset_record", "dataset_chunk", "dataset_version", "dataset_segment"):
            column = "id" if table == "dataset" else "dataset_id"
            left = tx.one(f"SELECT count(*) AS n FROM {table} WHERE {column} = %s", (made["id"],))  # type: ignore[arg-type]
            assert left["n"] == 0, table
        for number, kind in tables:
            assert tx.one("SELECT to_regclass(%s) AS it", (f"datasets.{kind}_{number}",))["it"] is None
        files = tx.rows("SELECT dataset_id FROM dataset_file WHERE agent_id = %s", (desk.agent_id,))
    assert files == [{"dataset_id": None}]


def test_embedders_are_listed(desk: Desk) -> None:
    kinds = {item["kind"]: item for item in desk.caller.get("/api/v1/embedders").json()["data"]}
    assert {"minilm", "openai"} <= kinds.keys()
    assert "base_url" in kinds["openai"]["config_schema"]["properties"]
