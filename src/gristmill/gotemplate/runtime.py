"""What a compiled template needs beside Go's functions: fields, loops, limits. The site comes first, for messages."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, NoReturn

from gristmill.gotemplate.literals import quote
from gristmill.gotemplate.model import (
    LONG_CHARS,
    MADE_CHARS_MAX,
    OUTPUT_CHARS_MAX,
    SECONDS_MAX,
    STEPS_BETWEEN_CHECKS,
    STEPS_MAX,
    TEXT_CHARS_MAX,
    Failure,
    Meter,
)
from gristmill.gotemplate.values import MISSING, StringMap, Uint8, is_int, sorted_items, type_name
from gristmill.gotemplate.verbs import Spec, TooMuch, format_value, show

COMPOUND_WEIGHT = 2
"""A character of a list or map counts so much: it takes longer to make than others."""


def fail(site: int, reason: str) -> NoReturn:
    """Raise a failure."""
    raise Failure(site, reason)


def told(value: Any, verb: str = "v") -> str:
    """A value in a message."""
    try:
        return format_value(Spec(verb), value)
    except TooMuch:
        return "..."


# Fields


def field(site: int, receiver: Any, name: str, is_boxed: bool, has_args: bool, on_missing: str) -> Any:
    """`receiver.name`; `MISSING` for a missing key. `is_boxed`: the receiver has the static type interface {}."""
    if receiver is MISSING or (receiver is None and not is_boxed):
        if on_missing == "error":
            fail(site, f"nil data; no entry for key {quote(name)}")
        return MISSING
    if receiver is None:
        fail(site, f"nil pointer evaluating interface {{}}.{name}")
    if not isinstance(receiver, dict):
        fail(site, f"can't evaluate field {name} in type {'interface {}' if is_boxed else type_name(receiver)}")
    if has_args:
        fail(site, f"{name} is not a method but has arguments")
    if name in receiver:
        return receiver[name]
    if on_missing == "error":
        fail(site, f"map has no entry for key {quote(name)}")
    if on_missing == "zero":
        return "" if isinstance(receiver, StringMap) else None
    return MISSING


# Loops


def elements(site: int, value: Any) -> Sequence[Any] | range:
    """What one range variable goes through."""
    if isinstance(value, dict):
        return [item for _, item in sorted_items(value)]
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return value
    if is_int(value):
        return [Uint8(item) for item in range(value)] if isinstance(value, Uint8) else range(value)
    return _not_iterable(site, value)


def pairs(site: int, value: Any) -> Sequence[tuple[Any, Any]]:
    """What two range variables go through; never a list, which the program numbers itself."""
    if isinstance(value, dict):
        return tuple(sorted_items(value))
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(enumerate(value))
    if is_int(value):
        fail(site, f"can't use {int(value)} to iterate over more than one variable")
    return _not_iterable(site, value)


def _not_iterable(site: int, value: Any) -> NoReturn:
    fail(site, f"range can't iterate over {told(value)}")


def field_or_none(site: int, receiver: Any, name: str, is_boxed: bool, has_args: bool, on_missing: str) -> Any:
    """The same as `field` where a missing key and a null are alike."""
    value = field(site, receiver, name, is_boxed, has_args, on_missing)
    return None if value is MISSING else value


# Output


def show_at(site: int, meter: Meter, value: Any) -> str:
    """What an action prints of a value. The text of lists and maps counts against the row's limit."""
    try:
        text = show(value)
    except TooMuch as error:
        fail(site, str(error))
    if isinstance(value, (list, dict)) and len(text) > LONG_CHARS:
        tick(site, meter)
        meter.made += COMPOUND_WEIGHT * len(text)
        if meter.made > MADE_CHARS_MAX:
            fail(site, "the lists and maps of this row make too much text")
    return text


def checked_format(site: int, value: Any, is_boxed: bool) -> str:
    """The format of `printf`, which must be a string."""
    if isinstance(value, str):
        return value
    if value is None and is_boxed:
        fail(site, "wrong type for value; expected string; got interface {}")
    if value is None or value is MISSING:
        fail(site, "invalid value; expected string")
    fail(site, f"wrong type for value; expected string; got {type_name(value)}")


# Limits


def counted(site: int, meter: Meter, text: str) -> str:
    """The text; a long one counts against the row's limit."""
    if len(text) > LONG_CHARS:
        tick(site, meter)
        meter.made += len(text)
        if len(text) > TEXT_CHARS_MAX or meter.made > MADE_CHARS_MAX:
            fail(site, "the functions of this row make too much text")
    return text


def tick(site: int, meter: Meter) -> None:
    """Look at the limits; called when many steps have been done since the last look."""
    meter.check = meter.steps + STEPS_BETWEEN_CHECKS
    if meter.steps > STEPS_MAX:
        fail(site, f"more than {STEPS_MAX} steps")
    now = time.thread_time()
    if not meter.until:
        meter.until = now + SECONDS_MAX
    elif now > meter.until:
        fail(site, f"more than {SECONDS_MAX} seconds")


def ticked(site: int, meter: Meter, weight: int, items: Iterable[Any]) -> Generator[Any]:
    """The items of a long loop, each counted as so many steps."""
    tick(site, meter)
    for item in items:
        meter.steps += weight
        if meter.steps > meter.check:
            tick(site, meter)
        yield item


def overflow(site: int, text: str) -> None:
    """Fail if a row's output is too long."""
    if len(text) > OUTPUT_CHARS_MAX:
        fail(site, f"the output is longer than {OUTPUT_CHARS_MAX} characters")


def undefined(site: int, name: str) -> NoReturn:
    """Fail because of a variable that nothing has set."""
    fail(site, f"undefined variable: {name}")
