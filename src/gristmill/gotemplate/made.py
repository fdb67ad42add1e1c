"""What helpers may make: texts, lists and maps of a bounded size, told before they are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gristmill.gotemplate.model import TEXT_CHARS_MAX

VALUES_MAX = 100_000
"""Values in a list or map that a helper makes, those in it counted."""


def fits(characters: int) -> None:
    """Refuse to make a text of so many characters when that is too many."""
    if characters > TEXT_CHARS_MAX:
        raise ValueError(f"a text longer than {TEXT_CHARS_MAX} characters")


class MadeList(list[Any]):
    """A list that a helper made, with the number of values in it."""

    values: int


class MadeDict(dict[str, Any]):
    """A map that a helper made, with the number of values in it."""

    values_in: int


def values_in(value: Any) -> int:
    """How many values there are in a value, itself counted; looks no further than the limit."""
    count = 0
    stack = [value]
    while stack and count <= VALUES_MAX:
        item = stack.pop()
        count += 1
        if isinstance(item, MadeList):
            count += item.values
        elif isinstance(item, MadeDict):
            count += item.values_in
        elif isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            stack += item.values()
    return count


def made_list(items: Iterable[Any]) -> MadeList:
    """A list of these values. Lists in lists could grow without bound, so they are counted."""
    made = MadeList(items)
    made.values = _counted(made)
    return made


def made_dict(items: Iterable[tuple[str, Any]]) -> MadeDict:
    """A map of these values."""
    made = MadeDict(items)
    made.values_in = _counted(made.values())
    return made


def _counted(items: Iterable[Any]) -> int:
    total = 0
    for item in items:
        total += values_in(item)
        if total > VALUES_MAX:
            raise ValueError(f"more than {VALUES_MAX} values")
    return total
