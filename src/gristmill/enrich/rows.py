"""The leads of a job, one by one: what each is called, what its hunt did, and the receipt of what it cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from gristmill import batches
from gristmill.base import jsons
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.http import Shared
from gristmill.base.money import parse_usd, usd
from gristmill.base.paging import CursorPage
from gristmill.batches import RowNotFound, RowStatus
from gristmill.enrich import answer_store, service, store
from gristmill.enrich.model import JobRow, JobRowDetail, PricedCall, RowReceipt

LOOK_S = 0.25
"""Pause between two looks at a row that is watched."""
STEPS_MAX = 500
ENDED = frozenset({"succeeded", "empty", "failed", "skipped", "duplicate", "cancelled"})
PRICE_RULE = (
    "{what} costs {fee}the price of each call that was made for it, never more than the {ceiling} USD held;"
    " remembered answers cost their own price; {else_}."
)


def list_rows(
    tx: Tx, organization_id: int, batch_id: UUID, *, status: RowStatus | None, cursor: str | None, limit: int
) -> CursorPage[JobRow]:
    """Leads in upload order, each by its title."""
    service.get(tx, organization_id, batch_id)
    page = batches.list_rows(tx, organization_id, batch_id, status=status, query=None, cursor=cursor, limit=limit)
    data = [
        JobRow(
            row_number=row.row_number,
            status=row.status,
            chat_title=str(row.data.get("chat_title", "")),
            matched=row.result is not None,
            spent_usd=row.charge_usd,
            spent_micro_usd=row.charge_micro_usd,
            duplicate_of=row.duplicate_of,
            error_code=row.error_code,
            error=row.error,
        )
        for row in page.data
    ]
    return CursorPage(data, page.meta)


def detail(tx: Tx, organization_id: int, batch_id: UUID, row_number: int) -> JobRowDetail:
    """A lead with its result, its trace and its receipt. Raises `JobNotFound` or `RowNotFound`."""
    service.get(tx, organization_id, batch_id)
    row = store.find_row(tx, organization_id, batch_id, row_number)
    if row is None:
        raise RowNotFound(f"The job has no row {row_number}.")
    steps = (row["trace"] or {}).get("steps")
    if steps is None:
        live = answer_store.list_steps(tx, organization_id, batch_id, row_number, after=0, limit=STEPS_MAX)
        steps = [item["step"] for item in live]
    charges = batches.row_charges(tx, organization_id, batch_id, row_number)
    return JobRowDetail(
        row=JobRow(
            row_number=row["row_number"],
            status=row["status"],
            chat_title=str(row["data"].get("chat_title", "")),
            matched=row["result"] is not None,
            spent_usd=usd(row["charge_micro_usd"]),
            spent_micro_usd=row["charge_micro_usd"],
            duplicate_of=row["duplicate_of"],
            error_code=row["error_code"],
            error=row["error"],
        ),
        lead=row["data"],
        result=row["result"],
        steps=steps,
        receipt=receipt_of(row, charges),
    )


def _price_rule(agent: Mapping[str, Any], ceiling: int) -> str:
    fee = parse_usd(agent["config"].get("match_usd", "0"), "match_usd")
    on_match = agent["bill_on_match"]
    return PRICE_RULE.format(
        what="A match" if on_match else "A hunt",
        fee=f"{usd(fee)} USD and " if fee else "",
        ceiling=usd(ceiling),
        else_="without a match nothing is charged" if on_match else "a failed one costs nothing",
    )


def receipt_of(row: Mapping[str, Any], charges: list[dict[str, Any]]) -> RowReceipt:
    """What a row was asked, what it cost, and why; `charges` are its moves in the ledger."""
    trace = row["trace"] or {}
    calls = [PricedCall(**item, price_usd=usd(item["price_micro_usd"])) for item in trace.get("calls", [])]
    sums = {kind: sum(item["amount_micro_usd"] for item in charges if item["kind"] == kind) for kind in _MOVES}
    held, released, returned = sums["hold"], sums["release"], sums["refund"]
    paid = sum(call.price_micro_usd for call in calls)
    return RowReceipt(
        input_hash=bytes(row["input_hash"]).hex(),
        calls=calls,
        provider_cost_usd=usd(paid),
        provider_cost_micro_usd=paid,
        provider_calls=sum(call.outcome in {"answered", "failed"} for call in calls),
        cache_hits=sum(call.outcome == "cached" for call in calls),
        price_rule=_price_rule(row["agent"], row["price_micro_usd"]),
        held_usd=usd(held),
        held_micro_usd=held,
        charged_usd=usd(row["charge_micro_usd"]),
        charged_micro_usd=row["charge_micro_usd"],
        refunded_usd=usd(released + returned),
        refunded_micro_usd=released + returned,
        refund_reason="refunded" if returned else _refund_reason(row, released),
    )


_MOVES = ("hold", "settle", "release", "refund")


def _refund_reason(row: Mapping[str, Any], released: int) -> str | None:
    status = row["status"]
    if status == "duplicate":
        return "duplicate"
    if row["reused_from"] is not None:
        return "reused"
    if not released or status not in ENDED:
        return None
    if status == "empty":
        return "no_match"
    return "failed" if status == "failed" else "below_ceiling"


async def watch(
    shared: Shared,
    organization_id: int,
    batch_id: UUID,
    row_number: int,
    after: int,
    disconnected: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[bytes]:
    """Server-sent events of one lead, after the step with id `after`.

    `state` when its status changes, `step` of a hunt under way, and when it has ended `trace` with the whole of it,
    then `done`.
    """
    state, spoke = "", time.monotonic()
    while not await disconnected():
        try:
            row, steps = await asyncio.to_thread(_look, shared, organization_id, batch_id, row_number, after)
        except Error as error:
            yield _message("error", None, {"code": error.code, "detail": error.message})
            return
        if row["status"] != state:
            state, spoke = row["status"], time.monotonic()
            yield _message("state", None, {"status": state, "tries": row["tries"]})
        for item in steps:
            after, spoke = item["id"], time.monotonic()
            yield _message("step", after, item["step"])
        if state in ENDED:
            found = await asyncio.to_thread(_detail, shared, organization_id, batch_id, row_number)
            yield _message("trace", None, {"steps": found.steps, "receipt": asdict(found.receipt)})
            yield _message("done", None, {})
            return
        if time.monotonic() - spoke > shared.settings.sse_idle_s:
            spoke = time.monotonic()
            yield b": still here\n\n"
        await asyncio.sleep(LOOK_S)


def _look(
    shared: Shared, organization_id: int, batch_id: UUID, row_number: int, after: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with shared.database.tx(organization_id) as tx:
        row = store.find_row(tx, organization_id, batch_id, row_number)
        if row is None:
            raise RowNotFound(f"The job has no row {row_number}.")
        steps = answer_store.list_steps(tx, organization_id, batch_id, row_number, after=after, limit=STEPS_MAX)
    return row, steps


def _detail(shared: Shared, organization_id: int, batch_id: UUID, row_number: int) -> JobRowDetail:
    with shared.database.tx(organization_id) as tx:
        found = detail(tx, organization_id, batch_id, row_number)
        if found.row.duplicate_of is None:
            return found
        return detail(tx, organization_id, batch_id, found.row.duplicate_of)


def _message(event: str, number: int | None, data: Any) -> bytes:
    id_line = f"id: {number}\n" if number is not None else ""
    return f"{id_line}event: {event}\ndata: ".encode() + jsons.dumps(data) + b"\n\n"
