"""Facts that say the same become one, known things are no find, and nothing of a value is lost or runs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.enrich.graph import CONFIDENCE_MAX, Graph
from gristmill.enrich.model import Fact, FactKind, Lead
from gristmill.tables import flatten

LEAD = Lead(company="Haney Furniture Co", street="100 Main St", zip="15213", number1="7246547732", dm_name="Ann Haney")
NOW = "2026-11-25T12:00:00+00:00"


def fact(kind: FactKind, provider: str = "a", confidence: float = 0.8, **value: str) -> Fact:
    return Fact(kind, value, f"https://{provider}.example", provider, confidence, NOW)


def graph(*facts: Fact, lead: Lead = LEAD) -> Graph:
    made = Graph(lead, "US")
    made.add(facts)
    for item in facts:
        made.anchor(item.provider, item.confidence)
    return made


def test_providers_that_agree_make_it_surer() -> None:
    one = graph(fact("phone", e164="+18135550100"))
    two = graph(fact("phone", e164="+18135550100"), fact("phone", "b", 0.5, e164="+18135550100"))
    twice = graph(fact("phone", e164="+18135550100"), fact("phone", e164="+18135550100"))
    assert two.result()["phones"][0]["confidence"] == 0.9
    assert two.result()["phones"][0]["agreeing_providers"] == 2
    assert twice.result()["phones"] == one.result()["phones"], "one provider that repeats itself adds nothing"


def test_people_are_the_same_by_initials_and_not_by_family_alone() -> None:
    merged = graph(
        fact("contact", display_name="J Doe", first_name="J", last_name="Doe"),
        fact("contact", "b", display_name="Jane Doe", first_name="Jane", last_name="Doe", title="Owner"),
    )
    [contact] = merged.result()["contacts"]
    assert (contact["display_name"], contact["first_name"], contact["title"]) == ("Jane Doe", "Jane", "Owner")
    apart = graph(
        fact("contact", display_name="John Doe", first_name="John", last_name="Doe"),
        fact("contact", display_name="Jane Doe", first_name="Jane", last_name="Doe"),
    )
    assert len(apart.result()["contacts"]) == 2


def test_what_the_lead_says_itself_is_confirmed_and_no_match() -> None:
    known = graph(
        fact("phone", e164="+17246547732"),
        fact("contact", display_name="Ann Haney", first_name="Ann", last_name="Haney"),
        fact("entity", legal_name="HANEY FURNITURE COMPANY"),
        fact("address", street="100 Main Street", zip="15213"),
    )
    assert not known.matched
    assert not any(entry["new"] for name in ("phones", "contacts", "entities") for entry in known.result()[name])
    assert graph(fact("entity", legal_name="Haney Furniture", website="https://haney.example")).matched
    assert graph(fact("phone", e164="+18135550100")).matched
    assert not graph(fact("phone", confidence=0.4, e164="+18135550100")).matched, "too unsure to be paid for"


def test_what_another_column_says_is_no_news() -> None:
    own = Graph(replace(LEAD, search_variants={"Mail": "office@haney.example", "Web": "www.haney.example/"}), "US")
    site = fact("entity", legal_name=LEAD.company, website="https://haney.example")
    own.add([fact("email", address="office@haney.example"), site])
    assert not own.matched
    own.add([fact("email", address="sales@haney.example")])
    assert own.matched
    assert not graph(fact("address", street="9 Elm St", zip="15213")).matched, "an address alone is no match"


def test_entries_come_in_order_of_confidence_with_where_they_are_from() -> None:
    found = graph(
        fact("phone", confidence=0.6, e164="+18135550101"), fact("phone", "b", 0.9, e164="+18135550100")
    ).result()
    assert [entry["e164"] for entry in found["phones"]] == ["+18135550100", "+18135550101"]
    first = found["phones"][0]
    assert (first["provider"], first["source"], first["fetched_at"]) == ("b", "https://b.example", NOW)
    assert set(found) == {"phones", "confidence", "summary_markdown"}
    assert "phones.0.e164" in flatten(found)


def test_a_summary_is_text_whatever_the_values_are() -> None:
    evil = graph(
        fact("contact", display_name="[x](javascript:alert(1)) <b>", last_name="x", first_name="y"),
        lead=Lead(company="![img](http://evil)\n# head"),
    )
    summary = evil.result()["summary_markdown"]
    assert "](" not in summary.replace("\\]\\(", "")
    assert "<b>" not in summary
    assert summary.count("\n") == 1


KINDS: dict[FactKind, str] = {"phone": "e164", "email": "address", "contact": "display_name", "entity": "legal_name"}
FACTS = st.builds(
    lambda kind, value, provider, confidence: fact(kind, provider, confidence, **{KINDS[kind]: value}),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(["+18135550100", "a@b.co", "Ann Lee", "Lee LLC"]),
    st.sampled_from("abc"),
    st.floats(0, 1),
)


@settings(deadline=None)
@given(st.lists(FACTS, max_size=12))
def test_order_and_repetition_change_nothing(facts: list[Fact]) -> None:
    once, back, again = graph(*facts), graph(*reversed(facts)), graph(*facts, *facts)
    assert once.counts() == back.counts() == again.counts()
    assert once.matched == back.matched == again.matched
    assert once.confidence == again.confidence
    for entry in once.entries:
        assert 0 <= entry.confidence <= CONFIDENCE_MAX
        assert entry.confidence >= min(max(item.confidence for item in entry.facts), CONFIDENCE_MAX) - 1e-4
