"""The typed view of a table: record batches of text -> record batches of numbers, booleans, moments and text.

A view beside the text: what does not fit its column's type is null here and stays in the text. Arrow's kernels do the
common forms; cells in other forms are read by `infer.typed`, each different one once.
"""

# pyright: reportUnknownParameterType=false
# (pyarrow has no type stubs)

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute

from gristmill.tables.infer import typed
from gristmill.tables.model import Column, Type

pc: Any = pyarrow.compute
"""Its functions are made when it is loaded, so type checkers do not know them."""
ARROW_TYPES: dict[Type, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.timestamp("us"),
}
"""Types that are no text in the view. A date is the moment at which its day starts; moments with a zone are in UTC."""


def typed_schema(columns: Sequence[Column]) -> pa.Schema:
    """One field for each column; an empty cell is null where the type is no text."""
    return pa.schema([pa.field(column.name, ARROW_TYPES.get(column.type, pa.string())) for column in columns])


def typed_batches(batches: Iterable[pa.RecordBatch], columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    """The same rows with typed columns."""
    schema = typed_schema(columns)
    for batch in batches:
        arrays = [typed_array(batch.column(column.index), column.type) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def typed_array(cells: Any, kind: Type) -> Any:
    """Text cells as values of a type."""
    target = ARROW_TYPES.get(kind)
    if target is None:
        return cells
    if kind != "bool":  # Arrow knows other words for true and false
        try:
            return pc.cast(pc.if_else(pc.equal(cells, ""), None, cells), target)
        except pa.ArrowInvalid:
            pass
    return _each(cells, kind, target)


def _each(cells: Any, kind: Type, target: pa.DataType) -> Any:
    """Every different cell by itself."""
    coded = cells.dictionary_encode()
    fit = _FITS[kind]
    values = [fit(typed(cell, kind)) for cell in coded.dictionary.to_pylist()]
    return pc.take(pa.array(values, target), coded.indices)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo is None else (value - (value.utcoffset() or value - value)).replace(tzinfo=None)
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None  # noqa: DTZ001 (no zone)


_FITS: dict[Type, Callable[[Any], Any]] = {
    "int": lambda value: value if isinstance(value, int) else None,
    "float": lambda value: value if isinstance(value, float) else None,
    "bool": lambda value: value if isinstance(value, bool) else None,
    "date": _moment,
}
