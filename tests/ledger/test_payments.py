"""Payments through x402, with real signatures, a real facilitator over HTTP, and faults on the way."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Caller, MakeCaller, make_organization, serve, wait_for
from facilitator import NETWORK, PAYEE, Facilitator, Payer
from flows.processes import Shell, environment
from gristmill import identity
from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import Conflict
from gristmill.base.ids import uuid7
from gristmill.engine import JobContext
from gristmill.ledger import payments

TEN = {"amount_usd": "10", "method": "x402"}
UNITS = 10_000_000
PATH = "/api/v1/billing/topups"


@pytest.fixture(scope="module")
def facilitator() -> Iterator[Facilitator]:
    running = Facilitator().start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def no_faults(facilitator: Facilitator) -> None:
    facilitator.faults.clear()
    facilitator.asked.clear()
    facilitator.chain.receipts_fail = 0


def paid_settings(facilitator: Facilitator, **more: Any) -> Settings:
    return Settings(
        x402_pay_to=PAYEE,
        x402_network=NETWORK,
        x402_facilitator_url=facilitator.url,
        x402_facilitator_token="facilitator-token",  # type: ignore[arg-type]
        **more,
    )


@pytest.fixture(scope="module")
def shop(database: Database, facilitator: Facilitator) -> Iterator[str]:
    """URL of a server that takes payments."""
    with serve(database, paid_settings(facilitator)) as url:
        yield url


@pytest.fixture
def buyer(database: Database, shop: str, organization: int) -> Iterator[Caller]:
    """Somebody with a usage key."""
    with database.tx(organization) as tx:
        secret = identity.issue_key(tx, organization, name="buyer", scope="usage").secret
    with httpx.Client(base_url=shop, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        yield Caller(organization, secret, client)


@pytest.fixture
def payer(facilitator: Facilitator) -> Payer:
    return Payer(facilitator.chain, 10 * UNITS)


def signed(buyer: Caller, payer: Payer, body: Any = None) -> str:
    """The signature that the server's 402 asks for."""
    asked = buyer.post(PATH, body or TEN)
    assert asked.status_code == 402
    assert asked.json()["code"] == "payment_required"
    return payer.sign(asked.headers["PAYMENT-REQUIRED"])


def send(buyer: Caller, signature: str, body: Any = None, **headers: str) -> httpx.Response:
    return buyer.post(PATH, body or TEN, headers={"PAYMENT-SIGNATURE": signature, **headers})


def available(buyer: Caller) -> int:
    return buyer.get("/api/v1/agents/balance").json()["available_micro_usd"]


def credited(buyer: Caller) -> list[int]:
    entries = buyer.get("/api/v1/billing/ledger").json()["data"]
    return [entry["amount_micro_usd"] for entry in entries if entry["kind"] == "top_up"]


def test_a_payment_is_settled_and_credited(buyer: Caller, payer: Payer, facilitator: Facilitator) -> None:
    before = facilitator.paid()
    answer = send(buyer, signed(buyer, payer))
    assert answer.status_code == 201, answer.text
    assert answer.json()["available_micro_usd"] == UNITS
    told = jsons.loads(base64.b64decode(answer.headers["PAYMENT-RESPONSE"]))
    assert told["success"]
    assert told["payer"] == payer.address.lower()
    assert facilitator.paid() - before == UNITS
    assert set(facilitator.authorizations) == {"Bearer facilitator-token"}
    assert credited(buyer) == [UNITS]
    [payment] = buyer.get("/api/v1/billing/payments").json()["data"]
    assert (payment["status"], payment["transaction"]) == ("settled", told["transaction"])
    assert buyer.get(f"/api/v1/billing/payments/{payment['id']}").json() == payment


def test_a_replay_moves_nothing(buyer: Caller, payer: Payer, facilitator: Facilitator) -> None:
    signature = signed(buyer, payer)
    assert send(buyer, signature).status_code == 201
    again = send(buyer, signature)
    assert again.status_code == 409
    assert again.json()["payment_id"]
    assert facilitator.asked["settle"] == 1
    assert credited(buyer) == [UNITS]


