"""HTTP of making batches, and of quotes."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from gristmill import agents, inventory, sources
from gristmill.agents import Agent
from gristmill.base import jsons
from gristmill.base.errors import FieldError, Invalid, UnsupportedType
from gristmill.base.http import NDJSON, Dollars, Id, json_body, media_type, problem_responses, shared, validated
from gristmill.base.money import parse_usd
from gristmill.base.routes import LateRoute
from gristmill.batches import quote as quotes
from gristmill.batches import service
from gristmill.batches.columns import find_columns
from gristmill.batches.intake import EXTERNAL_ID_CHARS_MAX, rows_of_items, rows_of_ndjson
from gristmill.batches.model import (
    PRIORITY_DEFAULT,
    Batch,
)
from gristmill.batches.quote import Quote
from gristmill.identity.api import Call, Once, OnceGuard, open_call

router = APIRouter(prefix="/api/v1", tags=["Batches"], route_class=LateRoute)

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
    budget_usd: Dollars | None = Field(
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
        agent_of(call, agent_id)
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


def agent_of(call: Call, agent_id: int) -> Agent:
    """An agent that this caller may use."""
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
    kind = media_type(request)
    if kind == NDJSON:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            digest = await _spool(request, cast("BinaryIO", spool))
            options = _query_options(request)
            return await asyncio.to_thread(
                _create_streamed, request, once, agent_id, options, cast("BinaryIO", spool), digest
            )
    if kind != "application/json":
        raise UnsupportedType(f"Send application/json or {NDJSON}, not `{kind[:60]}`.")
    body = validated(BatchCreate, json_body(await request.body()))
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
        agent = agent_of(call, agent_id)
        order = _order(options, {"kind": "ndjson"}, options.mapping or {}, [], None)
        rows = rows_of_ndjson(stream, line_bytes_max=current.row_bytes_max * 2)
        return once.run(
            call, 202, lambda: service.create(call.tx, call.organization_id, agent, order, rows), digest=digest
        )


def _create_from_json(request: Request, once: Once, agent_id: int, body: BatchCreate | LegacyRun) -> Response:
    with _rows_of(request, agent_id, body) as (order, rows), open_call(request) as call:
        agent = agent_of(call, agent_id)
        return once.run(call, 202, lambda: service.create(call.tx, call.organization_id, agent, order, rows))


def _query_options(request: Request) -> Options:
    values: dict[str, Any] = dict(request.query_params)
    if "mapping" in values:
        try:
            values["mapping"] = jsons.loads(values["mapping"])
        except ValueError:
            message = "must be a JSON object"
            raise Invalid(f"`mapping` {message}.", errors=(FieldError("mapping", message),)) from None
    return validated(Options, values)


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
            agent = agent_of(call, agent_id)
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
