"""Real lead files of other people, kept outside of the repository: each is taken whole, and one goes all the way."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Caller, fund
from enrich.conftest import BASE, add_dataset, await_job, check_money, lead_agent, upload
from gristmill.base.db import Database
from gristmill.tables import read_table

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "csv"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the shared acceptance files are not at {SHARED}: nothing to enrich"
)
LEADS, REGISTRY = "323970fef5", "afad4a28f8"
"""Two lists of English libraries: the leads without their e-mail, the registry with it."""
TEMPLATE = '{{index . "Library name"}}, {{index . "Postal address"}}, {{.Postcode}}'
PRICE = 1_000_000


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHARED / name).read_text(encoding="utf-8").splitlines()]


def file_of(start: str) -> Path:
    return next((SHARED / "files").glob(f"{start}_*"))


def test_each_file_with_leads_is_taken_and_every_line_is_accounted_for(anyone: httpx.Client) -> None:
    rows = {case["id"]: case.get("n_rows_ok") for case in load("parse_cases.jsonl")}
    cases = [case for case in load("mapping_cases.jsonl") if (case["expected_idx"] or {}).get("company")]
    refused: list[str] = []
    miscounted: list[str] = []
    for case in cases:
        path = SHARED / case["file"]
        answer = anyone.post(f"{BASE}/upload", files={"file": (path.name, path.read_bytes())})
        if answer.status_code != 201:
            assert answer.status_code == 422, answer.text
            refused.append(f"{path.name}: {answer.json()['detail'][:200]}")
            continue
        made = answer.json()
        receipt = made["receipt"]
        assert receipt["lines"] == sum(receipt[name] for name in ("header", "preamble", "rows", "rejects", "blank"))
        assert receipt["stored"] == sum(receipt[name] for name in ("pending", "skipped", "duplicate", "failed"))
        assert receipt["stored"] == receipt["rows"] == made["stored_row_count"]
        assert made["row_count"] == receipt["pending"]
        if rows.get(case["id"]) and made["file_row_count"] not in rows[case["id"]]:
            miscounted.append(f"{path.name}: {made['file_row_count']}, not {rows[case['id']]}")
    assert len(cases) > 50
    assert (refused, miscounted) == ([], [])


def test_a_real_list_and_a_real_registry_all_the_way(
    database: Database, worker: object, anyone: httpx.Client, owner: Caller
) -> None:
    """Upload without a key, link, 402, top-up, run, run dry, top-up, end, download: counts and money agree."""
    agent = lead_agent(
        database,
        owner.organization_id,
        price_micro_usd=PRICE,
        config={"match_usd": "1", "region": "GB", "coverage": {"emails": 1}, "core": {"emails": 1}},
        concurrency=4,
    )
    add_dataset(owner, agent.id, file_of(REGISTRY).read_bytes(), TEMPLATE)
    leads = list(read_table(file_of(LEADS)).rows())
    made = upload(anyone, without_emails(leads), name="libraries.csv")
    path, token = f"{BASE}/{made['id']}", made["upload_token"]
    assert made["file_row_count"] == len(leads)
    assert owner.post(f"{path}/link", {"upload_token": token, "agent": agent.id}).status_code == 200
    assert owner.post(f"{path}/start").status_code == 402
    fund(database, owner.organization_id, 10_500_000)
    assert owner.post(f"{path}/start").status_code == 200
    paused = await_job(owner, made["id"], "paused")
    balance = owner.get("/api/v1/agents/balance").json()
    assert (paused["reason"], balance["held_micro_usd"]) == ("balance", 0)
    assert 0 <= balance["available_micro_usd"] < PRICE, "at exactly the lead that could not be paid"
    assert paused["succeeded"] == 10
    assert owner.post(f"{path}/resume").status_code == 402
    fund(database, owner.organization_id, 500_000_000)
    assert owner.post(f"{path}/resume").status_code == 200
    done = await_job(owner, made["id"])
    lines = list(csv.DictReader(io.StringIO(owner.get(f"{path}/download.csv").text)))
    assert [line["row_index"] for line in lines] == [str(number) for number in range(1, len(leads) + 1)]
    check_money(database, owner, made["id"], lines, done["spent_micro_usd"], price=PRICE, funded=510_500_000)
    told = [
        (line["emails.0.address"], lead["email"].strip().lower())
        for line, lead in zip(lines, leads, strict=True)
        if line["emails.0.address"] and lead["email"].strip()
    ]
    assert len(told) > len(leads) // 2
    assert sum(found == known for found, known in told) > 0.85 * len(told), "what the leads' own list has hidden"


def without_emails(rows: list[dict[str, str]]) -> bytes:
    """The leads as a sales team would have them: nothing of what is to be found out."""
    out = io.StringIO()
    names = [name for name in rows[0] if name not in {"email", "url"}]
    writer = csv.DictWriter(out, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
