"""An anonymous upload that becomes a finished job, in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser.chrome import Chrome, find_chromium
from conftest import Caller, fund, wait_for
from gristmill import identity
from gristmill.base.db import Database

PROGRAM = find_chromium()
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]
SHOTS = os.environ.get("GRISTMILL_TEST_SHOTS")
LEADS = (
    "Account Name;Addr 1;Town;ST;ZIP;Tel;Fax\n"
    "Haney Furniture Co;100 Main St;Pittsburgh;PA;15213;724-654-7732;724-654-7733\n"
    "Smith & Sons, LLC;5 Oak Ave;Tampa;FL;33602;813-555-0100;\n"
)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    assert PROGRAM
    with Chrome(PROGRAM) as running:
        yield running


def shown(chrome: Chrome) -> str:
    return str(chrome.evaluate("document.querySelector('main')?.innerText ?? ''"))


def click(chrome: Chrome, text: str) -> None:
    found = (
        f"[...document.querySelectorAll('main button, main a')].find(b => b.innerText.trim() === {json.dumps(text)})"
    )
    wait_for(lambda: chrome.evaluate(f"Boolean({found}) && !{found}.disabled"), f"the button {text}")
    chrome.evaluate(f"{found}.click()")


def choose(chrome: Chrome, text: str) -> None:
    chrome.evaluate(
        "(() => { const held = new DataTransfer();"
        f" held.items.add(new File([{json.dumps(text)}], 'leads.csv', {{type: 'text/csv'}}));"
        " const input = document.getElementById('file'); input.files = held.files;"
        " input.dispatchEvent(new Event('change')); })()"
    )


def test_from_an_anonymous_upload_to_the_end(
    database: Database, owner: Caller, base_url: str, chrome: Chrome, worker: object
) -> None:
    chrome.call("Network.clearBrowserCookies")
    chrome.look_like(width=1440, theme="light")
    chrome.open(f"{base_url}/batch")
    choose(chrome, LEADS)
    wait_for(lambda: "7 columns, separated by semicolon" in shown(chrome), "the first look")
    click(chrome, "Upload and map")
    wait_for(lambda: "Log in to start" in shown(chrome), "the job's page")
    address = chrome.evaluate("location.pathname")
    wait_for(lambda: "Account Name" in shown(chrome), "the mapping")
    review = chrome.evaluate("document.documentElement.outerHTML")
    assert "7\u2022\u2022-6" in review, "a sample's form"
    for told in ("654-7732", "555-0100", "654-7733"):
        assert told not in review, "and nobody's number"

    with database.tx(owner.organization_id) as tx:
        link = identity.create_login_link(tx, owner.organization_id)
    cookie = httpx.get(f"{base_url}/login", params={"token": link}).cookies["gristmill_session"]
    chrome.set_cookie(base_url, "gristmill_session", cookie)
    chrome.evaluate("location.reload()")
    job = address.removeprefix("/batch/")
    wait_for(lambda: linked(owner, job), "the link")
    click(chrome, "Start")
    wait_for(lambda: "Starting an enrichment needs" in shown(chrome), "the balance gate")
    assert "Top up" in shown(chrome)
    fund(database, owner.organization_id, 20_000_000)
    click(chrome, "Start")
    wait_for(lambda: "Completed" in shown(chrome), "the end of the job")
    wait_for(lambda: "2 of 2 rows" in shown(chrome), "the count")
    text = chrome.evaluate("document.documentElement.outerHTML")
    for secret in ("upload_token", "654-7732", "555-0100"):
        assert secret not in text
    wait_for(
        lambda: chrome.evaluate("document.getElementById('rows').innerText").count("Empty") == 2, "the leads' states"
    )
    assert [text for text in chrome.complaints if "402 (Payment Required)" not in text] == []
    if SHOTS:
        chrome.screenshot(Path(SHOTS) / "enrich-job.png", whole=True)


def linked(owner: Caller, job: str) -> Any:
    answer = owner.get(f"/api/v1/batch/enrich/{job}")
    return answer.status_code == 200 and answer.json()["linked"]
