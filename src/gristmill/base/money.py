"""Money is integer micro-dollars inside and a decimal string of six places outside."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from gristmill.base.errors import FieldError, Invalid

MICRO = 1_000_000
USD_MAX = 1_000_000_000
"""Most dollars that any single amount may be; keeps every sum inside a 64-bit integer."""
_PLACES = 6


def usd(micro_usd: int) -> str:
    """`1500000` -> `"1.500000"`."""
    sign, amount = ("-", -micro_usd) if micro_usd < 0 else ("", micro_usd)
    return f"{sign}{amount // MICRO}.{amount % MICRO:06d}"


def parse_usd(value: str | float | Decimal, field: str) -> int:
    """Micro-dollars of an amount in dollars.

    Raises `Invalid` naming `field` for what is no amount, is negative, is over a thousand million, or has more
    than six decimal places: rounding money silently is not an option.
    """
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise _bad(field, "must be an amount in dollars, such as 1.50") from None
    if not amount.is_finite() or amount < 0 or amount > USD_MAX:
        raise _bad(field, f"must be between 0 and {USD_MAX} dollars")
    micro = amount.scaleb(_PLACES)
    if micro != micro.to_integral_value():
        raise _bad(field, "has more than six decimal places")
    return int(micro)


def _bad(field: str, message: str) -> Invalid:
    return Invalid(f"`{field}` {message}.", errors=(FieldError(field, message),))
