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
