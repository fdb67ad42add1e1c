"""HTTP of uploads: one lead file on its way from a body to a stored job."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.datastructures import UploadFile

from gristmill import inventory, mapping
from gristmill.base import encoded, jsons
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid, TooLarge, UnsupportedType
from gristmill.base.http import json_body, limit_bodies, media_type, problem_responses, shared, validated
from gristmill.base.money import parse_usd
from gristmill.base.routes import LateRoute
from gristmill.enrich import service
from gristmill.enrich.service import Uploaded, Wishes
from gristmill.identity.api import SESSION_COOKIE, Once, OnceOfStream, open_call
from gristmill.inventory import Draft

router = APIRouter(prefix="/api/v1/batch/enrich", tags=["Enrichment"], route_class=LateRoute)
limit_bodies(r"/api/v1/batch/enrich/upload", "batch_enrich_body_bytes_max")

INT32_MAX = 2**31 - 1
FORM_FIELDS_MAX = 20
SPOOL_BYTES = 8 * 1024**2
COPY_BYTES = 1024**2
NAME_CHARS_MAX = 200
RAW_TYPES = ("text/", "application/octet-stream", "application/x-ndjson", "application/vnd.", "application/gzip",
             "application/zip")  # fmt: skip
"""Beginnings of the types under which a file may be the body itself; what it is shows its content."""

_uploaded_json: TypeAdapter[Uploaded] = TypeAdapter(Uploaded)


class UploadForm(BaseModel):
    """The fields beside the file."""

    model_config = ConfigDict(extra="forbid")

    row_limit: int | None = Field(None, ge=1, le=INT32_MAX, description="Rows beyond it are kept as skipped.")
    agent: int | None = Field(None, ge=1, le=2**63 - 1, description="A lead enricher; the usual one unless given.")
    budget_usd: str | None = Field(None, description="The job pauses before it would spend more.")
    name: str = Field("", max_length=NAME_CHARS_MAX, pattern=r"^[^\x00]*$")
    auto_start: bool = Field(default=False, description="Start at once when the balance allows.")


class UploadJson(UploadForm):
    """The same with the file, in a JSON body."""

    file_base64: str = Field(description="The bytes of the file.", examples=["Y29tcGFueSxjaXR5CkFjbWUsVGFtcGEK"])
    file_filename: str = Field("", max_length=NAME_CHARS_MAX, pattern=r"^[^\x00]*$", examples=["leads.csv"])


_OPTIONS = UploadForm.model_json_schema()["properties"]
_BYTES = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _BYTES, **_OPTIONS}}
            },
            "application/json": {"schema": UploadJson.model_json_schema()},
            "application/octet-stream": {
                "schema": {**_BYTES, "description": "The bytes; the query has `file_filename` and what forms have."}
            },
        },
    }
}


@router.post(
    "/upload",
    status_code=201,
    summary="Upload a lead file",
    responses=problem_responses(403, 404, 409, 413, 415, 429),
    response_model=Uploaded,
    openapi_extra={**BODY, "security": [{"key": []}, {}]},
)
async def upload(request: Request, once: OnceOfStream) -> Any:
    """Any delimiter and header shape; the columns are found out, and every row is stored. Nothing runs yet.

    With a key the job is the organization's. Without one the answer has an `upload_token`, which opens the job as
    `Authorization: Batch <token>` and links it to an organization once. A job that nobody links is deleted.

    The file comes as a form with a `file`, as the body itself, or as JSON with `file_base64`.
    """
    # `once` counts only for who is known: without an organization there is nobody to give a kept answer to.
    named = "authorization" in request.headers or SESSION_COOKIE in request.cookies
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        file = cast("BinaryIO", spool)
        sent = await _receive(request, file)
        return await asyncio.to_thread(_Upload(request, once if named else None, file, sent).finish)


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who uploads: an organization with its agent, or nobody."""

    organization_id: int
    agent_id: int
    anonymous: bool


@dataclass(frozen=True, slots=True)
class _Sent:
    """What came beside the bytes of the file."""

    name: str
    sha256: str
    form: UploadForm


async def _receive(request: Request, spool: BinaryIO) -> _Sent:
    """Write the file of any kind of body to `spool`, which then stands at its start."""
    kind, bytes_max = media_type(request), shared(request).settings.batch_enrich_max_upload_bytes
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Invalid("`file` must be a file.", errors=(FieldError("file", "must be a file"),))
            wishes = _wishes({name: value for name, value in form.items() if name != "file"})
            _check_size(file.size or 0, bytes_max)
            return _Sent(_named(file.filename), await _copy(_pieces(file), spool, bytes_max), wishes)
    if kind == "application/json":
        body = validated(UploadJson, json_body(await request.body()))
        content = encoded.decode_file(body.file_base64)
        _check_size(len(content), bytes_max)
        wishes = UploadForm(**body.model_dump(exclude={"file_base64", "file_filename"}))
        return _Sent(_named(body.file_filename), await _copy(_whole(content), spool, bytes_max), wishes)
    if not kind.startswith(RAW_TYPES):
        raise UnsupportedType(f"Send multipart/form-data, application/json or the file itself, not `{kind[:60]}`.")
    options = dict(request.query_params)
    name = _named(options.pop("file_filename", ""))
    wishes = _wishes(options)
    return _Sent(name, await _copy(request.stream(), spool, bytes_max), wishes)


