"""HTTP of sources."""

from __future__ import annotations

import asyncio
import binascii
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from starlette.datastructures import FormData, UploadFile

from gristmill.base import encoded, jsons
from gristmill.base.errors import FieldError, Invalid, TooLarge, UnsupportedType
from gristmill.base.http import Id, PageNumber, PerPage, json_body, media_type, problem_responses, shared, validated
from gristmill.base.paging import FullList, Page, full_list
from gristmill.base.routes import LateRoute
from gristmill.identity.api import AdminCall, AnyCall, Call, Once, OnceGuard, open_call
from gristmill.sources import service
from gristmill.sources.kinds.postgres import env_keys
from gristmill.sources.model import (
    MAPPING_FIELDS_MAX,
    PREVIEW_ROWS_MAX,
    SNAPSHOTS_MAX,
    Draft,
    Preview,
    Source,
    SourceConfig,
    StoredSource,
    config_from,
)
from gristmill.sources.rungs import Rung

router = APIRouter(prefix="/api/v1", tags=["Sources"], route_class=LateRoute)

FORM_FIELDS_MAX = 10
ENCODED_CHARS_MAX = 64 * 1024**2
RAW_TYPES = frozenset({"text/csv", "text/tab-separated-values", "text/plain", "application/octet-stream"})


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(_filled)
]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
ColumnName = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_storable)]


class SourceMappingBody(BaseModel):
    """How columns become an agent's fields."""

    model_config = ConfigDict(extra="forbid")

    fields: dict[FieldName, ColumnName] = Field(
        default_factory=dict,
        max_length=MAPPING_FIELDS_MAX,
        description="Agent field -> column. Each column must exist in the source.",
        examples=[{"email": "E-Mail"}],
    )


class SourceDialectBody(BaseModel):
    """What is known about a CSV; the rest is guessed from its content."""

    model_config = ConfigDict(extra="forbid")

    encoding: Text | None = Field(None, min_length=1, max_length=40, examples=["cp1252"])
    delimiter: Text | None = Field(None, min_length=1, max_length=10, examples=[";"])
    quote: Text | None = Field(None, max_length=1, description="Empty when quotes mean nothing.")
    escape: Text | None = Field(None, max_length=1)
    header: bool | None = Field(None, description="Whether the first record names the columns.")
    preamble: int | None = Field(None, ge=0, le=1000, description="Records before the header.")


class SourceConfigBody(BaseModel):
    """What a user sets of a source."""

    model_config = ConfigDict(extra="forbid")

    default_mapping: SourceMappingBody | None = Field(None, description="Used by every batch from this source.")
    dialect: SourceDialectBody | None = Field(None, description="Only kind `csv`.")
    env_key: Text | None = Field(
        None,
        max_length=2000,
        description="Only kind `postgres`: the NAME of an environment variable of the server, never its value.",
        examples=["GRISTMILL_SOURCE_CRM"],
    )
    query: Text | None = Field(
        None, max_length=40_000, description="Only kind `postgres`: one SELECT.", examples=["SELECT * FROM leads"]
    )


class SourcePatch(BaseModel):
    """Changes of a source; what is absent stays, also inside `config`. The kind can't be changed."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    config: SourceConfigBody | None = None
    csv_data: str | None = Field(None, description="The text of a CSV.", examples=["email,name\nana@example.com,Ana\n"])
    csv_base64: str | None = Field(
        None, max_length=ENCODED_CHARS_MAX, description="The bytes of a CSV file, where its encoding is not UTF-8."
    )


class SourceCreate(SourcePatch):
    """A new source."""

    name: Name = Field(examples=["Leads of March"])  # pyright: ignore[reportIncompatibleVariableOverride]
    kind: Text = Field("csv", max_length=60, description="`csv` or `postgres`.")


class PreviewBody(BaseModel):
    """What to look at."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=PREVIEW_ROWS_MAX, description="Rows to show.", examples=[20])
    snapshot: bool = Field(
        default=False,
        description="Keep all rows as they are now, so that a batch with the answer's `snapshot_id` runs just these. "
        f"The {SNAPSHOTS_MAX} newest snapshots of a source are kept.",
    )


