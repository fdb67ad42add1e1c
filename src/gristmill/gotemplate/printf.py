"""Go's `fmt.Sprintf`, `Sprint` and `Sprintln`: formats are read once, and applied to values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from gristmill.gotemplate.characters import is_surrogate
from gristmill.gotemplate.model import TEXT_CHARS_MAX
from gristmill.gotemplate.values import is_int, type_name
from gristmill.gotemplate.verbs import PLAIN, Spec, TooMuch, format_value, show_operand

NUMBER_MAX = 1_000_000
"""A greater width or precision is refused, as Go does."""
FORMATS_KEPT, FORMAT_CHARS_KEPT = 512, 256
"""Formats that are kept once they are read, and how long they may be."""
_INDEX_DIGITS_MAX = 8
"""Digits of an operand number; more are beyond any operand."""
_FLAGS = {"#": "sharp", "0": "zero", "+": "plus", "-": "minus", " ": "space"}


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of a format and where its operands come from."""

    spec: Spec
    operand: int
    width_from: int | None = None
    """Operand that is the width (`*`); -1 when there is none left."""
    precision_from: int | None = None


Piece = str | Verb


@dataclass(frozen=True, slots=True)
class Format:
    """A format as it applies to a number of operands."""

    pieces: tuple[Piece, ...]
    extra: int | None
    """The first operand that no verb used, if that is an error."""


def read_format(text: str, operands: int) -> Format:
    """Cut a format into text and verbs."""
    return _short_format(text, operands) if len(text) <= FORMAT_CHARS_KEPT else _Reader(text, operands).read()


@lru_cache(FORMATS_KEPT)
def _short_format(text: str, operands: int) -> Format:
    return _Reader(text, operands).read()


class _Reader:
    """Reads one format: flags, `[n]`, width, precision, verb."""

    def __init__(self, text: str, operands: int) -> None:
        self.text, self.operands = text, operands
        self.at = self.operand = 0
        self.good = True
        self.reordered = False
        self.after_index = False

    def read(self) -> Format:
        """All pieces."""
        pieces: list[Piece] = []
        text, end = self.text, len(self.text)
        while self.at < end:
            start = self.at
            found = text.find("%", start)
            self.at = end if found < 0 else found
            if self.at > start:
                pieces.append(text[start : self.at])
            if self.at < end:
                self.at += 1
                pieces += self._verb()
        unused = self.operand if not self.reordered and self.operand < self.operands else None
        return Format(tuple(pieces), unused)

    def _verb(self) -> list[Piece]:
        text = self.text
        self.good, self.after_index = True, False
        flags: dict[str, Any] = {}
        while text[self.at : self.at + 1] in _FLAGS:
            flags[_FLAGS[text[self.at]]] = True
            self.at += 1
        self._index()
        width, width_from = self._width()
        precision, precision_from = self._precision()
        if not self.after_index:
            self._index()
        if self.at >= len(text):
            return self._stars(width_from, precision_from, "%!(NOVERB)")
        verb = text[self.at]
        self.at += 1
        shown = "\ufffd" if is_surrogate(verb) else verb
        if verb == "%":
            return self._stars(width_from, precision_from, "%")
        if not self.good:
            return self._stars(width_from, precision_from, f"%!{shown}(BADINDEX)")
        if self.operand >= self.operands:
            return self._stars(width_from, precision_from, f"%!{shown}(MISSING)")
        if verb in "vw":
            flags |= {"sharp_v": flags.pop("sharp", False), "plus_v": flags.pop("plus", False)}
        self.operand += 1
        return [Verb(Spec(shown, width, precision, **flags), self.operand - 1, width_from, precision_from)]

    @staticmethod
    def _stars(width_from: int | None, precision_from: int | None, text: str) -> list[Piece]:
        """A text in place of an operand; widths taken from operands may have errors of their own before it."""
        if width_from is None and precision_from is None:
            return [text]
        return [Verb(Spec(""), -1, width_from, precision_from), text]

    def _width(self) -> tuple[int | None, int | None]:
        if self.text[self.at : self.at + 1] == "*":
            self.at += 1
            self.after_index = False
            return None, self._take()
        width = self._number()
        if self.after_index and width is not None:
            self.good = False
        return width, None

    def _precision(self) -> tuple[int | None, int | None]:
        if self.text[self.at : self.at + 1] != "." or self.at + 1 >= len(self.text):
            return None, None
        self.at += 1
        if self.after_index:
            self.good = False
        self._index()
        if self.text[self.at : self.at + 1] == "*":
            self.at += 1
            self.after_index = False
            return None, self._take()
        return self._number() or 0, None

    def _take(self) -> int:
        """The next operand, for a `*`; -1 when there is none."""
        if self.operand >= self.operands:
            return -1
        self.operand += 1
        return self.operand - 1

    def _number(self) -> int | None:
        start = self.at
        value = 0
        while self.at < len(self.text) and "0" <= self.text[self.at] <= "9":
            if value > NUMBER_MAX:
                self.at = len(self.text)
                return None
            value = value * 10 + int(self.text[self.at])
            self.at += 1
        return value if self.at > start else None

    def _index(self) -> None:
        """An explicit operand number `[n]`, if one stands here."""
        self.after_index = False
        if self.text[self.at : self.at + 1] != "[":
            return
        self.reordered = True
        close = self.text.find("]", self.at) if len(self.text) - self.at >= 3 else -1  # noqa: PLR2004 - `[n]`
        if close < 0:
            self.at += 1
            self.good = False
            return
        inner = self.text[self.at + 1 : close]
        self.at = close + 1
        digits = inner.isascii() and inner.isdigit() and len(inner) <= _INDEX_DIGITS_MAX
        index = int(inner) - 1 if digits else -1
        if 0 <= index < self.operands:
            self.operand = index
            self.after_index = True
            return
        self.good = False
        self.after_index = digits


