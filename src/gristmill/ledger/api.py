"""HTTP of the ledger: balance, moves, top-ups and payments, and what the page /connect needs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gristmill import identity
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.http import CursorText, Dollars, Limit, UuidId, problem_responses, shared
from gristmill.base.money import parse_usd, usd
from gristmill.base.paging import CursorPage
from gristmill.base.routes import LateRoute
from gristmill.identity import Forbidden, NewApiKey, Scope
from gristmill.identity.api import AdminCall, AnyCall, Call, Once, OnceGuard, open_call
from gristmill.ledger import corrections, payments, service
from gristmill.ledger.model import Balance, Entry, Payment, PaymentStatus, PaymentTaken, local_path
from gristmill.tables import write_csv

router = APIRouter(prefix="/api/v1", tags=["Money"], route_class=LateRoute)

PAYMENT_RETRY_AFTER_S = 5
ENTRY_COLUMNS = (
    "id", "created_at", "kind", "debit", "credit", "amount_usd", "amount_micro_usd", "key", "batch_id", "row_number",
    "note",
)  # fmt: skip
ReturnPath = Annotated[
    str | None, Query(alias="return", max_length=500, description="Path of this site to go back to afterwards")
]
_payment_json: TypeAdapter[Payment] = TypeAdapter(Payment)


class TopUp(BaseModel):
    """Money to add."""

    model_config = ConfigDict(extra="forbid")

    amount_usd: Dollars = Field(description="Dollars, at most six decimal places.", examples=["25.00"])
    method: Literal["credit", "x402"] = Field(
        "credit", description="`credit` by an administrator, or a payment through x402 by anybody with a key."
    )
    key: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="What a credit is for, such as an invoice number: the same key never adds money twice.",
    )
    note: str = Field("", max_length=500, pattern=r"^[^\x00]*$")


MoveKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="What the move is for, such as a ticket number: the same key never moves money twice.",
        examples=["ticket 4711"],
    ),
]
MoveNote = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]


class Refund(BaseModel):
    """What a row cost, to be given back."""

    model_config = ConfigDict(extra="forbid")

    batch_id: UUID
    row_number: int = Field(ge=1, le=2**31 - 1)
    amount_usd: Dollars | None = Field(
        None, description="All that is left of what the row cost unless given.", examples=["0.05"]
    )
    key: MoveKey
    note: MoveNote = ""


class Adjustment(BaseModel):
    """A correction of the free balance."""

    model_config = ConfigDict(extra="forbid")

    amount_usd: Dollars = Field(description="Dollars to add; negative to take away.", examples=["-2.50"])
    key: MoveKey
    note: MoveNote = ""


class KeyMint(BaseModel):
    """A key for a program, made on the page /connect."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        "From the connect page", min_length=1, max_length=200, pattern=r"^[^\x00]*$", examples=["Nightly import"]
    )
    scope: Scope = "usage"
    agent_id: int | None = Field(None, ge=1, le=2**63 - 1, description="Limits the key to one agent.")
    return_: str | None = Field(None, alias="return", max_length=500, description="Path of this site to go back to.")


class Connection(BaseModel):
    """What the page /connect shows."""

    balance: Balance
    min_balance_usd: str = Field(description="What an enrichment needs to start.")
    min_balance_micro_usd: int
    topup_url: str = Field(description="Where money is added; it leads back to `return`.")
    return_path: str | None = Field(description="Checked: always a path of this site.")
    x402: bool = Field(description="Whether payments are taken through x402.")
    admin_credit: bool = Field(description="Whether this caller may credit the balance itself.")


class Minted(Connection):
    """The same, with the key just made."""

    key: NewApiKey


@router.get("/agents/balance", summary="Show the balance", responses=problem_responses(403))
def show_balance(call: AnyCall) -> Balance:
    """What the organization has: free, held for rows that run now, spent so far."""
    return service.balance(call.tx, call.organization_id)


