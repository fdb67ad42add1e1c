"""One value under one verb of Go's fmt: `%v`, `%08.3f`, `%#x`, and what a wrong verb prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gristmill.gotemplate import floats
from gristmill.gotemplate.characters import is_printable, is_surrogate
from gristmill.gotemplate.literals import RUNE_MAX, can_backquote, quote, to_bytes
from gristmill.gotemplate.model import TEXT_CHARS_MAX
from gristmill.gotemplate.values import MISSING, Uint8, sorted_items, type_name

NO_VALUE = "<no value>"
NIL = "<nil>"
ADDRESS = 0xC000012000
"""What `%p` prints: there are no addresses here, and a text must not change from run to run."""
_FLOAT_PRECISION = 6
_SHORT_VERBS = "vgGxX"
"""Verbs of floats that have no fixed number of digits."""


class TooMuch(Exception):
    """A text would be longer than `TEXT_CHARS_MAX`."""

    def __init__(self) -> None:
        super().__init__(f"a text longer than {TEXT_CHARS_MAX} characters")


@dataclass(frozen=True, slots=True)
class Spec:
    """A verb with its flags, width and precision."""

    verb: str
    width: int | None = None
    precision: int | None = None
    minus: bool = False
    plus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    plus_v: bool = False
    sharp_v: bool = False


PLAIN = Spec("v")


def format_value(spec: Spec, value: Any) -> str:
    """The value under the verb, as `fmt.Sprintf` writes an argument."""
    verb = spec.verb
    if value is None:
        return _padded(spec, NIL) if verb in "Tv" else f"%!{verb}({NIL})"
    if verb == "T":
        return _string(spec, type_name(value))
    if isinstance(value, (list, dict, tuple)):
        if verb == "p":
            return _integer(replace(spec, sharp=not spec.sharp), ADDRESS, 16)
        if verb == "w":
            return _bad(spec, value)
    return _formatted(spec, value)


def _formatted(spec: Spec, value: Any) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case str():
            return _text(spec, value)
        case bool():
            return _padded(spec, "true" if value else "false") if spec.verb in "tv" else _bad(spec, value)
        case int():
            return _whole(spec, value)
        case float():
            return _float(spec, value)
        case dict():
            return _map(spec, value)
        case list() | tuple():
            return _list(spec, value)
        case complex():
            return _complex(spec, value)
        case _:
            return _text(spec, str(value))


def _bad(spec: Spec, value: Any) -> str:
    """What a verb prints that the type does not know."""
    plain = replace(spec, verb="v")
    return f"%!{spec.verb}({type_name(value)}={_formatted(plain, value)})"


def _padded(spec: Spec, text: str) -> str:
    if not spec.width or len(text) >= spec.width:
        return text
    if spec.minus:
        return text.ljust(spec.width)
    return text.rjust(spec.width, "0" if spec.zero else " ")


def _spaced(spec: Spec, text: str) -> str:
    """Padded with spaces, whatever the flag 0 says."""
    if not spec.width:
        return text
    return text.ljust(spec.width) if spec.minus else text.rjust(spec.width)


# Strings


def _string(spec: Spec, text: str) -> str:
    return _padded(spec, text if spec.precision is None else text[: spec.precision])


def _text(spec: Spec, text: str) -> str:
    match spec.verb:
        case "v" if spec.sharp_v:
            return _quoted(spec, text)
        case "v" | "s":
            return _string(spec, text)
        case "q":
            return _quoted(spec, text)
        case "x" | "X":
            return _hex_bytes(spec, to_bytes(text))
        case _:
            return _bad(spec, text)


def _quoted(spec: Spec, text: str) -> str:
    text = text if spec.precision is None else text[: spec.precision]
    if spec.sharp and can_backquote(text):
        return _padded(spec, f"`{text}`")
    return _padded(spec, quote(text, ascii_only=spec.plus))


def _hex_bytes(spec: Spec, data: bytes) -> str:
    data = data if spec.precision is None else data[: spec.precision]
    prefix = "0x" if spec.sharp else ""
    spaced = " ".join(f"{prefix}{byte:02x}" for byte in data)
    text = spaced if spec.space else (prefix if data else "") + data.hex()
    return _padded(spec, text.upper() if spec.verb == "X" else text)


# Whole numbers


def _whole(spec: Spec, value: int) -> str:  # noqa: PLR0911 - one for each verb
    match spec.verb:
        case "v" if spec.sharp_v and isinstance(value, Uint8):
            return _integer(replace(spec, sharp=True), value, 16)
        case "v" | "d":
            return _integer(spec, value, 10)
        case "b":
            return _integer(spec, value, 2)
        case "o" | "O":
            return _integer(spec, value, 8)
        case "x" | "X":
            return _integer(spec, value, 16)
        case "c":
            return _padded(spec, _rune(value))
        case "q":
            return _padded(spec, quote(_rune(value), "'", ascii_only=spec.plus))
        case "U":
            return _unicode(spec, value)
        case _:
            return _bad(spec, value)


def _rune(value: int) -> str:
    return chr(value) if 0 <= value <= RUNE_MAX and not is_surrogate(chr(value)) else "\ufffd"


_DIGITS = {2: "b", 8: "o", 10: "d", 16: "x"}
_PREFIXES = {2: "0b", 8: "0", 10: "", 16: "0x"}


def _integer(spec: Spec, value: int, base: int) -> str:
    precision = spec.precision
    if precision == 0 and value == 0:
        return " " * (spec.width or 0)
    sign = "-" if value < 0 else "+" if spec.plus else " " if spec.space else ""
    if precision is None and spec.zero and not spec.minus and spec.width:
        precision = spec.width - len(sign)
    digits = format(abs(value), _DIGITS[base]).rjust(precision or 0, "0")
    if spec.sharp and not (digits[0] == "0" and _PREFIXES[base] == "0"):
        digits = _PREFIXES[base] + digits
    if spec.verb == "O":
        digits = f"0o{digits}"
    return _spaced(spec, sign + (digits.upper() if spec.verb == "X" else digits))


def _unicode(spec: Spec, value: int) -> str:
    code = value & 0xFFFF_FFFF_FFFF_FFFF
    text = "U+" + f"{code:X}".rjust(max(spec.precision or 0, 4), "0")
    if spec.sharp and code <= RUNE_MAX and is_printable(chr(code)):
        text += f" '{chr(code)}'"
    return _spaced(spec, text)


# Floating-point and complex numbers


def _float(spec: Spec, value: float) -> str:
    verb = spec.verb
    if verb not in "vbgGxXfFeE":
        return _bad(spec, value)
    default = _FLOAT_PRECISION if verb in "fFeE" else -1
    precision = default if spec.precision is None else spec.precision
    written = {"v": "g", "F": "f"}.get(verb, verb)
    number = floats.write(value, written, precision)
    sign, digits = ("-", number[1:]) if number[0] == "-" else ("+", number.removeprefix("+"))
    shown = " " if spec.space and sign == "+" and not spec.plus else sign
    if digits in {"Inf", "NaN"}:
        bare = digits == "NaN" and not spec.space and not spec.plus
        return _spaced(spec, digits if bare else shown + digits)
    if spec.sharp and verb != "b":
        digits = _sharp(digits, verb, precision)
    if not spec.plus and shown == "+":
        return _padded(spec, digits)
    if spec.zero and not spec.minus and spec.width and spec.width > len(digits) + 1:
        return shown + digits.rjust(spec.width - 1, "0")
    return _padded(spec, shown + digits)


def _sharp(number: str, verb: str, precision: int) -> str:
    """With a decimal point and the zeros at the end that `%g` leaves out."""
    wanted = 0
    if verb in "vgGx":
        wanted = _FLOAT_PRECISION if precision == -1 else precision
    hexadecimal = verb in "xX"
    cut = next(
        (at for at, char in enumerate(number) if char in "pP" or (char in "eE" and not hexadecimal)), len(number)
    )
    digits, tail = number[:cut], number[cut:]
    significant = digits.replace(".", "").lstrip("0")
    wanted -= len(significant)
    if "." not in digits:
        wanted -= digits == "0"
        digits += "."
    return digits + "0" * max(wanted, 0) + tail


def _complex(spec: Spec, value: complex) -> str:
    if spec.verb not in "vbgGxXfFeE":
        return _bad(spec, value)
    return f"({_float(spec, value.real)}{_float(replace(spec, plus=True), value.imag)}i)"


# Maps and lists


def _map(spec: Spec, value: dict[str, Any]) -> str:
    items = _bounded(f"{_element(spec, key)}:{_element(spec, item)}" for key, item in sorted_items(value))
    return f"{type_name(value)}{{{', '.join(items)}}}" if spec.sharp_v else f"map[{' '.join(items)}]"


def _list(spec: Spec, value: list[Any] | tuple[Any, ...]) -> str:
    items = _bounded(_element(spec, item) for item in value)
    return f"{type_name(value)}{{{', '.join(items)}}}" if spec.sharp_v else f"[{' '.join(items)}]"


def _bounded(items: Iterable[str]) -> list[str]:
    size, kept = 0, list[str]()
    for item in items:
        size += len(item) + 1
        if size > TEXT_CHARS_MAX:
            raise TooMuch
        kept.append(item)
    return kept


def _element(spec: Spec, value: Any) -> str:
    if value is None:
        return "interface {}(nil)" if spec.sharp_v else NIL
    return _formatted(spec, value)


# Without a verb


def show(value: Any) -> str:
    """What an action prints: `%v`, and `<no value>` for nil."""
    kind = type(value)
    if kind is float:
        return floats.shortest(value)
    if kind is bool:
        return "true" if value else "false"
    if value is None or value is MISSING:
        return NO_VALUE
    return _formatted(PLAIN, value)


def show_operand(value: Any) -> str:
    """What `print` writes for one operand: `%v`, and `<nil>` for nil."""
    if type(value) is str:
        return value
    return NIL if value is None else _formatted(PLAIN, value)