def sprintf(text: str, operands: Sequence[Any]) -> str:
    """Go's `fmt.Sprintf`. Raises `TooMuch`."""
    form = read_format(text, len(operands))
    out: list[str] = []
    size = 0
    for piece in form.pieces:
        if isinstance(piece, str):
            written = piece
        else:
            size += (piece.spec.width or 0) + (piece.spec.precision or 0)
            if size > TEXT_CHARS_MAX:
                raise TooMuch
            written = _apply(piece, operands)
        size += len(written)
        if size > TEXT_CHARS_MAX:
            raise TooMuch
        out.append(written)
    if form.extra is not None:
        extras = ", ".join(_extra(value) for value in operands[form.extra :])
        out.append(f"%!(EXTRA {extras})")
    return "".join(out)


def _extra(value: Any) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={format_value(PLAIN, value)}"


def _apply(verb: Verb, operands: Sequence[Any]) -> str:
    spec, before = verb.spec, ""
    if verb.width_from is not None:
        width = _star(verb.width_from, operands)
        if width is None:
            before += "%!(BADWIDTH)"
        elif width < 0:
            spec = replace(spec, width=-width, minus=True, zero=False)
        else:
            spec = replace(spec, width=width)
    if verb.precision_from is not None:
        precision = _star(verb.precision_from, operands)
        if precision is None or precision < 0:
            before += "%!(BADPREC)"
        else:
            spec = replace(spec, precision=precision)
    return before + format_value(spec, operands[verb.operand]) if verb.operand >= 0 else before


def _star(operand: int, operands: Sequence[Any]) -> int | None:
    """The operand of a `*`; None when it is missing, no int or too large."""
    value: Any = operands[operand] if operand >= 0 else None
    return int(value) if is_int(value) and abs(value) <= NUMBER_MAX else None


def sprint(operands: Sequence[Any]) -> str:
    """Go's `fmt.Sprint`: a space between two operands when neither is a string."""
    out: list[str] = []
    was_string = True
    for value in operands:
        is_string = isinstance(value, str)
        if not is_string and not was_string:
            out.append(" ")
        out.append(show_operand(value))
        was_string = is_string
    return "".join(out)


def sprintln(operands: Sequence[Any]) -> str:
    """Go's `fmt.Sprintln`: a space between all operands, a newline at the end."""
    return " ".join(show_operand(value) for value in operands) + "\n"
