"""What every path shares, whoever's it is: methods, ids, queries and bodies that are not as they should be."""

from __future__ import annotations

import base64

import httpx
import pytest

from conftest import Caller, make_agent
from gristmill.base.db import Database


def test_a_wrong_method_names_those_that_are_right(owner: Caller) -> None:
    answer = owner.client.put("/api/v1/agents/1")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, PATCH, DELETE, HEAD, OPTIONS"
    assert answer.json()["code"] == "method_not_allowed"
    assert owner.client.delete("/api/agents/1/datasets").headers["allow"] == "GET, POST, HEAD, OPTIONS"


def test_options_says_what_a_path_has(anyone: httpx.Client) -> None:
    answer = anyone.options("/api/v1/data_source_runs")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "POST, OPTIONS", b"")
    assert anyone.options("/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/agents", "/openapi.json", "/nowhere"])
def test_head_is_get_without_the_body(owner: Caller, path: str) -> None:
    get, head = owner.get(path), owner.client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == get.headers["content-length"]
    assert owner.get(path).content == get.content or get.status_code >= 400, "the connection still works"


def test_head_of_a_stream_ends(owner: Caller, database: Database) -> None:
    agent = make_agent(database, owner.organization_id)
    batch = owner.post(f"/api/v1/agents/{agent.id}/batch_executions", {"items": [{"n": 1}]}).json()["id"]
    head = owner.client.head(f"/api/v1/batch_executions/{batch}/events", timeout=10)
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")
    assert owner.client.head(f"/api/v1/batch_executions/{batch}/export.csv").status_code == 200


def test_head_without_a_key_is_401(anyone: httpx.Client) -> None:
    assert anyone.head("/api/v1/agents").status_code == 401


@pytest.mark.parametrize("wrong", ["1.0", "+1", "1_0", "1e3", "%201", "%EF%BC%91", "0x1", "--1"])
def test_an_id_is_digits(owner: Caller, wrong: str) -> None:
    answer = owner.get(f"/api/v1/agents/{wrong}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert owner.get(f"/api/v1/agents?page={wrong}").status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/agents?page=&per_page=",
        "/api/v1/batch_executions?status=&cursor=&limit=",
        "/api/v1/events?cursor=",
        "/api/v1/pending?cursor=",
        "/api/v1/data_sources?&page=1&per_page=",
    ],
)
def test_a_parameter_without_a_value_is_not_set(owner: Caller, path: str) -> None:
    answer = owner.get(path)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"data", "meta"}


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"7"])
def test_a_body_that_is_no_object_is_told_in_plain_words(owner: Caller, body: bytes) -> None:
    for path in ["/api/v1/agents", "/api/v1/data_sources", "/api/v1/webhooks"]:
        answer = owner.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["detail"] in {"The body must be a JSON object", "The body is missing; send a JSON object"}


def test_a_body_of_another_type_is_415(owner: Caller) -> None:
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml"]:
        answer = owner.client.post("/api/v1/agents", content=b'{"name": "x"}', headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")
        assert kind in answer.json()["detail"]
    assert owner.client.post("/api/v1/agents", content=b'{"name": "x"}').status_code == 415
    answer = owner.client.post("/api/v1/agents", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "The body is missing; send a JSON object")


def test_files_in_json_may_be_wrapped_or_data_urls(owner: Caller, database: Database) -> None:
    agent = make_agent(database, owner.organization_id)
    data = b"company,city\n" + b"Acme,Basel\n" * 20
    wrapped = base64.encodebytes(data).decode()
    for content in (wrapped, "data:text/csv;base64," + wrapped):
        for path, body in (
            ("/api/v1/data_sources", {"name": "S", "csv_base64": content}),
            ("/api/v1/tables/inspect", {"file_base64": content}),
            ("/api/v1/mappings/propose", {"file_base64": content}),
            (f"/api/v1/agents/{agent.id}/inventories", {"name": "N", "file_base64": content}),
            ("/api/v1/batch/enrich/upload", {"file_base64": content}),
        ):
            answer = owner.post(path, body)
            assert answer.status_code in {200, 201}, answer.text
