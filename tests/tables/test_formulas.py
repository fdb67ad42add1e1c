from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.tables import guard, read_table, unguard, write_csv
from gristmill.tables.formulas import may_be_guarded

PAYLOADS = [
    "=1+1",
    "+A1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\0=1",
    " =1",
    "\u00a0=1",
    "\ufeff=1",
    "\uff1dcmd",
    "'=1",
    "''=1",
    "-5-3",
    "+1415x",
]
HARMLESS = ["-5", "-5.25e3", "+14155550100", "1,234.5", "-12%", "text", "a=b", "'quoted'", "", "3-4", "-.5"]


@pytest.mark.parametrize("text", PAYLOADS)
def test_formulas_are_guarded(text: str) -> None:
    assert guard(text) == f"'{text}"
    assert unguard(guard(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_text_are_left_alone(text: str) -> None:
    assert guard(text) == text
    assert unguard(text) == text


@given(st.text(st.one_of(st.sampled_from("'=+-@ \t1"), st.characters()), max_size=6))
def test_the_guard_can_be_taken_back(text: str) -> None:
    assert unguard(guard(text)) == text


@given(
    st.lists(
        st.text(st.one_of(st.sampled_from("'=+-@ \t1,\"\n"), st.characters(exclude_categories=["Cs"])), max_size=6)
    )
)
def test_a_file_with_guards_is_seen(cells: list[str]) -> None:
    text = b"".join(write_csv([cells])).decode()
    if any(guard(cell) != cell for cell in cells):
        assert may_be_guarded(text)


def test_our_own_export_is_read_back() -> None:
    values = [*PAYLOADS, *HARMLESS, "@handle", "-", "=", "1-2", "007", "+14155550100"]
    values = [value for value in values if value.strip() and "\0" not in value]
    rows = [[str(number), value] for number, value in enumerate(values)]
    table = read_table(b"".join(write_csv(rows, ["n", "=cmd|'/C calc'!A0"])))
    assert list(table.records()) == rows
    assert table.header == ["n", "=cmd|'/C calc'!A0"]


def test_apostrophes_around_cells_are_no_guards() -> None:
    body = "".join(f"{n},'-{n}-'\n" for n in range(9))
    assert read_table(f"id,code\n{body}".encode(), dialect={"quote": '"'}).dialect.guarded is False
    data = b"id,code\n1,'=1+1\n2,x\n"
    assert list(read_table(data).records()) == [["1", "=1+1"], ["2", "x"]]
    assert list(read_table(data, dialect={"guarded": False}).records()) == [["1", "'=1+1"], ["2", "x"]]
