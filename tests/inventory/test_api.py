"""Files of an agent over HTTP: uploaded in every way, listed, downloaded, run, deleted."""

from __future__ import annotations

import base64
import gzip
import hashlib
import uuid

import pytest

from conftest import Caller, MakeCaller, make_agent, wait_for
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.objects import ObjectStore

CSV = b"email;name\n" + b"".join(b"u%d@example.com;Ana\n" % n for n in range(20)) + b"too;many;cells;here;x\n"
PACKED = gzip.compress(CSV, mtime=0)


@pytest.fixture
def path(database: Database, owner: Caller) -> str:
    return f"/api/v1/agents/{make_agent(database, owner.organization_id).id}/inventories"


def test_a_file_is_taken_in_every_way(owner: Caller, path: str) -> None:
    form = owner.client.post(path, files={"file": ("a/b/daily.csv", CSV, "text/csv")})
    raw = owner.client.post(f"{path}?name=daily.csv", content=CSV, headers={"Content-Type": "text/csv"})
    coded = owner.post(path, {"name": "daily.csv", "file_base64": base64.b64encode(CSV).decode()})
    packed = owner.client.post(f"{path}?name=daily.csv", content=PACKED, headers={"Content-Type": "application/gzip"})
    for answer in (form, raw, coded, packed):
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["name"] == "daily.csv"
        assert (made["format"], made["row_count"], made["reject_count"]) == ("CSV", 20, 1)
        assert [column["name"] for column in made["columns"]] == ["email", "name"]
        receipt = made["receipt"]
        assert receipt["lines"] == sum(receipt[name] for name in ("header", "preamble", "rows", "rejects", "blank"))
        rejects = owner.get(f"{path}/{made['id']}/rejects").text
        assert "too;many;cells;here;x" in rejects
        assert '"line":22' in rejects
    assert raw.json()["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert owner.get(f"{path}/{raw.json()['id']}/content").content == CSV
    assert owner.get(f"{path}/{packed.json()['id']}/content").content == PACKED
    listed = owner.get(path).json()["data"]
    assert [item["id"] for item in listed] == [item.json()["id"] for item in (packed, coded, raw, form)]
    first = owner.get(f"{path}?limit=3").json()
    rest = owner.get(f"{path}?limit=3&cursor={first['meta']['next_cursor']}").json()
    assert [item["id"] for item in first["data"] + rest["data"]] == [item["id"] for item in listed]


def test_a_large_file_streams(owner: Caller, path: str) -> None:
    line = b"someone@example.com,Some One\n"
    body = b"email,name\n" + line * 1_500_000  # 43 MB, more than a JSON body may have
    answer = owner.client.post(path, content=body, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["row_count"] == 1_500_000


def test_rows_of_a_file_are_run(owner: Caller, path: str, worker: object) -> None:
    made = owner.client.post(path, content=CSV, headers={"Content-Type": "text/csv"}).json()
    for name in ("inventory_id", "upload_id"):
        answer = owner.post(path.replace("inventories", "batch_executions"), {name: made["id"]})
        assert answer.status_code == 202, answer.text
        batch = answer.json()
        assert batch["origin"] == {"kind": "inventory", "inventory_id": made["id"], "name": made["name"]}
        assert batch["columns"] == ["email", "name"]
        where = f"/api/v1/batch_executions/{batch['id']}"
        wait_for(lambda where=where: owner.get(where).json()["status"] == "completed", "completion")  # type: ignore[misc]
        assert owner.get(where).json()["succeeded"] == 20
    quote = owner.post(path.replace("inventories", "batch_executions/quote"), {"inventory_id": made["id"]})
    assert quote.status_code == 200, quote.text
    both = owner.post(path.replace("inventories", "batch_executions"), {"inventory_id": made["id"], "items": []})
    assert both.status_code == 422
    missing = owner.post(path.replace("inventories", "batch_executions"), {"inventory_id": str(uuid.uuid4())})
    assert missing.status_code == 404


def test_an_upload_is_safe_to_repeat(owner: Caller, path: str) -> None:
    def send(body: bytes) -> tuple[int, str]:
        headers = {"Content-Type": "text/csv", "Idempotency-Key": "k1"}
        answer = owner.client.post(path, content=body, headers=headers)
        return answer.status_code, answer.json().get("id", answer.json().get("code"))

    first = send(CSV)
    assert first[0] == 201
    assert send(CSV) == first
    assert send(CSV + b"x;y\n") == (409, "idempotency_conflict")
    assert len(owner.get(path).json()["data"]) == 1


def test_a_deleted_file_is_gone_with_its_bytes(owner: Caller, teammate: Caller, path: str, database: Database) -> None:
    made = teammate.client.post(path, content=CSV, headers={"Content-Type": "text/csv"}).json()
    with database.tx(owner.organization_id) as tx:
        key = tx.one("SELECT object_key FROM inventory WHERE id = %s", (made["id"],))["object_key"]
    objects = ObjectStore.of(settings())
    assert objects.exists(key)
    assert teammate.delete(f"{path}/{made['id']}").status_code == 403
    assert owner.delete(f"{path}/{made['id']}").status_code == 204
    assert not objects.exists(key)
    assert owner.get(f"{path}/{made['id']}").status_code == 404
    assert owner.delete(f"{path}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "text/csv", 422),
        (b"\x00\x01\x02" * 50, "application/octet-stream", 422),
        (CSV, "image/png", 415),
        (CSV, "", 415),
        (b"{", "application/json", 400),
        (b'{"file_base64": "%%%"}', "application/json", 400),
        (b'{"file_base64": "YQ==", "format": "DOCX"}', "application/json", 422),
        (b'{"name": "x"}', "application/json", 422),
        (b'{"file_base64": "", "extra": 1}', "application/json", 422),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"no form", "multipart/form-data", 400),
    ],
)
def test_what_is_no_file_is_refused(owner: Caller, path: str, body: bytes, kind: str, status: int) -> None:
    answer = owner.client.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert owner.get(path).json()["data"] == []


