"""Requests out of templates and values out of answers: what fits goes in, nothing leaves its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from gristmill.base.errors import Invalid
from gristmill.enrich.model import Lead
from gristmill.enrich.templates import at, check_template, each, fill, fill_url, fills_a_hole, text_at

LEAD = Lead(company="Haney & Sons / Co", street="100 Main St", zip="33602")
ANSWER = {"data": {"people": [{"name": " Jordan\n Haney ", "age": 41, "ok": True}], "one": "x"}, "n": 1.5, "3": "three"}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{company}, {zip}", "Haney & Sons / Co, 33602"),
        ({"q": "{company}", "city": "{city}", "type": "b2b"}, {"q": "Haney & Sons / Co", "type": "b2b"}),
        ({"who": {"phone": "{number1}"}, "zip": "{zip}"}, {"zip": "33602"}),
        ({"ids": ["{zip}", "{number1}", 7, None]}, {"ids": ["33602", 7, None]}),
        ({"keep": "", "empty": {}, "n": 0, "b": False}, {"keep": "", "empty": {}, "n": 0, "b": False}),
        (7, 7),
    ],
)
def test_fill(template: Any, filled: Any) -> None:
    assert fill(template, LEAD) == filled


def test_values_are_not_templates() -> None:
    assert fill("{company}", replace(LEAD, company="{zip}")) == "{zip}"


def test_whether_there_is_anything_to_ask() -> None:
    assert fills_a_hole({"a": "{city}", "b": ["{zip}"]}, LEAD)
    assert not fills_a_hole({"a": "{city}", "b": ["{number1}"]}, LEAD)
    assert fills_a_hole({"a": "all"}, LEAD)


@pytest.mark.parametrize("template", ["{contact_id}", {"a": ["{Company}"]}, "{}", "{search_variants}", "{__class__}"])
def test_holes_that_nothing_fills_are_refused(template: Any) -> None:
    with pytest.raises(Invalid, match="is no field of a lead"):
        check_template(template, "config.query")


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_a_value_stays_in_its_place_of_a_url(company: str, zip_code: str) -> None:
    company, zip_code = (text.encode("utf-8", "replace").decode() for text in (company, zip_code))
    lead = Lead(company=company, zip=zip_code)
    filled = fill_url("https://vendor.example/v1/find/{company}/{zip}/end?q=1", lead)
    parts = urlsplit(filled)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "vendor.example", "q=1", "")
    sent = URL(filled)
    assert sent.raw_path.startswith("/v1/find/")
    assert sent.raw_path.endswith("/end")
    assert sent.raw_path.count("/") == 5


@pytest.mark.parametrize("text", ["..", ".", "...", "../..", "//evil.example/", "@evil.example", "?a=b#c", "\\..\\"])
def test_hostile_values_lead_nowhere_else(text: str) -> None:
    sent = URL(fill_url("https://vendor.example/v1/find/{company}/end", Lead(company=text)))
    assert sent.host == "vendor.example"
    assert sent.raw_path.startswith("/v1/find/")
    assert sent.raw_path.endswith("/end")
    assert not sent.query_string


def test_paths() -> None:
    assert at(ANSWER, "") is ANSWER
    assert at(ANSWER, "data.people.0.age") == 41
    assert at(ANSWER, "3") == "three"
    assert [at(ANSWER, path) for path in ("data.people.1.age", "data.people.-1", "n.x", "data.one.0", "nothing")] == [
        None
    ] * 5
    assert each(ANSWER, "data.people") == ANSWER["data"]["people"]  # type: ignore[index]
    assert each(ANSWER, "data.one") == ["x"]
    assert each(ANSWER, "data.none") == []
    assert text_at(ANSWER, "data.people.0.name") == "Jordan Haney"
    assert text_at(ANSWER, "n") == "1.5"
    assert [text_at(ANSWER, path) for path in ("data.people.0.ok", "data", "data.people")] == ["", "", ""]
