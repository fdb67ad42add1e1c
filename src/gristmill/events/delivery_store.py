"""SQL of deliveries: what receivers are owed, who sends it, what came of it.

The dispatcher's transactions serve all tenants. Whatever locks several receivers does so in order of their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.events.model import Attempt, Delivery, DeliveryStatus, Event, Form

WAKES_MAX = 5000
WAITING: LiteralString = (
    "(SELECT id FROM receiver_wake ORDER BY id LIMIT 1) IS NOT NULL"  # by its index: the table is full of dead lines
    " OR EXISTS (SELECT FROM receiver WHERE due_at <= now() AND worker_id IS NULL AND status = 'active')"
)
"""While there may be something to send."""

_DELIVERY: LiteralString = (
    "d.event_id, e.kind, e.subject, d.status, d.attempts,"
    " CASE WHEN d.status = 'pending' THEN d.next_at END AS next_at, d.created_at, d.ended_at"
)


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery that is due."""

    event: Event
    tries: int
    attempts: int


@dataclass(slots=True)
class Lane:
    """A receiver in the hands of one worker, with the next deliveries in order."""

    receiver_id: UUID
    organization_id: int
    agent_id: int | None
    form: Form
    kind: str
    config: dict[str, Any]
    secret_id: UUID | None
    secret_version: int | None
    ordered: bool
    failing: bool
    """Whether the last attempt failed."""
    owed: list[Owed]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt as it is written."""

    event_id: UUID
    sent_at: datetime
    duration_ms: int
    request: dict[str, Any]
    status: int | None
    answer: str | None
    error: str | None
    ok: bool
    state: DeliveryStatus
    wait_s: float
    """Until the next attempt."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """What became of a receiver after outcomes were written."""

    status: str
    failures: int
    failing_since: datetime | None


def wake_receivers(tx: Tx) -> int:
    """Let receivers that are owed something new be due; answers how many lines said so.

    One whose first delivery waits for its next attempt stays as it is: in order, the new one waits behind it.
    """
    rows = tx.tuples(
        "WITH taken AS MATERIALIZED (SELECT id FROM receiver_wake ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)"
        " DELETE FROM receiver_wake WHERE id IN (SELECT id FROM taken) RETURNING receiver_id",
        (WAKES_MAX,),
    )
    if rows:
        woken = list({row[0] for row in rows})
        tx.run("SELECT FROM receiver WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (woken,))
        tx.run(
            "UPDATE receiver SET due_at = now()"
            " WHERE id = ANY(%s) AND (due_at IS NULL OR (NOT ordered AND due_at > now()))",
            (woken,),
        )
    return len(rows)


def claim_lanes(tx: Tx, worker_id: UUID, *, limit: int, owed_max: int, failing: bool | None = None) -> list[Lane]:
    """Take receivers that are due and that nobody sends to, with their next deliveries.

    `failing`: only those whose last attempt failed, or only those whose did not.
    """
    rows = tx.rows(
        "WITH due AS MATERIALIZED (SELECT id FROM receiver WHERE due_at <= now() AND worker_id IS NULL"
        " AND status = 'active' AND (%(failing)s::boolean IS NULL OR (failures > 0) = %(failing)s)"
        " ORDER BY due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED)"
        " UPDATE receiver r SET worker_id = %(worker)s, due_at = NULL WHERE id IN (SELECT id FROM due)"
        " RETURNING id AS receiver_id, organization_id, agent_id, form, kind, config, secret_id, ordered,"
        " failures > 0 AS failing, (SELECT version FROM secret s WHERE s.id = r.secret_id) AS secret_version",
        {"worker": worker_id, "limit": limit, "failing": failing},
    )
    lanes = {row["receiver_id"]: Lane(**row, owed=[]) for row in rows}
    if lanes:
        owed = tx.rows(
            "SELECT r.id AS receiver_id, f.* FROM receiver r CROSS JOIN LATERAL ("
            "(SELECT d.place, d.tries, d.attempts, d.next_at, e.id, e.kind, e.subject, e.data, e.created_at"
            " FROM delivery d JOIN event e ON e.id = d.event_id WHERE r.ordered AND d.receiver_id = r.id"
            " AND d.status = 'pending' ORDER BY d.place LIMIT %(max)s)"
            " UNION ALL "
            "(SELECT d.place, d.tries, d.attempts, d.next_at, e.id, e.kind, e.subject, e.data, e.created_at"
            " FROM delivery d JOIN event e ON e.id = d.event_id WHERE NOT r.ordered AND d.receiver_id = r.id"
            " AND d.status = 'pending' AND d.next_at <= now() ORDER BY d.next_at LIMIT %(max)s)) f"
            " WHERE r.id = ANY(%(ids)s) ORDER BY r.id, f.place",
            {"ids": list(lanes), "max": owed_max},
        )
        waiting: set[UUID] = set()
        for row in owed:
            lane = lanes[row["receiver_id"]]
            if lane.ordered and (lane.receiver_id in waiting or row["next_at"] > tx.now):
                waiting.add(lane.receiver_id)  # and so does everything behind it
                continue
            event = Event(row["id"], row["kind"], row["subject"], row["data"], row["created_at"])
            lane.owed.append(Owed(event, row["tries"], row["attempts"]))
    return list(lanes.values())


def lock_lanes(tx: Tx, worker_id: UUID, receiver_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the receivers that are still in this worker's hands, locked."""
    rows = tx.tuples(
        "SELECT id FROM receiver WHERE id = ANY(%s) AND worker_id = %s ORDER BY id FOR NO KEY UPDATE",
        (list(receiver_ids), worker_id),
    )
    return {row[0] for row in rows}


