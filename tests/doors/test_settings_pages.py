"""Secrets in the browser: values go in and never come out."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from conftest import Caller
from gristmill import vault
from gristmill.base.db import Database

VALUE = "sk-canary-7b31f0d94c52"


@pytest.fixture
def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/dashboard/settings").text)
    assert found
    return html.unescape(found[1])


def secrets_of(owner: Caller) -> list[dict[str, str]]:
    return owner.get("/api/v1/secrets").json()["data"]


def test_a_secret_is_kept_rotated_and_deleted(
    database: Database, owner: Caller, browser: httpx.Client, csrf: str
) -> None:
    lines = {"csrf": csrf, "name": "Scores", "value_name": ["token", "user", ""], "value": [VALUE, "ana", ""]}
    assert browser.post("/dashboard/settings/secrets", data=lines).status_code == 303
    page = browser.get("/dashboard/settings").text
    assert VALUE not in page
    assert "gm_byo_****4c52" in page
    secret = secrets_of(owner)[0]
    with database.tx(owner.organization_id) as tx:
        assert dict(vault.reveal(tx, owner.organization_id, secret["id"], purpose="test")) == {
            "token": VALUE,
            "user": "ana",
        }
    changed = {"csrf": csrf, "value_name": ["token", "user"], "value": [VALUE[::-1], ""]}
    assert browser.post(f"/dashboard/settings/secrets/{secret['id']}/rotate", data=changed).status_code == 303
    with database.tx(owner.organization_id) as tx:
        now = dict(vault.reveal(tx, owner.organization_id, secret["id"], purpose="test"))
    assert now == {"token": VALUE[::-1], "user": "ana"}
    assert browser.post(f"/dashboard/settings/secrets/{secret['id']}/delete", data={"csrf": csrf}).status_code == 303
    assert secrets_of(owner) == []


@pytest.mark.parametrize(
    "lines",
    [
        {"name": "", "value_name": ["a"], "value": [VALUE]},
        {"name": "x", "value_name": ["a"], "value": [""]},
        {"name": "x", "value_name": [""], "value": [VALUE]},
        {"name": "x", "value_name": ["a", "a"], "value": [VALUE, VALUE]},
        {"name": "x"},
    ],
)
def test_what_is_refused_is_told_without_the_value(
    owner: Caller, browser: httpx.Client, csrf: str, lines: dict[str, list[str] | str]
) -> None:
    page = browser.post("/dashboard/settings/secrets", data={"csrf": csrf, **lines})
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert VALUE not in page.text
    assert secrets_of(owner) == []


def test_a_needed_secret_stays(database: Database, owner: Caller, browser: httpx.Client, csrf: str) -> None:
    with database.tx(owner.organization_id) as tx:
        secret = vault.put(tx, owner.organization_id, name="s", values={"token": VALUE})
        vault.refer(tx, owner.organization_id, secret.id, "agent:1")
    page = browser.post(f"/dashboard/settings/secrets/{secret.id}/delete", data={"csrf": csrf})
    assert page.status_code == 409
    assert "agent:1" in page.text


def test_secrets_of_others_are_not_there(
    database: Database, stranger: Caller, browser: httpx.Client, csrf: str
) -> None:
    with database.tx(stranger.organization_id) as tx:
        theirs = vault.put(tx, stranger.organization_id, name="s", values={"token": VALUE}).id
    for verb in ("rotate", "delete"):
        form = {"csrf": csrf, "value_name": ["token"], "value": ["other"]}
        assert browser.post(f"/dashboard/settings/secrets/{theirs}/{verb}", data=form).status_code == 404
    assert str(theirs) not in browser.get("/dashboard/settings").text