def test_a_file_must_be_what_it_is_said_to_be(owner: Caller, path: str) -> None:
    send = {"content": CSV, "headers": {"Content-Type": "text/csv"}}
    assert owner.client.post(f"{path}?format=CSV", **send).status_code == 201  # type: ignore[arg-type]
    answer = owner.client.post(f"{path}?format=JSON", **send)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The file is CSV; JSON was expected."


def test_files_belong_to_their_agent(
    database: Database, owner: Caller, path: str, make_caller: MakeCaller, stranger: Caller
) -> None:
    made = owner.client.post(path, content=CSV, headers={"Content-Type": "text/csv"}).json()
    other = make_agent(database, owner.organization_id).id
    elsewhere = f"/api/v1/agents/{other}/inventories"
    assert owner.get(f"{elsewhere}/{made['id']}").status_code == 404
    limited = make_caller(owner.organization_id, agent_id=other)
    assert limited.get(f"{path}/{made['id']}").status_code == 403
    answer = limited.post(f"/api/v1/agents/{other}/batch_executions", {"inventory_id": made["id"]})
    assert answer.status_code == 404
    assert stranger.get(f"{path}/{made['id']}").status_code == 404
    assert stranger.get(path).status_code == 404
    assert owner.get("/api/v1/agents/999999999/inventories").status_code == 404


def test_an_agent_with_files_stays(owner: Caller, path: str) -> None:
    made = owner.client.post(path, content=CSV, headers={"Content-Type": "text/csv"}).json()
    agent = path.removesuffix("/inventories")
    answer = owner.delete(agent)
    assert answer.status_code == 409
    assert "has files" in answer.json()["detail"]
    owner.delete(f"{path}/{made['id']}")
    assert owner.delete(agent).status_code == 204
