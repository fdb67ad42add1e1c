from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from gristmill.base.errors import Error
from gristmill.tables import NoSuchSheet, TooLargeToRead, Unreadable, read_table
from workbooks import rows_xml, sheet_xml, xlsx, zipped

HEADER = '<row r="1"><c r="A1" t="str"><v>id</v></c><c r="B1" t="str"><v>name</v></c></row>'


def read(rows: str, **more: Any) -> list[list[str]]:
    return list(read_table(xlsx({"S": sheet_xml(rows)}, **more)).records())


def test_a_workbook_of_a_common_writer(tmp_path: Path) -> None:
    path = tmp_path / "leads.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("Leads")
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        padded = book.add_format({"num_format": "00000"})
        percent = book.add_format({"num_format": "0.0%"})
        sheet.write_row(0, 0, ["id", "zip", "since", "share", "ok", "note"])
        for row in range(1, 30):
            sheet.write_row(row, 0, [10**14 + row, None, None, None, row % 2 == 0])
            sheet.write_number(row, 1, 501 + row, padded)
            sheet.write_datetime(row, 2, datetime(2026, 1, row), day)  # noqa: DTZ001
            sheet.write_number(row, 3, 0.17158, percent)
            sheet.write_string(row, 5, f"text {row % 3} <&> ü")
    table = read_table(path)
    assert table.header == ["id", "zip", "since", "share", "ok", "note"]
    assert next(table.records()) == [
        "100000000000001", "00502", "2026-01-01 00:00:00", "0.17158", "false", "text 1 <&> ü",
    ]  # fmt: skip
    assert [column.type for column in table.columns] == ["int", "zip", "date", "float", "bool", "text"]
    assert len(list(table.records())) == 29
    assert table.receipt.lines == table.receipt.physical_lines == 30
    assert table.dialect.format == "xlsx"
    assert table.dialect.sheet == "Leads"


def test_rows_keep_their_numbers() -> None:
    rows = (
        '<row r="2"><c r="B2" t="str"><v>id</v></c><c r="C2" t="str"><v>name</v></c></row>'
        '<row r="4"><c r="B4"><v>7</v></c><c r="C4" t="str"><v>x</v></c></row>'
        '<row r="5" ht="3"/>'
        '<row r="9"><c r="B9"><v>8</v></c><c r="C9" s="1"/></row>'
    )
    table = read_table(xlsx({"S": sheet_xml(rows)}))
    assert list(table.numbered()) == [(4, ["", "7", "x"]), (9, ["", "8", ""])]
    receipt = table.receipt
    assert (receipt.lines, receipt.header, receipt.rows, receipt.blank) == (9, 1, 2, 6)


def test_preamble_and_totals() -> None:
    body = [[i, f"name {i}", i + 0.5] for i in range(20)]
    table = read_table(
        xlsx({"S": sheet_xml(rows_xml(["Report of May"], [], ["id", "name", "amount"], *body, ["Total", None, 200.5]))})
    )
    assert table.header == ["id", "name", "amount"]
    assert len(list(table.records())) == 20
    assert [(reject.line, reject.raw, reject.kind) for reject in table.rejects] == [(24, b"Total\t\t200.5", "footer")]
    assert (table.receipt.preamble, table.receipt.blank) == (1, 1)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('<c r="A2"><v>0.30000000000000004</v></c>', "0.30000000000000004"),
        ('<c r="A2"><v>4.0000000000000002E-2</v></c>', "0.04"),
        ('<c r="A2"><v>1.2345678901234E+17</v></c>', "123456789012340000"),
        ('<c r="A2"><v>-7</v></c>', "-7"),
        ('<c r="A2" t="b"><v>1</v></c>', "true"),
        ('<c r="A2" t="e"><v>#N/A</v></c>', "#N/A"),
        ('<c r="A2" t="s"><v>0</v></c>', "shared"),
        ('<c r="A2" t="s"><v>1</v></c>', "rich text"),
        ('<c r="A2" t="s"><v>2</v></c>', "漢字"),
        ('<c r="A2" t="s"><v>4</v></c>', "<raw>"),
        ('<c r="A2" t="str"><v>a &lt; b &#228; &#x20AC;</v></c>', "a < b ä €"),
        ('<c r="A2" t="str"><v>two_x000D_\nlines _x005F_x</v></c>', "two\r\nlines _x"),
        ('<c r="A2" t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r></is></c>', "inline"),
        ('<c r="A2" t="str"><f>A1&amp;"x"</f><v>formula</v></c>', "formula"),
        ('<c t="str"><v>no reference</v></c>', "no reference"),
        ('<c r="A2" t="str"><!-- a comment --><v>y</v></c>', "y"),
        ('<c r="A2" t="d"><v>2026-01-31T10:00:00</v></c>', "2026-01-31 10:00:00"),
        ('<c r="A2" s="1"><v>44000.5</v></c>', "2020-06-18 12:00:00"),
        ('<c r="A2" s="1"><v>60</v></c>', "1900-02-29 00:00:00"),
        ('<c r="A2" s="1"><v>1</v></c>', "1900-01-01 00:00:00"),
        ('<c r="A2" s="2"><v>0.25</v></c>', "06:00:00"),
        ('<c r="A2" s="3"><v>1.5</v></c>', "36:00:00"),
        ('<c r="A2" s="4"><v>2134</v></c>', "02134"),
        ('<c r="A2" s="5"><v>5550101234</v></c>', "(555) 010-1234"),
        ('<c r="A2" s="6"><v>1234.5</v></c>', "1234.5"),
        ('<c s="4" r="A2"><v>7</v></c>', "00007"),
    ],
)
def test_cells(cell: str, text: str) -> None:
    codes = ["[h]:mm", "00000", r"[&lt;=9999999]###-####;\(###\) ###-####", "#,##0.00 [$€-407]"]
    formats = "".join(f'<numFmt numFmtId="{170 + i}" formatCode="{code}"/>' for i, code in enumerate(codes))
    numbers = [0, 14, 20, 170, 171, 172, 173]
    used = "".join(f'<xf numFmtId="{number}"/>' for number in numbers)
    styles = f"<numFmts>{formats}</numFmts><cellStyleXfs><xf numFmtId='14'/></cellStyleXfs><cellXfs>{used}</cellXfs>"
    texts = (
        "<si><t>shared</t></si><si><r><rPr/><t>rich</t></r><r><t xml:space='preserve'> text</t></r></si>"
        "<si><t>漢字</t><rPh><t>かんじ</t></rPh></si><si/><si><t><![CDATA[<raw>]]></t></si>"
    )
    rows = f'{HEADER}<row r="2">{cell}<c r="B2" t="str"><v>x</v></c></row>'
    assert read(rows, styles=styles, texts=texts) == [[text, "x"]]


