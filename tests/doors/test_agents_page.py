"""The page of agents: a template becomes an agent by one press, and what is refused is told with what was typed."""

from __future__ import annotations

import html
import json
import re

import httpx
import pytest

from conftest import Caller
from gristmill import identity
from gristmill.base.db import Database


@pytest.fixture
def browser(database: Database, owner: Caller, base_url: str) -> httpx.Client:
    with database.tx(owner.organization_id) as tx:
        token = identity.create_login_link(tx, owner.organization_id)
    client = httpx.Client(base_url=base_url, timeout=60)
    client.get("/login", params={"token": token})
    return client


@pytest.fixture
def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/dashboard/agents").text)
    assert found
    return html.unescape(found[1])


def agents_of(owner: Caller) -> list[tuple[int, str]]:
    return [(item["id"], item["template"]) for item in owner.get("/api/v1/agents").json()["data"]]


def test_a_template_is_deployed(owner: Caller, browser: httpx.Client, csrf: str) -> None:
    answer = browser.post("/dashboard/agents", data={"csrf": csrf, "slug": "clean-contacts"})
    assert answer.status_code == 303
    assert [f"/dashboard/agents/{number}" for number, _ in agents_of(owner)] == [answer.headers["location"]]
    assert browser.get(answer.headers["location"]).status_code == 200


def test_a_template_that_needs_a_config_takes_it(owner: Caller, browser: httpx.Client, csrf: str) -> None:
    page = browser.get("/dashboard/agents").text
    shown = re.search(r'<textarea id="config-http-endpoint"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert shown
    config = json.loads(html.unescape(shown[1]))
    config["url"] = "https://example.com/score"
    form = {"csrf": csrf, "slug": "http-endpoint", "config": json.dumps(config)}
    assert browser.post("/dashboard/agents", data=form).status_code == 303
    number = agents_of(owner)[0][0]
    assert owner.get(f"/api/v1/agents/{number}").json()["config"]["url"] == "https://example.com/score"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"url": ', "The config is no JSON"),
        ("[1]", "must be a JSON object"),
        ('{"url": "http://169.254.169.254/</textarea>"}', "169.254.169.254"),
    ],
    ids=["no-json", "no-object", "private-address"],
)
def test_what_is_refused_stays_in_the_form(
    owner: Caller, browser: httpx.Client, csrf: str, config: str, words: str
) -> None:
    answer = browser.post("/dashboard/agents", data={"csrf": csrf, "slug": "http-endpoint", "config": config})
    assert answer.status_code == 422
    assert words in answer.text
    assert html.escape(config, quote=True).replace("&quot;", "&#34;") in answer.text
    assert agents_of(owner) == []


def test_deploying_needs_the_sessions_token_and_a_template(owner: Caller, browser: httpx.Client, csrf: str) -> None:
    assert browser.post("/dashboard/agents", data={"csrf": "no", "slug": "echo"}).status_code == 403
    assert browser.post("/dashboard/agents", data={"csrf": csrf, "slug": "nothing"}).status_code == 404
    assert agents_of(owner) == []
