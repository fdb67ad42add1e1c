"""HTTP of the ledger."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gristmill.base.http import CursorText, Limit, problem_responses
from gristmill.base.money import parse_usd
from gristmill.base.paging import CursorPage
from gristmill.identity.api import AdminCall, AnyCall, OnceGuard
from gristmill.ledger import service
from gristmill.ledger.model import Balance, Entry
from gristmill.tables import write_csv

router = APIRouter(prefix="/api/v1", tags=["Money"])


class TopUp(BaseModel):
    """Money to add."""

    model_config = ConfigDict(extra="forbid")

    amount_usd: str | float | int = Field(description="Dollars, at most six decimal places.", examples=["25.00"])
    key: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="What the money is for, such as an invoice number: the same key never adds money twice.",
    )
    note: str = Field("", max_length=500)


@router.get("/agents/balance", summary="Show the balance", responses=problem_responses(403))
def show_balance(call: AnyCall) -> Balance:
    """What the organization has: free, held for rows that run now, spent so far."""
    return service.balance(call.tx, call.organization_id)


@router.get(
    "/billing/ledger", summary="List money moves", responses=problem_responses(403), response_model=CursorPage[Entry]
)
def list_entries(
    call: AnyCall,
    cursor: CursorText = None,
    limit: Limit = 100,
    batch_id: Annotated[UUID | None, Query(description="Only moves of this batch")] = None,
    format: Annotated[str, Query(pattern="^(json|csv)$", description="`csv` gives the page as a file")] = "json",  # noqa: A002
) -> Any:
    """Append-only, newest first: every hold, settle, release and top-up with its key."""
    call.actor.require_whole_organization()
    page = service.entries(call.tx, call.organization_id, cursor=cursor, limit=limit, batch_id=batch_id)
    if format == "json":
        return page
    names = ("id", "created_at", "kind", "debit", "credit", "amount_usd", "key", "batch_id", "row_number", "note")
    lines = (
        [str(getattr(entry, name) if getattr(entry, name) is not None else "") for name in names] for entry in page.data
    )
    headers = {"X-Next-Cursor": page.meta.next_cursor} if page.meta.next_cursor else None
    return Response(b"".join(write_csv(lines, names)), media_type="text/csv; charset=utf-8", headers=headers)


@router.post(
    "/billing/topups",
    status_code=201,
    summary="Add money",
    responses=problem_responses(403, 409),
    response_model=Balance,
)
def top_up(body: TopUp, call: AdminCall, once: OnceGuard) -> Any:
    """Credit by an administrator. The same `key` with the same amount changes nothing."""
    call.actor.require_whole_organization()
    amount = parse_usd(body.amount_usd, "amount_usd")
    return once.run(
        call, 201, lambda: service.top_up(call.tx, call.organization_id, amount, key=body.key, note=body.note)
    )
