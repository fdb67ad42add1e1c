"""Verbs of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from gristmill.agents import Agent, InputField, input_of
from gristmill.agents.model import snapshot
from gristmill.base.config import settings
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid, Malformed
from gristmill.base.ids import batch_uuid, row_uuid, split_row_uuid
from gristmill.base.money import usd
from gristmill.base.paging import CursorPage, cursor_page, decode_cursor, uuid_cursor
from gristmill.batches import steps, store
from gristmill.batches.columns import find_columns
from gristmill.batches.intake import ERRORS_SHOWN_MAX, Intake, Refuse
from gristmill.batches.model import (
    ANALYZE_ROWS_MIN,
    LIVE,
    PRIORITY_DEFAULT,
    ROWS_PER_SEAT_MIN,
    SEATS_MAX,
    Attempt,
    Batch,
    BatchNotFound,
    BatchRow,
    FailureGroup,
    Receipt,
    RowDetail,
    RowNotFound,
    RowStatus,
    WrongState,
    batch_from_row,
    check_transition,
    receipt_of,
)
from gristmill.batches.runner import enqueue_seat
from gristmill.engine import SHARED_QUEUE

FAILURE_GROUPS_MAX = 100
NOT_STARTED = "Waits to be started."
RETRYABLE: tuple[RowStatus, ...] = ("failed", "cancelled")

Gate = Callable[[Tx, int, Batch], None]
"""Raises what keeps an organization's batch from going on."""
gates: dict[str, Gate] = {}
"""Kind of a batch's origin -> what its room wants asked before such a batch goes on."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch is made of, beside its rows."""

    origin: Mapping[str, Any]
    mapping: Mapping[str, str]
    columns: Sequence[str] = ()
    """The user's columns, where they are known before the rows."""
    name: str = ""
    row_limit: int | None = None
    budget_micro_usd: int | None = None
    max_failures: int | None = None
    priority: int = PRIORITY_DEFAULT
    callback_url: str | None = None
    reuse_within_s: int | None = None
    external_ids: Sequence[str] | None = None
    run_key: str | None = None
    queue: str = SHARED_QUEUE
    refuse: Refuse | None = None
    start: bool = True
    """False: the batch waits, paused by its user, until it is resumed for the first time."""


def create(tx: Tx, organization_id: int, agent: Agent, order: Order, rows: Iterable[Mapping[str, Any]]) -> Batch:
    """A batch with all its rows and the jobs that run it, in this one transaction.

    Rows whose input is refused are kept as failed, rows over `row_limit` as skipped, rows equal to an earlier one as
    duplicates; all of that before anything can be charged. Raises `TooLarge` over the limit of rows and `Invalid` for
    a mapping that names columns the rows do not have. Columns that nobody named for a source or file are proposed.
    """
    batch_id = batch_uuid()
    fed = find_columns(
        tx, organization_id, agent, rows, origin=order.origin, chosen=order.mapping, columns=order.columns
    )
    order, rows = replace(order, mapping=fed.mapping, origin=fed.origin), fed.rows
    store.insert_batch(
        tx,
        organization_id,
        batch_id,
        {
            "agent_id": agent.id,
            "agent": snapshot(agent),
            "agent_version": agent.version,
            "name": order.name,
            "origin": dict(order.origin),
            "columns": list(order.columns),
            "mapping": dict(order.mapping),
            "queue": order.queue,
            "priority": order.priority,
            "row_limit": order.row_limit,
            "budget_micro_usd": order.budget_micro_usd,
            "max_failures": order.max_failures,
            "callback_url": order.callback_url,
            "run_key": order.run_key,
            "price_micro_usd": agent.price_micro_usd,
        },
    )
    _take_rows(tx, organization_id, batch_id, agent, order, rows)
    if order.start:
        return _go(tx, organization_id, batch_id)
    store.update_status(tx, batch_id, status="paused", reason="user", message=NOT_STARTED)
    return get(tx, organization_id, batch_id)


def replace_rows(
    tx: Tx, organization_id: int, batch_id: UUID, agent: Agent, order: Order, rows: Iterable[Mapping[str, Any]]
) -> Batch:
    """Other rows for a batch that was never started, as `create` takes them. Raises `WrongState` for one that was."""
    _claim_unstarted(tx, organization_id, batch_id)
    store.delete_rows(tx, organization_id, batch_id)
    _take_rows(tx, organization_id, batch_id, agent, order, rows)
    return get(tx, organization_id, batch_id)


