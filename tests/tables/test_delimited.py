from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.errors import Error, Invalid
from gristmill.tables import (
    Hints,
    TooLargeToRead,
    Unreadable,
    UnsupportedFormat,
    pieces,
    read_table,
    records,
    source,
    write_csv,
)


def read(data: bytes, **hints: Any) -> tuple[list[str] | None, list[list[str]]]:
    table = read_table(data, dialect=Hints(**hints))
    return table.header, list(table.records())


def test_line_numbers_count_quoted_newlines() -> None:
    table = read_table(b'a,b\n1,"x\ny"\n\n2,z\n')
    assert list(table.numbered()) == [(2, ["1", "x\ny"]), (5, ["2", "z"])]
    assert table.receipt.lines == 4
    assert table.receipt.blank == 1
    assert table.receipt.physical_lines == 5


def test_receipt_accounts_for_every_record() -> None:
    body = "".join(f"{i},name {i},{i}.5\n" for i in range(30))
    data = f"Report of things\n\nid,name,amount\n{body}1,a,b,c,d\n\nTotal,,99.5\n".encode()
    table = read_table(data)
    assert len(list(table.records())) == 30
    receipt = table.receipt
    assert (receipt.preamble, receipt.header, receipt.rows, receipt.blank) == (1, 1, 30, 2)
    assert (receipt.rejects, receipt.footers) == (2, 1)
    assert receipt.lines == 36
    assert [(r.line, r.raw, r.kind) for r in table.rejects] == [
        (34, b"1,a,b,c,d", "malformed"),
        (36, b"Total,,99.5", "footer"),
    ]


def test_names_are_unique_and_originals_kept() -> None:
    table = read_table(b"name,name,,name_2\na,b,c,d\n")
    assert [c.name for c in table.columns] == ["name", "name_3", "column_3", "name_2"]
    assert [c.original for c in table.columns] == ["name", "name", "", "name_2"]
    assert next(table.rows()) == {"name": "a", "name_3": "b", "column_3": "c", "name_2": "d"}
    assert [c.name for c in read_table(b"name,name,\na,b,c\n").columns] == ["name", "name_2", "column_3"]


def test_cells_stay_text() -> None:
    _, rows = read(b"zip,id,code\n01234,12345678901234567890,1e5\n")
    assert rows == [["01234", "12345678901234567890", "1e5"]]


def test_an_unclosed_quote_costs_one_record_only() -> None:
    body = "".join(f'{i},"name {i}",x\n' for i in range(5000))
    for bad in ('7,"never closed,x\n', '7,never closed,"x\n'):
        table = read_table(f"id,name,note\n{bad}{body}".encode())
        assert len(list(table.records())) == 5001
        assert any("quotes" in warning for warning in table.receipt.warnings)


def test_groups_stay_small_behind_an_unclosed_quote() -> None:
    table = read_table(b'a,b\n1,"oops\n' + b"1,x\n" * 120_000)
    sizes = [len(group.rows) for group in table.groups()]
    assert sum(sizes) == 120_001
    assert max(sizes) <= records.BLOCK_LINES + 1_000
    assert sum(batch.num_rows for batch in table.batches()) == 120_001


def test_an_unclosed_quote_at_the_end_swallows_nothing() -> None:
    body = "".join(f"{i},name {i},x\n" for i in range(200_000))
    table = read_table(f'id,name,note\n1,"open,x\n{body}'.encode())
    rows = list(table.records())
    assert len(rows) == 200_001
    assert rows[0] == ["1", '"open', "x"]


def test_ragged_rows() -> None:
    good = "".join(f"{i},{i}.5,text\n" for i in range(20))
    table = read_table(f"a,b,c\n{good}1\n1,2.5,x,,\n1,2.5,Smith, John\nx,1,2,y\n".encode())
    rows = list(table.records())
    assert rows[20:] == [["1", "", ""], ["1", "2.5", "x"], ["1", "2.5", "Smith, John"]]
    assert [reject.raw for reject in table.rejects] == [b"x,1,2,y"]


