"""Mapping to any fields: an agent's input fields, a list of names, a JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.agents import InputField
from gristmill.mapping import Mapping, UnknownFields, propose_for_rows

CRM = ["Record ID", "Vorname", "Nachname", "E-Mail-Adresse", "Firma", "Webseite", "Telefon geschäftlich", "Ort",
       "Mitarbeiter", "Erstellt am", "LinkedIn", "Position"]  # fmt: skip
ROWS = [
    ["1001", "Ana", "Weber", "ana@acme.de", "Acme GmbH", "https://acme.de", "030 1234567", "Berlin", "12",
     "2024-01-05", "https://linkedin.com/in/ana", "Einkauf"],
    ["1002", "Bo", "Koch", "bo@bolt.de", "Bolt AG", "www.bolt.de", "+49 40 7654321", "Hamburg", "340",
     "2024-02-05", "https://linkedin.com/in/bo", "CEO"],
]  # fmt: skip


def named(fields: Any, header: list[str] = CRM, rows: list[list[str]] = ROWS) -> dict[str, list[str]]:
    found = propose_for_rows(header, rows, fields)
    return {name: [found.columns[i] for i in item.columns] for name, item in found.fields.items()}


def test_fields_as_agents_name_them() -> None:
    assert named(["email", "website", "company_name", "first_name", "phone", "city", "full_name"]) == {
        "email": ["E-Mail-Adresse"],
        "website": ["Webseite"],
        "company_name": ["Firma"],
        "first_name": ["Vorname"],
        "phone": ["Telefon geschäftlich"],
        "city": ["Ort"],
        "full_name": ["Vorname", "Nachname"],
    }


def test_input_fields_of_an_agent() -> None:
    fields = [InputField(name="mail", type="string", required=True, description="E-mail address")]
    assert named(fields)["mail"] == ["E-Mail-Adresse"]


def test_a_schema() -> None:
    schema = {
        "type": "object",
        "required": ["contact"],
        "properties": {
            "contact": {"type": "string", "format": "email"},
            "homepage": {"type": ["string", "null"], "format": "uri"},
            "colour": {"type": "string"},
        },
    }
    assert named(schema) == {"contact": ["E-Mail-Adresse"], "homepage": ["Webseite"], "colour": []}


def test_the_same_name_comes_before_anything() -> None:
    header, rows = ["Email", "mail", "Contact e-mail"], [["a@x.io", "b@x.io", "c@x.io"]]
    assert named(["mail", "email", "contact_email"], header, rows) == {
        "mail": ["mail"],
        "email": ["Email"],
        "contact_email": ["Contact e-mail"],
    }


def test_values_of_another_type_do_not_fit() -> None:
    header, rows = ["size of firm", "name"], [["large", "x"], ["small", "y"]]
    assert named([{"name": "firm_size", "type": "integer"}], header, rows) == {"firm_size": []}
    assert named(["firm_size"], header, rows) == {"firm_size": ["size of firm"]}


def test_another_link_is_no_website() -> None:
    assert named(["website"], ["Facebook URL", "name"], [["https://facebook.com/x", "x"]]) == {"website": []}
    assert named(["linkedin_url"])["linkedin_url"] == ["LinkedIn"]


def test_nothing_is_made_up() -> None:
    assert named(["favourite_colour", "tax_rate"]) == {"favourite_colour": [], "tax_rate": []}


def test_a_description_says_what_a_name_does_not() -> None:
    fields = [{"name": "target", "description": "City"}]
    assert named(fields) == {"target": ["Ort"]}


def test_sets_of_fields_are_told_apart() -> None:
    def fieldset(fields: Any) -> str:
        return propose_for_rows(["a"], [], fields).fieldset

    assert fieldset("lead") == "lead"
    assert fieldset(["email"]) == fieldset([{"name": "email"}]) != fieldset(["mail"])


def test_whoever_has_many_fields_with_one_name_is_told() -> None:
    with pytest.raises(UnknownFields):
        propose_for_rows(["a"], [], ["a", {"name": "a"}])


def test_there_is_no_problem_with_other_fields() -> None:
    found: Mapping = propose_for_rows(["colour"], [], ["size"])
    assert not found.problem
    assert not found.variants
