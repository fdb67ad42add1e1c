"""Files of every sort become records; what can't is counted and listed; two at once end as one."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import wait_for
from datasets_kit import CSV, Desk, QuickEmbedder, encoded, rows_csv
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.datasets import ingest
from gristmill.datasets.ingest import claim
from gristmill.engine import JobContext


def errors_of(desk: Desk, dataset_id: int) -> list[dict[str, str]]:
    text = desk.caller.get(f"{desk.path}/datasets/{dataset_id}/errors.csv").text
    return list(csv.DictReader(io.StringIO(text)))


def test_of_rows_with_one_key_the_last_counts_and_the_others_are_listed(desk: Desk) -> None:
    text = "id,name\n1,first\n2,two\n1,second\n1,third\n"
    made = desk.make(text, template="{{.name}}", primary_key_field="id")
    assert made["receipt"] | {"file": None} == {
        "rows_in": 4, "records": 2, "duplicates": 2, "empties": 0, "failures": 0, "file": None,
    }  # fmt: skip
    assert [item["data"]["name"] for item in desk.records(made["id"])] == ["two", "third"]
    assert [item["row_number"] for item in desk.records(made["id"])] == [2, 4]
    found = errors_of(desk, made["id"])
    assert [(item["kind"], item["line"], item["record_key"], item["name"]) for item in found] == [
        ("duplicate", "2", "1", "first"),
        ("duplicate", "4", "1", "second"),
    ]


def test_equal_rows_without_a_key_are_all_kept(desk: Desk) -> None:
    made = desk.make("name\nsame\nother\nsame\nsame\n", template="{{.name}}")
    assert (made["source_count"], made["receipt"]["duplicates"]) == (4, 0)
    keys = [item["record_key"] for item in desk.records(made["id"])]
    assert len(set(keys)) == 4
    assert keys[2] == f"{keys[0]}-1"
    before = QuickEmbedder.embedded
    desk.put(made["id"], "name\nsame\nsame\nother\nsame\n")
    assert desk.versions(made["id"])[0]["difference"]["unchanged"] == 4
    assert QuickEmbedder.embedded == before


def test_rows_with_an_empty_key_are_no_duplicates(desk: Desk) -> None:
    made = desk.make("id,name\n,a\n,b\n1,c\n  ,d\n", template="{{.name}}", primary_key_field="id")
    assert (made["source_count"], made["receipt"]["duplicates"]) == (4, 0)
    assert any("3 rows have no primary key" in item for item in made["warnings"])


@pytest.mark.parametrize("text", ["id,name\n", "id,name\n\n\n"])
def test_a_file_without_rows(desk: Desk, text: str) -> None:
    made = desk.make(text, template="{{.name}}")
    assert (made["ingest_status"], made["source_count"]) == ("completed", 0)
    assert desk.search("anything") == []
    assert desk.sql(made["id"], "SELECT count(*) FROM records")["rows"] == [[0]]
    assert desk.records(made["id"]) == []
    assert desk.put(made["id"], "id,name\n1,x\n")["source_count"] == 1
    assert desk.put(made["id"], text, confirm_removals=True)["source_count"] == 0


def test_one_huge_row_becomes_many_chunks_of_one_record(desk: Desk) -> None:
    sentences = " ".join(f"Sentence number {number} is about topic{number}." for number in range(3_000))
    text = f'id,title,body\n1,"The big one","{sentences}"\n2,Small,"nothing much"\n'
    made = desk.make(text, template="{{.title}}\n{{.body}}", primary_key_field="id")
    assert made["source_count"] == 2
    version = desk.versions(made["id"])[0]
    assert version["chunks"] > 300
    chunks = desk.caller.get(f"{desk.path}/datasets/{made['id']}/chunks?limit=1000").json()["data"]
    assert [item["part"] for item in chunks[:3]] == [0, 1, 2]
    big = [item for item in chunks if item["record_key"] == "1"]
    assert all(item["text"].startswith("The big one\n") for item in big)
    assert all(len(item["text"].split()) <= 64 for item in big)
    together = " ".join(item["text"].partition("\n")[2] for item in big)
    assert together.split() == sentences.split()
    hits = desk.search("topic2999", mode="keyword")
    assert (len(hits), hits[0]["record_key"], hits[0]["row_number"]) == (1, "1", 1)
    hits = desk.search("sentence number", top_k=10)
    assert [hit["record_key"] for hit in hits].count("1") == 1, "a record is found once"
    assert desk.keys("topic2999", filter={"id": 1}, mode="keyword") == ["1"], "all chunks of a record pass a filter"
    assert desk.sql(made["id"], "SELECT count(*) FROM records")["rows"] == [[2]]


def test_a_template_that_fails_on_some_rows(desk: Desk) -> None:
    rows = "".join(f"{number},{'x' if number % 100 == 99 else 1}\n" for number in range(200))
    made = desk.make(
        "id,n\n" + rows, template='{{if eq .n "x"}}{{index .n 7}}{{end}}row {{.id}}', primary_key_field="id"
    )
    assert (made["ingest_status"], made["source_count"]) == ("completed", 198)
    assert made["receipt"]["failures"] == 2
    found = errors_of(desk, made["id"])
    assert [(item["kind"], item["record_key"], item["line"]) for item in found] == [
        ("template", "99", "101"),
        ("template", "199", "201"),
    ]
    assert "index out of range" in found[0]["reason"]
    answer = desk.sql(made["id"], "SELECT count(*) FROM records")
    assert answer["rows"] == [[198]]
    assert "2 rows of the file are no records" in answer["warnings"][0]


def test_rows_without_text_are_counted_and_listed(desk: Desk) -> None:
    made = desk.make("id,note\n1,hello\n2,\n3,   \n", template="{{.note}}")
    assert (made["source_count"], made["receipt"]["empties"]) == (1, 2)
    assert [item["kind"] for item in errors_of(desk, made["id"])] == ["empty", "empty"]


def test_records_of_the_file_that_are_no_rows_are_listed(desk: Desk) -> None:
    text = json.dumps({"id": 1, "name": "a"}) + "\n{broken\n" + json.dumps({"id": 2, "name": "b"}) + "\n"
    made = desk.make(text, file_filename="x.jsonl", type="json", template="{{.name}}")
    assert (made["source_count"], made["receipt"]["file"]["rejects"]) == (2, 1)
    found = errors_of(desk, made["id"])
    assert [(item["kind"], item["line"], item["raw"]) for item in found] == [("reject", "2", "{broken")]


def test_json_keeps_its_types_and_nesting(desk: Desk) -> None:
    items = [
        {"id": 1, "name": "Ana", "address": {"city": "Rome"}, "tags": ["a", "b"], "vip": True, "spent": 1e6},
        {"id": 2, "name": "Ben", "address": {"city": "Oslo"}, "tags": [], "vip": False, "spent": 12.5},
    ]
    template = "{{.name}} of {{.address.city}}{{range .tags}} #{{.}}{{end}}{{if .vip}} VIP{{end}} {{.spent}}"
    made = desk.make(json.dumps(items), file_filename="x.json", type="json", template=template, primary_key_field="id")
    texts = [item["text"] for item in desk.caller.get(f"{desk.path}/datasets/{made['id']}/chunks").json()["data"]]
    assert texts == ["Ana of Rome #a #b VIP 1e+06", "Ben of Oslo 12.5"]
    assert desk.records(made["id"])[0]["data"] == items[0]
    answer = desk.sql(made["id"], 'SELECT "address.city", vip, spent FROM records WHERE vip ORDER BY 1')
    assert answer["rows"] == [["Rome", True, "1000000.0"]]
    assert desk.keys("ana", filter={"address.city": "Rome"}) == ["1"]


def test_characters_that_postgresql_can_not_hold(desk: Desk) -> None:
    items = [{"id": "a\u0000b", "name": "x\u0000y"}, {"id": "c", "name": "half", "x": {"\u0000": ["\u0000"]}}]
    made = desk.make(
        json.dumps(items), file_filename="x.json", type="json", template="{{.name}} text", primary_key_field="id"
    )
    assert made["ingest_status"] == "completed", made["last_error"]
    assert made["source_count"] == 2
    assert desk.records(made["id"])[0]["data"]["name"] == "x\ufffdy"
    assert desk.caller.get(f"{desk.path}/datasets/{made['id']}/records?q=half").json()["data"]


def test_wide_files(desk: Desk) -> None:
    names = [
        f"column number {number} with a name that is longer than sixty-three bytes altogether" for number in range(500)
    ]
    text = (
        ",".join(["id", *names])
        + "\n"
        + "\n".join(
            ",".join([str(row), *(f"value {row} of {number} which is not short" for number in range(500))])
            for row in range(3)
        )
    )
    made = desk.make(text, template="{{.id}} row", primary_key_field="id")
    assert made["ingest_status"] == "completed", made["last_error"]
    assert any("out of reach for SQL" in item for item in made["warnings"])
    columns = desk.versions(made["id"])[0]["columns"]
    reachable = [item["sql_name"] for item in columns if item["sql_name"]]
    assert len(set(reachable)) == 400
    assert all(len(name.encode()) <= 63 for name in reachable)
    assert desk.sql(made["id"], f'SELECT "{reachable[399]}" FROM records LIMIT 1')["rows"] == [
        ["value 0 of 398 which is not short"]
    ]


def test_too_many_rows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.datasets import build  # noqa: PLC0415

    real = build.survey
    monkeypatch.setattr(build, "survey", lambda table, key, _: real(table, key, 5))
    made = desk.make(rows_csv(6), template="{{.name}}")
    assert made["ingest_status"] == "failed"
    assert "more than 5 rows" in made["last_error"]


def test_a_template_that_fails_on_most_rows_asks_first(desk: Desk) -> None:
    made = desk.make(primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    broken = "{{index .name 500}}"
    assert desk.caller.post(f"{path}/plan", {"template": broken}).json()["needs_confirmation"]
    desk.caller.patch(path, {"template": broken})
    asked = desk.done(made["id"])
    assert (asked["ingest_status"], asked["version"], asked["source_count"]) == ("failed", 1, 3)
    assert "3 of 3 records would be removed" in asked["last_error"]
    assert [hit["record_key"] for hit in desk.search("acme")][:1], "what was is searched"
    desk.caller.post(f"{path}/process", {"confirm_removals": True})
    done = desk.done(made["id"])
    assert (done["ingest_status"], done["source_count"], done["receipt"]["failures"]) == ("completed", 0, 3)
    assert done["warnings"][0].startswith("No row became a record")


def test_an_embedder_that_fails_leaves_what_was(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk.make(rows_csv(5), template="{{.name}}", primary_key_field="id")

    def broken(text: str, dimensions: int) -> Any:
        from gristmill.base.errors import PluginError  # noqa: PLC0415

        raise PluginError("The model is on strike.", permanent=True)

    monkeypatch.setattr(QuickEmbedder, "vector", staticmethod(broken))
    failed = desk.put(made["id"], rows_csv(6))
    assert (failed["ingest_status"], failed["last_error"]) == ("failed", "The model is on strike.")
    assert desk.keys("item 4", mode="keyword", top_k=1) == ["4"]
    monkeypatch.undo()
    desk.caller.post(f"{desk.path}/datasets/{made['id']}/process")
    done = desk.done(made["id"])
    assert (done["ingest_status"], done["source_count"], done["last_error"]) == ("completed", 6, None)


def test_many_calls_at_once_end_in_one_clear_state(desk: Desk) -> None:
    made = desk.make(rows_csv(40), template="{{.name}}", primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"

    def call(number: int) -> int:
        if number % 3 == 0:
            return desk.caller.patch(path, {"template": "{{.name}} v" + str(number)}).status_code
        return desk.caller.post(f"{path}/process").status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(call, range(12)))
    assert set(statuses) == {200}
    done = desk.done(made["id"])
    assert done["ingest_status"] == "completed", done["last_error"]
    wait_for(lambda: desk.get(made["id"])["ingest_status"] == "completed", "rest")
    final = desk.get(made["id"])
    texts = {item["text"] for item in desk.caller.get(f"{path}/chunks").json()["data"]}
    suffix = final["template"].removeprefix("{{.name}}")
    assert texts == {f"item {number}{suffix}" for number in range(40)}


def test_a_change_while_it_is_processed_wins(desk: Desk) -> None:
    slow = {"kind": "quick", "config": {"pause_s": 0.3}}
    made = desk.create(rows_csv(1_500), template="old {{.name}}", embedder=slow, primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    wait_for(lambda: (desk.get(made["id"])["progress"] or {}).get("chunks", 0) > 0, "the first batch")
    changed = desk.caller.patch(path, {"template": "new {{.name}}"}).json()
    assert changed["template"] == "new {{.name}}"
    done = desk.done(made["id"])
    assert (done["ingest_status"], done["source_count"]) == ("completed", 1_500)
    assert [item["version"] for item in desk.versions(made["id"])] == [1]
    assert desk.search("old", mode="keyword") == []
    assert len(desk.search("new", mode="keyword", top_k=5)) == 5


def test_of_two_workers_one_gets_it(desk: Desk, database: Database, fresh_database: Database) -> None:
    from conftest import make_agent, make_organization  # noqa: PLC0415
    from gristmill.datasets import files, service  # noqa: PLC0415
    from gristmill.datasets.model import Draft, EmbedderChoice, TemplateOptions  # noqa: PLC0415
    from gristmill.engine import store as engine_store  # noqa: PLC0415

    organization_id = make_organization(fresh_database)
    scope = service.Scope(organization_id, make_agent(fresh_database, organization_id).id)
    file = files.keep(settings(), organization_id, scope.agent_id, "c.csv", "csv", io.BytesIO(CSV.encode()))
    draft = Draft("T", "csv", "{{.city}}", TemplateOptions(), None, EmbedderChoice("quick"))
    with fresh_database.tx(organization_id) as tx:
        service.keep_file(tx, scope, file)
        made = service.create(tx, scope, draft, file)
    workers = [uuid7() for _ in range(8)]
    with fresh_database.system() as tx:
        for worker in workers:
            engine_store.insert_worker(tx, worker, host="h", pid=1, queues=[])
    barrier = threading.Barrier(len(workers))

    def take(worker: Any) -> bool:
        context = JobContext(worker, fresh_database, settings(), asyncio.Event())
        barrier.wait()
        with fresh_database.tx(organization_id) as tx:
            return claim(tx, context, organization_id, made.id) is not None

    with ThreadPoolExecutor(len(workers)) as pool:
        assert sum(pool.map(take, workers)) == 1
    with fresh_database.system() as tx:
        owner = tx.one("SELECT worker_id FROM dataset WHERE id = %s", (made.id,))["worker_id"]
        ingest.take_back(tx, owner)
        row = tx.one("SELECT ingest_status, worker_id FROM dataset WHERE id = %s", (made.id,))
    assert row == {"ingest_status": "pending", "worker_id": None}


@pytest.mark.parametrize("full", [True, False])
def test_a_job_that_waits_for_its_turn_makes_room_for_others(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, full: bool
) -> None:
    """Many files at once would take all places of a worker, while two of them are built."""
    monkeypatch.setattr(ingest, "WAIT_S_MAX", 0.05)
    payload = {"organization_id": 0, "dataset_id": 0}

    async def wait() -> bool:
        monkeypatch.setitem(ingest._slots, asyncio.get_running_loop(), asyncio.Semaphore(0))
        context = JobContext(uuid7(), database, settings(), asyncio.Event(), is_full=lambda: full)
        job = asyncio.ensure_future(ingest.ingest(context, payload))
        done, _ = await asyncio.wait([job], timeout=5.0 if full else 0.3)
        ingest._slots[asyncio.get_running_loop()].release()
        await asyncio.wait_for(job, 5)
        return bool(done)

    assert asyncio.run(wait()) == full


def test_a_waiting_dataset_whose_job_is_lost_gets_a_new_one(desk: Desk, database: Database) -> None:
    made = desk.make(rows_csv(3), template="{{.name}}")
    with database.system() as tx:
        tx.run(
            "UPDATE dataset SET ingest_status = 'pending', updated_at = now() - interval '1 hour' WHERE id = %s",
            (made["id"],),
        )
    assert desk.done(made["id"])["ingest_status"] == "completed"


def test_unused_files_are_removed_and_used_ones_stay(desk: Desk, database: Database) -> None:
    from gristmill.base.objects import ObjectStore  # noqa: PLC0415

    made = desk.make()
    sent = desk.caller.post(
        f"{desk.path}/datasets/analyze", {"file_base64": encoded(CSV), "file_filename": "c.csv"}
    ).json()
    objects = ObjectStore.of(settings())
    assert objects.exists(sent["file_path"])
    with database.system() as tx:
        tx.run("UPDATE dataset_file SET expires_at = now() - interval '1 minute' WHERE agent_id = %s", (desk.agent_id,))
        ingest.forget_unused(tx)
    assert not objects.exists(sent["file_path"])
    assert objects.exists(made["file_path"])
