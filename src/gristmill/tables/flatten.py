"""Nested JSON values as flat columns: `{"a": [{"b": 1}]}` is the column `a.0.b`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, cast

DEPTH_MAX = 64
"""Values nested deeper stay together in one cell as JSON."""
COLUMNS_MAX = 16_384
"""Columns one object may have; what is beyond stays together as JSON in the last one reached."""

INDEX_DIGITS_MAX = 9
"""A key of more digits is an id, not an index."""


_NESTED = (dict, list)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def flatten(value: Any) -> dict[str, Any]:
    """Dotted path -> scalar for everything inside a JSON object or array.

    A scalar by itself becomes the column `value`. An empty object or array is kept as it is, so that no
    key is lost. Keys that contain a dot are not escaped; when two paths collide, the later one gets `_2`.
    """
    if isinstance(value, dict) and value and not any(isinstance(item, _NESTED) for item in value.values()):
        return {str(name): item for name, item in value.items()}
    columns: dict[str, Any] = {}
    if isinstance(value, (dict, list)) and value:
        _flatten_into(columns, "", cast("dict[str, Any] | list[Any]", value), 1)
    else:
        columns["value"] = value
    return columns


def _flatten_into(columns: dict[str, Any], prefix: str, value: dict[str, Any] | list[Any], depth: int) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        path = f"{prefix}{key}"
        if item and isinstance(item, _NESTED) and depth < DEPTH_MAX and len(columns) < COLUMNS_MAX:
            _flatten_into(columns, f"{path}.", cast("dict[str, Any] | list[Any]", item), depth + 1)
        elif path in columns:
            count = 2
            while f"{path}_{count}" in columns:
                count += 1
            columns[f"{path}_{count}"] = item
        else:
            columns[path] = item


def cell(value: Any) -> str:
    """How a JSON value is written in a text cell.

    None is empty, booleans are `true` and `false`, integers exact, floats their shortest form that reads
    back equal; an object or array is JSON.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _exact(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else json.dumps(value)
    # Most of the objects and arrays that come here are empty, and `repr` writes those as JSON does.
    return _encode(value) if value or type(value) not in _NESTED else repr(value)


def _exact(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python turns to decimal at once
        return hex(value)


def order_columns(names: Iterable[str]) -> list[str]:
    """Dotted names in natural order, each once.

    Names stay grouped by their first-seen key on every level, and numeric keys (array indexes) of a level
    are in numeric order, so a late row with a second element puts `phones.1` behind `phones.0`.
    """
    root: dict[str | None, Any] = {}
    for name in dict.fromkeys(names):
        node = root
        for key in name.split("."):
            node = node.setdefault(key, {})
        node[None] = name
    return list(_walk(root))


def _walk(root: dict[str | None, Any]) -> Iterable[str]:
    # An explicit stack: a name may have more dots than Python has stack frames.
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
            continue
        level = cast("dict[str | None, Any]", node)
        numeric = iter(sorted(filter(_is_index, level), key=lambda key: int(key or 0)))
        ordered = [next(numeric) if _is_index(key) else key for key in level]
        ordered.sort(key=lambda key: key is not None)  # a value at the path itself comes first
        stack.extend(level[key] for key in reversed(ordered))


def _is_index(key: str | None) -> bool:
    return key is not None and len(key) <= INDEX_DIGITS_MAX and key.isascii() and key.isdecimal()
