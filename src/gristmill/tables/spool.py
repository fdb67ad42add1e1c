"""Rows on their way to a file whose columns are known only at the end: kept on disk, so that memory stays flat."""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self

from gristmill.base.errors import TooLarge
from gristmill.tables.flatten import COLUMNS_MAX, cell, order_columns
from gristmill.tables.flattening import FlatColumn, flat_columns

CHUNK_ROWS = 500
"""Rows written and read at a time."""
MEMORY_BYTES = 8 * 1024 * 1024
"""Kept in memory up to here."""


class Spool:
    """Rows of JSON values in a temporary file that only this process can read."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 (closed by __exit__)
        self._waiting: list[list[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: Sequence[Any]) -> None:
        """Keep a row of values that JSON knows."""
        self._waiting.append(list(row))
        if len(self._waiting) >= CHUNK_ROWS:
            self.put(self._waiting)
            self._waiting = []

    def rows(self) -> Iterator[list[Any]]:
        """All rows, in order. To be read after the last one was added."""
        if self._waiting:
            self.put(self._waiting)
            self._waiting = []
        return chain.from_iterable(self.chunks())

    def put(self, chunk: list[list[Any]]) -> None:
        """Keep several rows, or anything that is lists of such values, together."""
        try:
            data = marshal.dumps(chunk)
        except ValueError:  # a value that JSON does not know, such as a date
            data = marshal.dumps([[_known(value) for value in row] for row in chunk])
        self._file.write(len(data).to_bytes(8, "big") + data)

    def chunks(self) -> Iterator[list[list[Any]]]:
        """What was put, in order. To be read after the last was."""
        self._file.seek(0)
        while size := int.from_bytes(self._file.read(8), "big"):
            yield marshal.loads(self._file.read(size))  # noqa: S302 - our own file


def _known(value: Any) -> Any:
    try:
        marshal.dumps(value)
    except ValueError:
        return cell(value)
    return value


class FlatRows:
    """Nested values as flat rows under the union of their dotted columns, from one pass over them."""

    def __init__(self, values: Iterable[Any]) -> None:
        """Reads all values. Raises TooLarge for more than COLUMNS_MAX columns."""
        self._spool = Spool()
        names: dict[str, None] = {}
        left = iter(values)
        while chunk := list(islice(left, CHUNK_ROWS)):
            columns = flat_columns(chunk)
            names.update(dict.fromkeys(column.name for column in columns))
            if len(names) > COLUMNS_MAX:
                raise TooLarge(f"The results have more than {COLUMNS_MAX} different columns.", limit=COLUMNS_MAX)
            parts = [part for column in columns for part in _parts(column, len(chunk))]
            self._spool.put([[len(chunk)], [column.name for column in columns], *parts])
        self.columns = order_columns(names)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        """Rows as wide as `columns`; None where a value has no such column."""
        for (count,), names, *parts in self._spool.chunks():
            cells: dict[str, Sequence[Any]] = {
                name: FlatColumn(name, rows, cells).filled(count)
                for name, rows, cells in zip(names, parts[::2], parts[1::2], strict=True)
            }
            nothing = [None] * count
            yield from zip(*(cells.get(name, nothing) for name in self.columns), strict=True)


def _parts(column: FlatColumn, count: int) -> tuple[list[int], list[Any]]:
    """A column as it is kept; which rows have it is told where not all do."""
    return [] if len(column.rows) == count else [*column.rows], [*column.cells]