def save_outcomes(tx: Tx, outcomes: Sequence[tuple[UUID, Outcome]]) -> None:
    """Write attempts and what they mean for their deliveries. The caller holds the receivers."""
    facts = {
        "receivers": [receiver_id for receiver_id, _ in outcomes],
        "events": [item.event_id for _, item in outcomes],
        "sent": [item.sent_at for _, item in outcomes],
        "durations": [item.duration_ms for _, item in outcomes],
        "requests": [Json(item.request) for _, item in outcomes],
        "statuses": [item.status for _, item in outcomes],
        "answers": [item.answer for _, item in outcomes],
        "errors": [item.error for _, item in outcomes],
        "states": [item.state for _, item in outcomes],
        "failed": [not item.ok for _, item in outcomes],
        "waits": [item.wait_s for _, item in outcomes],
    }
    tx.run(
        "INSERT INTO delivery_attempt (receiver_id, event_id, number, organization_id, sent_at, duration_ms, request,"
        " status, answer, error) SELECT d.receiver_id, d.event_id, d.attempts + 1, d.organization_id, o.sent,"
        " o.duration, o.request, o.status, o.answer, o.error FROM unnest(%(receivers)s::uuid[], %(events)s::uuid[],"
        " %(sent)s::timestamptz[], %(durations)s::int[], %(requests)s::json[], %(statuses)s::int[],"
        " %(answers)s::text[], %(errors)s::text[]) AS o (receiver_id, event_id, sent, duration, request, status,"
        " answer, error) JOIN delivery d USING (receiver_id, event_id)",
        facts,
    )
    tx.run(
        "UPDATE delivery d SET status = o.state, attempts = d.attempts + 1, tries = d.tries + o.failed::int,"
        " next_at = now() + make_interval(secs => o.wait),"
        " ended_at = CASE WHEN o.state = 'pending' THEN NULL ELSE now() END"
        " FROM unnest(%(receivers)s::uuid[], %(events)s::uuid[], %(states)s::text[], %(failed)s::boolean[],"
        " %(waits)s::float8[]) AS o (receiver_id, event_id, state, failed, wait)"
        " WHERE d.receiver_id = o.receiver_id AND d.event_id = o.event_id",
        facts,
    )