def _named(given: str | None) -> str:
    """The last part of a file's name, which may be a path."""
    return (given or "").replace("\\", "/").rsplit("/", 1)[-1].replace("\x00", "") or "leads.csv"


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(COPY_BYTES):
        yield chunk


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _copy(chunks: AsyncIterator[bytes], spool: BinaryIO, bytes_max: int) -> str:
    """Copy a file; answers its SHA-256. Raises `TooLarge`."""
    digest, size = hashlib.sha256(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > bytes_max:
            message = f"The file has more than {bytes_max} bytes (BATCH_ENRICH_MAX_UPLOAD_BYTES)."
            raise TooLarge(message, limit=bytes_max)
        digest.update(chunk)
        await asyncio.to_thread(spool.write, chunk)
    spool.seek(0)
    return digest.hexdigest()


def _check_size(size: int, bytes_max: int) -> None:
    """Raises `TooLarge` with the cap and the size."""
    if size > bytes_max:
        message = f"The file has {size} bytes; at most {bytes_max} are taken (BATCH_ENRICH_MAX_UPLOAD_BYTES)."
        raise TooLarge(message, limit=bytes_max, size=size)


def _wishes(given: Mapping[str, Any]) -> UploadForm:
    return validated(UploadForm, {name: value for name, value in given.items() if value != ""})


@dataclass(frozen=True, slots=True)
class _Upload:
    """One upload on its way to a job."""

    request: Request
    once: Once | None
    """None for nobody: without an organization there is nobody to give a kept answer to."""
    file: BinaryIO
    sent: _Sent

    def finish(self) -> Response:
        """Read, keep, store; the file goes again when anything of it fails."""
        state = shared(self.request)
        caller = self._caller()
        kept = self._kept()
        if kept is not None:
            return kept
        prepared = service.prepare(
            state.settings, self.file, lambda headers: self._recall(caller, headers), row_limit=self.sent.form.row_limit
        )
        stored = inventory.keep(state.settings, caller.organization_id, caller.agent_id, self.file)
        draft = Draft(
            self.sent.name, {"kind": "upload"}, stored.key, stored.size_bytes, self.sent.sha256, prepared.examined
        )
        budget = self.sent.form.budget_usd
        wishes = Wishes(
            self.sent.form.name,
            self.sent.form.row_limit,
            None if budget is None else parse_usd(budget, "budget_usd"),
            self.sent.form.auto_start,
        )
        made: list[Uploaded] = []

        def work(tx: Tx) -> Uploaded:
            agent = service.lead_agent(tx, caller.organization_id, state.settings, agent_id=caller.agent_id)
            made.append(
                service.create(
                    tx,
                    caller.organization_id,
                    state.settings,
                    agent,
                    prepared,
                    self.file,
                    draft,
                    wishes,
                    anonymous=caller.anonymous,
                )
            )
            return made[0]

        try:
            answer = self._commit(work, caller)
        except BaseException:
            inventory.delete_object(stored.key, state.settings)
            raise
        if not made:  # an earlier call with the same Idempotency-Key kept the file
            inventory.delete_object(stored.key, state.settings)
        return answer

    def _caller(self) -> _Caller:
        state = shared(self.request)
        if self.once is None:
            with state.database.system() as tx:
                organization_id = service.admit_anonymous(tx, state.settings)
                agent = service.lead_agent(tx, organization_id, state.settings, agent_id=None)
                return _Caller(organization_id, agent.id, anonymous=True)
        with open_call(self.request) as call:
            if self.sent.form.agent is not None:
                call.actor.require_agent(self.sent.form.agent)
            chosen = self.sent.form.agent or call.actor.agent_id
            agent = service.lead_agent(call.tx, call.organization_id, state.settings, agent_id=chosen)
            return _Caller(call.organization_id, agent.id, anonymous=False)

    def _recall(self, caller: _Caller, headers: str) -> mapping.Memory | None:
        """What the agent was told or found out about files with these headers before."""
        if caller.anonymous:
            return None
        with shared(self.request).database.tx(caller.organization_id) as tx:
            return mapping.recall(tx, caller.organization_id, headers, agent_id=caller.agent_id)

    def _commit(self, work: Callable[[Tx], Uploaded], caller: _Caller) -> Response:
        if self.once is None:
            with shared(self.request).database.tx(caller.organization_id) as tx:
                body = _uploaded_json.dump_json(work(tx))
            return Response(body, status_code=201, media_type="application/json")
        with open_call(self.request) as call:
            return self.once.run(call, 201, lambda: work(call.tx), digest=self._digest)

    def _kept(self) -> Response | None:
        """What was answered to the same upload before."""
        if self.once is None:
            return None
        with open_call(self.request) as call:
            return self.once.kept(call, digest=self._digest)

    @property
    def _digest(self) -> bytes:
        return hashlib.sha256(self.sent.sha256.encode() + jsons.dumps(self.sent.form.model_dump())).digest()
