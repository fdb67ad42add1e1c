"""JSON and JSON Lines as rows: one object is one row, nested values become dotted columns.

The columns are the union of all keys, so opening a table reads the file once to its end. JSON up to
WHOLE_BYTES_MAX is parsed at once and the longest array of objects in it is the table; beyond that, or when
it is damaged, elements are cut out of the first array of objects one by one, and what can't be parsed is
a reject. The line of a JSON row is the number of its element; for JSON Lines it is the line.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import orjson

from gristmill.base.errors import Error
from gristmill.tables.flatten import COLUMNS_MAX, cell, flatten, order_columns
from gristmill.tables.infer import SAMPLE_ROWS, infer
from gristmill.tables.model import (
    REJECT_BYTES_MAX,
    Column,
    Dialect,
    Reject,
    RowGroup,
    TooLargeToRead,
    Unreadable,
    unique_names,
)
from gristmill.tables.source import Source
from gristmill.tables.table import Log

WHOLE_BYTES_MAX = 16 * 1024 * 1024
"""A JSON file up to here is parsed at once."""
RECORD_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of one element or line."""
GROUP_ROWS = 1_000
"""Rows handed out at a time."""
SEARCH_DEPTH_MAX = 8
"""How deep an array of rows may lie inside of objects."""

# A string (without its end when the buffer stops inside it) or a character that changes the depth.
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*(?P<end>"?)|[\[\]{},]', re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{16}")
_OPEN, _CLOSE = b"[{", b"]}"


class Element(NamedTuple):
    """One value that should be a row."""

    number: int
    raw: bytes
    """Empty where the element was parsed with the whole file."""
    value: Any = None
    broken: bool = False
    """The file ends inside of it."""


