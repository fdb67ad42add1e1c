"""Datasets in the browser: from a file to answers; what is refused is told and loses nothing."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from conftest import Caller, make_agent, wait_for
from gristmill.base.db import Database

SHOPS = (
    "id,Company Name,what\n"
    "1,Haney Furniture,Oak tables and chairs made by hand\n"
    "2,Blue Door Bakery,Fresh bread and cakes every morning\n"
    "3,Smith Plumbing,Repairs of leaking pipes and boilers\n"
)


@pytest.fixture
def agent(database: Database, owner: Caller) -> int:
    return make_agent(database, owner.organization_id).id


def hidden(page: httpx.Response, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page.text)
    assert found, page.text[:2000]
    return html.unescape(found[1])


def analyzed(browser: httpx.Client, agent: int, text: str = SHOPS, name: str = "shops.csv") -> httpx.Response:
    csrf = hidden(browser.get(f"/dashboard/agents/{agent}?tab=datasets"), "csrf")
    files = {"file": (name, text.encode(), "text/csv")}
    return browser.post(f"/dashboard/agents/{agent}/datasets", data={"csrf": csrf}, files=files)


def template_of(page: httpx.Response) -> str:
    found = re.search(r'<textarea id="template"[^>]*>(.*?)</textarea>', page.text, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_from_a_file_to_answers(owner: Caller, browser: httpx.Client, agent: int, worker: object) -> None:
    page = analyzed(browser, agent)
    assert page.status_code == 200
    assert 'index . "Company Name"' in template_of(page)
    assert "id (suggested)" in page.text
    form = {
        "csrf": hidden(page, "csrf"),
        "file_path": hidden(page, "file_path"),
        "title": "Shops",
        "template": template_of(page),
        "key": "id",
    }
    made = browser.post(f"/dashboard/agents/{agent}/datasets/new", data=form)
    assert made.status_code == 303
    here = made.headers["location"]
    api = here.replace("/dashboard/", "/api/")
    wait_for(lambda: owner.get(api).json()["ingest_status"] == "completed", "ingest")
    shown = browser.get(here).text
    assert "Haney Furniture" in shown
    for mode in ("hybrid", "vector", "keyword"):
        hits = browser.get(here, params={"q": "fresh bread", "mode": mode}).text
        assert re.search(r'<ol class="hits"><li>.*?Blue Door Bakery', hits, re.DOTALL), mode
    counted = browser.post(
        f"{here}/sql", data={"csrf": form["csrf"], "sql": "SELECT count(*) AS n FROM records WHERE id > 1"}
    )
    assert re.search(r"<td>2</td>", counted.text)
    refused = browser.post(f"{here}/sql", data={"csrf": form["csrf"], "sql": "SELECT * FROM agent"})
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    wrong = browser.post(f"{here}/template", data={"csrf": form["csrf"], "template": "{{.what"})
    assert wrong.status_code == 422
    assert "Line 1" in wrong.text
    assert "{{.what</textarea>" in wrong.text
    right = browser.post(f"{here}/template", data={"csrf": form["csrf"], "template": "{{.what}}"})
    assert right.status_code == 303
    wait_for(lambda: owner.get(api).json()["version"] == 2, "the second version")
    back = browser.post(f"{here}/activate", params={"version": 1}, data={"csrf": form["csrf"]})
    assert back.status_code == 303
    assert owner.get(api).json()["version"] == 1
    assert browser.post(f"{here}/process", data={"csrf": form["csrf"]}).status_code == 303
    wait_for(lambda: owner.get(api).json()["ingest_status"] == "completed", "processing")
    gone = browser.post(f"{here}/delete", data={"csrf": form["csrf"]})
    assert gone.headers["location"] == f"/dashboard/agents/{agent}?tab=datasets"
    assert owner.get(api).status_code == 404


def test_a_file_that_is_none_is_told(browser: httpx.Client, agent: int) -> None:
    page = analyzed(browser, agent, text="\x00\x01\x02PNG", name="x.csv")
    assert 400 <= page.status_code < 500
    assert 'role="alert"' in page.text


def test_a_wrong_template_keeps_what_was_typed(owner: Caller, browser: httpx.Client, agent: int) -> None:
    page = analyzed(browser, agent)
    form = {
        "csrf": hidden(page, "csrf"),
        "file_path": hidden(page, "file_path"),
        "title": "Shops",
        "template": "first\n{{ .a | nonsense }}",
        "key": "id",
    }
    again = browser.post(f"/dashboard/agents/{agent}/datasets/new", data=form)
    assert again.status_code == 422
    assert "Line 2" in again.text
    assert template_of(again) == form["template"]
    assert owner.get(f"/api/agents/{agent}/datasets").json()["data"] == []


def test_datasets_of_others_are_not_there(
    database: Database, stranger: Caller, browser: httpx.Client, agent: int
) -> None:
    theirs = make_agent(database, stranger.organization_id).id
    csrf = hidden(browser.get(f"/dashboard/agents/{agent}?tab=datasets"), "csrf")
    files = {"file": ("a.csv", SHOPS.encode(), "text/csv")}
    assert browser.get(f"/dashboard/agents/{theirs}?tab=datasets").status_code == 404
    assert browser.post(f"/dashboard/agents/{theirs}/datasets", data={"csrf": csrf}, files=files).status_code == 404
    assert browser.get(f"/dashboard/agents/{theirs}/datasets/1").status_code == 404
    assert (
        browser.post(f"/dashboard/agents/{theirs}/datasets/1/sql", data={"csrf": csrf, "sql": "x"}).status_code == 404
    )


def test_a_new_file_is_planned_and_then_taken_in(
    owner: Caller, browser: httpx.Client, agent: int, worker: object
) -> None:
    page = analyzed(browser, agent)
    form = {name: hidden(page, name) for name in ("csrf", "file_path")}
    made = browser.post(
        f"/dashboard/agents/{agent}/datasets/new", data={**form, "title": "Shops", "template": "{{.what}}", "key": "id"}
    )
    here = made.headers["location"]
    api = here.replace("/dashboard/", "/api/")

    def version() -> int | None:
        found = owner.get(api).json()
        return found["version"] if found["ingest_status"] == "completed" else None

    wait_for(lambda: version() == 1, "ingest")
    more = SHOPS.replace("every morning", "on Sundays") + "4,New Leaf,House plants\n"
    planned = browser.post(f"{here}/plan", data={"csrf": form["csrf"]}, files={"file": ("more.csv", more.encode())})
    assert planned.status_code == 200
    shown = re.findall(r"<dt>(Added|Changed|Removed|Unchanged)</dt><dd><span>(\d+)</span>", planned.text)
    assert dict(shown) == {"Added": "1", "Changed": "1", "Removed": "0", "Unchanged": "2"}
    assert version() == 1, "a plan changes nothing"
    taken = {"csrf": form["csrf"], "file_path": hidden(planned, "file_path")}
    assert browser.post(f"{here}/file", data=taken).headers["location"] == here
    wait_for(lambda: version() == 2, "the new version")
    less = browser.post(
        f"{here}/plan", data={"csrf": form["csrf"]}, files={"file": ("less.csv", SHOPS.splitlines()[0] + "\n9,x,y\n")}
    )
    assert "Remove them and take it in" in less.text
    assert hidden(less, "confirmed") == "true"


def test_a_file_that_is_no_table_is_no_plan(owner: Caller, browser: httpx.Client, agent: int, worker: object) -> None:
    page = analyzed(browser, agent)
    form = {name: hidden(page, name) for name in ("csrf", "file_path")}
    made = browser.post(
        f"/dashboard/agents/{agent}/datasets/new", data={**form, "title": "Shops", "template": "{{.what}}", "key": "id"}
    )
    here = made.headers["location"]
    for files in ({}, {"file": ("broken.xlsx", b"PK\x03\x04 no workbook")}, {"file": ("other.csv", b"a,b\n1,2\n")}):
        refused = browser.post(f"{here}/plan", data={"csrf": form["csrf"]}, files=files)
        assert 400 <= refused.status_code < 500, files
        assert 'role="alert"' in refused.text
    unknown = browser.post(f"{here}/file", data={"csrf": form["csrf"], "file_path": "datasets/1/1/nothing.csv"})
    assert unknown.status_code == 404
    assert browser.get(f"{here}/plan").headers["location"] == here
    assert browser.post(f"{here}/plan", data={"csrf": "no"}).status_code == 403
