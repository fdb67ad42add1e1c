"""HTTP of datasets, under `/api/agents/{agent_id}` and `/api/v1/agents/{agent_id}` alike."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, BinaryIO, TypeVar, cast

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from gristmill.base import encoded, jsons
from gristmill.base.errors import Error, FieldError, Invalid, Malformed, PluginError, TooLarge, UnsupportedType
from gristmill.base.http import (
    CursorText,
    Id,
    Limit,
    PageNumber,
    PerPage,
    json_body,
    limit_bodies,
    media_type,
    problem_responses,
    shared,
    validated,
)
from gristmill.base.paging import CursorPage, FullList, Page, full_list
from gristmill.base.routes import LateRoute
from gristmill.datasets import files, listing, service
from gristmill.datasets.analyze import Analysis, analyze_file
from gristmill.datasets.bodies import (
    AnalyzeBody,
    DatasetCreate,
    DatasetPatch,
    EmbedderInfo,
    FileBody,
    PlanBody,
    ProcessBody,
    QueryBody,
    ReplaceBody,
    SearchAnswer,
    SearchBody,
    SearchedDataset,
    SearchMeta,
    file_body,
)
from gristmill.datasets.embedders import embedders
from gristmill.datasets.model import (
    Answer,
    ChunkView,
    Dataset,
    Draft,
    EmbedderChoice,
    FileType,
    Plan,
    Question,
    RecordView,
    Sent,
    TemplateOptions,
    Version,
)
from gristmill.datasets.questions import ask, embedders_of
from gristmill.datasets.service import Changes, Scope
from gristmill.identity.api import AdminCall, AnyCall, Call, Once, OnceOfStream, open_call

router = APIRouter(tags=["Datasets"], route_class=LateRoute)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

PREFIXES = ("/api", "/api/v1")
FORM_FIELDS_MAX = 20
SPOOL_MEMORY_BYTES = 4 * 1024**2
"""A file is kept in memory up to here on its way, then in a temporary file."""
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="Version")]
RAW_TYPES = ("text/", "application/octet-stream", "application/x-ndjson", "application/vnd.", "application/gzip")
"""How the content type of a file may begin that is sent as the body itself."""
JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"

limit_bodies(r"/api(/v1)?/agents/\d+/datasets(/analyze|/\d+/file)?", "dataset_file_bytes_max")


class EmbedderFailed(Error):
    """The embedder could not embed the question."""

    code = "upstream_failed"


def route(method: str, path: str, **options: Any) -> Callable[[F], F]:
    """Register an endpoint of one agent under both prefixes."""

    def keep(function: F) -> F:
        for prefix in PREFIXES:
            router.add_api_route(f"{prefix}/agents/{{agent_id}}{path}", function, methods=[method], **options)
        return function

    return keep


def _scope(call: Call, agent_id: int) -> Scope:
    call.actor.require_agent(agent_id)
    scope = Scope(call.organization_id, agent_id)
    service.require_agent(call.tx, scope)
    return scope


def _admit(request: Request, agent_id: int, *, write: bool) -> Scope:
    with open_call(request) as call:
        if write:
            call.actor.require_admin()
        return _scope(call, agent_id)


# Files on their way in


@dataclass(slots=True)
class Incoming:
    """A body, whatever its form: its fields, its file, and a digest of all of it."""

    fields: dict[str, Any]
    file: BinaryIO | None = None
    name: str | None = None
    digest: bytes = b""


async def _incoming(request: Request, model: type[FileBody]) -> Incoming:
    """JSON with `file_base64` or `file_path`; a form with a `file`; or the file itself, with fields in the query."""
    kind = media_type(request)
    if kind == JSON_TYPE or not kind:
        return await _incoming_json(request, model)
    if kind != FORM_TYPE and not kind.startswith(RAW_TYPES):
        raise UnsupportedType(f"Send JSON, a form, or the file itself as text/csv or the like, not `{kind[:60]}`.")
    spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES))  # noqa: SIM115 - closed by whoever takes it
    if kind == FORM_TYPE:
        fields: dict[str, Any] = {}
        name = None
        async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX, max_part_size=1024**2) as form:
            for key, value in form.multi_items():
                if isinstance(value, UploadFile):
                    name = value.filename
                    while chunk := await value.read(1024**2):
                        await asyncio.to_thread(spool.write, chunk)
                else:
                    fields[key] = _field(model, key, value)
        if name is None:
            raise Invalid("The form has no `file` with a file name.", errors=(FieldError("file", "is needed"),))
    else:
        fields = {key: _field(model, key, value) for key, value in request.query_params.items()}
        name = fields.get("file_filename")
        async for chunk in request.stream():
            await asyncio.to_thread(spool.write, chunk)
    spool.seek(0)
    digest = hashlib.sha256(repr(sorted(fields.items())).encode())
    while chunk := await asyncio.to_thread(spool.read, 1024**2):
        digest.update(chunk)
    spool.seek(0)
    return Incoming(fields, spool, name, digest.digest())


def _field(model: type[BaseModel], name: str, value: str) -> Any:
    """A field of a form or query: JSON where the body would have an object."""
    if name in model.model_fields and value.lstrip().startswith("{") and name in {"template_options", "embedder"}:
        try:
            return jsons.loads(value)
        except ValueError:
            raise Invalid(f"`{name}` must be JSON.", errors=(FieldError(name, "must be JSON"),)) from None
    return value


async def _incoming_json(request: Request, model: type[FileBody]) -> Incoming:
    limit = shared(request).settings.json_body_bytes_max
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise TooLarge(
                f"A JSON body has at most {limit} bytes; send larger files as a form or as the body itself.",
                limit=limit,
            )
    body = validated(model, json_body(bytes(data)))
    body.check_file()
    fields = body.model_dump(exclude_unset=True)
    incoming = Incoming(fields, None, fields.get("file_filename"), hashlib.sha256(data).digest())
    if (text := fields.get("file_base64")) is not None:
        incoming.file = io.BytesIO(encoded.decode_file(text))
    return incoming


@dataclass(slots=True)
class Upload:
    """The file of a body, in the object store."""

    sent: Sent
    is_new: bool
    is_used: bool = False
    """A new one that nothing came of is removed again."""

    def register(self, call: Call, scope: Scope) -> None:
        """Note a new file in the transaction that uses it."""
        if self.is_new:
            service.keep_file(call.tx, scope, self.sent)


@contextmanager
def _upload(request: Request, scope: Scope, incoming: Incoming, wanted: str | None) -> Generator[Upload]:
    settings = shared(request).settings
    if incoming.file is None:
        with open_call(request) as call:
            upload = Upload(service.find_file(call.tx, scope, incoming.fields["file_path"]), is_new=False)
    else:
        name = incoming.name or "file"
        kind = cast("FileType | None", wanted) or files.type_of_name(name)
        if kind is None:
            wrong = FieldError("type", "can't be told from the file's name")
            raise Invalid("`type` must be csv, json or excel.", errors=(wrong,))
        with incoming.file:
            sent = files.keep(settings, scope.organization_id, scope.agent_id, name, kind, incoming.file)
        upload = Upload(sent, is_new=True)
    try:
        yield upload
    finally:
        if upload.is_new and not upload.is_used:
            files.discard(settings, upload.sent)


# Datasets


@route("GET", "/datasets", summary="List datasets", responses=problem_responses(403, 404), response_model=Page[Dataset])
def list_datasets(agent_id: Id, call: AnyCall, page: PageNumber = 1, per_page: PerPage = 50) -> Page[Dataset]:
    """The agent's datasets, newest first."""
    return service.list_datasets(call.tx, _scope(call, agent_id), page=page, per_page=per_page)