class JsonReader:
    """Reads one JSON or JSON Lines file."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        """Raises Unreadable when no row can be found and TooLargeToRead beyond a limit."""
        self._source = source
        self.dialect = dialect
        self._values = None if dialect.format == "jsonl" else self._load_whole()
        self.columns = self._find_columns()
        self.header: list[str] | None = [column.original for column in self.columns]

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """See table.Reader."""
        names = [column.original for column in self.columns]
        lines: list[int] = []
        rows: list[list[str]] = []
        values: list[Any] = []
        for number, value, flat in self._objects(log):
            lines.append(number)
            rows.append([cell(flat.get(name)) for name in names])
            values.append(value)
            if len(rows) >= GROUP_ROWS:
                yield RowGroup(lines, rows, values)
                lines, rows, values = [], [], []
        if rows:
            yield RowGroup(lines, rows, values)

    def _find_columns(self) -> tuple[Column, ...]:
        names: dict[str, None] = {}
        sample: list[dict[str, Any]] = []
        log = Log()
        for _, _, value in self._objects(log):
            names.update(dict.fromkeys(value))
            if len(names) > COLUMNS_MAX:
                raise TooLargeToRead(f"The rows have more than {COLUMNS_MAX} different keys.", limit=COLUMNS_MAX)
            if len(sample) < SAMPLE_ROWS:
                sample.append(value)
        if not sample and log.rejected:
            raise Unreadable("No row of the JSON file can be parsed.")
        originals = order_columns(names)
        return tuple(
            Column(name, original, index, infer((cell(row.get(original)) for row in sample), original))
            for index, (name, original) in enumerate(zip(unique_names(originals), originals, strict=True))
        )

    def _objects(self, log: Log) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        """(element number, the element, its flat row) of every good element."""
        for element in self._elements(log):
            try:
                if element.broken:
                    raise Unreadable("The file ends in the middle of this element.")
                value = parse(element.raw) if element.raw else element.value
                yield element.number, value, {name: _scalar(item) for name, item in flatten(value).items()}
            except Error as error:
                raw = element.raw or cell(element.number).encode()
                log.reject(Reject(element.number, raw[:REJECT_BYTES_MAX], error.message))

    def _elements(self, log: Log) -> Iterator[Element]:
        if self.dialect.format == "jsonl":
            yield from self._lines(log)
        elif self._values is not None:
            yield from (Element(number, b"", value) for number, value in enumerate(self._values, start=1))
        else:
            yield from _cut_elements(self._chunks())

    def _lines(self, log: Log) -> Iterator[Element]:
        number = 0
        for number, line in enumerate(_split_lines(self._chunks()), start=1):
            raw = line.strip()
            if raw:
                yield Element(number, raw)
            else:
                log.blank += 1
        log.physical_lines = number

    def _chunks(self) -> Iterator[bytes]:
        """The file in UTF-8 without a byte order mark."""
        encoding = self.dialect.encoding
        if encoding == "utf-8":
            yield from self._source.chunks()
            return
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        for chunk in self._source.chunks():
            yield decoder.decode(chunk).encode("utf-8", "replace")
        yield decoder.decode(b"", final=True).encode("utf-8", "replace")

    def _load_whole(self) -> list[Any] | None:
        """The rows of a file that is small and sound; None when it must be cut."""
        data = bytearray()
        for chunk in self._chunks():
            data += chunk
            if len(data) > WHOLE_BYTES_MAX:
                return None
        try:
            value = parse(bytes(data))
        except Unreadable:
            return None
        if isinstance(value, list):
            return cast("list[Any]", value)
        return _longest_array(value) or [value]


def parse(data: bytes) -> Any:
    """One JSON value with integers of any length exact. Raises Unreadable."""
    try:
        value = orjson.loads(data)
        # orjson turns integers beyond 64 bits into floats, which would cut long ids short.
        return json.loads(data) if _LONG_NUMBER.search(data) else value
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"Not valid JSON: {error}.") from error


def _scalar(item: Any) -> Any:
    """Leftovers that `flatten` did not take apart, as JSON text."""
    if not isinstance(item, (dict, list)):
        return item
    try:
        return cell(cast("Any", item))
    except (RecursionError, ValueError) as error:
        raise Unreadable("The value is nested too deep.") from error


def _longest_array(value: Any) -> list[Any]:
    """The longest array of objects inside of objects; empty when there is none."""
    best: list[Any] = []
    level: list[Any] = [value]
    for _ in range(SEARCH_DEPTH_MAX):
        below: list[Any] = []
        for node in level:
            if not isinstance(node, dict):
                continue
            for item in cast("dict[str, Any]", node).values():
                if isinstance(item, list):
                    array = cast("list[Any]", item)
                    if len(array) > len(best) and isinstance(array[0], dict):
                        best = array
                elif isinstance(item, dict):
                    below.append(item)
        level = below
    return best


def _split_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        waiting.append(first)
        size += len(first)
        if size > RECORD_BYTES_MAX:
            raise TooLargeToRead(f"A line is longer than {RECORD_BYTES_MAX} bytes.", limit=RECORD_BYTES_MAX)
        if rest:
            yield b"".join(waiting)
            yield from rest[:-1]
            waiting, size = [rest[-1]], len(rest[-1])
    if size:
        yield b"".join(waiting)


def _cut_elements(chunks: Iterator[bytes]) -> Iterator[Element]:
    """Cut the elements out of the first array of objects (or the array the file is)."""
    cutter = _Cutter()
    for chunk in chunks:
        yield from cutter.feed(chunk)
        if cutter.is_done:
            return
    if not cutter.depth_of_rows:
        raise Unreadable("The JSON file has no array of objects and is not valid as a whole.")
    yield from cutter.rest()


class _Cutter:
    """Finds element boundaries by depth alone, outside of strings."""

    def __init__(self) -> None:
        self.buffer = b""
        self.position = 0  # where the search goes on
        self.start = 0  # where the present element starts
        self.depth = 0
        self.depth_of_rows = 0  # depth inside the array of rows; 0 until it is found
        self.candidate = False  # the last token opened an array
        self.number = 0
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[Element]:
        self.buffer = self.buffer[self.start :] + chunk
        self.position -= self.start
        self.start = 0
        if len(self.buffer) > RECORD_BYTES_MAX + len(chunk):
            raise TooLargeToRead(f"An element is longer than {RECORD_BYTES_MAX} bytes.", limit=RECORD_BYTES_MAX)
        for match in _TOKEN.finditer(self.buffer, self.position):
            if match["end"] == b"":
                self.position = match.start()
                break
            self.position = match.end()
            yield from self.step(match.group(), match.start())
            if self.is_done:
                return
        else:
            self.position = max(self.position, len(self.buffer))
        if not self.depth_of_rows:
            self.start = self.position  # nothing before the array of rows is wanted

    def step(self, token: bytes, at: int) -> Iterator[Element]:
        opened_array, self.candidate = self.candidate, token == b"["
        if token in _OPEN:
            if not self.depth_of_rows and opened_array and token == b"{":
                self.depth_of_rows, self.start = self.depth, at
            self.depth += 1
        elif token in _CLOSE:
            if self.depth == self.depth_of_rows:
                yield from self.cut(at)
                self.is_done = True
            self.depth -= 1
        elif token == b"," and self.depth == self.depth_of_rows and self.depth:
            yield from self.cut(at)

    def cut(self, at: int) -> Iterator[Element]:
        raw = self.buffer[self.start : at].strip()
        self.start = at + 1
        if raw:
            self.number += 1
            yield Element(self.number, raw)

    def rest(self) -> Iterator[Element]:
        raw = self.buffer[self.start :].strip()
        if raw:
            yield Element(self.number + 1, raw, broken=True)
