"""HTTP of inbound URLs: no key of ours, but a signature."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict

from gristmill.base.errors import UnsupportedType
from gristmill.base.http import limit_bodies, media_type, problem_responses, shared
from gristmill.base.routes import LateRoute
from gristmill.connectors.inbound.accept import Message, Receiver, accept
from gristmill.connectors.model import CAMEL

router = APIRouter(tags=["Connectors"], route_class=LateRoute)
limit_bodies(r"/hooks/[^/]*", "hook_bytes_max")

MEMORY_BYTES = 1024**2
TYPES = frozenset({
    "text/csv", "text/plain", "text/tab-separated-values", "application/json", "application/x-ndjson",
    "application/jsonl", "application/gzip", "application/x-gzip", "application/zip", "application/octet-stream",
    "application/vnd.apache.parquet", "application/vnd.ms-excel",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
})  # fmt: skip
"""What files may be pushed in as; what they are is found out by their content."""
NAME_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a file that was pushed in."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    sync_id: UUID
    status: Literal["accepted", "duplicate"]


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in sorted(TYPES)},
    }
}


@router.post(
    "/hooks/{hook_id}",
    status_code=202,
    summary="Push a file in",
    responses={**problem_responses(401, 409, 413, 415, 429), 200: {"model": Pushed}},
    response_model=Pushed,
    openapi_extra=_BODY,
)
async def receive(
    hook_id: Annotated[str, Path(max_length=100)],
    request: Request,
    name: Annotated[str, Query(max_length=NAME_CHARS_MAX, description="Name of the file.")] = "",
) -> Response:
    """A file, or rows as JSON, signed as the connector says. It is kept at once and read soon after.

    Signed by Standard Webhooks, by HMAC-SHA256 of the body (`X-Hub-Signature-256`), or opened by Bearer, Basic or a
    header. The same message again answers 200; another one under the same `webhook-id` 409.
    """
    receiver = Receiver.new(MEMORY_BYTES)
    with receiver.file:
        async for chunk in request.stream():
            await asyncio.to_thread(receiver.write, chunk)
        kind = media_type(request)
        if kind not in TYPES:
            raise UnsupportedType(f"A file is pushed as one of {', '.join(sorted(TYPES))}, not as `{kind[:60]}`.")
        headers = {key.lower(): value for key, value in request.headers.items()}
        plain = re.sub(r"[\x00-\x1f]", "", name).strip()
        message = Message(headers, receiver.file, receiver.digest.hexdigest(), plain)
        state = shared(request)
        taken = await asyncio.to_thread(accept, state.database, state.settings, hook_id, message)
    answer = {"syncId": str(taken.sync_id), "status": "duplicate" if taken.is_duplicate else "accepted"}
    return JSONResponse(answer, status_code=200 if taken.is_duplicate else 202)
