"""Starting with a wallet: the balance first, a payment only for what it lacks, and never twice."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from conftest import Caller, fund, serve
from enrich.conftest import BASE, await_job, lead_agent, upload
from facilitator import NETWORK, PAYEE, Facilitator, Payer
from gristmill import identity
from gristmill.base.config import Settings
from gristmill.base.db import Database
from lead_vendor import Vendor, record


@pytest.fixture(scope="module")
def facilitator() -> Iterator[Facilitator]:
    running = Facilitator().start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shop(database: Database, facilitator: Facilitator) -> Iterator[str]:
    current = Settings(x402_pay_to=PAYEE, x402_network=NETWORK, x402_facilitator_url=facilitator.url)
    with serve(database, current) as url:
        yield url


@pytest.fixture
def buyer(database: Database, shop: str, organization: int) -> Iterator[Caller]:
    with database.tx(organization) as tx:
        secret = identity.issue_key(tx, organization, name="buyer", scope="usage").secret
    with httpx.Client(base_url=shop, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        yield Caller(organization, secret, client)


@pytest.fixture
def payer(facilitator: Facilitator) -> Payer:
    facilitator.faults.clear()
    facilitator.asked.clear()
    return Payer(facilitator.chain, 1_000_000_000)


def job_of(database: Database, buyer: Caller, vendor: Vendor) -> str:
    vendor.records["Haney Furniture Co"] = [record("Haney Furniture Co", city="Pittsburgh", zip="15213")]
    passes = [{"provider": "http", "config": vendor.config()}]
    agent = lead_agent(database, buyer.organization_id, passes, price_micro_usd=50_000, config={"match_usd": "0.05"})
    return upload(buyer, agent=agent.id)["id"]


def start(buyer: Caller, job_id: str, signature: str | None = None) -> httpx.Response:
    headers = {"PAYMENT-SIGNATURE": signature} if signature else {}
    return buyer.client.post(f"{BASE}/{job_id}/start", headers=headers)


def test_what_the_balance_lacks_is_paid_and_the_job_starts(
    database: Database, worker: object, buyer: Caller, payer: Payer, vendor: Vendor, facilitator: Facilitator
) -> None:
    job_id, before = job_of(database, buyer, vendor), facilitator.paid()
    fund(database, buyer.organization_id, 4_000_000)
    asked = start(buyer, job_id)
    assert (asked.status_code, asked.json()["missing_usd"]) == (402, "6.000000")
    paid = start(buyer, job_id, payer.sign(asked.headers["PAYMENT-REQUIRED"]))
    assert paid.status_code == 200, paid.text
    assert paid.headers["PAYMENT-RESPONSE"]
    assert facilitator.paid() - before == 6_000_000
    done = await_job(buyer, job_id)
    assert done["spent_micro_usd"] == 50_000
    balance = buyer.get("/api/v1/agents/balance").json()
    assert (balance["available_micro_usd"], balance["funded_micro_usd"]) == (9_950_000, 10_000_000)
    [payment] = buyer.get("/api/v1/billing/payments").json()["data"]
    assert payment["purpose"] == f"enrich_start:{job_id}"


def test_a_balance_that_suffices_is_used_and_the_payment_left_alone(
    database: Database, worker: object, buyer: Caller, payer: Payer, vendor: Vendor, facilitator: Facilitator
) -> None:
    job_id = job_of(database, buyer, vendor)
    signature = payer.sign(start(buyer, job_id).headers["PAYMENT-REQUIRED"])
    fund(database, buyer.organization_id, 10_000_000)
    assert start(buyer, job_id, signature).status_code == 200
    assert facilitator.asked.total() == 0
    await_job(buyer, job_id)


def test_a_payment_whose_outcome_is_unknown_starts_nothing_and_is_not_asked_for_again(
    database: Database, worker: object, buyer: Caller, payer: Payer, vendor: Vendor, facilitator: Facilitator
) -> None:
    job_id = job_of(database, buyer, vendor)
    signature = payer.sign(start(buyer, job_id).headers["PAYMENT-REQUIRED"])
    facilitator.faults.append("error")
    for _ in range(3):
        pending = start(buyer, job_id, signature)
        assert (pending.status_code, pending.json()["status"]) == (202, "settlement_pending")
    assert facilitator.asked["settle"] == 1
    assert buyer.get(f"{BASE}/{job_id}").json()["status"] == "uploaded"
    kinds = [event["kind"] for event in buyer.get("/api/v1/events").json()["data"]]
    assert kinds.count("billing.settlement_pending") == 1


def test_a_replayed_payment_starts_no_second_job(
    database: Database, worker: object, buyer: Caller, payer: Payer, vendor: Vendor, facilitator: Facilitator
) -> None:
    first, second = job_of(database, buyer, vendor), job_of(database, buyer, vendor)
    signature = payer.sign(start(buyer, first).headers["PAYMENT-REQUIRED"])
    assert start(buyer, first, signature).status_code == 200
    await_job(buyer, first)
    replayed = start(buyer, second, signature)  # 9.95 of the minimum of 10 are left
    assert replayed.status_code == 409
    assert facilitator.asked["settle"] == 1
    missing = start(buyer, second)
    assert missing.json()["missing_usd"] == "0.050000"
    again = start(buyer, second, payer.sign(missing.headers["PAYMENT-REQUIRED"]))
    assert again.status_code == 200, "the least that one payment adds is a dollar"
    assert buyer.get("/api/v1/agents/balance").json()["funded_micro_usd"] == 11_000_000
    await_job(buyer, second)


def test_a_payment_that_is_too_small_is_credited_and_the_rest_asked_for(
    database: Database, worker: object, buyer: Caller, payer: Payer, vendor: Vendor
) -> None:
    job_id = job_of(database, buyer, vendor)
    fund(database, buyer.organization_id, 8_000_000)
    signature = payer.sign(start(buyer, job_id).headers["PAYMENT-REQUIRED"])
    with database.tx(buyer.organization_id) as tx:
        tx.run(
            "UPDATE ledger_account SET available_micro_usd = 1000000, funded_micro_usd = 1000000"
            " WHERE organization_id = %s",
            (buyer.organization_id,),
        )
    short = start(buyer, job_id, signature)
    assert (short.status_code, short.json()["missing_usd"]) == (402, "7.000000")
    assert start(buyer, job_id, payer.sign(short.headers["PAYMENT-REQUIRED"])).status_code == 200
    await_job(buyer, job_id)
