"""Nouns and pure rules of events."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from gristmill.base import jsons
from gristmill.base.errors import Conflict, FieldError, Invalid, NotFound

KINDS: dict[str, str] = {
    "agent.batch.started": "A batch left the queue or was resumed.",
    "agent.batch.paused": "A batch stopped before its end; `reason` says why.",
    "agent.batch.completed": "Every row of a batch has ended and its receipt holds.",
    "agent.batch.failed": "A batch can't go on; `message` says why.",
    "agent.batch.cancelled": "A person cancelled a batch.",
    "agent.inventory.added": "A file was added to an agent's inventory.",
    "billing.adjusted": "An administrator corrected the organization's balance.",
    "billing.budget_reached": "A budget stopped a batch.",
    "billing.refunded": "What a row cost was given back, or a part of it.",
    "billing.settlement_pending": "A payment was sent and how it ended is not known yet.",
    "billing.threshold": "Spending came to 80 % of a budget, of a batch or of an agent's day.",
    "billing.topped_up": "Money was added to the organization's balance.",
    "connector.paused": "A connector was paused after failures; `message` says which.",
    "connector.sync.started": "A pull or push of a connector began.",
    "connector.sync.completed": "A pull or push of a connector ended well.",
    "connector.sync.failed": "A pull or push of a connector failed; `message` says why.",
    "connector.sync.held": "A pull would change far more than usual and waits for approval.",
    "dataset.created": "A dataset was made.",
    "dataset.processing": "A dataset takes in rows.",
    "dataset.completed": "A dataset has taken in all its rows and can be searched.",
    "dataset.activated": "A person went to another version of a dataset.",
    "dataset.failed": "A dataset could not take in its rows; `message` says why.",
    "dataset.deleted": "A dataset was deleted.",
    "delivery.dead": "An event could not be delivered to a webhook, whatever was tried.",
    "pending.filed": "Something needs a person; `message` says what.",
    "pending.resolved": "A person has looked at a pending item; `decision` says what was decided.",
    "subscription.disabled": "A webhook was disabled; `message` says why.",
}
"""Every kind of event with its meaning, for the docs."""

TEST_KIND = "webhook.test"
"""Kind of what a test sends. It is no event: nothing happened."""

Topic = Literal["on_action", "on_escalation", "on_pause", "on_cost_threshold"]
TOPICS: dict[Topic, tuple[str, frozenset[str]]] = {
    "on_action": ("Something needs a person.", frozenset({"pending.filed"})),
    "on_escalation": (
        "Something failed and will not mend itself.",
        frozenset(
            {
                "agent.batch.failed",
                "connector.sync.failed",
                "dataset.failed",
                "delivery.dead",
                "subscription.disabled",
            }
        ),
    ),
    "on_pause": ("Work was paused.", frozenset({"agent.batch.paused", "connector.paused"})),
    "on_cost_threshold": (
        "Money or a budget runs out.",
        frozenset({"billing.budget_reached", "billing.settlement_pending", "billing.threshold"}),
    ),
}
"""What a channel can subscribe to, with its meaning and the kinds of events in it."""
PAUSED_FOR_MONEY = "balance"
"""A batch that is paused for this reason is told by `on_cost_threshold` too; of a budget `billing` tells by itself."""

WAITS_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
"""The ladder: the pause before each attempt. After the last one the delivery is dead."""
JITTER = 0.1
"""Pauses are longer by up to this share, so that receivers that failed together are not called together."""
RETRY_AFTER_S_MAX = 86_400.0
DISABLE_AFTER = timedelta(days=5)
DISABLE_FAILURES_MIN = 10
GONE = 410
"""The status by which a receiver says that it wants no more."""
EVENT_TYPES_MAX = 50
URL_CHARS_MAX = 2048
ANSWER_BYTES_MAX = 4096
"""Kept of an answer."""

Status = Literal["active", "paused", "disabled"]
Form = Literal["webhook", "channel", "callback"]
DeliveryStatus = Literal["pending", "delivered", "dead"]


class WebhookNotFound(NotFound):
    """There is no such webhook."""


class ChannelNotFound(NotFound):
    """There is no such channel of this agent."""


class DeliveryNotFound(NotFound):
    """There is no such delivery of this webhook."""


class ItemNotFound(NotFound):
    """There is no such pending item."""


class ItemResolved(Conflict):
    """Somebody has resolved this item already."""


class NoSuchAgent(NotFound):
    """There is no such agent."""


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that happened in an organization."""

    id: UUID
    kind: str
    subject: str
    """The object it is about, such as `batch:0198...`."""
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PendingItem:
    """Something that a person must look at."""

    id: UUID
    agent_id: int | None
    """Null for one of the whole organization."""
    kind: str
    """Such as `DATA_SOURCE_PULL_FAILED`."""
    message: str
    facts: dict[str, Any]
    times: int
    """How often it was filed while it was open."""
    created_at: datetime
    seen_at: datetime
    """When it was filed last."""
    resolved_at: datetime | None
    resolution: dict[str, Any] | None
    """`decision` and `note` of whoever resolved it."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told of events: a subscription, a channel, or the callback of batches."""

    id: UUID
    organization_id: int
    agent_id: int | None
    form: Form
    kind: str
    """How it is told: a kind of channel, `WEBHOOK` for a subscription."""
    name: str
    config: dict[str, Any]
    secret_id: UUID | None
    public_key: str | None
    """Of a webhook that is signed with a private key."""
    topics: list[str]
    ordered: bool
    status: Status
    reason: str | None
    failures: int
    failing_since: datetime | None
    last_delivered_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook."""

    event_id: UUID
    """Sent as `webhook-id`, the same for every attempt and every replay."""
    kind: str
    subject: str
    status: DeliveryStatus
    attempts: int
    """Attempts in all, those before a replay included."""
    next_at: datetime | None
    """When the next attempt is due; null when it has ended."""
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a delivery."""

    number: int
    sent_at: datetime
    duration_ms: int
    request: dict[str, Any]
    """Method, URL, headers and size of what was sent; the body is the event."""
    status: int | None
    """Of the answer; null when there was none."""
    answer: str | None
    """The beginning of the answer, without secrets."""
    error: str | None
    """Why the attempt failed."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to a receiver."""

    id: str
    kind: str
    created_at: datetime
    body: bytes
    """The event as JSON, the same bytes for every attempt."""
    title: str
    """For people."""
    text: str
    """The same in more words."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt."""

    ok: bool
    request: dict[str, Any] = field(default_factory=dict[str, Any])
    status: int | None = None
    answer: str | None = None
    error: str | None = None
    retry_after_s: float | None = None