@router.get(
    "/billing/ledger",
    summary="List money moves",
    responses={**problem_responses(403), 200: {"content": {"text/csv": {}}}},
    response_model=CursorPage[Entry],
)
def list_entries(
    request: Request,
    cursor: CursorText = None,
    limit: Limit = 100,
    batch_id: Annotated[UUID | None, Query(description="Only moves of this batch")] = None,
    format: Annotated[str, Query(pattern="^(json|csv)$", description="`csv` gives all of them as a file")] = "json",  # noqa: A002
) -> Any:
    """Append-only, newest first: every hold, settle, release and top-up with its key."""
    with open_call(request) as call:
        call.actor.require_whole_organization()
        organization_id = call.organization_id
        if format == "json":
            return service.entries(call.tx, organization_id, cursor=cursor, limit=limit, batch_id=batch_id)
    found = service.every_entry(shared(request).database, organization_id, batch_id=batch_id)
    lines = ([_cell(getattr(entry, name)) for name in ENTRY_COLUMNS] for entry in found)
    headers = {"Content-Disposition": 'attachment; filename="ledger.csv"'}
    return StreamingResponse(write_csv(lines, ENTRY_COLUMNS), media_type="text/csv; charset=utf-8", headers=headers)


def _cell(value: Any) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)


@router.post(
    "/billing/topups",
    status_code=201,
    summary="Add money",
    responses={**problem_responses(402, 403, 409, 503), 202: {"model": Payment}},
    response_model=Balance,
)
async def top_up(body: TopUp, request: Request, once: OnceGuard) -> Any:
    """A credit by an administrator, or a payment.

    A credit's `key` with the same amount again changes nothing. With `method` x402 the first answer is 402, whose
    header PAYMENT-REQUIRED says what to sign; the same call with PAYMENT-SIGNATURE settles it. 202 means that the
    payment was sent and its outcome is not known yet: look at it under /billing/payments, do not pay again.
    """
    amount = parse_usd(body.amount_usd, "amount_usd")
    if body.method == "credit":
        return await asyncio.to_thread(_credit, body, amount, request, once)
    state = shared(request)
    organization_id = await asyncio.to_thread(_caller, request)
    header = request.headers.get(payments.PAYMENT_HEADER)
    if header is None:
        what = "A top-up of the balance"
        raise await asyncio.to_thread(payments.required, state.settings, amount, what=what, url=str(request.url))
    try:
        payment = await payments.pay(state.database, state.settings, organization_id, header, purpose="top_up")
    except PaymentTaken:
        if "Idempotency-Key" not in request.headers:
            raise
        return await asyncio.to_thread(_balance, request, once)
    if payment.status == "settlement_pending":
        return pending_answer(payment)
    answer = await asyncio.to_thread(_balance, request, once)
    answer.headers.update(payments.response_headers(payment))
    return answer


def pending_answer(payment: Payment) -> Response:
    """What a call answers whose payment was sent and is not known to have arrived: wait, do not pay again."""
    headers = {**payments.response_headers(payment), "Retry-After": str(PAYMENT_RETRY_AFTER_S)}
    return Response(_payment_json.dump_json(payment), status_code=202, media_type="application/json", headers=headers)


def _require_treasurer(call: Call, request: Request) -> None:
    """Whoever moves money by a word alone: an administrator, where those may credit the balance."""
    call.actor.require_admin()
    call.actor.require_whole_organization()
    if not shared(request).settings.admin_credit:
        raise Forbidden("Here the balance is topped up by payments only.")


def _credit(body: TopUp, amount: int, request: Request, once: Once) -> Response:
    key = body.key
    with open_call(request) as call:
        _require_treasurer(call, request)
        if key is None:
            raise Invalid("A credit needs a `key`.", errors=(FieldError("key", "must say what the money is for"),))
        return once.run(
            call, 201, lambda: service.top_up(call.tx, call.organization_id, amount, key=key, note=body.note)
        )


