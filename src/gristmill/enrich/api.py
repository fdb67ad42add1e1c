"""HTTP of enrichment jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gristmill import inventory, ledger
from gristmill.base.db import Tx
from gristmill.base.errors import Malformed
from gristmill.base.http import NDJSON, CursorText, Limit, UuidId, problem_responses, shared
from gristmill.base.paging import CursorPage
from gristmill.base.routes import LateRoute
from gristmill.batches import RowStatus
from gristmill.enrich import columns as leads
from gristmill.enrich import download, rows, service
from gristmill.enrich.model import (
    Job,
    JobMapping,
    JobNotFound,
    JobQuote,
    JobRow,
    JobRowDetail,
    Preview,
    TokenUnknown,
)
from gristmill.identity.api import AnyCall, Call, Once, OnceGuard, authenticate, open_call
from gristmill.ledger import BalanceTooLow, Payment

router = APIRouter(prefix="/api/v1/batch/enrich", tags=["Enrichment"], route_class=LateRoute)

COLUMNS_PER_FIELD_MAX = 20
TOKEN_SCHEME = "batch"  # noqa: S105 - the name of the scheme
RETRY_AFTER_S = "5"
BY_TOKEN: dict[str, Any] = {"security": [{"key": []}, {"upload_token": []}]}
"""Of routes that the holder of an upload token may use, too."""

RowNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="Row, from 1, in the order of the file")]
_payment_json: TypeAdapter[Payment] = TypeAdapter(Payment)


class LinkBody(BaseModel):
    """What opens an anonymous upload."""

    model_config = ConfigDict(extra="forbid")

    upload_token: str = Field(min_length=1, max_length=service.TOKEN_CHARS_MAX, examples=["gm_upload_..."])
    agent: int | None = Field(None, ge=1, le=2**63 - 1)


class LabelBody(BaseModel):
    """Columns that name a row."""

    model_config = ConfigDict(extra="forbid")

    primary_column: str | None = None
    location_columns: list[str] = Field(default_factory=list, max_length=COLUMNS_PER_FIELD_MAX)


class MappingPatch(BaseModel):
    """Edits of a mapping; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    fields: dict[str, list[str]] = Field(
        default_factory=dict,
        max_length=50,
        description="Field -> columns in the order in which they are joined; an empty list leaves it unmapped.",
        examples=[{"street": ["Address 1", "Address 2"]}],
    )
    variants: list[str] | None = Field(None, max_length=1000, description="Columns to try when little is found.")
    chat_label: LabelBody | None = None


@router.get("", summary="List enrichment jobs", responses=problem_responses(403))
def list_jobs(call: AnyCall, cursor: CursorText = None, limit: Limit = 50) -> CursorPage[Job]:
    """Newest first."""
    call.actor.require_whole_organization()
    return service.list_jobs(call.tx, call.organization_id, cursor=cursor, limit=limit)


@router.post(
    "/{batch_id}/link",
    summary="Link an anonymous upload",
    responses=problem_responses(403, 404, 409),
    response_model=Job,
)
def link(batch_id: UuidId, body: LinkBody, request: Request, once: OnceGuard) -> Any:
    """Bind it to the key's organization, and to its lead enricher. The token works once."""
    state = shared(request)
    with open_call(request) as call:
        kept = once.kept(call)
    if kept is not None:
        return kept
    with state.database.system() as tx:
        actor = authenticate(tx, request)
        if body.agent is not None:
            actor.require_agent(body.agent)
        chosen = body.agent or actor.agent_id
        job = service.link(tx, actor.organization_id, state.settings, batch_id, body.upload_token, agent_id=chosen)
        tx.enter(actor.organization_id)
        return once.run(Call(actor, tx), 200, lambda: job)


_START_RESPONSES: dict[int | str, dict[str, Any]] = {
    **problem_responses(402, 404, 409, 503),
    202: {"model": Payment, "description": "The payment was sent and its outcome is not known yet; do not pay again"},
}


@router.post("/{batch_id}/start", summary="Start a job", responses=_START_RESPONSES, response_model=Job)
async def start(batch_id: UuidId, request: Request, once: OnceGuard) -> Any:
    """Needs the minimum balance: 402 says what is missing and where to top up.

    With payments through x402 switched on, the same call with PAYMENT-SIGNATURE adds it and starts.
    """
    return await _start_or_pay(batch_id, request, once)


@router.post("/{batch_id}/resume", summary="Resume a job", responses=_START_RESPONSES, response_model=Job)
async def resume(batch_id: UuidId, request: Request, once: OnceGuard) -> Any:
    """The same after a pause; finished rows are neither run nor billed again."""
    return await _start_or_pay(batch_id, request, once)


