"""The page of agents: a template becomes an agent by one press, and what is refused is told with what was typed."""

from __future__ import annotations

import html
import json
import re

import httpx
import pytest

from conftest import Caller


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


SETTINGS = {
    "name": "Scores, renamed",
    "price_usd": "0.0125",
    "daily_budget_usd": "5",
    "concurrency": "3",
    "rpm": "120",
    "timeout_s": "2.5",
    "max_attempts": "2",
    "schedule_cron": "0 6 * * 1-5",
    "config": '{"options": {"region": "GB"}, "entry_point": "gristmill.agents.builtin.contacts:clean_contact"}',
}


@pytest.fixture
def here(browser: httpx.Client, csrf: str) -> str:
    """The page of a deployed agent."""
    answer = browser.post("/dashboard/agents", data={"csrf": csrf, "slug": "clean-contacts"})
    return answer.headers["location"]


def test_settings_are_changed_and_limits_are_taken_away(
    owner: Caller, browser: httpx.Client, csrf: str, here: str
) -> None:
    agent = here.replace("/dashboard/", "/api/v1/")
    before = owner.get(agent).json()
    saved = browser.post(f"{here}/settings", data={"csrf": csrf, **SETTINGS})
    assert (saved.status_code, saved.headers["location"]) == (303, f"{here}?tab=settings")
    after = owner.get(agent).json()
    assert after["config"]["options"] == {"region": "GB"}
    assert (after["name"], after["price_usd"], after["daily_budget_usd"]) == ("Scores, renamed", "0.012500", "5.000000")
    assert (after["concurrency"], after["timeout_s"], after["schedule_cron"]) == (3, 2.5, "0 6 * * 1-5")
    assert after["retry"] == {**before["retry"], "max_attempts": 2}
    page = html.unescape(browser.get(f"{here}?tab=settings").text)
    form = {name: re.search(rf'name="{name}"[^>]*value="([^"]*)"', page) for name in SETTINGS if name != "config"}
    shown = {name: found[1] for name, found in form.items() if found}
    assert shown == {**{name: text for name, text in SETTINGS.items() if name != "config"},
                     "price_usd": "0.012500", "daily_budget_usd": "5.000000"}  # fmt: skip
    less = {**SETTINGS, "daily_budget_usd": "", "rpm": " ", "schedule_cron": "", "price_usd": ""}
    assert browser.post(f"{here}/settings", data={"csrf": csrf, **less}).status_code == 303
    free = owner.get(agent).json()
    assert (free["daily_budget_usd"], free["rate_limit"]["rpm"], free["schedule_cron"]) == (None, None, None)
    assert free["price_micro_usd"] == 0


def test_rules_are_shown_with_their_defaults_and_changed(
    owner: Caller, browser: httpx.Client, csrf: str, here: str
) -> None:
    agent = here.replace("/dashboard/", "/api/v1/")
    page = browser.get(f"{here}?tab=settings").text
    assert re.search(r"data_sources\.pause_source_after_failures</code>.*?<dd>3</dd>", page, re.DOTALL)
    rules = '{"data_sources": {"pause_source_after_failures": 5}, "mapping_jobs": {"mapping": {"phone": "Tel."}}}'
    assert browser.post(f"{here}/settings", data={"csrf": csrf, **SETTINGS, "rules": rules}).status_code == 303
    assert owner.get(agent).json()["rules"]["data_sources"] == {"pause_source_after_failures": 5}
    page = browser.get(f"{here}?tab=settings").text
    assert re.search(r"data_sources\.pause_source_after_failures</code>.*?<dd>5</dd>", page, re.DOTALL)
    assert "<span>phone</span> Tel." in page
    browser.post(f"{here}/settings", data={"csrf": csrf, **SETTINGS})
    assert owner.get(agent).json()["rules"]["data_sources"] == {"pause_source_after_failures": 5}, "none were typed"


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("concurrency", "many", "concurrency"),
        ("timeout_s", "-1", "timeout_s"),
        ("price_usd", "a lot", "price_usd"),
        ("schedule_cron", "at noon", "cron"),
        ("config", '{"entry_point": "os:system"}', "os:system"),
        ("rules", '{"data_sinks": {"retry_failed_push": 99}}', "retry_failed_push"),
        ("rules", "none", "rules are no JSON"),
        ("name", " ", "name"),
    ],
)
def test_settings_that_are_refused_stay_typed(
    owner: Caller, browser: httpx.Client, csrf: str, here: str, field: str, text: str, words: str
) -> None:
    agent = here.replace("/dashboard/", "/api/v1/")
    before = owner.get(agent).json()
    answer = browser.post(f"{here}/settings", data={"csrf": csrf, **SETTINGS, field: text})
    assert answer.status_code == 422
    assert words in re.search(r'role="alert">.*?</div></div>', answer.text, re.DOTALL)[0]  # type: ignore[index]
    assert html.escape(text).replace("&quot;", "&#34;") in answer.text
    marked = re.findall(r'name="(\w+)"[^>]*aria-describedby="[^"]*-error" aria-invalid="true"', answer.text)
    assert marked == [field], "the field itself says what is wrong"
    assert owner.get(agent).json() == before
    assert browser.get(f"{here}/settings").headers["location"] == f"{here}?tab=settings"
