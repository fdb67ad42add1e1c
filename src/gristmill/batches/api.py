"""HTTP of batches."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, BinaryIO, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from gristmill import agents, inventory, sources
from gristmill.agents import Agent
from gristmill.base import jsons
from gristmill.base.errors import Error, FieldError, Invalid, Malformed
from gristmill.base.http import NDJSON, CursorText, Id, Limit, UuidId, problem_responses, shared
from gristmill.base.ids import split_row_uuid
from gristmill.base.money import parse_usd
from gristmill.base.paging import CursorPage
from gristmill.batches import quote as quotes
from gristmill.batches import service
from gristmill.batches.columns import find_columns
from gristmill.batches.export import FORMATS, export
from gristmill.batches.intake import EXTERNAL_ID_CHARS_MAX, rows_of_items, rows_of_ndjson
from gristmill.batches.model import (
    PRIORITY_DEFAULT,
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
from gristmill.batches.quote import Quote
from gristmill.batches.stream import event_stream
from gristmill.identity.api import AnyCall, Call, Once, OnceGuard, open_call

router = APIRouter(prefix="/api/v1", tags=["Batches"])

INT32_MAX = 2**31 - 1
ITEMS_MAX = 100_000
SPOOL_BYTES = 1024**2
REUSE_S_MAX = 366 * 86_400


class Options(BaseModel):
    """How rows are run."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=200, pattern=r"^[^\x00]*$")
    mapping: dict[str, str] | None = Field(
        None, max_length=1000, description="Agent field -> column of the rows.", examples=[{"email": "E-Mail"}]
    )
    row_limit: int | None = Field(
        None, ge=1, le=INT32_MAX, description="Rows beyond it are kept as skipped and not run."
    )
    budget_usd: str | float | int | None = Field(
        None, description="The batch pauses before it would spend more.", examples=["20.00"]
    )
    max_failures: int | None = Field(
        None, ge=0, le=INT32_MAX, description="The batch pauses when more rows than this have failed."
    )
    priority: int = Field(PRIORITY_DEFAULT, ge=0, le=1000, description="Lower goes first among batches of one agent.")
    callback_url: str | None = Field(None, max_length=2048, pattern=r"^https?://[^\x00]+$")
    reuse_within_s: int | None = Field(
        None,
        ge=1,
        le=REUSE_S_MAX,
        description="Take results of the same agent version and input from batches this young.",
    )


class BatchCreate(Options):
    """Rows and how to run them: exactly one of `items`, `data_source_id` and `inventory_id`."""

    items: list[Any] | None = Field(
        None, max_length=ITEMS_MAX, description="Rows as JSON objects.", examples=[[{"email": "ana@example.com"}]]
    )
    data_source_id: int | None = Field(None, ge=1, le=2**63 - 1, description="A saved source; its mapping is used.")
    snapshot_id: UUID | None = Field(None, description="Run the rows that a preview with `snapshot: true` showed.")
    inventory_id: UUID | None = Field(
        None,
        validation_alias=AliasChoices("inventory_id", "upload_id"),
        description="A file of the agent's inventory; `upload_id` is another name for it.",
    )
    external_ids: list[str] | None = Field(
        None, max_length=ITEMS_MAX, description="Your id of each row, in the order of `items`."
    )


class QuoteBody(BatchCreate):
    """The same body as for a batch, and how many rows to try for real."""

    pilot_rows: int = Field(
        0, ge=0, le=quotes.PILOT_ROWS_MAX, description="Rows, spread evenly, that are run now, unbilled, to estimate."
    )


class RetryBody(BaseModel):
    """Which rows run again; all failed and cancelled ones when nothing is named."""

    model_config = ConfigDict(extra="forbid")

    row_ids: list[UUID] | None = Field(None, min_length=1, max_length=SELECTED_ROWS_MAX, description="Chosen rows.")
    error_code: str | None = Field(
        None, max_length=100, pattern=r"^[^\x00]*$", description="Failed rows with this cause only."
    )
    changed_since: UUID | None = Field(
        None, description="Rows whose input has no successful result in this other batch."
    )
    update_agent: bool = Field(
        default=False, description="Run them with the agent as it is now instead of as it was when the batch was made."
    )


class LegacyRun(Options):
    """A run of an agent over a saved source."""

    data_source_id: int = Field(ge=1, le=2**63 - 1)
    agent_id: int = Field(ge=1, le=2**63 - 1)
    snapshot_id: UUID | None = None


_Rows = Iterable[Mapping[str, Any]]


def _order(
    body: Options, origin: Mapping[str, Any], mapping: Mapping[str, str], columns: list[str], external: list[str] | None
) -> service.Order:
    if external is not None:
        _check_external_ids(external)
    return service.Order(
        origin=origin,
        mapping=mapping,
        columns=columns,
        name=body.name,
        row_limit=body.row_limit,
        budget_micro_usd=None if body.budget_usd is None else parse_usd(body.budget_usd, "budget_usd"),
        max_failures=body.max_failures,
        priority=body.priority,
        callback_url=body.callback_url,
        reuse_within_s=body.reuse_within_s,
        external_ids=external,
    )


