"""Rows of an XLSX sheet from its XML, a megabyte at a time.

Two gears. A row as every common program writes it is taken apart by one regular expression; a row that this does not
cover completely (no cell references, comments, CDATA, rich text) goes through the XML parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from gristmill.tables.cell_text import Formatter, number
from gristmill.tables.grid import COLUMNS_MAX, GridRow
from gristmill.tables.model import TooLargeToRead, Unreadable
from gristmill.tables.table import Log
from gristmill.tables.xlsx_texts import SharedTexts
from gristmill.tables.xml_parts import TOKEN_BYTES_MAX, as_utf8, local, prefix_of, scan, unescape

CACHED_VALUES_MAX = 10_000
"""Formatted numbers remembered for each format; dates repeat a lot."""
PLAIN_DIGITS_MAX = 15
"""Whole numbers up to here are written in the file as they are shown."""

_ATTRIBUTE = re.compile(rb"\s([st])=[\"']([^\"']*)[\"']")
_ROW_NUMBER = re.compile(rb"\sr=[\"'](\d{1,9})[\"']")
_DIMENSION = re.compile(rb"dimension\s[^>]*?ref=[\"'](?:[A-Z]+\d+:)?([A-Z]{1,3})\d+[\"']")

Convert = Callable[[bytes], str]


class RawCell(NamedTuple):
    """A cell as the XML has it."""

    letters: bytes
    """Its column, `AB`."""
    attributes: bytes
    """All others, ` s="3" t="s"`: there are few different ones."""
    value: bytes
    inline: bytes
    """Text that is not shared."""


class SheetRows:
    """Reads the rows of one sheet, once."""

    def __init__(self, shared: Callable[[], SharedTexts], styles: Mapping[int, Formatter]) -> None:
        """`shared` is asked when a cell needs it; `styles` has the formats that change how a number is written."""
        self._shared = shared
        self._styles = styles
        self._converts: dict[bytes, Convert] = {}
        self._columns: dict[bytes, int] = {}
        self._prefix = b""
        self._cell = re.compile(b"")
        self._width = 0
        self._number = 0

    def read(self, chunks: Iterable[bytes], log: Log) -> Iterator[list[GridRow]]:
        """All rows with text. Raises Unreadable and TooLargeToRead."""
        stream = as_utf8(chunks)
        buffer = self._skip_head(stream)
        close, end = b"</%srow>" % self._prefix, b"</%ssheetData" % self._prefix
        while buffer:
            at = buffer.find(end)
            ready, _, rest = (buffer if at < 0 else buffer[:at]).rpartition(close)
            rows = [row for piece in ready.split(close) if piece and (row := self._row(piece)) is not None]
            if rows:
                yield rows
            if at >= 0:
                self._look_at_rest(buffer[at:], stream, log)
                return
            # A row without cells may have no end tag of its own.
            buffer = rest[max(rest.rfind(b"<%srow" % self._prefix), 0) :]
            if len(buffer) > TOKEN_BYTES_MAX:
                raise TooLargeToRead(
                    f"Row {self._number + 1} of the sheet is longer than {TOKEN_BYTES_MAX} bytes.",
                    limit=TOKEN_BYTES_MAX,
                    line=self._number + 1,
                )
            chunk = next(stream, None)
            if chunk is None:
                raise Unreadable(f"The sheet ends in the middle, after row {self._number}.")
            buffer += chunk

    def _skip_head(self, stream: Iterator[bytes]) -> bytes:
        """What follows the start of the rows; nothing when there are none."""
        buffer = b""
        for chunk in stream:
            buffer += chunk
            self._prefix = prefix = prefix_of(buffer, b"worksheet")
            begin = re.search(rb"<%ssheetData(\s*/)?[^>]*>" % prefix, buffer)
            if begin:
                self._cell = _cell_pattern(prefix)
                return b"" if begin[1] else buffer[begin.end() :] or b" "
            if len(buffer) > TOKEN_BYTES_MAX:
                break
        raise Unreadable("The sheet has no rows.")

    def _row(self, piece: bytes) -> GridRow | None:
        """The last row of a piece, without its end tag; rows without cells may stand before it."""
        start = piece.rfind(b"<%srow" % self._prefix)
        close = piece.find(b">", start)
        if start < 0 or close < 0:
            raise Unreadable(f"The sheet is damaged after row {self._number}.")
        named = _ROW_NUMBER.search(piece, start, close)
        # Numbers that do not rise are nonsense; the row is there all the same.
        self._number = max(int(named[1]) if named else 0, self._number + 1)
        opening = b"<%sc" % self._prefix
        found: list[tuple[bytes, bytes, bytes, bytes]] = self._cell.findall(piece, close)
        count = piece.count(opening + b" ", close) + piece.count(opening + b">", close)
        cells = self._texts(found if count == len(found) else _parse_row(piece[start:], self._prefix))
        while cells and not cells[-1]:
            cells.pop()
        self._width = max(self._width, len(cells))
        return GridRow(self._number, cells) if any(map(str.strip, cells)) else None

    def _texts(self, found: Iterable[tuple[bytes, bytes, bytes, bytes]]) -> list[str]:
        columns, converts = self._columns, self._converts
        cells = [""] * self._width
        for letters, attributes, value, inline in found:
            if not value and not inline:
                continue
            index = columns.get(letters)
            if index is None:
                index = columns[letters] = _index(letters)
            if index >= len(cells):
                cells += [""] * (index + 1 - len(cells))
            convert = converts.get(attributes)
            if convert is None:
                convert = converts[attributes] = self._converter(attributes)
            cells[index] = convert(inline or value)
        return cells

    def _converter(self, attributes: bytes) -> Convert:
        """How cells with these attributes are written. Errors (`#N/A`) are written as they are."""
        found = dict(_ATTRIBUTE.findall(attributes))
        kind, style = found.get(b"t", b"n"), found.get(b"s", b"")
        if kind == b"s":
            return self._shared().__getitem__
        if kind == b"n":
            known = self._styles.get(int(style)) if style.isdigit() else None
            return _Formatted(known).__getitem__ if known else _number
        return {b"b": _boolean, b"d": _iso_moment}.get(kind, unescape)

    def _look_at_rest(self, rest: bytes, stream: Iterator[bytes], log: Log) -> None:
        """To the end of the part, whose checksum is checked there; merged cells are told on the way."""
        mark = b"mergeCell "
        merged = False
        for chunk in stream:
            merged = merged or mark in rest
            rest = rest[-len(mark) :] + chunk
        if merged or mark in rest:
            log.note("Cells are merged; their text stands in the first of them.")


def outer_column(head: bytes) -> int:
    """How many columns a sheet says that it has; 0 where it does not say."""
    found = _DIMENSION.search(head)
    return _index(found[1]) + 1 if found else 0


def _cell_pattern(prefix: bytes) -> re.Pattern[bytes]:
    """Groups are those of RawCell."""
    pattern = (
        rb'<#c r="([A-Z]{1,3})\d{1,7}"([^>/]*)(?:/>|>'
        rb"(?:<#f[^>]*(?:/>|>[^<]*</#f>))?"
        rb"(?:<#v[^>]*>([^<]*)</#v>|<#v/>)?"
        rb"(?:<#is><#t[^>]*>([^<]*)</#t></#is>)?</#c>)"
    )
    return re.compile(pattern.replace(b"#", prefix))


def _parse_row(row: bytes, prefix: bytes) -> list[RawCell]:
    """The cells of a row, which has lost its end tag, through the XML parser."""
    cells: list[RawCell] = []
    path: list[str] = []
    place, known = 0, b""
    texts: dict[str, list[str]] = {"v": [], "t": []}

    def on_start(name: str, given: dict[str, str]) -> None:
        nonlocal place, known
        path.append(local(name))
        if path[-1] == "c":
            letters = given.get("r", "").rstrip("0123456789").encode("ascii", "replace")
            place = _index(letters) if letters else place
            known = "".join(f' {key}="{given[key]}"' for key in ("s", "t") if key in given).encode()

    def on_text(text: str) -> None:
        if path[-1] in texts and "rPh" not in path:
            texts[path[-1]].append(text)

    def on_end(_: str) -> None:
        nonlocal place
        if path.pop() != "c":
            return
        # Escaped as it was, since all cells are unescaped in one place.
        value, inline = ("".join(texts[key]).replace("&", "&amp;").encode("utf-8", "replace") for key in ("v", "t"))
        cells.append(RawCell(_letters(place), known, value, inline))
        texts["v"], texts["t"] = [], []
        place += 1

    scan([row, b"</%srow>" % prefix], on_start, on_end, on_text)
    return cells


def _index(letters: bytes) -> int:
    """0-based index of the column `AB`."""
    index = 0
    for letter in letters.upper():
        index = index * 26 + letter - 64
    if not 0 < index <= COLUMNS_MAX:
        raise TooLargeToRead(f"The sheet has more than {COLUMNS_MAX} columns.", limit=COLUMNS_MAX)
    return index - 1


def _letters(index: int) -> bytes:
    text = b""
    rest = index + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        text = bytes([65 + letter]) + text
    return text


def _boolean(raw: bytes) -> str:
    return "true" if raw in (b"1", b"true") else "false"


def _iso_moment(raw: bytes) -> str:
    """A date that is written as a date, in the form of `cell_text.moment`."""
    text = raw.decode("ascii", "replace").removesuffix("Z").replace("T", " ")
    return f"{text} 00:00:00" if len(text) == len("2026-01-31") else text


def _number(raw: bytes) -> str:
    if raw.isdigit() and len(raw) <= PLAIN_DIGITS_MAX and (raw[:1] != b"0" or raw == b"0"):
        return raw.decode()
    try:
        return number(float(raw))
    except ValueError:
        return unescape(raw)


class _Formatted(dict[bytes, str]):
    """Texts of the numbers of one format, remembered."""

    def __init__(self, write: Formatter) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, raw: bytes) -> str:
        try:
            text = self._write(float(raw))
        except (ValueError, OverflowError):
            text = unescape(raw)
        if len(self) < CACHED_VALUES_MAX:
            self[raw] = text
        return text
