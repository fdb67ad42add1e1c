"""What a new file, template or key costs, what it changes, and the way back."""

from __future__ import annotations

import random
from typing import Any

import pytest

from datasets_kit import CSV, TEMPLATE, Desk, QuickEmbedder, encoded, rows_csv
from gristmill.base.db import Database

NAMED = "{{.name}} {{.n}}"


def embedded(desk: Desk, dataset_id: int) -> int:
    return desk.versions(dataset_id)[0]["embedded"]


def test_only_what_changed_is_embedded(desk: Desk) -> None:
    made = desk.make(rows_csv(300), template=NAMED, primary_key_field="id")
    assert embedded(desk, made["id"]) == 300
    before = QuickEmbedder.embedded
    done = desk.put(made["id"], rows_csv(302, lambda number: f"x{number}" if number in {5, 6} else str(number)))
    assert done["source_count"] == 302
    assert QuickEmbedder.embedded - before == 4
    version = desk.versions(made["id"])[0]
    assert version["difference"] == {"added": 2, "changed": 2, "removed": 0, "unchanged": 298}
    assert (version["version"], version["active"], version["embedded"]) == (2, True, 4)


def test_another_order_embeds_nothing_and_numbers_the_rows_anew(desk: Desk) -> None:
    text = rows_csv(50)
    made = desk.make(text, template=NAMED)
    head, *rows = text.strip().split("\n")
    random.Random(7).shuffle(rows)  # noqa: S311 - no secret
    before = QuickEmbedder.embedded
    desk.put(made["id"], "\n".join([head, *rows]))
    assert QuickEmbedder.embedded == before
    version = desk.versions(made["id"])[0]
    assert version["difference"] == {"added": 0, "changed": 0, "removed": 0, "unchanged": 50}
    shown = desk.records(made["id"])
    assert [item["row_number"] for item in shown] == list(range(1, 51))
    assert [item["data"]["id"] for item in shown] == [row.split(",")[0] for row in rows]
    hit = desk.search(f"item {rows[10].split(',')[0]}", mode="keyword", top_k=1)[0]
    assert hit["row_number"] == 11


def test_the_order_of_columns_does_not_matter(desk: Desk) -> None:
    made = desk.make(CSV, primary_key_field="id")
    before = QuickEmbedder.embedded
    rows = [line.split(",") for line in CSV.strip().split("\n")]
    desk.put(made["id"], "\n".join(",".join(reversed(row)) for row in rows))
    assert QuickEmbedder.embedded == before
    assert desk.versions(made["id"])[0]["difference"]["unchanged"] == 3


