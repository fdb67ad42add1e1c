"""HTTP of batches that exist; `making` has how they come to be."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from gristmill import agents
from gristmill.base.http import CursorText, Id, Limit, UuidId, problem_responses, shared
from gristmill.base.ids import split_row_uuid
from gristmill.base.paging import CursorPage, FullList, full_list
from gristmill.base.routes import LateRoute
from gristmill.batches import service
from gristmill.batches.export import FORMATS, export
from gristmill.batches.making.api import agent_of
from gristmill.batches.model import (
    SELECTED_ROWS_MAX,
    Batch,
    BatchNotFound,
    BatchRow,
    FailureGroup,
    Receipt,
    RowDetail,
    RowStatus,
    Status,
)
from gristmill.batches.stream import event_stream
from gristmill.identity.api import AnyCall, Call, OnceGuard, open_call

router = APIRouter(prefix="/api/v1", tags=["Batches"], route_class=LateRoute)


class RetryBody(BaseModel):
    """Which rows run again; all failed and cancelled ones when nothing is named."""

    model_config = ConfigDict(extra="forbid")

    row_ids: list[UUID] | None = Field(None, min_length=1, max_length=SELECTED_ROWS_MAX, description="Chosen rows.")
    error_code: str | None = Field(
        None,
        max_length=100,
        pattern=r"^[^\x00]*$",
        description="Failed rows with this cause only.",
        examples=["timed_out"],
    )
    changed_since: UUID | None = Field(
        None, description="Rows whose input has no successful result in this other batch."
    )
    update_agent: bool = Field(
        default=False, description="Run them with the agent as it is now instead of as it was when the batch was made."
    )


@router.get(
    "/agents/{agent_id}/batch_executions", summary="List an agent's batches", responses=problem_responses(403, 404)
)
def list_agent_batches(
    agent_id: Id, call: AnyCall, status: Status | None = None, cursor: CursorText = None, limit: Limit = 50
) -> CursorPage[Batch]:
    """Newest first."""
    agent_of(call, agent_id)
    return service.list_batches(
        call.tx, call.organization_id, agent_id=agent_id, status=status, cursor=cursor, limit=limit
    )


@router.get("/batch_executions", summary="List batches", responses=problem_responses())
def list_batches(
    call: AnyCall, status: Status | None = None, cursor: CursorText = None, limit: Limit = 50
) -> CursorPage[Batch]:
    """All batches of the organization, newest first."""
    return service.list_batches(
        call.tx, call.organization_id, agent_id=call.actor.agent_id, status=status, cursor=cursor, limit=limit
    )


def _batch(call: Call, batch_id: UUID) -> Batch:
    """A batch that this caller may see: one of another agent is not there for a key limited to an agent."""
    found = service.get(call.tx, call.organization_id, batch_id)
    if call.actor.agent_id not in {None, found.agent_id}:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    return found


@router.get("/batch_executions/{batch_id}", summary="Show a batch", responses=problem_responses(404))
def get_batch(batch_id: UuidId, call: AnyCall) -> Batch:
    """Progress, counts, spending, rate and time left."""
    return _batch(call, batch_id)


@router.get("/batch_executions/{batch_id}/receipt", summary="Show the receipt", responses=problem_responses(404))
def get_receipt(batch_id: UuidId, call: AnyCall) -> Receipt:
    """The counted proof that nothing was lost; `closed` once every row has ended."""
    _batch(call, batch_id)
    return service.receipt(call.tx, call.organization_id, batch_id)


@router.get("/batch_executions/{batch_id}/rows", summary="List rows", responses=problem_responses(404))
def list_rows(
    batch_id: UuidId,
    call: AnyCall,
    status: RowStatus | None = None,
    q: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Text in data, result or error")
    ] = None,
    error_code: Annotated[
        str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Failed rows with this cause")
    ] = None,
    cursor: CursorText = None,
    limit: Limit = 100,
) -> CursorPage[BatchRow]:
    """Rows in the order of the user's rows."""
    _batch(call, batch_id)
    return service.list_rows(
        call.tx,
        call.organization_id,
        batch_id,
        status=status,
        query=q,
        cursor=cursor,
        limit=limit,
        error_code=error_code,
    )


@router.get("/batch_executions/{batch_id}/rows/{row_id}", summary="Show a row", responses=problem_responses(404))
def get_row(batch_id: UuidId, row_id: UuidId, call: AnyCall) -> RowDetail:
    """A row with its input, attempts, trace and charges."""
    _batch(call, batch_id)
    if split_row_uuid(row_id)[0] != batch_id:
        raise BatchNotFound(f"Row {row_id} is not of batch {batch_id}.")
    return service.row_detail(call.tx, call.organization_id, row_id)


