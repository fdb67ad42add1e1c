"""Refunds and adjustments: each once by its key, never more than there is, and all in the ledger."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import httpx
import pytest

from conftest import Caller, fund, serve
from gristmill import ledger
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.ids import batch_uuid

REFUNDS, ADJUSTMENTS = "/api/v1/billing/refunds", "/api/v1/billing/adjustments"


@pytest.fixture
def batch(database: Database, owner: Caller) -> UUID:
    """One whose first row cost 0.40 of 1.00 USD."""
    fund(database, owner.organization_id, 1_000_000)
    made = batch_uuid()
    with database.tx(owner.organization_id) as tx:
        ledger.lock_available(tx, owner.organization_id)
        ledger.hold_rows(tx, owner.organization_id, made, [ledger.RowHold(1, 1), ledger.RowHold(2, 1)], 500_000)
        charges = [ledger.RowCharge(1, 1, 500_000, 400_000), ledger.RowCharge(2, 1, 500_000, 0)]
        ledger.settle_rows(tx, owner.organization_id, made, charges)
    return made


def refund(caller: Caller, batch: UUID, key: str, amount: str | None = None, row: int = 1) -> httpx.Response:
    body: dict[str, Any] = {"batch_id": str(batch), "row_number": row, "key": key}
    return caller.post(REFUNDS, body if amount is None else {**body, "amount_usd": amount})


def adjust(caller: Caller, amount: object, key: str) -> httpx.Response:
    return caller.post(ADJUSTMENTS, {"amount_usd": amount, "key": key, "note": "see the mail"})


def free(caller: Caller) -> int:
    found = caller.get("/api/v1/agents/balance").json()
    assert found["funded_micro_usd"] == sum(found[f"{name}_micro_usd"] for name in ("available", "held", "spent"))
    return found["available_micro_usd"]


def test_a_refund_gives_back_what_is_left_and_no_more(owner: Caller, batch: UUID) -> None:
    first = refund(owner, batch, "a", "0.15")
    assert (first.status_code, first.json()["available_usd"], first.json()["spent_usd"]) == (
        201,
        "0.750000",
        "0.250000",
    )
    over = refund(owner, batch, "b", "0.26")
    assert (over.status_code, over.json()["left_usd"]) == (409, "0.250000")
    assert refund(owner, batch, "c").json()["available_usd"] == "1.000000"
    assert refund(owner, batch, "d").status_code == 409
    assert free(owner) == 1_000_000
    moves = owner.get("/api/v1/billing/ledger", params={"batch_id": str(batch)}).json()["data"][:2]
    assert [(item["kind"], item["debit"], item["credit"], item["row_number"]) for item in moves] == [
        ("refund", "spent", "available", 1)
    ] * 2


def test_the_same_key_refunds_once(owner: Caller, batch: UUID) -> None:
    for _ in range(3):
        assert refund(owner, batch, "a", "0.10").status_code == 201
    assert free(owner) == 700_000
    assert refund(owner, batch, "a", "0.11").status_code == 409
    assert refund(owner, batch, "a", "0.10", row=2).status_code == 409


def test_what_was_not_charged_is_not_refunded(owner: Caller, stranger: Caller, batch: UUID) -> None:
    assert refund(owner, batch, "a", row=2).status_code == 404
    assert refund(owner, batch_uuid(), "a").status_code == 404
    assert refund(stranger, batch, "a").status_code == 404
    for amount in ("0", "-0.10", "x"):
        assert refund(owner, batch, "a", amount).status_code == 422
    assert free(owner) == 600_000


def test_refunds_at_once_never_give_more_than_the_row_cost(owner: Caller, batch: UUID) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=number: answers.append(refund(owner, batch, f"k{n}", "0.15").status_code))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 201, 409, 409, 409, 409]
    assert free(owner) == 900_000


def test_an_adjustment_goes_both_ways_and_never_below_zero(owner: Caller, batch: UUID) -> None:
    assert adjust(owner, "0.50", "up").json()["available_usd"] == "1.100000"
    assert adjust(owner, "-0.20", "down").json()["available_usd"] == "0.900000"
    assert adjust(owner, "-0.20", "down").json()["available_usd"] == "0.900000"
    assert adjust(owner, "0.20", "down").status_code == 409
    low = adjust(owner, -0.900001, "too much")
    assert (low.status_code, low.json()["code"], low.json()["missing_micro_usd"]) == (402, "balance_too_low", 1)
    for amount in ("0", "-0", "--1", "", True, None):
        assert adjust(owner, amount, "none").status_code == 422
    assert adjust(owner, "-0.9", "all").json()["available_usd"] == "0.000000"
    kinds = [(item["kind"], item["debit"]) for item in owner.get("/api/v1/billing/ledger").json()["data"][:3]]
    assert kinds == [("adjustment", "available"), ("adjustment", "available"), ("adjustment", "funded")]
    told = [item for item in owner.get("/api/v1/events").json()["data"] if item["kind"] == "billing.adjusted"]
    assert [item["data"]["amount_micro_usd"] for item in told] == [500_000, -200_000, -900_000]


def test_only_those_who_may_credit_correct(
    database: Database, monkeypatch: pytest.MonkeyPatch, owner: Caller, teammate: Caller, batch: UUID
) -> None:
    assert refund(teammate, batch, "a").status_code == adjust(teammate, "1", "a").status_code == 403
    monkeypatch.setenv("GRISTMILL_ADMIN_CREDIT", "0")
    with serve(database, Settings()) as url, httpx.Client(base_url=url, headers=owner.client.headers) as client:
        body = {"batch_id": str(batch), "row_number": 1, "key": "a"}
        assert client.post(REFUNDS, json=body).status_code == 403
        assert client.post(ADJUSTMENTS, json={"amount_usd": "1", "key": "a"}).status_code == 403
    assert free(owner) == 600_000
