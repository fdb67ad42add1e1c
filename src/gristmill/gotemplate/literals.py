"""Literals of the language: quoted strings, character constants and numbers, read and written as Go does."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gristmill.gotemplate.characters import is_printable, is_surrogate

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPES = {text: f"\\{letter}" for letter, text in _SIMPLE.items()}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(['\"]))", re.ASCII
)
_PLAIN = re.compile(r"[ !#-\[\]-~]*")
INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
RUNE_MAX = 0x10FFFF


class BadLiteral(ValueError):
    """A literal is not well formed; the text is Go's."""


# Strings


def unquote(source: str) -> str:
    r"""The value of a string literal, quotes included; raises `BadLiteral`.

    Bytes that are not UTF-8 (`"\xff"`) become surrogate escapes.
    """
    mark, inner = source[0], source[1:-1]
    if mark == "`":
        return inner.replace("\r", "")
    if "\\" not in inner:
        return inner
    out = bytearray()
    at = 0
    while at < len(inner):
        char, is_byte, at = _unquote_char(inner, at, mark)
        out += bytes((ord(char),)) if is_byte else to_bytes(char)
    return from_bytes(bytes(out))


def unquote_char(source: str) -> str:
    r"""The character of a constant such as `'a'` or `'\n'`; raises `BadLiteral`."""
    char, _, at = _unquote_char(source, 1, "'")
    if source[at:] != "'":
        raise BadLiteral(f"malformed character constant: {source}")
    return "\ufffd" if is_surrogate(char) else char


def _unquote_char(text: str, at: int, mark: str) -> tuple[str, bool, int]:
    """(character, whether it stands for one byte, where the next begins)."""
    if at >= len(text) or text[at] == mark:
        raise BadLiteral("invalid syntax")
    if text[at] != "\\":
        return text[at], False, at + 1
    found = _ESCAPE.match(text, at)
    if not found:
        raise BadLiteral("invalid syntax")
    simple, x, u, big, octal, quote_mark = found.groups()
    if simple:
        return _SIMPLE[simple], False, found.end()
    if quote_mark:
        if quote_mark != mark:
            raise BadLiteral("invalid syntax")
        return quote_mark, False, found.end()
    code = int(octal, 8) if octal else int(x or u or big, 16)
    is_byte = not (u or big)
    if code > (0xFF if is_byte else RUNE_MAX) or (not is_byte and is_surrogate(chr(code))):
        raise BadLiteral("invalid syntax")
    return chr(code), is_byte, found.end()


def to_bytes(text: str) -> bytes:
    """UTF-8; surrogate escapes become their bytes again, other lone surrogates U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    """Text; bytes that are not UTF-8 become surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """A Go string or character literal of `text`, as Go's `%q` and `%+q` write it."""
    if mark == '"' and _PLAIN.fullmatch(text):
        return f'"{text}"'
    return mark + "".join(_quoted(char, mark, ascii_only) for char in text) + mark


def _quoted(char: str, mark: str, ascii_only: bool) -> str:
    code = ord(char)
    if char in (mark, "\\"):
        quoted = f"\\{char}"
    elif is_surrogate(char):
        quoted = f"\\x{code & 0xFF:02x}"
    elif is_printable(char) and (not ascii_only or char.isascii()):
        quoted = char
    elif char in _ESCAPES:
        quoted = _ESCAPES[char]
    elif code < 0x20 or code == 0x7F:  # noqa: PLR2004 - the control characters of ASCII
        quoted = f"\\x{code:02x}"
    elif code <= 0xFFFF:  # noqa: PLR2004 - the basic multilingual plane
        quoted = f"\\u{code:04x}"
    else:
        quoted = f"\\U{code:08x}"
    return quoted


def can_backquote(text: str) -> bool:
    """Whether `text` can stand between backquotes unchanged."""
    return not any(char in "`\x7f\ufeff\ufffd" or (char < " " and char != "\t") or is_surrogate(char) for char in text)


# Numbers


@dataclass(frozen=True, slots=True)
class Number:
    """A number literal with its value under each type that can hold it, as Go's untyped constants."""

    source: str
    int_value: int | None = None
    uint_value: int | None = None
    float_value: float | None = None
    complex_value: complex | None = None


_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|[1-9][0-9_]*|0)", re.ASCII)
_DECIMAL = re.compile(
    r"([+-]?)((?:[0-9_]*[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]*[0-9][0-9_]*|[0-9_]+\.[0-9_]*[0-9][0-9_]*)(?:[eE][+-]?[0-9][0-9_]*)?)",
    re.ASCII,
)
_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F_]+\.?[0-9a-fA-F_]*|\.[0-9a-fA-F_]+)[pP][+-]?[0-9][0-9_]*", re.ASCII)
_PART = re.compile(
    r"(?:[iI](?:[nN][fF]?)?|[+-]?(?:0[xX][0-9a-fA-F_]*\.?[0-9a-fA-F_]*(?:[pP][+-]?[0-9_]*)?"
    r"|[0-9_]*\.?[0-9_]*(?:[eEpP][+-]?[0-9_]*)?))",
    re.ASCII,
)
"""One part of a complex number, as Go's scanner takes it."""
NUMBER_CHARS_MAX = 1_000
"""Characters of a number literal."""
EXPONENT_DIGITS_MAX = 6
"""Digits of an exponent that are looked at: beyond, every value is zero or infinite."""


