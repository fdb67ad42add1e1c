"""Money: hold before the work, settle or release after it, never below zero, nothing twice.

Four accounts per organization - funded, available, held, spent - and append-only moves between them.
Every move has a key; the same key never moves money a second time. Money comes in by an administrator's credit, or
through x402, off unless a wallet is configured.
"""

from gristmill.ledger.model import (
    Balance,
    BalanceTooLow,
    Entry,
    Payment,
    PaymentRefused,
    RowCharge,
    RowHold,
    local_path,
)
from gristmill.ledger.payments import PAYMENT_HEADER, enabled, pay, response_headers, too_low, topup_url, warm_up
from gristmill.ledger.service import balance, entries, hold_rows, lock_available, on_money, settle_rows, top_up

__all__ = [
    "PAYMENT_HEADER",
    "Balance",
    "BalanceTooLow",
    "Entry",
    "Payment",
    "PaymentRefused",
    "RowCharge",
    "RowHold",
    "balance",
    "enabled",
    "entries",
    "hold_rows",
    "local_path",
    "lock_available",
    "on_money",
    "pay",
    "response_headers",
    "settle_rows",
    "too_low",
    "top_up",
    "topup_url",
    "warm_up",
]
