"""Nouns of events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

KINDS: dict[str, str] = {
    "agent.batch.started": "A batch left the queue or was resumed.",
    "agent.batch.paused": "A batch stopped before its end; `reason` says why.",
    "agent.batch.completed": "Every row of a batch has ended and its receipt holds.",
    "agent.batch.failed": "A batch can't go on; `message` says why.",
    "agent.batch.cancelled": "A person cancelled a batch.",
    "balance.topped_up": "Money was added to the organization's balance.",
}
"""Every kind of event with its meaning, for the docs."""


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that happened in an organization."""

    id: UUID
    kind: str
    subject: str
    """The object it is about, such as `batch:0198...`."""
    data: dict[str, Any]
    created_at: datetime
