"""Rows as Arrow record batches: one text column for each column of the table.

pyarrow takes a while to load, so this module is imported by whoever asks for Arrow and by nobody else.
"""

# pyright: reportUnknownParameterType=false
# (pyarrow has no type stubs)

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from gristmill.tables.model import Column, RowGroup


def text_schema(columns: Sequence[Column]) -> pa.Schema:
    """One UTF-8 field for each column, none of them null."""
    return pa.schema([pa.field(column.name, pa.string(), nullable=False) for column in columns])


def text_batch(rows: Sequence[Sequence[str]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of equal width as one record batch."""
    cells: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in cells], schema=schema)


def text_batches(groups: Iterable[RowGroup], columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    """Row groups as record batches, one for one."""
    schema = text_schema(columns)
    return (text_batch(group.rows, schema) for group in groups)
