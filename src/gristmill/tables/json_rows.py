"""JSON and JSON Lines as rows: one object is one row, nested values become dotted columns.

The columns are the union of all keys, so asking for them reads the file once to its end. The longest array of objects
is the table. JSON up to WHOLE_BYTES_MAX is parsed at once; beyond that, or when it is damaged, elements are cut out of
that array, and what can't be parsed is a reject. Rows may be arrays, too: the first is the header where it reads like
one. The line of a JSON row is the number of its element; for JSON Lines it is the line. Of a key that an object has
twice, the last value counts.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, NoReturn, cast

import orjson

from gristmill.base import jsons
from gristmill.base.errors import Error
from gristmill.tables.flatten import COLUMNS_MAX, cell, flatten, order_columns
from gristmill.tables.infer import SAMPLE_ROWS, infer
from gristmill.tables.layout import detect_layout
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

WHOLE_BYTES_MAX = 8 * 1024 * 1024
"""A JSON file up to here is parsed at once."""
LINE_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of one line."""
GROUP_ROWS = 1_000
"""Rows handed out at a time."""
NOTE_CHARS_MAX = 500
SEARCH_DEPTH_MAX = 8
"""How deep an array of rows may lie inside of objects."""

HEADER_ROWS = 200
"""Rows that the first one is compared with."""

VALUE = "value"
"""The column of elements that are no objects."""
_BETWEEN_VALUES = re.compile(r"[\s,\x1e]*")
_AROUND_LINES = b" \t\r\n,\x1e"
"""No part of a value: also the comma behind a line, and the sign that JSON text sequences put before one."""
_LONG_NUMBER = re.compile(rb"\d{19}")


class Run(NamedTuple):
    """Parsed elements of the file, one after the other."""

    numbers: Sequence[int]
    values: list[Any]


class JsonReader:
    """Reads one JSON or JSON Lines file."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        """Raises Unreadable when the file can't be rows."""
        self._source = source
        self.dialect = dialect
        self._note = ""
        self._names: list[str] | None = None
        self._values = None if dialect.format == "jsonl" else self._load_whole()
        self._has_header = False
        if dialect.header and self._names is None:
            self._names = self._named_by_first()
            self._has_header = self._names is not None

    @property
    def header(self) -> list[str] | None:
        """The keys."""
        return [column.original for column in self.columns]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Reads all of the file. Raises Unreadable when no row can be found and TooLargeToRead beyond a limit."""
        return self._columns

    @cached_property
    def _columns(self) -> tuple[Column, ...]:
        names: dict[str, None] = {}
        shapes: set[tuple[str, ...]] = set()
        sample: list[dict[str, Any]] = []
        log = Log()
        for run in self._runs(log):
            for _, _, flat in _flat_rows(run, log):
                shape = tuple(flat)
                if shape not in shapes:
                    shapes.add(shape)
                    names.update(dict.fromkeys(shape))
                    if len(names) > COLUMNS_MAX:
                        raise TooLargeToRead(
                            f"The rows have more than {COLUMNS_MAX} different keys.", limit=COLUMNS_MAX
                        )
                if len(sample) < SAMPLE_ROWS:
                    sample.append(flat)
                elif shape == (VALUE,) and _are_scalars(run.values):
                    break
        if not sample and log.rejected:
            raise Unreadable(f"No row of the JSON file can be parsed: {log.rejects[0].reason}")
        originals = order_columns(names)
        return tuple(
            Column(name, original, index, infer((cell(row.get(original)) for row in sample), original))
            for index, (name, original) in enumerate(zip(unique_names(originals), originals, strict=True))
        )

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """See table.Reader."""
        names = [column.original for column in self.columns]
        for run in self._runs(log):
            if names == [VALUE] and _are_scalars(run.values):
                yield RowGroup([*run.numbers], [[cell(value)] for value in run.values], run.values)
                continue
            group = RowGroup([], [], [])
            for number, value, flat in _flat_rows(run, log):
                group.lines.append(number)
                group.rows.append([cell(flat.get(name)) for name in names])
                if group.values is not None:
                    group.values.append(value)
            if group.rows:
                yield group

    def _named_by_first(self) -> list[str] | None:
        """The names of columns when rows are arrays and the first of them has names."""
        runs = self._elements(Log())
        values = next(runs, Run((), [])).values[:HEADER_ROWS]
        runs.close()
        if len(values) < 2 or not all(isinstance(value, list) for value in values):  # noqa: PLR2004 (with a row)
            return None
        rows = [[cell(item) for item in value] for value in values]
        names = rows[0]
        are_names = all(map(str.strip, names)) and len(set(names)) == len(names)
        are_texts = all(isinstance(item, str) for item in values[0])
        return names if are_names and are_texts and detect_layout(rows, 0).header else None

    def _runs(self, log: Log) -> Iterator[Run]:
        """The elements in order, GROUP_ROWS at most in a run; what can't be parsed is a reject."""
        if self._note:
            log.note(self._note)
        names = self._names
        if names is None:
            yield from self._elements(log)
            return
        due = self._has_header
        for run in self._elements(log):
            skipped = int(due and bool(run.values))
            due = due and not skipped
            log.header += skipped
            yield Run(run.numbers[skipped:], [_named(value, names) for value in run.values[skipped:]])

    def _elements(self, log: Log) -> Generator[Run]:
        if self.dialect.format == "jsonl":
            yield from self._lines(log)
        elif self._values is not None:
            for start in range(0, len(self._values), GROUP_ROWS):
                values = self._values[start : start + GROUP_ROWS]
                yield Run(range(start + 1, start + 1 + len(values)), values)
        else:
            yield from _array_runs(self._chunks(), self._place, log)

    @cached_property
    def _place(self) -> int:
        """Which array of objects is the longest, counted from 0: one more pass over the file."""
        from gristmill.tables.json_cut import longest_array  # noqa: PLC0415 - loads numpy

        return longest_array(self._chunks())

    def _lines(self, log: Log) -> Iterator[Run]:
        numbered = enumerate(_split_lines(self._chunks()), start=1)
        while group := list(islice(numbered, GROUP_ROWS)):
            filled = [(number, raw) for number, line in group if (raw := line.strip(_AROUND_LINES))]
            log.blank += len(group) - len(filled)
            log.physical_lines += len(group)
            if filled:
                yield from _parsed([number for number, _ in filled], [raw for _, raw in filled], log)

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
        except Unreadable as error:
            values = _values_in_a_row(bytes(data))
            if values is None:
                self._note = f"The file is not sound as a whole; its longest array of objects is read. {error.message}"
            return values
        if isinstance(value, list):
            return cast("list[Any]", value)
        if not isinstance(value, dict):
            raise Unreadable("The JSON file is a single value and no rows.")
        arrays = _arrays(value)
        if not arrays:
            return [value]
        best = max(arrays, key=lambda name: len(arrays[name]))
        if isinstance(arrays[best][0], list):
            self._names = _names_beside(value, len(arrays[best][0])) if self.dialect.header else None
        others = ", ".join(f"`{name}` ({len(array)})" for name, array in arrays.items() if name != best)
        if others:
            self._note = f"The longest array of rows, `{best}`, is read; {others} is not."[:NOTE_CHARS_MAX]
        return arrays[best]


