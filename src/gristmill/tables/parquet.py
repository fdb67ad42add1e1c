"""Parquet as rows: streamed, nested columns dotted, every value as text.

A struct becomes one column for each of its fields. A list or map becomes as many columns as its longest value needs,
which takes one look through that column when the file is opened.
"""

# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# (pyarrow has no type stubs)

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from gristmill.tables.cell_text import SECONDS_PER_DAY, duration, number
from gristmill.tables.flatten import COLUMNS_MAX, cell, flatten, order_columns
from gristmill.tables.infer import SAMPLE_ROWS, infer
from gristmill.tables.model import Column, Dialect, RowGroup, TooLargeToRead, Unreadable, unique_names
from gristmill.tables.source import Source
from gristmill.tables.table import Log
from gristmill.tables.unpack import UNPACK_FREE_BYTES, UNPACK_RATIO_MAX

pc: Any = pyarrow.compute
"""Its functions are made when it is loaded, so type checkers do not know them."""
GROUP_CELLS = 50_000
"""Cells handed out at a time."""
GROUP_ROWS_MAX = 2_000
GROUP_BYTES_MAX = 64 * 1024 * 1024
"""Text of one group; a dictionary of long values can make a huge one from a small file."""
BUFFER_BYTES = 1024 * 1024
"""Read from the file at a time."""
PLAIN_FLOAT_MAX = 1e15
"""Arrow writes larger numbers with an exponent."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One column of the table: where it is in the file and how it is taken out."""

    top: int
    """Index of the column of the file."""
    path: tuple[str, ...]
    """Names of the structs it lies in, and its own."""
    inner: str = ""
    """Name inside of a list or map; empty for a single value."""

    @property
    def name(self) -> str:
        return ".".join((*self.path, self.inner) if self.inner else self.path)


