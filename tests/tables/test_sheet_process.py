"""Workbooks that a child process reads: ODS by hand, XLS and XLSB in the acceptance files."""

from __future__ import annotations

import pytest

from gristmill.base.errors import Error
from gristmill.tables import NoSuchSheet, TooLargeToRead, Unreadable, read_table, sheet_process
from workbooks import ods


def cell(value: object, kind: str = "string") -> str:
    if kind == "string":
        return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
    name = {"float": "value", "date": "date-value", "boolean": "boolean-value"}[kind]
    return f'<table:table-cell office:value-type="{kind}" office:{name}="{value}"/>'


def sheet(name: str, *rows: str) -> str:
    lines = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    return f'<table:table table:name="{name}">{lines}</table:table>'


def two_sheets() -> bytes:
    first = sheet("Empty")
    header = cell("id") + cell("day") + cell("ok") + cell("name")
    row = cell(20, "float") + cell("2010-10-10", "date") + cell("true", "boolean") + cell("Zoë")
    last = cell(0.25, "float") + cell("2010-10-10T08:30:00", "date") + cell("false", "boolean") + cell("x")
    second = sheet("Data", "", header, row, "", last)
    return ods(first + second + sheet("More", cell("a") + cell("b"), cell("1") + cell("2")))


def test_cells_and_row_numbers() -> None:
    table = read_table(two_sheets())
    assert table.dialect.format == "ods"
    assert table.dialect.sheet == "Data"
    assert table.header == ["id", "day", "ok", "name"]
    assert list(table.numbered()) == [
        (3, ["20", "2010-10-10 00:00:00", "true", "Zoë"]),
        (5, ["0.25", "2010-10-10 08:30:00", "false", "x"]),
    ]
    assert "3 sheets (Empty, Data, More)" in table.receipt.warnings[0]
    receipt = table.receipt
    assert (receipt.lines, receipt.header, receipt.rows, receipt.blank) == (5, 1, 2, 2)


def test_a_table_that_starts_in_the_middle() -> None:
    gap = "<table:table-cell/><table:table-cell/>"
    table = read_table(ods(sheet("S", "", gap + cell("id") + cell("b"), gap + cell("1") + cell("x"))))
    assert table.header == ["", "", "id", "b"]
    assert list(table.numbered()) == [(3, ["", "", "1", "x"])]


def test_sheets_by_name_and_number() -> None:
    for wanted in ("More", "more", 2):
        assert list(read_table(two_sheets(), sheet=wanted).records()) == [["1", "2"]]
    for wanted in ("Nope", 9):
        with pytest.raises(NoSuchSheet):
            read_table(two_sheets(), sheet=wanted)


def test_a_workbook_that_needs_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = cell("x").replace("<table:table-cell", '<table:table-cell table:number-columns-repeated="16000"')
    rows = f'<table:table-row table:number-rows-repeated="1000000">{wide}</table:table-row>'
    bomb = ods(f'<table:table table:name="S">{rows}</table:table>')
    with pytest.raises(TooLargeToRead):
        read_table(bomb)
    monkeypatch.setattr(sheet_process, "MEMORY_BYTES_BASE", 1)
    monkeypatch.setattr(sheet_process, "MEMORY_PER_BYTE", 1)
    with pytest.raises(Error):
        read_table(two_sheets())


def test_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_process, "WAIT_FACTOR", 0.001)
    with pytest.raises(TooLargeToRead, match="too long"):
        read_table(two_sheets())


def test_damaged_workbooks() -> None:
    for data in (ods("<table:table"), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5000)):
        with pytest.raises(Unreadable):
            read_table(data)
