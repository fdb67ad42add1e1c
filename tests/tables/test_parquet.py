from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.tables import TooLargeToRead, Unreadable, parquet, read_table


def written(table: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def test_values_become_text() -> None:
    day = dt.datetime(2026, 1, 31, 10, 0, 0, 500_000, tzinfo=dt.UTC)
    table = pa.table(
        {
            "id": pa.array([12345678901234567, None], pa.int64()),
            "float": [1.0, 0.1],
            "big": [1e20, float("nan")],
            "ok": [True, None],
            "day": [dt.date(2026, 1, 31), None],
            "at": pa.array([day.replace(tzinfo=None), None], pa.timestamp("ns")),
            "utc": pa.array([day, None], pa.timestamp("us", tz="UTC")),
            "money": [Decimal("1.50"), None],
            "bytes": [b"text", b"\xff"],
            "kind": pa.array(["u", "u"]).dictionary_encode(),
            "took": [dt.timedelta(hours=30), None],
            "null": pa.nulls(2),
        }
    )
    read = read_table(written(table))
    assert read.header == table.column_names
    assert list(read.records()) == [
        ["12345678901234567", "1", "100000000000000000000", "true", "2026-01-31", "2026-01-31 10:00:00.5",
         "2026-01-31 10:00:00.5Z", "1.50", "text", "u", "30:00:00", ""],
        ["", "0.1", "NaN", "", "", "", "", "", "/w==", "u", "", ""],
    ]  # fmt: skip
    assert read.dialect.format == "parquet"
    assert (read.receipt.rows, read.receipt.lines, read.receipt.complete) == (2, 2, True)


def test_nested_columns_are_dotted() -> None:
    rows: list[dict[str, Any]] = [
        {"s": {"x": 1, "y": {"z": "q"}}, "l": [1, 2], "o": [{"a": 1}], "m": [("k", 5)]},
        {"s": None, "l": [], "o": None, "m": None},
        {"s": {"x": 2, "y": None}, "l": None, "o": [{"a": 2}, {"a": 3}], "m": [("k2", 6)]},
    ]
    schema = pa.schema(
        [
            ("s", pa.struct([("x", pa.int8()), ("y", pa.struct([("z", pa.string())]))])),
            ("l", pa.list_(pa.int32())),
            ("o", pa.list_(pa.struct([("a", pa.int64())]))),
            ("m", pa.map_(pa.string(), pa.int64())),
        ]
    )
    read = read_table(written(pa.Table.from_pylist(rows, schema=schema)))
    assert read.header == ["s.x", "s.y.z", "l.0", "l.1", "o.0.a", "o.1.a", "m.k", "m.k2"]
    assert list(read.records()) == [
        ["1", "q", "1", "2", "1", "", "5", ""],
        ["", "", "", "", "", "", "", ""],
        ["2", "", "", "", "2", "3", "", "6"],
    ]


def test_equal_names_and_many_row_groups() -> None:
    table = pa.Table.from_arrays([pa.array(range(10_000)), pa.array(["x"] * 10_000)], names=["a", "a"])
    read = read_table(written(table, row_group_size=1000))
    assert [column.name for column in read.columns] == ["a", "a_2"]
    numbers = [(line, row[0]) for line, row in read.numbered()]
    assert numbers == [(i + 1, str(i)) for i in range(10_000)]
    assert sum(batch.num_rows for batch in read.batches()) == 10_000


def test_damaged_files() -> None:
    data = written(pa.table({"a": list(range(1000)), "b": ["x"] * 1000}))
    for broken in (data[:-10], data[:50] + b"\xff" * 40 + data[90:], data[: len(data) // 2] + b"PAR1"):
        with pytest.raises(Unreadable):
            list(read_table(broken).records())


def test_a_long_value_behind_every_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES_MAX", 1_000_000)
    data = written(pa.table({"a": pa.array(["x" * 10_000] * 1000).dictionary_encode()}))
    assert len(data) < 20_000
    with pytest.raises(TooLargeToRead):
        list(read_table(data).records())
