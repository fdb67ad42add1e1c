"""Values that must not be shown: whoever reveals one tells it here, and logs and errors leave it out.

A value is looked for as it is and as it usually travels: in JSON, in a URL, in hexadecimal, reversed, and in Base64,
where it may start at any of three positions of its surroundings. The memory is this process's and forgets the values
that were told longest ago.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

HIDDEN = "[secret]"
CHARS_MIN = 4
"""Shorter values can't be told from other text."""
CODED_CHARS_MIN = 6
"""The same for values in Base64 or hexadecimal."""
CODED_CHARS_MAX = 4096
"""Longer values, such as files with keys, are looked for line by line."""
LINE_CHARS_MIN = 12
"""Shorter lines of a value, such as `}`, are no secret."""
VALUES_MAX = 4096
"""Values remembered."""
CUT_CHARS_MIN = 8
"""Of a value that was cut off, as few characters as these are left out."""
CUT_CHARS_MAX = 1024
"""So far from its end a text is looked at for a value that was cut off."""

_lock = threading.Lock()
_values: OrderedDict[str, tuple[str, ...]] = OrderedDict()
_by_head: dict[str, tuple[str, ...]] = {}
"""First characters -> every form that starts so, longest first. Entries are replaced, never changed."""


def conceal(values: Iterable[str]) -> None:
    """From now on leave these out of logs and errors."""
    with _lock:
        for value in values:
            if value in _values:
                _values.move_to_end(value)
                continue
            _values[value] = forms_of(value)
            for form in _values[value]:
                _index(form, add=True)
        while len(_values) > VALUES_MAX:
            for form in _values.popitem(last=False)[1]:
                _index(form, add=False)


def _index(form: str, *, add: bool) -> None:
    head = form[:CHARS_MIN]
    others = [other for other in _by_head.get(head, ()) if other != form]
    kept = sorted([*others, form] if add else others, key=len, reverse=True)
    if kept:
        _by_head[head] = tuple(kept)
    else:
        _by_head.pop(head, None)


def redact(text: str) -> str:
    """The text without any value that was told to `conceal`; its time grows with the text, not with the values."""
    if not _by_head:
        return text
    parts: list[str] = []
    start = place = 0
    last = len(text) - CHARS_MIN
    find = _by_head.get
    while place <= last:
        forms = find(text[place : place + CHARS_MIN])
        found = next((form for form in forms if text.startswith(form, place)), None) if forms else None
        if found is None:
            place += 1
            continue
        parts += (text[start:place], HIDDEN)
        start = place = place + len(found)
    return "".join((*parts, text[start:])) if parts else text


def redact_cut(text: str) -> str:
    """The same for a text that was cut off somewhere, so that its end may be the beginning of a value."""
    shown = redact(text)
    for place in range(max(0, len(shown) - CUT_CHARS_MAX), len(shown) - CUT_CHARS_MIN + 1):
        forms = _by_head.get(shown[place : place + CHARS_MIN])
        if forms and any(form.startswith(shown[place:]) for form in forms):
            return shown[:place] + HIDDEN
    return shown


@lru_cache(maxsize=256)
def forms_of(value: str) -> tuple[str, ...]:
    """How a value may look in a text, longest first; none when it is too short to be told from other text."""
    lines = [line.strip() for line in value.splitlines()]
    pieces = [value, *(line for line in lines if len(line) >= LINE_CHARS_MIN)] if len(lines) > 1 else [value]
    found: dict[str, None] = {}
    for piece in pieces:
        found |= dict.fromkeys(_forms(piece))
    return tuple(sorted((form for form in found if len(form) >= CHARS_MIN), key=len, reverse=True))


def _forms(value: str) -> list[str]:
    if len(value) < CHARS_MIN:
        return []
    forms = [
        value,
        *(json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)),
        repr(value)[1:-1],
    ]
    if not CODED_CHARS_MIN <= len(value) <= CODED_CHARS_MAX:
        return forms
    raw = value.encode("utf-8", "surrogatepass")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms += [*quoted, *(_lower_escapes(text) for text in quoted), raw.hex(), raw.hex().upper(), value[::-1]]
    for shift in range(3):
        coded = _base64_inside(raw, shift)
        forms += [coded, coded.translate(_URL_SAFE)]
    return forms


_URL_SAFE = str.maketrans("+/", "-_")


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_inside(raw: bytes, shift: int) -> str:
    """The characters of Base64 that this value alone decides, `shift` bytes after a multiple of three."""
    coded = base64.b64encode(bytes(shift) + raw).decode()
    return coded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
