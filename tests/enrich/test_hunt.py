"""The hunt: whom it asks, when it stops, what it costs, and what it remembers."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from conftest import make_organization
from gristmill import vault
from gristmill.agents import RowCall, RowResult, RuntimeContext
from gristmill.base import jsons
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.errors import Invalid, PluginError
from gristmill.base.ids import batch_uuid, row_uuid
from gristmill.batches.calls import TRACE_BYTES_MAX
from gristmill.enrich.runtime import PLUGIN
from lead_vendor import Vendor, record

PRICE = 100_000
LEAD = {"company": "Haney Furniture Co", "street": "100 Main St", "city": "Tampa", "zip": "33602"}


def a_pass(vendor: Vendor, name: str = "vendor", **more: Any) -> dict[str, Any]:
    config = vendor.config(**more.pop("config", {}))
    return {"provider": "http", "name": name, "config": config, **more}


def hunt(
    database: Database,
    organization: int,
    passes: list[dict[str, Any]],
    *leads: dict[str, Any],
    rows: list[UUID] | None = None,
    attempt: int = 1,
    last: bool = False,
    timeout_s: float = 20.0,
    **config: Any,
) -> list[RowResult | PluginError]:
    """Hunts for leads at the same time, in one run."""
    batch = batch_uuid()
    ids = rows or [row_uuid(batch, number) for number in range(1, len(leads) + 1)]
    parsed = PLUGIN.Config.model_validate({"passes": passes, **config})
    context = RuntimeContext(settings(), organization, "Test", 8, False, 1, PRICE, database)
    PLUGIN.check(parsed, context)

    async def one(function: Any, row_id: UUID, lead: dict[str, Any]) -> RowResult | PluginError:
        try:
            return await function(RowCall(row_id, 1, attempt, lead, timeout_s, last))
        except PluginError as error:
            return error

    async def run() -> list[RowResult | PluginError]:
        async with PLUGIN.open(parsed, context) as function:
            return await asyncio.gather(*(one(function, *pair) for pair in zip(ids, leads, strict=True)))

    return asyncio.run(run())


def found(outcome: RowResult | PluginError) -> RowResult:
    assert isinstance(outcome, RowResult), outcome
    return outcome


def failed(outcome: RowResult | PluginError) -> PluginError:
    assert isinstance(outcome, PluginError), outcome
    return outcome


@pytest.fixture
def rich(vendor: Vendor) -> Vendor:
    vendor.records["Haney Furniture Co"] = [record("Haney Furniture Co")]
    return vendor


def test_the_cheap_one_is_asked_first_and_the_dear_one_only_when_it_must(
    database: Database, organization: int, rich: Vendor
) -> None:
    dear = Vendor().start()
    passes = [a_pass(dear, "dear", price_usd="0.05"), a_pass(rich, "cheap", price_usd="0.01")]
    outcome = found(hunt(database, organization, passes, LEAD)[0])
    assert rich.asked.total() == 1
    assert dear.asked.total() == 0
    assert outcome.cost_micro_usd == 10_000
    assert outcome.value is not None
    phone = outcome.value["phones"][0]
    assert (phone["provider"], phone["source"]) == ("cheap", "https://vendor.example/haneyfurnitureco")
    rich.records.clear()
    dear.records["Miller Co"] = [record("Miller Co")]
    second = found(hunt(database, organization, passes, {**LEAD, "company": "Miller Co"})[0])
    assert second.cost_micro_usd == 60_000
    assert second.value is not None
    dear.stop()


def test_a_call_that_the_row_can_not_pay_is_not_made(database: Database, organization: int, rich: Vendor) -> None:
    rich.records.clear()
    passes = [
        a_pass(rich, "a", price_usd="0.06"),
        a_pass(rich, "b", price_usd="0.07", config={"headers": {"X-B": "1"}}),
    ]
    outcome = found(hunt(database, organization, passes, LEAD)[0])
    assert [call["outcome"] for call in outcome.trace["calls"]] == ["answered", "refused"]
    assert outcome.value is None
    assert rich.asked.total() == 1


def test_a_pass_that_no_row_can_pay_is_refused_when_the_agent_is_saved(database: Database, organization: int) -> None:
    vendor = Vendor(url="http://127.0.0.1:1")
    with pytest.raises(Invalid, match="more than a row may cost"):
        hunt(database, organization, [a_pass(vendor, price_usd="0.2")])
    with pytest.raises(Invalid, match="more than a row may cost"):
        hunt(database, organization, [a_pass(vendor)], match_usd="0.2")
    with pytest.raises(Invalid, match="a name of its own"):
        hunt(database, organization, [a_pass(vendor), a_pass(vendor)])


def test_variants_are_tried_only_when_little_was_found(database: Database, organization: int, vendor: Vendor) -> None:
    vendor.records["Acme Sofas"] = [record("Acme Sofas")]
    vendor.records["Acme Group"] = [record("Acme Group")]
    lead = {"company": "Acme", "zip": "33602", "street": "100 Main St",
            "search_variants": {"DBA": "Acme Sofas", "Parent": "Acme Group", "Id": "00123"}}  # fmt: skip
    outcome = found(hunt(database, organization, [a_pass(vendor)], lead)[0])
    assert dict(vendor.asked) == {"Acme": 1, "Acme Sofas": 1}, "enough after the first variant"
    assert [(call["variant"], call["facts"] > 0) for call in outcome.trace["calls"]] == [("", False), ("DBA", True)]
    vendor.records["Acme"] = [record("Acme")]
    vendor.asked.clear()
    other = make_organization(database)
    hunt(database, other, [a_pass(vendor)], lead)
    assert dict(vendor.asked) == {"Acme": 1}


def test_an_answer_is_remembered_for_its_time_and_its_organization(
    database: Database, organization: int, rich: Vendor
) -> None:
    passes = [a_pass(rich, price_usd="0.01", cached_price_usd="0.002")]
    first = found(hunt(database, organization, passes, LEAD)[0])
    again = found(hunt(database, organization, passes, LEAD)[0])
    assert rich.asked.total() == 1
    assert (first.cost_micro_usd, again.cost_micro_usd) == (10_000, 2_000)
    assert again.trace["calls"][0]["outcome"] == "cached"
    assert first.value is not None
    assert again.value is not None
    assert again.value["phones"] == first.value["phones"], "with the time of the first call"
    hunt(database, make_organization(database), passes, LEAD)
    assert rich.asked.total() == 2, "another organization asks for itself"
    changed = [a_pass(rich, price_usd="0.01", config={"trust": 0.5})]
    hunt(database, organization, changed, LEAD)
    assert rich.asked.total() == 3, "another config is another question"
    with database.tx(organization) as tx:
        tx.run("UPDATE provider_answer SET expires_at = now()")
    hunt(database, organization, passes, LEAD)
    assert rich.asked.total() == 4
    hunt(database, organization, [a_pass(rich, remember_days=0)], LEAD, LEAD)
    assert rich.asked.total() == 6, "what must not be remembered is asked for each time"


def test_a_row_that_is_run_again_pays_once_and_asks_once(database: Database, organization: int, rich: Vendor) -> None:
    """A worker died, or a retry: the vendor was paid for this very row."""
    passes, row = [a_pass(rich, price_usd="0.01")], row_uuid(batch_uuid(), 7)
    hunt(database, organization, passes, LEAD, rows=[row])
    again = found(hunt(database, organization, passes, LEAD, rows=[row], attempt=2)[0])
    assert rich.asked.total() == 1
    assert again.cost_micro_usd == 10_000


def test_hunts_that_ask_the_same_at_the_same_time_ask_once(database: Database, organization: int, rich: Vendor) -> None:
    rich.latency_s = 0.1
    outcomes = [found(item) for item in hunt(database, organization, [a_pass(rich, price_usd="0.01")], *[LEAD] * 8)]
    assert rich.asked.total() == 1
    assert sorted(item.cost_micro_usd or 0 for item in outcomes) == [0] * 7 + [10_000]
    assert all(item.value for item in outcomes)


def test_a_vendor_that_asks_for_less_is_obeyed(database: Database, organization: int, rich: Vendor) -> None:
    rich.faults.append((429, {"Retry-After": "3"}))
    error = failed(hunt(database, organization, [a_pass(rich)], LEAD)[0])
    assert (error.permanent, error.throttled, error.retry_after_s, error.code) == (False, True, 3.0, "http_429")
    assert error.trace is not None
    assert error.trace["calls"][0]["outcome"] == "failed"


def test_the_last_attempt_takes_what_there_is_and_never_calls_a_failure_empty(
    database: Database, organization: int, rich: Vendor
) -> None:
    broken = Vendor(down=True).start()
    rich.records["Haney Furniture Co"][0]["people"] = []
    passes = [a_pass(rich, "good"), a_pass(broken, "broken")]
    assert failed(hunt(database, organization, passes, LEAD)[0]).permanent is False, "another try may find more"
    taken = found(hunt(database, organization, passes, LEAD, last=True)[0])
    assert taken.value is not None
    assert [call["outcome"] for call in taken.trace["calls"]] == ["cached", "failed"]
    nothing = failed(hunt(database, organization, [a_pass(broken, "broken")], LEAD, last=True)[0])
    assert nothing.code == "http_500"
    broken.stop()


def test_a_slow_vendor_is_given_up_on(database: Database, organization: int, rich: Vendor) -> None:
    rich.latency_s = 5.0
    error = failed(hunt(database, organization, [a_pass(rich, timeout_s=0.2)], LEAD)[0])
    assert error.code == "timed_out"


def test_keys_come_from_the_vault_and_stay_out_of_sight(database: Database, organization: int, rich: Vendor) -> None:
    with database.tx(organization) as tx:
        secret = vault.put(tx, organization, name="Vendor", values={"key": "vendor-key-0123456789"})
    auth = {"auth": {"secret_ref": str(secret.ref)}}
    assert found(hunt(database, organization, [a_pass(rich, config=auth)], LEAD)[0]).value
    assert dict(rich.keys) == {"Bearer vendor-key-0123456789": 1}
    rich.down = True
    error = failed(hunt(database, organization, [a_pass(rich, config=auth)], {**LEAD, "company": "Miller"})[0])
    assert "vendor-key" not in f"{error.message} {error.trace}"
    with database.tx(organization) as tx:
        kept = tx.rows("SELECT provider, finding::text AS finding FROM provider_answer")
    assert kept
    assert "vendor-key" not in str(kept)


@pytest.mark.parametrize("lead", [{}, {"city": "Tampa"}, {"street": "100 Main St"}, {"number1": "7246547732"}])
def test_there_must_be_something_to_look_for(
    lead: dict[str, Any], database: Database, organization: int, rich: Vendor
) -> None:
    error = failed(hunt(database, organization, [a_pass(rich)], lead)[0])
    assert (error.code, error.permanent) == ("lead_too_thin", True)
    assert rich.asked.total() == 0


def test_records_of_others_are_left_out(database: Database, organization: int, vendor: Vendor) -> None:
    vendor.records["Haney Furniture Co"] = [
        record("Miller Bakery", street="9 Elm St", city="Austin", zip="78701", phone="(512) 555-0100"),
        record("Haney Furniture Co", phone="(813) 555-0100"),
        record("Haney Plumbing", street="1 Oak St", city="Boise", zip="83701", phone="(208) 555-0100"),
    ]
    outcome = found(hunt(database, organization, [a_pass(vendor)], LEAD)[0])
    assert outcome.value is not None
    assert [phone["e164"] for phone in outcome.value["phones"]] == ["+18135550100"]
    vendor.records["Nobody Inc"] = [record("Miller Bakery", street="9 Elm St", zip="78701", phone="(512) 555-0100")]
    assert found(hunt(database, organization, [a_pass(vendor)], {**LEAD, "company": "Nobody Inc"})[0]).value is None


def test_a_trace_fits_its_row_however_much_was_found(database: Database, organization: int, vendor: Vendor) -> None:
    people = [{"name": f"Jordan{chr(97 + n % 26)}{chr(97 + n // 26)} Example", "role": "x" * 150} for n in range(200)]
    vendor.records["Haney Furniture Co"] = [record("Haney Furniture Co", people=people)]
    outcome = found(hunt(database, organization, [a_pass(vendor)], LEAD)[0])
    assert len(jsons.dumps(outcome.trace)) < TRACE_BYTES_MAX
    assert outcome.trace["calls"]
    assert outcome.value is not None
    assert len(outcome.value["contacts"]) == 25
