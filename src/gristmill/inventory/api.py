"""HTTP of inventory."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile

from gristmill import agents
from gristmill.base import encoded, jsons
from gristmill.base.errors import FieldError, Invalid, TooLarge, UnsupportedType
from gristmill.base.http import (
    NDJSON,
    CursorText,
    Id,
    Limit,
    UuidId,
    json_body,
    limit_bodies,
    media_type,
    problem_responses,
    shared,
    validated,
)
from gristmill.base.paging import CursorPage
from gristmill.base.routes import LateRoute
from gristmill.identity.api import AnyCall, Call, OnceOfStream, open_call
from gristmill.inventory import service
from gristmill.inventory.model import NAME_CHARS_MAX, Draft, Format, Inventory, StoredInventory
from gristmill.inventory.reading import COPY_BYTES, SPOOL_MEMORY_BYTES, Reader, open_file, write_rejects

router = APIRouter(prefix="/api/v1", tags=["Inventory"], route_class=LateRoute)
limit_bodies(r"/api/v1/agents/\d+/inventories", "upload_bytes_max")

FORM_FIELDS_MAX = 10
WHERE = "/agents/{agent_id}/inventories"


class InventoryUpload(BaseModel):
    """A file in a JSON body."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=NAME_CHARS_MAX, pattern=r"^[^\x00]*$", examples=["daily.csv"])
    format: Format | None = Field(None, description="What the file must be; found out by its content unless given.")
    file_base64: str = Field(description="The bytes of the file.", examples=["ZW1haWwKYW5hQGV4YW1wbGUuY29tCg=="])


@dataclass(frozen=True, slots=True)
class _Upload:
    name: str
    format: Format | None
    sha256: bytes


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "name": {"type": "string", "description": "The file's own name unless given."},
                        "format": {"type": "string", "enum": ["CSV", "JSON", "JSONL", "XLSX", "PARQUET"]},
                    },
                }
            },
            "application/json": {"schema": InventoryUpload.model_json_schema()},
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "description": "The bytes; `?name=` names them."}
            },
        },
    }
}


def _admit(request: Request, agent_id: int) -> int:
    with open_call(request) as call:
        _agent(call, agent_id)
        return call.organization_id


def _agent(call: Call, agent_id: int) -> None:
    call.actor.require_agent(agent_id)
    agents.get(call.tx, call.organization_id, agent_id)


@router.get(WHERE, summary="List an agent's files", responses=problem_responses(403, 404))
def list_inventories(
    agent_id: Id, call: AnyCall, cursor: CursorText = None, limit: Limit = 50
) -> CursorPage[Inventory]:
    """Files that were uploaded or that connectors brought, newest first."""
    _agent(call, agent_id)
    return service.list_inventory(call.tx, call.organization_id, agent_id, cursor=cursor, limit=limit)


@router.post(
    WHERE,
    status_code=201,
    summary="Upload a file",
    responses=problem_responses(403, 404, 409, 413, 415),
    response_model=Inventory,
    openapi_extra=_BODY,
)
async def upload_inventory(agent_id: Id, request: Request, once: OnceOfStream) -> Any:
    """CSV, JSON, JSON lines, Excel or Parquet, packed or not: as a form with a `file`, as the body, or as JSON.

    The file is read from end to end before it is kept: the answer has its columns, rows and rejects. Its id can be the
    `inventory_id` of a batch.
    """
    organization_id = await asyncio.to_thread(_admit, request, agent_id)
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES) as spool:
        file = cast("BinaryIO", spool)
        upload = await _receive(request, file)

        def finish() -> Response:
            current = shared(request).settings
            examined = Reader(upload.format).examine(file)
            file.seek(0)
            stored = service.keep(current, organization_id, agent_id, file)
            draft = Draft(upload.name, {"kind": "upload"}, stored.key, stored.size_bytes, stored.sha256, examined)
            made: list[Inventory] = []

            def add() -> Inventory:
                made.append(service.add(call.tx, call.organization_id, agent_id, draft))
                return made[0]

            digest = hashlib.sha256(upload.sha256 + jsons.dumps([upload.name, upload.format])).digest()
            try:
                with open_call(request) as call:
                    _agent(call, agent_id)
                    answer = once.run(call, 201, add, digest=digest)
            except BaseException:
                service.delete_object(stored.key, current)
                raise
            if not made:  # an earlier call with the same Idempotency-Key kept the file
                service.delete_object(stored.key, current)
            return answer

        return await asyncio.to_thread(finish)


