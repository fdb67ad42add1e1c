"""Promises that hold for the whole API, checked over its document: whoever adds a route or a field keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gristmill.base import jsons


@pytest.fixture
def document(anyone: httpx.Client) -> dict[str, Any]:
    return anyone.get("/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return document["components"]["schemas"][name] if name else schema


def json_schema(document: dict[str, Any], holder: dict[str, Any]) -> dict[str, Any]:
    return resolved(document, holder.get("content", {}).get("application/json", {}).get("schema", {}))


def test_every_list_has_data_and_meta(document: dict[str, Any]) -> None:
    lists = 0
    for method, path, operation in operations(document):
        shape = json_schema(document, operation["responses"].get("200", {}))
        if method != "get" or not operation["summary"].startswith("List "):
            continue
        lists += 1
        assert {"data", "meta"} <= set(shape.get("properties", {})), path
    assert lists > 20


def test_money_is_a_decimal_string_beside_whole_micro_dollars(document: dict[str, Any]) -> None:
    answers = [
        schema
        for name, schema in document["components"]["schemas"].items()
        if "properties" in schema
        and schema.get("additionalProperties") is not False  # bodies forbid what is unknown
        and name not in {"HTTPValidationError", "ValidationError"}
    ]
    pairs = 0
    for schema in answers:
        names = schema["properties"].keys()
        for name in names:
            whole = name if "_micro_usd" in name else name.replace("_usd", "_micro_usd")
            if whole == name and "_micro_usd" not in name:
                continue
            pairs += 1
            both = {whole, whole.replace("_micro_usd", "_usd")}
            assert both <= names, f"{schema['title']}.{name}"
    assert pairs > 50


def test_every_json_body_has_an_example(document: dict[str, Any]) -> None:
    bodies = 0
    for method, path, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        schema = body.get("schema", {})
        parts = [resolved(document, part) for part in schema.get("anyOf", [schema])]
        if not any("properties" in part for part in parts):
            continue  # a file that is JSON
        bodies += 1
        assert any("example" in jsons.dumps(part).decode() for part in parts), f"{method} {path}"
    assert bodies > 30


def test_what_creates_may_be_repeated(document: dict[str, Any]) -> None:
    """Every POST that answers 201 or 202 takes an Idempotency-Key, or says otherwise what makes a repetition one."""
    by_other_means = {
        "/hooks/{hook_id}",  # the message's own id
        "/api/v1/webhooks/{webhook_id}/deliveries/{event_id}/replay",  # the event's id
    }
    made = 0
    for method, path, operation in operations(document):
        if method != "post" or not {"201", "202"} & operation["responses"].keys():
            continue
        made += 1
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert path in by_other_means or "Idempotency-Key" in names, path
    assert made > 20


def test_who_may_call_is_said_of_every_route(document: dict[str, Any]) -> None:
    security = {(method, path): operation.get("security") for method, path, operation in operations(document)}
    job = "/api/v1/batch/enrich/{batch_id}"
    assert security["post", "/api/v1/batch/enrich/upload"] == [{"key": []}, {}]
    assert security["get", job] == security["patch", f"{job}/mapping"] == [{"key": []}, {"upload_token": []}]
    assert security["get", f"{job}/download.csv"] == [{"key": []}]
    schemes = document["components"]["securitySchemes"]
    assert {name for found in security.values() for way in found or [] for name in way} == set(schemes)
