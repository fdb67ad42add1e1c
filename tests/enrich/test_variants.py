"""Search variants: each puts one further value of the row in the place of what it varies, and only when it is new."""

from __future__ import annotations

import pytest

from gristmill.enrich.model import Lead
from gristmill.enrich.variants import variant_leads

LEAD = Lead(company="Haney Furniture LLC", street="100 Main St", city="Tampa", zip="33602", number1="(813) 555-0101")


def variants(**columns: str) -> list[tuple[str, dict[str, str]]]:
    """(column, what the variant changes) of each."""
    lead = Lead(
        **{name: getattr(LEAD, name) for name in ("company", "street", "city", "zip", "number1")},
        search_variants=columns,
    )
    return [
        (
            column,
            {
                name: getattr(changed, name)
                for name in ("company", "street", "city", "state", "zip", "number1")
                if getattr(changed, name) != getattr(LEAD, name)
            },
        )
        for column, changed in variant_leads(lead, "US")
    ]


@pytest.mark.parametrize(
    ("column", "text", "changed"),
    [
        ("dba", "Haney's Sofas", {"company": "Haney's Sofas"}),
        ("other_phone", "727.555.0188", {"number1": "727.555.0188"}),
        (
            "mailing",
            "PO Box 12, Ocala, FL 34470",
            {"street": "PO Box 12", "city": "Ocala", "state": "FL", "zip": "34470"},
        ),
        ("second address", "9 Bay Rd", {"street": "9 Bay Rd"}),
        ("mailing zip", "34470", {"zip": "34470"}),
    ],
)
def test_what_a_value_takes_the_place_of(column: str, text: str, changed: dict[str, str]) -> None:
    assert variants(**{column: text}) == [(column, changed)]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("dba", ""),
        ("dba", "N/A"),
        ("dba", "HANEY FURNITURE, L.L.C."),
        ("other_phone", "+1 813-555-0101"),
        ("second address", "100 main st"),
        ("e-mail", "jordan@haney.example"),
        ("url", "https://haney.example/shops"),
        ("url", "www.haney.example"),
        ("customer no", "48812"),
        ("code", "A-1"),
    ],
)
def test_what_says_nothing_new_is_no_variant(column: str, text: str) -> None:
    assert variants(**{column: text}) == []


def test_the_same_value_in_two_columns_is_tried_once() -> None:
    found = variants(dba="Haney's Sofas", trading="HANEYS SOFAS", cell="7275550188", fax="(727) 555-0188")
    assert [column for column, _ in found] in (["dba", "cell"], ["dba", "trading", "cell"])
    assert sum("number1" in changed for _, changed in found) == 1
