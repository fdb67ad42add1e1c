"""Calling a batch's `callback_url` at its end: an event owed to that URL as to a webhook; the batch keeps its fate."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from gristmill import events
from gristmill.base.db import Tx
from gristmill.batches import store

SUBJECT = "batch:"
CALLBACK_KINDS = frozenset({"agent.batch.completed", "agent.batch.failed", "agent.batch.cancelled"})
"""Events that `callback_url` is told of."""


def owe_callback(tx: Tx, batch: dict[str, Any], event_id: UUID, kind: str) -> None:
    """Have the batch's URL called, if it has one, in the transaction that ended the batch."""
    if batch["callback_url"] and kind in CALLBACK_KINDS:
        events.call_back(tx, batch["organization_id"], batch["callback_url"], event_id)


def keep_outcome(tx: Tx, organization_id: int, subject: str, outcome: dict[str, Any]) -> None:
    """What came of an attempt, for those who look at the batch."""
    if subject.startswith(SUBJECT):
        store.update_callback(tx, organization_id, UUID(subject.removeprefix(SUBJECT)), outcome)


events.on_called_back(keep_outcome)
