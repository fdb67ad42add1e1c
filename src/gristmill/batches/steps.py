"""The transactions of a running batch: save what finished, claim and hold what comes next, close at the end.

Each function is one named piece of a worker's step and runs inside the step's one transaction, under the batch's row
lock. Charges, results, counters, change list and events of a row commit together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg

from gristmill import events, ledger
from gristmill.base.config import settings
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.money import usd
from gristmill.batches import run_store, store
from gristmill.batches.callback import owe_callback
from gristmill.batches.export import FORMATS
from gristmill.batches.model import LIVE, LOSSES_MAX, Finished, Seat, Status, allot, batch_from_row, receipt_of
from gristmill.batches.pools import Claimed

CLOSABLE: frozenset[Status] = frozenset({"queued", "running", "paused"})
"""A paused batch whose last row in flight was its last row at all is complete."""
RPM_BURST_S = 1.0
"""A rate limit's bucket holds what it refills in this time, and at least one call."""
SLOTS_LIMIT_MIN = 1.0
COST_THRESHOLD_PERCENT = 80
"""Share of a budget, of a batch or of an agent's day, that is told of when it is spent."""
LOWER_PAUSE_S = 1.0
"""After a provider asked for less, further complaints of calls already under way count as the same one."""


@ledger.on_money
def _tell_of_money(tx: Tx, organization_id: int, kind: str, subject: str, data: dict[str, Any]) -> None:
    """What the ledger tells becomes an event; this is the lowest room that knows both."""
    events.emit(tx, organization_id, kind, subject=subject, data=data)


class LeaseLost(Error):
    """The lease of this worker was given to others; what it holds is theirs now."""

    code = "unavailable"


@dataclass(slots=True)
class StepFacts:
    """What a seat knows from step to step."""

    organization_id: int
    agent_id: int
    batch_id: UUID
    worker_id: UUID
    epoch: int
    provider_key: str
    cursor: int = 0
    """Row number up to which this seat has claimed; earlier pending rows are retries or rows given back."""
    nothing_due: bool = False
    """The last claim found only rows that wait for a retry: slots are for others until one is due."""
    known_columns: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class StepResult:
    """What a step gives its seat."""

    live: bool
    """False: stop, the batch is paused, over, or belongs to a newer epoch."""
    rows: list[tuple[int, int, int, str]] = field(default_factory=list)
    """Claimed rows: row number, attempt, tries, data as JSON text."""
    calls: list[Claimed] = field(default_factory=list)
    """The same rows as the agent gets them; read after the transaction."""
    slots: int = 0
    wait_s: float = 0.0
    """Nothing can be claimed before that: a rate limit, a Retry-After, a retry's backoff."""
    refused: int = 0
    """Rows whose write the fence refused: this worker's lease had expired."""


def step(
    tx: Tx,
    facts: StepFacts,
    finished: Sequence[Finished],
    *,
    want: int,
    in_flight: int,
    held: int,
    leaving: bool = False,
) -> StepResult:
    """One step of a seat: save, then claim.

    `want` rows are asked for. Beside those that have `finished` the seat has `held` rows, of which `in_flight` are
    being run now. One that is `leaving` claims nothing, and what it does not use is for others at once.
    """
    batch = run_store.claim_batch(tx, facts.batch_id)
    limits = run_store.find_agent_limits(tx, facts.agent_id)
    if batch is None or limits is None:
        return StepResult(live=False)
    pace = run_store.claim_pace(tx, facts.organization_id, f"agent:{facts.agent_id}", facts.provider_key)
    refused = 0
    if finished:
        daily = limits["daily_budget_micro_usd"]
        refused = save(tx, batch, facts, finished, pace, limits["concurrency"], daily_micro_usd=daily)
        batch = run_store.claim_batch(tx, facts.batch_id) or batch
    if close_if_over(tx, batch):
        return StepResult(live=False, refused=refused)
    if leaving or batch["status"] not in LIVE or batch["epoch"] != facts.epoch:
        run_store.shrink_seat(tx, facts.batch_id, facts.worker_id, facts.epoch, in_flight)
        return StepResult(live=False, refused=refused)
    result = claim(tx, batch, facts, limits, pace, want=want, in_flight=in_flight, held=held)
    result.refused = refused
    return result


