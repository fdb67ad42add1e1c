"""Nouns of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from gristmill.base.errors import Conflict, Error, FieldError, Invalid

Kind = Literal["top_up", "hold", "settle", "release", "refund", "adjustment"]
Account = Literal["funded", "available", "held", "spent"]


class BalanceTooLow(Error):
    """The free balance does not cover this."""

    code = "balance_too_low"


@dataclass(frozen=True, slots=True)
class Balance:
    """What an organization has, in micro-USD and as decimal dollars."""

    available_micro_usd: int
    """Free to be held for the next row."""
    held_micro_usd: int
    """Set aside for rows that run now."""
    spent_micro_usd: int
    """Settled for rows that matched."""
    funded_micro_usd: int
    """Everything that ever came in; always available + held + spent."""
    available_usd: str
    held_usd: str
    spent_usd: str
    funded_usd: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One move of money between two accounts of an organization."""

    id: int
    kind: Kind
    debit: Account
    """The account that the amount left."""
    credit: Account
    """The account that the amount went to."""
    amount_micro_usd: int
    amount_usd: str
    key: str
    """What the move is for; unique, so that it can't happen twice."""
    batch_id: UUID | None
    row_number: int | None
    note: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RowHold:
    """Money set aside for one attempt of one row."""

    row_number: int
    attempt: int


@dataclass(frozen=True, slots=True)
class RowCharge:
    """How one attempt of one row ends: `charge_micro_usd` of what was held is spent, the rest goes back."""

    row_number: int
    attempt: int
    held_micro_usd: int
    charge_micro_usd: int


class PaymentTaken(Conflict):
    """This payment was taken already."""


class PaymentRequired(Error):
    """This must be paid for; the header PAYMENT-REQUIRED says how."""

    code = "payment_required"


def local_path(text: str) -> str:
    """A path of this site to go back to. Raises `Invalid` for anything that could lead elsewhere."""
    parts = urlsplit(text)
    plain = text.isascii() and text.isprintable() and "\\" not in text
    if not plain or not text.startswith("/") or text.startswith("//") or parts.scheme or parts.netloc:
        message = "must be a path of this site, such as /batch/0198..."
        raise Invalid(f"`return` {message}.", errors=(FieldError("return", message),))
    return text


PaymentStatus = Literal["settlement_pending", "settled", "failed"]


class PaymentRefused(Error):
    """The payment was refused."""

    code = "payment_refused"


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that comes in through x402. The balance is credited when, and only when, it becomes settled."""

    id: UUID
    status: PaymentStatus
    """`settlement_pending`: it was sent, and how it ended is not known yet; it is looked after until it is."""
    network: str
    asset: str
    payer: str
    amount_micro_usd: int
    amount_usd: str
    purpose: str
    """What was being paid for."""
    transaction: str | None
    reason: str
    """Why it failed, or what is known while it is pending."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OpenPayment:
    """A pending payment as the operator of an installation sees it."""

    id: UUID
    organization_id: int
    amount_micro_usd: int
    payer: str
    transaction: str | None
    reason: str
    created_at: datetime
    next_try_at: datetime | None
    """When its settlement is asked for again; None: never, a person must look."""