def test_a_lost_answer_is_given_again_to_the_same_idempotency_key(buyer: Caller, payer: Payer) -> None:
    signature = signed(buyer, payer)
    first = send(buyer, signature, **{"Idempotency-Key": "k"})
    again = send(buyer, signature, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert credited(buyer) == [UNITS]


def test_another_organization_gains_nothing_from_a_seen_payment(
    database: Database, shop: str, buyer: Caller, payer: Payer
) -> None:
    signature = signed(buyer, payer)
    assert send(buyer, signature).status_code == 201
    thief = make_organization(database)
    with database.tx(thief) as tx:
        secret = identity.issue_key(tx, thief, name="thief", scope="admin").secret
    with httpx.Client(base_url=shop, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        refused = client.post(PATH, json=TEN, headers={"PAYMENT-SIGNATURE": signature})
        assert refused.status_code == 402
        assert refused.json()["code"] == "payment_refused"
        assert client.get("/api/v1/agents/balance").json()["available_micro_usd"] == 0


def test_one_payment_sent_many_times_at_once_is_settled_once(
    buyer: Caller, payer: Payer, facilitator: Facilitator
) -> None:
    signature, before = signed(buyer, payer), facilitator.paid()
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(send(buyer, signature).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(statuses)
    assert counts[201] == 1, counts
    assert set(counts) <= {201, 202, 409, 402}, counts
    assert facilitator.paid() - before == UNITS
    assert facilitator.asked["settle"] == 1
    assert available(buyer) == UNITS


@pytest.fixture
def after(database: Database, facilitator: Facilitator) -> Callable[[Caller, str], dict[str, Any]]:
    """Has a pending payment asked for again, as a worker does, and answers how it stands then."""
    current = paid_settings(facilitator)

    def again(buyer: Caller, payment_id: str) -> dict[str, Any]:
        payload = {"organization_id": buyer.organization_id, "payment_id": payment_id}

        async def work() -> None:
            await payments.settle_again(JobContext(uuid7(), database, current, asyncio.Event()), payload)

        asyncio.run(work())
        return buyer.get(f"/api/v1/billing/payments/{payment_id}").json()

    return again


def test_a_settlement_that_is_not_confirmed_yet_is_pending_and_then_credited_once(
    buyer: Caller, payer: Payer, facilitator: Facilitator, after: Any
) -> None:
    facilitator.chain.receipts_fail = 1
    signature, before = signed(buyer, payer), facilitator.paid()
    pending = send(buyer, signature)
    assert pending.status_code == 202
    assert pending.json()["status"] == "settlement_pending"
    assert pending.json()["transaction"]
    assert pending.headers["Retry-After"]
    assert available(buyer) == 0
    assert send(buyer, signature).status_code == 202, "asking again does not settle again"
    assert facilitator.asked["settle"] == 1
    assert after(buyer, pending.json()["id"])["status"] == "settled"
    assert facilitator.paid() - before == UNITS
    assert credited(buyer) == [UNITS]


@pytest.mark.parametrize("fault", ["error", "redirect"])
def test_a_settlement_that_failed_in_between_is_asked_for_again(
    fault: str, buyer: Caller, payer: Payer, facilitator: Facilitator, after: Any
) -> None:
    facilitator.faults.append(fault)
    before = facilitator.paid()
    pending = send(buyer, signed(buyer, payer))
    assert pending.status_code == 202, pending.text
    assert facilitator.asked["elsewhere"] == 0, "redirects are not followed"
    assert after(buyer, pending.json()["id"])["status"] == "settled"
    assert facilitator.paid() - before == UNITS
    assert available(buyer) == UNITS


@pytest.mark.parametrize("fault", ["lost", "html"])
def test_an_unknown_outcome_is_never_taken_for_a_failure(
    fault: str, database: Database, buyer: Caller, payer: Payer, facilitator: Facilitator, after: Any
) -> None:
    """The money moved and the answer got lost: "nonce used" afterwards proves nothing, a person looks at the chain."""
    facilitator.faults.append(fault)
    before = facilitator.paid()
    pending = send(buyer, signed(buyer, payer))
    assert pending.status_code == 202
    payment_id = pending.json()["id"]
    payment = after(buyer, payment_id)
    assert payment["status"] == "settlement_pending"
    assert "nonce_already_used" in payment["reason"]
    assert available(buyer) == 0
    with database.tx(buyer.organization_id) as tx:
        payments.resolve(tx, buyer.organization_id, payment["id"], settled=True, transaction="0xseen")
    assert facilitator.paid() - before == UNITS
    assert credited(buyer) == [UNITS]
    with pytest.raises(Conflict), database.tx(buyer.organization_id) as tx:
        payments.resolve(tx, buyer.organization_id, payment["id"], settled=True, transaction="0xseen")


def test_an_operator_ends_a_payment_by_what_the_chain_says(
    tmp_path: Path, database: Database, buyer: Caller, payer: Payer, facilitator: Facilitator
) -> None:
    facilitator.faults.append("lost")
    payment_id = send(buyer, signed(buyer, payer)).json()["id"]
    shell = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATABASE_URL=database.url))
    code, said = shell("payments")
    assert code == 0
    assert payment_id in said.stdout
    assert shell("payments", payment_id, "--as", "settled")[0] == 2, "by which transaction?"
    assert shell("payments", str(uuid7()), "--as", "failed")[0] == 1
    ending = ["payments", payment_id, "--as", "settled", "--transaction", "0xseen"]
    code, said = shell(*ending)
    assert code == 0, said.text
    assert "10.000000 USD were credited" in said.stdout
    assert credited(buyer) == [UNITS]
    assert shell(*ending)[0] == 1, "once"


def test_pending_payments_are_looked_after(
    database: Database, worker: object, buyer: Caller, payer: Payer, facilitator: Facilitator
) -> None:
    """The duty queues a job for what is due, and nobody takes it twice at a time."""
    facilitator.faults.append("error")
    payment_id = send(buyer, signed(buyer, payer)).json()["id"]

    def row() -> dict[str, Any]:
        with database.tx(buyer.organization_id) as tx:
            return tx.one("SELECT updated_at, next_try_at > now() AS later FROM payment WHERE id = %s", (payment_id,))

    before = row()["updated_at"]
    with database.system() as tx:
        tx.run("UPDATE payment SET next_try_at = now() WHERE id = %s", (payment_id,))
        payments.look_after(tx)
    assert row()["later"], "it is in hand"
    # This process's worker knows no facilitator: it finds nobody there, which moves nothing and changes no state.
    wait_for(lambda: row()["updated_at"] > before, "the job")
    assert buyer.get(f"/api/v1/billing/payments/{payment_id}").json()["status"] == "settlement_pending"


def changed(signature: str, change: Any) -> str:
    value = jsons.loads(base64.b64decode(signature))
    change(value)
    return base64.b64encode(jsons.dumps(value)).decode()


FORGERIES: dict[str, Any] = {
    "more than was signed": lambda v: (
        v["accepted"].update(amount="99000000"), v["payload"]["authorization"].update(value="99000000")
    ),
    "accepted more than signed": lambda v: v["accepted"].update(amount="99000000"),
    "another payee": lambda v: v["accepted"].update(payTo="0x00000000000000000000000000000000000000bb"),
    "another token": lambda v: v["accepted"].update(asset="0x00000000000000000000000000000000000000cc"),
    "another chain": lambda v: v["accepted"].update(network="eip155:1"),
    "another scheme": lambda v: v["accepted"].update(scheme="upto"),
    "a signature of nobody": lambda v: v["payload"].update(signature="0x" + "11" * 65),
    "somebody else's money": lambda v: v["payload"]["authorization"].update(**{"from": "0x" + "22" * 20}),
    "another nonce": lambda v: v["payload"]["authorization"].update(nonce="0x" + "33" * 32),
    "a short nonce": lambda v: v["payload"]["authorization"].update(nonce="0x33"),
    "too late": lambda v: v["payload"]["authorization"].update(validBefore="1700000000"),
    "no number": lambda v: v["payload"]["authorization"].update(value="-1"),
    "fractions": lambda v: v["payload"]["authorization"].update(value="1.5"),
    "nothing": lambda v: (v["accepted"].update(amount="0"), v["payload"]["authorization"].update(value="0")),
    "the old version": lambda v: v.update(x402Version=1),
    "no authorization": lambda v: v["payload"].pop("authorization"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_move_nothing(name: str, buyer: Caller, payer: Payer, facilitator: Facilitator) -> None:
    before = facilitator.paid()
    answer = send(buyer, changed(signed(buyer, payer), FORGERIES[name]))
    assert answer.status_code in {400, 402, 422}, f"{answer.status_code} {answer.text}"
    assert facilitator.paid() == before
    assert available(buyer) == 0


@pytest.mark.parametrize("header", ["", "x", "!!!", base64.b64encode(b"[]").decode(), base64.b64encode(b"{}").decode(),
                                    base64.b64encode(b'{"x402Version":2}').decode(), "A" * 20_000])  # fmt: skip
def test_nonsense_is_refused(header: str, buyer: Caller, facilitator: Facilitator) -> None:
    answer = send(buyer, header)
    assert answer.status_code == 400, answer.text
    assert facilitator.asked["verify"] == 0


def test_a_payer_without_funds_is_refused(buyer: Caller, facilitator: Facilitator) -> None:
    answer = send(buyer, signed(buyer, Payer(facilitator.chain, UNITS - 1)))
    assert answer.status_code == 402
    assert answer.json()["code"] == "payment_refused"
    assert "insufficient" in answer.json()["reason"]


def test_small_payments_are_not_taken(buyer: Caller, payer: Payer) -> None:
    assert buyer.post(PATH, {"amount_usd": "0.5", "method": "x402"}).status_code == 422
    tiny = changed(signed(buyer, payer), lambda v: (
        v["accepted"].update(amount="10"), v["payload"]["authorization"].update(value="10")))  # fmt: skip
    assert send(buyer, tiny).json()["reason"] == "amount_too_low"


def test_nothing_is_noted_when_the_facilitator_is_away(
    database: Database, buyer: Caller, payer: Payer, facilitator: Facilitator
) -> None:
    signature = signed(buyer, payer)
    away = paid_settings(facilitator).model_copy(update={"x402_facilitator_url": "http://127.0.0.1:9"})
    with serve(database, away) as url, httpx.Client(base_url=url, headers=dict(buyer.client.headers)) as client:
        answer = client.post(PATH, json=TEN, headers={"PAYMENT-SIGNATURE": signature}, timeout=60)
    assert answer.status_code == 503
    assert buyer.get("/api/v1/billing/payments").json()["data"] == []
    assert send(buyer, signature).status_code == 201, "the same payment is still good"


def test_payments_are_off_without_a_wallet(owner: Caller) -> None:
    answer = owner.post(PATH, TEN)
    assert answer.status_code == 409
    assert "PAYMENT-REQUIRED" not in answer.headers


def test_where_customers_pay_an_admin_key_credits_nothing(database: Database, facilitator: Facilitator) -> None:
    organization = make_organization(database)
    with database.tx(organization) as tx:
        secret = identity.issue_key(tx, organization, name="customer", scope="admin").secret
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        serve(database, paid_settings(facilitator, admin_credit=False)) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        assert client.post(PATH, json={"amount_usd": "1", "key": "k"}).status_code == 403
        connection = client.get("/api/v1/connect").json()
        assert connection["x402"]
        assert not connection["admin_credit"]


def test_the_connect_page_mints_a_key_and_leads_back_only_here(owner: Caller, teammate: Caller) -> None:
    shown = owner.get("/api/v1/connect", params={"return": "/batch/1?tab=rows&x=1"}).json()
    assert shown["topup_url"] == "/connect?action=topup&return=%2Fbatch%2F1%3Ftab%3Drows%26x%3D1"
    assert shown["return_path"] == "/batch/1?tab=rows&x=1"
    assert shown["min_balance_usd"] == "10.000000"
    assert shown["min_balance_micro_usd"] == 10_000_000
    made = owner.post("/api/v1/connect", {"name": "Headless", "return": "/batch/1"})
    assert made.status_code == 201, made.text
    assert made.json()["key"]["secret"].startswith("gm_live_")
    assert made.json()["key"]["key"]["scope"] == "usage"
    assert teammate.post("/api/v1/connect", {}).status_code == 403
    for bad in ("https://evil.example", "//evil.example", "/\\evil.example", "batch", "/a\nb", "javascript:alert(1)"):
        assert owner.get("/api/v1/connect", params={"return": bad}).status_code == 422, bad
        assert owner.post("/api/v1/connect", {"return": bad}).status_code == 422, bad


def test_the_ledger_comes_whole_as_csv(owner: Caller, make_caller: MakeCaller) -> None:
    for number in range(5):
        owner.post(PATH, {"amount_usd": "1.5", "key": f"k{number}", "note": "=1+1"})
    text = owner.get("/api/v1/billing/ledger", params={"format": "csv", "limit": 2}).text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 5
    assert list(lines[0])[:7] == ["id", "created_at", "kind", "debit", "credit", "amount_usd", "amount_micro_usd"]
    assert [line["key"] for line in lines] == [f"top_up/k{number}" for number in (4, 3, 2, 1, 0)]
    assert {line["note"] for line in lines} == {"'=1+1"}, "spreadsheets don't run it"


def test_the_sdk_does_not_lift_the_guard_against_deep_recursion() -> None:
    code = (
        "import sys; before = sys.getrecursionlimit(); from gristmill.ledger import payments;"
        "payments._terms(); assert 'py_ecc' in sys.modules; assert sys.getrecursionlimit() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
