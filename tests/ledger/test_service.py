"""The ledger under concurrency: never negative, never double, always in balance."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Caller, fund, make_organization
from gristmill import ledger
from gristmill.base.db import Database
from gristmill.base.errors import Conflict
from gristmill.base.ids import batch_uuid
from gristmill.ledger import store


def whole(database: Database, organization: int) -> ledger.Balance:
    with database.tx(organization) as tx:
        return ledger.balance(tx, organization)


@pytest.mark.parametrize("amount", ["0", "0.000000", 0, True, "-1", "0.0000001", "1e30", None, [], {}])
def test_a_top_up_must_add_something(amount: object, owner: Caller) -> None:
    answer = owner.post("/api/v1/billing/topups", {"amount_usd": amount, "key": "x"})
    assert (answer.status_code, answer.json()["errors"][0]["field"].split(".")[0]) == (422, "amount_usd")
    assert owner.get("/api/v1/billing/ledger").json()["data"] == []


def test_a_top_up_counts_once_per_key(database: Database, organization: int) -> None:
    for _ in range(3):
        with database.tx(organization) as tx:
            ledger.top_up(tx, organization, 5_000_000, key="invoice 1")
    assert whole(database, organization).available_micro_usd == 5_000_000
    with pytest.raises(Conflict, match="another amount"), database.tx(organization) as tx:
        ledger.top_up(tx, organization, 6_000_000, key="invoice 1")


def test_a_charge_never_exceeds_its_hold(database: Database, organization: int) -> None:
    fund(database, organization, 1_000)
    batch = batch_uuid()
    with database.tx(organization) as tx:
        ledger.lock_available(tx, organization)
        ledger.hold_rows(tx, organization, batch, [ledger.RowHold(1, 1)], 400)
        spent = ledger.settle_rows(tx, organization, batch, [ledger.RowCharge(1, 1, 400, 900)])
    assert spent == 400
    after = whole(database, organization)
    assert (after.available_micro_usd, after.held_micro_usd, after.spent_micro_usd) == (600, 0, 400)


def test_the_database_refuses_a_hold_beyond_the_balance(database: Database, organization: int) -> None:
    fund(database, organization, 100)
    with pytest.raises(psycopg.errors.CheckViolation), database.tx(organization) as tx:
        ledger.hold_rows(tx, organization, batch_uuid(), [ledger.RowHold(1, 1)], 101)
    assert whole(database, organization).available_micro_usd == 100


def test_the_same_hold_twice_is_refused(database: Database, organization: int) -> None:
    fund(database, organization, 1_000)
    batch = batch_uuid()
    with database.tx(organization) as tx:
        ledger.hold_rows(tx, organization, batch, [ledger.RowHold(1, 1)], 10)
    with pytest.raises(psycopg.errors.UniqueViolation), database.tx(organization) as tx:
        ledger.hold_rows(tx, organization, batch, [ledger.RowHold(1, 1)], 10)
    assert whole(database, organization).held_micro_usd == 10


def test_entries_are_append_only(database: Database, organization: int) -> None:
    fund(database, organization, 1_000)
    for statement in ("UPDATE ledger_entry SET amount_micro_usd = 0", "DELETE FROM ledger_entry"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), database.tx(organization) as tx:
            tx.run(statement)  # type: ignore[arg-type]


plays = st.lists(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 12), st.booleans()), min_size=1, max_size=6),
    min_size=2,
    max_size=4,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(money=st.integers(0, 60), play=plays)
def test_concurrent_workers_never_overdraw_and_never_charge_twice(
    database: Database, money: int, play: list[list[tuple[int, int, bool]]]
) -> None:
    """Each worker holds rows as far as the balance goes, then settles them, or its hold is rolled back."""
    organization = make_organization(database)
    if money:
        fund(database, organization, money * 10)
    batch = batch_uuid()
    expected: list[int] = []
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work(number: int, moves: list[tuple[int, int, bool]]) -> None:
        try:
            for place, (rows, cost, crash) in enumerate(moves):
                move(number * 1000 + place * 10, rows, cost, crash=crash)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    def move(first: int, rows: int, cost: int, *, crash: bool) -> None:
        holds: list[ledger.RowHold] = []
        try:
            with database.tx(organization) as tx:
                affordable = min(rows, ledger.lock_available(tx, organization) // 10)
                holds = [ledger.RowHold(first + index, 1) for index in range(affordable)]
                ledger.hold_rows(tx, organization, batch, holds, 10)
                if crash:
                    raise RuntimeError
        except RuntimeError:
            return
        with database.tx(organization) as tx:
            charges = [ledger.RowCharge(hold.row_number, 1, 10, cost) for hold in holds]
            spent = ledger.settle_rows(tx, organization, batch, charges)
        with lock:
            expected.append(spent)

    threads = [threading.Thread(target=work, args=item) for item in enumerate(play, start=1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    after = whole(database, organization)
    assert after.held_micro_usd == 0
    assert after.spent_micro_usd == sum(expected)
    assert after.available_micro_usd == money * 10 - sum(expected)
    with database.tx(organization) as tx:
        entries: list[dict[str, Any]] = store.list_entries(tx, organization, before=None, batch_id=batch, limit=1000)
    settled = [entry["row_number"] for entry in entries if entry["kind"] == "settle"]
    assert len(settled) == len(set(settled))
