from __future__ import annotations

import csv
import io
import json
from itertools import islice
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.errors import Error, Invalid
from gristmill.tables import FlatRows, read_table, spool, write_csv, write_jsonl, write_parquet, write_table, write_xlsx
from gristmill.tables.write import MEDIA_TYPES

ROWS: list[list[Any]] = [
    ["a,b", 'say "x"', None],
    ["=1", -5, True],
    ["two\nlines", 0.1, [1]],
    ["007", 12345678901234567890, "ü € 漢"],
]


def test_csv_as_other_readers_see_it() -> None:
    data = b"".join(write_csv(ROWS, ["x", "y", "z"], byte_order_mark=True))
    assert list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))) == [
        ["x", "y", "z"],
        ["a,b", 'say "x"', ""],
        ["'=1", "-5", "true"],
        ["two\nlines", "0.1", "[1]"],
        ["007", "12345678901234567890", "ü € 漢"],
    ]


def test_every_text_is_quoted_and_no_number() -> None:
    assert b"".join(write_csv([["a", 1, -0.5, True, None, "", float("nan")]], ["h"])) == (
        b'"h"\r\n"a",1,-0.5,"true","","","NaN"\r\n'
    )


def test_a_dialect_is_kept_on_request() -> None:
    options: dict[str, Any] = {"delimiter": ";", "newline": "\n", "encoding": "cp1252", "quoting": "minimal"}
    data = b"".join(write_csv([["Zoë", "a;b", "x y"]], ["n", "b", "c"], **options))
    assert data == 'n;b;c\nZoë;"a;b";x y\n'.encode("cp1252")
    wide = b"".join(write_csv([["ä", 1]] * 2500, ["name", "n"], encoding="utf-16"))
    assert wide.decode("utf-16").count("\ufeff") == 0
    assert len(list(read_table(wide).records())) == 2500


def test_what_an_encoding_lacks_is_told() -> None:
    with pytest.raises(Invalid, match="cp1252 has no `漢`"):
        list(write_csv([["漢"]], encoding="cp1252"))
    with pytest.raises(Invalid, match="no encoding"):
        list(write_csv([["a"]], encoding="nope"))
    assert b"".join(write_csv([["\ud800"]])) == b'"?"\r\n'


def test_writing_is_lazy() -> None:
    endless = ([str(i)] for i in iter(int, 1))
    assert next(write_csv(endless)).startswith(b'"0"\r\n')
    assert next(write_jsonl({"a": 0} for _ in iter(int, 1))).startswith(b'{"a":0}\n')


def test_bad_delimiters() -> None:
    with pytest.raises(ValueError, match="single"):
        write_csv([["a"]], delimiter=";;")


def written(form: Any, rows: Any, header: list[str]) -> bytes:
    return b"".join(write_table(form, rows, header))


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_every_format_is_read_back(form: Any) -> None:
    rows = [
        ["007", "=1+1", 'a,"b\nc', "ü 漢 <&>"],
        ["x", "'=1", "", "+14155550100"],
        ["@handle", "-", "1-2", "12345678901234567890"],
    ]
    table = read_table(written(form, rows, ["id", "=h", "text", "more"]))
    assert table.header == ["id", "=h", "text", "more"]
    assert list(table.records()) == rows


def test_xlsx_cells_have_types_and_no_formulas() -> None:
    data = written("xlsx", [*ROWS, ["https://x.example", "{=1}", "\x01 \ud800"]], ["x", "y", "=z"])
    import zipfile  # noqa: PLC0415 - only here

    xml = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in xml
    assert "<hyperlink" not in xml
    assert '<c r="B3"><v>-5</v></c>' in xml
    assert '<c r="C3" t="b"><v>1</v></c>' in xml
    assert '<c r="A3" t="inlineStr"><is><t>=1</t></is></c>' in xml
    assert list(read_table(data).records()) == [
        ["a,b", 'say "x"', ""],
        ["=1", "-5", "true"],
        ["two\nlines", "0.1", "[1]"],
        ["007", "12345678901234567890", "ü € 漢"],
        ["https://x.example", "{=1}", "\x01 ?"],
    ]


def test_xlsx_goes_on_in_a_second_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_xlsx, "SHEET_ROWS_MAX", 4)
    data = written("xlsx", [[str(i), "x"] for i in range(7)], ["i", "b"])
    sheets = read_table(data).sheets
    assert [sheet.name for sheet in sheets] == ["Rows", "Rows 2", "Rows 3"]
    tables = [read_table(data, sheet=sheet.name) for sheet in sheets]
    assert [table.header for table in tables] == [["i", "b"]] * 3
    assert [row[0] for table in tables for row in table.records()] == [str(i) for i in range(7)]


def test_xlsx_limits() -> None:
    data = written("xlsx", [["x" * 40_000]], ["a"])
    (cell,) = next(read_table(data).records())
    assert len(cell) == write_xlsx.CELL_CHARS_MAX
    assert "cut: 40000 characters" in cell
    with pytest.raises(ValueError, match="16384"):
        written("xlsx", [], ["a"] * 16_385)


def test_parquet_columns_have_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_parquet, "GROUP_ROWS", 2)
    header = ["int", "float", "bool", "mixed", "long", "nested", "none"]
    rows = [
        [1, 1, True, 1, 2**70, {"a": 1}, None],
        [None, 0.5, None, "x", 1, None, None],
        [2**60, None, False, None, None, [1], None],
    ]
    table = pq.read_table(io.BytesIO(written("parquet", rows, header)))
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "bool", *["string"] * 4]
    assert table.to_pydict() == {
        "int": [1, None, 2**60],
        "float": [1.0, 0.5, None],
        "bool": [True, None, False],
        "mixed": ["1", "x", None],
        "long": [str(2**70), "1", None],
        "nested": ['{"a":1}', None, "[1]"],
        "none": [None, None, None],
    }


def test_no_rows() -> None:
    for form in MEDIA_TYPES:
        data = written(form, [], ["a", "b"])
        assert form == "jsonl" or read_table(data).header == ["a", "b"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(values, max_size=8), st.integers(1, 3))
def test_flat_rows_have_the_union_of_all_columns(items: list[Any], chunk: int) -> None:
    from gristmill.tables import flatten  # noqa: PLC0415 - the definition that is compared with

    spool.CHUNK_ROWS = chunk
    flat = FlatRows(iter(items))
    assert sorted(flat.columns) == sorted({name for item in items for name in flatten(item)})
    assert [dict(zip(flat.columns, row, strict=True)) for row in flat] == [
        {name: flatten(item).get(name) for name in flat.columns} for item in items
    ]
    assert list(flat) == list(flat)


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(Error, match="columns"):
        FlatRows({f"k{i}": 1} for i in range(20_000))


def test_a_spool_keeps_what_json_does_not_know() -> None:
    from datetime import date  # noqa: PLC0415 - only here

    with spool.Spool() as kept:
        kept.add([date(2026, 1, 31), {"a": [1, None]}, 2**80, "\ud800"])
        assert list(kept.rows()) == [['"2026-01-31"', {"a": [1, None]}, 2**80, "\ud800"]]


def test_lines_are_json() -> None:
    data = b"".join(write_jsonl([{"a": 2**70, "b": "ü"}, {"a": None, "b": [1.5]}]))
    assert [json.loads(line) for line in data.splitlines()] == [{"a": 2**70, "b": "ü"}, {"a": None, "b": [1.5]}]
    assert list(islice(write_jsonl([]), 1)) == []
