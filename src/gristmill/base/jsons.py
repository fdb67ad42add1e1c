"""JSON in and out: fast, and exact for whole numbers of any length.

orjson reads an integer over 64 bits as a float, which would change long ids silently, and refuses to write one; the
standard library does both right and takes over where digits run that long.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, NoReturn

import orjson

_LONG_NUMBER = re.compile(rb"\d{19}")
_OPTIONS = orjson.OPT_NON_STR_KEYS


def loads(data: bytes | str) -> Any:
    """Parse JSON, behind a byte order mark or not. Raises `ValueError` for what is none, NaN and Infinity included."""
    raw = (data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data).removeprefix(codecs.BOM_UTF8)
    if _LONG_NUMBER.search(raw) is None:
        return orjson.loads(raw)
    try:
        return json.loads(raw, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Write JSON compactly. Values that JSON does not know, such as Decimal, become their text; NaN becomes null.

    Raises `TypeError` or `ValueError` for what can't be written, such as text with lone surrogates.
    """
    try:
        return orjson.dumps(value, default=str, option=_OPTIONS)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def dumps_sorted(value: Any) -> bytes:
    """The same with sorted keys: equal objects give equal bytes."""
    try:
        return orjson.dumps(value, default=str, option=_OPTIONS | orjson.OPT_SORT_KEYS)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
