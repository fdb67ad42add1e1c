"""Columns of a source or a file that nobody named for an agent: proposed where the proposal is sure enough."""

from __future__ import annotations

from typing import Any

from conftest import Caller, make_agent
from gristmill import mapping
from gristmill.base.db import Database
from gristmill.batches.columns import SURE, find_columns

ROWS = [
    {"Firma": "Müller GmbH", "Webseite": "https://mueller.de", "Mail": "a@mueller.de", "kx": "1"},
    {"Firma": "Bolt AG", "Webseite": "www.bolt.de", "Mail": "info@bolt.de", "kx": "2"},
]
COLUMNS = list(ROWS[0])
FIELDS = [
    {"name": "website", "type": "string", "required": True},
    {"name": "email", "type": "string"},
    {"name": "tax_rate", "type": "string"},
]
SOURCE = {"kind": "data_source"}
CSV = "Firma,Webseite,Mail,kx\n" + "".join(",".join(row.values()) + "\n" for row in ROWS)


def found(database: Database, organization: int, **more: Any) -> Any:
    agent = make_agent(database, organization, input_fields=more.pop("input_fields", FIELDS))
    values: dict[str, Any] = {"origin": SOURCE, "chosen": {}, "columns": COLUMNS, **more}
    with database.tx(organization) as tx:
        return find_columns(tx, organization, agent, values.pop("rows", ROWS), **values)


def test_sure_columns_feed_the_agent(database: Database, organization: int) -> None:
    fed = found(database, organization)
    assert fed.mapping == {"website": "Webseite", "email": "Mail"}
    assert set(fed.origin["proposed_mapping"]) == {"website", "email"}
    assert all(SURE <= sure <= 1 for sure in fed.origin["proposed_mapping"].values())
    assert list(fed.rows) == ROWS, "no row is lost by having been looked at"


def test_what_was_chosen_stays(database: Database, organization: int) -> None:
    fed = found(database, organization, chosen={"website": "kx"})
    assert fed.mapping == {"website": "kx"}
    assert fed.origin == SOURCE


def test_fields_that_are_all_there_need_no_mapping(database: Database, organization: int) -> None:
    rows = [{"website": "x", "email": "y", "tax_rate": "z"}]
    assert found(database, organization, rows=rows, columns=list(rows[0])).mapping == {}


def test_items_are_named_as_the_agent_has_them(database: Database, organization: int) -> None:
    assert found(database, organization, origin={"kind": "items"}).mapping == {}


def test_agents_without_fields_get_the_row(database: Database, organization: int) -> None:
    assert found(database, organization, input_fields=[]).mapping == {}


def test_many_rows_are_a_stream(database: Database, organization: int) -> None:
    many = ({**ROWS[0], "kx": str(n)} for n in range(1000))
    fed = found(database, organization, rows=many)
    assert next(many)["kx"] == str(mapping.SAMPLE_ROWS), "only a sample was read"
    assert sum(1 for _ in fed.rows) == 999


def test_a_batch_of_a_source(owner: Caller, database: Database) -> None:
    agent = make_agent(database, owner.organization_id, input_fields=FIELDS)
    source = owner.post("/api/v1/data_sources", {"name": "Leads", "kind": "csv", "csv_data": CSV}).json()["id"]
    path = f"/api/v1/agents/{agent.id}/batch_executions"

    batch = owner.post(path, {"data_source_id": source}).json()
    assert batch["mapping"] == {"website": "Webseite", "email": "Mail"}

    fingerprint = owner.post("/api/v1/mappings/propose", {"csv_data": CSV}).json()["fingerprint"]
    proposal = owner.post("/api/v1/mappings/propose", {"csv_data": CSV, "fields": "agent", "agent_id": agent.id}).json()
    assert proposal["fingerprint"] == fingerprint
    assert proposal["fields"]["website"]["evidence"]["stage"] == "cache", "the batch has remembered it"
    edit = {"fields": {"email": [3]}, "agent_id": agent.id, "fieldset": proposal["fieldset"]}
    assert owner.client.put(f"/api/v1/mappings/{fingerprint}", json=edit).status_code == 200
    again = owner.post(path, {"data_source_id": source}).json()
    assert again["mapping"] == {"website": "Webseite", "email": "kx"}

    named = owner.post(path, {"data_source_id": source, "mapping": {"website": "Firma"}})
    assert named.status_code == 202, named.text
    assert named.json()["mapping"] == {"website": "Firma"}
