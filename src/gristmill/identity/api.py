"""HTTP of identity, and the door that every other API file goes through: who calls, in which transaction."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gristmill.base.db import Tx
from gristmill.base.errors import Error, Malformed
from gristmill.base.http import UuidId, body_digest, problem_responses, shared
from gristmill.base.paging import FullList, full_list
from gristmill.base.routes import LateRoute
from gristmill.identity import service
from gristmill.identity.idempotency import KEY_CHARS_MAX, Answer, find_answer, keep_answer, peek_answer
from gristmill.identity.model import Actor, ApiKey, Forbidden, NewApiKey, Scope, Unauthenticated

SESSION_COOKIE = "gristmill_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request: who it is and the transaction it runs in."""

    actor: Actor
    tx: Tx

    @property
    def organization_id(self) -> int:
        """The caller's tenant."""
        return self.actor.organization_id


def authenticate(tx: Tx, request: Request) -> Actor:
    """The actor of a request, by bearer key or browser session.

    Raises `Unauthenticated`, or `Forbidden` for a browser's change without its CSRF token.
    """
    header = request.headers.get("authorization")
    if header is not None:
        kind, _, secret = header.partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise Unauthenticated
        return service.authenticate_key(tx, secret.strip())
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is None:
        raise Unauthenticated
    actor = service.authenticate_session(tx, cookie)
    if request.method not in SAFE_METHODS and request.headers.get(CSRF_HEADER) != actor.csrf:
        raise Forbidden(f"A browser session must send the header {CSRF_HEADER}.")
    return actor


@contextmanager
def open_call(request: Request) -> Generator[Call]:
    """Authenticate and enter the tenant, in one transaction that commits at the end of the block."""
    database, actor = shared(request).database, None
    try:
        with database.system() as tx:
            actor = authenticate(tx, request)
            tx.enter(actor.organization_id)
            yield Call(actor, tx)
    except Error:
        if actor is not None and actor.key_id is not None:  # a refused call is a use of its key all the same
            with database.system() as tx:
                service.note_use(tx, actor.key_id)
        raise


def _call(request: Request) -> Generator[Call]:
    with open_call(request) as call:
        yield call


# scope="function": by default a dependency's end, our commit, would come after the answer has been sent.
AnyCall = Annotated[Call, Depends(_call, scope="function")]


def _admin_call(call: AnyCall) -> Call:
    call.actor.require_admin()
    return call


AdminCall = Annotated[Call, Depends(_admin_call, scope="function")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_CHARS_MAX,
        description="Makes the call safe to repeat for 24 hours: the same key and body get the first answer again.",
    ),
]


class Once:
    """Runs a call's work once per Idempotency-Key."""

    def __init__(
        self,
        request: Request,
        digest: Annotated[bytes, Depends(body_digest)],
        key: IdempotencyKey = None,
    ) -> None:
        self._request = request
        self._digest = digest
        self._key = key

    def run(self, call: Call, status: int, work: Callable[[], Any], *, digest: bytes | None = None) -> Response:
        """The answer of `work`, as JSON with `status`; or the kept one. `digest` is of a body that was streamed."""
        kept = self._look(call, find_answer, digest)
        if kept is not None:
            return kept
        value = work()
        adapter: TypeAdapter[Any] = TypeAdapter(type(value))
        body = adapter.dump_json(value)
        if self._key is not None:
            keep_answer(call.tx, call.organization_id, self._key, status=status, body=body)
        return Response(body, status_code=status, media_type="application/json")

    def kept(self, call: Call, *, digest: bytes | None = None) -> Response | None:
        """The kept answer, for a call that asks others before its work: a repetition asks nobody."""
        return self._look(call, peek_answer, digest)

    def _look(self, call: Call, find: Callable[..., Answer | None], digest: bytes | None) -> Response | None:
        if self._key is None:
            return None
        if "\x00" in self._key:
            raise Malformed("The Idempotency-Key has a NUL in it.")
        # The routes under /api and /api/v1 are the same calls.
        name = f"{self._request.method} {self._request.url.path.replace('/api/v1/', '/api/', 1)}"
        found = find(
            call.tx,
            call.organization_id,
            self._key,
            call=name,
            body_sha256=digest or self._digest,
            hours=shared(self._request).settings.idempotency_hours,
        )
        if found is None:
            return None
        return JSONResponse(found.body, status_code=found.status, headers={"Idempotency-Replayed": "true"})


OnceGuard = Annotated[Once, Depends()]


class _OnceOfStream(Once):
    """The same for a body that the call reads by itself: its `run` is given the digest."""

    def __init__(self, request: Request, key: IdempotencyKey = None) -> None:
        super().__init__(request, b"", key)


OnceOfStream = Annotated[_OnceOfStream, Depends()]

router = APIRouter(prefix="/api/v1", tags=["Keys"], route_class=LateRoute)


class KeyCreate(BaseModel):
    """A new API key."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, examples=["Nightly import"])
    scope: Scope = Field("usage", description="`admin` may change everything; `usage` may read and run what is there.")
    agent_id: int | None = Field(None, ge=1, le=2**63 - 1, description="Limits the key to one agent.")
    expires_in_days: int | None = Field(None, ge=1, le=service.EXPIRES_IN_DAYS_MAX)


class KeyRotate(BaseModel):
    """How to rotate a key."""

    model_config = ConfigDict(extra="forbid")

    overlap_hours: int = Field(
        24, ge=0, le=720, description="How long the old key works beside the new one.", examples=[24]
    )


@router.get("/api_keys", summary="List API keys", responses=problem_responses(403))
def list_keys(call: AdminCall) -> FullList[ApiKey]:
    """All keys of the organization, newest first, revoked ones included; secrets are never shown again."""
    call.actor.require_whole_organization()
    return full_list(service.list_keys(call.tx, call.organization_id))


@router.post(
    "/api_keys",
    status_code=201,
    summary="Make an API key",
    responses=problem_responses(403, 404, 409),
    response_model=NewApiKey,
)
def create_key(body: KeyCreate, call: AdminCall, once: OnceGuard) -> Any:
    """The secret is in this answer and nowhere else."""
    call.actor.require_whole_organization()
    return once.run(
        call,
        201,
        lambda: service.issue_key(
            call.tx,
            call.organization_id,
            name=body.name,
            scope=body.scope,
            agent_id=body.agent_id,
            lifetime=timedelta(days=body.expires_in_days) if body.expires_in_days else None,
        ),
    )


@router.post(
    "/api_keys/{key_id}/rotate",
    status_code=201,
    summary="Rotate an API key",
    responses=problem_responses(403, 404, 409),
    response_model=NewApiKey,
)
def rotate_key(key_id: UuidId, body: KeyRotate, call: AdminCall, once: OnceGuard) -> Any:
    """A new key with the same rights and the same lifetime; the old one works for `overlap_hours` more."""
    call.actor.require_whole_organization()
    return once.run(
        call,
        201,
        lambda: service.rotate_key(call.tx, call.organization_id, key_id, overlap_hours=body.overlap_hours),
    )


@router.delete(
    "/api_keys/{key_id}", status_code=204, summary="Revoke an API key", responses=problem_responses(403, 404)
)
def revoke_key(key_id: UuidId, call: AdminCall) -> None:
    """The key stops working at once and for good."""
    call.actor.require_whole_organization()
    service.revoke_key(call.tx, call.organization_id, key_id)