def move(tx: Tx, batch_id: UUID, *, from_organization_id: int, to_organization_id: int, agent: Agent) -> None:
    """Give a batch that was never started to another organization and its agent (system transaction)."""
    _claim_unstarted(tx, from_organization_id, batch_id)
    store.update_owner(
        tx,
        batch_id,
        organization_id=to_organization_id,
        agent_id=agent.id,
        agent=snapshot(agent),
        agent_version=agent.version,
        price_micro_usd=agent.price_micro_usd,
    )


def _claim_unstarted(tx: Tx, organization_id: int, batch_id: UUID) -> dict[str, Any]:
    batch = _claim(tx, organization_id, batch_id)
    if batch["started_at"] is not None or batch["status"] != "paused":
        raise WrongState("The batch has been started already.", status_now=batch["status"])
    return batch


def _take_rows(
    tx: Tx, organization_id: int, batch_id: UUID, agent: Agent, order: Order, rows: Iterable[Mapping[str, Any]]
) -> None:
    current = settings()
    intake = Intake(
        order.mapping,
        agent.input_fields,
        order.row_limit,
        current.batch_rows_max,
        current.row_bytes_max,
        dict.fromkeys(order.columns),
        refuse=order.refuse,
    )
    intake.take(tx, organization_id, batch_id, rows, order.external_ids)
    _check_columns(order, intake)
    if intake.count >= ANALYZE_ROWS_MIN:
        store.analyze_rows(tx)
    store.mark_duplicates(tx, batch_id)
    reused = 0
    if order.reuse_within_s:
        since = tx.now - timedelta(seconds=order.reuse_within_s)
        reused = store.reuse_results(
            tx, organization_id, batch_id, agent_id=agent.id, agent_version=agent.version, since=since
        )
    store.update_counts(tx, batch_id, store.count_rows(tx, batch_id), reused=reused)
    store.update_columns(tx, batch_id, list(intake.columns))


def _check_columns(order: Order, intake: Intake) -> None:
    if order.external_ids is not None and len(order.external_ids) != intake.count:
        message = f"must have one id for each of the {intake.count} rows"
        raise Invalid(f"`external_ids` {message}.", errors=(FieldError("external_ids", message),))
    if intake.count == 0:
        return
    missing = [name for name in order.mapping.values() if name not in intake.columns]
    if missing:
        known = ", ".join(list(intake.columns)[:50])
        raise Invalid(
            f"The mapping names columns that the rows do not have: {', '.join(missing[:ERRORS_SHOWN_MAX])}.",
            errors=tuple(
                FieldError(f"mapping.{name}", f"`{column}` is no column; there are: {known}")
                for name, column in order.mapping.items()
                if column in missing
            ),
        )


