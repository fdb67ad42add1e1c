"""The batch tab of an agent: choose rows, look at what would run, submit; nothing happens before, nothing twice."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from conftest import Caller, fund, make_agent, wait_for
from gristmill.base.db import Database


@pytest.fixture
def agent(database: Database, owner: Caller) -> int:
    fund(database, owner.organization_id, 5_000_000)
    return make_agent(
        database, owner.organization_id, config={"entry_point": "sample_agents:echo"}, price_micro_usd=10_000
    ).id


def hidden(page: httpx.Response) -> dict[str, str]:
    """Hidden fields of the last form."""
    form = page.text.rsplit("<form", 1)[1].split("</form>", 1)[0]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in found}


def text_of(page: httpx.Response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


def batches_of(owner: Caller, agent: int) -> list[dict[str, object]]:
    return owner.get(f"/api/v1/agents/{agent}/batch_executions").json()["data"]


def test_a_source_is_reviewed_then_run_once(
    owner: Caller, browser: httpx.Client, agent: int, worker: object, stranger: Caller
) -> None:
    source = owner.post(
        "/api/v1/data_sources",
        {"name": "leads", "kind": "csv", "csv_data": "n\n1\n1\n2\n3\n", "config": {}},
    ).json()["id"]
    page = browser.get(f"/dashboard/agents/{agent}", params={"data_source_id": source, "row_limit": 3})
    assert page.status_code == 200
    assert (
        "To run 2 Duplicates 1 run once Refused 0 never billed Skipped 1 over the limit Cost $0.02 at most"
        in text_of(page)
    )
    assert batches_of(owner, agent) == []
    form = {**hidden(page), "budget": "1"}
    first = browser.post(f"/dashboard/agents/{agent}/batches", data=form)
    again = browser.post(f"/dashboard/agents/{agent}/batches", data=form)
    assert first.status_code == 303
    assert again.headers["location"] == first.headers["location"]
    made = batches_of(owner, agent)
    assert len(made) == 1
    assert first.headers["location"].endswith(str(made[0]["id"]))
    wait_for(lambda: batches_of(owner, agent)[0]["status"] == "completed", "completion")
    done = batches_of(owner, agent)[0]
    assert (done["rows_in"], done["succeeded"], done["duplicate"], done["skipped"]) == (4, 2, 1, 1)
    assert done["budget_usd"] == "1.000000"
    theirs = stranger.post(
        "/api/v1/data_sources", {"name": "theirs", "kind": "csv", "csv_data": "n\n1\n", "config": {}}
    ).json()["id"]
    assert browser.get(f"/dashboard/agents/{agent}", params={"data_source_id": theirs}).status_code == 404
    assert (
        browser.post(f"/dashboard/agents/{agent}/batches", data={**form, "data_source_id": theirs}).status_code == 404
    )


def test_a_persons_columns_are_in_the_review(owner: Caller, browser: httpx.Client, database: Database) -> None:
    text = "Firma,Webseite,kx\nAcme,https://acme.example,other\n"
    agent = make_agent(database, owner.organization_id, input_fields=[{"name": "website", "type": "string"}]).id
    source = owner.post("/api/v1/data_sources", {"name": "s", "kind": "csv", "csv_data": text}).json()["id"]
    address = {"data_source_id": source, "row_limit": 10}
    assert "https://acme.example" in browser.get(f"/dashboard/agents/{agent}", params=address).text

    values = {"csv_data": text, "fields": "agent", "agent_id": agent}
    found = owner.post("/api/v1/mappings/propose", values).json()
    edit = {"fields": {"website": [2]}, "agent_id": agent, "fieldset": found["fieldset"]}
    owner.client.put(f"/api/v1/mappings/{found['fingerprint']}", json=edit)
    page = browser.get(f"/dashboard/agents/{agent}", params=address).text
    assert "<td>other</td>" in page
    assert "https://acme.example" not in page


def test_pasted_rows_are_reviewed_then_run(owner: Caller, browser: httpx.Client, agent: int) -> None:
    csrf = hidden(browser.get(f"/dashboard/agents/{agent}"))["csrf"]
    page = browser.post(
        f"/dashboard/agents/{agent}/items",
        data={"csrf": csrf, "items": '[{"n": "007"}, {"n": "<b>"}]', "row_limit": 0},
    )
    assert page.status_code == 200
    assert "<td>007</td>" in page.text
    assert "&lt;b&gt;" in page.text
    done = browser.post(f"/dashboard/agents/{agent}/batches", data=hidden(page))
    assert done.status_code == 303
    assert batches_of(owner, agent)[0]["rows_in"] == 2


@pytest.mark.parametrize("items", ["", "[", "[]", "3", "[1]", "nonsense", '[{"a": NaN}]'])
def test_rows_that_cannot_be_read_are_told_and_kept_in_the_form(browser: httpx.Client, agent: int, items: str) -> None:
    csrf = hidden(browser.get(f"/dashboard/agents/{agent}"))["csrf"]
    page = browser.post(f"/dashboard/agents/{agent}/items", data={"csrf": csrf, "items": items})
    assert 400 <= page.status_code < 500
    assert 'role="alert"' in page.text
    assert f">{html.escape(items, quote=False)}</textarea>" in page.text.replace("&#34;", '"')


def test_a_refused_budget_keeps_the_choice(owner: Caller, browser: httpx.Client, agent: int) -> None:
    csrf = hidden(browser.get(f"/dashboard/agents/{agent}"))["csrf"]
    data = {"csrf": csrf, "once": "x", "items": '[{"n": 1}]', "row_limit": 0, "budget": "a lot"}
    page = browser.post(f"/dashboard/agents/{agent}/batches", data=data)
    assert page.status_code == 422
    assert "an amount in dollars" in page.text
    assert batches_of(owner, agent) == []


@pytest.mark.parametrize(
    "query", ["data_source_id=x", "data_source_id=-1", "data_source_id=" + "9" * 30, "row_limit=-5"]
)
def test_an_odd_address_is_a_page_without_a_choice(browser: httpx.Client, agent: int, query: str) -> None:
    assert browser.get(f"/dashboard/agents/{agent}?{query}").status_code == 200


def test_loading_a_refused_form_again_leads_back(browser: httpx.Client, agent: int) -> None:
    answer = browser.get(f"/dashboard/agents/{agent}/items")
    assert answer.headers["location"] == f"/dashboard/agents/{agent}?tab=batch"


def test_forms_need_the_token(browser: httpx.Client, agent: int) -> None:
    for path in ("items", "batches"):
        answer = browser.post(f"/dashboard/agents/{agent}/{path}", data={"items": "[{}]", "once": "1"})
        assert answer.status_code == 403