@route(
    "POST",
    "/datasets",
    status_code=201,
    summary="Make a dataset",
    responses=problem_responses(403, 404, 409, 413, 415),
    response_model=Dataset,
    openapi_extra=file_body(DatasetCreate),
)
async def create_dataset(agent_id: Id, request: Request, once: OnceOfStream) -> Any:
    """A file and the Go template that makes a text of each of its rows; it is processed as soon as a worker is free.

    The file comes as JSON (`file_base64`, or `file_path` of an analysis), as a form with a `file`, or as the body
    itself with the fields in the query. What is wrong with the template is told with line and column.
    """
    scope = await asyncio.to_thread(_admit, request, agent_id, write=True)
    incoming = await _incoming(request, DatasetCreate)
    return await asyncio.to_thread(_create, request, once, scope, incoming)


def _create(request: Request, once: Once, scope: Scope, incoming: Incoming) -> Response:
    settings = shared(request).settings
    fields = {"title": (incoming.name or "")[:200], **incoming.fields}
    if incoming.file is not None:
        fields.setdefault("type", files.type_of_name(incoming.name or ""))
    body = validated(DatasetCreate, fields)
    draft = Draft(
        body.title,
        body.type,
        body.template,
        body.template_options.options() if body.template_options else TemplateOptions(),
        body.primary_key_field or None,
        body.embedder.choice() if body.embedder else service.default_embedder(settings),
    )
    with _upload(request, scope, incoming, body.type) as upload:
        service.prepare(settings, draft, upload.sent)
        made = False

        def make() -> Dataset:
            nonlocal made
            upload.register(call, scope)
            made = True
            return service.create(call.tx, scope, draft, upload.sent)

        with open_call(request) as call:
            call.actor.require_admin()
            answer = once.run(call, 201, make, digest=incoming.digest)
        upload.is_used = made
    return answer


