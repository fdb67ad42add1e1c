"""Mappings over HTTP: proposed from whatever is sent, remembered, edited, and seen only by whom they concern."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from conftest import Caller, MakeCaller, make_agent
from gristmill.base.db import Database

API = "/api/v1/mappings"
TEXT = "Kunden-Nr.;Firma;Straße;Hausnr.;PLZ;Ort;Telefon\nK-1;Müller GmbH;Hauptstr.;5;10115;Berlin;030 1234567\n"
FIELDS = [{"name": "company_name", "type": "string", "required": True}, {"name": "website", "type": "string"}]


def propose(caller: Caller, **values: Any) -> dict[str, Any]:
    answer = caller.post(f"{API}/propose", values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def columns(found: dict[str, Any]) -> dict[str, list[int]]:
    return {name: item["columns"] for name, item in found["fields"].items() if item["columns"]}


def refused(answer: httpx.Response, status: int, field: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert not field or field in [item["field"] for item in answer.json()["errors"]], answer.text


EXPECTED = {"contact_id": [0], "company": [1], "street": [2, 3], "zip": [4], "city": [5], "number1": [6]}


class TestPropose:
    def test_a_text(self, owner: Caller) -> None:
        found = propose(owner, csv_data=TEXT)
        assert columns(found) == EXPECTED
        item = found["fields"]["street"]
        assert item["evidence"]["samples"] == ["Hauptstr. 5"]
        assert item["evidence"]["stage"] == "evidence"
        assert 0.5 < item["confidence"] <= 1
        assert found["columns"][1] == "Firma"
        assert found["chat_label"] == {"primary_column": 1, "location_columns": [5]}
        assert found["problem"] == ""

    def test_a_file_in_base64(self, owner: Caller) -> None:
        data = base64.b64encode(TEXT.encode("cp1252")).decode()
        assert columns(propose(owner, file_base64=data)) == EXPECTED

    def test_rows(self, owner: Caller) -> None:
        rows = [{"Firma": "Müller GmbH", "Ort": "Berlin"}, {"Firma": "Bolt AG", "Telefon": "030 1234567"}]
        found = propose(owner, rows=rows)
        assert [found["columns"][i] for i in found["fields"]["number1"]["columns"]] == ["Telefon"]

    def test_a_form(self, owner: Caller) -> None:
        files = {"file": ("leads.csv", TEXT.encode(), "text/csv")}
        answer = owner.client.post(f"{API}/propose", files=files, data={"fields": json.dumps(["firm"])})
        assert answer.status_code == 200, answer.text
        assert columns(answer.json()) == {"firm": [1]}

    def test_a_plain_body(self, owner: Caller) -> None:
        answer = owner.client.post(f"{API}/propose", content=TEXT.encode(), headers={"Content-Type": "text/csv"})
        assert columns(answer.json()) == EXPECTED

    def test_fields_of_an_agent(self, owner: Caller, database: Database) -> None:
        agent = make_agent(database, owner.organization_id, input_fields=FIELDS).id
        found = propose(owner, csv_data=TEXT, fields="agent", agent_id=agent)
        assert columns(found) == {"company_name": [1]}
        assert list(found["fields"]) == ["company_name", "website"]

    def test_a_schema(self, owner: Caller) -> None:
        schema = {"type": "object", "properties": {"phone": {"type": "string"}, "town": {"type": "string"}}}
        assert columns(propose(owner, csv_data=TEXT, fields=schema)) == {"phone": [6], "town": [5]}

    def test_a_table_that_cannot_be_searched_is_still_mapped(self, owner: Caller) -> None:
        assert "company" in propose(owner, csv_data="colour;size\nred;4\n")["problem"]

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({}, "csv_data"),
            ({"csv_data": TEXT, "rows": []}, "csv_data"),
            ({"file_base64": "%%%"}, "file_base64"),
            ({"csv_data": TEXT, "fields": "agent"}, "agent_id"),
            ({"csv_data": TEXT, "fields": "leads"}, ""),
            ({"csv_data": TEXT, "fields": {"type": "object"}}, "fields"),
            ({"csv_data": TEXT, "fields": [{"type": "string"}]}, "fields"),
            ({"csv_data": TEXT, "more": 1}, "more"),
            ({"csv_data": TEXT, "row_limit": 0}, "row_limit"),
            ({"rows": [1]}, "rows.0"),
        ],
    )
    def test_what_is_refused(self, owner: Caller, values: dict[str, Any], field: str) -> None:
        refused(owner.post(f"{API}/propose", values), 422, field)

    def test_an_agent_without_fields(self, owner: Caller, database: Database) -> None:
        agent = make_agent(database, owner.organization_id).id
        refused(owner.post(f"{API}/propose", {"csv_data": TEXT, "fields": "agent", "agent_id": agent}), 422, "agent_id")

    def test_types_that_are_not_read(self, owner: Caller) -> None:
        answer = owner.client.post(f"{API}/propose", content=b"x", headers={"Content-Type": "image/png"})
        assert answer.status_code == 415

    def test_broken_json(self, owner: Caller) -> None:
        headers = {"Content-Type": "application/json"}
        assert owner.client.post(f"{API}/propose", content=b"{", headers=headers).status_code == 400

    def test_no_table(self, owner: Caller) -> None:
        answer = owner.post(f"{API}/propose", {"file_base64": base64.b64encode(bytes(range(32)) * 50).decode()})
        assert answer.status_code in {400, 415, 422}


class TestEdit:
    def test_a_persons_choice_is_used_for_ever(self, owner: Caller) -> None:
        found = propose(owner, csv_data=TEXT)
        path = f"{API}/{found['fingerprint']}"
        answer = owner.client.put(path, json={"fields": {"company": [0], "contact_id": [], "street": [2]}})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["version"], answer.json()["edited"]) == (2, True)
        again = propose(owner, csv_data=TEXT)
        assert columns(again) == {"company": [0], "street": [2], "zip": [4], "city": [5], "number1": [6]}
        assert again["fields"]["company"]["evidence"]["stage"] == "person"
        assert owner.get(path).json()["mapping"]["fields"]["company"]["columns"] == [0]

    def test_for_one_agent_only(self, owner: Caller, database: Database) -> None:
        agent = make_agent(database, owner.organization_id).id
        found = propose(owner, csv_data=TEXT)
        path = f"{API}/{found['fingerprint']}"
        owner.client.put(path, json={"fields": {"company": [0]}, "agent_id": agent})
        assert columns(propose(owner, csv_data=TEXT)) == EXPECTED
        assert columns(propose(owner, csv_data=TEXT, agent_id=agent))["company"] == [0]
        assert owner.get(path).json()["agent_id"] is None
        assert owner.get(f"{path}?agent_id={agent}").json()["agent_id"] == agent

    def test_of_other_fields(self, owner: Caller) -> None:
        found = propose(owner, csv_data=TEXT, fields=["firm"])
        path = f"{API}/{found['fingerprint']}"
        refused(owner.client.put(path, json={"fields": {"firm": [0]}}), 404)
        answer = owner.client.put(path, json={"fields": {"firm": [0]}, "fieldset": found["fieldset"]})
        assert answer.json()["mapping"]["fields"]["firm"]["columns"] == [0]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"fields": {"company": [99]}}, "fields.company"),
            ({"fields": {"nobody": [0]}}, "fields.nobody"),
            ({"fields": {}, "variants": [99]}, "fields.variants"),
        ],
    )
    def test_what_is_refused(self, owner: Caller, body: dict[str, Any], field: str) -> None:
        path = f"{API}/{propose(owner, csv_data=TEXT)['fingerprint']}"
        refused(owner.client.put(path, json=body), 422, field)

    def test_what_was_never_proposed(self, owner: Caller) -> None:
        refused(owner.get(f"{API}/{'0' * 32}"), 404)
        refused(owner.client.put(f"{API}/{'0' * 32}", json={"fields": {}}), 404)


class TestWhoMay:
    def test_others_see_nothing(self, owner: Caller, stranger: Caller, database: Database) -> None:
        agent = make_agent(database, owner.organization_id, input_fields=FIELDS).id
        path = f"{API}/{propose(owner, csv_data=TEXT)['fingerprint']}"
        refused(stranger.get(path), 404)
        refused(stranger.post(f"{API}/propose", {"csv_data": TEXT, "fields": "agent", "agent_id": agent}), 404)
        refused(stranger.post(f"{API}/propose", {"csv_data": TEXT, "agent_id": agent}), 404)

    def test_a_usage_key_proposes_and_does_not_edit(self, owner: Caller, teammate: Caller) -> None:
        path = f"{API}/{propose(teammate, csv_data=TEXT)['fingerprint']}"
        assert owner.get(path).status_code == 200
        refused(teammate.client.put(path, json={"fields": {"company": [0]}}), 403)

    def test_a_limited_key_lives_in_its_agent(self, owner: Caller, make_caller: MakeCaller, database: Database) -> None:
        one, other = (make_agent(database, owner.organization_id).id for _ in range(2))
        limited = make_caller(owner.organization_id, agent_id=one)
        path = f"{API}/{propose(owner, csv_data=TEXT)['fingerprint']}"
        refused(limited.get(path), 404)
        propose(limited, csv_data=TEXT)
        assert limited.get(path).json()["agent_id"] == one
        refused(limited.post(f"{API}/propose", {"csv_data": TEXT, "agent_id": other}), 403)
        refused(limited.get(f"{path}?agent_id={other}"), 403)
        refused(limited.client.put(path, json={"fields": {"company": [0]}}), 403)
        assert limited.client.put(path, json={"fields": {"company": [0]}, "agent_id": one}).status_code == 200
        assert columns(propose(owner, csv_data=TEXT)) == EXPECTED
