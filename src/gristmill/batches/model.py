"""Nouns, states and pure rules of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from gristmill.base.errors import Conflict, NotFound
from gristmill.base.money import usd

SEATS_MAX = 16
"""Most workers that take part in one batch."""
ROWS_PER_SEAT_MIN = 20
"""A further worker is asked for only when it would get this many rows."""
CLAIM_ROWS_MAX = 500
"""Most rows that one step of a worker claims, and most that it saves."""
PREFETCH_S = 0.05
"""A worker claims ahead what it will start within this time, so that a slot never waits for the database."""
LOOK_S = 0.25
"""How often an idle worker looks at its batch: the bound on how long a pause takes to be seen."""
IDLE_S_MAX = 5.0
"""A worker that has had nothing to do at a batch for so long leaves it when other jobs wait for its place."""
FLUSH_S_MAX = 0.05
"""Longest time that a finished row waits to be saved together with others."""
ROW_INSERT_CHUNK = 5_000
PRIORITY_DEFAULT = 100
LOSSES_SUSPECT = 2
"""A row that was held by this many workers when they died may be what killed them: it runs last, and alone."""
LOSSES_MAX = 5
"""After this many it fails: a row that kills its worker each time must end too."""
SELECTED_ROWS_MAX = 10_000
ANALYZE_ROWS_MIN = 1_000

Status = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]
Reason = Literal["user", "balance", "budget", "failures", "schedule"]
RowStatus = Literal["pending", "running", "succeeded", "empty", "failed", "skipped", "duplicate", "cancelled"]

ROW_STATUSES: tuple[RowStatus, ...] = (
    "pending", "running", "succeeded", "empty", "failed", "skipped", "duplicate", "cancelled",
)  # fmt: skip

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "queued": frozenset({"running", "paused", "completed", "failed", "cancelled"}),
    "running": frozenset({"paused", "completed", "failed", "cancelled"}),
    "paused": frozenset({"queued", "cancelled", "completed"}),
    "failed": frozenset({"queued", "cancelled"}),
    "completed": frozenset({"queued"}),
    "cancelled": frozenset({"queued"}),
}
"""From which state to which. `queued` is where resume and retry lead to; the first claim makes it `running`."""

ROW_TRANSITIONS: dict[RowStatus, frozenset[RowStatus]] = {
    "pending": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "empty", "failed", "pending", "cancelled"}),
    "succeeded": frozenset({"pending"}),
    "empty": frozenset({"pending"}),
    "failed": frozenset({"pending"}),
    "skipped": frozenset({"pending"}),
    "duplicate": frozenset(),
    "cancelled": frozenset({"pending"}),
}
"""From which row state to which. Back to `pending`: a retry, an expired lease, a person's request."""

LIVE: frozenset[Status] = frozenset({"queued", "running"})
"""States in which workers claim rows."""


class BatchNotFound(NotFound):
    """There is no such batch."""


class RowNotFound(NotFound):
    """There is no such row."""


class WrongState(Conflict):
    """The batch's state does not allow that."""


