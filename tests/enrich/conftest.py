"""Fixtures of enrichment: a vendor, files, and the calls that tests make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conftest import Caller, make_agent, wait_for
from gristmill.agents import Agent
from gristmill.base.db import Database
from gristmill.enrich.model import LEAD_FIELDS
from lead_vendor import Vendor

BASE = "/api/v1/batch/enrich"
LEADS = (
    b"contact_id,company,street,city,state,zip,number1\n"
    b"81555753,Haney Furniture Co,100 Main St,Pittsburgh,PA,15213,7246547732\n"
    b'99201,"Smith & Sons, LLC","100 Main St, Ste 2",Tampa,FL,33602,8135550100\n'
)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    running = Vendor().start()
    yield running
    running.stop()


def lead_agent(
    database: Database, organization_id: int, passes: list[dict[str, Any]] | None = None, **more: Any
) -> Agent:
    """A lead enricher."""
    fields = [{"name": item.name, "type": item.type, "required": False, "description": ""} for item in LEAD_FIELDS]
    config = {**({"passes": passes} if passes is not None else {}), **more.pop("config", {})}
    values: dict[str, Any] = {"runtime": "lead", "config": config, "input_fields": fields, **more}
    return make_agent(database, organization_id, **values)


def upload(
    caller: Caller | httpx.Client, data: bytes = LEADS, *, name: str = "leads.csv", **form: Any
) -> dict[str, Any]:
    """A job."""
    client = caller.client if isinstance(caller, Caller) else caller
    answer = client.post(f"{BASE}/upload", files={"file": (name, data)}, data={k: str(v) for k, v in form.items()})
    assert answer.status_code == 201, answer.text
    return answer.json()


def job(caller: Caller, job_id: str) -> dict[str, Any]:
    return caller.get(f"{BASE}/{job_id}").json()


def await_job(caller: Caller, job_id: str, status: str = "completed", within_s: float = 60.0) -> dict[str, Any]:
    """The job once it has a status and nothing of it runs."""

    def reached() -> dict[str, Any] | None:
        found = job(caller, job_id)
        return found if found["status"] == status and found["running"] == 0 else None

    return wait_for(reached, f"status {status} of {job(caller, job_id)}", within_s)


def add_dataset(caller: Caller, agent_id: int, data: bytes, template: str, *, title: str = "Registry") -> int:
    """A dataset of an agent, ready to be searched."""
    path = f"/api/v1/agents/{agent_id}/datasets"
    form = {"title": title, "type": "csv", "file_filename": "registry.csv", "template": template}
    made = caller.client.post(path, files={"file": ("registry.csv", data)}, data=form)
    assert made.status_code == 201, made.text
    dataset = made.json()["id"]

    def done() -> bool:
        found = caller.get(f"{path}/{dataset}").json()
        assert found["ingest_status"] != "failed", found
        return found["ingest_status"] == "completed"

    wait_for(done, "the dataset", 60)
    return dataset


def ledger_sums(database: Database, organization_id: int, batch_id: str) -> dict[str, int]:
    with database.tx(organization_id) as tx:
        rows = tx.rows(
            "SELECT kind, sum(amount_micro_usd)::bigint AS n FROM ledger_entry WHERE batch_id = %s GROUP BY kind",
            (batch_id,),
        )
    return {row["kind"]: row["n"] for row in rows}


def check_money(
    database: Database, owner: Caller, job_id: str, lines: list[dict[str, str]], spent: int, *, price: int, funded: int
) -> None:
    """Download, receipts, job, ledger and balance say the same, to the micro-dollar."""
    charged = sum(round(float(line["enrich_spent_usd"]) * 10**6) for line in lines)
    paths = (f"{BASE}/{job_id}/rows/{line['row_index']}" for line in lines)
    receipts = [owner.get(path).json()["receipt"] for path in paths]
    sums = ledger_sums(database, owner.organization_id, job_id)
    assert charged == spent == sums["settle"] == sum(item["charged_micro_usd"] for item in receipts)
    assert sums["hold"] == sums["settle"] + sums.get("release", 0)
    assert charged == price * sum(line["enrich_status"] == "succeeded" for line in lines)
    after = owner.get("/api/v1/agents/balance").json()
    assert (after["held_micro_usd"], after["available_micro_usd"]) == (0, funded - charged)
    assert {line["enrich_spent_usd"] for line in lines if line["enrich_status"] == "duplicate"} <= {"0.000000"}
