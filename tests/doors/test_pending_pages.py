"""Pending items in the browser: seen on the overview, decided, gone."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from conftest import Caller, make_agent
from gristmill import events
from gristmill.base.db import Database


@pytest.fixture
def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/dashboard/settings").text)
    assert found
    return html.unescape(found[1])


def file_item(database: Database, organization_id: int, agent_id: int | None, kind: str, message: str) -> str:
    with database.tx(organization_id) as tx:
        item = events.file_pending(tx, organization_id, agent_id, kind, message=message, facts={}, key=message)
    return str(item.id)


def resolution(owner: Caller, item: str) -> Any:
    found = owner.get("/api/v1/pending", params={"status": "all"}).json()["data"]
    return next(line["resolution"] for line in found if line["id"] == item)


def test_an_item_is_shown_decided_and_kept(database: Database, owner: Caller, browser: httpx.Client, csrf: str) -> None:
    agent = make_agent(database, owner.organization_id)
    kind = "DATA_SOURCE_SYNC_HELD"
    held = file_item(database, owner.organization_id, agent.id, kind, "A pull of `<stock>` waits.")
    other = file_item(database, owner.organization_id, None, "WEBHOOK_DISABLED", "Nobody answers.")
    for path in ("/dashboard", "/dashboard/pending"):
        page = browser.get(path).text
        assert "A pull of <code>&lt;stock&gt;</code> waits." in page
        assert f'href="/dashboard/agents/{agent.id}?tab=data-sources"' in page
        assert "Nobody answers." in page
    form = {"csrf": csrf, "decision": "approve", "where": "overview"}
    answer = browser.post(f"/dashboard/pending/{held}", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert resolution(owner, held)["decision"] == "approve"
    again = browser.post(f"/dashboard/pending/{held}", data={"csrf": csrf, "decision": "reject"})
    assert (again.status_code, again.headers["location"]) == (303, "/dashboard/pending")
    assert resolution(owner, held)["decision"] == "approve", "what was decided stays"
    browser.post(f"/dashboard/pending/{other}", data={"csrf": csrf})
    assert "Nothing waits for you" in browser.get("/dashboard/pending").text
    assert "Waiting for you" not in browser.get("/dashboard").text
    resolved = browser.get("/dashboard/pending", params={"status": "resolved"}).text
    assert "Approved, " in resolved
    assert "Done, " in resolved


def test_items_of_others_are_not_there(database: Database, stranger: Caller, browser: httpx.Client, csrf: str) -> None:
    theirs = file_item(database, stranger.organization_id, None, "WEBHOOK_DISABLED", "Not yours.")
    assert "Not yours." not in browser.get("/dashboard/pending").text
    assert browser.post(f"/dashboard/pending/{theirs}", data={"csrf": csrf}).status_code == 404
    assert browser.post(f"/dashboard/pending/{theirs}", data={"csrf": "another"}).status_code == 403
    assert resolution(stranger, theirs) is None