def check_transition(before: Status, after: Status, verb: str) -> None:
    """Raises `WrongState` when the table of transitions does not have it."""
    if after not in TRANSITIONS[before]:
        raise WrongState(f"A {before} batch can't be {verb}.", status_now=before)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The counted proof that a batch lost nothing: `rows_in` is the sum of all other counts."""

    rows_in: int
    succeeded: int
    """Rows with a result."""
    empty: int
    """Rows for which the agent found nothing."""
    failed: int
    """Rows whose last attempt failed, or whose input was refused before any attempt."""
    skipped: int
    """Rows beyond `row_limit`."""
    duplicate: int
    """Rows equal to an earlier row of the batch; they share its result."""
    cancelled: int
    """Rows not run because the batch was cancelled."""
    pending: int
    """Rows still to run; zero once the batch has completed."""
    running: int
    """Rows that run now; zero once the batch has completed."""
    closed: bool
    """True when nothing is left to run and the sum is right."""
    spent_usd: str
    spent_micro_usd: int
    held_usd: str
    """Set aside for rows that run now; zero once the batch has completed."""
    held_micro_usd: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of one agent over rows."""

    id: UUID
    agent_id: int
    agent_name: str
    agent_version: int
    name: str
    status: Status
    reason: Reason | None
    """Why it is paused."""
    message: str
    """The reason, or the failure, in words."""
    origin: dict[str, Any]
    """Where the rows came from: `{kind: items | ndjson | data_source | file, ...}`."""
    columns: list[str]
    """The user's columns in their order."""
    mapping: dict[str, str]
    """Agent field -> column; empty when rows go to the agent as they are."""
    rows_in: int
    pending: int
    running: int
    """Rows that workers hold: in flight, or claimed a moment ahead."""
    succeeded: int
    empty: int
    failed: int
    skipped: int
    duplicate: int
    cancelled: int
    reused: int
    """Of the succeeded and empty rows: results taken from earlier batches, at no cost."""
    attempts: int
    """Calls of the agent so far, retries included."""
    priority: int
    """Lower runs first when batches of one agent compete for its slots."""
    row_limit: int | None
    price_usd: str
    """What one row may cost at most."""
    price_micro_usd: int
    budget_usd: str | None
    """The batch pauses before it would spend more."""
    budget_micro_usd: int | None
    spent_usd: str
    spent_micro_usd: int
    held_usd: str
    held_micro_usd: int
    max_failures: int | None
    """The batch pauses when more rows than this have failed since it was started or resumed."""
    callback_url: str | None
    """Called with the event when the batch has completed, failed or been cancelled."""
    callback: dict[str, Any] | None
    """How that call went: `{delivered, attempts, status | error}`; null before."""
    rate_per_s: float | None
    """Rows ended per second since the start; null before any has."""
    eta_s: float | None
    """Seconds to the end at that rate; null when unknown or nothing runs."""
    revision: int
    """Goes up with every change."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One work item of a batch."""

    id: UUID
    row_number: int
    """1-based, in the order of the user's rows."""
    status: RowStatus
    data: dict[str, Any]
    """The user's row as it came."""
    result: dict[str, Any] | None
    """What the agent gave; of the first equal row when this one is a duplicate."""
    error_code: str | None
    error: str | None
    duplicate_of: int | None
    """Row number of the first equal row, whose result this row shares."""
    external_id: str | None
    tries: int
    """Attempts that ran."""
    charge_usd: str
    charge_micro_usd: int
    duration_ms: int | None
    """Of the last attempt."""
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a row."""

    number: int
    status: str
    """`succeeded`, `empty`, `failed`, or `retry` when a later one follows."""
    error_code: str | None
    error: str | None
    duration_ms: int | None
    at: str | None
    """When it ended."""


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row with everything that is known about it."""

    row: BatchRow
    input: dict[str, Any]
    """What the agent got."""
    attempts: list[Attempt]
    trace: dict[str, Any]
    """Facts of the last attempt."""
    charges: list[dict[str, Any]]
    """The row's ledger moves, oldest first."""
    reused_from: UUID | None
    """Row of the earlier batch whose result this is."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed rows with one cause."""

    error_code: str
    example: str
    rows: int


@dataclass(frozen=True, slots=True)
class Finished:
    """How one claimed row ended, ready to be saved."""

    row_number: int
    attempt: int
    """The claim's number: with the worker's id it is the fence against late writes."""
    status: Literal["succeeded", "empty", "failed", "pending", "cancelled"]
    """`pending` gives the row back: a retry when it ran, nothing lost when it had not started.

    In a batch that was cancelled meanwhile such a row becomes `cancelled`.
    """
    ran: bool
    """Whether the agent was called and answered."""
    lost: bool = False
    """Its worker died while it held the row; whether the agent was called nobody knows."""
    result: str | None = None
    """JSON text."""
    columns: tuple[str, ...] = ()
    """Names of the flattened result."""
    cost_micro_usd: int | None = None
    """None: the whole price."""
    error_code: str | None = None
    error: str | None = None
    duration_ms: int | None = None
    trace: str | None = None
    """JSON text."""
    wait_s: float | None = None
    """Seconds before a retry."""
    throttled: bool = False
    """The provider asked for less."""
    retry_after_s: float | None = None


