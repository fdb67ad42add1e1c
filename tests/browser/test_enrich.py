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
from enrich.conftest import lead_agent
from gristmill import identity
from gristmill.base.db import Database
from lead_vendor import Vendor, record

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


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    running = Vendor().start()
    running.records["Haney Furniture Co"] = [
        record("Haney Furniture Co", city="Pittsburgh", zip="15213", phone="(813) 555-0188",
               email="office@haney.example", people=[{"name": "Jordan Haney", "role": "Owner"}])
    ]  # fmt: skip
    yield running
    running.stop()


def test_from_an_anonymous_upload_to_the_end(
    database: Database, owner: Caller, base_url: str, chrome: Chrome, worker: object, vendor: Vendor
) -> None:
    passes = [{"provider": "http", "config": vendor.config()}]
    lead_agent(database, owner.organization_id, passes, name="Lead enricher", price_micro_usd=50_000)
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
    click(chrome, "Fax")
    click(chrome, "Save mapping")

    def variants() -> list[str]:
        return owner.get(f"/api/v1/batch/enrich/{job}/mapping").json()["variants"]

    wait_for(lambda: variants() == ["Fax"], "the saved mapping")
    wait_for(lambda: "A saved mapping counts" in shown(chrome), "the review of what was saved")
    click(chrome, "Fax")
    assert "Not saved yet" in shown(chrome)
    click(chrome, "Start")
    wait_for(lambda: "Starting an enrichment needs" in shown(chrome), "the balance gate")
    assert variants() == [], "what was chosen counts without a press on Save"
    click(chrome, "Fax")
    assert "Top up" in shown(chrome)
    fund(database, owner.organization_id, 20_000_000)
    click(chrome, "Start")
    wait_for(lambda: "Completed" in shown(chrome), "the end of the job")
    wait_for(lambda: "2 of 2 rows" in shown(chrome), "the count")
    rows = "document.getElementById('rows').innerText"
    wait_for(lambda: all(chrome.evaluate(rows).count(word) == 1 for word in ("Matched", "Empty")), "the leads' states")
    click(chrome, "Haney Furniture Co \u00b7 Pittsburgh, PA")
    wait_for(lambda: "Match, " in shown(chrome), "the trace of a lead")
    text = chrome.evaluate("document.documentElement.outerHTML")
    assert "4 facts" in text
    found = ("555-0188", "5550188", "office@haney", "Jordan", "+1813")
    for secret in ("upload_token", "654-7732", "555-0100", *found):
        assert secret not in text, "counts only"
    assert [text for text in chrome.complaints if "402 (Payment Required)" not in text] == []
    if SHOTS:
        chrome.screenshot(Path(SHOTS) / "enrich-job.png", whole=True)


def linked(owner: Caller, job: str) -> Any:
    answer = owner.get(f"/api/v1/batch/enrich/{job}")
    return answer.status_code == 200 and answer.json()["linked"]


def test_a_file_in_which_no_lead_is_seen_is_mapped_by_a_person(
    database: Database, owner: Caller, base_url: str, chrome: Chrome
) -> None:
    with database.tx(owner.organization_id) as tx:
        link = identity.create_login_link(tx, owner.organization_id)
    cookie = httpx.get(f"{base_url}/login", params={"token": link}).cookies["gristmill_session"]
    chrome.set_cookie(base_url, "gristmill_session", cookie)
    chrome.look_like(width=430, theme="light")
    chrome.open(f"{base_url}/batch")
    choose(chrome, "a,b\n1,20\n3,40\n")
    click(chrome, "Upload and map")
    wait_for(lambda: "Use these columns" in shown(chrome), "the choice of columns")
    assert shown(chrome).count("No column holds a company name") == 1
    chrome.evaluate("document.getElementById('use-company').value = '0'")
    click(chrome, "Use these columns")
    wait_for(lambda: len(chrome.evaluate("location.pathname")) > len("/batch/"), "the job's page")
    job = chrome.evaluate("location.pathname").removeprefix("/batch/")
    fields = owner.get(f"/api/v1/batch/enrich/{job}/mapping").json()["fields"]
    assert fields["company"]["columns"] == ["a"]
