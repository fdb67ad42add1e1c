"""Money and keys in the browser, and the login by key."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from conftest import Caller, make_agent
from gristmill.base.db import Database
from gristmill.doors.dashboard.addresses import safe_return


def hidden(page: httpx.Response, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page.text)
    assert found
    return html.unescape(found[1])


def new_key(page: httpx.Response) -> str:
    found = re.search(r"gm_live_[\w-]{40,}", page.text)
    assert found
    return found[0]


def test_a_top_up_sent_twice_adds_money_once(owner: Caller, browser: httpx.Client) -> None:
    page = browser.get("/connect", params={"action": "topup", "return": "/batch/7"})
    form = {"csrf": hidden(page, "csrf"), "once": hidden(page, "once"), "amount": "25.50", "back": "/batch/7"}
    for _ in range(2):
        answer = browser.post("/connect/topup", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/batch/7")
    assert owner.get("/api/v1/agents/balance").json()["available_micro_usd"] == 25_500_000
    assert "$25.50" in browser.get("/connect").text


@pytest.mark.parametrize("amount", ["", "-5", "a lot", "1.0000001", "1e30"])
def test_an_amount_that_is_none_is_told(owner: Caller, browser: httpx.Client, amount: str) -> None:
    csrf = hidden(browser.get("/connect"), "csrf")
    page = browser.post("/connect/topup", data={"csrf": csrf, "once": "1", "amount": amount})
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert owner.get("/api/v1/agents/balance").json()["funded_micro_usd"] == 0


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    database: Database, owner: Caller, browser: httpx.Client, base_url: str
) -> None:
    agent = make_agent(database, owner.organization_id).id
    csrf = hidden(browser.get("/connect"), "csrf")
    page = browser.post("/connect/keys", data={"csrf": csrf, "name": "Nightly", "scope": "usage", "agent_id": agent})
    secret = new_key(page)
    assert secret not in browser.get("/connect").text
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{base_url}/api/v1/agents/{agent}", headers=bearer).status_code == 200
    key = next(item for item in owner.get("/api/v1/api_keys").json()["data"] if item["name"] == "Nightly")
    assert (key["scope"], key["agent_id"]) == ("usage", agent)
    rolled = new_key(browser.post(f"/connect/keys/{key['id']}/rotate", data={"csrf": csrf}))
    assert rolled != secret
    assert browser.post(f"/connect/keys/{key['id']}/revoke", data={"csrf": csrf}).status_code == 303
    assert httpx.get(f"{base_url}/api/v1/agents/{agent}", headers=bearer).status_code == 401
    bearer = {"Authorization": f"Bearer {rolled}"}
    assert httpx.get(f"{base_url}/api/v1/agents/{agent}", headers=bearer).status_code == 200


def test_keys_of_others_and_nameless_ones_are_refused(owner: Caller, stranger: Caller, browser: httpx.Client) -> None:
    csrf = hidden(browser.get("/connect"), "csrf")
    theirs = stranger.get("/api/v1/api_keys").json()["data"][0]["id"]
    assert browser.post(f"/connect/keys/{theirs}/revoke", data={"csrf": csrf}).status_code == 404
    assert browser.post("/connect/keys", data={"csrf": csrf, "name": " "}).status_code == 422
    assert browser.post("/connect/keys", data={"csrf": csrf, "name": "x", "scope": "root"}).status_code == 422
    assert browser.post("/connect/keys", data={"csrf": "no", "name": "x"}).status_code == 403
    assert stranger.get("/api/v1/agents").status_code == 200


def test_login_with_a_key(owner: Caller, base_url: str) -> None:
    client = httpx.Client(base_url=base_url)
    asked = client.get("/connect?action=topup")
    assert asked.headers["location"] == "/login?return=%2Fconnect%3Faction%3Dtopup"
    back = hidden(client.get(asked.headers["location"]), "back")
    answer = client.post("/login", data={"key": owner.secret, "back": back})
    assert (answer.status_code, answer.headers["location"]) == (303, "/connect?action=topup")
    assert client.get("/connect").status_code == 200


def test_a_key_with_less_than_all_rights_opens_no_session(database: Database, owner: Caller, base_url: str) -> None:
    client = httpx.Client(base_url=base_url)
    agent = make_agent(database, owner.organization_id).id
    usage = owner.post("/api/v1/api_keys", {"name": "u", "scope": "usage"}).json()["secret"]
    limited = owner.post("/api/v1/api_keys", {"name": "l", "scope": "admin", "agent_id": agent}).json()["secret"]
    for key, status in (("gm_live_wrong", 401), ("", 401), ("\x00", 401), (usage, 403), (limited, 403)):
        answer = client.post("/login", data={"key": key})
        assert answer.status_code == status, key
        assert "gristmill_session" not in client.cookies
        assert not key or key not in answer.text


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/batch/1", True),
        ("/dashboard/sources?page=2", True),
        ("/connect", True),
        ("//evil.example", False),
        ("/batch//evil.example", False),
        ("/batchx", False),
        ("https://evil.example/batch/1", False),
        ("/batch/\\evil.example", False),
        ("/batch/1\r\nX: y", False),
        ("", False),
    ],
)
def test_only_pages_of_ours_are_returned_to(path: str, kept: bool) -> None:
    assert safe_return(path) == (path if kept else "")