@dataclass(frozen=True, slots=True)
class SourceTest:
    """How trying a source went, step by step."""

    ok: bool
    """Whether rows can be read. A step before the last may still warn, with what to do in `fix`."""
    rungs: list[Rung]


@dataclass(frozen=True, slots=True)
class EnvKey:
    """An environment variable that a source of kind `postgres` may name."""

    name: str


def _schema() -> dict[str, Any]:
    schema = SourceCreate.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs")
    return schema


_CREATE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A CSV file."},
                        "name": {"type": "string", "description": "The file's name unless given."},
                        "config": {"type": "string", "description": "The same `config` as JSON."},
                    },
                }
            },
            "text/csv": {"schema": {"type": "string", "description": "A CSV; the query parameter `name` names it."}},
        },
    }
}


def _may_write(call: Call) -> None:
    call.actor.require_admin()
    call.actor.require_whole_organization()


def _admit_writer(request: Request) -> None:
    with open_call(request) as call:
        _may_write(call)


@router.get("/data_sources", summary="List sources", responses=problem_responses())
def list_sources(call: AnyCall, page: PageNumber = 1, per_page: PerPage = 50) -> Page[Source]:
    """Newest first, without the texts of CSVs."""
    return service.list_sources(call.tx, call.organization_id, page=page, per_page=per_page)


@router.post(
    "/data_sources",
    status_code=201,
    summary="Make a source",
    responses=problem_responses(403, 409, 413, 415),
    response_model=Source,
    openapi_extra=_CREATE_BODY,
)
async def create_source(request: Request, once: OnceGuard) -> Any:
    """A CSV, as JSON (`csv_data`, `csv_base64`), as a form with a `file`, or as the body itself; or a query, as JSON.

    A CSV is read from end to end before it is kept: the answer has its columns, rows and rejects. The text is kept as
    it was sent; one that is not UTF-8 is decoded, which a warning of its receipt says.
    """
    await asyncio.to_thread(_admit_writer, request)
    body, file = await _parse_create(request)
    return await asyncio.to_thread(_create, request, once, body, file)


def _create(request: Request, once: Once, body: SourceCreate, file: str | bytes | None) -> Response:
    draft = Draft(body.name, body.kind, _config(body, SourceConfig()), file)
    prepared = service.prepare(draft, service.host_of(shared(request).settings))
    with open_call(request) as call:
        _may_write(call)
        return once.run(call, 201, lambda: service.create(call.tx, call.organization_id, prepared))


async def _parse_create(request: Request) -> tuple[SourceCreate, str | bytes | None]:
    kind = media_type(request)
    if kind == "application/json":
        body = validated(SourceCreate, json_body(await request.body()))
        return body, _file(body)
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX) as form:
            return await _parse_form(request, form)
    if kind in RAW_TYPES:
        return validated(SourceCreate, dict(request.query_params)), await request.body()
    raise UnsupportedType(f"Send application/json, multipart/form-data or text/csv, not `{kind[:60]}`.")


async def _parse_form(request: Request, form: FormData) -> tuple[SourceCreate, bytes]:
    values: dict[str, Any] = {name: value for name, value in form.items() if name != "file"}
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _wrong("file", "must be a file")
    limit = shared(request).settings.source_csv_bytes_max
    if (file.size or 0) > limit:
        raise TooLarge(f"The file has {file.size} bytes; at most {limit} are kept.", limit=limit, size=file.size)
    values.setdefault("name", (file.filename or "").rsplit("/", 1)[-1][:200])
    if "config" in values:
        try:
            values["config"] = jsons.loads(str(values["config"]))
        except ValueError:
            raise _wrong("config", "must be JSON") from None
    return validated(SourceCreate, values), await file.read()


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


def _file(body: SourcePatch) -> str | bytes | None:
    if body.csv_base64 is None:
        return body.csv_data
    if body.csv_data is not None:
        raise _wrong("csv_base64", "can't be sent beside `csv_data`")
    try:
        return encoded.decode(body.csv_base64)
    except binascii.Error:
        raise _wrong("csv_base64", "is not Base64") from None


def _config(body: SourcePatch, before: SourceConfig) -> SourceConfig:
    sent = {} if body.config is None else body.config.model_dump(exclude_unset=True)
    return config_from({**asdict(before), **sent})


