"""Go's types on Python's values: names of types, lengths in bytes, order of keys.

`str` is string, `int` int, `float` float64, `bool` bool, `complex` complex128, `list` []interface {}, `dict`
map[string]interface {}, `None` nil. Three classes stand for what Python has no value for.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from gristmill.gotemplate.literals import to_bytes


class Uint8(int):
    """A byte of a string, which `index` answers."""


class StringMap(dict[str, str]):
    """Go's map[string]string: a row of text cells, when it is used as a whole."""


class Part(list[Any]):
    """A part of a list that `slice` cut: what is behind it in the list's memory can still be reached."""

    def __init__(self, backing: list[Any], start: int, end: int, limit: int) -> None:
        """`backing[start:end]`, which may be cut anew up to `backing[limit]`."""
        super().__init__(backing[start:end])
        self.room = backing[start:limit]


_CAPACITIES = (
    0, 1, 2, 4, 8, 16, 32, 71, 143, 303, 591, 1023, 1535, 2560, 3584, 5120, 6656, 8704, 11264, 14336, 18432, 23552,
    29696, 37376, 47104, 59392, 74752, 93696, 117760, 147456, 184832, 231424, 289792, 362496, 453632, 567296, 709632,
    887296, 1109504,
)  # fmt: skip
"""Capacities that a Go list passes through as values are appended to it one by one."""


def room(value: Any) -> list[Any]:
    """A list with the room behind it that `slice` may reach into: Go's lists have capacity to spare."""
    if isinstance(value, Part):
        return value.room
    at = bisect_left(_CAPACITIES, len(value))
    spare = _CAPACITIES[at] - len(value) if at < len(_CAPACITIES) else 0
    return [*value, *[None] * spare] if spare else list(value)


class _Missing(tuple[()]):
    """The class of `MISSING`; empty, so that it is false."""

    __slots__ = ()


MISSING: Any = _Missing()
"""What a field access answers for a missing key where that differs from a null: Go's invalid value."""


class _Boxed:
    """The class of `BOXED`."""

    __slots__ = ()


BOXED = _Boxed()
"""Stands for a value whose static type is interface {}, where Go refuses it for that."""

_NAMES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "int",
    float: "float64",
    complex: "complex128",
    Uint8: "uint8",
    list: "[]interface {}",
    tuple: "[]interface {}",
    Part: "[]interface {}",
    dict: "map[string]interface {}",
    StringMap: "map[string]string",
    type(None): "<nil>",
    type(MISSING): "<nil>",
    _Boxed: "interface {}",
}


def as_decoded(value: Any) -> Any:
    """A JSON value as Go's encoding/json decodes it: every number is a float64."""
    if isinstance(value, dict):
        return {key: as_decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_decoded(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return str(value)
    return value


def type_name(value: Any) -> str:
    """Go's name of the value's type."""
    kind = type(value)
    name = _NAMES.get(kind)
    if name is None:
        name = next((_NAMES[base] for base in (str, bool, int, float, dict, list) if issubclass(kind, base)), None)
    return name or f"{kind.__module__}.{kind.__qualname__}"


def is_int(value: Any) -> bool:
    """Whether it is an int or uint8."""
    return isinstance(value, int) and not isinstance(value, bool)


def byte_length(text: str) -> int:
    """Go's `len` of a string."""
    return len(text) if text.isascii() else len(to_bytes(text))


def sorted_items(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Keys and values in the order of the keys' bytes, which is the order of their code points."""
    try:
        return [(key, value[key]) for key in sorted(value)]
    except TypeError:
        return [(key, value[key]) for key in sorted(value, key=str)]


def boxed(container: Any) -> bool:
    """Whether what is in it has the static type interface {}, as all but the cells of a `StringMap` have."""
    return isinstance(container, (list, tuple, dict)) and not isinstance(container, StringMap)
