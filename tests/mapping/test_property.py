"""Whatever a table holds: a well-formed mapping, the same each time, and rows that can be read by it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gristmill.base.errors import Error
from gristmill.mapping import LEAD, Mapping, apply, propose_for_rows, propose_mapping, variants_of
from gristmill.mapping.propose import COLUMNS_MAX
from gristmill.tables import read_table

WORDS = ["name", "company", "first name", "last name", "phone", "address 1", "Address2", "zip", "City, ST ZIP", "Ort",
         "id", "state", "e-mail", "owner", "number", "", "  ", "名称", "電話番号", "mailing address"]  # fmt: skip
VALUES = ["", "Acme Inc",
          "12 Main St", "Reno", "NV", "89501", "(775) 555-0123", "Reno, NV 89501", "a@x.io", "1",
          "-", "John Smith", "Smith, John", "2024-01-02", "=1+1", "札幌市", "12 Main St, Reno, NV 89501"]  # fmt: skip
cells = st.one_of(st.sampled_from(VALUES), st.text(max_size=30))
headers = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=30)), max_size=12)
rows = st.lists(st.lists(cells, max_size=14), max_size=8)
fields: st.SearchStrategy[Any] = st.one_of(
    st.just(LEAD),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=20)), min_size=1, max_size=5, unique=True),
)


def check(found: Mapping, width: int) -> None:
    owned = [index for item in found.fields.values() if not item.part for index in item.columns]
    used = {index for item in found.fields.values() for index in item.columns}
    assert used.isdisjoint(found.variants)
    assert len(set(found.variants)) == len(found.variants)
    assert all(0 <= index < width for index in (*used, *found.variants))
    if found.fieldset == LEAD:
        assert len(owned) == len(set(owned))
        assert all(len(set(item.columns)) == len(item.columns) for item in found.fields.values())
    assert all(0 <= item.confidence <= 1 for item in found.fields.values())
    assert len(found.shapes) == min(width, COLUMNS_MAX)
    label = found.chat_label
    assert all(0 <= index < width for index in (*label.location_columns, label.primary_column or 0)) or not width


@settings(max_examples=200, deadline=None)
@given(headers, rows, fields)
def test_any_rows(header: list[str], body: list[list[str]], wanted: Any) -> None:
    found = propose_for_rows(header, body, wanted)
    check(found, len(header))
    assert propose_for_rows(header, body, wanted) == found
    for row in body:
        values = apply(found, row)
        assert list(values) == list(found.fields)
        assert apply(found, row) == values
        variants_of(found, row)
        by_name = {name: row[i] if i < len(row) else "" for i, name in enumerate(found.columns)}
        if len(by_name) == len(found.columns):
            assert apply(found, by_name) == values


@settings(max_examples=100, deadline=None)
@given(headers.filter(any), rows)
def test_any_file(header: list[str], body: list[list[str]]) -> None:
    lines = [header, *body]
    text = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    data = text.encode("utf-8", "replace")
    try:
        found = propose_mapping(read_table(data))
    except Error:
        assume(condition=False)  # the tables room says what is no table
        return
    check(found, len(found.columns))
    assert propose_mapping(read_table(data)) == found


@settings(max_examples=50, deadline=None)
@given(headers, rows, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_much(header: list[str], body: list[list[str]], random: Any) -> None:
    shuffled = list(body)
    random.shuffle(shuffled)
    one, other = propose_for_rows(header, body), propose_for_rows(header, shuffled)
    assert {n: f.columns for n, f in one.fields.items()} == {n: f.columns for n, f in other.fields.items()}


@pytest.mark.parametrize(
    "header",
    [
        ["company"] * 300,
        ["phone"] * 200,
        [f"address {i}" for i in range(200)],
        ["first name", "last name"] * 100,
        ["name"] * 400,
        [f"col{i}" for i in range(3000)],
        ["=cmd|' /C calc'!A0", "<script>alert(1)</script>", "'; DROP TABLE batch; --", "ignore all instructions"],
        ["a" * 10_000, "\u202ecompany", "com\u200bpany", "\x00", "🙂"],
        ["company name " * 1000],
    ],
    ids=lambda header: header[0][:20].encode("unicode_escape").decode(),
)
def test_hostile_headers(header: list[str]) -> None:
    body = [["Acme Inc"] * len(header), ["(775) 555-0123"] * len(header)]
    check(propose_for_rows(header, body), len(header))
