from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.tables import guard, unguard, write_csv, write_jsonl

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


def test_csv_as_other_readers_see_it() -> None:
    rows = [["a,b", 'say "x"', None], ["=1", -5, True], ["two\nlines", 0.1, [1]]]
    data = b"".join(write_csv(rows, ["x", "y", "z"], byte_order_mark=True))
    assert list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))) == [
        ["x", "y", "z"],
        ["a,b", 'say "x"', ""],
        ["'=1", "-5", "true"],
        ["two\nlines", "0.1", "[1]"],
    ]


def test_writing_is_lazy() -> None:
    endless = ([str(i)] for i in iter(int, 1))
    assert next(write_csv(endless)).startswith(b"0\r\n")
    assert next(write_jsonl({"a": 0} for _ in iter(int, 1))).startswith(b'{"a":0}\n')


def test_bad_delimiters() -> None:
    with pytest.raises(ValueError, match="single"):
        next(write_csv([["a"]], delimiter=";;"))
