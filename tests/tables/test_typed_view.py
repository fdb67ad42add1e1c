"""The typed view: values where the column says so, null where a cell does not fit, the text untouched."""

from __future__ import annotations

from datetime import datetime

import pytest

from gristmill.tables import TooLargeToRead, read_table
from gristmill.tables.records import RECORD_CHARS_MAX

ROWS = "".join(f"{n},{n}.5,{'yes' if n % 2 else 'no'},2026-01-{n % 28 + 1:02d},name {n}\n" for n in range(200))
FILE = f"n,share,ok,day,name\n{ROWS}x,,,,last\n".encode()


def test_values_have_their_types_and_what_does_not_fit_is_null() -> None:
    table = read_table(FILE)
    assert [column.type for column in table.columns] == ["int", "float", "bool", "date", "text"]
    rows = [row for batch in table.typed_batches() for row in batch.to_pylist()]
    assert rows[3] == {"n": 3, "share": 3.5, "ok": True, "day": datetime(2026, 1, 4), "name": "name 3"}  # noqa: DTZ001 - no zone
    assert rows[-1] == {"n": None, "share": None, "ok": None, "day": None, "name": "last"}
    assert table.receipt.rows == len(rows) == 201
    assert [row["n"] for batch in read_table(FILE).batches() for row in batch.to_pylist()][-1] == "x"


def test_what_can_not_be_read_is_raised_where_it_is_asked_for() -> None:
    long = b"a,b\n1,2\n" + b"x" * (RECORD_CHARS_MAX + 1)
    with pytest.raises(TooLargeToRead):
        for batch in read_table(long).typed_batches():
            assert batch.num_columns == 2
