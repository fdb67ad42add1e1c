"""Every page in a real browser: both themes, wide and narrow; then a running batch that is watched and steered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser.chrome import Chrome, find_chromium
from conftest import Caller, fund, make_agent, wait_for
from gristmill import events, identity
from gristmill.base.db import Database
from gristmill.doors.dashboard import formats, words
from gristmill.doors.dashboard.assets import ASSETS

PROGRAM = find_chromium()
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]
SHOTS = os.environ.get("GRISTMILL_TEST_SHOTS")
"""Folder that gets a picture of every page, for a person to look at."""

# What a keyboard or a screen reader stumbles over, as far as a script can tell.
OUTLINE = """(() => {
  const bad = [];
  const start = (node) => node.outerHTML.slice(0, 120);
  const name = (node) => node.getAttribute("aria-label") || node.title || node.alt || node.innerText ||
    (node.labels && [...node.labels].map((label) => label.innerText).join(""));
  for (const node of document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea"))
    if (!String(name(node) || "").trim() && node.checkVisibility()) bad.push("no name: " + start(node));
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push("twice: #" + id);
  for (const node of document.querySelectorAll("[aria-labelledby]"))
    if (!document.getElementById(node.getAttribute("aria-labelledby"))) bad.push("labelled by nothing: " + start(node));
  let level = 0;
  for (const node of document.querySelectorAll("main :is(h1, h2, h3)")) {
    const next = Number(node.tagName[1]);
    if (next > level + 1) bad.push("heading skips a level: " + node.innerText);
    level = next;
  }
  if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) bad.push("not one main");
  for (const node of document.querySelectorAll(".scroll, pre"))
    if (node.scrollWidth > node.clientWidth && node.tabIndex < 0) bad.push("scrolls, no focus: " + start(node));
  return bad;
})()"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    assert PROGRAM
    with Chrome(PROGRAM) as running:
        yield running


@pytest.fixture
def session(database: Database, owner: Caller, base_url: str, chrome: Chrome) -> str:
    """Logs the browser in; answers the server's URL."""
    with database.tx(owner.organization_id) as tx:
        token = identity.create_login_link(tx, owner.organization_id)
    cookie = httpx.get(f"{base_url}/login", params={"token": token}).cookies["gristmill_session"]
    chrome.set_cookie(base_url, "gristmill_session", cookie)
    return base_url


def batch_of(owner: Caller, agent: int, name: str, items: list[dict[str, Any]]) -> str:
    return owner.post(f"/api/v1/agents/{agent}/batch_executions", {"name": name, "items": items}).json()["id"]


def status(owner: Caller, batch: str) -> str:
    return owner.get(f"/api/v1/batch_executions/{batch}").json()["status"]


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (1440, "dark"), (430, "light"), (430, "dark")])
def test_every_page_in_both_themes_wide_and_narrow(
    database: Database, owner: Caller, session: str, chrome: Chrome, worker: object, width: int, theme: str
) -> None:
    chrome.look_like(width=width, theme=theme)
    look_at = partial(_look_at, width=width, theme=theme)
    empty = ["/dashboard", "/dashboard/batches", "/dashboard/agents", "/dashboard/sources"]
    look_at(chrome, session, {f"empty-{path.rsplit('/', 1)[-1]}": path for path in empty})
    fund(database, owner.organization_id, 9_000_000)
    agent = make_agent(
        database,
        owner.organization_id,
        name="An agent with a rather long name that has to go somewhere",
        config={"entry_point": "sample_agents:odd_breaks"},
        price_micro_usd=20_000,
    )
    source = owner.post(
        "/api/v1/data_sources",
        {
            "name": "wide.csv",
            "kind": "csv",
            "csv_data": ",".join(f"column {n}" for n in range(30)) + "\n" + ",".join(["some text"] * 30) + "\n",
            "config": {"default_mapping": {"fields": {"n": "column 3"}}},
        },
    ).json()["id"]
    word = "unbreakable" * 18
    batch = batch_of(owner, agent.id, word, [{"n": n, "text": word, word: n} for n in range(70)])
    wait_for(lambda: status(owner, batch) == "completed", "completion")
    rows = owner.get(f"/api/v1/batch_executions/{batch}/rows", params={"limit": 2}).json()["data"]
    owner.post(f"/api/v1/agents/{agent.id}/channels", {"type": "APPRISE", "name": word, "secret": {"url": "ntfy://x"}})
    with database.tx(owner.organization_id) as tx:
        events.file_pending(tx, owner.organization_id, agent.id, "DATA_SOURCE_PULL_FAILED", message=word, facts={})
    look_at(
        chrome,
        session,
        {
            "overview": "/dashboard",
            "batches": "/dashboard/batches",
            "batch": f"/dashboard/batches/{batch}",
            "failed-rows": f"/dashboard/batches/{batch}?status=failed",
            "row": f"/dashboard/batches/{batch}/rows/{rows[0]['id']}",
            "failed-row": f"/dashboard/batches/{batch}/rows/{rows[1]['id']}",
            "agents": "/dashboard/agents",
            "agent": f"/dashboard/agents/{agent.id}",
            "agent-review": f"/dashboard/agents/{agent.id}?data_source_id={source}",
            "agent-settings": f"/dashboard/agents/{agent.id}?tab=settings",
            "agent-channels": f"/dashboard/agents/{agent.id}?tab=channels",
            "pending": "/dashboard/pending",
            "sources": "/dashboard/sources",
            "source": f"/dashboard/sources/{source}?agent_id={agent.id}",
            "source-new": "/dashboard/sources/new",
            "connect": "/connect",
            "secrets": "/dashboard/settings",
            "webhooks": "/dashboard/settings?tab=webhooks",
        },
    )
    chrome.call("Network.clearBrowserCookies")
    look_at(chrome, session, {"login": "/login"})


