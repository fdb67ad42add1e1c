r"""A chunk of rows -> CSV in UTF-8, column by column: the same bytes as one row after the other, several times as fast.

The cells of a column are mostly of one kind, so what has to be done for a kind (blanks for None, the formula guard) is
found out once for all of them. The rest is JSON's: with every text in quotes and no number, a line of CSV is an array
of JSON without its brackets, as long as no text has a character that JSON escapes and no number an exponent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from types import NoneType
from typing import Any

import orjson

from gristmill.tables.formulas import guard_all

_WORDS = {None: "", True: "true", False: "false"}
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_ROW_END = b"\xff"
"""No byte of UTF-8."""
_END = orjson.Fragment(_ROW_END)
_SPELLED_OTHERWISE = (b"e", b"0.0000", b"null")
"""Signs that a number is not written as `repr` does it: exponents begin elsewhere, and NaN is null."""


def quoted_lines(
    rows: Sequence[Sequence[Any]], newline: str, plain: Callable[[Any], Any], *, guard_formulas: bool
) -> bytes | None:
    """Rows as lines with commas, every text in quotes; None where that takes one cell after the other.

    So it is where rows differ in width or have none, and where a cell is not for JSON.
    `plain` turns a cell of any kind into a text, a whole number or a finite float.
    """
    try:
        columns = [_ready(column, plain, guard_formulas=guard_formulas) for column in zip(*rows, strict=True)]
        if not columns:
            return None
        data = _dump(columns)
        if b"\\" in data:
            data = _dump([_with_quotes(column) for column in columns])
    except (ValueError, TypeError):  # rows of several widths; half a surrogate pair, or more than 64 bits
        return None
    end = newline.encode()
    return data[1 : -len(_ROW_END) - 2].replace(b"," + _ROW_END + b",", end) + end


def _dump(columns: Iterable[Sequence[Any]]) -> bytes:
    return orjson.dumps(list(chain.from_iterable(zip(*columns, repeat(_END)))))


def _ready(column: Sequence[Any], plain: Callable[[Any], Any], *, guard_formulas: bool) -> Sequence[Any]:
    """Its cells as what JSON writes as CSV has it, but for characters that JSON escapes."""
    kinds = set(map(type, column))
    if kinds <= {str, NoneType}:
        texts = [text or "" for text in column] if NoneType in kinds else column
        return guard_all(texts) if guard_formulas else texts
    if kinds <= {bool, NoneType}:
        return [_WORDS[value] for value in column]
    if kinds <= {int, float, NoneType}:
        numbers = ["" if value is None else value for value in column] if NoneType in kinds else column
        if float not in kinds or not _is_spelled_otherwise(column):
            return numbers
    return [_number(value) if type(value) is float else value for value in map(plain, column)]


def _is_spelled_otherwise(column: Sequence[Any]) -> bool:
    data = orjson.dumps([value for value in column if value is not None])
    return any(sign in data for sign in _SPELLED_OTHERWISE)


def _number(value: float) -> orjson.Fragment:
    return orjson.Fragment(repr(value).encode())


def _with_quotes(column: Sequence[Any]) -> Sequence[Any]:
    """Texts that JSON would escape in the quotes of CSV."""
    return [_quoted(cell) if isinstance(cell, str) and _ESCAPED.search(cell) else cell for cell in column]


def _quoted(text: str) -> orjson.Fragment:
    doubled = text.replace('"', '""')
    return orjson.Fragment(f'"{doubled}"'.encode())
