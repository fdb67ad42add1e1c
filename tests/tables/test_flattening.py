from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.tables import flat_columns, flatten, flattening, order_columns

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("a.0_2", max_size=3)
keys = st.sampled_from(["", "a", "b", "c", "a.b", "0", "1", "a_2", "value", "a.0", "b_2"])
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def alike(draw: st.DrawFn) -> list[Any]:
    """Values that have a few shapes among them, as the results of one agent do."""
    shapes = draw(st.lists(nested, min_size=1, max_size=3))
    return [refilled(draw, draw(st.sampled_from(shapes))) for _ in range(draw(st.integers(0, 12)))]


def refilled(draw: st.DrawFn, shape: Any) -> Any:
    if isinstance(shape, dict):
        return {key: refilled(draw, value) for key, value in shape.items()}
    if isinstance(shape, list):
        return [refilled(draw, value) for value in shape]
    return draw(scalars)


def one_by_one(values: list[Any]) -> list[tuple[str, list[int], list[Any]]]:
    """The definition: `flatten` for each."""
    flat = [flatten(value) for value in values]
    names = dict.fromkeys(name for row in flat for name in row)
    return [
        (
            name,
            [row for row, cells in enumerate(flat) if name in cells],
            [cells[name] for cells in flat if name in cells],
        )
        for name in names
    ]


def spread(values: list[Any]) -> list[tuple[str, list[int], list[Any]]]:
    return [(name, [*rows], [*cells]) for name, rows, cells in flat_columns(values)]


@given(alike() | st.lists(nested, max_size=8))
@example([{"a": {"b": 1}, "a.b": 2}])
@example([{"a": [1]}, {"a": {"0": 2}}, {"a": None}, {"a": []}, {"a": {}}])
@example([{"b": 1, "a": 2}, {"a": {"x": 1}, "b": [2]}, {"a": 1, "b": 3}])
@example([{"": {"": 1}}, {"": 1}, 1, "", [], {}])
@example([{"a": 1}, {"a": [{"b": 1}] * 3}, {"c": 1, "a": [{"b": 1, "d": 2}]}, {"a": [[], {}, None, [[1]]]}])
@example([{1: "x", "1": "y"}, {True: 1}])
def test_columns_are_those_of_each_value(values: list[Any]) -> None:
    assert repr(spread(values)) == repr(one_by_one(values))


def test_depth_and_width_have_their_limits() -> None:
    deep: Any = 1
    for _ in range(80):
        deep = {"a": deep}
    wide = {f"k{index}": [index, {"x": index}] for index in range(9_000)}
    for values in ([deep, {"a": 1}], [[deep], [[deep]]], [wide, {"k1": 2}], [{**wide, "z": [[1]]}]):
        assert spread(values) == one_by_one(values)


def test_values_without_a_common_shape_are_taken_one_by_one() -> None:
    values = [{f"k{row % 97}": row, f"m{row % 89}": {"x": row}} for row in range(300)]
    assert spread(values) == one_by_one(values)


def test_subclasses_of_objects_are_objects() -> None:
    class Own(dict[str, Any]):
        pass

    values = [Own(a=Own(b=1)), {"a": {"b": 2}}, {"a": (1, 2)}]
    assert spread(values) == one_by_one(values)


def test_names_have_the_order_in_which_they_are_met() -> None:
    values = [{"a": {"x": 1}, "b": 1}, {"b": 1, "c": 1}, {"a": {"y": 1, "x": 2}, "d": 1}, {"c": 1, "b": 1, "e": 1}]
    assert order_columns(name for name, _, _ in spread(values)) == ["a.x", "a.y", "b", "c", "d", "e"]


def test_results_of_one_agent_are_not_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [
        {"company": row % 3 and {"name": "x", "sites": [{"city": "y"}] * (row % 4)}, "score": row / 7, "tags": []}
        for row in range(100)
    ]
    expected = one_by_one(values)
    monkeypatch.delattr(flattening, "_one_by_one")
    assert spread(values) == expected
