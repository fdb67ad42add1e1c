"""The lines of an export beside the definition: one row after the other, each result flattened by itself."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.money import usd
from gristmill.batches.export import flat_lines
from gristmill.tables import flatten, order_columns, write_table

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
results = st.dictionaries(
    st.sampled_from(["a", "b", "c", "a.0"]),
    scalars | st.lists(scalars | st.dictionaries(st.sampled_from("xy"), scalars, max_size=2), max_size=3),
    max_size=3,
)
rows = st.fixed_dictionaries(
    {
        "row_number": st.integers(1, 9),
        "status": st.sampled_from(["succeeded", "failed"]),
        "data": st.dictionaries(st.sampled_from(["n", "m"]), scalars, max_size=2),
        "result": st.none() | results,
        "charge_micro_usd": st.integers(0, 10**7),
        "error_code": st.none() | st.just("timeout"),
        "error": st.none() | st.text("x", max_size=3),
    }
)


def one_by_one(columns: list[str], names: list[str], row: dict[str, Any]) -> list[Any]:
    values = flatten(row["result"]) if row["result"] else {}
    is_late = not values.keys() <= {*names}
    facts = [row["row_number"], "running" if is_late else row["status"], usd(row["charge_micro_usd"])]
    facts += [row["error_code"], row["error"]]
    cells = [None if is_late else values.get(name) for name in names]
    return [*(row["data"].get(column) for column in columns), *facts, *cells]


@given(st.lists(st.lists(rows, min_size=1, max_size=5), max_size=3), st.integers(0, 9))
def test_pages_become_the_lines_of_their_rows(pages: list[list[dict[str, Any]]], known: int) -> None:
    everything = dict.fromkeys(name for page in pages for row in page for name in flatten(row["result"] or {}))
    seen = [*everything][:known]  # what came later is in no header
    batch = {"columns": ["n", "m"], "result_columns": seen}
    lines, names = flat_lines(batch, iter(pages))
    expected = [one_by_one(["n", "m"], order_columns(seen), row) for page in pages for row in page]
    assert [list(line) for line in lines] == expected
    assert len(names) == 7 + len(seen)


def test_numbers_stay_numbers_where_a_row_has_no_result() -> None:
    row = {"row_number": 1, "status": "succeeded", "data": {}, "charge_micro_usd": 0, "error_code": None, "error": None}
    page = [{**row, "result": {"score": 2}}, {**row, "result": None, "status": "failed"}]
    lines, names = flat_lines({"columns": [], "result_columns": ["score"]}, iter([page]))
    table = pq.read_table(io.BytesIO(b"".join(write_table("parquet", lines, names))))
    assert table.column("score").to_pylist() == [2, None]
