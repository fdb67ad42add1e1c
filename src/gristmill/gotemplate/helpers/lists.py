"""Helpers on lists and maps. They make new ones and change none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from gristmill.gotemplate.characters import is_surrogate
from gristmill.gotemplate.floats import shortest
from gristmill.gotemplate.made import VALUES_MAX, fits, made_dict, made_list, values_in
from gristmill.gotemplate.values import sorted_items
from gristmill.gotemplate.verbs import show_operand

_EXACT_MAX, _EXACT_MIN = 1e21, 1e-6
"""Between these Go writes a number of JSON without an exponent."""


def join(separator: str, items: Any) -> str:
    """The values of a list as one text; a single value as it is."""
    texts = [show_operand(item) for item in items] if isinstance(items, (list, tuple)) else [show_operand(items)]
    fits(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def split_list(separator: str, text: str) -> list[str]:
    """The parts of a text, as a list; without a separator its characters."""
    return made_list(text.split(separator) if separator else text)


def new_list(*values: Any) -> list[Any]:
    """A list of these values."""
    return made_list(values)


def new_dict(*pairs: Any) -> dict[str, Any]:
    """A map of keys and values, given one after the other."""
    keys = [show_operand(key) for key in pairs[::2]]
    values = [*pairs[1::2], ""] if len(pairs) % 2 else pairs[1::2]
    return made_dict(zip(keys, values, strict=True))


def _items(value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple)):
        return value
    raise ValueError("not a list" if value is not None else "nil is no list")


def first(items: Any) -> Any:
    """The first value of a list; nil of an empty one."""
    found = _items(items)
    return found[0] if found else None


def last(items: Any) -> Any:
    """The last value of a list; nil of an empty one."""
    found = _items(items)
    return found[-1] if found else None


def rest(items: Any) -> list[Any]:
    """A list without its first value."""
    return made_list(_items(items)[1:])


def initial(items: Any) -> list[Any]:
    """A list without its last value."""
    return made_list(_items(items)[:-1])


def reverse(items: Any) -> list[Any]:
    """A list from its end."""
    return made_list(_items(items)[::-1])


def uniq(items: Any) -> list[Any]:
    """A list with each value once, where it stood first."""
    seen: dict[str, Any] = {}
    for item in _items(items):
        seen.setdefault(json.dumps(item, sort_keys=True, default=str), item)
    return made_list(seen.values())


def compact(items: Any) -> list[Any]:
    """A list without its empty values."""
    return made_list(item for item in _items(items) if item)


def sort_alpha(items: Any) -> list[str]:
    """The values of a list as texts, sorted."""
    return made_list(sorted(show_operand(item) for item in _items(items)))


def has(value: Any, items: Any) -> bool:
    """Whether a list has this value."""
    return any(type(item) is type(value) and item == value for item in _items(items))


def _map(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError("not a map" if value is not None else "nil is no map")


def get(items: Any, key: str) -> Any:
    """A value of a map by its key; "" when there is none."""
    return _map(items).get(key, "")


def has_key(items: Any, key: str) -> bool:
    """Whether a map has this key."""
    return key in _map(items)


def keys(items: Any) -> list[str]:
    """The keys of a map, sorted."""
    return made_list(key for key, _ in sorted_items(_map(items)))


def values(items: Any) -> list[Any]:
    """The values of a map, in the order of its keys."""
    return made_list(value for _, value in sorted_items(_map(items)))


def to_json(value: Any) -> str:
    """As JSON, keys sorted, fit to stand in HTML, as Go writes it."""
    return _json(value, "")


def to_pretty_json(value: Any) -> str:
    """The same on several lines, indented."""
    return _json(value, "  ")


def _json(value: Any, indent: str) -> str:
    if values_in(value) > VALUES_MAX:
        raise ValueError(f"more than {VALUES_MAX} values")
    return _encoded(value, indent, "\n")


def _encoded(value: Any, indent: str, line: str) -> str:
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case int():
            text = str(int(value))
        case float():
            text = _json_number(value)
        case dict():
            colon = ": " if indent else ":"
            inner = line + indent
            parts = [f"{_json_text(key)}{colon}{_encoded(item, indent, inner)}" for key, item in sorted_items(value)]
            text = _enclosed("{", parts, "}", indent, line)
        case list() | tuple():
            text = _enclosed("[", [_encoded(item, indent, line + indent) for item in value], "]", indent, line)
        case _:
            text = _json_text(show_operand(value))
    fits(len(text))
    return text


def _enclosed(start: str, parts: list[str], end: str, indent: str, line: str) -> str:
    if not parts or not indent:
        return start + ",".join(parts) + end
    inner = line + indent
    return start + inner + f",{inner}".join(parts) + line + end


_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def _json_text(text: Any) -> str:
    written = json.dumps(str(text), ensure_ascii=False)
    return _UNSAFE.sub(lambda found: "\\ufffd" if is_surrogate(found[0]) else f"\\u{ord(found[0]):04x}", written)


def _json_number(value: float) -> str:
    """A float64; without an exponent where it is neither huge nor tiny, as Go writes it."""
    if not math.isfinite(value):
        raise ValueError("JSON has no such number")
    size = abs(value)
    if value and not _EXACT_MIN <= size < _EXACT_MAX:
        mantissa, _, exponent = shortest(value).partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0') if exponent[0] == '-' else exponent[1:]}"
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def from_json(text: str) -> Any:
    """The value of a JSON text."""
    try:
        found = json.loads(text, parse_constant=_refuse, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if isinstance(found, list):
        return made_list(found)
    return made_dict(found.items()) if isinstance(found, dict) else found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


LISTS: dict[str, Callable[..., Any]] = {
    "compact": compact, "dict": new_dict, "first": first, "fromJson": from_json, "get": get, "has": has,
    "hasKey": has_key, "initial": initial, "join": join, "keys": keys, "last": last, "list": new_list, "rest": rest,
    "reverse": reverse, "sortAlpha": sort_alpha, "splitList": split_list, "toJson": to_json,
    "toPrettyJson": to_pretty_json, "uniq": uniq, "values": values,
}  # fmt: skip
