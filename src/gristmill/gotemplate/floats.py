"""Floating-point numbers as Go's strconv writes them."""

from __future__ import annotations

import math

_SHORT_MAX, _SHORT_MIN = 1e6, 1e-4
"""Between these `%v` writes no exponent; Python's repr writes the same shortest digits there."""


def shortest(value: float) -> str:
    """`%v` and `%g`: the fewest digits that read back as the same number."""
    size = abs(value)
    if _SHORT_MIN <= size < _SHORT_MAX:
        text = repr(value)
        return text.removesuffix(".0")
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    if not math.isfinite(value):
        return special(value)
    mantissa, _, exponent = repr(value).partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + (fraction if fraction != "0" else "")
    point = int(exponent or 0) + len(whole)
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    stripped = stripped.rstrip("0")
    tail = f".{stripped[1:]}" if len(stripped) > 1 else ""
    return f"{sign}{stripped[0]}{tail}e{point - 1:+03d}"


def special(value: float) -> str:
    """Infinities and NaN."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def write(value: float, verb: str, precision: int) -> str:
    """Go's `strconv.FormatFloat` for the verbs e E f g G b x X; a precision of -1 is the shortest."""
    if not math.isfinite(value):
        return special(value)
    if verb in "xX":
        return _hexadecimal(value, verb, precision)
    if verb == "b":
        return _binary(value)
    if precision < 0:
        return shortest(value) if verb == "g" else shortest(value).upper()
    return f"%.{precision}{verb}" % value


def _parts(value: float) -> tuple[str, int, int]:
    """(sign, mantissa of 53 bits, exponent of its lowest bit)."""
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return sign, 0, -1074
    fraction, exponent = math.frexp(abs(value))
    exponent -= 53
    mantissa = int(fraction * (1 << 53))
    if exponent < -1074:  # noqa: PLR2004 - of a subnormal number
        mantissa >>= -1074 - exponent
        exponent = -1074
    return sign, mantissa, exponent


def _binary(value: float) -> str:
    sign, mantissa, exponent = _parts(value)
    return f"{sign}{mantissa}p{exponent:+d}"


def _hexadecimal(value: float, verb: str, precision: int) -> str:
    sign, mantissa, exponent = _parts(value)
    if mantissa:
        shift = 61 - mantissa.bit_length()
        mantissa <<= shift
        exponent += 60 - shift
    else:
        exponent = 0
    if 0 <= precision < 15:  # noqa: PLR2004 - hexadecimal digits of 60 bits
        shift = precision * 4
        extra = (mantissa << shift) & ((1 << 60) - 1)
        mantissa >>= 60 - shift
        if extra | (mantissa & 1) > 1 << 59:
            mantissa += 1
        mantissa <<= 60 - shift
        if mantissa & (1 << 61):
            mantissa >>= 1
            exponent += 1
    digits = f"{mantissa & ((1 << 60) - 1):015x}"
    digits = digits.rstrip("0") if precision < 0 else digits[:precision].ljust(precision, "0")
    tail = f".{digits}" if digits else ""
    text = f"{sign}0x{mantissa >> 60}{tail}p{exponent:+03d}"
    return text.upper() if verb == "X" else text
