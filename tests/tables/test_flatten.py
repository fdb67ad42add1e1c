from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gristmill.tables import cell, flatten, order_columns

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def test_dotted_names() -> None:
    assert flatten({"a": [{"b": 1}, 2], "c": {}}) == {"a.0.b": 1, "a.1": 2, "c": {}}
    assert flatten(5) == {"value": 5}
    assert flatten({"a": {"b": 1}, "a.b": 2}) == {"a.b": 1, "a.b_2": 2}


def test_cells() -> None:
    shown = [cell(v) for v in (None, True, False, 10**30, 0.1, 1e300, "x", [1, {"é": None}])]
    assert shown == ["", "true", "false", str(10**30), "0.1", "1e+300", "x", '[1,{"é":null}]']
    assert cell(10**5000).startswith("0x")


def test_natural_order() -> None:
    names = ["b.1", "a", "b.0.x", "b.10", "b.2", "c", "b.0.y", "a"]
    assert order_columns(names) == ["b.0.x", "b.0.y", "b.1", "b.2", "b.10", "a", "c"]
    assert order_columns(["a.b", "c", "a", "a..x", ""]) == ["a", "a.b", "a..x", "c", ""]


@given(values)
def test_nothing_is_lost(value: Any) -> None:
    flat = flatten(value)
    leaves = 0
    stack: list[Any] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict) and node:
            stack.extend(node.values())
        elif isinstance(node, list) and node:
            stack.extend(node)
        else:
            leaves += 1
    assert len(flat) == leaves


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_scalars_read_back_equal(value: Any) -> None:
    assert json.loads(cell(value)) == value


@given(st.lists(st.text("ab.01", max_size=6)))
def test_order_keeps_every_name_once(names: list[str]) -> None:
    ordered = order_columns(names)
    assert sorted(ordered) == sorted(set(names))
    assert order_columns(ordered) == ordered
