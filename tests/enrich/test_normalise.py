"""One form for each thing, and nothing made of what is none."""

from __future__ import annotations

import re

import email_validator
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.enrich.normalise import (
    address,
    company_key,
    email,
    is_nothing,
    is_plain_email,
    looks_like_street,
    person,
    phones,
    plain,
    street_key,
    zip_key,
)

TEXTS = st.text(max_size=80)


@pytest.mark.parametrize(
    ("text", "region", "e164"),
    [
        ("7246547732", "US", ["+17246547732"]),
        ("(813) 555-0100 ext 12", "US", ["+18135550100"]),
        ("724-654-7732 / (813) 555-0100", "US", ["+17246547732", "+18135550100"]),
        ("+61 7 3823 2828", "US", ["+61738232828"]),
        ("(07) 3823 2828", "AU", ["+61738232828"]),
        ("020 7946 0958", "GB", ["+442079460958"]),
        ("1-800-FLOWERS", "US", ["+18003569377"]),
        ("5550100", "US", []),
        ("n/a", "US", []),
        ("", "US", []),
        ("100 Main St", "US", []),
    ],
)
def test_phones(text: str, region: str, e164: list[str]) -> None:
    assert [number["e164"] for number in phones(text, region)] == e164


def test_an_extension_is_kept() -> None:
    assert phones("(813) 555-0100 ext 12", "US")[0]["extension"] == "12"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Jane.Doe@Example.COM", {"address": "jane.doe@example.com", "type": "person"}),
        ("mailto:info@x.org?subject=a", {"address": "info@x.org", "type": "role"}),
        ("\u00e5\u00cainfo@x.org", {"address": "info@x.org", "type": "role"}),
        ("\u00c2\u00a0info@x.org", {"address": "info@x.org", "type": "role"}),
        ("m\u00c3\u00bcller@x.org", None),
        ("barking.library@x.org", {"address": "barking.library@x.org", "type": "role"}),
        ("anna.reception.ruiz+office@x.org", {"address": "anna.reception.ruiz+office@x.org", "type": "person"}),
        ("<sales-team@x.org>;", {"address": "sales-team@x.org", "type": "role"}),
        ("a@b", None),
        ("foo @bar.com", None),
        ("jane.doe(at)example.com", None),
        ("", None),
    ],
)
def test_emails(text: str, found: dict[str, str] | None) -> None:
    assert email(text) == found


MAIL = st.text(st.sampled_from("abzABZ019.-_+"), min_size=1, max_size=70)
LABEL = st.text(st.sampled_from("abzAZ09-"), min_size=1, max_size=66)
LAST = st.sampled_from(["com", "x", "uk", "test", "co1", "local", "onion", "museum", "c-m", "a" * 64])
DOMAIN = st.tuples(st.lists(LABEL, min_size=1, max_size=5), LAST).map(lambda parts: ".".join([*parts[0], parts[1]]))


@given(local=MAIL, domain=DOMAIN)
@example(local="a", domain="xn--abc.com")
@example(local="a", domain="my.localhost")
@example(local="a" * 64, domain=".".join(["b" * 60] * 3) + ".com")
@example(local="a" * 64, domain=".".join(["b" * 60] * 4) + ".com")
@settings(max_examples=300, deadline=None)
def test_the_short_way_of_emails_says_yes_only_where_the_long_one_does(local: str, domain: str) -> None:
    text = f"{local}@{domain}"
    if is_plain_email(text):
        found = email_validator.validate_email(text, check_deliverability=False)
        assert text.lower() == f"{found.local_part}@{found.domain}".lower()


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("SMITH, JOHN A", "John A Smith"),
        ("Dr. Jane van der Berg-Miller III", "Jane van der Berg-Miller III"),
        ("CHARLOTTE CHURCH", "Charlotte Church"),
        ("First Baptist Church", None),
        ("Acme LLC", None),
        ("Smith & Sons", None),
        ("123", None),
        ("info@x.org", None),
        ("n/a", None),
        ("-", None),
    ],
)
def test_persons(text: str, display: str | None) -> None:
    found = person(text)
    assert (found and found["display_name"]) == display


def test_addresses_come_from_parts_and_from_one_line() -> None:
    parts = {"street": "100 Main St", "city": "Tampa", "state": "FL", "zip": "33602"}
    assert address(parts, "US") == parts
    line = address({"full": "100 Main St, Ste 2, Tampa, FL 33602"}, "US")
    assert line == {"street": "100 Main St Ste 2", "city": "Tampa", "state": "FL", "zip": "33602"}
    assert address({"full": "2 Town Square, Barking"}, "GB") == {"street": "2 Town Square, Barking"}
    assert address({"city": "Tampa"}, "US") is None
    assert address({"street": "n/a"}, "US") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Smith & Sons, L.L.C.", "SMITH AND SONS"),
        ("The Haney Furniture Co.", "Haney Furniture Company"),
        ("Café Zoë", "cafe zoe"),
    ],
)
def test_companies_that_are_written_differently_are_equal(one: str, other: str) -> None:
    assert company_key(one) == company_key(other)


def test_streets_and_postal_codes_are_compared_in_one_form() -> None:
    assert street_key("100 North Main Street, Suite 2") == street_key("100 N Main St Ste 2")
    assert zip_key("15213-1234") == zip_key("15213")
    assert zip_key("2138") == zip_key("02138"), "spreadsheets drop the zero"
    assert zip_key("ig11 7nb") == zip_key("IG117NB")
    assert looks_like_street("100 Main St")
    assert looks_like_street("PO Box 12")
    assert not looks_like_street("Haney Furniture 2")


@settings(deadline=None)
@given(TEXTS)
@example("U\U0001d4d3 stylised letters have capitals too")
def test_nothing_breaks_them(text: str) -> None:
    for number in phones(text, "US"):
        assert re.fullmatch(r"\+\d{7,15}", number["e164"])
    found = email(text)
    assert found is None or "@" in found["address"]
    someone = person(text)
    assert someone is None or someone["display_name"]
    address({"full": text, "street": text}, "US")
    is_nothing(text)
    for key in (company_key, street_key, zip_key, plain):
        assert key(key(text)) == key(text), "a key is its own key"