def test_a_template_that_is_taken_back_embeds_nothing(desk: Desk) -> None:
    made = desk.make(rows_csv(40), template=NAMED, primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    desk.caller.patch(path, {"template": "n is {{.n}}, {{.name}}"})
    assert desk.done(made["id"])["version"] == 2
    before = QuickEmbedder.embedded
    desk.caller.patch(path, {"template": NAMED})
    done = desk.done(made["id"])
    assert (done["version"], done["progress"]["chunks"]) == (3, 40)
    assert QuickEmbedder.embedded == before
    assert desk.search("item 7", mode="keyword", top_k=1)[0]["text"] == "item 7 0"


def test_nothing_new_makes_no_version(desk: Desk) -> None:
    made = desk.make(rows_csv(10), template=NAMED)
    done = desk.put(made["id"], rows_csv(10))
    assert done["version"] == 1
    assert done["file_path"] != made["file_path"]
    assert desk.versions(made["id"])[0]["file_path"] == done["file_path"]


def test_going_back_is_at_once_and_whole(desk: Desk) -> None:
    made = desk.make(rows_csv(20), template=NAMED, primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    desk.put(made["id"], rows_csv(18, lambda number: f"new {number}"))
    desk.caller.patch(path, {"template": "only {{.name}}"})
    desk.done(made["id"])
    back = desk.caller.post(f"{path}/versions/1/activate").json()
    assert (back["version"], back["source_count"], back["template"]) == (1, 20, NAMED)
    assert (back["file_path"], back["ingest_status"]) == (made["file_path"], "completed")
    assert desk.search("item 19", mode="keyword", top_k=1)[0]["text"] == "item 19 5"
    assert desk.search("new", mode="keyword") == []
    assert desk.sql(made["id"], "SELECT count(*) FROM records")["rows"] == [[20]]
    assert len(desk.records(made["id"])) == 20
    again = desk.caller.post(f"{path}/process").json()
    assert again["ingest_status"] == "pending"
    done = desk.done(made["id"])
    assert (done["version"], done["source_count"]) == (1, 20), "the version is what its own file says"
    newest = desk.caller.post(f"{path}/versions/3/activate").json()
    assert (newest["source_count"], newest["template"]) == (18, "only {{.name}}")
    assert desk.caller.post(f"{path}/versions/9/activate").status_code == 404


def test_a_version_made_after_going_back_is_compared_with_what_is_searched(desk: Desk) -> None:
    made = desk.make(rows_csv(20), template=NAMED, primary_key_field="id")
    desk.put(made["id"], rows_csv(20, lambda number: f"new {number}"))
    desk.caller.post(f"{desk.path}/datasets/{made['id']}/versions/1/activate")
    before = QuickEmbedder.embedded
    done = desk.put(made["id"], rows_csv(20, lambda number: f"new {number}"))
    assert done["version"] == 3
    assert desk.versions(made["id"])[0]["difference"] == {"added": 0, "changed": 20, "removed": 0, "unchanged": 0}
    assert QuickEmbedder.embedded == before
    assert desk.search("new 3", mode="keyword", top_k=1)[0]["record_key"] == "3"


def test_old_versions_are_forgotten_with_all_that_only_they_had(desk: Desk, database: Database) -> None:
    made = desk.make(rows_csv(30), template=NAMED, primary_key_field="id")
    for step in range(7):
        done = desk.put(made["id"], rows_csv(30, lambda number, step=step: f"{step} {number}"))  # type: ignore[misc]
        assert done["ingest_status"] == "completed", done["last_error"]
    versions = [item["version"] for item in desk.versions(made["id"])]
    assert versions == [8, 7, 6, 5, 4]

    def counts() -> dict[str, int]:
        with database.tx(desk.caller.organization_id) as tx:
            return {
                name: tx.one(f"SELECT count(*) AS n FROM {name} WHERE dataset_id = %s", (made["id"],))["n"]  # type: ignore[arg-type]
                for name in ("dataset_record", "dataset_chunk", "dataset_file")
            }

    from conftest import wait_for  # noqa: PLC0415

    wait_for(lambda: counts()["dataset_record"] == 5 * 30, "the sweep")
    assert counts() == {"dataset_record": 150, "dataset_chunk": 150, "dataset_file": 5}
    assert desk.search("6 7", mode="keyword", top_k=1)[0]["text"] == "item 6 7 0"


def test_a_file_that_would_remove_much_asks_first(desk: Desk) -> None:
    made = desk.make(rows_csv(20), template=NAMED, primary_key_field="id")
    failed = desk.put(made["id"], rows_csv(5))
    assert failed["ingest_status"] == "failed"
    assert "15 of 20 records would be removed" in failed["last_error"]
    assert failed["source_count"] == 20
    assert desk.keys("item 19", mode="keyword", top_k=1) == ["19"]
    confirmed = desk.caller.post(f"{desk.path}/datasets/{made['id']}/process", {"confirm_removals": True})
    assert confirmed.status_code == 200
    done = desk.done(made["id"])
    assert (done["ingest_status"], done["source_count"]) == ("completed", 5)
    assert desk.put(made["id"], rows_csv(1), confirm_removals=True)["source_count"] == 1


def test_a_plan_says_what_would_be_and_does_nothing(desk: Desk) -> None:
    made = desk.make(rows_csv(20), template=NAMED, primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    text = rows_csv(8, lambda number: "same" if number in {1, 2} else str(number)) + "99,other,1\n98,,1\n"
    sent = desk.caller.post(
        f"{desk.path}/datasets/analyze", {"file_base64": encoded(text), "file_filename": "n.csv"}
    ).json()
    before = QuickEmbedder.embedded
    plan = desk.caller.post(f"{path}/plan", {"file_path": sent["file_path"]}).json()
    assert {name: plan[name] for name in ("added", "changed", "removed", "unchanged")} == {
        "added": 2,
        "changed": 2,
        "removed": 12,
        "unchanged": 6,
    }
    assert plan["embeddings_needed"] == 4
    assert plan["estimate"]["tokens"] > 0
    assert plan["needs_confirmation"] is True
    assert plan["receipt"]["rows_in"] == 10
    nothing = desk.caller.post(f"{path}/plan").json()
    assert (nothing["unchanged"], nothing["embeddings_needed"], nothing["needs_confirmation"]) == (20, 0, False)
    other = desk.caller.post(f"{path}/plan", {"template": "{{.n}}"}).json()
    assert (other["changed"], other["embeddings_needed"]) == (20, 7)
    assert desk.caller.post(f"{path}/plan", {"template": "{{"}).status_code == 422
    assert desk.get(made["id"]) == made
    assert QuickEmbedder.embedded == before


@pytest.mark.parametrize("key", ["id", None])
def test_a_plan_comes_true(desk: Desk, key: str | None) -> None:
    made = desk.make(rows_csv(30), template=NAMED, primary_key_field=key)
    text = rows_csv(28, lambda number: f"x{number}" if number % 9 == 0 else str(number))
    sent = desk.caller.post(
        f"{desk.path}/datasets/analyze", {"file_base64": encoded(text), "file_filename": "n.csv"}
    ).json()
    plan: Any = desk.caller.post(f"{desk.path}/datasets/{made['id']}/plan", {"file_path": sent["file_path"]}).json()
    before = QuickEmbedder.embedded
    done = desk.done(
        desk.caller.client.put(f"{desk.path}/datasets/{made['id']}/file", json={"file_path": sent["file_path"]}).json()[
            "id"
        ]
    )
    version = desk.versions(made["id"])[0]
    assert version["difference"] == {name: plan[name] for name in ("added", "changed", "removed", "unchanged")}
    assert done["receipt"] == plan["receipt"]
    assert QuickEmbedder.embedded - before == plan["embeddings_needed"]


def test_a_file_with_other_columns(desk: Desk) -> None:
    made = desk.make(CSV, primary_key_field="id")
    text = "id,Company Name,country,staff\n1,Acme,IT,7\n2,Best Bakery,FR,n/a\n3,Crumb & Co,IT,12\n"
    done = desk.put(made["id"], text)
    assert done["ingest_status"] == "completed"
    assert any("<no value>" in item for item in done["warnings"])
    columns = {item["name"]: item["kind"] for item in desk.versions(made["id"])[0]["columns"]}
    assert columns == {"id": "int", "Company Name": "text", "country": "text", "staff": "text"}
    assert desk.sql(made["id"], "SELECT country, count(*) FROM records GROUP BY 1 ORDER BY 1")["rows"] == [
        ["FR", 1],
        ["IT", 2],
    ]
    assert desk.keys("acme", filter={"country": "IT"}, mode="keyword") == ["1"]
    refused = desk.caller.client.put(
        f"{desk.path}/datasets/{made['id']}/file",
        json={"file_base64": encoded("name\nAcme\n"), "file_filename": "c.csv"},
    )
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "primary_key_field")
    assert desk.get(made["id"])["ingest_status"] == "completed"


def test_a_column_of_another_kind_is_read_anew_in_rows_that_stay(desk: Desk) -> None:
    made = desk.make("id,code\n1,10\n2,20\n3,30\n", template="code {{.code}}", primary_key_field="id")
    assert desk.sql(made["id"], "SELECT sum(code) FROM records")["rows"] == [["60"]]
    desk.put(made["id"], "id,code\n1,10\n2,20\n3,A7\n")
    assert desk.sql(made["id"], "SELECT code FROM records ORDER BY code")["rows"] == [["10"], ["20"], ["A7"]]
    assert desk.keys("code", filter={"code": "10"}, mode="keyword") == ["1"]


def test_another_key_keeps_the_vectors(desk: Desk) -> None:
    made = desk.make(rows_csv(10), template=NAMED)
    path = f"{desk.path}/datasets/{made['id']}"
    before = QuickEmbedder.embedded
    desk.caller.patch(path, {"primary_key_field": "id"})
    done = desk.done(made["id"])
    assert (done["ingest_status"], done["primary_key_field"]) == ("completed", "id"), done["last_error"]
    assert [item["record_key"] for item in desk.records(made["id"])] == [str(number) for number in range(10)]
    desk.caller.patch(path, {"primary_key_field": ""})
    assert desk.done(made["id"])["primary_key_field"] is None
    assert QuickEmbedder.embedded == before


def test_another_embedder_makes_all_vectors_anew(desk: Desk) -> None:
    made = desk.make(rows_csv(10), template=NAMED, primary_key_field="id")
    path = f"{desk.path}/datasets/{made['id']}"
    desk.caller.patch(path, {"embedder": {"kind": "quick", "config": {"dimensions": 48}}})
    done = desk.done(made["id"])
    assert (done["version"], desk.versions(made["id"])[0]["embedded"]) == (2, 10)
    assert desk.keys("item 3", mode="vector", top_k=1) == ["3"]
    desk.caller.post(f"{path}/versions/1/activate")
    assert desk.keys("item 3", mode="vector", top_k=1) == ["3"]


def test_an_agent_may_have_datasets_of_several_models(desk: Desk) -> None:
    desk.make(rows_csv(10), template=NAMED)
    desk.make(CSV, embedder={"kind": "quick", "config": {"dimensions": 48}}, template=TEMPLATE)
    hits = desk.search("acme in rome", top_k=3)
    assert hits[0]["text"] == "Acme in Rome"
    assert {hit["dataset_id"] for hit in desk.search("item", mode="vector", top_k=50)} == {
        item["id"] for item in desk.caller.get(f"{desk.path}/datasets").json()["data"]
    }
