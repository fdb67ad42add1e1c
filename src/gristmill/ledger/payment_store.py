"""SQL of payments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx

_COLUMNS: LiteralString = (
    "id, status, network, asset, payer, amount_micro_usd, purpose, transaction, reason, created_at, updated_at"
)


def insert_payment(tx: Tx, organization_id: int, payment_id: UUID, values: dict[str, Any]) -> bool:
    """A payment about to be settled; False when its authorization was sent here before, by whomever."""
    return (
        tx.run(
            "INSERT INTO payment (id, organization_id, status, network, asset, payer, nonce, amount_micro_usd, purpose,"
            " payload, requirements, valid_before) VALUES (%(id)s, %(org)s, 'settlement_pending', %(network)s,"
            " %(asset)s, %(payer)s, %(nonce)s, %(amount_micro_usd)s, %(purpose)s, %(payload)s, %(requirements)s,"
            " %(valid_before)s) ON CONFLICT ON CONSTRAINT payment_once DO NOTHING",
            {
                **values,
                "payload": Json(values["payload"]),
                "requirements": Json(values["requirements"]),
                "id": payment_id,
                "org": organization_id,
            },
        )
        > 0
    )


def find_payment_by_nonce(
    tx: Tx, organization_id: int, *, network: str, asset: str, payer: str, nonce: str
) -> dict[str, Any] | None:
    """This organization's payment with an authorization."""
    return tx.row(
        "SELECT " + _COLUMNS + " FROM payment WHERE organization_id = %s AND network = %s AND asset = %s"
        " AND payer = %s AND nonce = %s",
        (organization_id, network, asset, payer, nonce),
    )


def find_payment(tx: Tx, organization_id: int, payment_id: UUID) -> dict[str, Any] | None:
    """A payment."""
    return tx.row(
        "SELECT " + _COLUMNS + " FROM payment WHERE organization_id = %s AND id = %s", (organization_id, payment_id)
    )


def list_payments(
    tx: Tx, organization_id: int, *, status: str | None, before: UUID | None, limit: int
) -> list[dict[str, Any]]:
    """Payments, newest first."""
    return tx.rows(
        "SELECT " + _COLUMNS + " FROM payment WHERE organization_id = %(org)s"
        " AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(before)s::uuid IS NULL OR id < %(before)s)"
        " ORDER BY id DESC LIMIT %(limit)s",
        {"org": organization_id, "status": status, "before": before, "limit": limit},
    )


def list_open_payments(tx: Tx, limit: int) -> list[dict[str, Any]]:
    """Pending payments of everybody, oldest first (system transaction)."""
    return tx.rows(
        "SELECT id, organization_id, amount_micro_usd, payer, transaction, reason, created_at, next_try_at FROM payment"
        " WHERE status = 'settlement_pending' ORDER BY id LIMIT %s",
        (limit,),
    )


def claim_payment(tx: Tx, organization_id: int, payment_id: UUID) -> dict[str, Any] | None:
    """Lock a payment with all that settling it needs."""
    return tx.row(
        "SELECT * FROM payment WHERE organization_id = %s AND id = %s FOR UPDATE", (organization_id, payment_id)
    )


def update_payment(
    tx: Tx, payment_id: UUID, *, status: str, transaction: str, reason: str, next_try_at: datetime | None, sent: bool
) -> None:
    """How a settlement went; a transaction once known is not forgotten. `sent`: money may have moved by it."""
    tx.run(
        "UPDATE payment SET status = %s, transaction = coalesce(nullif(%s, ''), transaction), reason = %s,"
        " tries = tries + %s, next_try_at = %s, updated_at = now() WHERE id = %s",
        (status, transaction, reason, int(sent), next_try_at, payment_id),
    )


def delay_try(tx: Tx, payment_id: UUID, until: datetime) -> None:
    """Nobody else settles it before then."""
    tx.run("UPDATE payment SET next_try_at = %s WHERE id = %s", (until, payment_id))


def claim_due_payments(tx: Tx, limit: int) -> list[dict[str, Any]]:
    """Payments whose settlement is to be asked for again (system transaction)."""
    return tx.rows(
        "SELECT id, organization_id, tries FROM payment WHERE status = 'settlement_pending' AND next_try_at <= now()"
        " ORDER BY next_try_at LIMIT %s FOR UPDATE SKIP LOCKED",
        (limit,),
    )
