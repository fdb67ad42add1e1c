"""Sources over HTTP: who may do what, what is refused and how, what a preview shows."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gristmill.base.db import Database

CSV = "email,name,age\nana@example.com,Ana,30\nbo@example.com,Bo,41\ncy@example.com,Cy,\n"
API = "/api/v1/data_sources"
MAPPING = {"fields": {"to": "email", "who": "name"}}


def make(caller: Any, **values: Any) -> dict[str, Any]:
    answer = caller.post(API, {"name": "Leads", "kind": "csv", "csv_data": CSV, **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert field in [item["field"] for item in body["errors"]], body
    return body


class TestCreate:
    def test_a_csv_as_text(self, owner: Any) -> None:
        made = make(owner, config={"default_mapping": MAPPING})
        assert made["kind"] == "csv"
        assert made["size_bytes"] == len(CSV)
        assert made["row_count"] == 3
        assert made["reject_count"] == 0
        assert made["columns"] == [
            {"name": "email", "type": "email"},
            {"name": "name", "type": "text"},
            {"name": "age", "type": "int"},
        ]
        assert made["config"]["default_mapping"] == MAPPING
        assert made["csv_data"] is None
        assert owner.get(f"{API}/{made['id']}").json() == made

    def test_the_text_is_kept_as_it_was_sent(self, owner: Any) -> None:
        text = '\ufeffa;b\r\n"x\r\ny";é\r\n\r\nlast;1'
        made = make(owner, csv_data=text)
        assert owner.get(f"{API}/{made['id']}?include=csv_data").json()["csv_data"] == text

    def test_kind_csv_is_the_default(self, owner: Any) -> None:
        assert owner.post(API, {"name": "x", "csv_data": CSV}).json()["kind"] == "csv"

    def test_base64_in_another_encoding(self, owner: Any) -> None:
        data = "name,city\nJosé,Málaga\nZoë,Köln\n".encode("cp1252")
        made = make(owner, csv_data=None, csv_base64=base64.b64encode(data).decode())
        assert made["size_bytes"] == len(data)
        seen = owner.post(f"{API}/{made['id']}/preview").json()
        assert seen["rows"] == [{"name": "José", "city": "Málaga"}, {"name": "Zoë", "city": "Köln"}]
        assert seen["dialect"]["encoding"] == "cp1252"
        assert any("cp1252" in note for note in seen["receipt"]["warnings"])

    def test_an_encoding_that_was_said(self, owner: Any) -> None:
        data = base64.b64encode("név\nŐri\n".encode("cp1250")).decode()
        made = make(owner, csv_data=None, csv_base64=data, config={"dialect": {"encoding": "cp1250"}})
        assert owner.post(f"{API}/{made['id']}/preview").json()["rows"] == [{"név": "Őri"}]

    def test_utf16(self, owner: Any) -> None:
        data = base64.b64encode("név,x\nŐri,1\n".encode("utf-16")).decode()
        made = make(owner, csv_data=None, csv_base64=data)
        assert owner.post(f"{API}/{made['id']}/preview").json()["rows"] == [{"név": "Őri", "x": "1"}]

    def test_stray_bytes_in_utf8_are_repaired_and_told(self, owner: Any) -> None:
        data = ("name,n\n" + "Zoë,1\n" * 50).encode() + b"Jos\xe9,2\n"
        made = make(owner, csv_data=None, csv_base64=base64.b64encode(data).decode())
        seen = owner.post(f"{API}/{made['id']}/preview", {"limit": 100}).json()
        assert seen["rows"][-1] == {"name": "José", "n": "2"}
        assert any("repaired" in note for note in seen["receipt"]["warnings"])

    def test_a_form(self, owner: Any) -> None:
        answer = owner.client.post(
            API,
            files={"file": ("leads.csv", CSV.encode(), "text/csv")},
            data={"config": json.dumps({"default_mapping": MAPPING})},
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["name"] == "leads.csv"
        assert answer.json()["config"]["default_mapping"] == MAPPING
        named = owner.client.post(API, files={"file": ("leads.csv", CSV.encode())}, data={"name": "Mine"})
        assert named.json()["name"] == "Mine"

    def test_the_body_itself(self, owner: Any) -> None:
        answer = owner.client.post(f"{API}?name=Raw", content=CSV.encode(), headers={"Content-Type": "text/csv"})
        assert answer.status_code == 201, answer.text
        assert answer.json()["row_count"] == 3

    def test_the_same_idempotency_key_makes_one(self, owner: Any) -> None:
        sent: dict[str, Any] = {"json": {"name": "x", "csv_data": CSV}, "headers": {"Idempotency-Key": "k1"}}
        first, second = owner.client.post(API, **sent), owner.client.post(API, **sent)
        assert first.json() == second.json()
        assert owner.get(API).json()["meta"]["total"] == 1
        sent["json"]["name"] = "y"
        refused(owner.client.post(API, **sent), 409, "idempotency_conflict")


class TestRefused:
    def test_over_the_cap(self, owner: Any) -> None:
        limit = 5 * 1024**2
        text = "a,b\n" + "1,2\n" * (limit // 4)
        for answer in (
            owner.post(API, {"name": "x", "csv_data": text}),
            owner.post(API, {"name": "x", "csv_base64": base64.b64encode(text.encode()).decode()}),
            owner.client.post(API, files={"file": ("x.csv", text.encode())}),
        ):
            body = refused(answer, 413, "too_large")
            assert body["limit"] == limit
            assert body["size"] == len(text)

    def test_the_cap_itself_is_allowed(self, owner: Any) -> None:
        text = "a,b\n" + "1,2\n" * (5 * 1024**2 // 4 - 1)
        assert make(owner, csv_data=text)["size_bytes"] == 5 * 1024**2

    @pytest.mark.parametrize(
        "data", [b"", b"  \n \n", b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 20, b"PK\x03\x04" + bytes(100), b"\x1f\x8b"]
    )
    def test_unreadable(self, owner: Any, data: bytes) -> None:
        answer = owner.post(API, {"name": "x", "csv_base64": base64.b64encode(data).decode()})
        refused(answer, 422, "unreadable_file")

    def test_nul(self, owner: Any) -> None:
        body = refused(owner.post(API, {"name": "x", "csv_data": "a,b\n1,2\n1,\x002\n"}), 422, "invalid", "csv_data")
        assert body["errors"][0]["line"] == 3

    def test_mapping_of_columns_that_do_not_exist(self, owner: Any) -> None:
        config = {"default_mapping": {"fields": {"to": "email", "zip": "postcode"}}}
        field = "config.default_mapping.fields.zip"
        body = refused(owner.post(API, {"name": "x", "csv_data": CSV, "config": config}), 422, "invalid", field)
        assert len(body["errors"]) == 1
        assert "email, name, age" in body["errors"][0]["message"]

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "  "}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"name": "a\0"}, "name"),
            ({"name": None}, "name"),
            ({"kind": "mysql"}, "kind"),
            ({"csv_data": None}, "csv_data"),
            ({"csv_base64": "YQ=="}, "csv_base64"),
            ({"csv_data": None, "csv_base64": "%%"}, "csv_base64"),
            ({"color": "red"}, "color"),
            ({"config": {"color": "red"}}, "config.color"),
            ({"config": {"query": "SELECT 1"}}, "config.query"),
            ({"config": {"default_mapping": {"fields": {"a": 1}}}}, "config.default_mapping.fields.a"),
            ({"config": {"dialect": {"encoding": "klingon"}}, "csv_data": None, "csv_base64": "YQpi"},
             "config.dialect.encoding"),
        ],
    )  # fmt: skip
    def test_bad_input(self, owner: Any, values: dict[str, Any], field: str) -> None:
        refused(owner.post(API, {"name": "x", "kind": "csv", "csv_data": CSV, **values}), 422, "invalid", field)

    def test_bodies_that_are_none(self, owner: Any) -> None:
        for content, kind, status, code in (
            (b"{", "application/json", 400, "malformed"),
            (b"[]", "application/json", 422, "invalid"),
            (b"x", "image/png", 415, "unsupported_type"),
            (b"x", "multipart/form-data; boundary=q", 400, "malformed"),
        ):
            answer = owner.client.post(API, content=content, headers={"Content-Type": kind})
            refused(answer, status, code)
        refused(owner.client.post(API, files={"other": ("x.csv", b"a")}), 422, "invalid", "file")

    def test_ids_and_pages(self, owner: Any) -> None:
        refused(owner.get(f"{API}/0"), 400, "malformed")
        refused(owner.get(f"{API}/x"), 400, "malformed")
        refused(owner.get(f"{API}/{2**62}"), 404, "not_found")
        refused(owner.get(f"{API}?per_page=201"), 422, "invalid")
        made = make(owner)
        for limit in (0, -1, 1001, "many"):
            refused(owner.post(f"{API}/{made['id']}/preview", {"limit": limit}), 422, "invalid", "limit")
        refused(owner.get(f"{API}/{made['id']}?include=secrets"), 422, "invalid")


class TestPreview:
    def test_the_first_rows(self, owner: Any) -> None:
        made = make(owner)
        seen = owner.post(f"{API}/{made['id']}/preview", {"limit": 2}).json()
        assert seen["rows"] == [
            {"email": "ana@example.com", "name": "Ana", "age": "30"},
            {"email": "bo@example.com", "name": "Bo", "age": "41"},
        ]
        assert seen["truncated"]
        assert seen["row_count"] == 3
        assert seen["columns"] == made["columns"]
        assert seen["dialect"]["delimiter"] == ","
        assert seen["snapshot_id"] is None
        assert not owner.post(f"{API}/{made['id']}/preview", {"limit": 3}).json()["truncated"]

    def test_what_is_no_row_is_shown(self, owner: Any) -> None:
        made = make(owner, csv_data="a,b\n" + "1,2\n" * 30 + "1,2,3,4\n" + "5,6\n" * 10)
        assert made["reject_count"] == 1
        seen = owner.post(f"{API}/{made['id']}/preview", {"limit": 5}).json()
        assert [(item["line"], item["text"]) for item in seen["rejects"]] == [(32, "1,2,3,4")]
        receipt = seen["receipt"]
        assert (
            receipt["lines"]
            == receipt["header"] + receipt["preamble"] + receipt["rows"] + receipt["rejects"] + (receipt["blank"])
        )

    def test_five_megabytes_answer_at_once(self, owner: Any) -> None:
        line = 'Name {0},u{0}@example.com,"Acme, Inc {0}",Köln,some note\n'
        text = "name,email,company,city,notes\n" + "".join(line.format(number) for number in range(100_000))
        text = text.encode()[: 5 * 1024**2 - 10].decode(errors="ignore")
        made = make(owner, csv_data=text)
        started = time.monotonic()
        seen = owner.post(f"{API}/{made['id']}/preview", {"limit": 20})
        elapsed = time.monotonic() - started
        assert len(seen.json()["rows"]) == 20
        assert seen.json()["row_count"] == made["row_count"]
        assert elapsed < 3.0, elapsed  # 0.3 s on a quiet machine

    def test_a_dialect_that_was_said(self, owner: Any) -> None:
        made = make(owner, csv_data="1;2\n3;4\n", config={"dialect": {"header": False, "delimiter": ";"}})
        assert made["row_count"] == 2
        assert [item["name"] for item in made["columns"]] == ["column_1", "column_2"]


class TestChange:
    def test_name_and_mapping(self, owner: Any) -> None:
        made = make(owner)
        path = f"{API}/{made['id']}"
        assert owner.patch(path, {"name": "New"}).json()["name"] == "New"
        changed = owner.patch(path, {"config": {"default_mapping": MAPPING}}).json()
        assert changed["config"]["default_mapping"] == MAPPING
        assert changed["name"] == "New"
        assert changed["row_count"] == 3
        assert changed["updated_at"] > made["updated_at"]
        assert owner.get(path).json() == changed
        assert (
            owner.patch(path, {"config": {"dialect": {"delimiter": ","}}}).json()["config"]["default_mapping"]
            == MAPPING
        )
        emptied = owner.patch(path, {"config": {"default_mapping": None}}).json()
        assert emptied["config"]["default_mapping"] == {"fields": {}}
        assert emptied["config"]["dialect"]["delimiter"] == ","

    def test_order_of_a_mapping_stays(self, owner: Any) -> None:
        fields = {"zz": "age", "a": "email", "bbb": "name"}
        made = make(owner, config={"default_mapping": {"fields": fields}})
        again = owner.get(f"{API}/{made['id']}").json()
        assert list(again["config"]["default_mapping"]["fields"]) == list(fields)

    def test_a_mapping_that_does_not_fit_is_refused(self, owner: Any) -> None:
        made = make(owner, config={"default_mapping": MAPPING})
        path, field = f"{API}/{made['id']}", "config.default_mapping.fields.x"
        refused(owner.patch(path, {"config": {"default_mapping": {"fields": {"x": "y"}}}}), 422, "invalid", field)
        refused(owner.patch(path, {"csv_data": "other\n1\n"}), 422, "invalid", "config.default_mapping.fields.to")
        assert owner.get(path).json() == made

    def test_other_text(self, owner: Any) -> None:
        made = make(owner)
        changed = owner.patch(f"{API}/{made['id']}", {"csv_data": "x\n1\n2\n"}).json()
        assert changed["row_count"] == 2
        assert changed["size_bytes"] == 6
        assert owner.post(f"{API}/{made['id']}/preview").json()["rows"] == [{"x": "1"}, {"x": "2"}]

    def test_another_dialect_reads_the_text_anew(self, owner: Any) -> None:
        made = make(owner, csv_data="a;b\n1;2\n3;4\n")
        changed = owner.patch(f"{API}/{made['id']}", {"config": {"dialect": {"header": False}}}).json()
        assert changed["row_count"] == 3
        refused(
            owner.patch(f"{API}/{made['id']}", {"config": {"dialect": {"encoding": "cp1252"}}}),
            422,
            "invalid",
            "config.dialect.encoding",
        )

    def test_the_kind_stays(self, owner: Any) -> None:
        made = make(owner)
        refused(owner.patch(f"{API}/{made['id']}", {"kind": "postgres"}), 422, "invalid", "kind")

    def test_an_empty_change_changes_nothing(self, owner: Any) -> None:
        made = make(owner)
        answer = owner.patch(f"{API}/{made['id']}", {}).json()
        assert {**answer, "updated_at": None} == {**made, "updated_at": None}


class TestList:
    def test_newest_first_in_pages(self, owner: Any) -> None:
        ids = [make(owner, name=f"s{number}")["id"] for number in range(5)]
        page = owner.get(f"{API}?per_page=2&page=2").json()
        assert [item["id"] for item in page["data"]] == [ids[2], ids[1]]
        assert page["meta"] == {"page": 2, "per_page": 2, "total": 5, "total_pages": 3}
        assert all(item["csv_data"] is None for item in page["data"])
        assert owner.get(f"{API}?page=9").json()["data"] == []


class TestDelete:
    def test_gone_with_its_snapshots(self, owner: Any) -> None:
        made = make(owner)
        owner.post(f"{API}/{made['id']}/preview", {"snapshot": True})
        assert owner.delete(f"{API}/{made['id']}").status_code == 204
        refused(owner.get(f"{API}/{made['id']}"), 404, "not_found")
        refused(owner.delete(f"{API}/{made['id']}"), 404, "not_found")

    @pytest.mark.parametrize("status", ["queued", "running", "paused", "completed", "failed", "cancelled"])
    def test_refused_while_a_batch_is_open(self, owner: Any, database: Database, status: str) -> None:
        made = make(owner)
        agent = owner.post(
            "/api/v1/agents", {"name": "a", "runtime": "python", "config": {"entry_point": "sample_agents:echo"}}
        ).json()
        with database.tx(owner.organization_id) as tx:
            tx.run(
                "INSERT INTO batch (id, organization_id, agent_id, agent, agent_version, status, reason, origin) VALUES"
                " (gen_random_uuid(), %s, %s, '{}', 1, %s, %s, json_build_object('data_source_id', %s::bigint))",
                (owner.organization_id, agent["id"], status, "user" if status == "paused" else None, made["id"]),
            )
        answer = owner.delete(f"{API}/{made['id']}")
        if status in {"queued", "running", "paused"}:
            refused(answer, 409, "conflict")
        else:
            assert answer.status_code == 204
        assert owner.delete(f"{API}/{make(owner)['id']}").status_code == 204


ROUTES = [
    ("GET", "", None),
    ("PATCH", "", {"name": "x"}),
    ("POST", "/preview", {"limit": 1}),
    ("POST", "/preview", {"snapshot": True}),
    ("POST", "/test", None),
    ("DELETE", "", None),
]


class TestCallers:
    @pytest.mark.parametrize(("method", "path", "body"), ROUTES)
    def test_a_stranger_finds_nothing(self, owner: Any, stranger: Any, method: str, path: str, body: Any) -> None:
        made = make(owner)
        refused(stranger.client.request(method, f"{API}/{made['id']}{path}", json=body), 404, "not_found")
        assert owner.get(f"{API}/{made['id']}").json() == made
        assert stranger.get(API).json()["data"] == []

    @pytest.mark.parametrize(("method", "path", "body"), ROUTES)
    def test_nobody(self, owner: Any, anyone: httpx.Client, method: str, path: str, body: Any) -> None:
        made = make(owner)
        refused(anyone.request(method, f"{API}/{made['id']}{path}", json=body), 401, "unauthenticated")
        refused(anyone.get(API), 401, "unauthenticated")
        refused(anyone.post(API, json={"name": "x", "csv_data": CSV}), 401, "unauthenticated")
        refused(anyone.get("/api/v1/data_source_env_keys"), 401, "unauthenticated")

    def test_a_teammate_with_a_usage_key_reads(self, owner: Any, teammate: Any) -> None:
        made = make(owner)
        assert teammate.get(f"{API}/{made['id']}").json() == made
        assert teammate.get(API).json()["data"] == [made]
        assert teammate.post(f"{API}/{made['id']}/preview").status_code == 200
        assert teammate.post(f"{API}/{made['id']}/preview", {"snapshot": True}).status_code == 200
        refused(teammate.post(API, {"name": "x", "csv_data": CSV}), 403, "forbidden")
        refused(teammate.patch(f"{API}/{made['id']}", {"name": "x"}), 403, "forbidden")
        refused(teammate.delete(f"{API}/{made['id']}"), 403, "forbidden")
        refused(teammate.post(f"{API}/{made['id']}/test"), 403, "forbidden")
        refused(teammate.get("/api/v1/data_source_env_keys"), 403, "forbidden")

    def test_a_key_of_one_agent_reads(self, owner: Any, make_caller: Any) -> None:
        made = make(owner)
        agent = owner.post(
            "/api/v1/agents", {"name": "a", "runtime": "python", "config": {"entry_point": "sample_agents:echo"}}
        ).json()
        limited = make_caller(owner.organization_id, scope="admin", agent_id=agent["id"])
        assert limited.post(f"{API}/{made['id']}/preview").status_code == 200
        refused(limited.post(API, {"name": "x", "csv_data": CSV}), 403, "forbidden")
        refused(limited.patch(f"{API}/{made['id']}", {"name": "x"}), 403, "forbidden")
        refused(limited.delete(f"{API}/{made['id']}"), 403, "forbidden")
        refused(limited.get("/api/v1/data_source_env_keys"), 403, "forbidden")


def test_testing_a_csv(owner: Any) -> None:
    made = make(owner)
    answer = owner.post(f"{API}/{made['id']}/test").json()
    assert answer["ok"]
    assert answer["rungs"][0]["detail"] == "3 rows of 3 columns."


def test_a_batch_runs_what_was_previewed(owner: Any) -> None:
    made = make(owner, config={"default_mapping": MAPPING})
    agent = owner.post(
        "/api/v1/agents", {"name": "a", "runtime": "python", "config": {"entry_point": "sample_agents:echo"}}
    ).json()
    path = f"/api/v1/agents/{agent['id']}/batch_executions"
    taken = owner.post(f"{API}/{made['id']}/preview", {"snapshot": True}).json()["snapshot_id"]
    owner.patch(f"{API}/{made['id']}", {"csv_data": "email,name\nlater@example.com,Later\n"})
    for snapshot_id, count in ((taken, 3), (None, 1)):
        answer = owner.post(path, {"data_source_id": made["id"], "snapshot_id": snapshot_id})
        assert answer.status_code == 202, answer.text
        assert answer.json()["mapping"] == MAPPING["fields"]
        assert answer.json()["rows_in"] == count
    refused(owner.post(path, {"data_source_id": made["id"], "snapshot_id": str(uuid4())}), 404, "not_found")
    refused(owner.delete(f"{API}/{made['id']}"), 409, "conflict")
