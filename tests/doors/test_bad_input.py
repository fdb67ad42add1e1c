"""Nonsense on every route: never a 5xx, always the one shape of error."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conftest import Caller, make_agent
from gristmill.base.config import settings as current_settings
from gristmill.base.db import Database
from gristmill.doors.http import create_app, openapi_document

EXAMPLES = 10
"""Of calls for each route."""
NOT_FUZZED = ("/events",)
"""Streams: they answer for as long as a batch lives."""


def check_problem(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        body = response.json()
        assert {"type", "title", "status", "detail", "code", "errors", "request_id"} <= set(body)
        assert body["status"] == response.status_code
        assert body["detail"]
        assert body["request_id"] == response.headers["x-request-id"]


@pytest.fixture(scope="module")
def operations(database: Database) -> list[Any]:
    schema = schemathesis.openapi.from_dict(openapi_document(create_app(database, current_settings())))
    found = [result.ok() for result in schema.get_all_operations()]
    return [item for item in found if item.path.startswith("/api/") and not item.path.endswith(NOT_FUZZED)]


@pytest.mark.timeout(600)  # every route is asked many times
def test_no_body_breaks_the_server(operations: list[Any], owner: Caller, database: Database) -> None:
    make_agent(database, owner.organization_id)
    authorization = {"Authorization": f"Bearer {owner.secret}"}
    session = requests.Session()
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(
            case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        )
        def ask(case: Any) -> None:
            try:  # a real client sends it
                response = case.call(base_url=str(owner.client.base_url), headers=authorization, session=session)
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, UnicodeError):
                return  # the client itself can't send it
            headers = {name: values[0] for name, values in response.headers.items()}
            check_problem(httpx.Response(response.status_code, headers=headers, content=response.content))

        ask()


bodies = st.one_of(
    st.binary(max_size=200),
    st.just(b"{" * 5_000),
    st.just(b'{"items": [' + b"[" * 2_000),
    st.just(b'{"name": "\\u0000", "runtime": "http", "config": {}}'),
    st.just(b'{"name": "\xff"}'),
    st.just(b'{"items": [{"a": 1e999}]}'),
    st.just(b'{"items": [{"a": "\\ud800"}]}'),
    st.just(b'{"items": [{"a": NaN}]}'),
    st.just(b'{"items": [{"a\\u0000": 123456789012345678901234567890}]}'),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=bodies,
    kind=st.sampled_from(["application/json", "application/x-ndjson", "text/plain", "", "multipart/form-data"]),
)
def test_raw_bytes_break_nothing(owner: Caller, database: Database, body: bytes, kind: str) -> None:
    paths = ["/api/v1/agents", "/api/v1/data_sources", "/api/v1/agents/1/batch_executions", "/api/v1/billing/topups"]
    for path in paths:
        check_problem(owner.client.post(path, content=body, headers={"Content-Type": kind}))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/agents/0", 400),
        ("/api/v1/agents/99999999999999999999", 400),
        ("/api/v1/agents/abc", 400),
        ("/api/v1/agents/77777777", 404),
        ("/api/v1/batch_executions/not-a-uuid", 400),
        ("/api/v1/batch_executions/01900000-0000-7000-8000-000000000000", 404),
        ("/api/v1/batch_executions?cursor=AAAA", 400),
        ("/api/v1/batch_executions?limit=0", 422),
        ("/api/v1/batch_executions?status=lost", 422),
        ("/nowhere", 404),
    ],
)
def test_ids_and_pages(owner: Caller, path: str, status: int) -> None:
    response = owner.get(path)
    check_problem(response)
    assert response.status_code == status


def test_a_body_over_the_limit_is_413_with_the_limit(owner: Caller) -> None:
    limit = current_settings().json_body_bytes_max
    response = owner.client.post(
        "/api/v1/agents", content=b" " * (limit + 1), headers={"Content-Type": "application/json"}
    )
    check_problem(response)
    assert response.status_code == 413
    assert response.json()["limit"] == limit


def test_a_wrong_method_is_405_in_the_one_shape(owner: Caller) -> None:
    response = owner.client.put("/api/v1/agents")
    check_problem(response)
    assert response.status_code == 405
