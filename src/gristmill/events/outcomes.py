"""What attempts mean for deliveries and receivers, written in one transaction with the events that tell of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from gristmill.base.db import Tx
from gristmill.events import delivery_store, receiver_store
from gristmill.events.delivery_store import Lane, LaneState, Outcome, Owed
from gristmill.events.model import DISABLE_AFTER, DISABLE_FAILURES_MIN, GONE
from gristmill.events.service import emit, file_pending

UNORDERED_PAUSE_S = 5.0
SILENT_KINDS = frozenset({"delivery.dead", "subscription.disabled"})
"""That these could not be delivered is told to nobody: it would go on for ever."""
DISABLED_ITEM = "WEBHOOK_DISABLED"

Caller = Callable[[Tx, int, str, dict[str, Any]], None]
"""Called with (tx, organization id, subject of the event, how the callback went)."""

_callers: list[Caller] = []


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened in a lane: an attempt, or its end."""

    lane: Lane
    owed: Owed | None = None
    outcome: Outcome | None = None
    done: bool = False

    def bare(self) -> Report:
        """The same without words of the receiver."""
        if self.outcome is None:
            return self
        return replace(self, outcome=replace(self.outcome, request={}, answer=None, error="could not be stored"))


def on_called_back(caller: Caller) -> None:
    """Have a higher room learn how its callbacks go, after each attempt, in a transaction of its own (system)."""
    if caller not in _callers:
        _callers.append(caller)


def save(tx: Tx, worker_id: UUID, reports: Sequence[Report]) -> set[UUID]:
    """Write what came back from this worker's lanes; answers those that must not be sent to any more.

    A lane that is not this worker's any longer is somebody else's business: nothing of it is written.
    """
    lanes = {report.lane.receiver_id: report.lane for report in reports}
    ours = delivery_store.lock_lanes(tx, worker_id, list(lanes))
    halted = lanes.keys() - ours
    by_lane: defaultdict[UUID, list[tuple[Owed, Outcome]]] = defaultdict(list)
    for report in reports:
        if report.owed is not None and report.outcome is not None and report.lane.receiver_id in ours:
            by_lane[report.lane.receiver_id].append((report.owed, _final(report.lane, report.outcome)))
    written = [(receiver_id, outcome) for receiver_id, items in by_lane.items() for _, outcome in items]
    if written:
        delivery_store.save_outcomes(tx, written)
    for receiver_id, items in by_lane.items():
        if not _settle(tx, lanes[receiver_id], items):
            halted.add(receiver_id)
    done = [report.lane.receiver_id for report in reports if report.done and report.lane.receiver_id in ours]
    if done:
        delivery_store.release_lanes(tx, worker_id, done, pause_s=UNORDERED_PAUSE_S)
    return set(halted)


def tell_caller(tx: Tx, report: Report) -> None:
    """Tell the rooms how a callback went."""
    if report.owed is None or report.outcome is None:
        return
    outcome = _final(report.lane, report.outcome)
    told: dict[str, Any] = {"delivered": outcome.ok, "attempts": report.owed.attempts + 1}
    if outcome.status is not None:
        told["status"] = outcome.status
    if outcome.error is not None:
        told["error"] = outcome.error
    if not outcome.ok:
        told["given_up"] = outcome.state == "dead"
    for caller in _callers:
        caller(tx, report.lane.organization_id, report.owed.event.subject, told)


def _final(lane: Lane, outcome: Outcome) -> Outcome:
    """A callback's URL is not disabled, so its 410 ends the one delivery."""
    if lane.form == "callback" and outcome.status == GONE:
        return replace(outcome, state="dead")
    return outcome


def _settle(tx: Tx, lane: Lane, items: Sequence[tuple[Owed, Outcome]]) -> bool:
    """What attempts mean for their receiver; answers whether it may be sent to further."""
    failed = 0
    for _, outcome in items:
        failed = 0 if outcome.ok else failed + 1
    last = items[-1][1]
    state = delivery_store.save_lane(
        tx, lane.receiver_id, failed=failed, succeeded=any(outcome.ok for _, outcome in items), error=last.error
    )
    for owed, outcome in items:
        if outcome.state == "dead" and owed.event.kind not in SILENT_KINDS:
            _tell_dead(tx, lane, owed, outcome)
    reason = _reason_to_disable(tx, lane, state, last)
    if reason is not None and state.status == "active":
        _disable(tx, lane, reason)
        return False
    return state.status == "active"


def _reason_to_disable(tx: Tx, lane: Lane, state: LaneState, last: Outcome) -> str | None:
    if lane.form == "callback" or last.ok:
        return None
    if last.status == GONE:
        return "The receiver answered 410: it wants no more."
    if state.failing_since is None or state.failures < DISABLE_FAILURES_MIN:
        return None
    if tx.now - state.failing_since < DISABLE_AFTER:
        return None
    return f"All {state.failures} attempts since {state.failing_since:%Y-%m-%d %H:%M} UTC failed: {last.error}"[:500]


def _disable(tx: Tx, lane: Lane, reason: str) -> None:
    """Stop sending, and have people told by other ways: channels, and a pending item."""
    receiver_store.disable_receiver(tx, lane.organization_id, lane.receiver_id, reason)
    facts: dict[str, Any] = {f"{lane.form}_id": str(lane.receiver_id), "type": lane.kind, "url": lane.config.get("url")}
    told: dict[str, Any] = {**facts, "message": reason}
    if lane.agent_id is not None:
        told["agent_id"] = lane.agent_id
    subject = f"{lane.form}:{lane.receiver_id}"
    emit(tx, lane.organization_id, "subscription.disabled", subject=subject, data=told, except_for=lane.receiver_id)
    file_pending(tx, lane.organization_id, lane.agent_id, DISABLED_ITEM, message=reason, facts=facts, key=subject)


def _tell_dead(tx: Tx, lane: Lane, owed: Owed, outcome: Outcome) -> None:
    told: dict[str, Any] = {
        f"{lane.form}_id": str(lane.receiver_id),
        "event_id": str(owed.event.id),
        "event_kind": owed.event.kind,
        "attempts": owed.attempts + 1,
        "message": outcome.error or "",
    }
    if lane.agent_id is not None:
        told["agent_id"] = lane.agent_id
    subject = f"{lane.form}:{lane.receiver_id}"
    emit(tx, lane.organization_id, "delivery.dead", subject=subject, data=told, except_for=lane.receiver_id)