def save_lane(tx: Tx, receiver_id: UUID, *, failed: int, succeeded: bool, error: str | None) -> LaneState:
    """What outcomes mean for a receiver: `failed` attempts since the last success among them."""
    row = tx.one(
        "UPDATE receiver SET failures = CASE WHEN %(ok)s THEN 0 ELSE failures END + %(failed)s,"
        " failing_since = CASE WHEN %(failed)s = 0 AND %(ok)s THEN NULL WHEN %(failed)s = 0 THEN failing_since"
        " WHEN %(ok)s THEN now() ELSE coalesce(failing_since, now()) END,"
        " last_delivered_at = CASE WHEN %(ok)s THEN now() ELSE last_delivered_at END,"
        " last_error = coalesce(%(error)s, last_error)"
        " WHERE id = %(id)s RETURNING status, failures, failing_since",
        {"id": receiver_id, "failed": failed, "ok": succeeded, "error": error},
    )
    return LaneState(**row)


def release_lanes(tx: Tx, worker_id: UUID, receiver_ids: Sequence[UUID], *, pause_s: float) -> None:
    """Give receivers back; each is due when the next of its deliveries is.

    One that is out of order and failing waits `pause_s` at least, so that a backlog does not beat upon it.
    """
    tx.run(
        "UPDATE receiver r SET worker_id = NULL, due_at = CASE WHEN ordered THEN"
        " (SELECT next_at FROM delivery d WHERE d.receiver_id = r.id AND d.status = 'pending' ORDER BY place LIMIT 1)"
        " ELSE greatest((SELECT next_at FROM delivery d WHERE d.receiver_id = r.id AND d.status = 'pending'"
        " ORDER BY next_at LIMIT 1), CASE WHEN failures > 0 AND EXISTS (SELECT FROM delivery d"
        " WHERE d.receiver_id = r.id AND d.status = 'pending') THEN now() + make_interval(secs => %(pause)s) END) END"
        " WHERE id = ANY(%(ids)s) AND worker_id = %(worker)s",
        {"ids": list(receiver_ids), "worker": worker_id, "pause": pause_s},
    )


def release_unknown(tx: Tx, worker_id: UUID, known: Sequence[UUID]) -> int:
    """Give back receivers that are in this worker's hands by the database alone: an answer of it got lost."""
    return tx.run(
        "UPDATE receiver SET worker_id = NULL, due_at = now() WHERE worker_id = %s AND id <> ALL(%s)",
        (worker_id, list(known)),
    )


def add_delivery(tx: Tx, organization_id: int, receiver_id: UUID, event_id: UUID) -> None:
    """Owe a receiver one event."""
    tx.run(
        "WITH owed AS (INSERT INTO delivery (receiver_id, event_id, organization_id) VALUES (%(receiver)s, %(event)s,"
        " %(org)s) ON CONFLICT DO NOTHING RETURNING receiver_id)"
        " INSERT INTO receiver_wake (organization_id, receiver_id) SELECT %(org)s, receiver_id FROM owed",
        {"receiver": receiver_id, "event": event_id, "org": organization_id},
    )


def add_wake(tx: Tx, organization_id: int, receiver_id: UUID) -> None:
    """Have a dispatcher look at what a receiver is owed."""
    tx.run("INSERT INTO receiver_wake (organization_id, receiver_id) VALUES (%s, %s)", (organization_id, receiver_id))


def list_deliveries(
    tx: Tx,
    organization_id: int,
    receiver_id: UUID,
    *,
    status: DeliveryStatus | None,
    before: int | None,
    limit: int,
) -> list[tuple[int, Delivery]]:
    """Deliveries of a receiver, newest first, each with its place."""
    rows = tx.rows(
        "SELECT d.place, " + _DELIVERY + " FROM delivery d JOIN event e ON e.id = d.event_id"
        " WHERE d.organization_id = %(org)s AND d.receiver_id = %(receiver)s"
        " AND (%(status)s::text IS NULL OR d.status = %(status)s)"
        " AND (%(before)s::bigint IS NULL OR d.place < %(before)s) ORDER BY d.place DESC LIMIT %(limit)s",
        {"org": organization_id, "receiver": receiver_id, "status": status, "before": before, "limit": limit},
    )
    return [(row.pop("place"), Delivery(**row)) for row in rows]


def find_delivery(tx: Tx, organization_id: int, receiver_id: UUID, event_id: UUID) -> Delivery | None:
    """One delivery."""
    row = tx.row(
        "SELECT " + _DELIVERY + " FROM delivery d JOIN event e ON e.id = d.event_id"
        " WHERE d.organization_id = %s AND d.receiver_id = %s AND d.event_id = %s",
        (organization_id, receiver_id, event_id),
    )
    return Delivery(**row) if row else None


