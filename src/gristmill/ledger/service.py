"""Verbs of the ledger. Whoever moves money holds the account's lock first (`lock_available`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from gristmill.base.db import Database, Tx
from gristmill.base.errors import Conflict, FieldError, Invalid, Malformed
from gristmill.base.money import usd
from gristmill.base.paging import CursorPage, cursor_page, decode_cursor
from gristmill.ledger import store
from gristmill.ledger.model import Balance, Entry, RowCharge, RowHold

ENTRIES_PER_PAGE = 1000


MoneyListener = Callable[[Tx, int, str, str, dict[str, Any]], None]
"""Called with (tx, organization id, kind, subject, data), in the transaction of what it tells of."""
_listeners: list[MoneyListener] = []


def on_money(listener: MoneyListener) -> MoneyListener:
    """Have a higher room told of moves and payments, as `billing.topped_up`, since events lie above money."""
    if listener not in _listeners:
        _listeners.append(listener)
    return listener


def tell(tx: Tx, organization_id: int, kind: str, *, subject: str, data: dict[str, Any]) -> None:
    """Tell whoever listens, in this transaction."""
    for listener in _listeners:
        listener(tx, organization_id, kind, subject, data)


def balance(tx: Tx, organization_id: int) -> Balance:
    """What the organization has now."""
    row = store.find_account(tx, organization_id) or {
        "available_micro_usd": 0,
        "held_micro_usd": 0,
        "spent_micro_usd": 0,
        "funded_micro_usd": 0,
    }
    return Balance(
        **row,
        available_usd=usd(row["available_micro_usd"]),
        held_usd=usd(row["held_micro_usd"]),
        spent_usd=usd(row["spent_micro_usd"]),
        funded_usd=usd(row["funded_micro_usd"]),
    )


def lock_available(tx: Tx, organization_id: int) -> int:
    """Lock the account until the transaction ends; answers the free micro-USD."""
    return store.claim_available(tx, organization_id)


def top_up(tx: Tx, organization_id: int, amount_micro_usd: int, *, key: str, note: str = "") -> Balance:
    """Add money once per key: the same key again changes nothing; with another amount it is a `Conflict`.

    Raises `Invalid` for no money at all.
    """
    if amount_micro_usd <= 0:
        raise Invalid("A top-up must add something.", errors=(FieldError("amount_usd", "must be more than 0"),))
    store.claim_available(tx, organization_id)
    if store.insert_entry(
        tx,
        organization_id,
        kind="top_up",
        debit="funded",
        credit="available",
        amount=amount_micro_usd,
        key=f"top_up/{key}",
        note=note,
    ):
        store.update_account(tx, organization_id, available=amount_micro_usd, funded=amount_micro_usd)
        data = {"amount_usd": usd(amount_micro_usd), "amount_micro_usd": amount_micro_usd, "key": key, "note": note}
        tell(tx, organization_id, "billing.topped_up", subject=f"organization:{organization_id}", data=data)
    else:
        before = store.find_entry(tx, organization_id, f"top_up/{key}")
        if before is None or before["amount_micro_usd"] != amount_micro_usd:
            raise Conflict("That key was used for a top-up of another amount.")
    return balance(tx, organization_id)


def hold_rows(tx: Tx, organization_id: int, batch_id: UUID, rows: Sequence[RowHold], price_micro_usd: int) -> None:
    """Set the price aside for each row. The caller has locked the account and knows that it covers them."""
    if not rows or price_micro_usd == 0:
        return
    store.insert_row_entries(
        tx,
        organization_id,
        batch_id,
        kind="hold",
        debit="available",
        credit="held",
        row_numbers=[row.row_number for row in rows],
        attempts=[row.attempt for row in rows],
        amounts=[price_micro_usd] * len(rows),
    )
    total = price_micro_usd * len(rows)
    store.update_account(tx, organization_id, available=-total, held=total)


def settle_rows(tx: Tx, organization_id: int, batch_id: UUID, charges: Sequence[RowCharge]) -> int:
    """End the holds of rows: the charge is spent, the rest is released. Answers the micro-USD spent.

    A charge above its hold is cut to the hold: a row never costs more than was set aside for it.
    """
    held_rows = [row for row in charges if row.held_micro_usd > 0]
    if not held_rows:
        return 0
    store.claim_available(tx, organization_id)
    spent = {row: min(row.charge_micro_usd, row.held_micro_usd) for row in held_rows}
    settled = [row for row in held_rows if spent[row] > 0]
    released = [row for row in held_rows if spent[row] < row.held_micro_usd]
    if settled:
        store.insert_row_entries(
            tx,
            organization_id,
            batch_id,
            kind="settle",
            debit="held",
            credit="spent",
            row_numbers=[row.row_number for row in settled],
            attempts=[row.attempt for row in settled],
            amounts=[spent[row] for row in settled],
        )
    if released:
        store.insert_row_entries(
            tx,
            organization_id,
            batch_id,
            kind="release",
            debit="held",
            credit="available",
            row_numbers=[row.row_number for row in released],
            attempts=[row.attempt for row in released],
            amounts=[row.held_micro_usd - spent[row] for row in released],
        )
    total_held = sum(row.held_micro_usd for row in held_rows)
    total_spent = sum(spent.values())
    store.update_account(tx, organization_id, held=-total_held, spent=total_spent, available=total_held - total_spent)
    return total_spent


def every_entry(database: Database, organization_id: int, *, batch_id: UUID | None) -> Iterator[Entry]:
    """All moves, newest first, page by page, each in a short transaction of its own."""
    cursor = None
    while True:
        with database.tx(organization_id) as tx:
            page = entries(tx, organization_id, cursor=cursor, limit=ENTRIES_PER_PAGE, batch_id=batch_id)
        yield from page.data
        cursor = page.meta.next_cursor
        if cursor is None:
            return


def entries(
    tx: Tx, organization_id: int, *, cursor: str | None, limit: int, batch_id: UUID | None = None
) -> CursorPage[Entry]:
    """Moves, newest first."""
    before = decode_cursor(cursor) if cursor else None
    if before is not None and not isinstance(before, int):
        raise Malformed("The cursor is not one of ours.")
    rows = store.list_entries(tx, organization_id, before=before, batch_id=batch_id, limit=limit + 1)
    return cursor_page(
        [Entry(**row, amount_usd=usd(row["amount_micro_usd"])) for row in rows], limit, lambda entry: entry.id
    )
