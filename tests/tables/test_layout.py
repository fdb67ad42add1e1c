from __future__ import annotations

import pytest

from gristmill.tables import read_table
from gristmill.tables.layout import is_rule

ROWS = "7,Elm,1.5,2024-01-02\n8,Oak,2.5,2024-01-03\n9,Fir,3.5,2024-01-04\n"
HEADER = ["no", "name", "price", "day"]


@pytest.mark.parametrize(
    "above",
    [
        "List of trees,,,\nAccount:,1000,,\nMade on:,2024-01-31,,\n,,,\n",
        "From,2024-01-01,until,\n",
        "List,Trees,,\n",
        "A:,1,B:,2\n\nPeriod:,30 days,from:,2024-01-01\n",
    ],
)
def test_facts_above_the_header_are_its_preamble(above: str) -> None:
    table = read_table(f"{above}no,name,price,day\n{ROWS}".encode())
    assert table.header == HEADER
    assert [row[0] for row in table.records()] == ["7", "8", "9"]


def test_a_row_with_gaps_above_full_rows_is_no_fact() -> None:
    table = read_table(f"6,,0.5,2024-01-01\n{ROWS}".encode(), dialect={"header": False})
    assert [row[0] for row in table.records()] == ["6", "7", "8", "9"]


def test_a_header_with_gaps_stays_the_header() -> None:
    assert read_table(b",name,price\n1,Elm,1.5\n2,Oak,2.5\n3,Fir,3.5\n").header == ["", "name", "price"]


@pytest.mark.parametrize("total", ["Total: Account, --,4.5,2024", "Totals - all trees,,4.5,--"])
def test_totals_that_say_of_what(total: str) -> None:
    table = read_table(f"no,name,price,day\n{ROWS}{total}\n".encode())
    assert len(list(table.records())) == 3
    assert table.receipt.footers == 1


def test_a_name_that_begins_as_totals_do_is_a_row() -> None:
    table = read_table(b"shop,sold,price\nElm,5,1.5\nOak,6,2.5\nFir,7,3.5\nTotal Wine,8,4.5\n")
    assert len(list(table.records())) == 4


def test_a_table_in_markdown_has_no_row_of_dashes() -> None:
    table = read_table(b"| name | price |\n|------|------:|\n| Elm  | 1.5 |\n| Oak  | 2.5 |\n")
    assert [column.name for column in table.columns] == ["column_1", "name", "price", "column_4"]
    assert [row[1].strip() for row in table.records()] == ["Elm", "Oak"]


def test_rules() -> None:
    assert is_rule(["", "---", ":--:", ""])
    assert is_rule(["-----"])
    assert not is_rule(["--", "--"])
    assert not is_rule(["", "", ""])


def test_facts_as_wide_as_the_table_end_with_a_blank_line() -> None:
    table = read_table(b"Report,Trees\nMade on,2024-03-31\n\nFirst name,Last name\nAnn,Elm\nBen,Oak\nCy,Fir\n")
    assert table.header == ["First name", "Last name"]
    assert len(list(table.records())) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"no,name,\n1,Elm,\n2,Oak,\n,,\nkind,price,of\nA,1.5,1\nB,2.5,2\n",
        b"no,name\n1,Elm\n2,Oak\n\nkind,price\nA,1.5\nB,2.5\n",
        b"no,name\n\n1,Elm\n\n2,Oak\n3,Fir\n",
    ],
)
def test_a_table_above_a_blank_line_is_no_preamble(data: bytes) -> None:
    assert (read_table(data).header or [])[:2] == ["no", "name"]


def test_a_header_whose_names_end_with_colons() -> None:
    assert read_table(b"No:,Name:\n1,Elm\n2,Oak\n3,Fir\n").header == ["No:", "Name:"]


def test_facts_that_are_more_than_the_columns() -> None:
    data = b"EXTF;700;21;1001;20240101;x\nWert;Soll;Konto;Text\n1,5;S;12;Elm\n2,5;H;13;Oak\n3,5;S;14;Fir\n"
    assert read_table(data).header == ["Wert", "Soll", "Konto", "Text"]
