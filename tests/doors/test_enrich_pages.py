"""Frames of the enrichment pages: the same for everyone, and without anything of a job in them."""

from __future__ import annotations

import re

import httpx
import pytest

from conftest import Caller
from gristmill import identity
from gristmill.base.db import Database

LEADS = (
    "company,street,city,state,zip,phone,owner\n"
    "Haney Furniture Co,100 Main St,Pittsburgh,PA,15213,7246547732,Ana Ruiz\n"
)


@pytest.fixture
def browser(database: Database, owner: Caller, base_url: str) -> httpx.Client:
    with database.tx(owner.organization_id) as tx:
        token = identity.create_login_link(tx, owner.organization_id)
    client = httpx.Client(base_url=base_url, timeout=60)
    client.get("/login", params={"token": token})
    return client


def uploaded(anyone: httpx.Client) -> dict[str, str]:
    files = {"file": ("leads.csv", LEADS.encode(), "text/csv")}
    answer = anyone.post("/api/v1/batch/enrich/upload", files=files)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_frames_for_everyone(anyone: httpx.Client, browser: httpx.Client) -> None:
    job = uploaded(anyone)
    for path in ("/batch", "/enrich_agent", f"/batch/{job['id']}", f"/batch/{job['id']}/results"):
        for client, has_menu in ((anyone, False), (browser, True)):
            page = client.get(path)
            assert page.status_code == 200, path
            assert ('aria-label="Main"' in page.text) is has_menu
            assert page.text.count("<h1") == 1
            assert (re.search(r'name="csrf" content="[^"]+"', page.text) is not None) is has_menu
            assert "script-src 'self';" in page.headers["content-security-policy"]


def test_no_byte_of_a_lead_is_in_a_frame(anyone: httpx.Client, browser: httpx.Client) -> None:
    job = uploaded(anyone)
    for client in (anyone, browser):
        for path in (f"/batch/{job['id']}", f"/batch/{job['id']}/results", "/batch"):
            text = client.get(path).text
            for secret in ("Haney", "Ana Ruiz", "7246547732", "100 Main", job["upload_token"]):
                assert secret not in text


def test_an_address_that_is_none_is_a_page(anyone: httpx.Client) -> None:
    assert anyone.get("/batch/not-an-id").status_code == 404