@route(
    "POST",
    "/datasets/analyze",
    summary="Analyze a file",
    responses=problem_responses(403, 404, 413, 415),
    response_model=Analysis,
    openapi_extra=file_body(AnalyzeBody),
)
async def analyze_upload(agent_id: Id, request: Request) -> Any:
    """What a file looks like, what its key could be, and templates with what they give for its first rows.

    The file is kept for a day: its `file_path` can be sent in place of the file. A file that can't be read answers 400.
    """
    scope = await asyncio.to_thread(_admit, request, agent_id, write=True)
    incoming = await _incoming(request, AnalyzeBody)
    return await asyncio.to_thread(_analyze, request, scope, incoming)


def _analyze(request: Request, scope: Scope, incoming: Incoming) -> Analysis:
    name = incoming.name or ""
    if incoming.file is not None and files.type_of_name(name) is None:
        message = "must end in .csv, .tsv, .txt, .json, .jsonl, .xlsx, .xls or .ods"
        raise Malformed(f"`file_filename` {message}.", errors=(FieldError("file_filename", message),))
    with _upload(request, scope, incoming, None) as upload:
        try:
            found, sent = analyze_file(shared(request).settings, upload.sent)
        except Error as error:
            raise Malformed(error.message, errors=error.errors) from error
        upload.sent = sent
        with open_call(request) as call:
            call.actor.require_admin()
            upload.register(call, scope)
        upload.is_used = True
    return found


@route("GET", "/datasets/{dataset_id}", summary="Get a dataset", responses=problem_responses(403, 404))
def get_dataset(agent_id: Id, dataset_id: Id, call: AnyCall) -> Dataset:
    """One dataset, with the receipt of the version that is searched."""
    return service.get(call.tx, _scope(call, agent_id), dataset_id)


@route("PATCH", "/datasets/{dataset_id}", summary="Change a dataset", responses=problem_responses(403, 404, 409, 413))
def update_dataset(agent_id: Id, dataset_id: Id, body: DatasetPatch, request: Request) -> Dataset:
    """What is absent or null stays. Another template, key or embedder queues the dataset to be processed.

    Until that has ended the version of before is searched; one under way starts over.
    """
    changes = _changes(body)
    with open_call(request) as call:
        call.actor.require_admin()
        scope = _scope(call, agent_id)
        row = service.row_of(call.tx, scope, dataset_id)
    if changes.are_deep:
        service.prepare(shared(request).settings, changes.apply(service.draft_of(row)), service.file_of(row))
    with open_call(request) as call:
        call.actor.require_admin()
        return service.update(call.tx, scope, dataset_id, changes)


def _changes(body: DatasetPatch | PlanBody) -> Changes:
    embedder = body.embedder if isinstance(body, DatasetPatch) else None
    return Changes(
        title=body.title if isinstance(body, DatasetPatch) else None,
        template=body.template,
        options=body.template_options.options() if body.template_options else None,
        primary_key_field=body.primary_key_field,
        embedder=embedder.choice() if embedder else None,
    )


