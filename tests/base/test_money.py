"""Money in and out without rounding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.errors import Invalid
from gristmill.base.money import parse_usd, usd


@given(st.integers(0, 10**15))
def test_what_is_written_reads_back(micro: int) -> None:
    assert parse_usd(usd(micro), "x") == micro


@pytest.mark.parametrize(
    ("text", "micro"), [("0", 0), ("1.5", 1_500_000), (0.1, 100_000), (25, 25_000_000), ("0.000001", 1)]
)
def test_amounts(text: str | float, micro: int) -> None:
    assert parse_usd(text, "x") == micro


@pytest.mark.parametrize("text", ["-1", "0.0000001", "NaN", "Infinity", "1e30", "abc", "", "1,5"])
def test_what_is_no_amount_names_its_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_usd(text, "budget_usd")
    assert caught.value.errors[0].field == "budget_usd"


def test_negative_amounts_are_written_with_their_sign() -> None:
    assert usd(-1_500_000) == "-1.500000"
