"""Rows to values: joined and taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.mapping import FieldMapping, Mapping, apply, split_place, variants_of


def mapping(**fields: FieldMapping) -> Mapping:
    return Mapping(fields, columns=("a", "b", "c"), variants=(2,))


def test_lines_are_joined_without_empty_and_repeated_ones() -> None:
    street = mapping(street=FieldMapping((0, 1, 2), join=", "))
    assert apply(street, ["12 Main St", "", "Suite 4"]) == {"street": "12 Main St, Suite 4"}
    assert apply(street, ["12 Main St", "12 Main St"]) == {"street": "12 Main St"}
    assert apply(street, []) == {"street": ""}


def test_a_row_may_be_a_dict() -> None:
    name = mapping(dm_name=FieldMapping((1, 0)))
    assert apply(name, {"a": "Kent", "b": "Clark", "c": None}) == {"dm_name": "Clark Kent"}
    assert variants_of(name, {"c": "x"}) == {"c": "x"}
    assert variants_of(name, ["", "", " "]) == {}


@pytest.mark.parametrize(
    ("text", "city", "state", "code"),
    [
        ("Tampa, FL 33602", "Tampa", "FL", "33602"),
        ("SAN LUIS OBISPO, CA 93401-3500", "SAN LUIS OBISPO", "CA", "93401-3500"),
        ("4058 Basel", "Basel", "", "4058"),
        ("Nantes 44000", "Nantes", "", "44000"),
        ("Boulder, Colorado", "Boulder", "Colorado", ""),
        ("Vancouver BC V6B 1A1", "Vancouver", "BC", "V6B 1A1"),
        ("Denver", "Denver", "", ""),
        ("10306-2903\nUNITED STATES OF AMERICA", "", "", "10306-2903"),
        ("", "", "", ""),
    ],
)
def test_a_combined_place_is_taken_apart(text: str, city: str, state: str, code: str) -> None:
    assert split_place(text) == {"city": city, "state": state, "zip": code}


@given(st.lists(st.text(max_size=20), max_size=5))
def test_applying_twice_is_the_same(row: list[str]) -> None:
    found = mapping(street=FieldMapping((0, 1, 2), join=", "), city=FieldMapping((1,), part="city"))
    assert apply(found, row) == apply(found, row)
    assert all(isinstance(value, str) for value in apply(found, row).values())