def _go(tx: Tx, organization_id: int, batch_id: UUID) -> Batch:
    """Ask workers to sit down at a queued batch, or close it when nothing is left to run."""
    batch = store.find_batch(tx, organization_id, batch_id, lock=True)
    if batch is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    if not steps.close_if_over(tx, batch):
        for seat in range(min(SEATS_MAX, -(-batch["pending"] // ROWS_PER_SEAT_MIN) or 1)):
            enqueue_seat(tx, batch, key=str(seat))
    return get(tx, organization_id, batch_id)


def get(tx: Tx, organization_id: int, batch_id: UUID) -> Batch:
    """A batch. Raises `BatchNotFound`."""
    row = store.find_batch(tx, organization_id, batch_id)
    if row is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    return batch_from_row(row, tx.now)


def get_by_run_key(tx: Tx, organization_id: int, run_key: str) -> Batch | None:
    """The batch that was started with this run key, or None."""
    row = store.find_batch_by_run_key(tx, organization_id, run_key)
    return batch_from_row(row, tx.now) if row else None


def forget_run_key(tx: Tx, organization_id: int, batch_id: UUID) -> None:
    """Let the same run start afresh next time."""
    store.forget_run_key(tx, organization_id, batch_id)


def list_batches(
    tx: Tx, organization_id: int, *, agent_id: int | None, status: str | None, cursor: str | None, limit: int
) -> CursorPage[Batch]:
    """Batches, newest first."""
    before = uuid_cursor(cursor)
    rows = store.list_batches(tx, organization_id, agent_id=agent_id, status=status, before=before, limit=limit + 1)
    return cursor_page([batch_from_row(row, tx.now) for row in rows], limit, lambda batch: str(batch.id))


def pause(tx: Tx, organization_id: int, batch_id: UUID) -> Batch:
    """Stop claiming within a quarter of a second; rows in flight finish. Pausing a paused batch changes nothing."""
    batch = _claim(tx, organization_id, batch_id)
    if batch["status"] != "paused":
        check_transition(batch["status"], "paused", "paused")
        steps.pause(tx, batch, "user", "")
    return get(tx, organization_id, batch_id)


def resume(tx: Tx, organization_id: int, batch_id: UUID, *, gated: bool = True) -> Batch:
    """Go on with a paused or failed batch. Resuming a live batch changes nothing.

    The gate of the batch's origin is asked first; `gated=False` is for that gate's own room, which has asked already,
    and for the command line at home, which has no balance to look at.
    """
    batch = _claim(tx, organization_id, batch_id)
    if batch["status"] in LIVE:
        return get(tx, organization_id, batch_id)
    if batch["status"] not in {"paused", "failed"}:
        raise WrongState(f"A {batch['status']} batch can't be resumed.", status_now=batch["status"])
    if gated and (gate := gates.get(batch["origin"].get("kind", ""))):
        gate(tx, organization_id, get(tx, organization_id, batch_id))
    store.update_status(tx, batch_id, status="queued", new_epoch=True)
    return _go(tx, organization_id, batch_id)


def cancel(tx: Tx, organization_id: int, batch_id: UUID) -> Batch:
    """End a batch: rows not started are cancelled, rows in flight finish and are kept. Twice changes nothing."""
    batch = _claim(tx, organization_id, batch_id)
    if batch["status"] == "cancelled":
        return get(tx, organization_id, batch_id)
    check_transition(batch["status"], "cancelled", "cancelled")
    store.cancel_pending(tx, batch_id)
    store.update_counts(tx, batch_id, store.count_rows(tx, batch_id), reused=batch["reused"])
    store.update_status(tx, batch_id, status="cancelled")
    steps.announce_cancelled(tx, batch)
    return get(tx, organization_id, batch_id)


@dataclass(frozen=True, slots=True)
class RetryOrder:
    """Which rows run again."""

    row_ids: Sequence[UUID] | None = None
    """Chosen rows, in any ended state."""
    error_code: str | None = None
    """Failed rows with this cause only."""
    changed_since: UUID | None = None
    """Rows whose input has no successful result in that batch."""
    update_agent: bool = False
    """Run them with the agent as it is now instead of as it was when the batch was made."""


def retry(tx: Tx, organization_id: int, batch_id: UUID, order: RetryOrder, agent: Agent) -> Batch:
    """Run ended rows again: all failed and cancelled ones, or those that the order names.

    Rows that succeeded and are not named are neither run nor billed again. Raises `WrongState` while the batch is
    live, and `Invalid` when no row fits.
    """
    batch = _claim(tx, organization_id, batch_id)
    if batch["status"] in LIVE or batch["running"] > 0:
        raise WrongState("Rows are still running; pause or cancel the batch first.", status_now=batch["status"])
    count = _reset(tx, organization_id, batch_id, order)
    if count == 0:
        raise Invalid("No row of the batch fits; nothing was changed.")
    if order.update_agent:
        store.update_agent_snapshot(
            tx, batch_id, agent=snapshot(agent), version=agent.version, price_micro_usd=agent.price_micro_usd
        )
    # First the state: a completed batch must not have rows to run, not even inside a transaction.
    store.update_status(tx, batch_id, status="queued", new_epoch=True)
    store.update_counts(tx, batch_id, store.count_rows(tx, batch_id), reused=store.count_reused(tx, batch_id))
    return _go(tx, organization_id, batch_id)


def _reset(tx: Tx, organization_id: int, batch_id: UUID, order: RetryOrder) -> int:
    if order.row_ids is not None:
        numbers = [_row_number(batch_id, row_id) for row_id in order.row_ids]
        return store.reset_rows_by_number(tx, batch_id, numbers)
    if order.changed_since is not None:
        get(tx, organization_id, order.changed_since)
        return store.reset_rows_changed_since(tx, batch_id, order.changed_since)
    statuses: tuple[RowStatus, ...] = RETRYABLE if order.error_code is None else ("failed",)
    return store.reset_rows_by_status(tx, batch_id, statuses, error_code=order.error_code)


def receipt(tx: Tx, organization_id: int, batch_id: UUID) -> Receipt:
    """The counted proof that nothing was lost."""
    row = store.find_batch(tx, organization_id, batch_id)
    if row is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    return receipt_of(row)


def result_columns(tx: Tx, organization_id: int, batch_id: UUID) -> list[str]:
    """Names of the flattened columns of all results so far."""
    row = store.find_batch(tx, organization_id, batch_id)
    if row is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    return list(row["result_columns"])


def list_rows(
    tx: Tx,
    organization_id: int,
    batch_id: UUID,
    *,
    status: RowStatus | None,
    query: str | None,
    cursor: str | None,
    limit: int,
    error_code: str | None = None,
) -> CursorPage[BatchRow]:
    """Rows in their order, filtered by status, cause of failure and text."""
    get(tx, organization_id, batch_id)
    after = decode_cursor(cursor) if cursor else 0
    if not isinstance(after, int):
        raise Malformed("The cursor is not one of ours.")
    rows = store.list_rows(
        tx, organization_id, batch_id, status=status, query=query, after=after, limit=limit + 1, error_code=error_code
    )
    return cursor_page([_row(batch_id, row) for row in rows], limit, lambda row: row.row_number)


def row_detail(tx: Tx, organization_id: int, row_id: UUID) -> RowDetail:
    """A row with its attempts, trace and charges. Raises `RowNotFound`."""
    batch_id, number = split_row_uuid(row_id)
    batch = store.find_batch(tx, organization_id, batch_id)
    row = store.find_row(tx, organization_id, batch_id, number) if batch else None
    if batch is None or row is None:
        raise RowNotFound(f"There is no row {row_id}.")
    fields = [InputField(**item) for item in batch["agent"]["input_fields"]]
    charges = [
        {**item, "amount_usd": usd(item["amount_micro_usd"])}
        for item in store.row_charges(tx, organization_id, batch_id, number)
    ]
    return RowDetail(
        row=_row(batch_id, row),
        input=input_of(row["data"], batch["mapping"], fields),
        attempts=_attempts(row),
        trace=row["trace"] or {},
        charges=charges,
        reused_from=row["reused_from"],
    )


def row_charges(tx: Tx, organization_id: int, batch_id: UUID, row_number: int) -> list[dict[str, Any]]:
    """A row's moves in the ledger, oldest first: kind, micro-USD, key and time."""
    return store.row_charges(tx, organization_id, batch_id, row_number)


def failures(tx: Tx, organization_id: int, batch_id: UUID) -> list[FailureGroup]:
    """Failed rows by cause, most frequent first."""
    get(tx, organization_id, batch_id)
    return [FailureGroup(**row) for row in store.failure_groups(tx, organization_id, batch_id, FAILURE_GROUPS_MAX)]


def _claim(tx: Tx, organization_id: int, batch_id: UUID) -> dict[str, Any]:
    batch = store.find_batch(tx, organization_id, batch_id, lock=True)
    if batch is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    return batch


def _row_number(batch_id: UUID, row_id: UUID) -> int:
    found, number = split_row_uuid(row_id)
    if found != batch_id or number == 0:
        raise RowNotFound(f"Row {row_id} is not of batch {batch_id}.")
    return number


def _row(batch_id: UUID, row: Mapping[str, Any]) -> BatchRow:
    names = (
        "row_number", "status", "data", "result", "error_code", "error", "duplicate_of", "external_id", "tries",
        "charge_micro_usd", "duration_ms", "finished_at",
    )  # fmt: skip
    return BatchRow(
        id=row_uuid(batch_id, row["row_number"]),
        charge_usd=usd(row["charge_micro_usd"]),
        **{name: row[name] for name in names},
    )


def _attempts(row: Mapping[str, Any]) -> list[Attempt]:
    earlier = [
        Attempt(index, "retry", item.get("error_code"), item.get("error"), item.get("ms"), _utc(item.get("at")))
        for index, item in enumerate(row["history"] or [], start=1)
    ]
    if row["status"] in {"succeeded", "empty", "failed"} and row["tries"] > 0:
        ended = _utc(row["finished_at"].isoformat()) if row["finished_at"] else None
        earlier.append(
            Attempt(len(earlier) + 1, row["status"], row["error_code"], row["error"], row["duration_ms"], ended)
        )
    return earlier


def _utc(moment: str | None) -> str | None:
    """A moment of the database, whose sessions are in UTC, as all answers write it."""
    return moment.replace("+00:00", "Z") if moment else None