def _check_external_ids(ids: list[str]) -> None:
    for index, item in enumerate(ids):
        if len(item) > EXTERNAL_ID_CHARS_MAX or "\x00" in item:
            message = f"must be a text of at most {EXTERNAL_ID_CHARS_MAX} characters"
            raise Invalid(f"`external_ids.{index}` {message}.", errors=(FieldError(f"external_ids.{index}", message),))


@contextmanager
def _rows_of(request: Request, agent_id: int, body: BatchCreate | LegacyRun) -> Generator[tuple[service.Order, _Rows]]:
    """Order and rows of a JSON body. Rows of a source or file are read here, before any transaction that uses them."""
    items, file_id, external = None, None, None
    if isinstance(body, BatchCreate):
        items, file_id, external = body.items, body.inventory_id, body.external_ids
    if [items, body.data_source_id, file_id].count(None) != 2:  # noqa: PLR2004 - one of the three is there
        message = "exactly one of `items`, `data_source_id` and `inventory_id` is needed"
        raise Invalid(f"{message.capitalize()}.", errors=(FieldError("items", message),))
    if items is not None:
        yield _order(body, {"kind": "items"}, body.mapping or {}, [], external), list(rows_of_items(items))
    elif file_id is not None:
        with _open_file(request, agent_id, file_id) as file:
            origin = {"kind": "inventory", "inventory_id": str(file_id), "name": file.name}
            yield _order(body, origin, body.mapping or {}, file.columns, external), file.rows
    else:
        with _open_source(request, body) as (opened, origin):
            mapping = opened.mapping if body.mapping is None else body.mapping
            yield _order(body, origin, mapping, opened.columns, external), opened.rows


@contextmanager
def _open_file(request: Request, agent_id: int, file_id: UUID) -> Generator[inventory.OpenedFile]:
    with open_call(request) as call:
        _agent(call, agent_id)
        stored = inventory.get(call.tx, call.organization_id, file_id, agent_id=agent_id)
    with inventory.open_rows(stored, shared(request).settings) as opened:
        yield opened


@contextmanager
def _open_source(
    request: Request, body: BatchCreate | LegacyRun
) -> Generator[tuple[sources.OpenedRows, dict[str, Any]]]:
    source_id = cast("int", body.data_source_id)
    with open_call(request) as call:
        source = sources.get(call.tx, call.organization_id, source_id)
        snapshot = None
        if body.snapshot_id is not None:
            snapshot = sources.find_snapshot(call.tx, call.organization_id, source_id, body.snapshot_id)
    with sources.open_rows(source, shared(request).settings, snapshot=snapshot) as opened:
        origin: dict[str, Any] = {"kind": "data_source", "data_source_id": source_id, "name": opened.name}
        if body.snapshot_id is not None:
            origin["snapshot_id"] = str(body.snapshot_id)
        yield opened, origin


def _agent(call: Call, agent_id: int) -> Agent:
    call.actor.require_agent(agent_id)
    return agents.get(call.tx, call.organization_id, agent_id)


_CREATE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": BatchCreate.model_json_schema()},
            NDJSON: {"schema": {"type": "string", "description": "One JSON object per line; options go in the query."}},
        },
    }
}


