from __future__ import annotations

import csv
import io
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.tables import cell, csv_columns, guard, write_csv
from gristmill.tables.formulas import guard_all


class Named(str):
    __slots__ = ()


texts = st.text(
    st.sampled_from("'=+-@ \t\r\n\0\x01\x1f\x7f\"\\,.()e17\u00a0\ufeff\uff1d\u2028é") | st.characters(), max_size=9
)
floats = st.floats() | st.sampled_from(
    [1e16, 1e-4, 9.9e-5, 1e-5, 123456789012345680.0, 1e22, -0.0, 5e-324, 1.0, 10.00001]
)
ints = st.integers() | st.integers(-(2**65), 2**65)
phones = st.from_regex(r"\+[\d ().-]{5,12}|[+-]?[\d.,]{0,5}(e-?\d)?%?", fullmatch=True)
kinds: list[st.SearchStrategy[Any]] = [
    texts, phones, floats, ints, st.booleans(), st.none(),
    texts | st.none(), floats | ints, ints | st.none(), st.booleans() | st.none(), floats | st.none(), floats | texts,
    st.sampled_from([[], {}, [1, "x"], {"a": None}, Named("=x"), Decimal("1.50"), ("a",), (), 10**5000, "\ud800"]),
]  # fmt: skip


@st.composite
def chunks(draw: st.DrawFn) -> list[list[Any]]:
    """Rows whose columns are of one kind each, mostly."""
    height = draw(st.integers(1, 6))
    columns = [
        draw(st.lists(draw(st.sampled_from(kinds)), min_size=height, max_size=height))
        for _ in range(draw(st.integers(1, 4)))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def one_by_one(rows: list[list[Any]], newline: str, *, guard_formulas: bool) -> bytes:
    """The definition: each cell by itself, in the csv module's quotes."""

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return guard(value) if guard_formulas else value
        is_number = (type(value) is int and value.bit_length() < 10_000) or (
            type(value) is float and math.isfinite(value)
        )
        return value if is_number else cell(value)

    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator=newline)
    writer.writerows([plain(value) for value in row] for row in rows)
    return file.getvalue().encode("utf-8", "replace")


@given(chunks(), st.sampled_from(["\r\n", "\n"]), st.booleans())
@example([["a,\r\n,b", 1], [",\xff,", 2]], "\r\n", True)
@example([["+1 (((((", "+1 555"], ["1234567", "7654321"]], "\n", True)
@example([["+1234567\x01abc"], ["=1"]], "\n", True)
@example([[1e16, 1], [1e-5, 2.5]], "\n", True)
@example([[True], [1], [1.0], [None]], "\n", True)
def test_chunks_are_written_as_each_row_is(rows: list[list[Any]], newline: str, guard_formulas: bool) -> None:
    expected = one_by_one(rows, newline, guard_formulas=guard_formulas)
    assert b"".join(write_csv(rows, newline=newline, guard_formulas=guard_formulas)) == expected


def test_rows_of_several_widths_are_written() -> None:
    assert b"".join(write_csv([["a"], [], ["b", 1], ()], newline="\n")) == b'"a"\n\n"b",1\n\n'
    assert b"".join(write_csv([[], []], newline="\n")) == b"\n\n"


def test_usual_results_are_written_by_columns() -> None:
    rows = [["x", n, n / 7, n % 2 == 0, None, 'a "b"\n\\', "é", n % 3 or None, n % 2 or 0.5] for n in range(50)]
    data = csv_columns.quoted_lines(rows, "\r\n", cell, guard_formulas=True)
    assert data == one_by_one(rows, "\r\n", guard_formulas=True)


def test_every_character_is_written_as_the_csv_module_does() -> None:
    rows = [[chr(code), f"x{chr(code)}"] for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    data = csv_columns.quoted_lines(rows, "\n", cell, guard_formulas=False)
    assert data == one_by_one(rows, "\n", guard_formulas=False)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_as_python_does(value: float) -> None:
    assert b"".join(write_csv([[value], [1.5]], newline="\n")) == f"{value!r}\n1.5\n".encode()


@given(st.lists(texts | phones))
def test_many_texts_are_guarded_as_each_is(items: list[str]) -> None:
    assert [*guard_all(items)] == [guard(item) for item in items]


@pytest.mark.parametrize("sign", ["=", "+1", "@x", "\t", "'=", "-1-1"])
def test_one_formula_among_many_texts_is_seen(sign: str) -> None:
    items = ["x", "+1 555 123 4567", "-5", *["y"] * 50]
    assert guard_all(items) is items
    assert guard_all([*items, sign])[-1] == f"'{sign}" or guard(sign) == sign