async def _start_or_pay(batch_id: UUID, request: Request, once: Once) -> Response:
    state = shared(request)
    try:
        return await asyncio.to_thread(_start, batch_id, request, once)
    except BalanceTooLow as error:
        refused = error
    header = request.headers.get(ledger.PAYMENT_HEADER)
    if header is None or not ledger.enabled(state.settings):
        raise await asyncio.to_thread(_too_low, request, batch_id, refused)
    organization_id = await asyncio.to_thread(_organization, request)
    payment = await ledger.pay(
        state.database, state.settings, organization_id, header, purpose=f"enrich_start:{batch_id}"
    )
    paid = ledger.response_headers(payment)
    if payment.status == "settlement_pending":
        body = _payment_json.dump_json(payment)
        headers = {**paid, "Retry-After": RETRY_AFTER_S}
        return Response(body, status_code=202, media_type="application/json", headers=headers)
    try:
        answer = await asyncio.to_thread(_start, batch_id, request, once)
    except BalanceTooLow as error:  # it was paid, but not enough
        raise await asyncio.to_thread(_too_low, request, batch_id, error) from None
    answer.headers.update(paid)
    return answer


def _start(batch_id: UUID, request: Request, once: Once) -> Response:
    with open_call(request) as call:
        _check_agent(service.get(call.tx, call.organization_id, batch_id), call.actor.agent_id)
        settings = shared(request).settings
        return once.run(call, 200, lambda: service.start(call.tx, call.organization_id, settings, batch_id))


def _organization(request: Request) -> int:
    with open_call(request) as call:
        return call.organization_id


def _too_low(request: Request, batch_id: UUID, error: BalanceTooLow) -> BalanceTooLow:
    return ledger.too_low(
        shared(request).settings,
        available=cast("int", error.facts["available_micro_usd"]),
        needed=cast("int", error.facts["needed_micro_usd"]),
        what=service.WHAT_NEEDS,
        url=str(request.url),
        back=f"/batch/{batch_id}",
    )


def _check_agent(job: Job, agent_id: int | None) -> None:
    if agent_id not in {None, job.agent_id}:
        raise JobNotFound(f"There is no enrichment job {job.id}.")


