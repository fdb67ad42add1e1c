"""Requests out of templates, and values out of answers: `{company}` goes in, `data.people.0.name` comes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import quote

from gristmill.base.errors import FieldError, Invalid
from gristmill.enrich.model import HUNT_FIELDS, Lead

_HOLE = re.compile(r"\{([^{}]*)\}")
PATH_PARTS_MAX = 20


def check_template(value: Any, field: str) -> None:
    """Raises `Invalid` for a hole that no lead field fills."""
    for text in _texts(value):
        for name in _HOLE.findall(text):
            if name not in HUNT_FIELDS:
                known = ", ".join(HUNT_FIELDS)
                message = f"`{{{name[:40]}}}` is no field of a lead; there are: {known}"
                raise Invalid(f"`{field}`: {message}.", errors=(FieldError(field, message),))


def fills_a_hole(value: Any, lead: Lead) -> bool:
    """Whether a lead has anything to put in; always true of a template without holes."""
    names = [name for text in _texts(value) for name in _HOLE.findall(text)]
    return not names or any(getattr(lead, name) for name in names)


def fill(value: Any, lead: Lead) -> Any:
    """A template with a lead's fields in its holes. Entries whose holes were all empty are left out."""
    if isinstance(value, str):
        return _fill(value, lead, str)
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        filled = {name: fill(item, lead) for name, item in table.items()}
        return {name: item for name, item in filled.items() if not _is_void(item, table[name])}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [item for raw in items if not _is_void(item := fill(raw, lead), raw)]
    return value


def fill_url(template: str, lead: Lead) -> str:
    """A URL template, its values escaped so that they stay inside their place."""
    return _fill(template, lead, _escaped)


def _escaped(text: str) -> str:
    return quote(text, safe="") if text.strip(".") else ""  # `..` would lead to another place of the same host


def _fill(template: str, lead: Lead, form: Callable[[str], str]) -> str:
    return _HOLE.sub(lambda hole: form(str(getattr(lead, hole[1]))), template)


def _is_void(filled: Any, raw: Any) -> bool:
    """Whether nothing is left of an entry that had holes."""
    return filled in ("", {}, []) and any(_HOLE.search(text) for text in _texts(raw))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in cast("Mapping[str, Any]", value).values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in cast("list[Any]", value) for text in _texts(item)]
    return []


def at(value: Any, path: str) -> Any:
    """What is at a dotted path: keys of objects, numbers for places in arrays; None where there is nothing.

    An empty path is the value itself.
    """
    for part in path.split(".", PATH_PARTS_MAX) if path else ():
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(part)
        elif isinstance(value, list) and part.isascii() and part.isdecimal():
            items = cast("list[Any]", value)
            value = items[int(part)] if int(part) < len(items) else None
        else:
            return None
    return value


def each(value: Any, path: str) -> list[Any]:
    """The array at a path; a single value is an array of one, nothing an empty one."""
    found = at(value, path)
    if found is None:
        return []
    return cast("list[Any]", found) if isinstance(found, list) else [found]


def text_at(value: Any, path: str) -> str:
    """The text at a path; numbers as they are written, arrays and objects as nothing."""
    found = at(value, path)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return ""
    return " ".join(str(found).split())
