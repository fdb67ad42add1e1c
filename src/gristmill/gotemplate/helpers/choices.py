"""Helpers that choose a value, or refuse a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gristmill.gotemplate.values import type_name


def default(fallback: Any, *given: Any) -> Any:
    """The given value, or the fallback when it is empty: nil, false, 0, "", an empty list or map."""
    return given[0] if given and given[0] else fallback


def coalesce(*values: Any) -> Any:
    """The first value that is not empty."""
    return next((value for value in values if value), None)


def empty(value: Any) -> bool:
    """Whether the value is empty."""
    return not value


def ternary(yes: Any, no: Any, condition: bool) -> Any:
    """The first value if the condition is true, else the second."""
    return yes if condition else no


def every(*values: Any) -> bool:
    """Whether no value is empty."""
    return all(values)


def some(*values: Any) -> bool:
    """Whether at least one value is not empty."""
    return any(values)


def fail(message: str) -> Any:
    """Refuse the row, with a message."""
    raise ValueError(message)


def kind_of(value: Any) -> str:
    """The kind of the value: string, int, float64, bool, map, slice, invalid."""
    name = type_name(value)
    return "slice" if name.startswith("[") else name.split("[", 1)[0] if name != "<nil>" else "invalid"


def type_of(value: Any) -> str:
    """The Go type of the value, as `%T` prints it."""
    return type_name(value)


CHOICES: dict[str, Callable[..., Any]] = {
    "all": every, "any": some, "coalesce": coalesce, "default": default, "empty": empty, "fail": fail,
    "kindOf": kind_of, "ternary": ternary, "typeOf": type_of,
}  # fmt: skip