@router.get("/batch_executions/{batch_id}/failures", summary="Group failures", responses=problem_responses(404))
def list_failures(batch_id: UuidId, call: AnyCall) -> FullList[FailureGroup]:
    """Failed rows by cause, most frequent first; retry one group by its `error_code`."""
    _batch(call, batch_id)
    return full_list(service.failures(call.tx, call.organization_id, batch_id))


@router.post("/batch_executions/{batch_id}/pause", summary="Pause", responses=problem_responses(404, 409))
def pause_batch(batch_id: UuidId, call: AnyCall) -> Batch:
    """No further row starts within a second; rows in flight, at most the agent's concurrency, finish."""
    _batch(call, batch_id)
    return service.pause(call.tx, call.organization_id, batch_id)


@router.post("/batch_executions/{batch_id}/resume", summary="Resume", responses=problem_responses(402, 404, 409))
def resume_batch(batch_id: UuidId, call: AnyCall) -> Batch:
    """Go on with a paused or failed batch; finished rows are neither run nor billed again.

    A batch of uploaded leads needs the minimum balance here, too; its own `resume` takes payments as well.
    """
    _batch(call, batch_id)
    return service.resume(call.tx, call.organization_id, batch_id)


@router.post("/batch_executions/{batch_id}/cancel", summary="Cancel", responses=problem_responses(404, 409))
def cancel_batch(batch_id: UuidId, call: AnyCall) -> Batch:
    """Rows not started are cancelled at once; rows in flight finish and are kept."""
    _batch(call, batch_id)
    return service.cancel(call.tx, call.organization_id, batch_id)


@router.post(
    "/batch_executions/{batch_id}/retry",
    summary="Run rows again",
    responses=problem_responses(404, 409),
    response_model=Batch,
)
def retry_batch(batch_id: UuidId, call: AnyCall, once: OnceGuard, body: RetryBody | None = None) -> Any:
    """Failed rows, chosen rows, or rows changed since another batch. Other rows are neither run nor billed again."""
    body = body or RetryBody.model_validate({})
    found = _batch(call, batch_id)
    agent = agents.get(call.tx, call.organization_id, found.agent_id)
    order = service.RetryOrder(body.row_ids, body.error_code, body.changed_since, body.update_agent)
    return once.run(call, 200, lambda: service.retry(call.tx, call.organization_id, batch_id, order, agent))


@router.get(
    "/batch_executions/{batch_id}/export.{kind}",
    summary="Export results",
    responses={**problem_responses(404), 200: {"content": {media: {} for media in FORMATS.values()}}},
    response_class=Response,
)
def export_batch(batch_id: UuidId, kind: str, request: Request) -> Response:
    """`csv`, `xlsx`, `jsonl` or `parquet`, in the order of the rows.

    A line has your columns, how the row ended, and the result with nested values in columns of their own, `a.0.b`.
    """
    with open_call(request) as call:
        _batch(call, batch_id)
        organization_id = call.organization_id
    chunks = export(shared(request).database, organization_id, batch_id, kind)
    headers = {"Content-Disposition": f'attachment; filename="batch-{batch_id}.{kind}"'}
    return StreamingResponse(chunks, media_type=FORMATS[kind], headers=headers)


@router.get(
    "/batch_executions/{batch_id}/events",
    summary="Watch a batch",
    responses={**problem_responses(404), 200: {"content": {"text/event-stream": {}}}},
    response_class=Response,
)
@router.get(
    "/batches/{batch_id}/events",
    summary="Watch a batch, by its shorter path",
    responses={**problem_responses(404), 200: {"content": {"text/event-stream": {}}}},
    response_class=Response,
)
async def watch_batch(batch_id: UuidId, request: Request) -> Response:
    """Server-sent events: `progress` with the batch, `rows` with `[row number, status, micro-USD, ms, error code]`.

    Each has the batch's revision as its id: reconnect with `Last-Event-ID` and nothing is missed. `done` ends the
    stream when the batch has ended.
    """

    def check() -> int:
        with open_call(request) as call:
            _batch(call, batch_id)
            return call.organization_id

    organization_id = await asyncio.to_thread(check)
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else None  # noqa: PLR2004 - int64
    events = event_stream(shared(request), organization_id, batch_id, after, request.is_disconnected)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