def test_dates_of_1904() -> None:
    rows = f'{HEADER}<row r="2"><c r="A2" s="1"><v>0.5</v></c><c r="B2" s="1"><v>10</v></c></row>'
    styles = "<cellXfs><xf numFmtId='0'/><xf numFmtId='14'/></cellXfs>"
    assert read(rows, styles=styles, properties='date1904="1"') == [["12:00:00", "1904-01-11 00:00:00"]]


def test_tags_with_a_prefix_and_utf_16() -> None:
    plain = sheet_xml(rows_xml(["id", "name"], [1, "ä"]))
    prefixed = plain.replace("<", "<x:").replace("<x:/", "</x:").replace("xmlns=", "xmlns:x=")
    wide = ('<?xml version="1.0" encoding="UTF-16"?>' + plain).encode("utf-16")
    for xml in (plain, prefixed, wide):
        book = xlsx({"S": ""}, more={"xl/worksheets/sheet1.xml": xml})
        assert list(read_table(book).records()) == [["1", "ä"]]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_chunk_boundaries_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = "".join(f"<si><t>text {i}</t></si>" for i in range(40))
    rows = "".join(
        f'<row r="{i}"><c r="A{i}" t="s"><v>{i}</v></c><c r="B{i}"><v>{i}</v></c></row>' for i in range(1, 40)
    )
    book = xlsx({"S": sheet_xml(rows, rest='<mergeCells><mergeCell ref="A1:B1"/></mergeCells>')}, texts=texts)
    whole = list(read_table(book).numbered())
    monkeypatch.setattr("gristmill.tables.archive.CHUNK_BYTES", size)
    table = read_table(book)
    assert list(table.numbered()) == whole
    assert "merged" in table.receipt.warnings[0]


def two_sheets(**more: Any) -> bytes:
    return xlsx(
        {
            "Empty": sheet_xml(""),
            "Hidden": sheet_xml(rows_xml(["h", "x"], [1, "y"])),
            "Data": sheet_xml(rows_xml(["id", "name"], [1, "a"])),
            "More": sheet_xml(rows_xml(["other", "b"], [1, "z"])),
        },
        states={"Hidden": "hidden"},
        **more,
    )


def test_the_first_visible_sheet_with_text_is_read() -> None:
    table = read_table(two_sheets())
    assert table.dialect.sheet == "Data"
    assert [(sheet.name, sheet.visible) for sheet in table.sheets] == [
        ("Empty", True), ("Hidden", False), ("Data", True), ("More", True),
    ]  # fmt: skip
    assert "Hidden (hidden)" in table.receipt.warnings[0]
    assert "Read is: Data" in table.receipt.warnings[0]