def parse(data: bytes) -> Any:
    """One JSON value with integers of any length exact. Raises Unreadable."""
    try:
        return jsons.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"Not valid JSON: {error}.") from error


def _values_in_a_row(data: bytes) -> list[Any] | None:
    """Objects that follow one another over several lines each, as `jq` writes them; None for anything else."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    decoder, values, at = json.JSONDecoder(parse_constant=_refuse), list[Any](), 0
    while True:
        gap = _BETWEEN_VALUES.match(text, at)
        at = gap.end() if gap else at
        if at == len(text):
            return values if len(values) > 1 else None
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        # What has nothing but arrays and objects holds rows and is none.
        if not isinstance(value, dict) or _are_no_scalars(cast("dict[str, Any]", value)):
            return None
        values.append(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _are_no_scalars(value: dict[str, Any]) -> bool:
    return all(isinstance(item, (dict, list)) for item in value.values())


def _named(value: Any, names: list[str]) -> Any:
    """An array as an object; what lies beyond the names is called by its place."""
    if not isinstance(value, list):
        return value
    row = cast("list[Any]", value)
    keys = [*names, *map(str, range(len(names), len(row)))]
    return dict(zip(keys, row, strict=False))


def _names_beside(value: dict[str, Any], width: int) -> list[str] | None:
    """Names of so many columns that an object has beside its array of rows: texts, or objects with a name each."""
    level: list[dict[str, Any]] = [value]
    for _ in range(SEARCH_DEPTH_MAX):
        for node in level:
            for item in node.values():
                if isinstance(item, list) and len(cast("list[Any]", item)) == width:
                    names = [_name(column) for column in cast("list[Any]", item)]
                    if all(names) and len(set(names)) == width:
                        return names
        level = [cast("dict[str, Any]", item) for node in level for item in node.values() if isinstance(item, dict)]
    return None


def _name(column: Any) -> str:
    name = cast("dict[str, Any]", column).get("name") if isinstance(column, dict) else column
    return name.strip() if isinstance(name, str) else ""


def _flat_rows(run: Run, log: Log) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """(number, element, its flat row)."""
    for number, value in zip(run.numbers, run.values, strict=True):
        flat = flatten(value)
        if any(isinstance(item, (dict, list)) for item in flat.values()):
            try:
                flat = {name: _scalar(item) for name, item in flat.items()}
            except Error as error:
                log.reject(Reject(number, cell(number).encode(), error.message))
                continue
        yield number, value, flat


def _are_scalars(values: list[Any]) -> bool:
    return not {dict, list} & set(map(type, values))


def _array_runs(chunks: Iterator[bytes], place: int, log: Log) -> Iterator[Run]:
    """The elements of a long or damaged file."""
    from gristmill.tables.json_cut import cut_array  # noqa: PLC0415 - loads numpy

    number, found = 0, False
    for piece in cut_array(chunks, place):
        found = True
        numbers = range(number + 1, number + 1 + len(piece.ends))
        number += len(piece.ends)
        if piece.fault and not piece.ends:
            log.note(piece.fault)
        elif piece.fault:
            log.reject(Reject(number, piece.raw.strip()[:REJECT_BYTES_MAX], piece.fault))
        elif (values := _parse_all(piece.raw, len(numbers))) is not None:
            for start in range(0, len(values), GROUP_ROWS):
                yield Run(numbers[start : start + GROUP_ROWS], values[start : start + GROUP_ROWS])
        else:
            elements = list(piece.elements())
            for start in range(0, len(elements), GROUP_ROWS):
                yield from _parsed(numbers[start : start + GROUP_ROWS], elements[start : start + GROUP_ROWS], log)
    if not found:
        raise Unreadable("The JSON file has no array of objects and is not valid as a whole.")


def _parsed(numbers: Sequence[int], raws: list[bytes], log: Log) -> Iterator[Run]:
    """Elements that lie one by one, parsed at once when all of them are good."""
    values = _parse_all(b",".join(raws), len(raws))
    if values is not None:
        yield Run(numbers, values)
        return
    good: list[int] = []
    values = []
    for number, raw in zip(numbers, raws, strict=True):
        try:
            values.append(parse(raw))
            good.append(number)
        except Unreadable as error:
            log.reject(Reject(number, raw[:REJECT_BYTES_MAX], error.message))
    yield Run(good, values)


def _parse_all(raw: bytes, count: int) -> list[Any] | None:
    """So many elements with commas between them; None when one of them needs a look by itself."""
    if _LONG_NUMBER.search(raw):
        return None
    try:
        values = orjson.loads(b"[%s]" % raw)
    except orjson.JSONDecodeError:
        return None
    return values if len(values) == count else None


def _scalar(item: Any) -> Any:
    """Leftovers that `flatten` did not take apart, as JSON text."""
    if not isinstance(item, (dict, list)):
        return item
    try:
        return cell(cast("Any", item))
    except (RecursionError, ValueError) as error:
        raise Unreadable("The value is nested too deep.") from error


def _arrays(value: dict[str, Any]) -> dict[str, list[Any]]:
    """Arrays of objects, or of rows that are arrays, inside of objects: by dotted name, the outer ones first."""
    found: dict[str, list[Any]] = {}
    level: list[tuple[str, dict[str, Any]]] = [("", value)]
    for _ in range(SEARCH_DEPTH_MAX):
        below: list[tuple[str, dict[str, Any]]] = []
        for path, node in level:
            for name, item in node.items():
                if isinstance(item, list):
                    array = cast("list[Any]", item)
                    if array and (isinstance(array[0], dict) or _are_rows(array)):
                        found[f"{path}{name}"] = array
                elif isinstance(item, dict):
                    below.append((f"{path}{name}.", cast("dict[str, Any]", item)))
        level = below
    return found


def _are_rows(array: list[Any]) -> bool:
    """Whether the first elements are arrays of plain values, all equally long."""
    first = array[:HEADER_ROWS]
    if len(first) < 2 or not all(isinstance(item, list) and item for item in first):  # noqa: PLR2004 (with a row)
        return False
    return len(set(map(len, first))) == 1 and all(map(_are_scalars, first))


def _split_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        waiting.append(first)
        size += len(first)
        if size > LINE_BYTES_MAX:
            raise TooLargeToRead(f"A line is longer than {LINE_BYTES_MAX} bytes.", limit=LINE_BYTES_MAX)
        if rest:
            yield b"".join(waiting)
            yield from rest[:-1]
            waiting, size = [rest[-1]], len(rest[-1])
    if size:
        yield b"".join(waiting)
