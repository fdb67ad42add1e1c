"""Promises that hold for the whole API, checked over its document: whoever adds a route or a field keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest


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