@contextmanager
def _open_job(request: Request, batch_id: UUID) -> Generator[tuple[Tx, int]]:
    """A job for whoever may look at it: its organization by key or session, or the holder of its upload token."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != TOKEN_SCHEME:
        with open_call(request) as call:
            _check_agent(service.get(call.tx, call.organization_id, batch_id), call.actor.agent_id)
            yield call.tx, call.organization_id
        return
    if not token.strip():
        raise TokenUnknown
    with shared(request).database.system() as tx:
        organization_id = service.organization_of_token(tx, batch_id, token.strip())
        tx.enter(organization_id)
        yield tx, organization_id


@router.get("/{batch_id}", summary="Show a job", responses=problem_responses(404), openapi_extra=BY_TOKEN)
def get_job(batch_id: UuidId, request: Request) -> Job:
    """Its status and counts. With a key, or with `Authorization: Batch <upload_token>` before it is linked."""
    with _open_job(request, batch_id) as (tx, organization_id):
        return service.get(tx, organization_id, batch_id)


@router.get(
    "/{batch_id}/preview",
    summary="Show what was found, in counts",
    responses=problem_responses(404),
    openapi_extra=BY_TOKEN,
)
def get_preview(batch_id: UuidId, request: Request) -> Preview:
    """People, phones, e-mails: how many, never which."""
    with _open_job(request, batch_id) as (tx, organization_id):
        return service.preview(tx, organization_id, batch_id)


@router.get("/{batch_id}/quote", summary="Quote a job", responses=problem_responses(404), openapi_extra=BY_TOKEN)
def get_quote(batch_id: UuidId, request: Request) -> JobQuote:
    """What it costs at most, and what the balance lacks."""
    with _open_job(request, batch_id) as (tx, organization_id):
        return service.quote(tx, organization_id, shared(request).settings, batch_id)


@router.get("/{batch_id}/mapping", summary="Show the mapping", responses=problem_responses(404), openapi_extra=BY_TOKEN)
def get_mapping(batch_id: UuidId, request: Request) -> JobMapping:
    """Which columns became which fields, how sure that is, and why."""
    with _open_job(request, batch_id) as (tx, organization_id):
        return service.mapping_of(tx, organization_id, batch_id)


@router.patch(
    "/{batch_id}/mapping",
    summary="Change the mapping",
    responses=problem_responses(404, 409),
    openapi_extra=BY_TOKEN,
)
def patch_mapping(batch_id: UuidId, body: MappingPatch, request: Request) -> JobMapping:
    """Before the start: the rows are read anew from the file, by the edited mapping."""
    with _open_job(request, batch_id) as (tx, organization_id):
        columns, stored = service.columns_of(tx, organization_id, batch_id)
    label = None
    if body.chat_label is not None:
        label = (body.chat_label.primary_column, body.chat_label.location_columns)
    changed = leads.edited(columns, body.fields, body.variants, label)
    with inventory.open_file(stored, shared(request).settings) as file:
        changed = leads.with_samples(changed, stored.dialect, file)
        file.seek(0)
        with _open_job(request, batch_id) as (tx, organization_id):
            service.remap(tx, organization_id, batch_id, changed, file)
            return service.mapping_of(tx, organization_id, batch_id)


@router.get(
    "/{batch_id}/rejects",
    summary="Download what is no row",
    responses={**problem_responses(404), 200: {"content": {NDJSON: {}}}},
    response_class=Response,
    openapi_extra=BY_TOKEN,
)
def download_rejects(batch_id: UuidId, request: Request) -> Response:
    """Records of the file that are no rows, as JSON lines: line, reason and text."""
    with _open_job(request, batch_id) as (tx, organization_id):
        _, stored = service.columns_of(tx, organization_id, batch_id)
    headers = {"Content-Disposition": f'attachment; filename="{batch_id}.rejects.jsonl"'}
    return StreamingResponse(
        inventory.write_rejects(stored, shared(request).settings), media_type=NDJSON, headers=headers
    )


@router.get(
    "/{batch_id}/download.csv",
    summary="Download the results",
    responses={**problem_responses(404), 200: {"content": {"text/csv": {}}}},
    response_class=Response,
)
def download_csv(
    batch_id: UuidId,
    request: Request,
    layout: Annotated[
        Literal["flat", "original"],
        Query(description="`original`: the uploaded columns with the results appended, in the file's own form"),
    ] = "flat",
) -> Response:
    """One line per lead in upload order: how it ended, what it cost, and the result flattened."""
    state = shared(request)
    with open_call(request) as call:
        organization_id = call.organization_id
        _check_agent(service.get(call.tx, organization_id, batch_id), call.actor.agent_id)
    media_type = "text/csv; charset=utf-8"
    if layout == "flat":
        chunks: Any = download.flat_csv(state.database, organization_id, batch_id)
    else:
        chunks, media_type = download.original_csv(state.database, state.settings, organization_id, batch_id)
    headers = {"Content-Disposition": f'attachment; filename="enriched-{batch_id}.csv"'}
    return StreamingResponse(chunks, media_type=media_type, headers=headers)


@router.get("/{batch_id}/rows", summary="List a job's leads", responses=problem_responses(404))
def list_rows(
    batch_id: UuidId,
    request: Request,
    status: RowStatus | None = None,
    cursor: CursorText = None,
    limit: Limit = 100,
) -> CursorPage[JobRow]:
    """In upload order, each by its title."""
    with open_call(request) as call:
        _check_agent(service.get(call.tx, call.organization_id, batch_id), call.actor.agent_id)
        return rows.list_rows(call.tx, call.organization_id, batch_id, status=status, cursor=cursor, limit=limit)


@router.get("/{batch_id}/rows/{row_number}", summary="Show a lead", responses=problem_responses(404))
def get_row(batch_id: UuidId, row_number: RowNumber, request: Request) -> JobRowDetail:
    """Its input, its result, the trace of its hunt, and the receipt of what it cost."""
    with open_call(request) as call:
        _check_agent(service.get(call.tx, call.organization_id, batch_id), call.actor.agent_id)
        return rows.detail(call.tx, call.organization_id, batch_id, row_number)


@router.get(
    "/{batch_id}/rows/{row_number}/events",
    summary="Watch a hunt",
    responses={**problem_responses(404), 200: {"content": {"text/event-stream": {}}}},
    response_class=Response,
)
async def watch_row(batch_id: UuidId, row_number: RowNumber, request: Request) -> Response:
    """Server-sent events: `state`, each `step` as it is taken, and at the end `trace` with the whole and `done`.

    Steps have ids: reconnect with `Last-Event-ID` and none is missed.
    """

    def check() -> int:
        with open_call(request) as call:
            _check_agent(service.get(call.tx, call.organization_id, batch_id), call.actor.agent_id)
            rows.detail(call.tx, call.organization_id, batch_id, row_number)
            return call.organization_id

    organization_id = await asyncio.to_thread(check)
    last = request.headers.get("last-event-id", "")
    if last and not (last.isascii() and last.isdigit() and len(last) < 19):  # noqa: PLR2004 - int64
        raise Malformed("`Last-Event-ID` is not one of ours.")
    events = rows.watch(shared(request), organization_id, batch_id, row_number, int(last or 0), request.is_disconnected)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