@route(
    "DELETE",
    "/datasets/{dataset_id}",
    status_code=204,
    summary="Delete a dataset",
    responses=problem_responses(403, 404, 409),
)
def delete_dataset(agent_id: Id, dataset_id: Id, call: AdminCall) -> None:
    """With all its records, chunks and vectors. Refused while it is processed."""
    service.delete(call.tx, _scope(call, agent_id), dataset_id)


@route(
    "POST",
    "/datasets/{dataset_id}/process",
    summary="Process a dataset",
    responses=problem_responses(403, 404),
)
def process_dataset(agent_id: Id, dataset_id: Id, call: AdminCall, body: ProcessBody | None = None) -> Dataset:
    """Read the file again and do what is not done. No text is embedded twice; a processing under way starts over."""
    confirmed = body is not None and body.confirm_removals
    return service.process(call.tx, _scope(call, agent_id), dataset_id, confirmed=confirmed)


@route(
    "PUT",
    "/datasets/{dataset_id}/file",
    summary="Replace the file",
    responses=problem_responses(403, 404, 409, 413, 415),
    response_model=Dataset,
    openapi_extra=file_body(ReplaceBody),
)
async def replace_file(agent_id: Id, dataset_id: Id, request: Request) -> Any:
    """A new version of the file, in any of the forms of a new dataset; only what differs is processed.

    When too large a share of the records would be gone, the processing fails and says so, unless `confirm_removals`.
    """
    scope = await asyncio.to_thread(_admit, request, agent_id, write=True)
    incoming = await _incoming(request, ReplaceBody)
    return await asyncio.to_thread(_replace, request, scope, dataset_id, incoming)


def _replace(request: Request, scope: Scope, dataset_id: int, incoming: Incoming) -> Dataset:
    body = validated(ReplaceBody, incoming.fields)
    with open_call(request) as call:
        row = service.row_of(call.tx, scope, dataset_id)
    wanted = body.type or files.type_of_name(incoming.name or "") or row["type"]
    with _upload(request, scope, incoming, wanted) as upload:
        changes = Changes(file=upload.sent)
        service.prepare(shared(request).settings, changes.apply(service.draft_of(row)), upload.sent)
        with open_call(request) as call:
            call.actor.require_admin()
            upload.register(call, scope)
            answer = service.update(call.tx, scope, dataset_id, changes, confirmed=body.confirm_removals)
        upload.is_used = True
    return answer


# Versions


@route("GET", "/datasets/{dataset_id}/versions", summary="List versions", responses=problem_responses(403, 404))
def list_versions(agent_id: Id, dataset_id: Id, call: AnyCall) -> FullList[Version]:
    """The versions that can be gone back to, newest first, each with its receipt and what it changed."""
    return full_list(service.list_versions(call.tx, _scope(call, agent_id), dataset_id))


@route(
    "POST",
    "/datasets/{dataset_id}/versions/{version}/activate",
    summary="Go to a version",
    responses=problem_responses(403, 404, 409),
)
def activate_version(agent_id: Id, dataset_id: Id, version: VersionNumber, call: AdminCall) -> Dataset:
    """At once; file, template and key become those that the version was made of."""
    return service.activate(call.tx, _scope(call, agent_id), dataset_id, version)


@route("POST", "/datasets/{dataset_id}/plan", summary="Plan a change", responses=problem_responses(403, 404, 413))
def plan_dataset(agent_id: Id, dataset_id: Id, request: Request, body: PlanBody | None = None) -> Plan:
    """What processing would add, change, remove and embed, and how long that takes; nothing is done."""
    from gristmill.datasets.plan import plan  # noqa: PLC0415 - NumPy takes a while to load

    wanted = body or validated(PlanBody, {})
    changes = _changes(wanted)
    with open_call(request) as call:
        scope = _scope(call, agent_id)
        if wanted.file_path:
            changes = replace(changes, file=service.find_file(call.tx, scope, wanted.file_path))
    return plan(shared(request).database, shared(request).settings, scope, dataset_id, changes)


# Contents


