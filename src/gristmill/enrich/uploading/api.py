"""HTTP of uploads: one lead file on its way from a form to a stored job."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from gristmill import inventory, mapping
from gristmill.base import jsons
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid, TooLarge, UnsupportedType
from gristmill.base.http import limit_bodies, media_type, problem_responses, shared
from gristmill.base.money import parse_usd
from gristmill.enrich import service
from gristmill.enrich.service import Uploaded, Wishes
from gristmill.identity.api import SESSION_COOKIE, Once, OnceOfStream, open_call
from gristmill.inventory import Draft

router = APIRouter(prefix="/api/v1/batch/enrich", tags=["Enrichment"])
limit_bodies(r"/api/v1/batch/enrich/upload", "batch_enrich_body_bytes_max")

INT32_MAX = 2**31 - 1
FORM_FIELDS_MAX = 20
SPOOL_BYTES = 8 * 1024**2
COPY_BYTES = 1024**2
NAME_CHARS_MAX = 200

_uploaded_json: TypeAdapter[Uploaded] = TypeAdapter(Uploaded)


class UploadForm(BaseModel):
    """The fields beside the file."""

    model_config = ConfigDict(extra="forbid")

    row_limit: int | None = Field(None, ge=1, le=INT32_MAX, description="Rows beyond it are kept as skipped.")
    agent: int | None = Field(None, ge=1, le=2**63 - 1, description="A lead enricher; the usual one unless given.")
    budget_usd: str | None = Field(None, description="The job pauses before it would spend more.")
    name: str = Field("", max_length=NAME_CHARS_MAX, pattern=r"^[^\x00]*$")
    auto_start: bool = Field(default=False, description="Start at once when the balance allows.")


FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        **UploadForm.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}


@router.post(
    "/upload",
    status_code=201,
    summary="Upload a lead file",
    responses=problem_responses(403, 404, 409, 413, 415, 429),
    response_model=Uploaded,
    openapi_extra={**FORM_BODY, "security": [{"key": []}, {}]},
)
async def upload(request: Request, once: OnceOfStream) -> Any:
    """Any delimiter and header shape; the columns are found out, and every row is stored. Nothing runs yet.

    With a key the job is the organization's. Without one the answer has an `upload_token`, which opens the job as
    `Authorization: Batch <token>` and links it to an organization once. A job that nobody links is deleted.
    """
    return await _read_form(request, once)


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who uploads: an organization with its agent, or nobody."""

    organization_id: int
    agent_id: int
    anonymous: bool


async def _read_form(request: Request, once: Once) -> Response:
    """A multipart form -> a stored job. `once` counts only for who is known."""
    kind = media_type(request)
    if kind != "multipart/form-data":
        raise UnsupportedType(f"Send multipart/form-data with a `file`, not `{kind[:60]}`.")
    named = "authorization" in request.headers or SESSION_COOKIE in request.cookies
    async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Invalid("`file` must be a file.", errors=(FieldError("file", "must be a file"),))
        wishes = _wishes(form)
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            digest = await _copy(file, cast("BinaryIO", spool), shared(request).settings.batch_enrich_max_upload_bytes)
            name = (file.filename or "").replace("\\", "/").rsplit("/", 1)[-1].replace("\x00", "") or "leads.csv"
            job = _Upload(request, once if named else None, cast("BinaryIO", spool), name, digest, wishes)
            return await asyncio.to_thread(job.finish)


async def _copy(file: UploadFile, spool: BinaryIO, bytes_max: int) -> str:
    """Copy the file of a form; answers its SHA-256. Raises `TooLarge` with the cap and the size."""
    if file.size is not None and file.size > bytes_max:
        raise TooLarge(
            f"The file has {file.size} bytes; at most {bytes_max} are taken (BATCH_ENRICH_MAX_UPLOAD_BYTES).",
            limit=bytes_max,
            size=file.size,
        )
    digest = hashlib.sha256()
    while chunk := await file.read(COPY_BYTES):
        digest.update(chunk)
        await asyncio.to_thread(spool.write, chunk)
    spool.seek(0)
    return digest.hexdigest()


def _wishes(form: FormData) -> UploadForm:
    values = {name: value for name, value in form.items() if name != "file" and value != ""}
    try:
        return UploadForm.model_validate(values)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(str(part) for part in item["loc"]), item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong), errors=wrong) from None


@dataclass(frozen=True, slots=True)
class _Upload:
    """One upload on its way to a job."""

    request: Request
    once: Once | None
    """None for nobody: without an organization there is nobody to give a kept answer to."""
    file: BinaryIO
    name: str
    sha256: str
    form: UploadForm

    def finish(self) -> Response:
        """Read, keep, store; the file goes again when anything of it fails."""
        state = shared(self.request)
        caller = self._caller()
        prepared = service.prepare(
            state.settings, self.file, lambda headers: self._recall(caller, headers), row_limit=self.form.row_limit
        )
        stored = inventory.keep(state.settings, caller.organization_id, caller.agent_id, self.file)
        draft = Draft(self.name, {"kind": "upload"}, stored.key, stored.size_bytes, self.sha256, prepared.examined)
        budget = self.form.budget_usd
        wishes = Wishes(
            self.form.name,
            self.form.row_limit,
            None if budget is None else parse_usd(budget, "budget_usd"),
            self.form.auto_start,
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
            if self.form.agent is not None:
                call.actor.require_agent(self.form.agent)
            chosen = self.form.agent or call.actor.agent_id
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
        digest = hashlib.sha256(self.sha256.encode() + jsons.dumps(self.form.model_dump())).digest()
        with open_call(self.request) as call:
            return self.once.run(call, 201, lambda: work(call.tx), digest=digest)