@router.post(
    "/agents/{agent_id}/batch_executions",
    status_code=202,
    summary="Run an agent over rows",
    responses=problem_responses(403, 404, 409, 413, 415),
    response_model=Batch,
    openapi_extra=_CREATE_BODY,
)
async def create_batch(agent_id: Id, request: Request, once: OnceGuard) -> Any:
    """Rows as JSON (`items`), from a saved source (`data_source_id`), or streamed as JSON lines.

    A stream (`Content-Type: application/x-ndjson`) may hold millions of rows; its options are query parameters of the
    same names, with `mapping` as JSON. Identical rows run once; rows with refused input end as failed, before anything
    is charged.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == NDJSON:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            digest = await _spool(request, cast("BinaryIO", spool))
            options = _query_options(request)
            return await asyncio.to_thread(
                _create_streamed, request, once, agent_id, options, cast("BinaryIO", spool), digest
            )
    if kind != "application/json":
        raise UnsupportedType(f"Send application/json or {NDJSON}, not `{kind[:60]}`.")
    body = _parse_body(BatchCreate, await request.body())
    return await asyncio.to_thread(_create_from_json, request, once, agent_id, body)


async def _spool(request: Request, spool: BinaryIO) -> bytes:
    """Keep a streamed body in a file; answers its SHA-256."""
    digest = hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
        await asyncio.to_thread(spool.write, chunk)
    spool.seek(0)
    digest.update(request.url.query.encode())
    return digest.digest()


def _create_streamed(
    request: Request, once: Once, agent_id: int, options: Options, stream: BinaryIO, digest: bytes
) -> Response:
    current = shared(request).settings
    with open_call(request) as call:
        agent = _agent(call, agent_id)
        order = _order(options, {"kind": "ndjson"}, options.mapping or {}, [], None)
        rows = rows_of_ndjson(stream, line_bytes_max=current.row_bytes_max * 2)
        return once.run(
            call, 202, lambda: service.create(call.tx, call.organization_id, agent, order, rows), digest=digest
        )


def _create_from_json(request: Request, once: Once, agent_id: int, body: BatchCreate | LegacyRun) -> Response:
    with _rows_of(request, agent_id, body) as (order, rows), open_call(request) as call:
        agent = _agent(call, agent_id)
        return once.run(call, 202, lambda: service.create(call.tx, call.organization_id, agent, order, rows))


def _query_options(request: Request) -> Options:
    values: dict[str, Any] = dict(request.query_params)
    if "mapping" in values:
        try:
            values["mapping"] = jsons.loads(values["mapping"])
        except ValueError:
            message = "must be a JSON object"
            raise Invalid(f"`mapping` {message}.", errors=(FieldError("mapping", message),)) from None
    return _validated(Options, values)


def _parse_body(model: type[BatchCreate], raw: bytes) -> BatchCreate:
    try:
        value = jsons.loads(raw)
    except ValueError as error:
        raise Malformed(f"The body is not JSON: {error}"[:300]) from None
    return cast("BatchCreate", _validated(model, value))


def _validated(model: type[Options], value: Any) -> Options:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(str(part) for part in item["loc"]), item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)[:50]
        )
        summary = "; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5])
        raise Invalid(summary, errors=wrong) from None


@router.post(
    "/agents/{agent_id}/batch_executions/quote",
    summary="Quote a batch",
    responses=problem_responses(403, 404, 413),
)
async def quote_batch(agent_id: Id, body: QuoteBody, request: Request) -> Quote:
    """What a batch would run and cost, before anything runs: every row checked, duplicates and reusable results found.

    `pilot_rows` runs a few rows for real, unbilled, to say cost and time as p10 to p90.
    """

    def look() -> tuple[Agent, quotes.Survey, int, int]:
        with _rows_of(request, agent_id, body) as (order, rows), open_call(request) as call:
            agent = _agent(call, agent_id)
            fed = find_columns(
                call.tx,
                call.organization_id,
                agent,
                rows,
                origin=order.origin,
                chosen=order.mapping,
                columns=order.columns,
            )
            survey = quotes.Survey(agent, replace(order, mapping=fed.mapping))
            survey.look(fed.rows)
            return agent, survey, survey.reused(call.tx, call.organization_id), call.organization_id

    agent, survey, reused, organization_id = await asyncio.to_thread(look)
    pilot = None
    if body.pilot_rows and survey.sample:
        pilot = await quotes.run_pilot(agent, organization_id, survey.sample, body.pilot_rows, shared(request).database)
    return quotes.quote(survey, agent, reused=reused, pilot=pilot)


@router.post(
    "/data_source_runs",
    status_code=202,
    summary="Run an agent over a saved source (legacy)",
    responses=problem_responses(403, 404, 409, 413),
    response_model=Batch,
)
def run_source(body: LegacyRun, request: Request, once: OnceGuard) -> Any:
    """The older form of a batch from a source; the same engine runs it."""
    return _create_from_json(request, once, body.agent_id, body)


@router.get(
    "/agents/{agent_id}/batch_executions", summary="List an agent's batches", responses=problem_responses(403, 404)
)
def list_agent_batches(
    agent_id: Id, call: AnyCall, status: Status | None = None, cursor: CursorText = None, limit: Limit = 50
) -> CursorPage[Batch]:
    """Newest first."""
    _agent(call, agent_id)
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
def list_failures(batch_id: UuidId, call: AnyCall) -> dict[str, list[FailureGroup]]:
    """Failed rows by cause, most frequent first; retry one group by its `error_code`."""
    _batch(call, batch_id)
    return {"data": service.failures(call.tx, call.organization_id, batch_id)}


@router.post("/batch_executions/{batch_id}/pause", summary="Pause", responses=problem_responses(404, 409))
def pause_batch(batch_id: UuidId, call: AnyCall) -> Batch:
    """No further row starts within a second; rows in flight, at most the agent's concurrency, finish."""
    _batch(call, batch_id)
    return service.pause(call.tx, call.organization_id, batch_id)


@router.post("/batch_executions/{batch_id}/resume", summary="Resume", responses=problem_responses(404, 409))
def resume_batch(batch_id: UuidId, call: AnyCall) -> Batch:
    """Go on with a paused or failed batch; finished rows are neither run nor billed again."""
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
def retry_batch(batch_id: UuidId, body: RetryBody, call: AnyCall, once: OnceGuard) -> Any:
    """Failed rows, chosen rows, or rows changed since another batch. Other rows are neither run nor billed again."""
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
@router.get("/batches/{batch_id}/events", include_in_schema=False)
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


class UnsupportedType(Error):
    """The content type is not one that this call reads."""

    code = "unsupported_type"
