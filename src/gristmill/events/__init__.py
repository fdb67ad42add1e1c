"""The outbox: an event commits with the change that caused it."""

from gristmill.events.service import Event, emit, list_events, on

__all__ = ["Event", "emit", "list_events", "on"]
