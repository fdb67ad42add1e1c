from __future__ import annotations

from gristmill.tables import read_table
from gristmill.tables.delimiters import detect_separators


def cells(text: str) -> list[list[str]]:
    return list(read_table(text.encode()).records())


def test_commas_in_a_few_lines_of_one_column_separate_nothing() -> None:
    assert cells("Company\nElm Works\nOak & Fir, Inc.\nFir\nPine\n") == [
        ["Elm Works"], ["Oak & Fir, Inc."], ["Fir"], ["Pine"],
    ]  # fmt: skip
    table = read_table(b"https://a.example/x?y=1;z=2\nhttps://b.example/\nhttps://c.example/\nhttp://d.example/q,r\n")
    assert len(list(table.records())) == 4
    assert len(table.columns) == 1


def test_rows_below_many_titles_are_a_table() -> None:
    titles = "".join(f"Title {n}\n" for n in range(6))
    assert cells(f"{titles}no,name,price\n1,Elm,1.5\n2,Oak,2.5\n") == [["1", "Elm", "1.5"], ["2", "Oak", "2.5"]]
    assert cells("Title\nMore of it\n\nno,name\n1,Elm\n") == [["1", "Elm"]]


def test_inches_in_every_line_do_not_make_blanks_the_delimiter() -> None:
    text = "".join(f'0,"pipe {n}" long, steel",{n},x\n' for n in range(5, 9))
    assert detect_separators(text).delimiter == ","
    assert cells(text)[0] == ["0", 'pipe 5" long, steel', "5", "x"]


def test_names_of_rows_that_the_header_leaves_out() -> None:
    table = read_table(b'"mpg" "cyl"\n"Elm RX4" 21 6\n"Oak 710" 22.8 4\n"Fir 4" 21.4 6\n')
    assert [column.name for column in table.columns] == ["column_1", "mpg", "cyl"]
    assert next(table.records()) == ["Elm RX4", "21", "6"]
