"""PostgreSQL values -> JSON values, exactly: what has no JSON type stays the server's own text.

Integers stay integers. `float4` and `float8` become numbers (NaN and infinity text). `numeric` becomes
text, digit for digit: money must not pass through a binary fraction. Times are ISO 8601 text with UTC
offsets, intervals ISO 8601 durations, `bytea` hex digits, `json` what it holds, arrays lists.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from psycopg import Connection
from psycopg.abc import Buffer, Loader
from psycopg.adapt import Loader as BaseLoader
from psycopg.types import TypeInfo
from psycopg.types.array import register_array

_STAMP = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)([-+]\d\d)?$")


class _Text(BaseLoader):
    """The server's text."""

    def load(self, data: Buffer) -> Any:
        return bytes(data).decode()


class _Int(BaseLoader):
    def load(self, data: Buffer) -> Any:
        return int(bytes(data))


class _Float(BaseLoader):
    def load(self, data: Buffer) -> Any:
        value = float(bytes(data))
        return value if math.isfinite(value) else bytes(data).decode()


class _Bool(BaseLoader):
    def load(self, data: Buffer) -> Any:
        return bytes(data) == b"t"


class _Hex(BaseLoader):
    def load(self, data: Buffer) -> Any:
        return bytes(data).decode().removeprefix("\\x")


class _Stamp(BaseLoader):
    """`2026-01-05 07:00:00+00` -> `2026-01-05T07:00:00+00:00`; infinity and years BC stay as they are."""

    def load(self, data: Buffer) -> Any:
        text = bytes(data).decode()
        if (found := _STAMP.match(text)) is None:
            return text
        day, time, offset = found.groups()
        return f"{day}T{time}" + (f"{offset}:00" if offset else "")


class _Json(BaseLoader):
    """What the JSON holds; a number too big for a float, or a value too deep to read, stays text."""

    def load(self, data: Buffer) -> Any:
        text = bytes(data).decode()
        try:
            return json.loads(text, parse_float=_finite, parse_constant=str)
        except (ValueError, RecursionError):
            return text


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


LOADERS: dict[str, type[Loader]] = {
    "bool": _Bool,
    "bytea": _Hex,
    "float4": _Float,
    "float8": _Float,
    "int2": _Int,
    "int4": _Int,
    "int8": _Int,
    "json": _Json,
    "jsonb": _Json,
    "oid": _Int,
    "timestamp": _Stamp,
    "timestamptz": _Stamp,
}
"""By PostgreSQL's name of the type; every other type is text."""


def register(connection: Connection[Any], arrays: Iterable[tuple[str, int, int]]) -> None:
    """Make the connection answer in JSON values; `arrays` are (name, element oid, array oid) of users' types."""
    for known in list(connection.adapters.types):
        connection.adapters.register_loader(known.oid, LOADERS.get(known.name, _Text))
    connection.adapters.register_loader(0, _Text)
    for name, element, array in arrays:
        register_array(TypeInfo(name, element, array), connection)
