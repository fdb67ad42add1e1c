"""HTTP of looking at files."""

from __future__ import annotations

import asyncio
import binascii
import tempfile
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile

from gristmill.base import encoded
from gristmill.base.errors import FieldError, Invalid, TooLarge, UnsupportedType
from gristmill.base.http import json_body, limit_bodies, media_type, problem_responses, shared, validated
from gristmill.base.routes import LateRoute
from gristmill.identity.api import open_call
from gristmill.sources.inspection.look import ROWS_DEFAULT, ROWS_MAX, Inspection, inspect
from gristmill.tables import Hints

router = APIRouter(prefix="/api/v1/tables", tags=["Tables"], route_class=LateRoute)
limit_bodies(r"/api/v1/tables/inspect", "inspect_body_bytes_max")

SPOOL_BYTES = 8 * 1024**2
COPY_BYTES = 1024**2
NAME_CHARS_MAX = 200


class InspectBody(BaseModel):
    """A file as JSON."""

    model_config = ConfigDict(extra="forbid")

    file_base64: str = Field(description="The bytes of a file of any format that is read.", examples=["YSxiCjEsMgo="])


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": InspectBody.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("/inspect", summary="Inspect a file", responses=problem_responses(413, 415), openapi_extra=_BODY)
async def inspect_file(
    request: Request,
    rows: Annotated[int, Query(ge=0, le=ROWS_MAX, description="Rows to show")] = ROWS_DEFAULT,
    sheet: Annotated[str, Query(max_length=NAME_CHARS_MAX, description="Sheet of a workbook, file of an archive")] = "",
    delimiter: Annotated[str, Query(max_length=10, description="Overrules what is found out")] = "",
    encoding: Annotated[str, Query(max_length=40, description="Overrules what is found out")] = "",
    header: Annotated[bool | None, Query(description="Overrules what is found out")] = None,
) -> Inspection:
    """A file of any format that is read: its dialect with how sure that is, columns, first rows, rejects, receipt.

    Send it as a form with a `file`, as the body itself, or as JSON with `file_base64`. Nothing of it is kept.
    """
    await asyncio.to_thread(_admit, request)
    hints = Hints()
    if delimiter:
        hints["delimiter"] = delimiter
    if encoding:
        hints["encoding"] = encoding
    if header is not None:
        hints["header"] = header
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        file = cast("BinaryIO", spool)
        await _receive(request, file)
        return await asyncio.to_thread(inspect, file, rows=rows, hints=hints, sheet=sheet or None)


def _admit(request: Request) -> None:
    with open_call(request):
        pass


async def _receive(request: Request, spool: BinaryIO) -> None:
    """Copy the file of the request; memory stays flat but for JSON."""
    kind = media_type(request)
    limit = shared(request).settings.inspect_body_bytes_max
    if kind == "application/json":
        spool.write(_decoded(await request.body()))
    elif kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Invalid("`file` must be a file.", errors=(FieldError("file", "must be a file"),))
            await _copy(_chunks(file), spool, limit)
    elif "/" in kind:
        await _copy(request.stream(), spool, limit)
    else:
        raise UnsupportedType(f"Send a file, a form or application/json, not `{kind[:60]}`.")
    spool.seek(0)


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(COPY_BYTES):
        yield chunk


async def _copy(chunks: AsyncIterator[bytes], spool: BinaryIO, limit: int) -> None:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"The file has more than {limit} bytes.", limit=limit)
        await asyncio.to_thread(spool.write, chunk)


def _decoded(body: bytes) -> bytes:
    text = validated(InspectBody, json_body(body)).file_base64
    try:
        return encoded.decode(text)
    except binascii.Error:
        message = "is not Base64"
        raise Invalid(f"`file_base64` {message}.", errors=(FieldError("file_base64", message),)) from None
