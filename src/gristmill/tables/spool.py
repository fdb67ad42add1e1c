"""Rows on their way to a file whose columns are known only at the end: kept on disk, so that memory stays flat."""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Self

from gristmill.base.errors import TooLarge
from gristmill.tables.flatten import COLUMNS_MAX, cell, flatten, order_columns

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
            self._flush()

    def rows(self) -> Iterator[list[Any]]:
        """All rows, in order. To be read after the last one was added."""
        self._flush()
        self._file.seek(0)
        while True:
            size = int.from_bytes(self._file.read(8), "big")
            if not size:
                return
            yield from marshal.loads(self._file.read(size))  # noqa: S302 - our own file

    def _flush(self) -> None:
        if self._waiting:
            try:
                data = marshal.dumps(self._waiting)
            except ValueError:  # a value that JSON does not know, such as a date
                data = marshal.dumps([[_known(value) for value in row] for row in self._waiting])
            self._file.write(len(data).to_bytes(8, "big") + data)
            self._waiting = []


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
        self._shapes: dict[tuple[str, ...], int] = {}
        for value in values:
            flat = flatten(value)
            shape = self._shapes.setdefault(tuple(flat), len(self._shapes))
            self._spool.add([shape, *flat.values()])
        names = dict.fromkeys(chain.from_iterable(self._shapes))
        if len(names) > COLUMNS_MAX:
            raise TooLarge(f"The results have more than {COLUMNS_MAX} different columns.", limit=COLUMNS_MAX)
        self.columns = order_columns(names)

    def __iter__(self) -> Iterator[list[Any]]:
        """Rows as wide as `columns`; None where a value has no such column."""
        place = {name: index for index, name in enumerate(self.columns)}
        shapes = [[place[name] for name in shape] for shape in self._shapes]
        width = len(self.columns)
        for shape, *values in self._spool.rows():
            row = [None] * width
            for index, value in zip(shapes[shape], values, strict=True):
                row[index] = value
            yield row