def test_cells_beyond_the_header_become_columns() -> None:
    table = read_table(b"a,b\n1,2,3\n4,5,6\n")
    assert table.header == ["a", "b"]
    assert [c.name for c in table.columns] == ["a", "b", "column_3"]
    assert list(table.records()) == [["1", "2", "3"], ["4", "5", "6"]]


def test_nul_is_a_reject() -> None:
    table = read_table(b"id,name\n1,a\n2,b\0c\n3,d\n")
    assert list(table.records()) == [["1", "a"], ["3", "d"]]
    assert table.rejects[0].raw == b"2,b\0c"
    assert table.rejects[0].line == 3


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newlines(newline: str) -> None:
    data = newline.join(["a,b", "1,x", "2,y", ""]).encode()
    table = read_table(data)
    assert list(table.numbered()) == [(2, ["1", "x"]), (3, ["2", "y"])]


def test_newline_inside_of_quotes_where_records_end_in_return() -> None:
    _, rows = read(b'a,b\r1,"x\ny"\r2,z\r')
    assert rows == [["1", "x\ny"], ["2", "z"]]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "^", ":"])
def test_delimiters(delimiter: str) -> None:
    lines = [["id", "name", "city"], *[[str(i), f"name {i}", "Sofia"] for i in range(9)]]
    data = "\n".join(delimiter.join(line) for line in lines).encode()
    table = read_table(data)
    assert table.dialect.delimiter == delimiter
    assert list(table.records()) == lines[1:]


@pytest.mark.parametrize("delimiter", ["||", "::", "|~|", "~|~", "^|^"])
def test_delimiters_of_several_characters(delimiter: str) -> None:
    rows = [["id", "name", "note"], ["1", "Ana", "x"], ["2", "Ben", ""], ["3", "Cleo", "z"]]
    table = read_table("".join(delimiter.join(row) + "\n" for row in rows).encode())
    assert table.dialect.delimiter == delimiter
    assert [table.header, *table.records()] == rows


def test_names_of_rows_stand_before_the_header_in_tables_of_r() -> None:
    table = read_table(b'"mpg" "cyl"\n' + b"".join(b'"Fiat %d" 32.4 4\n' % n for n in range(12)))
    assert table.header == ["", "mpg", "cyl"]
    assert next(table.rows()) == {"column_1": "Fiat 0", "mpg": "32.4", "cyl": "4"}


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("8,69;6,98\n3,69;8,49\n5,01;4,4\n", None),
        ("Store,2024-01-01,2024-01-02\nBonn,10,20\nLyon,30,40\n", ["Store", "2024-01-01", "2024-01-02"]),
        (",0,1,2\n0,a,b,c\n1,d,e,f\n", ["", "0", "1", "2"]),
        ("# made by us, 2024\n# for you, too\nid,name\n1,Ana\n2,Ben\n", ["id", "name"]),
        ("# id,name\n1,Ana\n2,Ben\n", ["# id", "name"]),
        ("Nr;Betrag\n1;1.234,50\n2;0,99\n", ["Nr", "Betrag"]),
    ],
)
def test_headers(text: str, header: list[str] | None) -> None:
    table = read_table(text.encode())
    assert table.header == header
    assert {len(row) for row in table.records()} == {len(table.columns)}
    assert len(table.columns) == len(header or ["", ""])


@pytest.mark.parametrize("rule", ["--|----|----", "---|:---|---:", "---+-----+----", "==|====|===="])
def test_a_line_under_the_header_is_no_row(rule: str) -> None:
    table = read_table(f"id|name|city\n{rule}\n1|Ana|Bonn\n2|Ben|Lyon\n".encode())
    assert (table.header, list(table.records())) == (
        ["id", "name", "city"],
        [["1", "Ana", "Bonn"], ["2", "Ben", "Lyon"]],
    )
    assert [reject.raw for reject in table.rejects] == [rule.encode()]
    assert table.columns[0].type == "int"
    assert len(list(read_table(b"id|name\n--|--\n1|Ana\n").records())) == 2


