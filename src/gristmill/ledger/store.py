"""SQL of the ledger: the account row first, always, so that money moves one after the other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from gristmill.base.db import Tx


def find_account(tx: Tx, organization_id: int) -> dict[str, Any] | None:
    """The account's four sums."""
    return tx.row(
        "SELECT available_micro_usd, held_micro_usd, spent_micro_usd, funded_micro_usd"
        " FROM ledger_account WHERE organization_id = %s",
        (organization_id,),
    )


def claim_available(tx: Tx, organization_id: int) -> int:
    """Lock the account and answer what is free."""
    row = tx.row(
        "SELECT available_micro_usd FROM ledger_account WHERE organization_id = %s FOR UPDATE",
        (organization_id,),
    )
    return int(row["available_micro_usd"]) if row else 0


def insert_entry(
    tx: Tx,
    organization_id: int,
    *,
    kind: str,
    debit: str,
    credit: str,
    amount: int,
    key: str,
    note: str,
    batch_id: UUID | None = None,
    row_number: int | None = None,
) -> bool:
    """One move; False when its key was there already."""
    return (
        tx.run(
            "INSERT INTO ledger_entry (organization_id, kind, debit, credit, amount_micro_usd, key, note, batch_id,"
            " row_number) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (organization_id, key) DO NOTHING",
            (organization_id, kind, debit, credit, amount, key, note, batch_id, row_number),
        )
        > 0
    )


def sum_charges(tx: Tx, organization_id: int, batch_id: UUID, row_number: int) -> tuple[int, int]:
    """What a row was charged in all its runs, and what of it was refunded."""
    row = tx.one(
        "SELECT coalesce(sum(amount_micro_usd) FILTER (WHERE kind = 'settle'), 0)::bigint AS charged,"
        " coalesce(sum(amount_micro_usd) FILTER (WHERE kind = 'refund'), 0)::bigint AS returned"
        " FROM ledger_entry WHERE organization_id = %s AND batch_id = %s AND row_number = %s",
        (organization_id, batch_id, row_number),
    )
    return int(row["charged"]), int(row["returned"])


def find_entry(tx: Tx, organization_id: int, key: str) -> dict[str, Any] | None:
    """A move by its key."""
    return tx.row(
        "SELECT amount_micro_usd, kind, debit, batch_id, row_number FROM ledger_entry"
        " WHERE organization_id = %s AND key = %s",
        (organization_id, key),
    )


def insert_row_entries(
    tx: Tx,
    organization_id: int,
    batch_id: UUID,
    *,
    kind: str,
    debit: str,
    credit: str,
    row_numbers: list[int],
    attempts: list[int],
    amounts: list[int],
) -> int:
    """Moves of many rows at once; answers how many. A key that is there already is an error: nothing runs twice."""
    return tx.run(
        "INSERT INTO ledger_entry (organization_id, kind, debit, credit, amount_micro_usd, key, batch_id, row_number)"
        " SELECT %(org)s, %(kind)s, %(debit)s, %(credit)s, t.amount,"
        "        %(batch)s::text || '/' || t.row_number || '/' || t.attempt || '/' || %(kind)s, %(batch)s, t.row_number"
        " FROM unnest(%(rows)b::int[], %(attempts)b::int[], %(amounts)b::bigint[]) AS t(row_number, attempt, amount)",
        {
            "org": organization_id,
            "kind": kind,
            "debit": debit,
            "credit": credit,
            "batch": batch_id,
            "rows": row_numbers,
            "attempts": attempts,
            "amounts": amounts,
        },
    )


def update_account(
    tx: Tx, organization_id: int, *, available: int = 0, held: int = 0, spent: int = 0, funded: int = 0
) -> None:
    """Add to the four sums; the table's constraints refuse anything that does not balance or goes below zero."""
    tx.run(
        "UPDATE ledger_account SET available_micro_usd = available_micro_usd + %s,"
        " held_micro_usd = held_micro_usd + %s, spent_micro_usd = spent_micro_usd + %s,"
        " funded_micro_usd = funded_micro_usd + %s WHERE organization_id = %s",
        (available, held, spent, funded, organization_id),
    )


def list_entries(
    tx: Tx, organization_id: int, *, before: int | None, batch_id: UUID | None, limit: int
) -> list[dict[str, Any]]:
    """Moves, newest first."""
    return tx.rows(
        "SELECT id, kind, debit, credit, amount_micro_usd, key, batch_id, row_number, note, created_at"
        " FROM ledger_entry WHERE organization_id = %(org)s AND (%(before)s::bigint IS NULL OR id < %(before)s)"
        " AND (%(batch)s::uuid IS NULL OR batch_id = %(batch)s) ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "before": before, "batch": batch_id, "limit": limit},
    )
