"""Rows -> Parquet, group by group. A column is numbers or booleans where all its values are, else text."""

# pyright: reportUnknownParameterType=false
# (pyarrow has no type stubs)

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.tables.flatten import cell
from gristmill.tables.model import unique_names
from gristmill.tables.source import CHUNK_BYTES
from gristmill.tables.spool import Spool

GROUP_ROWS = 20_000
"""Rows of a row group."""
_INT64 = range(-(2**63), 2**63)
_EXACT_IN_FLOATS = range(-(2**53), 2**53 + 1)


def write_parquet(rows: Iterable[Sequence[Any]], header: Sequence[str]) -> Iterator[bytes]:
    """A Parquet file, in chunks once it is complete.

    The types of the columns are known only at the end, so the rows are kept in a temporary file until then. None is
    null; nested values and columns of several types are text as `cell` says.
    """
    kinds: list[set[str]] = [set() for _ in header]
    with Spool() as spool, tempfile.TemporaryFile() as file:
        for row in rows:
            for seen, value in zip(kinds, row, strict=True):
                seen.add(_kind(value))
            spool.add(row)
        schema = pa.schema(
            [pa.field(name, _type(seen)) for name, seen in zip(unique_names([*header]), kinds, strict=True)]
        )
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            lines = spool.rows()
            while group := list(islice(lines, GROUP_ROWS)):
                columns = [
                    _array(values, field.type) for values, field in zip(zip(*group, strict=True), schema, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _kind(value: Any) -> str:
    """What a column must be able to hold for this value."""
    kind = type(value)
    if value is None:
        return "null"
    if kind is bool:
        return "bool"
    if kind is int and value in _INT64:
        return "int" if value in _EXACT_IN_FLOATS else "long"
    return "float" if kind is float else "text"


def _type(seen: set[str]) -> pa.DataType:
    found = seen - {"null"}
    if found == {"bool"}:
        return pa.bool_()
    if found and found <= {"int", "long"}:
        return pa.int64()
    if found and found <= {"int", "float"}:
        return pa.float64()
    return pa.string()


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind != pa.string():
        return pa.array(values, kind)
    texts = [None if value is None else cell(value) for value in values]
    try:
        return pa.array(texts, kind)
    except UnicodeEncodeError:  # half of a surrogate pair is no UTF-8
        return pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], kind)