def test_a_table_far_below() -> None:
    table = read_table(b"\n" * 9_000 + b"id,name\n" + b"1,Ana\n" * 20)
    assert table.header == ["id", "name"]
    table = read_table(
        b"note\n" * 9_000 + b"id,name\n" + b"1,Ana\n" * 20, dialect={"preamble": 9_000, "delimiter": ","}
    )
    assert table.header == ["id", "name"]
    assert len(list(table.records())) == 20


def test_long_delimiter_and_escape() -> None:
    assert read(b'a||b\n1||"x||y"\n', delimiter="||") == (["a", "b"], [["1", "x||y"]])
    assert read(b'a,b\n1,"x\\"y,"\n') == (["a", "b"], [["1", 'x"y,']])


def test_every_guess_can_be_overridden() -> None:
    table = read_table(b"x;y\n1;2\n3;4\n", dialect={"header": False, "delimiter": ";", "preamble": 1})
    assert table.header is None
    assert list(table.records()) == [["1", "2"], ["3", "4"]]
    assert table.dialect.confidence["delimiter"] == 1.0
    again = read_table(b"x;y\n1;2\n3;4\n", dialect=table.dialect)
    assert list(again.records()) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_chunk_boundaries_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'näme,x\r\n1,"ä\r\n""ö"" "\r\n\r\n2,"b,\n"\r\n3,€\r\n4,"'
    for data in (text.encode(), text.encode("utf-16"), text.replace("€", "e").encode("cp1252")):
        whole = list(read_table(data).numbered())
        with monkeypatch.context() as patch:
            patch.setattr(source, "CHUNK_BYTES", size)
            assert list(read_table(data).numbered()) == whole


def test_stray_bytes_are_repaired_and_rejects_exact() -> None:
    good = "".join(f"{i},Zoë {i},{i}.5\n" for i in range(50)).encode()
    data = b"id,name,amount\n" + good + b"7,caf\xe9,1.5\nx,caf\xe9,1,2,3\n"
    table = read_table(data)
    assert list(table.records())[-1] == ["7", "café", "1.5"]
    assert table.rejects[0].raw == b"x,caf\xe9,1,2,3"


def test_a_wrong_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(b"a,b\n1,x\n")
    table = read_table(path)
    assert list(table.records()) == [["1", "x"]]
    assert ".json" in table.receipt.warnings[0]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Unreadable),
        (b"\n \n", Unreadable),
    ],
)
def test_what_is_no_table(data: bytes, error: type[Error]) -> None:
    with pytest.raises(error):
        list(read_table(data).records())