@router.get("/data_sources/{source_id}", summary="Get a source", responses=problem_responses(404))
def get_source(
    source_id: Id,
    call: AnyCall,
    include: Annotated[Literal["csv_data"] | None, Query(description="`csv_data`: also the text of a CSV.")] = None,
) -> Source:
    """One source; its rows are in a preview."""
    found = service.get(call.tx, call.organization_id, source_id, text=include is not None)
    return service.with_text(found)


@router.patch(
    "/data_sources/{source_id}", summary="Change a source", responses=problem_responses(403, 404, 409, 413, 502, 504)
)
async def update_source(source_id: Id, body: SourcePatch, request: Request) -> Source:
    """What is absent stays. A mapping is saved when each of its columns exists, for which a database is asked."""
    return await asyncio.to_thread(_update, source_id, body, request)


def _update(source_id: int, body: SourcePatch, request: Request) -> Source:
    with open_call(request) as call:
        _may_write(call)
        before = service.get(call.tx, call.organization_id, source_id)
    draft = Draft(body.name or before.source.name, before.kind, _config(body, before.config), _file(body))
    prepared = service.prepare(draft, service.host_of(shared(request).settings), before)
    with open_call(request) as call:
        _may_write(call)
        return service.update(call.tx, before, prepared)


@router.delete(
    "/data_sources/{source_id}", status_code=204, summary="Delete a source", responses=problem_responses(403, 404, 409)
)
def delete_source(source_id: Id, request: Request) -> None:
    """Refused while batches from it are not finished. Batches that ended keep their rows."""
    with open_call(request) as call:
        _may_write(call)
        keys = service.delete(call.tx, call.organization_id, source_id)
    service.delete_objects(keys, shared(request).settings)


def _load(request: Request, source_id: int) -> StoredSource:
    with open_call(request) as call:
        return service.get(call.tx, call.organization_id, source_id)


@router.post(
    "/data_sources/{source_id}/preview",
    summary="Preview a source",
    responses=problem_responses(404, 409, 413, 502, 504),
    response_model=Preview,
)
async def preview_source(source_id: Id, request: Request, once: OnceGuard, body: PreviewBody | None = None) -> Any:
    """The first rows; for a query they are read now. `snapshot: true` keeps all rows for a batch."""
    wanted = body or PreviewBody(limit=20)
    return await asyncio.to_thread(_preview, source_id, request, once, wanted)


def _preview(source_id: int, request: Request, once: Once, body: PreviewBody) -> Preview | Response:
    source, host = _load(request, source_id), service.host_of(shared(request).settings)
    if not body.snapshot:
        return service.preview(source, body.limit, host)
    draft = service.take_snapshot(source, body.limit, host)
    unused = [draft.object_key]

    def keep() -> Preview:
        nonlocal unused
        preview, old = service.keep_snapshot(call.tx, source, draft)
        unused = old
        return preview

    try:
        with open_call(request) as call:
            answer = once.run(call, 200, keep)
    except BaseException:
        unused = [draft.object_key]
        raise
    finally:
        service.delete_objects(unused, host.settings)
    return answer


@router.post("/data_sources/{source_id}/test", summary="Test a source", responses=problem_responses(403, 404))
async def test_source(source_id: Id, request: Request) -> SourceTest:
    """Connects, parses, looks at what the role may do, explains and reads the first rows, and says how each step went.

    What is wrong with the source stands in the steps; the call itself succeeds.
    """
    return await asyncio.to_thread(_test, source_id, request)


def _test(source_id: int, request: Request) -> SourceTest:
    _admit_writer(request)
    rungs = service.test(_load(request, source_id), service.host_of(shared(request).settings))
    return SourceTest(rungs[-1].ok, rungs)


@router.get("/data_source_env_keys", summary="List environment keys", responses=problem_responses(403))
def list_env_keys(call: AdminCall, request: Request) -> FullList[EnvKey]:
    """Names of the server's environment variables that a `postgres` source may name; their values are never shown."""
    call.actor.require_whole_organization()
    return full_list([EnvKey(name) for name in env_keys(service.host_of(shared(request).settings))])