def number(source: str) -> Number:
    """Read a number literal; raises `BadLiteral`."""
    if len(source) > NUMBER_CHARS_MAX:
        raise BadLiteral(f"illegal number syntax: {quote(source)}")
    if source[0] == "'":
        code = ord(unquote_char(source))
        return Number(source, code, code, float(code))
    if source.endswith("i"):
        value = parse_float(source[:-1])
        if value is not None:
            return _of_complex(source, complex(0, value))
    return _integer(source) or _float(source)


def complex_number(source: str) -> Number:
    """Read a literal such as `1+2i`; raises `BadLiteral`."""
    if len(source) > NUMBER_CHARS_MAX:
        raise BadLiteral("syntax error scanning complex number")
    real = _PART.match(source)
    sign = real.end() if real else 0
    imaginary = _PART.match(source, sign + 1)
    if not real or not imaginary or source[sign : sign + 1] not in {"+", "-"} or source[imaginary.end() :] != "i":
        raise BadLiteral("syntax error scanning complex number")
    return _of_complex(source, complex(_scanned(real[0]), _scanned(source[sign] + imaginary[0])))


def _scanned(text: str) -> float:
    value = parse_float(text)
    if value is None:
        what = "value out of range" if _read_float(text) is not None else "invalid syntax"
        raise BadLiteral(f"strconv.ParseFloat: parsing {quote(text)}: {what}")
    return value


def _of_complex(source: str, value: complex) -> Number:
    if value.imag != 0:
        return Number(source, complex_value=value)
    whole = int(value.real) if value.real.is_integer() else None
    signed = whole if whole is not None and INT_MIN <= whole <= INT_MAX else None
    unsigned = whole if whole is not None and 0 <= whole <= UINT_MAX else None
    return Number(source, signed, unsigned, value.real, value)


def _integer(source: str) -> Number | None:
    value = parse_int(source)
    if value is None:
        return None
    signed = value if INT_MIN <= value <= INT_MAX else None
    unsigned = value if 0 <= value <= UINT_MAX and (source[0] not in "+-" or value == 0) else None
    if signed is None and unsigned is None:
        return None
    return Number(source, signed, unsigned, float(value))


def _float(source: str) -> Number:
    value = parse_float(source)
    if value is None:
        raise BadLiteral(f"illegal number syntax: {quote(source)}")
    if not any(char in ".eEpP" for char in source):
        raise BadLiteral(f"integer overflow: {quote(source)}")
    whole = int(value) if value.is_integer() else None
    signed = whole if whole is not None and INT_MIN <= whole <= INT_MAX else None
    unsigned = whole if whole is not None and 0 <= whole <= UINT_MAX else None
    return Number(source, signed, unsigned, value)


def parse_int(source: str) -> int | None:
    """Go's `strconv.ParseInt(source, 0, ...)` without its bounds; None for what is no integer."""
    if not _INTEGER.fullmatch(source) or not _underscores_ok(source):
        return None
    digits = source.lstrip("+-").replace("_", "")
    base = {"x": 16, "o": 8, "b": 2}.get(digits[1:2].lower(), 8 if digits[0] == "0" and len(digits) > 1 else 10)
    value = int(digits[2:] if digits[1:2].lower() in {"x", "o", "b"} else digits, base)
    return -value if source[0] == "-" else value


def parse_float(source: str) -> float | None:
    """Go's `strconv.ParseFloat`; None for what is no number or out of range."""
    value = _read_float(source)
    return None if value is None or math.isinf(value) else value


def _read_float(source: str) -> float | None:
    """The same, infinite where it is out of range."""
    if "_" in source and not _underscores_ok(source):
        return None
    plain = source.replace("_", "").lower()
    if _HEX_FLOAT.fullmatch(source):
        mantissa, mark, exponent = plain.partition("p")
        try:
            return float.fromhex(mantissa + mark + _clamped(exponent))
        except OverflowError:
            return math.inf
        except ValueError:
            return None
    if _DECIMAL.fullmatch(source):
        mantissa, mark, exponent = plain.partition("e")
        return float(mantissa + mark + _clamped(exponent))
    return None


def _clamped(exponent: str) -> str:
    digits = exponent.lstrip("+-").lstrip("0")
    return (
        ("-" if exponent[:1] == "-" else "") + (digits if len(digits) <= EXPONENT_DIGITS_MAX else "9" * 6)
        if exponent
        else ""
    )


def _underscores_ok(source: str) -> bool:
    """Whether every underscore stands between two digits or after the base prefix."""
    text = source.lstrip("+-") if source[:1] in {"+", "-"} else source
    digits = "0-9"
    if text[:2].lower() in {"0x", "0o", "0b"}:
        digits = "0-9a-fA-F" if text[1] in "xX" else "0-9"
        text = "0" + text[2:]
    return not re.search(rf"(?:^|[^{digits}])_|_(?:$|[^{digits}])", text)
