"""Rows -> bytes, as a stream: CSV and JSON Lines."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import orjson

from gristmill.base.errors import Invalid
from gristmill.tables.csv_columns import quoted_lines
from gristmill.tables.flatten import cell
from gristmill.tables.formulas import HARMLESS_STARTS, guard

CHUNK_ROWS = 1_000
"""Rows per chunk of bytes."""
NUMBER_BITS_MAX = 14_000
"""Whole numbers up to here are numbers in CSV; Python turns much longer ones to decimal only on request."""

Quoting = Literal["text", "minimal"]


def write_csv(
    rows: Iterable[Sequence[Any]],
    header: Sequence[str] | None = None,
    *,
    delimiter: str = ",",
    quote: str = '"',
    quoting: Quoting = "text",
    newline: str = "\r\n",
    encoding: str = "utf-8",
    guard_formulas: bool = True,
    byte_order_mark: bool = False,
) -> Iterator[bytes]:
    """Delimited text, CHUNK_ROWS rows at a time; RFC 4180 unless told otherwise.

    Cells are written as `cell` says. With `quoting="text"` every text is quoted, so that no locale's spreadsheet splits
    it, and numbers are not; `"minimal"` quotes what needs it. `byte_order_mark` makes Excel read UTF-8 as such. Raises
    ValueError for characters that can't separate cells, and Invalid for an encoding that does not exist and, while the
    rows are written, for one that lacks a character.
    """
    if len(delimiter) != 1 or len(quote) != 1 or delimiter == quote or {delimiter, quote} & {"\r", "\n"}:
        raise ValueError("Delimiter and quote are two different single characters and no newlines.")
    line = _line_writer(delimiter, quote, newline, quoting, guard_formulas=guard_formulas)
    plain = _plain(guard_formulas=guard_formulas)
    encode = _encoder(encoding)

    def one_by_one(chunk: Sequence[Sequence[Any]]) -> bytes:
        return encode("".join(map(line, chunk)))

    def together(chunk: Sequence[Sequence[Any]]) -> bytes:
        return quoted_lines(chunk, newline, plain, guard_formulas=guard_formulas) or one_by_one(chunk)

    def chunks() -> Iterator[bytes]:
        start = encode("\ufeff" if byte_order_mark else "") + (one_by_one([header]) if header is not None else b"")
        lines = iter(rows)
        while chunk := list(islice(lines, CHUNK_ROWS)):
            yield start + lines_of(chunk)
            start = b""
        if start:
            yield start

    is_usual = (delimiter, quote, quoting, codecs.lookup(encoding).name) == (",", '"', "text", "utf-8")
    lines_of = together if is_usual else one_by_one
    return chunks()


class _Last:
    """A file for the csv module that gives back what was just written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text = text


def _line_writer(
    delimiter: str, quote: str, newline: str, quoting: Quoting, *, guard_formulas: bool
) -> Callable[[Sequence[Any]], str]:
    """Row -> its text, newline included."""
    plain = _plain(guard_formulas=guard_formulas)
    if quoting == "text":
        last = _Last()
        writer = csv.writer(
            last, delimiter=delimiter, quotechar=quote, lineterminator=newline, quoting=csv.QUOTE_NONNUMERIC
        )

        def quoted_line(row: Sequence[Any]) -> str:
            writer.writerow([plain(value) for value in row])
            return last.text

        return quoted_line
    # A blank at the edge is lost on readers that trim; blanks run together as a delimiter, so there an empty cell
    # needs quotes to be seen.
    unseen = "|^$" if delimiter == " " else ""
    special = re.compile(f"[{re.escape(delimiter + quote)}\r\n]|^\\s|\\s$" + unseen)
    doubled = quote * 2

    def quoted(value: Any) -> str:
        text = cell(plain(value))
        return f"{quote}{text.replace(quote, doubled)}{quote}" if special.search(text) else text

    def minimal_line(row: Sequence[Any]) -> str:
        # A row of one empty cell is written as two quotes, since a blank line would be no row.
        return (delimiter.join(map(quoted, row)) or (doubled if row else "")) + newline

    return minimal_line


def _plain(*, guard_formulas: bool) -> Callable[[Any], Any]:
    """Cell -> a text, a whole number or a finite float."""

    def plain(value: Any) -> Any:
        kind = type(value)
        if kind is str or isinstance(value, str):
            return guard(value) if guard_formulas and value[:1] not in HARMLESS_STARTS else value
        is_number = value.bit_length() <= NUMBER_BITS_MAX if kind is int else kind is float and value - value == 0
        return value if is_number else cell(value)

    return plain


def _encoder(encoding: str) -> Callable[[str], bytes]:
    """Text -> bytes, one piece after the other. Half surrogate pairs, which no encoding has, become `?`."""
    try:
        "".encode(encoding)
    except LookupError as error:
        raise Invalid(f"There is no encoding `{encoding[:40]}`.") from error
    encoder = codecs.getincrementalencoder(encoding)()

    def encode(text: str) -> bytes:
        try:
            return encoder.encode(text)
        except UnicodeEncodeError as error:
            lacking = text[error.start]
            if not "\ud800" <= lacking <= "\udfff":
                raise Invalid(f"{encoding} has no `{lacking}`; write UTF-8, or leave that character out.") from error
            return encoder.encode(text.encode("utf-8", "replace").decode())

    return encode


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
