"""Money: hold before the work, settle or release after it, never below zero, nothing twice.

Four accounts per organization - funded, available, held, spent - and append-only moves between them.
Every move has a key; the same key never moves money a second time.
"""

from gristmill.ledger.model import Balance, BalanceTooLow, Entry, RowCharge, RowHold
from gristmill.ledger.service import balance, entries, hold_rows, lock_available, settle_rows, top_up

__all__ = [
    "Balance",
    "BalanceTooLow",
    "Entry",
    "RowCharge",
    "RowHold",
    "balance",
    "entries",
    "hold_rows",
    "lock_available",
    "settle_rows",
    "top_up",
]