def _caller(request: Request) -> int:
    with open_call(request) as call:
        return call.organization_id


def _balance(request: Request, once: Once) -> Response:
    with open_call(request) as call:
        return once.run(call, 201, lambda: service.balance(call.tx, call.organization_id))


@router.post(
    "/billing/refunds",
    status_code=201,
    summary="Refund a row",
    responses=problem_responses(403, 404, 409),
    response_model=Balance,
)
def refund_row(body: Refund, request: Request, call: AdminCall, once: OnceGuard) -> Any:
    """Give back what a row cost, or a part of it. The row's receipt shows it; its result stays."""
    _require_treasurer(call, request)
    amount = None if body.amount_usd is None else parse_usd(body.amount_usd, "amount_usd")
    return once.run(
        call,
        201,
        lambda: corrections.refund(
            call.tx, call.organization_id, body.batch_id, body.row_number, amount, key=body.key, note=body.note
        ),
    )


@router.post(
    "/billing/adjustments",
    status_code=201,
    summary="Adjust the balance",
    responses=problem_responses(402, 403, 409),
    response_model=Balance,
)
def adjust_balance(body: Adjustment, request: Request, call: AdminCall, once: OnceGuard) -> Any:
    """Correct the free balance, up or down; never below zero."""
    _require_treasurer(call, request)
    text = str(body.amount_usd).strip()
    size = parse_usd(text.removeprefix("-"), "amount_usd")
    amount = -size if text.startswith("-") else size
    return once.run(
        call,
        201,
        lambda: corrections.adjust(call.tx, call.organization_id, amount, key=body.key, note=body.note),
    )


@router.get("/billing/payments", summary="List payments", responses=problem_responses(403))
def list_payments(
    call: AnyCall, status: PaymentStatus | None = None, cursor: CursorText = None, limit: Limit = 100
) -> CursorPage[Payment]:
    """Payments through x402, newest first."""
    call.actor.require_whole_organization()
    return payments.list_payments(call.tx, call.organization_id, status=status, cursor=cursor, limit=limit)


@router.get("/billing/payments/{payment_id}", summary="Show a payment", responses=problem_responses(404))
def get_payment(payment_id: UuidId, call: AnyCall) -> Payment:
    """How a payment stands."""
    return payments.get(call.tx, call.organization_id, payment_id)


@router.get("/connect", summary="Show what the connect page needs", responses=problem_responses())
def show_connection(request: Request, call: AnyCall, return_: ReturnPath = None) -> Connection:
    """Balance, what an enrichment needs to start, and where to top up."""
    return Connection(**_connection(request, call, return_))


@router.post(
    "/connect",
    status_code=201,
    summary="Mint a key on the connect page",
    responses=problem_responses(403, 409),
    response_model=Minted,
)
def mint_key(body: KeyMint, request: Request, call: AdminCall, once: OnceGuard) -> Any:
    """A key for a program, shown this once, beside the balance it will spend from."""
    call.actor.require_whole_organization()

    def work() -> Minted:
        made = identity.issue_key(
            call.tx, call.organization_id, name=body.name, scope=body.scope, agent_id=body.agent_id
        )
        return Minted(**_connection(request, call, body.return_), key=made)

    return once.run(call, 201, work)


def _connection(request: Request, call: Call, back: str | None) -> dict[str, Any]:
    current = shared(request).settings
    path = None if back is None else local_path(back)
    least = parse_usd(current.batch_enrich_min_balance_usd, "BATCH_ENRICH_MIN_BALANCE_USD")
    return {
        "balance": service.balance(call.tx, call.organization_id),
        "min_balance_usd": usd(least),
        "min_balance_micro_usd": least,
        "topup_url": payments.topup_url(path or ""),
        "return_path": path,
        "x402": payments.enabled(current),
        "admin_credit": current.admin_credit and call.actor.scope == "admin" and call.actor.agent_id is None,
    }