@route("GET", "/datasets/{dataset_id}/records", summary="List records", responses=problem_responses(403, 404))
def list_records(
    agent_id: Id,
    dataset_id: Id,
    call: AnyCall,
    cursor: CursorText = None,
    limit: Limit = 100,
    q: Annotated[str | None, Query(max_length=1000, description="Only records with this text.")] = None,
) -> CursorPage[RecordView]:
    """Records of the version that is searched, in the order of the file."""
    row = service.row_of(call.tx, _scope(call, agent_id), dataset_id)
    if q is not None and "\x00" in q:
        raise Malformed("`q` has a NUL in it.")
    return listing.list_records(call.tx, call.organization_id, row, cursor=cursor, limit=limit, text=q)


@route("GET", "/datasets/{dataset_id}/chunks", summary="List chunks", responses=problem_responses(403, 404))
def list_chunks(
    agent_id: Id, dataset_id: Id, call: AnyCall, cursor: CursorText = None, limit: Limit = 100
) -> CursorPage[ChunkView]:
    """The texts that are searched, in the order of the file."""
    row = service.row_of(call.tx, _scope(call, agent_id), dataset_id)
    return listing.list_chunks(call.tx, call.organization_id, row, cursor=cursor, limit=limit)


@route(
    "GET",
    "/datasets/{dataset_id}/errors.csv",
    summary="Download errors",
    responses={**problem_responses(403, 404), 200: {"content": {"text/csv": {}}, "description": "A CSV"}},
    response_class=StreamingResponse,
)
def download_errors(agent_id: Id, dataset_id: Id, request: Request) -> StreamingResponse:
    """Rows that are no records or whose key comes again, with line and reason: of the latest processing."""
    with open_call(request) as call:
        scope = _scope(call, agent_id)
        service.row_of(call.tx, scope, dataset_id)
    rows = service.write_errors(shared(request).database, scope, dataset_id)
    headers = {"Content-Disposition": f'attachment; filename="dataset-{dataset_id}-errors.csv"'}
    return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=headers)


# Questions


@route("POST", "/search", summary="Search an agent's datasets", responses=problem_responses(403, 404, 502, 503))
async def search_datasets(agent_id: Id, body: SearchBody, request: Request) -> SearchAnswer:
    """Records that answer a question, by meaning and by words, each with its key, row and the words marked."""
    started = time.perf_counter()
    state = shared(request)
    question = Question(body.query, body.top_k, body.mode, body.dataset_ids, body.filter)

    def admit() -> tuple[int, list[EmbedderChoice]]:
        with open_call(request) as call:
            scope = _scope(call, agent_id)
            return scope.organization_id, embedders_of(call.tx, scope.organization_id, agent_id, body.dataset_ids)

    organization_id, choices = await asyncio.to_thread(admit)
    try:
        found = await ask(state.database, state.settings, organization_id, agent_id, question, choices=choices)
    except PluginError as error:
        raise EmbedderFailed(error.message) from error
    searched = [SearchedDataset(item.dataset_id, item.version) for item in found.datasets]
    took_ms = round((time.perf_counter() - started) * 1000, 1)
    return SearchAnswer(found.hits, SearchMeta(body.mode, searched, took_ms))


@route("POST", "/query", summary="Query a dataset by SQL", responses=problem_responses(403, 404, 409, 429, 504))
def query_dataset(agent_id: Id, body: QueryBody, request: Request) -> Answer:
    """One SELECT over the records of a dataset, for exact counts and sums; guarded, read-only, bounded in time."""
    from gristmill.datasets.querying import query  # noqa: PLC0415 - only this route needs the SQL parser

    scope = _admit(request, agent_id, write=False)
    database = shared(request).database
    return query(database, scope.organization_id, agent_id, body.dataset_id, body.sql, rows_max=body.limit)


@router.get("/api/v1/embedders", summary="List embedders", responses=problem_responses())
def list_embedders(call: AnyCall) -> FullList[EmbedderInfo]:
    """Kinds of embedders, with the JSON schema of their config."""
    del call
    return full_list(
        [
            EmbedderInfo(kind, item.title, item.summary, item.Config.model_json_schema())
            for kind, item in embedders.all().items()
        ]
    )
