"""The functions that Go defines, as a compiled template calls them: with the site first, for error messages.

Each answers a value or raises a `Failure` with Go's wording. The generated program handles the common types itself
and comes here for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn
from urllib.parse import quote_plus

from gristmill.gotemplate.characters import is_printable, is_surrogate
from gristmill.gotemplate.literals import from_bytes, to_bytes
from gristmill.gotemplate.model import LONG_CHARS, Failure, Meter
from gristmill.gotemplate.printf import sprint, sprintf, sprintln
from gristmill.gotemplate.runtime import counted, tick, told
from gristmill.gotemplate.values import (
    MISSING,
    Part,
    StringMap,
    Uint8,
    byte_length,
    is_int,
    room,
    type_name,
)
from gristmill.gotemplate.verbs import NO_VALUE, TooMuch

STEP_CHARS = 8
"""So many characters of a long format are one step."""


def _refuse(site: int, name: str, reason: str) -> NoReturn:
    raise Failure(site, f"error calling {name}: {reason}")


# Comparisons

_BASIC = {str: "string", bool: "bool", int: "int", float: "float", complex: "complex", Uint8: "uint"}
_BAD_TYPE = "invalid type for comparison"


def _basic(value: Any) -> str:
    kind = _BASIC.get(type(value))
    if kind is None:
        kind = next((name for base, name in _BASIC.items() if isinstance(value, base)), "")
    return kind


def eq(site: int, first: Any, *rest: Any, name: str = "eq") -> bool:
    """Whether the first operand equals one of the others."""
    if not rest:
        _refuse(site, name, "missing argument for comparison")
    kind = _basic(first)
    return any(_equal(site, name, first, kind, other) for other in rest)


def _equal(site: int, name: str, first: Any, kind: str, other: Any) -> bool:
    other_kind = _basic(other)
    if kind == other_kind:
        return first == other if kind else _equal_compound(site, name, first, other)
    if {kind, other_kind} == {"int", "uint"}:
        return int(first) == int(other)
    if first is not None and other is not None:
        _refuse(site, name, f"incompatible types for comparison: {type_name(first)} and {type_name(other)}")
    return False


def _equal_compound(site: int, name: str, first: Any, other: Any) -> bool:
    """Equality of maps, lists and nil: only with nil they may be compared."""
    if first is None or other is None:
        return first is other
    if isinstance(first, dict) != isinstance(other, dict):
        types = type_name(first), type_name(other)
        _refuse(site, name, f"non-comparable types {told(first, 's')}: {types[0]}, {types[1]}: {told(other)}")
    _refuse(site, name, f"non-comparable type {told(other, 's')}: {type_name(other)}")


def ne(site: int, first: Any, second: Any) -> bool:
    """Not `eq`."""
    return not eq(site, first, second, name="ne")


def _less(site: int, name: str, first: Any, second: Any) -> bool:
    kind = _basic(first)
    if not kind:
        _refuse(site, name, _BAD_TYPE)
    other_kind = _basic(second)
    if not other_kind:
        _refuse(site, name, _BAD_TYPE)
    if kind != other_kind and {kind, other_kind} != {"int", "uint"}:
        _refuse(site, name, f"incompatible types for comparison: {type_name(first)} and {type_name(second)}")
    if kind in {"bool", "complex"}:
        _refuse(site, name, _BAD_TYPE)
    if kind == "string" and not (first.isascii() or second.isascii()):
        return to_bytes(first) < to_bytes(second)
    return first < second


def lt(site: int, first: Any, second: Any) -> bool:
    """Less than."""
    return _less(site, "lt", first, second)


def le(site: int, first: Any, second: Any, name: str = "le") -> bool:
    """Less than or equal."""
    return _less(site, name, first, second) or first == second


def gt(site: int, first: Any, second: Any) -> bool:
    """Greater than: not `le`, also for NaN."""
    return not le(site, first, second, "gt")


def ge(site: int, first: Any, second: Any) -> bool:
    """Greater than or equal: not `lt`, also for NaN."""
    return not _less(site, "ge", first, second)


# Parts


def length(site: int, value: Any, is_boxed: bool) -> int:
    """`len`: bytes of a string, elements of a list or map."""
    if isinstance(value, str):
        return byte_length(value)
    if isinstance(value, (list, dict)) or (isinstance(value, tuple) and value is not MISSING):
        return len(value)
    if value is None and is_boxed:
        _refuse(site, "len", "len of nil pointer")
    if value is None or value is MISSING:
        _refuse(site, "len", "reflect: call of reflect.Value.Type on zero Value")
    _refuse(site, "len", f"len of type {type_name(value)}")


def _position(site: int, name: str, index: Any, size: int) -> int:
    if index is None or index is MISSING:
        _refuse(site, name, "cannot index slice/array with nil")
    if not is_int(index):
        _refuse(site, name, f"cannot index slice/array with type {type_name(index)}")
    if not 0 <= index <= size:
        _refuse(site, name, f"index out of range: {int(index)}")
    return int(index)


def index(site: int, item: Any, *indexes: Any) -> Any:
    """`index`: an element of a list or map, a byte of a string."""
    if item is None:
        _refuse(site, "index", "index of untyped nil")
    for key in indexes:
        if item is None:
            _refuse(site, "index", "index of nil pointer")
        if isinstance(item, dict):
            if not isinstance(key, str):
                what = "value is nil" if key is None else f"value has type {type_name(key)}"
                _refuse(site, "index", f"{what}; should be {'of type ' if key is None else ''}string")
            item = item.get(key, "" if isinstance(item, StringMap) else None)
        elif isinstance(item, str):
            data = to_bytes(item)
            at = _position(site, "index", key, len(data))
            if at == len(data):
                _refuse(site, "index", "reflect: string index out of range")
            item = Uint8(data[at])
        elif isinstance(item, (list, tuple)):
            at = _position(site, "index", key, len(item))
            if at == len(item):
                _refuse(site, "index", "reflect: slice index out of range")
            item = item[at]
        else:
            _refuse(site, "index", f"can't index item of type {type_name(item)}")
    return item


def slice_(site: int, item: Any, *indexes: Any) -> Any:
    """`slice`: a part of a string, in bytes, or of a list."""
    if item is None:
        _refuse(site, "slice", "slice of untyped nil")
    if len(indexes) > 3:  # noqa: PLR2004 - from, to, capacity
        _refuse(site, "slice", f"too many slice indexes: {len(indexes)}")
    if isinstance(item, str):
        if len(indexes) == 3:  # noqa: PLR2004 - with a capacity
            _refuse(site, "slice", "cannot 3-index slice a string")
        data: Any = item if item.isascii() else to_bytes(item)
    elif isinstance(item, (list, tuple)):
        data = room(item)
    else:
        _refuse(site, "slice", f"can't slice item of type {type_name(item)}")
    at = [_position(site, "slice", index, len(data)) for index in indexes]
    start, end, limit = [*at, *[0, len(item) if isinstance(item, (list, tuple)) else len(data), len(data)][len(at) :]]
    if start > end:
        _refuse(site, "slice", f"invalid slice index: {start} > {end}")
    if end > limit:
        _refuse(site, "slice", f"invalid slice index: {end} > {limit}")
    if isinstance(data, list):
        return Part(data, start, end, limit)
    return from_bytes(data[start:end]) if isinstance(data, bytes) else data[start:end]


def call(site: int, name: str, function: Any, *_: Any) -> NoReturn:
    """`call`: there are no functions in rows, so this always fails."""
    if function is None:
        _refuse(site, "call", "call of nil")
    _refuse(site, "call", f"non-function {name} of type {type_name(function)}")


def reflected(value: Any) -> str:
    """What Go's `reflect.Value.String` says of a value; it names the piped operand of `call`."""
    if isinstance(value, str):
        return value
    return "<invalid Value>" if value is None else f"<{type_name(value)} Value>"


