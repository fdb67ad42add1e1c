"""The formula guard: text that a spreadsheet would run gets an apostrophe in front, and loses it when it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What spreadsheets run as a formula or as DDE, also in full-width form and behind blanks they trim.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_BLANKS = "\\s\u00a0\ufeff\0"
_FORMULA_FORM = f"[{_BLANKS}]*[{_SIGNS}]|[\t\r\n\0]|'[{_BLANKS}]*'*[{_SIGNS}\t\r\n\0]"
_FORMULA = re.compile(_FORMULA_FORM)
_PHONE_DIGITS = r"[ ().-]*\d" * 7
_NUMBER_FORM = rf"[+-]?(?:\d+(?:[.,]\d*)*|[.,]\d+)(?:[eE][+-]?\d+)?%?|\+(?={_PHONE_DIGITS})[\d ().-]{{7,30}}"
_NUMBER = re.compile(_NUMBER_FORM)
_EDGE = "\x01"
"""Stands between texts that are looked at together."""
_SOME_FORMULA = re.compile(f"{_EDGE}(?={_FORMULA_FORM})(?!(?:{_NUMBER_FORM}){_EDGE})")
# The apostrophe comes first, so that only apostrophes are looked at.
_GUARDED = re.compile(f"'(?<![A-Za-z0-9]')[{_BLANKS}]*'*[{_SIGNS}\t\r\n\0]")
HARMLESS_STARTS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_QUOTED_SHARE_MAX = 0.5


def guard(text: str) -> str:
    """The text so that no spreadsheet runs it: an apostrophe before what could be a formula.

    Numbers (-5, -5.25e3) and phone numbers (+61 7 3823 2828) are left alone. A text that already starts with an
    apostrophe before such a character gets a second one, so `unguard` gives back every text unchanged.
    """
    if text[:1] in HARMLESS_STARTS:
        return text
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def guard_all(texts: Sequence[str]) -> Sequence[str]:
    """`guard` of each: one look at all of them where none needs it, which is nearly always so."""
    together = f"{_EDGE}{_EDGE.join(texts)}{_EDGE}"
    if together.count(_EDGE) == len(texts) + 1 and _SOME_FORMULA.search(together) is None:
        return texts
    return list(map(guard, texts))


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    return text[1:] if text[:1] == "'" and guard(text[1:]) == text else text


def may_be_guarded(text: str) -> bool:
    """Whether cells of this file's text may have guards: quick, and never wrong when it says no."""
    return "'" in text and _GUARDED.search(text) is not None


def are_guards(rows: Iterable[Iterable[str]]) -> bool:
    """Whether apostrophes at the start of cells are guards, and not one of a pair around the cell."""
    marked = [cell for row in rows for cell in row if cell[:1] == "'" and len(cell) > 1]
    paired = sum(1 for cell in marked if cell[-1] == "'")
    return not marked or paired < _QUOTED_SHARE_MAX * len(marked)