def _look_at(chrome: Chrome, base: str, pages: dict[str, str], *, width: int, theme: str) -> None:
    for name, path in pages.items():
        where = f"{name}, {theme}, {width} px"
        chrome.open(base + path)
        assert chrome.complaints == [], where
        assert chrome.evaluate(OVERFLOW) <= 0, where
        assert chrome.evaluate(OUTLINE) == [], where
        assert [url for url in chrome.requests if not url.startswith((base, "data:"))] == [], where
        dark = chrome.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert dark == (theme == "dark")
        if SHOTS:
            chrome.screenshot(Path(SHOTS) / f"{name}-{theme}-{width}.png", whole=True)


def test_a_running_batch_is_watched_and_steered(
    database: Database, owner: Caller, session: str, chrome: Chrome, worker: object
) -> None:
    agent = make_agent(
        database, owner.organization_id, concurrency=2, config={"entry_point": "sample_agents:wait_async"}
    )
    batch = batch_of(owner, agent.id, "Watched", [{"s": 0.15, "n": n} for n in range(200)])
    wait_for(lambda: status(owner, batch) == "running", "the start")
    chrome.look_like(width=1440)
    chrome.open(f"{session}/dashboard/batches/{batch}")

    def text(selector: str) -> str:
        return chrome.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def press(selector: str) -> None:
        chrome.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    first = int(text("[data-n=done]"))
    wait_for(lambda: int(text("[data-n=done]")) > first + 3, "progress on the page")
    assert chrome.evaluate("document.querySelector('[data-bar] rect[data-part=succeeded]').width.baseVal.value") > 0
    owner.post(f"/api/v1/batch_executions/{batch}/pause")
    wait_for(lambda: "Paused" in text("[data-state-word]"), "the pause on the page")
    assert "Paused by a person" in text(".banner")
    assert "Paused" in text("#said") or chrome.evaluate("document.querySelector('#said').textContent")
    press("#do-resume")
    wait_for(lambda: status(owner, batch) in {"queued", "running"}, "the resume")
    wait_for(lambda: text("[popovertarget=ask-cancel]"), "the page after it")
    press("[popovertarget=ask-cancel]")
    assert "Cancel this batch?" in text(".ask")
    press(".ask .btn--bad")
    wait_for(lambda: status(owner, batch) == "cancelled", "the end")
    wait_for(lambda: "Cancelled" in text("[data-state-word]") and "Closed" in text(".equation"), "the end on the page")
    assert chrome.complaints == []


def test_theme_and_menu_buttons(session: str, chrome: Chrome) -> None:
    chrome.look_like(width=430, theme="light")
    chrome.open(f"{session}/dashboard")
    themes = []
    for _ in range(3):
        chrome.evaluate("document.querySelector('[data-theme-button]').click()")
        themes.append(chrome.evaluate("document.documentElement.dataset.theme ?? 'system'"))
    assert themes == ["light", "dark", "system"]
    assert not chrome.evaluate("document.querySelector('#menu').checkVisibility()")
    chrome.evaluate("document.querySelector('.menu-button').click()")
    assert chrome.evaluate("document.querySelector('#menu').checkVisibility()")


def test_page_and_script_say_the_same(session: str, chrome: Chrome) -> None:
    chrome.open(f"{session}/dashboard")
    micro = [0, 1, 9_999, 10_000, 14_999, 15_000, 1_234_567_890, -5_000_000]
    seconds = [None, 0, 0.4, 59, 60, 61, 3_599, 3_600, 3_725, 86_400, 90_061, 200_000]
    rates = [None, 0.01, 0.5, 1, 9.94, 10, 1234.4]
    shares = [[0, 0], [9_999, 10_000], [1, 3], [5, 5], [7, 1_000_000]]
    bars = [[0, 0], [1, 0], [1_000_000, 1], [1, 1, 1], [5, 0, 2, 1_000]]
    row_micro = [0, 18_000, 12_500, 1, 2_000_000, 1_234_567_890]
    wanted = [
        [formats.money(n) for n in micro],
        [formats.row_money(n) for n in row_micro],
        [formats.duration(n) for n in seconds],
        [formats.rate(n) for n in rates],
        [formats.percent(*n) for n in shares],
        [words.widths(n) for n in bars],
    ]
    script = f"""import({json.dumps(ASSETS.url("format.js"))}).then((f) => [
      {json.dumps(micro)}.map(f.money), {json.dumps(row_micro)}.map(f.rowMoney),
      {json.dumps(seconds)}.map(f.duration), {json.dumps(rates)}.map(f.rate),
      {json.dumps(shares)}.map((n) => f.percent(...n)), {json.dumps(bars)}.map(f.widths)])"""
    assert chrome.evaluate(script) == wanted
