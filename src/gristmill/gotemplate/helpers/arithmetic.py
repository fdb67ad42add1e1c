"""Helpers on numbers. Operands may be texts that are numbers, as cells of a CSV are.

Whole numbers give whole numbers; as soon as one operand has a fraction, the answer is a float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from typing import Any

from gristmill.gotemplate.literals import INT_MAX, INT_MIN, parse_float

_DIGITS_MAX = 400
"""Characters of a text that may be a number."""
_PLACES_MAX = 300


def number(value: Any) -> int | float:
    """A number, or a text that is one."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= _DIGITS_MAX:
            digits = text.removeprefix("-").removeprefix("+")
            if digits.isascii() and digits.isdigit():
                return _whole(int(text))
            found = parse_float(text)
            if found is not None and "_" not in text:
                return found
        raise ValueError(f"{value[:40]!r} is no number")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    raise ValueError("nil is no number" if value is None else "not a number")


def _whole(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("out of the range of whole numbers")
    return value


def _checked(value: float) -> int | float:
    if isinstance(value, int):
        return _whole(value)
    if not math.isfinite(value):
        raise ValueError("out of the range of numbers")
    return value


def to_int(value: Any) -> int:
    """As a whole number; a fraction is cut off."""
    return _whole(int(_checked(number(value))))


def to_float(value: Any) -> float:
    """As a float64."""
    return float(number(value))


def add(*values: Any) -> int | float:
    """The sum."""
    return _checked(sum(map(number, values)))


def add1(value: Any) -> int | float:
    """One more."""
    return _checked(number(value) + 1)


def sub(first: Any, second: Any) -> int | float:
    """The first less the second."""
    return _checked(number(first) - number(second))


def mul(*values: Any) -> int | float:
    """The product."""
    return reduce(lambda product, value: _checked(product * number(value)), values, 1)


def div(first: Any, second: Any) -> int | float:
    """The first by the second; of whole numbers the whole part."""
    dividend, divisor = number(first), number(second)
    if not divisor:
        raise ValueError("division by zero")
    if isinstance(dividend, int) and isinstance(divisor, int):
        whole = abs(dividend) // abs(divisor)
        return _whole(whole if (dividend < 0) == (divisor < 0) else -whole)
    return _checked(dividend / divisor)


def mod(first: Any, second: Any) -> int:
    """What is left of a division of whole numbers."""
    dividend, divisor = to_int(first), to_int(second)
    if not divisor:
        raise ValueError("division by zero")
    left = abs(dividend) % abs(divisor)
    return left if dividend >= 0 else -left


def largest(*values: Any) -> int | float:
    """The largest."""
    return max(map(number, values))


def smallest(*values: Any) -> int | float:
    """The smallest."""
    return min(map(number, values))


def rounded(value: Any, places: int) -> float:
    """Rounded to so many decimal places, halves away from zero."""
    found = float(_checked(number(value)))
    if abs(places) > _PLACES_MAX:
        raise ValueError(f"more than {_PLACES_MAX} places")
    exact = Decimal(repr(found))
    if int(exact.as_tuple().exponent) >= -places:
        return found
    return float(exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))


def ceil(value: Any) -> float:
    """The next whole number upwards, as a float64."""
    return float(math.ceil(_checked(number(value))))


def floor(value: Any) -> float:
    """The next whole number downwards, as a float64."""
    return float(math.floor(_checked(number(value))))


NUMBERS: dict[str, Callable[..., Any]] = {
    "add": add, "add1": add1, "ceil": ceil, "div": div, "float64": to_float, "floor": floor, "int": to_int,
    "max": largest, "min": smallest, "mod": mod, "mul": mul, "round": rounded, "sub": sub,
}  # fmt: skip