def list_attempts(tx: Tx, organization_id: int, receiver_id: UUID, event_id: UUID) -> list[Attempt]:
    """Attempts of a delivery, oldest first."""
    rows = tx.rows(
        "SELECT number, sent_at, duration_ms, request, status, answer, error FROM delivery_attempt"
        " WHERE organization_id = %s AND receiver_id = %s AND event_id = %s ORDER BY number",
        (organization_id, receiver_id, event_id),
    )
    return [Attempt(**row) for row in rows]


def replay_delivery(tx: Tx, organization_id: int, receiver_id: UUID, event_id: UUID) -> None:
    """Owe an event again, from the first rung of the ladder, in its old place."""
    tx.run(
        "UPDATE delivery SET status = 'pending', tries = 0, next_at = now(), ended_at = NULL"
        " WHERE organization_id = %s AND receiver_id = %s AND event_id = %s",
        (organization_id, receiver_id, event_id),
    )


def replay_deliveries(
    tx: Tx,
    organization_id: int,
    receiver_id: UUID,
    *,
    since: datetime,
    until: datetime | None,
    states: Sequence[DeliveryStatus],
    limit: int,
) -> int:
    """Owe the events of a time again whose delivery ended so; answers how many."""
    return tx.run(
        "UPDATE delivery SET status = 'pending', tries = 0, next_at = now(), ended_at = NULL"
        " WHERE organization_id = %(org)s AND receiver_id = %(receiver)s AND event_id IN (SELECT d.event_id"
        " FROM delivery d JOIN event e ON e.id = d.event_id WHERE d.organization_id = %(org)s"
        " AND d.receiver_id = %(receiver)s AND d.status = ANY(%(states)s) AND e.created_at >= %(since)s"
        " AND (%(until)s::timestamptz IS NULL OR e.created_at < %(until)s) ORDER BY d.place LIMIT %(limit)s)",
        {
            "org": organization_id,
            "receiver": receiver_id,
            "since": since,
            "until": until,
            "states": list(states),
            "limit": limit,
        },
    )


def add_missing_deliveries(
    tx: Tx,
    organization_id: int,
    receiver_id: UUID,
    *,
    since: datetime,
    until: datetime | None,
    kinds: Sequence[str],
    limit: int,
) -> int:
    """Owe the events of a time that the receiver was never owed, in the order they happened; answers how many."""
    return tx.run(
        "INSERT INTO delivery (receiver_id, event_id, organization_id) SELECT %(receiver)s, e.id, %(org)s FROM event e"
        " WHERE e.organization_id = %(org)s AND e.kind = ANY(%(kinds)s) AND e.created_at >= %(since)s"
        " AND (%(until)s::timestamptz IS NULL OR e.created_at < %(until)s) AND NOT EXISTS (SELECT FROM delivery d"
        " WHERE d.receiver_id = %(receiver)s AND d.event_id = e.id) ORDER BY e.id LIMIT %(limit)s",
        {
            "org": organization_id,
            "receiver": receiver_id,
            "since": since,
            "until": until,
            "kinds": list(kinds),
            "limit": limit,
        },
    )


def delete_old_deliveries(tx: Tx, *, days: int, limit: int) -> int:
    """Forget deliveries that ended long ago, and callbacks that nothing is left of (system transaction)."""
    gone = tx.run(
        "DELETE FROM delivery WHERE (receiver_id, event_id) IN (SELECT receiver_id, event_id FROM delivery"
        " WHERE ended_at < now() - make_interval(days => %s) LIMIT %s FOR UPDATE SKIP LOCKED)",
        (days, limit),
    )
    tx.run(
        "DELETE FROM receiver r WHERE id IN (SELECT id FROM receiver c WHERE form = 'callback' AND worker_id IS NULL"
        " AND created_at < now() - make_interval(days => %s) AND NOT EXISTS (SELECT FROM delivery d"
        " WHERE d.receiver_id = c.id) LIMIT %s FOR UPDATE SKIP LOCKED)",
        (days, limit),
    )
    return gone
