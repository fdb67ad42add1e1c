"""Webhooks in the browser: subscribed, tested, paused, sent again, deleted."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from agent_server import AgentServer
from conftest import Caller
from gristmill import events
from gristmill.base.db import Database


@pytest.fixture
def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/dashboard/settings?tab=webhooks").text)
    assert found
    return html.unescape(found[1])


def webhooks_of(caller: Caller) -> list[dict[str, str]]:
    return caller.get("/api/v1/webhooks").json()["data"]


def test_a_webhook_from_its_making_to_its_end(
    database: Database, owner: Caller, browser: httpx.Client, csrf: str, agent_server: AgentServer
) -> None:
    form = {"csrf": csrf, "url": f"{agent_server.url}/echo", "event_type": ["agent.batch.*", "billing.topped_up"]}
    page = browser.post("/dashboard/settings/webhooks", data=form)
    assert page.status_code == 200
    secret = re.search(r"whsec_[\w+/=]+", page.text)
    assert secret
    hook = webhooks_of(owner)[0]
    path = f"/dashboard/settings/webhooks/{hook['id']}"
    assert secret[0] not in browser.get(path).text
    tried = browser.post(f"{path}/test", data={"csrf": csrf})
    assert "Test: delivered" in tried.text
    assert browser.post(f"{path}/pause", data={"csrf": csrf}).status_code == 303
    assert webhooks_of(owner)[0]["status"] == "paused"
    with database.tx(owner.organization_id) as tx:
        event = events.emit(tx, owner.organization_id, "billing.topped_up", subject="balance", data={})
    page = browser.get(path, params={"event": str(event)})
    assert "billing.topped_up" in page.text
    assert "It has not been tried yet" in page.text
    again = browser.post(f"{path}/deliveries/{event}", data={"csrf": csrf})
    assert again.headers["location"] == f"{path}?event={event}"
    assert browser.post(f"{path}/resume", data={"csrf": csrf}).status_code == 303
    rolled = browser.post(f"{path}/rotate", data={"csrf": csrf})
    assert re.search(r"whsec_[\w+/=]+", rolled.text)
    assert browser.post(f"{path}/delete", data={"csrf": csrf}).status_code == 303
    assert webhooks_of(owner) == []


@pytest.mark.parametrize(
    "form",
    [
        {"url": "https://x.example/"},
        {"url": "no url", "event_type": ["*"]},
        {"url": "https://10.0.0.1/", "event_type": ["*"]},
    ],
)
def test_what_is_refused_is_told(owner: Caller, browser: httpx.Client, csrf: str, form: dict[str, str]) -> None:
    page = browser.post("/dashboard/settings/webhooks", data={"csrf": csrf, **form})
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert form["url"] in page.text
    assert webhooks_of(owner) == []


def test_webhooks_of_others_are_not_there(
    stranger: Caller, browser: httpx.Client, csrf: str, agent_server: AgentServer
) -> None:
    body = {"url": f"{agent_server.url}/echo", "event_types": ["*"]}
    theirs = stranger.post("/api/v1/webhooks", body).json()["webhook"]["id"]
    path = f"/dashboard/settings/webhooks/{theirs}"
    assert browser.get(path).status_code == 404
    for change in ("pause", "resume", "rotate", "test", "delete"):
        assert browser.post(f"{path}/{change}", data={"csrf": csrf}).status_code == 404
    assert len(webhooks_of(stranger)) == 1