def give_back(
    tx: Tx, batch: dict[str, Any], worker_id: UUID, epoch: int | None, *, keep: Mapping[int, int], lost: bool
) -> int:
    """Send rows back that a worker holds by the database's word but not by its own (`keep`: row number -> attempt).

    Only those that it claimed in one run of the batch, `epoch`: after a pause, slow rows of the run before may be under
    way in another seat. None takes all. `lost`: the worker has died, and any of the rows may be what killed it.
    """
    rows = [
        _lost(row) if lost else Finished(row["row_number"], row["attempt"], "pending", ran=False)
        for row in run_store.running_rows_of_worker(tx, batch["id"], worker_id, epoch)
        if keep.get(row["row_number"]) != row["attempt"]
    ]
    if rows:
        facts = StepFacts(batch["organization_id"], batch["agent_id"], batch["id"], worker_id, batch["epoch"], "")
        save(tx, batch, facts, rows, None, 1)
    return len(rows)


def _lost(row: Mapping[str, Any]) -> Finished:
    return Finished(
        row["row_number"],
        row["attempt"],
        "failed" if row["losses"] + 1 >= LOSSES_MAX else "pending",
        ran=False,
        lost=True,
        error_code="worker_lost",
        error="The worker that held this row ended before it could save a result.",
    )


def save(
    tx: Tx,
    batch: dict[str, Any],
    facts: StepFacts,
    finished: Sequence[Finished],
    pace: dict[str, dict[str, Any]] | None,
    concurrency: int,
    *,
    daily_micro_usd: int | None = None,
) -> int:
    """Write results, settle or release their holds, count, and note the change; answers how many were refused."""
    held = batch["price_micro_usd"]
    if batch["status"] == "cancelled":
        finished = [replace(row, status="cancelled") if row.status == "pending" else row for row in finished]
    amounts = [_charge(row, held, batch["agent"]["bill_on_match"]) for row in finished]
    written = run_store.update_finished(tx, facts.batch_id, facts.worker_id, finished, amounts)
    kept = {row["row_number"] for row in written}
    rows = [row for row in finished if row.row_number in kept]
    charges = [
        ledger.RowCharge(row.row_number, row.attempt, held, amount)
        for row, amount in zip(finished, amounts, strict=True)
        if row.row_number in kept
    ]
    spent = ledger.settle_rows(tx, facts.organization_id, facts.batch_id, charges) if held else 0
    if spent:
        today = run_store.add_agent_spent(tx, facts.organization_id, facts.agent_id, spent)
        _tell_cost(tx, facts, "agent_day", f"agent:{facts.agent_id}", daily_micro_usd, today, spent)
        total = batch["spent_micro_usd"] + spent
        _tell_cost(tx, facts, "batch", f"batch:{facts.batch_id}", batch["budget_micro_usd"], total, spent)
    if pace is not None:
        _adjust_pace(tx, facts, rows, pace[facts.provider_key], concurrency)
    _count(tx, batch, facts, rows, charges, spent=spent, released=held * len(rows))
    return len(finished) - len(rows)


