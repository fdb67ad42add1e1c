"""The whole way through HTTP, nothing taken out: upload without a key, link, pay, run, run dry, pay, end, download."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import httpx

from conftest import Caller, fund
from enrich.conftest import BASE, add_dataset, await_job, check_money, lead_agent, upload
from gristmill.base.db import Database

BREWERIES = Path(__file__).parents[2] / "examples" / "breweries-queensland.csv"
TEMPLATE = "{{.name}}, {{.address_1}}, {{.city}} {{.postal_code}}, {{.phone}}, {{.website_url}}"
PRICE = 500_000


def leads_of(text: str) -> bytes:
    """The file as a sales team would have it: names and addresses, and nothing that is to be found out."""
    rows = list(csv.DictReader(io.StringIO(text)))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["Account", "Business Name", "Address", "Suburb", "State", "Postcode"])
    for number, row in enumerate(rows):
        writer.writerow([f"A-{number:04d}", row["name"], row["address_1"], row["city"], row["state_province"],
                         row["postal_code"]])  # fmt: skip
    return out.getvalue().encode()


def test_from_an_upload_without_a_key_to_the_download(
    database: Database, worker: object, anyone: httpx.Client, owner: Caller
) -> None:
    text = BREWERIES.read_text(encoding="utf-8")
    registry = list(csv.DictReader(io.StringIO(text)))
    config = {"match_usd": "0.50", "region": "AU"}
    agent = lead_agent(database, owner.organization_id, price_micro_usd=PRICE, config=config, concurrency=4)
    add_dataset(owner, agent.id, text.encode(), TEMPLATE)

    made = upload(anyone, leads_of(text), name="accounts.csv")
    assert made["file_row_count"] == made["stored_row_count"] == len(registry)
    assert made["mapping"]["fields"]["company"]["columns"] == ["Business Name"]
    assert made["chat_label"]["primary_column"] == "Business Name"
    path, token = f"{BASE}/{made['id']}", {"Authorization": f"Batch {made['upload_token']}"}
    assert anyone.get(path, headers=token).json()["status"] == "uploaded"
    assert owner.get(path).status_code == 404

    linked = owner.post(f"{path}/link", {"upload_token": made["upload_token"], "agent": agent.id})
    assert linked.status_code == 200, linked.text
    assert linked.json()["agent_id"] == agent.id
    assert anyone.get(path, headers=token).status_code == 401, "the token is used up"

    refused = owner.post(f"{path}/start")
    assert refused.status_code == 402
    assert refused.json()["missing_usd"] == "10.000000"
    assert refused.json()["topup_url"] == f"/connect?action=topup&return=%2Fbatch%2F{made['id']}"
    fund(database, owner.organization_id, 10_000_000)
    assert owner.post(f"{path}/start").status_code == 200

    paused = await_job(owner, made["id"], "paused")
    assert paused["reason"] == "balance"
    balance = owner.get("/api/v1/agents/balance").json()
    assert balance["held_micro_usd"] == 0
    assert balance["spent_micro_usd"] == paused["spent_micro_usd"] <= 10_000_000
    assert paused["pending"] > 0
    assert owner.post(f"{path}/resume").status_code == 402
    as_batch = owner.post(f"/api/v1/batch_executions/{made['id']}/resume")
    assert (as_batch.status_code, as_batch.json()["topup_url"]) == (402, refused.json()["topup_url"])
    fund(database, owner.organization_id, 60_000_000)
    assert owner.post(f"{path}/resume").json()["status"] == "queued"
    done = await_job(owner, made["id"])

    lines = list(csv.DictReader(io.StringIO(owner.get(f"{path}/download.csv").text)))
    check_lines(lines, registry)
    check_money(database, owner, made["id"], lines, done["spent_micro_usd"], price=PRICE, funded=70_000_000)
    preview = owner.get(f"{path}/preview").json()
    assert preview["matched"] == done["succeeded"]
    assert preview["phones"] > 0


def check_lines(lines: list[dict[str, str]], registry: list[dict[str, str]]) -> None:
    """One line per lead in upload order, each with what the registry knows of it."""
    assert [line["row_index"] for line in lines] == [str(number) for number in range(1, len(registry) + 1)]
    assert {line["enrich_status"] for line in lines} <= {"succeeded", "empty", "duplicate"}
    first = list(lines[0])[:5]
    assert first == ["row_index", "enrich_status", "enrich_matched", "enrich_spent_usd", "contact_id"]
    for line, known in zip(lines, registry, strict=True):
        assert line["contact_id"].startswith("A-")
        if line["enrich_status"] == "succeeded" and known["phone"]:
            assert line["phones.0.e164"].removeprefix("+61") == known["phone"].replace(" ", "").removeprefix("+61")
    with_phone = [known for known in registry if known["phone"]]
    found = [line for line in lines if line.get("phones.0.e164")]
    assert len(found) >= 0.95 * len(with_phone)


def test_the_uploaded_layout_comes_back_with_the_results(database: Database, worker: object, owner: Caller) -> None:
    text = BREWERIES.read_text(encoding="utf-8")
    agent = lead_agent(database, owner.organization_id, config={"region": "AU"})
    add_dataset(owner, agent.id, text.encode(), TEMPLATE)
    semicolons = leads_of(text).decode().replace(",", ";").encode("cp1252")
    made = upload(owner, semicolons, agent=agent.id)
    fund(database, owner.organization_id, 10_000_000)
    owner.post(f"{BASE}/{made['id']}/start")
    await_job(owner, made["id"])
    answer = owner.get(f"{BASE}/{made['id']}/download.csv", params={"layout": "original"})
    before = list(csv.reader(io.StringIO(semicolons.decode("cp1252")), delimiter=";"))
    after = list(csv.reader(io.StringIO(answer.text), delimiter=";"))
    assert len(after) == len(before)
    assert all(now[: len(was)] == was for was, now in zip(before, after, strict=True))
    assert after[0][6:10] == ["row_index", "enrich_status", "enrich_matched", "enrich_spent_usd"]
