"""Secrets over HTTP: values go in and never come out."""

from __future__ import annotations

import pytest

from conftest import Caller
from gristmill import vault
from gristmill.base.db import Database

VALUE = "sk-live-canary-4471-abcdef"


def make(owner: Caller, **values: str) -> dict[str, object]:
    answer = owner.post("/api/v1/secrets", {"name": "Scoring", "values": values or {"token": VALUE}})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_the_life_of_a_secret(owner: Caller, database: Database) -> None:
    made = make(owner)
    path = f"/api/v1/secrets/{made['id']}"
    assert made["redacted"] == {"token": "gm_byo_****cdef"}
    shown = [owner.get(path), owner.get("/api/v1/secrets"), owner.patch(path, {"values": made["redacted"]})]
    assert all(answer.status_code == 200 and VALUE not in answer.text for answer in shown)
    assert shown[2].json()["version"] == 1
    assert shown[1].json()["meta"]["total"] == 1
    rotated = owner.post(f"{path}/rotate", {"values": {"token": "sk-live-second-8812"}, "overlap_hours": 1}).json()
    assert rotated["version"] == 2
    assert rotated["overlap_until"]
    with database.tx(owner.organization_id) as tx:
        vault.reveal(tx, owner.organization_id, str(made["id"]), purpose="agent:1")
        vault.refer(tx, owner.organization_id, str(made["id"]), "agent:1")
    assert owner.get(f"{path}/uses").json()["data"][0]["purpose"] == "agent:1"
    refused = owner.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "agent:1" in refused.json()["detail"]
    with database.tx(owner.organization_id) as tx:
        vault.unrefer(tx, owner.organization_id, str(made["id"]), "agent:1")
    assert owner.delete(path).status_code == 204
    assert owner.get(path).status_code == 404


def test_uses_are_paged(owner: Caller, database: Database) -> None:
    made = make(owner)
    with database.tx(owner.organization_id) as tx:
        for number in range(5):
            vault.reveal(tx, owner.organization_id, str(made["id"]), purpose=f"agent:{number}")
    path, seen, cursor = f"/api/v1/secrets/{made['id']}/uses?limit=2", [], ""
    while True:
        page = owner.get(path + cursor).json()
        seen += [use["purpose"] for use in page["data"]]
        if page["meta"]["next_cursor"] is None:
            break
        cursor = f"&cursor={page['meta']['next_cursor']}"
    assert seen == [f"agent:{number}" for number in reversed(range(5))]
    assert owner.get(f"{path}&cursor=IngI").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "values": {}},
        {"name": " ", "values": {"token": VALUE}},
        {"name": "x", "values": {"token": VALUE}, "kind": VALUE},
        {"name": "x", "values": {"token": [VALUE]}},
        {"name": "x", "values": VALUE},
        {"name": {"a": VALUE}, "values": {"token": "x"}},
        {"name": "x", "values": {"token": "gm_byo_****cdef"}},
    ],
)
def test_a_refused_body_is_not_quoted(owner: Caller, body: dict[str, object]) -> None:
    answer = owner.post("/api/v1/secrets", body)
    assert answer.status_code == 422
    assert VALUE not in answer.text


def test_the_same_call_twice_makes_one_secret(owner: Caller) -> None:
    body, key = {"name": "Once", "values": {"token": VALUE}}, {"Idempotency-Key": "secret-once"}
    first, second = (owner.post("/api/v1/secrets", body, headers=key) for _ in range(2))
    assert first.json() == second.json()
    assert owner.get("/api/v1/secrets").json()["meta"]["total"] == 1