def receipt_of(row: Mapping[str, Any]) -> Receipt:
    """The receipt from a batch's counters."""
    counts = {name: int(row[name]) for name in ROW_STATUSES}
    whole = int(row["rows_in"]) == sum(counts.values())
    return Receipt(
        rows_in=row["rows_in"],
        **counts,
        closed=whole and counts["pending"] == 0 and counts["running"] == 0,
        spent_usd=usd(row["spent_micro_usd"]),
        spent_micro_usd=row["spent_micro_usd"],
        held_usd=usd(row["held_micro_usd"]),
        held_micro_usd=row["held_micro_usd"],
    )


def batch_from_row(row: Mapping[str, Any], now: datetime) -> Batch:
    """A batch from its database row; rate and time left are as of `now`."""
    ended = row["succeeded"] + row["empty"] + row["failed"] - row["reused"]
    left = row["pending"] + row["running"]
    rate = eta = None
    if row["started_at"] is not None and ended > 0:
        seconds = ((row["finished_at"] or now) - row["started_at"]).total_seconds()
        rate = round(ended / seconds, 3) if seconds > 0 else None
        if rate and left and row["status"] in LIVE:
            eta = round(left / rate, 1)
    price, budget = row["price_micro_usd"], row["budget_micro_usd"]
    copied = (
        "id", "agent_id", "agent_version", "name", "status", "reason", "message", "origin", "columns", "mapping",
        "rows_in", *ROW_STATUSES, "reused", "attempts", "priority", "row_limit", "price_micro_usd", "budget_micro_usd",
        "spent_micro_usd", "held_micro_usd", "max_failures", "callback_url", "callback", "revision", "created_at",
        "started_at", "finished_at", "updated_at",
    )  # fmt: skip
    return Batch(
        **{name: row[name] for name in copied},
        agent_name=row["agent"]["name"],
        price_usd=usd(price),
        budget_usd=None if budget is None else usd(budget),
        spent_usd=usd(row["spent_micro_usd"]),
        held_usd=usd(row["held_micro_usd"]),
        rate_per_s=rate,
        eta_s=eta,
    )


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker's place at a batch, as the others see it."""

    batch_id: UUID
    worker_id: UUID
    epoch: int
    priority: int
    want: int
    """Rows that it could run now."""
    slots: int
    """Rows that it may run now."""


def allot(concurrency: int, mine: Seat, others: Sequence[Seat], in_flight: int) -> int:
    """How many rows this seat may run: its fair share of the agent's concurrency, never more than is left.

    Seats are filled by priority, lower first, and evenly within one. A seat that must shrink keeps what it has in
    flight; a seat that may grow waits until the others have shrunk, so the sum never exceeds `concurrency`.
    """
    left = concurrency
    seats = sorted([mine, *others], key=lambda seat: (seat.priority, seat.batch_id, seat.worker_id, seat.epoch))
    target = 0
    for priority in sorted({seat.priority for seat in seats}):
        level = [seat for seat in seats if seat.priority == priority]
        shares = _fill(left, [seat.want for seat in level])
        if mine.priority == priority:
            target = shares[level.index(mine)]
            break
        left -= sum(shares)
    free = concurrency - sum(seat.slots for seat in others)
    return max(in_flight, min(target, max(free, 0)))


def _fill(amount: int, wants: Sequence[int]) -> list[int]:
    """Share an amount evenly, nobody getting more than it wants; the remainder goes to the first ones."""
    shares = [0] * len(wants)
    open_seats = [index for index, want in enumerate(wants) if want > 0]
    while amount > 0 and open_seats:
        each, rest = divmod(amount, len(open_seats))
        for place, index in enumerate(open_seats):
            more = min(each + (1 if place < rest else 0), wants[index] - shares[index])
            shares[index] += more
            amount -= more
        still_open = [index for index in open_seats if shares[index] < wants[index]]
        if len(still_open) == len(open_seats):
            break
        open_seats = still_open
    return shares