def topics_of(kind: str, data: Mapping[str, Any]) -> list[str]:
    """Everything that a receiver of this event may have subscribed to: the kind, its beginnings with `*`, topics."""
    parts = kind.split(".")
    patterns = [".".join(parts[:count]) + ".*" for count in range(1, len(parts))]
    topics = [topic for topic, (_, kinds) in TOPICS.items() if kind in kinds]
    if kind == "agent.batch.paused" and data.get("reason") == PAUSED_FOR_MONEY:
        topics.append("on_cost_threshold")
    return [kind, "*", *patterns, *topics]


def check_event_types(patterns: list[str]) -> list[str]:
    """The patterns without repetitions. Raises `Invalid` for one that no kind of event fits."""
    known = {topic for kind in KINDS for topic in topics_of(kind, {}) if topic not in TOPICS}
    wrong = tuple(
        FieldError(f"event_types.{number}", f"`{pattern[:80]}` fits no kind of event; there are: {', '.join(KINDS)}")
        for number, pattern in enumerate(patterns)
        if pattern not in known
    )
    if wrong:
        raise Invalid("; ".join(item.message for item in wrong[:3]), errors=wrong)
    return list(dict.fromkeys(patterns))


def wait_s(tries: int, retry_after_s: float | None) -> float | None:
    """Seconds until the next attempt after `tries` failed ones; None when the delivery is dead.

    A receiver that names a later time gets it, up to a day.
    """
    if tries >= len(WAITS_S):
        return None
    pause = WAITS_S[tries] * (1 + JITTER * random.random())  # noqa: S311 - spreads load, guards nothing
    return max(pause, min(retry_after_s or 0.0, RETRY_AFTER_S_MAX))


def envelope(event: Event) -> bytes:
    """The body of a delivery: `type`, `timestamp` and `data` as Standard Webhooks advises, and what it is about."""
    return jsons.dumps(
        {
            "id": str(event.id),
            "type": event.kind,
            "timestamp": event.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "subject": event.subject,
            "data": event.data,
        }
    )


def message_of(event: Event) -> Message:
    """An event as it is sent, for programs and for people."""
    meaning = KINDS.get(event.kind, "A test: nothing happened.").split(";")[0].rstrip(".")
    name = event.data.get("name")
    title = f"{meaning}: {name}" if isinstance(name, str) and name else meaning
    lines = [str(event.data["message"])] if event.data.get("message") else []
    lines += [
        f"{label}: {value}"
        for label, value in event.data.items()
        if label not in {"message", "name"} and isinstance(value, str | int | float) and value != ""
    ]
    text = "\n".join([*lines, f"about: {event.subject}", f"event: {event.kind} {event.id}"])
    return Message(str(event.id), event.kind, event.created_at, envelope(event), title[:200], text[:4000])
