"""Which record is the lead: by the evidence, and by what its rivals have."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.enrich.likeness import likeness
from gristmill.enrich.model import Lead

LEAD = Lead(company="Haney Furniture Co", street="100 Main St", city="Pittsburgh", zip="15213", number1="724-654-7732")
SELF = {"company": "HANEY FURNITURE COMPANY", "street": "100 Main Street", "city": "Pittsburgh", "zip": "15213-1111"}


def test_the_same_place_is_sure_and_another_one_is_not() -> None:
    assert likeness(LEAD, [SELF], "US")[0] > 0.95
    assert likeness(LEAD, [{"company": "Miller Bakery", "street": "7 Elm St", "zip": "90210"}], "US")[0] < 0.05
    assert likeness(LEAD, [{}], "US")[0] < 0.2, "a record that says nothing of itself"
    assert likeness(LEAD, [], "US") == []


def test_rivals_share_the_evidence() -> None:
    branch = {"company": "Haney Furniture Co"}
    alone = likeness(LEAD, [branch], "US")[0]
    five = likeness(LEAD, [branch] * 5, "US")
    assert alone > 0.8
    assert max(five) < 0.25
    chosen = likeness(LEAD, [{**branch, "street": "9 Elm St", "zip": "90210"}] * 3 + [SELF], "US")
    assert chosen[3] > 0.9, "the address tells the branches apart"


def test_a_phone_decides_where_there_is_no_name() -> None:
    lead = Lead(street="100 Main St", zip="15213", number1="724-654-7732")
    same = {"street": "100 Main St", "zip": "15213", "phone": "+1 724 654 7732"}
    other = {"street": "100 Main St", "zip": "15213", "phone": "+1 813 555 0100"}
    first, second = likeness(lead, [same, other], "US")
    assert first > 0.8 > second


SIDES = st.fixed_dictionaries(
    {}, optional={name: st.text(max_size=30) for name in ("company", "street", "city", "zip", "phone")}
)


@settings(deadline=None)
@given(st.lists(SIDES, max_size=6))
def test_chances_are_shares_of_one(sides: list[dict[str, str]]) -> None:
    chances = likeness(LEAD, sides, "US")
    assert len(chances) == len(sides)
    assert all(0 <= chance <= 1 for chance in chances)
    assert sum(chances) <= 1 + 1e-9