# Texts


def _text_function(name: str, make: Callable[[Sequence[Any]], str]) -> Callable[..., str]:
    def function(site: int, meter: Meter, *operands: Any) -> str:
        try:
            return counted(site, meter, whole(make(operands)))
        except TooMuch as error:
            _refuse(site, name, str(error))

    return function


def whole(text: str) -> str:
    """With bytes that belong together put together, when pieces of characters met."""
    if text.isascii() or not _ESCAPED.search(text):
        return text
    return from_bytes(to_bytes(text))


_ESCAPED = re.compile("[\udc80-\udcff]")


def _operand_text(operands: Sequence[Any]) -> str:
    """Operands of an escaping function as one text."""
    if len(operands) == 1 and isinstance(operands[0], str):
        return operands[0]
    return sprint([NO_VALUE if value is None else value for value in operands])


_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_HTML_SPECIAL = re.compile("[\0\"'&<>]")
_JS_SPECIAL = re.compile("[\0-\x1f\\\\'\"<>&=]|[^\0-\x7f]")
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"'}


def html_text(text: str) -> str:
    """Escaped for HTML."""
    return text.translate(_HTML) if _HTML_SPECIAL.search(text) else text


def js_text(text: str) -> str:
    """Escaped for a JavaScript string."""
    return _JS_SPECIAL.sub(_js_char, text)


def _js_char(found: re.Match[str]) -> str:
    char = found[0]
    if char in _JS:
        return _JS[char]
    if not char.isascii() and (is_printable(char) or is_surrogate(char)):
        return char
    return f"\\u{ord(char):04X}"


def urlquery_text(text: str) -> str:
    """Escaped for the query of a URL."""
    return quote_plus(to_bytes(text), safe="")


html = _text_function("html", lambda operands: html_text(_operand_text(operands)))
js = _text_function("js", lambda operands: js_text(_operand_text(operands)))
urlquery = _text_function("urlquery", lambda operands: urlquery_text(_operand_text(operands)))
print_ = _text_function("print", sprint)
println = _text_function("println", sprintln)
_printf = _text_function("printf", lambda operands: sprintf(operands[0], operands[1:]))


def printf(site: int, meter: Meter, form: str, *operands: Any) -> str:
    """`printf`; a long format takes steps, whatever it writes."""
    if len(form) > LONG_CHARS:
        meter.steps += len(form) // STEP_CHARS
        if meter.steps > meter.check:
            tick(site, meter)
    return _printf(site, meter, form, *operands)


ARITY: dict[str, tuple[int, int | None]] = {
    "and": (1, None), "or": (1, None), "not": (1, 1), "len": (1, 1), "index": (1, None), "slice": (1, None),
    "eq": (1, None), "ne": (2, 2), "lt": (2, 2), "le": (2, 2), "gt": (2, 2), "ge": (2, 2),
    "print": (0, None), "printf": (1, None), "println": (0, None),
    "html": (0, None), "js": (0, None), "urlquery": (0, None), "call": (1, None),
}  # fmt: skip
"""Fewest and most operands of each of Go's functions."""
