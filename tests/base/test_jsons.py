"""JSON in and out, exact for long integers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base import jsons

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_what_is_written_reads_back_exactly(value: Any) -> None:
    assert jsons.loads(jsons.dumps(value)) == value
    assert jsons.loads(jsons.dumps_sorted(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers(), max_size=6))
def test_equal_objects_give_equal_bytes(value: dict[str, int]) -> None:
    backwards = dict(reversed(value.items()))
    assert jsons.dumps_sorted(value) == jsons.dumps_sorted(backwards)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "1" * 25 + "x", "[" * 100_000])
def test_what_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        jsons.loads(text)
