"""Payments through x402: verified, noted, settled, and only then credited; never twice, whatever is lost on the way.

Read `pay` aloud: verify; note the payment as pending under its nonce, in a transaction of its own; settle; credit. From
the moment it is noted, a payment ends without whoever sent it: `look_after` asks for its settlement again until it is
known how it ended. Asking again is safe, since a nonce is good for one transfer.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from types import ModuleType
from typing import Any
from urllib.parse import quote
from uuid import UUID

from gristmill.base.config import Settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Conflict, FieldError, Invalid, Malformed, NotFound
from gristmill.base.ids import parse_uuid, uuid7
from gristmill.base.log import get_log
from gristmill.base.money import parse_usd, usd
from gristmill.base.paging import CursorPage, cursor_page, decode_cursor
from gristmill.engine import JobContext, enqueue, every, register
from gristmill.ledger import payment_store, service
from gristmill.ledger.facilitator import Settlement, settle, verify
from gristmill.ledger.model import (
    BalanceTooLow,
    OpenPayment,
    Payment,
    PaymentRefused,
    PaymentRequired,
    PaymentStatus,
    PaymentTaken,
)

log = get_log("ledger")

PAYMENT_HEADER = "PAYMENT-SIGNATURE"
SETTLE_JOB = "ledger.settle"
LOOK_EVERY_S = 5.0
FIRST_RETRY_S = 5.0
RETRY_S_MAX = 600.0
IN_HAND_S = 90.0
"""Longer than a settlement may take: until then nobody else asks for the same one."""
ASK_AFTER_EXPIRY = timedelta(hours=1)
RECURSION_MAX = sys.getrecursionlimit()
"""As the process had it. py_ecc, which the SDK brings, sets 100,000, and then deep JSON overruns the stack."""
RESOLVED = "Resolved by the operator."
DUE_MAX = 100
TOPUP_PATH = "/connect?action=topup"


def enabled(settings: Settings) -> bool:
    """Whether payments are taken at all."""
    return bool(settings.x402_pay_to)


def warm_up(settings: Settings) -> None:
    """Load the SDK in the background, so that the first caller who must pay does not wait for it."""
    if enabled(settings):
        threading.Thread(target=_terms, name="x402-warm-up", daemon=True).start()


def too_low(
    settings: Settings, *, available: int, needed: int, what: str, url: str | None, back: str = ""
) -> BalanceTooLow:
    """The refusal of a call that the balance does not cover: what is missing, where to top up, how to pay at once.

    `url` is the call's own address, or None for a call that takes no payment.
    """
    missing = needed - available
    error = BalanceTooLow(
        f"{what} needs a free balance of {usd(needed)} USD; there are {usd(available)} USD.",
        available_usd=usd(available),
        available_micro_usd=available,
        needed_usd=usd(needed),
        needed_micro_usd=needed,
        missing_usd=usd(missing),
        missing_micro_usd=missing,
        topup_url=topup_url(back),
    )
    if url is not None and enabled(settings):
        amount = max(missing, parse_usd(settings.x402_min_usd, "GRISTMILL_X402_MIN_USD"))
        headers = _terms().payment_required_headers(settings, amount, url=url, description=what, error=error.message)
        error.headers = headers
    return error


def topup_url(back: str) -> str:
    """Where money is added, and where it leads back to."""
    return f"{TOPUP_PATH}&return={quote(back, safe='')}" if back else TOPUP_PATH


def required(settings: Settings, amount: int, *, what: str, url: str) -> PaymentRequired:
    """The refusal of a call that is nothing but a payment, with how to make it."""
    if not enabled(settings):
        raise Conflict("Payments are not taken here; an administrator can credit the balance.")
    least = parse_usd(settings.x402_min_usd, "GRISTMILL_X402_MIN_USD")
    if amount < least:
        raise Invalid(
            f"One payment adds at least {usd(least)} USD.",
            errors=(FieldError("amount_usd", f"must be at least {usd(least)}"),),
        )
    error = PaymentRequired(amount_usd=usd(amount), amount_micro_usd=amount)
    error.headers = _terms().payment_required_headers(settings, amount, url=url, description=what, error=error.message)
    return error


async def pay(database: Database, settings: Settings, organization_id: int, header: str, *, purpose: str) -> Payment:
    """Take the payment of a call: afterwards it is settled and credited, or `settlement_pending`.

    The same payment again moves nothing: it is answered while it is pending, and raises `PaymentTaken` once it is
    settled. Raises `PaymentRefused` for one that is not good, `Malformed` or `Invalid` for one that is none of ours,
    `FacilitatorUnreachable` when nothing could be tried.
    """
    if not enabled(settings):
        raise Conflict("Payments are not taken here; top up the balance instead.")
    terms = await asyncio.to_thread(_terms)
    offer = terms.offer_of(settings, header)
    before = await asyncio.to_thread(_in_tx, database, organization_id, _find, offer)
    if before is not None:
        return _again(before)
    least = parse_usd(settings.x402_min_usd, "GRISTMILL_X402_MIN_USD")
    if offer.amount_micro_usd < least:
        raise PaymentRefused(f"One payment adds at least {usd(least)} USD.", reason="amount_too_low")
    verdict = await verify(settings, offer.payload, offer.requirements)
    if not verdict.valid:
        raise PaymentRefused(f"The payment was refused: {verdict.reason or 'it is not valid'}.", reason=verdict.reason)
    payment_id = await asyncio.to_thread(_in_tx, database, organization_id, _note, offer, purpose)
    if payment_id is None:  # sent twice at the same time, or by two organizations
        found = await asyncio.to_thread(_in_tx, database, organization_id, _find, offer)
        if found is None:
            raise PaymentRefused("The payment was refused: its nonce was used before.", reason="nonce_already_used")
        return _again(found)
    outcome = await settle(settings, offer.payload, offer.requirements)
    payment = await asyncio.to_thread(_in_tx, database, organization_id, conclude, payment_id, outcome)
    return payment if payment.status == "settled" else _again(payment)


def _again(payment: Payment) -> Payment:
    """A payment that is known already: pending ones are answered, ended ones refused."""
    if payment.status == "settled":
        message = "This payment was taken already and is not taken twice; the balance was credited."
        raise PaymentTaken(message, payment_id=str(payment.id))
    if payment.status == "failed":
        raise PaymentRefused(f"The payment was refused: {payment.reason}.", reason=payment.reason)
    return payment


def response_headers(payment: Payment) -> dict[str, str]:
    """What tells an x402 client how its payment went."""
    return _terms().response_header(
        success=payment.status == "settled",
        payer=payment.payer,
        transaction=payment.transaction or "",
        network=payment.network,
        reason="" if payment.status == "settled" else payment.status,
    )


def conclude(tx: Tx, organization_id: int, payment_id: UUID, outcome: Settlement) -> Payment:
    """Write down how a settlement ended; the credit comes with it or not at all. Does nothing to one that has ended.

    A refusal is the end only while no settlement was sent before whose outcome is unknown: that one may have moved the
    money, and "expired" or "nonce used" would say nothing against it. Such a payment stays pending; once it has long
    expired it waits for `resolve`.
    """
    row = _claim(tx, organization_id, payment_id)
    if row["status"] != "settlement_pending":
        return get(tx, organization_id, payment_id)
    if outcome.outcome == "settled":
        return _settled(tx, organization_id, row, outcome.transaction, outcome.reason)
    ended = outcome.outcome == "refused" and row["tries"] == 0
    wait_s = min(FIRST_RETRY_S * 2.0 ** min(row["tries"], 10), RETRY_S_MAX)
    over = ended or (row["tries"] > 0 and tx.now > row["valid_before"] + ASK_AFTER_EXPIRY)
    payment_store.update_payment(
        tx,
        payment_id,
        status="failed" if ended else "settlement_pending",
        transaction=outcome.transaction,
        reason=outcome.reason,
        next_try_at=None if over else tx.now + timedelta(seconds=wait_s),
        sent=outcome.outcome != "unsent",
    )
    payment = get(tx, organization_id, payment_id)
    if not ended and row["tries"] == 0 and outcome.outcome != "unsent":
        message = f"A payment of {payment.amount_usd} USD was sent; how it ended is not known yet."
        data = {
            "payment_id": str(payment.id),
            "amount_usd": payment.amount_usd,
            "amount_micro_usd": payment.amount_micro_usd,
            "message": message,
        }
        service.tell(tx, organization_id, "billing.settlement_pending", subject=f"payment:{payment.id}", data=data)
    return payment


def resolve(tx: Tx, organization_id: int, payment_id: UUID, *, settled: bool, transaction: str) -> Payment:
    """End a pending payment by what a person saw on the chain. Raises `Conflict` for one that has ended."""
    row = _claim(tx, organization_id, payment_id)
    if row["status"] != "settlement_pending":
        raise Conflict(f"The payment is {row['status']} already.")
    if settled:
        return _settled(tx, organization_id, row, transaction, RESOLVED)
    payment_store.update_payment(
        tx, payment_id, status="failed", transaction=transaction, reason=RESOLVED, next_try_at=None, sent=False
    )
    return get(tx, organization_id, payment_id)


def open_payments(tx: Tx, limit: int) -> list[OpenPayment]:
    """Pending payments of all organizations, oldest first (system transaction)."""
    return [OpenPayment(**row) for row in payment_store.list_open_payments(tx, limit)]


def _claim(tx: Tx, organization_id: int, payment_id: UUID) -> dict[str, Any]:
    row = payment_store.claim_payment(tx, organization_id, payment_id)
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return row


def _settled(tx: Tx, organization_id: int, row: Mapping[str, Any], transaction: str, reason: str) -> Payment:
    payment_store.update_payment(
        tx, row["id"], status="settled", transaction=transaction, reason=reason, next_try_at=None, sent=True
    )
    service.top_up(tx, organization_id, row["amount_micro_usd"], key=f"x402/{row['id']}", note=transaction)
    return get(tx, organization_id, row["id"])


def get(tx: Tx, organization_id: int, payment_id: UUID) -> Payment:
    """A payment. Raises `NotFound`."""
    row = payment_store.find_payment(tx, organization_id, payment_id)
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return _payment(row)


def list_payments(
    tx: Tx, organization_id: int, *, status: PaymentStatus | None, cursor: str | None, limit: int
) -> CursorPage[Payment]:
    """Payments, newest first."""
    before = None
    if cursor is not None:
        decoded = decode_cursor(cursor)
        if not isinstance(decoded, str):
            raise Malformed("The cursor is not one of ours.")
        before = parse_uuid(decoded, "cursor")
    rows = payment_store.list_payments(tx, organization_id, status=status, before=before, limit=limit + 1)
    return cursor_page([_payment(row) for row in rows], limit, lambda payment: str(payment.id))


@every(LOOK_EVERY_S)
def look_after(tx: Tx) -> None:
    """Have pending payments settled again, each by a job of its own (system transaction)."""
    for row in payment_store.claim_due_payments(tx, DUE_MAX):
        payment_store.delay_try(tx, row["id"], tx.now + timedelta(seconds=IN_HAND_S))
        payload = {"organization_id": row["organization_id"], "payment_id": str(row["id"])}
        stamp = int(tx.now.timestamp())
        enqueue(tx, SETTLE_JOB, payload, key=f"settle-{row['id']}-{stamp}", partition=f"settle-{row['id']}")


@register(SETTLE_JOB)
async def settle_again(context: JobContext, payload: Mapping[str, Any]) -> None:
    """Ask once more for the settlement of a pending payment."""
    organization_id, payment_id = payload["organization_id"], UUID(payload["payment_id"])
    row = await asyncio.to_thread(_in_tx, context.database, organization_id, payment_store.claim_payment, payment_id)
    if row is None or row["status"] != "settlement_pending":
        return
    outcome = await settle(context.settings, row["payload"], row["requirements"])
    payment = await asyncio.to_thread(_in_tx, context.database, organization_id, conclude, payment_id, outcome)
    log.info("a payment was asked for again", payment=str(payment_id), status=payment.status, reason=payment.reason)


def _find(tx: Tx, organization_id: int, offer: Any) -> Payment | None:
    row = payment_store.find_payment_by_nonce(
        tx, organization_id, network=offer.network, asset=offer.asset, payer=offer.payer, nonce=offer.nonce
    )
    return _payment(row) if row else None


def _note(tx: Tx, organization_id: int, offer: Any, purpose: str) -> UUID | None:
    payment_id = uuid7()
    if not payment_store.insert_payment(tx, organization_id, payment_id, {**asdict(offer), "purpose": purpose}):
        return None
    payment_store.delay_try(tx, payment_id, tx.now + timedelta(seconds=IN_HAND_S))
    return payment_id


def _in_tx(database: Database, organization_id: int, function: Any, *arguments: Any) -> Any:
    with database.tx(organization_id) as tx:
        return function(tx, organization_id, *arguments)


def _payment(row: Mapping[str, Any]) -> Payment:
    return Payment(**row, amount_usd=usd(row["amount_micro_usd"]))


def _terms() -> ModuleType:
    """The SDK's side of it. Raises `Conflict` when the extra is not installed."""
    try:
        from gristmill.ledger import terms  # noqa: PLC0415 - the SDK takes seconds to import, and is an extra
    except ModuleNotFoundError as error:
        raise Conflict("x402 payments need the extra: pip install 'gristmill[x402]'.") from error
    sys.setrecursionlimit(RECURSION_MAX)
    return terms
