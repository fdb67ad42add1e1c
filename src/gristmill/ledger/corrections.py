"""Verbs that put money right afterwards: a refund of what a row cost, an adjustment of the balance.

Both are moves as all others are: appended, never in place of one, each once by its key.
"""

from __future__ import annotations

from uuid import UUID

from gristmill.base.db import Tx
from gristmill.base.errors import Conflict, FieldError, Invalid, NotFound
from gristmill.base.money import usd
from gristmill.ledger import service, store
from gristmill.ledger.model import Account, Balance, BalanceTooLow, Kind


def refund(
    tx: Tx, organization_id: int, batch_id: UUID, row_number: int, amount_micro_usd: int | None, *, key: str, note: str
) -> Balance:
    """Give back what a row cost, or a part of it: all that is left unless an amount is given.

    Raises `NotFound` for a row that was charged nothing, `Conflict` for more than is left of its charge or for a key
    that was used for another refund, `Invalid` for nothing.
    """
    store.claim_available(tx, organization_id)
    name = f"refund/{key}"
    before = store.find_entry(tx, organization_id, name)
    if before is not None:
        same = before["batch_id"] == batch_id and before["row_number"] == row_number
        if not same or amount_micro_usd not in {None, before["amount_micro_usd"]}:
            raise Conflict("That key was used for another refund.")
        return service.balance(tx, organization_id)
    charged, returned = store.sum_charges(tx, organization_id, batch_id, row_number)
    if charged == 0:
        raise NotFound(f"Row {row_number} of batch {batch_id} was charged nothing.")
    left = charged - returned
    amount = left if amount_micro_usd is None else amount_micro_usd
    if amount > left or left == 0:
        raise Conflict(f"{usd(left)} USD are left of what the row cost.", left_usd=usd(left), left_micro_usd=left)
    if amount <= 0:
        raise _nothing("A refund must give something back.")
    _move(tx, organization_id, "refund", amount, key=name, note=note, row=(batch_id, row_number))
    data = {
        "batch_id": str(batch_id),
        "row_number": row_number,
        "amount_usd": usd(amount),
        "amount_micro_usd": amount,
        "key": key,
        "note": note,
    }
    service.tell(tx, organization_id, "billing.refunded", subject=f"batch:{batch_id}", data=data)
    return service.balance(tx, organization_id)


def adjust(tx: Tx, organization_id: int, amount_micro_usd: int, *, key: str, note: str) -> Balance:
    """Correct the free balance by an amount, which is negative where too much was credited.

    Raises `BalanceTooLow` for more than is free, `Conflict` for a key that was used for another amount, `Invalid` for
    nothing.
    """
    available = store.claim_available(tx, organization_id)
    if amount_micro_usd == 0:
        raise _nothing("An adjustment must change something.")
    name = f"adjustment/{key}"
    before = store.find_entry(tx, organization_id, name)
    if before is not None:
        signed = before["amount_micro_usd"] if before["debit"] == "funded" else -before["amount_micro_usd"]
        if signed != amount_micro_usd:
            raise Conflict("That key was used for another adjustment.")
        return service.balance(tx, organization_id)
    if available + amount_micro_usd < 0:
        missing = -available - amount_micro_usd
        raise BalanceTooLow(
            f"{usd(available)} USD are free; {usd(-amount_micro_usd)} USD can't be taken away.",
            available_usd=usd(available),
            available_micro_usd=available,
            missing_usd=usd(missing),
            missing_micro_usd=missing,
        )
    _move(tx, organization_id, "adjustment", amount_micro_usd, key=name, note=note)
    data = {"amount_usd": usd(amount_micro_usd), "amount_micro_usd": amount_micro_usd, "key": key, "note": note}
    service.tell(tx, organization_id, "billing.adjusted", subject=f"organization:{organization_id}", data=data)
    return service.balance(tx, organization_id)


def _move(
    tx: Tx, organization_id: int, kind: Kind, amount: int, *, key: str, note: str, row: tuple[UUID, int] | None = None
) -> None:
    """Put an amount into the free balance; a negative one takes it out."""
    other: Account = "spent" if kind == "refund" else "funded"
    debit, credit = (other, "available") if amount > 0 else ("available", other)
    batch_id, row_number = row or (None, None)
    store.insert_entry(
        tx,
        organization_id,
        kind=kind,
        debit=debit,
        credit=credit,
        amount=abs(amount),
        key=key,
        note=note,
        batch_id=batch_id,
        row_number=row_number,
    )
    if kind == "refund":
        store.update_account(tx, organization_id, available=amount, spent=-amount)
    else:
        store.update_account(tx, organization_id, available=amount, funded=amount)


def _nothing(message: str) -> Invalid:
    return Invalid(message, errors=(FieldError("amount_usd", "must not be 0"),))
