"""Frames of the enrichment pages: the same for everyone, and without anything of a job in them."""

from __future__ import annotations

import re
from uuid import UUID

import httpx

from conftest import Caller, fund
from enrich.conftest import await_job, lead_agent
from gristmill.base.db import Database
from gristmill.base.ids import row_uuid
from lead_vendor import Vendor, record

LEADS = (
    "company,street,city,state,zip,phone,owner\n"
    "Haney Furniture Co,100 Main St,Pittsburgh,PA,15213,7246547732,Ana Ruiz\n"
)


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


def test_no_page_shows_what_was_found(database: Database, worker: object, owner: Caller, browser: httpx.Client) -> None:
    vendor = Vendor().start()
    vendor.records["Haney Furniture Co"] = [
        record("Haney Furniture Co", city="Pittsburgh", zip="15213", phone="(813) 555-0188",
               email="office@haney.example", people=[{"name": "Jordan Haney", "role": "Owner"}])
    ]  # fmt: skip
    agent = lead_agent(database, owner.organization_id, [{"provider": "http", "config": vendor.config()}])
    fund(database, owner.organization_id, 20_000_000)
    answer = owner.client.post(
        "/api/v1/batch/enrich/upload", files={"file": ("l.csv", LEADS)}, data={"agent": agent.id}
    )
    job = answer.json()
    owner.post(f"/api/v1/batch/enrich/{job['id']}/start")
    assert await_job(owner, job["id"])["succeeded"] == 1
    vendor.stop()
    batch = f"/dashboard/batches/{job['id']}"
    row = browser.get(f"{batch}/rows/{row_uuid(UUID(job['id']), 1)}")
    assert (row.status_code, row.headers["location"]) == (303, f"/batch/{job['id']}")
    for path in (
        "/dashboard",
        "/dashboard/batches",
        batch,
        f"/dashboard/agents/{agent.id}",
        f"/batch/{job['id']}/results",
    ):
        text = browser.get(path).text
        for secret in ("555-0188", "5550188", "office@haney", "Jordan", "7246547732", "Ana Ruiz"):
            assert secret not in text, path
    page = browser.get(batch).text
    assert "Haney Furniture Co" in page, "leads by their titles"
    assert f'href="/batch/{job["id"]}"' in page


def test_a_file_that_waits_for_its_start_is_called_uploaded_everywhere(owner: Caller, browser: httpx.Client) -> None:
    answer = owner.client.post("/api/v1/batch/enrich/upload", files={"file": ("l.csv", LEADS)})
    job = answer.json()["id"]
    for path in ("/dashboard", "/dashboard/batches", f"/dashboard/batches/{job}"):
        assert '<span class="badge badge--mute">Uploaded</span>' in browser.get(path).text, path
    page = browser.get(f"/dashboard/batches/{job}").text
    assert f'href="/batch/{job}">' in page
    assert "Map and start" in page
    assert "do-resume" not in page


def test_an_address_that_is_none_is_a_page(anyone: httpx.Client) -> None:
    assert anyone.get("/batch/not-an-id").status_code == 404