def _tell_cost(tx: Tx, facts: StepFacts, scope: str, subject: str, budget: int | None, total: int, spent: int) -> None:
    """Tell once that spending has come to the threshold of a budget: by the very charge that crossed it."""
    if not budget:
        return
    threshold = -(-budget * COST_THRESHOLD_PERCENT // 100)
    if total - spent < threshold <= total:
        whose = "the batch" if scope == "batch" else "the agent for today"
        data = {
            "scope": scope,
            "agent_id": facts.agent_id,
            "batch_id": str(facts.batch_id),
            "budget_usd": usd(budget),
            "budget_micro_usd": budget,
            "spent_usd": usd(total),
            "spent_micro_usd": total,
            "percent": COST_THRESHOLD_PERCENT,
            "message": f"{usd(total)} of {usd(budget)} USD are spent, the budget of {whose}.",
        }
        events.emit(tx, facts.organization_id, "billing.threshold", subject=subject, data=data)


def _charge(row: Finished, price: int, bill_on_match: bool) -> int:
    """What a row costs: its real cost when it matched, nothing when it failed, by the agent's rule when it is empty."""
    if row.status == "succeeded" or (row.status == "empty" and not bill_on_match):
        return price if row.cost_micro_usd is None else min(row.cost_micro_usd, price)
    return 0


def _count(
    tx: Tx,
    batch: dict[str, Any],
    facts: StepFacts,
    rows: Sequence[Finished],
    charges: Sequence[ledger.RowCharge],
    *,
    spent: int,
    released: int,
) -> None:
    changes = {"running": -len(rows), "spent": spent, "held": -released, "attempts": sum(row.ran for row in rows)}
    for row in rows:
        changes[row.status] = changes.get(row.status, 0) + 1
    changes["failures_run"] = changes.get("failed", 0)
    revision = run_store.add_counts(tx, facts.batch_id, changes, result_columns=_new_columns(batch, facts, rows))
    lines = [
        [row.row_number, row.status, charge.charge_micro_usd, row.duration_ms, row.error_code]
        for row, charge in zip(rows, charges, strict=True)
        if row.ran
    ]
    if lines:
        run_store.insert_progress(tx, facts.organization_id, facts.batch_id, revision, lines)


def _new_columns(batch: dict[str, Any], facts: StepFacts, rows: Sequence[Finished]) -> list[str] | None:
    """The union of result columns when these rows add to it, else None."""
    known = facts.known_columns
    if all(name in known for row in rows for name in row.columns):
        return None
    known.update(dict.fromkeys(batch["result_columns"]))
    before = len(known)
    for row in rows:
        known.update(dict.fromkeys(row.columns))
    return list(known) if len(known) > before else None


def claim(
    tx: Tx,
    batch: dict[str, Any],
    facts: StepFacts,
    limits: dict[str, Any],
    pace: dict[str, dict[str, Any]],
    *,
    want: int,
    in_flight: int,
    held: int,
) -> StepResult:
    """Take the next rows and hold their price: as many as seat, rate limit, budgets and balance allow."""
    bucket, blocked_s = pace[f"agent:{facts.agent_id}"], float(pace[facts.provider_key]["blocked_s"] or 0.0)
    if blocked_s > 0:  # nothing starts before the provider's Retry-After
        _take_seat(tx, batch, facts, limits, pace, in_flight, wanted=in_flight)
        return StepResult(live=True, slots=0, wait_s=blocked_s)
    due_s = _due_s(tx, facts) if facts.nothing_due and batch["pending"] else 0.0
    runnable = 0 if due_s > 0 else batch["pending"]
    slots = _take_seat(tx, batch, facts, limits, pace, in_flight, wanted=held + runnable)
    if runnable == 0 or slots == 0:
        return StepResult(live=True, slots=slots, wait_s=due_s)
    by_failures = _failures_allow(tx, batch, slots, want)
    if by_failures is None:
        return StepResult(live=False)
    by_rate, tokens, wait_s = _rate_allows(bucket, limits["rate_limit"].get("rpm"), by_failures)
    allowed = _money_allows(tx, batch, facts, limits, by_rate)
    if allowed is None:
        return StepResult(live=False)
    rows = _claim_rows(tx, facts, allowed, batch["price_micro_usd"], alone=held == 0) if allowed else []
    if limits["rate_limit"].get("rpm"):
        run_store.update_tokens(tx, facts.organization_id, f"agent:{facts.agent_id}", tokens - len(rows))
    facts.nothing_due = allowed > 0 and not rows
    if rows:
        _hold(tx, batch, facts, rows)
    elif allowed:
        wait_s = _due_s(tx, facts)
    if by_rate and not rows:
        slots = _take_seat(tx, batch, facts, limits, pace, in_flight, wanted=held)
    if batch["status"] == "queued":
        start(tx, batch)
    return StepResult(live=True, rows=rows, slots=slots, wait_s=wait_s)


def _due_s(tx: Tx, facts: StepFacts) -> float:
    """Seconds until the first pending row may run; zero when one may now."""
    due = run_store.next_due(tx, facts.batch_id)
    return max(0.0, (due - tx.now).total_seconds()) if due else 0.0


def _claim_rows(tx: Tx, facts: StepFacts, limit: int, price: int, *, alone: bool) -> list[tuple[int, int, int, str]]:
    """Rows after the cursor first; once those are used up, rows before it that came back; suspects last, one by one."""
    rows = run_store.claim_rows(
        tx, facts.batch_id, facts.worker_id, facts.epoch, after=facts.cursor, limit=limit, held_micro_usd=price
    )
    if rows:
        facts.cursor = rows[-1][0]
        return rows
    if facts.cursor:
        facts.cursor = 0
        rows = run_store.claim_rows(
            tx, facts.batch_id, facts.worker_id, facts.epoch, after=0, limit=limit, held_micro_usd=price
        )
    if not rows and alone:
        rows = run_store.claim_rows(
            tx, facts.batch_id, facts.worker_id, facts.epoch, after=0, limit=1, held_micro_usd=price, suspects=True
        )
    return rows


def _hold(tx: Tx, batch: dict[str, Any], facts: StepFacts, rows: list[tuple[int, int, int, str]]) -> None:
    price = batch["price_micro_usd"]
    ledger.hold_rows(tx, facts.organization_id, facts.batch_id, [ledger.RowHold(row[0], row[1]) for row in rows], price)
    count = len(rows)
    run_store.add_counts(
        tx, facts.batch_id, {"pending": -count, "running": count, "held": price * count}, result_columns=None
    )


def _take_seat(
    tx: Tx,
    batch: dict[str, Any],
    facts: StepFacts,
    limits: dict[str, Any],
    pace: dict[str, dict[str, Any]],
    in_flight: int,
    *,
    wanted: int,
) -> int:
    """This seat's slots: a fair share of what the agent, and the provider's present mood, allow.

    `wanted` are the rows that it could run now. Those that it holds are among them, since no other seat can run them;
    pending ones that wait for a retry, or for money that others hold, are not, or the others would wait for this seat
    while it waits for them.
    """
    concurrency = limits["concurrency"]
    slots_limit = pace[facts.provider_key]["slots_limit"]
    if slots_limit is not None:
        concurrency = max(1, min(concurrency, int(slots_limit)))
    seats = run_store.list_seats(tx, facts.agent_id)
    key = (facts.batch_id, facts.worker_id, facts.epoch)
    mine = Seat(*key, batch["priority"], min(wanted, concurrency), 0)
    others = [seat for seat in seats if (seat.batch_id, seat.worker_id, seat.epoch) != key]
    slots = allot(concurrency, mine, others, in_flight)
    before = next((seat for seat in seats if (seat.batch_id, seat.worker_id, seat.epoch) == key), None)
    after = replace(mine, slots=slots)
    if before != after:
        try:
            run_store.upsert_seat(tx, facts.organization_id, facts.agent_id, after)
        except psycopg.errors.ForeignKeyViolation:
            raise LeaseLost from None
    return slots


def _failures_allow(tx: Tx, batch: dict[str, Any], slots: int, want: int) -> int | None:
    """Rows that may be claimed before too many have failed. Pauses the batch and answers None when they have."""
    failed, most = batch["failures_run"], batch["max_failures"]
    if most is None:
        return want
    if failed > most:
        pause(tx, batch, "failures", f"{failed} rows failed; at most {most} may.")
        return None
    return min(want, max(slots, most + 1 - failed))  # what is claimed ahead must not outrun the limit


def _rate_allows(bucket: dict[str, Any], rpm: int | None, want: int) -> tuple[int, float, float]:
    """Rows that the rate limit lets start now, tokens in its bucket, and seconds until the next when there are none."""
    if not rpm:
        return want, 0.0, 0.0
    per_s = rpm / 60
    tokens = min(bucket["tokens"] + bucket["idle_s"] * per_s, max(1.0, per_s * RPM_BURST_S))
    allowed = min(want, int(tokens))
    return allowed, tokens, 0.0 if allowed or want == 0 else (1.0 - tokens) / per_s


def _money_allows(tx: Tx, batch: dict[str, Any], facts: StepFacts, limits: dict[str, Any], want: int) -> int | None:
    """Rows whose price can be held now. Pauses the batch and answers None exactly when the next one can't.

    While rows of it are in flight none is claimed instead: they may cost less than what is held for them.
    """
    price = batch["price_micro_usd"]
    if price == 0 or want == 0:
        return want
    left, reason, message = _money_left(tx, batch, facts, limits)
    if left >= price:
        return min(want, left // price)
    if batch["held_micro_usd"] > 0:
        return 0
    pause(tx, batch, reason, message)
    return None


def _money_left(tx: Tx, batch: dict[str, Any], facts: StepFacts, limits: dict[str, Any]) -> tuple[int, str, str]:
    """The least that a budget or the balance leaves, the reason of the pause that it calls for, and that in words."""
    price, budget, daily = batch["price_micro_usd"], batch["budget_micro_usd"], limits["daily_budget_micro_usd"]
    available = ledger.lock_available(tx, facts.organization_id)
    words = f"The free balance of {usd(available)} USD does not cover the next row at {usd(price)} USD."
    left = [(available, "balance", words)]
    if daily is not None:
        today = daily - run_store.agent_spent_today(tx, facts.agent_id)
        left.append((today, "budget", f"The agent's budget for today, {usd(daily)} USD, is used up."))
    if budget is not None:
        own = budget - batch["spent_micro_usd"] - batch["held_micro_usd"]
        left.append((own, "budget", f"The budget of {usd(budget)} USD is used up."))
    return min(left, key=lambda item: item[0])


def _adjust_pace(
    tx: Tx,
    facts: StepFacts,
    rows: Sequence[Finished],
    state: dict[str, Any],
    concurrency: int,
) -> None:
    """Additive increase, multiplicative decrease of the provider's slots, shared by every row that calls it."""
    limit = state["slots_limit"]
    throttled = [row for row in rows if row.throttled]
    if throttled:
        block_s = max((row.retry_after_s or 0.0) for row in throttled)
        fresh = state["lowered_s"] is None or state["lowered_s"] > LOWER_PAUSE_S
        lowered = max(SLOTS_LIMIT_MIN, (limit or float(concurrency)) / 2) if fresh else limit
        run_store.update_limit(
            tx, facts.organization_id, facts.provider_key, slots_limit=lowered, lowered=fresh, block_s=block_s
        )
        state["slots_limit"], state["blocked_s"] = lowered, max(block_s, float(state["blocked_s"] or 0.0))
    elif limit is not None:
        good = sum(1 for row in rows if row.ran and row.error_code is None)
        raised: float | None = limit + good / limit
        if raised is not None and raised >= concurrency:
            raised = None
        run_store.update_limit(
            tx, facts.organization_id, facts.provider_key, slots_limit=raised, lowered=False, block_s=0.0
        )
        state["slots_limit"] = raised


def start(tx: Tx, batch: dict[str, Any]) -> None:
    """The first claim makes a queued batch a running one."""
    store.update_status(tx, batch["id"], status="running")
    _emit(tx, batch, "agent.batch.started", "running", reason=None, message="")


def pause(tx: Tx, batch: dict[str, Any], reason: str, message: str) -> None:
    """Stop claiming; rows in flight finish."""
    store.update_status(tx, batch["id"], status="paused", reason=reason, message=message)
    _emit(tx, batch, "agent.batch.paused", "paused", reason=reason, message=message)
    if reason == "budget":
        facts = {"batch_id": str(batch["id"]), "agent_id": batch["agent_id"], "message": message}
        subject = f"batch:{batch['id']}"
        events.emit(tx, batch["organization_id"], "billing.budget_reached", subject=subject, data=facts)


def close_if_over(tx: Tx, batch: dict[str, Any]) -> bool:
    """Complete a batch whose last row has ended; answers whether it was so."""
    over = batch["pending"] == 0 and batch["running"] == 0 and batch["status"] in CLOSABLE
    if over:
        close(tx, batch)
    return over


def close(tx: Tx, batch: dict[str, Any]) -> None:
    """Every row has ended: complete. The table's constraints refuse it unless the receipt holds."""
    store.update_status(tx, batch["id"], status="completed")
    _emit(tx, batch, "agent.batch.completed", "completed", reason=None, message="")


def fail(tx: Tx, batch: dict[str, Any], message: str) -> None:
    """The run can't go on; its rows stay pending and `resume` goes on once the cause is mended."""
    store.update_status(tx, batch["id"], status="failed", message=message[:2000])
    _emit(tx, batch, "agent.batch.failed", "failed", reason=None, message=message[:2000])


def announce_cancelled(tx: Tx, batch: dict[str, Any]) -> None:
    """Tell that a person ended the batch."""
    _emit(tx, batch, "agent.batch.cancelled", "cancelled", reason=None, message="")


def _emit(tx: Tx, batch: dict[str, Any], kind: str, status: Status, *, reason: str | None, message: str) -> None:
    found = store.find_batch(tx, batch["organization_id"], batch["id"])
    current = found or batch
    view = batch_from_row({**current, "status": status}, tx.now)
    receipt = receipt_of(current)
    link = f"{settings().public_url}/api/v1/batch_executions/{batch['id']}"
    data = {
        "batch_id": str(batch["id"]),
        "agent_id": batch["agent_id"],
        "name": view.name,
        "status": status,
        "reason": reason,
        "message": message,
        "receipt": {name: getattr(receipt, name) for name in receipt.__dataclass_fields__},
        "exports": {suffix: f"{link}/export.{suffix}" for suffix in FORMATS},
    }
    event_id = events.emit(tx, batch["organization_id"], kind, subject=f"batch:{batch['id']}", data=data)
    owe_callback(tx, batch, event_id, kind)