def test_a_sheet_by_name_or_number() -> None:
    book = two_sheets()
    for sheet in ("More", "more", 3):
        table = read_table(book, sheet=sheet)
        assert table.header == ["other", "b"]
        assert table.receipt.warnings == ()
    assert read_table(book, sheet="Hidden").header == ["h", "x"]
    again = read_table(book, dialect=table.dialect)
    assert again.dialect.sheet == "More"
    for missing in ("Nope", 4, -1):
        with pytest.raises(NoSuchSheet):
            read_table(book, sheet=missing)
    with pytest.raises(NoSuchSheet):
        read_table(b"a,b\n1,2\n", sheet="Nope")
    with pytest.raises(Unreadable, match="empty"):
        read_table(book, sheet="Empty")


def test_every_guess_can_be_overridden() -> None:
    book = xlsx({"S": sheet_xml(rows_xml(["1", "2"], ["3", "4"], ["5", "6"]))})
    assert read_table(book).header is None
    table = read_table(book, dialect={"header": True, "preamble": 1})
    assert table.header == ["3", "4"]
    assert list(table.numbered()) == [(3, ["5", "6"])]


def test_cells_beyond_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.tables.archive.CHUNK_BYTES", 10_000)
    body = [[i, "x"] for i in range(2000)]
    late = rows_xml(["id", "name"], [1, "a", "early"], *body) + '<row r="3000"><c r="D3000"><v>9</v></c></row>'
    table = read_table(xlsx({"S": sheet_xml(late, dimension="A1:D3000")}))
    assert [column.name for column in table.columns] == ["id", "name", "column_3", "column_4"]
    assert list(table.records())[-1] == ["", "", "", "9"]
    table = read_table(xlsx({"S": sheet_xml(late)}))
    assert len(table.columns) == 3
    assert len(list(table.records())) == 2001
    assert [reject.line for reject in table.rejects] == [3000]


def test_packed_once_more() -> None:
    import gzip  # noqa: PLC0415 - only here

    book = two_sheets()
    inside = zipped({"report.xlsx": book, "__MACOSX/x.csv": "a,b\n", "readme.md": "# hi"})
    for data in (gzip.compress(book, mtime=0), inside):
        table = read_table(data, sheet="More")
        assert table.header == ["other", "b"]
        assert table.dialect.compression in ("gzip", "zip")
        assert list(table.records()) == list(table.records()) == [["1", "z"]]


@pytest.mark.parametrize(
    ("xml", "error"),
    [
        (sheet_xml("")[:-20], Unreadable),
        (sheet_xml(rows_xml(["a", "b"]))[:-40], Unreadable),
        (f'<!DOCTYPE a [<!ENTITY e "x">]>{sheet_xml(rows_xml(["&e;", "b"]))}', Unreadable),
        (sheet_xml('<row r="1"><c r="A1" t="str"><v>&e;</v></c><c t="str"><v>&e;</v></c></row>'), Unreadable),
        (sheet_xml('<row r="1"><c r="A1" t="s"><v>99</v></c></row>'), Unreadable),
        (sheet_xml(HEADER + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'), TooLargeToRead),
        (sheet_xml('<row r="1"><c r="XXX1"><v>1</v></c></row>'), TooLargeToRead),
        ("no xml at all", Unreadable),
    ],
)  # fmt: skip
def test_damaged_sheets(xml: str, error: type[Error]) -> None:
    book = xlsx({"S": ""}, texts="<si><t>a</t></si>", more={"xl/worksheets/sheet1.xml": xml})
    with pytest.raises(error):
        list(read_table(book).records())


def test_a_dimension_that_lies_is_not_believed() -> None:
    table = read_table(xlsx({"S": sheet_xml(rows_xml(["id", "b"], [1, 2]), dimension="A1:XFD1048576")}))
    assert len(table.columns) == 2
    assert list(table.records()) == [["1", "2"]]


def test_a_long_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.tables.xlsx_rows.TOKEN_BYTES_MAX", 10_000)
    monkeypatch.setattr("gristmill.tables.archive.CHUNK_BYTES", 1000)
    with pytest.raises(TooLargeToRead, match="Row 2"):
        read_table(xlsx({"S": sheet_xml(HEADER + f'<row r="2"><c r="A2" t="str"><v>{"x" * 50_000}</v></c></row>')}))


def test_other_documents_are_refused() -> None:
    for name in ("word/document.xml", "ppt/presentation.xml"):
        with pytest.raises(Error, match=r"text document|presentation"):
            read_table(zipped({"[Content_Types].xml": "<Types/>", name: "<w/>"}))


def test_streams_and_wrong_names(tmp_path: Path) -> None:
    book = two_sheets()

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    offset = io.BytesIO(b"skipped" + book)
    offset.seek(7)
    for origin in (io.BytesIO(book), Pipe(book), offset):
        assert list(read_table(origin).records()) == [["1", "a"]]
    path = tmp_path / "t.csv"
    path.write_bytes(book)
    assert ".csv" in " ".join(read_table(path).receipt.warnings)
