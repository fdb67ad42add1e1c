"""What values look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.mapping.shapes import profile
from gristmill.mapping.values import (
    is_city_state_zip,
    is_company,
    is_full_address,
    is_person,
    is_phone,
    is_region,
    is_street,
    is_zip,
    is_zip_city,
    shapes,
)


@pytest.mark.parametrize(
    "value", ["(573) 541-4905", "+49 30 94405363", "06 11 22 33 44", "1-800-361-4792", "604.555.0123x44"]
)
def test_phones(value: str) -> None:
    assert is_phone(value)


@pytest.mark.parametrize("value", ["2024-01-31", "47.565295", "12345", "hello", "", "1234567890123456"])
def test_no_phones(value: str) -> None:
    assert not is_phone(value)


@pytest.mark.parametrize(
    "value", ["94025-9881", "V7E 1P4", "SW1A 1AA", "1011 AB", "75008", "00-950", "01310-100", "D02 AF30"]
)
def test_zips(value: str) -> None:
    assert is_zip(value)


@pytest.mark.parametrize(
    "value",
    [
        "12 Main St",
        "Hauptstraße 5",
        "rue de la Paix",
        "Calle Mayor 3",
        "PO Box 12",
        "Storgata 7",
        "ul. Długa 4",
        "北海道札幌市厚別区青葉町6丁目1-5",
    ],
)
def test_streets(value: str) -> None:
    assert is_street(value)


@pytest.mark.parametrize("value", ["4058 Basel", "Berlin", "Acme", ""])
def test_no_streets(value: str) -> None:
    assert not is_street(value)


def test_addresses_and_places() -> None:
    assert is_full_address("55 Bay Rd, Miami, FL 33139")
    assert not is_full_address("55 Bay Rd")
    assert is_city_state_zip("Tampa, FL 33602")
    assert not is_city_state_zip("Smith, John")
    assert is_zip_city("4058 Basel")
    assert not is_zip_city("4058 Basel Street")
    assert is_region("Île-de-France")
    assert not is_region("Atlantis")


@pytest.mark.parametrize("value", ["Dr. Anne Baker", "Graham, Bernard C.", "Jean-Pierre Martin", "王小明"])
def test_people(value: str) -> None:
    assert is_person(value)


@pytest.mark.parametrize("value", ["Smith & Sons, LLC", "Bäckerei Müller GmbH", "Riverside Auto Body", "中野医院"])
def test_companies(value: str) -> None:
    assert is_company(value)
    assert not is_person(value)


@given(st.text(max_size=400))
def test_any_text_has_shapes(value: str) -> None:
    assert isinstance(shapes(value), list)


@given(st.lists(st.text(max_size=40), max_size=30))
def test_shares_are_shares(cells: list[str]) -> None:
    found = profile(cells)
    assert found.distinct <= found.filled <= found.rows == len(cells)
    assert all(0 < share <= 1 for share in found.shares.values())


def test_a_column_that_counts_up() -> None:
    assert profile(["10001", "10002", "10003"]).sequential
    assert not profile(["10001", "20417", "94110"]).sequential


def test_a_dutch_code_is_no_code_with_a_city() -> None:
    assert is_zip_city("3511 Utrecht")
    assert not is_zip_city("3511 AB")


def test_a_phone_with_blanks_around_its_slash() -> None:
    assert "phone_formatted" in shapes("0211 / 1234567")
