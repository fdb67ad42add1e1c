"""HTTP of mappings."""

from __future__ import annotations

import asyncio
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile

from gristmill.base import encoded, jsons
from gristmill.base.errors import FieldError, Invalid, UnsupportedType
from gristmill.base.http import INT64_MAX, json_body, media_type, problem_responses, shared, validated
from gristmill.base.routes import LateRoute
from gristmill.identity.api import AnyCall, Call, Once, OnceGuard, open_call
from gristmill.mapping import service
from gristmill.mapping.fields import LEAD, wanted
from gristmill.mapping.llm import model_of
from gristmill.mapping.model import Mapping, MappingNotFound, StoredMapping
from gristmill.mapping.propose import propose_mapping
from gristmill.tables import read_table

router = APIRouter(prefix="/api/v1/mappings", tags=["Mappings"], route_class=LateRoute)

AGENT = "agent"
FIELDS_MAX = 1000
VARIANTS_MAX = 16_384
ROWS_MAX = 10_000
"""Rows that may be sent as JSON; a few hundred say all there is to say."""
FORM_FIELDS_MAX = 10
RAW_TYPES = frozenset({"text/csv", "text/tab-separated-values", "text/plain", "application/octet-stream"})


class MappingPropose(BaseModel):
    """A table and the wanted fields: exactly one of `csv_data`, `file_base64` and `rows`."""

    model_config = ConfigDict(extra="forbid")

    csv_data: str | None = Field(
        None,
        description="The text of a table.",
        examples=["Firma,Straße,PLZ,Ort\nMüller GmbH,Hauptstr. 5,10115,Berlin\n"],
    )
    file_base64: str | None = Field(None, description="The bytes of a file of any format that is read.")
    rows: list[dict[str, Any]] | None = Field(None, max_length=ROWS_MAX, description="Rows as JSON objects.")
    fields: str | dict[str, Any] | list[Any] = Field(
        LEAD,
        description="`lead`; `agent` for the input fields of `agent_id`; a JSON Schema; or a list of fields, each a"
        " name or an object with name, type, required and description.",
        examples=[LEAD, ["email", "website"]],
    )
    agent_id: int | None = Field(
        None, ge=1, le=INT64_MAX, description="Whose edits count and who remembers the mapping; else the organization."
    )
    row_limit: int | None = Field(None, ge=1, le=INT64_MAX, description="Most rows that the mapping model may see.")
    use_model: bool = Field(default=True, description="False asks no language model, whatever the settings say.")


class MappingEdit(BaseModel):
    """A person's choice of columns."""

    model_config = ConfigDict(extra="forbid")

    fields: dict[str, list[int]] = Field(
        max_length=FIELDS_MAX,
        description="Field -> its columns, numbered from 0, in the order in which they are joined; an empty list for"
        " none. Fields that are not named stay as they are.",
        examples=[{"company": [3], "street": [5, 6]}],
    )
    variants: list[int] | None = Field(None, max_length=VARIANTS_MAX, description="Columns that help a search.")
    agent_id: int | None = Field(None, ge=1, le=INT64_MAX, description="Only for this agent; else for all of them.")
    fieldset: str = Field(LEAD, max_length=64, description="As the proposal says it.")


Fingerprint = Annotated[str, Path(min_length=1, max_length=64, pattern="^[0-9a-f]+$", description="Of the headers")]
AgentId = Annotated[
    int | None, Query(ge=1, le=INT64_MAX, description="The agent's mapping, before the organization's.")
]

_PROPOSE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": MappingPropose.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A file of any format that is read.",
                        },
                        "fields": {"type": "string", "description": "`lead`, `agent`, or fields as JSON."},
                        "agent_id": {"type": "integer"},
                        "row_limit": {"type": "integer"},
                        "use_model": {"type": "boolean"},
                    },
                }
            },
            "text/csv": {"schema": {"type": "string", "description": "A table; the other options go in the query."}},
        },
    }
}


@router.post(
    "/propose",
    summary="Propose a mapping",
    responses=problem_responses(403, 404, 413, 415),
    response_model=Mapping,
    openapi_extra=_PROPOSE_BODY,
)
async def propose(request: Request, once: OnceGuard) -> Any:
    """Which columns of a table feed which fields, with samples, confidence and the next best columns.

    A person's edit for tables with these headers is used as it is; a proposal that was made before, while the values
    look alike. The answer is remembered. `problem` says why rows of the table could not be enriched.
    """
    await asyncio.to_thread(_admit, request)
    body, file = await _parse(request)
    return await asyncio.to_thread(_propose, request, once, body, file)