async def _receive(request: Request, spool: BinaryIO) -> _Upload:
    """Write the file of any kind of body to `spool`, which then stands at its start."""
    kind = media_type(request)
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Invalid("`file` must be a file.", errors=(FieldError("file", "must be a file"),))
            options = {name: str(form[name]) for name in ("name", "format") if name in form}
            options.setdefault("name", (file.filename or "").rsplit("/", 1)[-1][:NAME_CHARS_MAX])
            digest = await _spool(spool, _pieces(file))
    elif kind == "application/json":
        body = validated(InventoryUpload, await _json(request))
        digest = await _spool(spool, _whole(encoded.decode_file(body.file_base64)))
        options = body.model_dump(include={"name", "format"})
    elif kind == NDJSON or kind.startswith(("text/", "application/")):
        options = {name: value for name, value in request.query_params.items() if name in {"name", "format"}}
        digest = await _spool(spool, request.stream())
    else:
        raise UnsupportedType(f"Send multipart/form-data, application/json or the file itself, not `{kind[:60]}`.")
    spool.seek(0)
    checked = validated(InventoryUpload, {**options, "file_base64": ""})
    return _Upload(checked.name, checked.format, digest)


async def _json(request: Request) -> Any:
    limit = shared(request).settings.json_body_bytes_max
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"A JSON body has at most {limit} bytes; send the file itself.", limit=limit)
        parts.append(chunk)
    return json_body(b"".join(parts))


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(COPY_BYTES):
        yield chunk


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _spool(spool: BinaryIO, chunks: AsyncIterator[bytes]) -> bytes:
    """Write chunks; answers their SHA-256."""
    digest = hashlib.sha256()
    async for chunk in chunks:
        digest.update(chunk)
        await asyncio.to_thread(spool.write, chunk)
    return digest.digest()


def _find(call: Call, agent_id: int, inventory_id: UUID) -> StoredInventory:
    call.actor.require_agent(agent_id)
    return service.get(call.tx, call.organization_id, inventory_id, agent_id=agent_id)


@router.get(WHERE + "/{inventory_id}", summary="Show a file", responses=problem_responses(403, 404))
def get_inventory(agent_id: Id, inventory_id: UuidId, call: AnyCall) -> Inventory:
    """Its columns, its receipt, and where it came from."""
    return _find(call, agent_id, inventory_id).inventory


@router.get(
    WHERE + "/{inventory_id}/content",
    summary="Download a file",
    responses={**problem_responses(403, 404), 200: {"content": {"application/octet-stream": {}}}},
    response_class=Response,
)
def download_inventory(agent_id: Id, inventory_id: UuidId, request: Request) -> Response:
    """The bytes as they came."""

    def content(stored: StoredInventory) -> Any:
        with open_file(stored, shared(request).settings) as file:
            while chunk := file.read(COPY_BYTES):
                yield chunk

    return _download(request, agent_id, inventory_id, content, "application/octet-stream", "")


@router.get(
    WHERE + "/{inventory_id}/rejects",
    summary="Download what is no row",
    responses={**problem_responses(403, 404), 200: {"content": {NDJSON: {}}}},
    response_class=Response,
)
def download_rejects(agent_id: Id, inventory_id: UuidId, request: Request) -> Response:
    """Records of the file that are no rows, as JSON lines: line, reason and text."""
    return _download(
        request,
        agent_id,
        inventory_id,
        lambda stored: write_rejects(stored, shared(request).settings),
        NDJSON,
        ".rejects.jsonl",
    )


def _download(
    request: Request,
    agent_id: int,
    inventory_id: UUID,
    content: Callable[[StoredInventory], Any],
    media_type: str,
    suffix: str,
) -> Response:
    with open_call(request) as call:
        stored = _find(call, agent_id, inventory_id)
    headers = {"Content-Disposition": f'attachment; filename="{inventory_id}{suffix}"'}
    return StreamingResponse(content(stored), media_type=media_type, headers=headers)


@router.delete(
    WHERE + "/{inventory_id}", status_code=204, summary="Delete a file", responses=problem_responses(403, 404)
)
def delete_inventory(agent_id: Id, inventory_id: UuidId, request: Request) -> None:
    """Batches that were made of it keep their rows. A connector does not bring the same object again."""
    with open_call(request) as call:
        call.actor.require_admin()
        _find(call, agent_id, inventory_id)
        key = service.delete(call.tx, call.organization_id, inventory_id)
    service.delete_object(key, shared(request).settings)
