"""An agent's channels in the browser: made, tested, paused, deleted."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from agent_server import AgentServer
from conftest import Caller, make_agent
from gristmill.base.db import Database

ALL = ["on_action", "on_escalation", "on_pause", "on_cost_threshold"]


@pytest.fixture
def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/dashboard/settings").text)
    assert found
    return html.unescape(found[1])


@pytest.fixture
def agent_id(database: Database, owner: Caller) -> int:
    return make_agent(database, owner.organization_id).id


def channels_of(caller: Caller, agent_id: int) -> list[dict[str, Any]]:
    return caller.get(f"/api/v1/agents/{agent_id}/channels").json()["data"]


def test_a_channel_from_its_making_to_its_end(
    owner: Caller, browser: httpx.Client, csrf: str, agent_id: int, agent_server: AgentServer
) -> None:
    path = f"/dashboard/agents/{agent_id}/channels"
    form = {"csrf": csrf, "kind": "WEBHOOK", "name": "Ops", "target": f"{agent_server.url}/echo", "topic": ALL[:2]}
    page = browser.post(path, data=form)
    assert page.status_code == 200
    assert re.search(r"whsec_[\w+/=]+", page.text), "the secret is shown once"
    (made,) = channels_of(owner, agent_id)
    assert (made["name"], made["eventSubscriptions"]) == ("Ops", ALL[:2])
    one = f"{path}/{made['id']}"
    assert "Test: delivered" in browser.post(f"{one}/test", data={"csrf": csrf}).text
    assert browser.post(f"{one}/pause", data={"csrf": csrf}).headers["location"].endswith("?tab=channels")
    assert channels_of(owner, agent_id)[0]["status"] == "paused"
    assert channels_of(owner, agent_id)[0]["eventSubscriptions"] == ALL[:2]
    browser.post(f"{one}/resume", data={"csrf": csrf})
    assert channels_of(owner, agent_id)[0]["status"] == "active"
    assert browser.get(f"{one}/test").headers["location"].endswith("?tab=channels"), "loading a test again"
    browser.post(f"{one}/delete", data={"csrf": csrf})
    assert channels_of(owner, agent_id) == []


def test_an_address_that_is_secret_is_never_shown(
    owner: Caller, browser: httpx.Client, csrf: str, agent_id: int
) -> None:
    path = f"/dashboard/agents/{agent_id}/channels"
    url = "tgram://1234567890:AAH-secret-token/42"
    form = {"csrf": csrf, "kind": "APPRISE", "name": "Phone", "target": url, "topic": ALL}
    assert browser.post(path, data=form).status_code == 303
    assert channels_of(owner, agent_id)[0]["type"] == "APPRISE"
    refused = browser.post(path, data={**form, "topic": []})
    assert refused.status_code == 422
    assert "Choose at least one kind of news." in refused.text
    for text in (refused.text, browser.get(f"/dashboard/agents/{agent_id}?tab=channels").text):
        assert "Phone" in text
        assert "secret-token" not in text


@pytest.mark.parametrize(
    ("kind", "target"),
    [("WEBHOOK", "https://10.0.0.1/"), ("EMAIL", "no address"), ("EMAIL", ""), ("SLACK", "no url"), ("PIGEON", "x")],
)
def test_what_is_refused_is_told(
    owner: Caller, browser: httpx.Client, csrf: str, agent_id: int, kind: str, target: str
) -> None:
    form = {"csrf": csrf, "kind": kind, "name": "Mine", "target": target, "topic": ALL}
    page = browser.post(f"/dashboard/agents/{agent_id}/channels", data=form)
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert "Mine" in page.text
    assert channels_of(owner, agent_id) == []


def test_channels_of_others_are_not_there(
    database: Database, stranger: Caller, browser: httpx.Client, csrf: str, agent_server: AgentServer
) -> None:
    agent_id = make_agent(database, stranger.organization_id).id
    body = {"type": "WEBHOOK", "config": {"url": f"{agent_server.url}/echo"}}
    theirs = stranger.post(f"/api/v1/agents/{agent_id}/channels", body).json()["id"]
    path = f"/dashboard/agents/{agent_id}/channels"
    form = {"csrf": csrf, "kind": "APPRISE", "target": "ntfy://x", "topic": ALL}
    assert browser.post(path, data=form).status_code == 404
    for change in ("pause", "resume", "test", "delete"):
        assert browser.post(f"{path}/{theirs}/{change}", data={"csrf": csrf}).status_code == 404
    assert [item["id"] for item in channels_of(stranger, agent_id)] == [theirs]