@pytest.mark.parametrize(
    "hints", [{"delimiter": ""}, {"quote": "''"}, {"encoding": "base64"}, {"encoding": "nope"}, {"delimeter": ","}]
)
def test_dialects_that_cant_be(hints: Any) -> None:
    with pytest.raises(Invalid):
        read_table(b"a,b\n1,2\n", dialect=hints)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLargeToRead, match="columns"):
        read_table(b"x," * 20_000 + b"\n", dialect={"delimiter": ","})
    monkeypatch.setattr(source, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(pieces, "RECORD_CHARS_MAX", 5000)
    monkeypatch.setattr(records, "QUOTED_CHARS_MAX", 5000)
    with pytest.raises(TooLargeToRead, match="line 2"):
        list(read_table(b"a,b\n" + b"x" * 20_000 + b",2\n").records())


def test_fingerprint_ignores_case_and_punctuation() -> None:
    first, second, other = (read_table(h + b"\n1,2\n") for h in (b"First Name,ZIP", b"first_name, zip ", b"name,zip"))
    assert first.fingerprint == second.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("name,stadt\nMüller & Söhne,Köln\nGroß,Düsseldorf\nBäcker,Würzburg\n", "cp1252"),
        ("nom,ville\nCafé de l'Hôtel,Orléans\nChâteau,Besançon\nCrêperie,Nîmes\n", "cp1252"),
        ("nombre,ciudad\nNiño Peña,Málaga\nJosé Muñoz,Cádiz\nÁngel,Córdoba\n", "mac_roman"),
        ("имя,город\nИван Петров,Москва\nАнна Смирнова,Казань\n", "cp1251"),  # noqa: RUF001
        ("имя,город\nИван Петров,Москва\nАнна Смирнова,Казань\n", "koi8-r"),  # noqa: RUF001
        ("名前,住所\n山田太郎,東京都千代田区\nさくら,大阪府大阪市\n", "cp932"),
        ("名前,住所\nさくら病院のひと,東京都千代田区\nカフェ,大阪府大阪市\n", "euc_jp"),
        ("名称,地址\n北京大学医院,北京市海淀区中关村\n上海公司,上海市路号\n", "gb18030"),
        ("名稱,地址\n台北市立醫院,台北市中正區\n電話公司,新北市路號\n", "cp950"),
        ("이름,주소\n김철수,서울특별시 강남구\n병원,부산광역시\n", "cp949"),
        ("a,b\nÄ,€\n", "utf-16"),
        ("a,b\nÄ,€\n", "utf-8-sig"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    table = read_table(text.encode(encoding))
    header, *rows = [line.split(",") for line in text.splitlines()]
    assert (table.header, list(table.records())) == (header, rows), table.dialect


cells = st.text(
    st.one_of(st.sampled_from(",;|\t'\"\r\n \\a0é"), st.characters(codec="utf-8", exclude_characters="\0")), max_size=8
)
tables = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(cells, min_size=width, max_size=width).filter(lambda row: any(cell.strip() for cell in row)),
        min_size=1,
        max_size=6,
    )
)


@given(tables, st.sampled_from(",;|\t: "), st.sampled_from("\"'"), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read_back(rows: list[list[str]], delimiter: str, quote: str, newline: str) -> None:
    data = b"".join(write_csv(rows, delimiter=delimiter, quote=quote, newline=newline, guard_formulas=False))
    hints = Hints(
        format="delimited", encoding="utf-8", delimiter=delimiter, quote=quote, newline="\n", header=False,
        preamble=0, escape="", skip_initial_space=False, guarded=False, comment="",
    )  # fmt: skip
    table = read_table(data, dialect=hints)
    read_back = list(table.records())
    footers = [reject for reject in table.rejects if reject.kind == "footer"]
    assert read_back == rows[: len(rows) - len(footers)]


@given(st.binary(max_size=300) | st.text(st.sampled_from("a1,;\t\"'\n\r\0\\{}[]: .é"), max_size=60).map(str.encode))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    try:
        table = read_table(data)
        for row in table.records():
            assert len(row) == len(table.columns)
    except Error:
        return
    receipt = table.receipt
    assert receipt.complete
    assert receipt.rejects == len(table.rejects)


def test_marks_of_old_programs_are_no_cells() -> None:
    assert read(b"id,name\r\n1,Elm\r\n2,Oak\r\n\x1a") == (["id", "name"], [["1", "Elm"], ["2", "Oak"]])
    assert read(b"\xef\xbb\xbf\xef\xbb\xbfid,name\n1,Elm\n")[0] == ["id", "name"]
    padded = read_table(b"id,name\n1,Elm\n2,Oak\n" + bytes(500))
    assert list(padded.records()) == [["1", "Elm"], ["2", "Oak"]]


@pytest.mark.parametrize("start", [b"<html><body>", b"\xef\xbb\xbf<?xml version='1.0'?>\n<a>", b"\n <!DOCTYPE html>\n"])
def test_markup_is_refused(start: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="not read here"):
        read(start + b"<table><tr><td>1</td></tr></table>\n")
    assert read(b"<b>,name\n1,Elm\n2,Oak\n")[0] == ["<b>", "name"]
