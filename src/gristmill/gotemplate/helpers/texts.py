"""Helpers on texts. They count characters, not bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Any

from gristmill.gotemplate.literals import from_bytes, quote, to_bytes
from gristmill.gotemplate.made import fits
from gristmill.gotemplate.verbs import show_operand

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_ABBREVIATION_MIN = 4
"""Shorter than this, dots would be most of an abbreviation."""


def upper(text: str) -> str:
    """In capital letters, one for one as Go does: `ß` stays."""
    return _mapped(text, str.upper)


def lower(text: str) -> str:
    """In small letters."""
    # Go maps letter by letter: a capital I with a dot becomes an i, for which Python has two code points.
    return _mapped(text.replace("\u0130", "i"), str.lower)


def _mapped(text: str, change: Callable[[str], str]) -> str:
    """Letter by letter, where that gives one letter: capital `ß` would be two, so it stays."""
    if text.isascii():
        return change(text)
    return "".join(_single(char, change) for char in text)


def _single(char: str, change: Callable[[str], str]) -> str:
    for one in (change(char), char.title() if change is str.upper else char):
        if len(one) == 1:
            return one
    return "i" if char == "İ" else char


def title(text: str) -> str:
    """With a capital letter at the start of each word."""
    out: list[str] = []
    inside = False
    for char in text:
        out.append(char if inside else _mapped(char, str.title))
        inside = char.isalnum() or char == "_"
    return "".join(out)


def untitle(text: str) -> str:
    """With a small letter at the start of each word."""
    return re.sub(r"(?<!\S)\S", lambda found: lower(found[0]), text)


def trim(text: str) -> str:
    """Without white space at both ends."""
    return text.strip()


def trim_all(characters: str, text: str) -> str:
    """Without any of these characters at both ends."""
    return text.strip(characters)


def trim_prefix(prefix: str, text: str) -> str:
    """Without this beginning, if it has it."""
    return text.removeprefix(prefix)


def trim_suffix(suffix: str, text: str) -> str:
    """Without this end, if it has it."""
    return text.removesuffix(suffix)


def replace(old: str, new: str, text: str) -> str:
    """With every occurrence replaced."""
    fits(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def trunc(length: int, text: str) -> str:
    """The first so many characters; with a negative number the last."""
    return text[:length] if length >= 0 else text[length:]


def abbrev(length: int, text: str) -> str:
    """At most so many characters, the last three of them dots when something was cut."""
    return text if len(text) <= length or length < _ABBREVIATION_MIN else text[: length - 3] + "..."


def substr(start: int, end: int, text: str) -> str:
    """The characters from `start` up to `end`; a negative end is the text's end."""
    return text[max(start, 0) :] if end < 0 else text[max(start, 0) : end]


def contains(part: str, text: str) -> bool:
    """Whether the text has this part."""
    return part in text


def has_prefix(prefix: str, text: str) -> bool:
    """Whether the text begins so."""
    return text.startswith(prefix)


def has_suffix(suffix: str, text: str) -> bool:
    """Whether the text ends so."""
    return text.endswith(suffix)


def repeat(count: int, text: str) -> str:
    """The text so many times."""
    fits(max(count, 0) * len(text))
    return text * count


def nospace(text: str) -> str:
    """Without any white space."""
    return "".join(text.split())


def squeeze(text: str) -> str:
    """With each run of white space as one space, and none at the ends."""
    return " ".join(text.split())


def indent(spaces: int, text: str) -> str:
    """With so many spaces before each line."""
    spaces = max(spaces, 0)
    fits(len(text) + spaces * (text.count("\n") + 1))
    pad = " " * spaces
    return pad + text.replace("\n", f"\n{pad}")


def nindent(spaces: int, text: str) -> str:
    """The same after a line break."""
    return "\n" + indent(spaces, text)


def quoted(*values: Any) -> str:
    """Each value in double quotes, separated by spaces; nil is left out."""
    return " ".join(quote(show_operand(value)) for value in values if value is not None)


def single_quoted(*values: Any) -> str:
    """Each value in single quotes, separated by spaces; nil is left out."""
    return " ".join(f"'{show_operand(value)}'" for value in values if value is not None)


def cat(*values: Any) -> str:
    """The values separated by spaces; nil is left out."""
    return " ".join(show_operand(value) for value in values if value is not None)


def plural(one: str, many: str, count: int) -> str:
    """The first word for 1, else the second."""
    return one if count == 1 else many


def initials(text: str) -> str:
    """The first character of each word."""
    return "".join(word[0] for word in text.split())


def snakecase(text: str) -> str:
    """`firstName` as `first_name`."""
    return "_".join(word.lower() for word in _WORD.findall(text))


def kebabcase(text: str) -> str:
    """`firstName` as `first-name`."""
    return "-".join(word.lower() for word in _WORD.findall(text))


def camelcase(text: str) -> str:
    """`first_name` as `FirstName`."""
    return "".join(word[:1].upper() + word[1:].lower() for word in _WORD.findall(text))


def to_string(value: Any) -> str:
    """The value as `print` writes it."""
    return show_operand(value)


def base64_encoded(text: str) -> str:
    """In Base64."""
    return base64.b64encode(to_bytes(text)).decode()


def base64_decoded(text: str) -> str:
    """Out of Base64."""
    try:
        return from_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("not Base64") from None


def sha256(text: str) -> str:
    """The SHA-256 sum in hexadecimal digits."""
    return hashlib.sha256(to_bytes(text)).hexdigest()


TEXTS: dict[str, Callable[..., Any]] = {
    "abbrev": abbrev, "b64dec": base64_decoded, "b64enc": base64_encoded, "camelcase": camelcase, "cat": cat,
    "contains": contains, "hasPrefix": has_prefix, "hasSuffix": has_suffix, "indent": indent, "initials": initials,
    "kebabcase": kebabcase, "lower": lower, "nindent": nindent, "nospace": nospace, "plural": plural, "quote": quoted,
    "repeat": repeat, "replace": replace, "sha256sum": sha256, "snakecase": snakecase, "squeeze": squeeze,
    "squote": single_quoted, "substr": substr, "title": title, "toString": to_string, "trim": trim,
    "trimAll": trim_all, "trimPrefix": trim_prefix, "trimSuffix": trim_suffix, "trunc": trunc, "untitle": untitle,
    "upper": upper,
}  # fmt: skip