class ParquetReader:
    """Reads one Parquet file."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        """Raises Unreadable for a damaged file and TooLargeToRead beyond a limit."""
        self._source = source
        self.dialect = dialect
        with self._opened() as file:
            _check_sizes(file.metadata)
            self._leaves = self._find_leaves(file)
        if len(self._leaves) > COLUMNS_MAX:
            raise TooLargeToRead(f"The table has more than {COLUMNS_MAX} columns.", limit=COLUMNS_MAX)
        originals = [leaf.name for leaf in self._leaves]
        self.header: list[str] | None = originals
        sample = self._sample()
        self.columns = tuple(
            Column(name, original, index, infer((row[index] for row in sample), original))
            for index, (name, original) in enumerate(zip(unique_names(originals), originals, strict=True))
        )

    def groups(self, log: Log) -> Iterator[RowGroup]:
        """See table.Reader. The line of a row is its number; the header is in the file's schema and no line."""
        line = 1
        with self._opened() as file:
            for columns in self._text_columns(file):
                rows = [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]
                log.physical_lines = line + len(rows) - 1
                yield RowGroup(list(range(line, line + len(rows))), rows)
                line += len(rows)

    def _sample(self) -> list[list[str]]:
        rows: list[list[str]] = []
        for group in self.groups(Log()):
            rows += group.rows
            if len(rows) >= SAMPLE_ROWS:
                break
        return rows[:SAMPLE_ROWS]

    @contextmanager
    def _opened(self) -> Generator[Any]:
        with self._source.open() as stream:
            try:
                file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=BUFFER_BYTES)
                texts = [file.schema.column(i).path for i in range(len(file.schema))] if file.metadata else []
                yield pq.ParquetFile(stream, pre_buffer=False, buffer_size=BUFFER_BYTES, read_dictionary=texts)
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                raise Unreadable(f"The Parquet file is damaged: {str(error)[:200]}") from error

    def _find_leaves(self, file: Any) -> list[_Leaf]:
        schema = file.schema_arrow
        return [
            leaf
            for top in range(len(schema))
            for leaf in _leaves_of(schema.field(top), top, (), lambda path: self._inner_names(file, path))
        ]

    def _inner_names(self, file: Any, path: tuple[str, ...]) -> list[str]:
        """Dotted names inside of the values of a list or map."""
        names: dict[str, None] = {}
        for batch in file.iter_batches(batch_size=GROUP_ROWS_MAX, columns=[".".join(path)]):
            for value in _walk(batch.column(0), path).to_pylist():
                names.update(dict.fromkeys(_flat(value)))
                if len(names) > COLUMNS_MAX:
                    raise TooLargeToRead(f"A list has more than {COLUMNS_MAX} values.", limit=COLUMNS_MAX)
        return order_columns(names)

    def _text_columns(self, file: Any) -> Iterator[list[Any]]:
        """Arrow arrays of text, one for each column, group after group."""
        size = max(1, min(GROUP_ROWS_MAX, GROUP_CELLS // max(1, len(self._leaves))))
        for batch in file.iter_batches(batch_size=size):
            lists: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            columns: list[Any] = []
            total = 0
            for leaf in self._leaves:
                array = _walk(batch.column(leaf.top), leaf.path)
                if leaf.inner:
                    if leaf.path not in lists:
                        lists[leaf.path] = [_flat(value) for value in array.to_pylist()]
                    column = pa.array([cell(flat.get(leaf.inner)) for flat in lists[leaf.path]], pa.string())
                else:
                    total += _text_bytes(array)
                    if total > GROUP_BYTES_MAX:
                        raise TooLargeToRead(f"Rows have more than {GROUP_BYTES_MAX} bytes.", limit=GROUP_BYTES_MAX)
                    column = pc.fill_null(as_text(array), "")
                columns.append(column)
            yield columns


def _check_sizes(metadata: Any) -> None:
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        packed = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
        if group.total_byte_size > max(UNPACK_FREE_BYTES, UNPACK_RATIO_MAX * packed):
            raise TooLargeToRead(
                f"The file unpacks to more than {UNPACK_RATIO_MAX} times its size.", limit=UNPACK_RATIO_MAX
            )


def _leaves_of(
    field: Any, top: int, path: tuple[str, ...], inner: Callable[[tuple[str, ...]], list[str]]
) -> list[_Leaf]:
    here = (*path, field.name)
    if pa.types.is_struct(field.type) and field.type.num_fields:
        return [leaf for child in field.type for leaf in _leaves_of(child, top, here, inner)]
    names = inner(here) if pa.types.is_nested(field.type) else []
    return [_Leaf(top, here, name) for name in names] or [_Leaf(top, here)]


def _walk(array: Any, path: tuple[str, ...]) -> Any:
    """The array of a column inside of structs; what lies in a null struct is null."""
    for name in path[1:]:
        array = pc.struct_field(array, name)
    return array


def _flat(value: Any) -> dict[str, Any]:
    """Dotted names of a list's or map's values; nothing for an empty one."""
    if not value:
        return {}
    pairs = all(isinstance(item, tuple) for item in value) if isinstance(value, list) else False
    return flatten(dict(value) if pairs else value)


def _text_bytes(array: Any) -> int:
    """Bytes of all values, before they are written out one by one."""
    if pa.types.is_dictionary(array.type):
        lengths = (
            pc.take(pc.binary_length(array.dictionary), array.indices) if _is_bytes(array.type.value_type) else None
        )
    else:
        lengths = pc.binary_length(array) if _is_bytes(array.type) else None
    return 0 if lengths is None else pc.sum(lengths).as_py() or 0


def _is_bytes(kind: Any) -> bool:
    return any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def as_text(array: Any) -> Any:
    """Values of any single type as text, null where they are null."""
    for test, write in _WRITERS:
        if test(array.type):
            return write(array)
    try:
        return pc.cast(array, pa.string())
    except pa.ArrowInvalid:  # bytes that are no text
        return _each(array, _bytes_text)
    except pa.ArrowNotImplementedError:
        return _each(array, cell)


def _each(array: Any, write: Callable[[Any], str]) -> Any:
    return pa.array([None if value is None else write(value) for value in array.to_pylist()], pa.string())


def _floats(array: Any) -> Any:
    highest = pc.max(pc.abs(pc.cast(array, pa.float64()))).as_py()
    if highest is None or highest < PLAIN_FLOAT_MAX:
        return pc.if_else(pc.is_nan(array), "NaN", pc.cast(array, pa.string()))
    return _each(array, number)


def _moments(array: Any) -> Any:
    """Without a fraction of zeros."""
    short = pc.replace_substring_regex(pc.cast(array, pa.string()), r"(\.\d*?)0+($|[Z+-])", r"\1\2")
    return pc.replace_substring_regex(short, r"\.($|[Z+-])", r"\1")


def _durations(array: Any) -> Any:
    return _each(array, lambda value: duration(value.total_seconds() / SECONDS_PER_DAY))


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


_WRITERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (pa.types.is_dictionary, lambda array: as_text(array.dictionary_decode())),
    (pa.types.is_null, lambda array: pa.nulls(len(array), pa.string())),
    (pa.types.is_floating, _floats),
    (pa.types.is_timestamp, _moments),
    (pa.types.is_time, _moments),
    (pa.types.is_duration, _durations),
)