def _admit(request: Request) -> None:
    with open_call(request):
        pass


def _propose(request: Request, once: Once, body: MappingPropose, file: bytes) -> Response:
    table = read_table(file)
    with open_call(request) as call:
        if body.agent_id is None:
            body.agent_id = call.actor.agent_id
        fields = _fields(call, body)
        memory = service.recall(call.tx, call.organization_id, table.fingerprint, fields, agent_id=body.agent_id)
    model = model_of(shared(request).settings, row_limit=body.row_limit) if body.use_model else None
    mapping = propose_mapping(table, fields, cache=memory, llm=model)

    def keep() -> Mapping:
        service.remember(call.tx, call.organization_id, mapping, agent_id=body.agent_id)
        return mapping

    with open_call(request) as call:
        _may_use(call, body.agent_id)
        return once.run(call, 200, keep)


def _may_use(call: Call, agent_id: int | None) -> None:
    if agent_id is not None:
        call.actor.require_agent(agent_id)


def _fields(call: Call, body: MappingPropose) -> Any:
    """The wanted fields, an agent's own among them."""
    _may_use(call, body.agent_id)
    own = service.agent_fields(call.tx, call.organization_id, body.agent_id) if body.agent_id is not None else None
    if body.fields != AGENT:
        wanted(body.fields)
        return body.fields
    if own is None:
        raise _wrong("agent_id", "is needed for the fields of an agent")
    if not own:
        raise _wrong("agent_id", "names an agent that has no input fields: it gets each row as it is")
    return own


async def _parse(request: Request) -> tuple[MappingPropose, bytes]:
    kind = media_type(request)
    if kind == "application/json":
        body = validated(MappingPropose, json_body(await request.body()))
        return body, _file(body)
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX) as form:
            return await _parse_form(form)
    if kind in RAW_TYPES:
        return validated(MappingPropose, _options(dict(request.query_params))), await request.body()
    raise UnsupportedType(f"Send application/json, multipart/form-data or text/csv, not `{kind[:60]}`.")


async def _parse_form(form: FormData) -> tuple[MappingPropose, bytes]:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _wrong("file", "must be a file")
    return validated(
        MappingPropose, _options({name: value for name, value in form.items() if name != "file"})
    ), await file.read()


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """Options of a form or a query, whose `fields` may be JSON."""
    text = values.get("fields")
    if isinstance(text, str) and text[:1] in {"[", "{"}:
        try:
            values["fields"] = jsons.loads(text)
        except ValueError:
            raise _wrong("fields", "is neither a name nor JSON") from None
    return values


def _file(body: MappingPropose) -> bytes:
    given = [name for name in ("csv_data", "file_base64", "rows") if getattr(body, name) is not None]
    if len(given) != 1:
        raise _wrong("csv_data", "exactly one of `csv_data`, `file_base64` and `rows` is needed")
    if body.rows is not None:
        return jsons.dumps(body.rows)
    if body.csv_data is not None:
        return body.csv_data.encode("utf-8", "replace")
    try:
        return encoded.decode(body.file_base64 or "")
    except binascii.Error:
        raise _wrong("file_base64", "is not Base64") from None


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


@router.get("/{fingerprint}", summary="Get a mapping", responses=problem_responses(403, 404))
def get_mapping(
    fingerprint: Fingerprint,
    call: AnyCall,
    agent_id: AgentId = None,
    fieldset: Annotated[str, Query(max_length=64, description="As the proposal says it.")] = LEAD,
) -> StoredMapping:
    """The newest version for tables with these headers: the agent's, or the organization's where it has none.

    A key that is limited to one agent sees that agent's only.
    """
    _may_use(call, agent_id)
    own = call.actor.agent_id
    found = service.get(call.tx, call.organization_id, fingerprint, fieldset, agent_id=agent_id or own)
    if own is not None and found.agent_id != own:
        raise MappingNotFound
    return found


@router.put("/{fingerprint}", summary="Edit a mapping", responses=problem_responses(403, 404, 409))
def edit_mapping(fingerprint: Fingerprint, body: MappingEdit, call: AnyCall) -> StoredMapping:
    """A person's choice, kept as the next version. It is used for every table with these headers, for ever."""
    call.actor.require_admin()
    if body.agent_id is None:
        call.actor.require_whole_organization()
    _may_use(call, body.agent_id)
    return service.edit(
        call.tx,
        call.organization_id,
        fingerprint,
        body.fieldset,
        body.fields,
        body.variants,
        agent_id=body.agent_id,
    )
