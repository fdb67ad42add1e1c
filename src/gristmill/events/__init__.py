"""The outbox: an event commits with the change that caused it, and is delivered to whoever asked for it.

`emit` records one, `emit_all` several, `on` lets a higher room act in the same transaction. Webhooks, channels and
callbacks are *receivers*: each worker runs the dispatcher, which sends what they are owed. `file_pending` has a person
look at something.
"""

from gristmill.events.agent_channels import forget_agent
from gristmill.events.callbacks import call_back
from gristmill.events.dispatcher import dispatch
from gristmill.events.model import KINDS, Event, PendingItem
from gristmill.events.outcomes import on_called_back
from gristmill.events.service import (
    emit,
    emit_all,
    file_pending,
    list_events,
    on,
    resolve_pending,
    withdraw_pending,
)

__all__ = [
    "KINDS",
    "Event",
    "PendingItem",
    "call_back",
    "dispatch",
    "emit",
    "emit_all",
    "file_pending",
    "forget_agent",
    "list_events",
    "on",
    "on_called_back",
    "resolve_pending",
    "withdraw_pending",
]
