"""Rows -> bytes, as a stream: CSV and JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gristmill.tables.flatten import cell

CHUNK_ROWS = 1_000
"""Rows per chunk of bytes."""

# What spreadsheets run as a formula or as DDE, also in full-width form and behind blanks they trim.
_FORMULA = re.compile(
    "[\\s\u00a0\ufeff\0]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n\0]|'[\\s\u00a0\ufeff\0]*'*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n\0]"
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)*|[.,]\d+)(?:[eE][+-]?\d+)?%?|\+[\d ().-]{1,30}")


def guard(text: str) -> str:
    """The text so that no spreadsheet runs it: an apostrophe before what could be a formula.

    Numbers (-5, -5.25e3) and phone numbers (+61 7 3823 2828) are left alone. A text that already starts with an
    apostrophe before such a character gets a second one, so `unguard` gives back every text unchanged.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    return text[1:] if text.startswith("'") and guard(text[1:]) == text else text


def write_csv(
    rows: Iterable[Sequence[Any]],
    header: Sequence[str] | None = None,
    *,
    delimiter: str = ",",
    quote: str = '"',
    newline: str = "\r\n",
    guard_formulas: bool = True,
    byte_order_mark: bool = False,
) -> Iterator[bytes]:
    """RFC 4180 text in UTF-8, CHUNK_ROWS rows at a time.

    Cells are written as `cell` says. A row of one empty cell is written as two quotes, since a blank line
    would be no row. `byte_order_mark` makes Excel read the file as UTF-8.
    """
    if len(delimiter) != 1 or len(quote) != 1 or delimiter == quote or {delimiter, quote} & {"\r", "\n"}:
        raise ValueError("Delimiter and quote are two different single characters and no newlines.")
    # Blanks run together as a delimiter, so there an empty cell needs quotes to be seen.
    unseen = "|^$" if delimiter == " " else ""
    special = re.compile(f"[{re.escape(delimiter + quote)}\r\n]|^\\s|\\s$" + unseen)
    doubled = quote * 2

    def quoted(value: Any) -> str:
        text = value if isinstance(value, str) else cell(value)
        if guard_formulas and isinstance(value, str):
            text = guard(text)
        return f"{quote}{text.replace(quote, doubled)}{quote}" if special.search(text) else text

    def line(row: Sequence[Any]) -> str:
        return delimiter.join(map(quoted, row)) or (quote * 2 if row else "")

    lines: list[str] = ["\ufeff"] if byte_order_mark else []
    if header is not None:
        lines.append(line(header) + newline)
    for row in rows:
        lines.append(line(row) + newline)
        if len(lines) >= CHUNK_ROWS:
            yield "".join(lines).encode("utf-8", "replace")
            lines = []
    if lines:
        yield "".join(lines).encode("utf-8", "replace")


def write_jsonl(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    r"""One JSON object per line in UTF-8, each line ended by `\n`, CHUNK_ROWS rows at a time."""
    lines: list[bytes] = []
    for row in rows:
        lines.append(_dump(row))
        if len(lines) >= CHUNK_ROWS:
            yield b"".join(lines)
            lines = []
    if lines:
        yield b"".join(lines)


def _dump(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(dict(row), option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits, lone surrogates and deep nesting are left to the slower library.
        text = json.dumps(dict(row), ensure_ascii=True, separators=(",", ":"), default=str)
        return text.encode() + b"\n"
