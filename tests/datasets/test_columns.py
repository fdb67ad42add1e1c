"""Kinds of columns by all of their cells, and cells as values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from gristmill.datasets.columns import COLUMNS_TYPED_MAX, Watches, read_bool, read_int, read_moment, read_number, reader
from gristmill.datasets.model import DatasetColumn
from gristmill.tables import Column


def kinds(cells: list[str], sample_type: Any = "text") -> DatasetColumn:
    watches = Watches([Column("x", "x", 0, sample_type)])
    for cell in cells:
        watches.add([[cell]])
    return watches.columns()[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-17", -17), ("1,234,567", 1234567), ("007", None), ("1.0", None), ("9223372036854775807", 2**63 - 1),
     ("9223372036854775808", None), ("", None), ("12,34", None)],
)  # fmt: skip
def test_whole_numbers(text: str, value: int | None) -> None:
    assert read_int(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.50", "1.50"), (".5", "0.5"), ("1,250.25", "1250.25"), ("$12.30", "12.30"), ("-€5", "-5"), ("($3.50)", "-3.50"),
     ("1e3", "1E+3"), ("12.", "12"), ("1.2.3", None), ("abc", None), ("1,25", None), ("(5", None)],
)  # fmt: skip
def test_decimals(text: str, value: str | None) -> None:
    found = read_number(text)
    assert found == (None if value is None else Decimal(value))


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("FALSE", False), ("t", True), ("1", None), ("maybe", None)]
)
def test_booleans(text: str, value: bool | None) -> None:
    assert read_bool(text) is value


@pytest.mark.parametrize(
    ("text", "day_first", "value"),
    [
        ("2026-02-28", False, date(2026, 2, 28)),
        ("2026-02-30", False, None),
        ("3/4/2026", False, date(2026, 3, 4)),
        ("3/4/2026", True, date(2026, 4, 3)),
        ("25/12/2020", False, None),
        ("3.4.2026", False, date(2026, 4, 3)),
        ("1/2/69", False, date(1969, 1, 2)),
        ("1/2/68", False, date(2068, 1, 2)),
        ("Jan 5, 2024", False, date(2024, 1, 5)),
        ("2026-01-02T03:04:05Z", False, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04", False, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02T03:04:05.25+02:00", False,
         datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=timezone(timedelta(hours=2)))),
        ("1/2/2026 12:30 AM", False, datetime(2026, 1, 2, 0, 30, tzinfo=UTC)),
        ("1/2/2026 12:30 PM", False, datetime(2026, 1, 2, 12, 30, tzinfo=UTC)),
        ("2026-01-02 25:00", False, None),
        ("soon", False, None),
    ],
)  # fmt: skip
def test_dates(text: str, day_first: bool, value: Any) -> None:
    assert read_moment(text, day_first=day_first) == value


def test_a_column_is_what_nine_of_ten_cells_are() -> None:
    assert kinds(["1"] * 95 + ["n/a"] * 5) == DatasetColumn("x", "int", "x", 100, 5)
    assert kinds(["1"] * 85 + ["n/a"] * 15).kind == "text"
    assert kinds(["1"] * 50 + ["2.5"] * 50).kind == "number"
    assert kinds(["", "", "true", "no"]) == DatasetColumn("x", "bool", "x", 2, 0)
    assert kinds(["", ""]).kind == "text"
    assert kinds(["2026-01-01"] * 9 + ["2026-01-01T10:00:00Z"]).kind == "moment"


def test_late_decimals_still_make_a_number() -> None:
    assert kinds(["7"] * 5_000 + ["7.5"] * 100).kind == "number"


def test_numbers_that_are_codes_stay_text() -> None:
    assert kinds(["02139"] * 20).kind == "text"
    assert kinds(["10115"] * 20, "zip").kind == "text"
    assert kinds(["5551234567"] * 20, "phone").kind == "text"


def test_the_order_of_day_and_month_is_that_of_the_column() -> None:
    column = kinds(["03/04/2026", "25/12/2026", "01/02/2026"])
    assert (column.kind, column.day_first) == ("date", True)
    assert reader(column)("03/04/2026") == date(2026, 4, 3)
    assert kinds(["03/04/2026", "12/25/2026"]).day_first is False


def test_cells_that_do_not_fit_are_null() -> None:
    assert reader(DatasetColumn("x", "int", "x", 1, 1))(" n/a ") is None
    assert reader(DatasetColumn("x", "text", "x", 1, 0))("  ") is None
    assert reader(DatasetColumn("x", "text", "x", 1, 0))(" a ") == " a "
    assert reader(DatasetColumn("x", "date", "x", 1, 0))("2026-01-01T00:00:00Z") is None
    assert reader(DatasetColumn("x", "moment", "x", 1, 0))("2026-01-01") == datetime(2026, 1, 1, tzinfo=UTC)


def test_names_for_sql() -> None:
    long = "x" * 80
    columns = [
        Column(name, name, index, "text") for index, name in enumerate([long, long + "y", "_key", "_row", "é" * 40])
    ]
    watches = Watches(columns)
    watches.add([["a"] * 5])
    names = [column.sql_name for column in watches.columns()]
    assert names == ["x" * 63, "x" * 61 + "_2", "_key_2", "_row_2", "é" * 31]
    many = Watches([Column(f"c{index}", "", index, "text") for index in range(COLUMNS_TYPED_MAX + 2)])
    assert [column.sql_name for column in many.columns()][-3:] == [f"c{COLUMNS_TYPED_MAX - 1}", None, None]
