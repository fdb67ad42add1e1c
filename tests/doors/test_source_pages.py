"""Sources in the browser: keep a file, save a mapping, delete; what is refused is told and loses nothing."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from conftest import Caller, make_agent
from gristmill.base.db import Database


@pytest.fixture
def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/dashboard/sources/new").text)
    assert found
    return html.unescape(found[1])


def source_of(owner: Caller, text: str = "E-Mail;Name\nana@example.com;Ana\n") -> int:
    body = {"name": "leads", "kind": "csv", "csv_data": text, "config": {}}
    return owner.post("/api/v1/data_sources", body).json()["id"]


def test_a_file_becomes_a_source(owner: Caller, browser: httpx.Client, csrf: str) -> None:
    file = ("leads.csv", "Straße;PLZ\nÄcker 1;01067\n".encode("cp1252"), "text/csv")
    answer = browser.post("/dashboard/sources/new", data={"csrf": csrf, "kind": "csv"}, files={"file": file})
    assert answer.status_code == 303
    page = browser.get(answer.headers["location"])
    assert "Äcker 1" in page.text
    assert "01067" in page.text
    assert "leads.csv" in page.text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"kind": "csv"}, "Choose a file"),
        ({"kind": "postgres", "query": "SELECT 1"}, "Give the source a name"),
        ({"kind": "postgres", "name": "x", "env_key": "PATH", "query": "SELECT 1"}, "PATH"),
        ({"kind": "nonsense", "name": "x"}, "Choose a file"),
    ],
)
def test_what_is_refused_is_told(
    owner: Caller, browser: httpx.Client, csrf: str, data: dict[str, str], said: str
) -> None:
    page = browser.post("/dashboard/sources/new", data={"csrf": csrf, **data})
    assert 400 <= page.status_code < 500
    assert 'role="alert"' in page.text
    assert said in page.text
    assert owner.get("/api/v1/data_sources").json()["data"] == []


def test_an_agents_fields_are_offered_with_the_columns_of_their_name(
    database: Database, owner: Caller, browser: httpx.Client
) -> None:
    source = source_of(owner)
    agent = make_agent(
        database, owner.organization_id, input_fields=[{"name": "email", "required": True}, {"name": "fax"}]
    ).id
    page = browser.get(f"/dashboard/sources/{source}", params={"agent_id": agent}).text
    assert re.search(r'value="email".*?<option value="E-Mail" selected>', page, re.DOTALL)
    assert 'value="fax"' in page


def test_a_mapping_is_saved_and_used(owner: Caller, browser: httpx.Client, csrf: str) -> None:
    source = source_of(owner)
    lines = {"csrf": csrf, "field": ["email", "", "nothing"], "column": ["E-Mail", "Name", ""]}
    answer = browser.post(f"/dashboard/sources/{source}", data=lines)
    assert answer.status_code == 303
    assert "The mapping is saved." in browser.get(answer.headers["location"]).text
    saved = owner.get(f"/api/v1/data_sources/{source}").json()["config"]["default_mapping"]["fields"]
    assert saved == {"email": "E-Mail"}


@pytest.mark.parametrize(
    "lines",
    [
        {"field": ["a", "a"], "column": ["E-Mail", "Name"]},
        {"field": ["a"], "column": ["No such column"]},
    ],
)
def test_a_mapping_that_cannot_be_keeps_what_was_typed(
    owner: Caller, browser: httpx.Client, csrf: str, lines: dict[str, list[str]]
) -> None:
    source = source_of(owner)
    page = browser.post(f"/dashboard/sources/{source}", data={"csrf": csrf, **lines})
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert 'value="a"' in page.text
    assert owner.get(f"/api/v1/data_sources/{source}").json()["config"]["default_mapping"]["fields"] == {}


def test_deleting(owner: Caller, stranger: Caller, browser: httpx.Client, csrf: str) -> None:
    source, theirs = source_of(owner), source_of(stranger)
    assert browser.post(f"/dashboard/sources/{source}/delete", data={"csrf": "wrong"}).status_code == 403
    assert browser.post(f"/dashboard/sources/{theirs}/delete", data={"csrf": csrf}).status_code == 404
    assert browser.post(f"/dashboard/sources/{source}/delete", data={"csrf": csrf}).status_code == 303
    assert owner.get(f"/api/v1/data_sources/{source}").status_code == 404
    assert stranger.get(f"/api/v1/data_sources/{theirs}").status_code == 200


def test_the_way_to_the_agents_batch_tab(owner: Caller, browser: httpx.Client) -> None:
    answer = browser.get("/dashboard/sources/7/batch", params={"agent_id": 3})
    assert answer.headers["location"] == "/dashboard/agents/3?tab=batch&data_source_id=7"
