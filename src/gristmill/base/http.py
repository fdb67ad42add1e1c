"""What every API file shares: problem documents, limits, ids, pages, and calls that are safe to repeat."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import structlog
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter, Histogram
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import CODES, Error, FieldError, Invalid
from gristmill.base.log import get_log
from gristmill.base.paging import CURSOR_BYTES_MAX, LIMIT_MAX, PER_PAGE_MAX

log = get_log("http")

INT64_MAX = 2**63 - 1
SCHEMAS = "#/components/schemas/{model}"
PROBLEM = "application/problem+json"
REQUEST_ID_CHARS_MAX = 64
NDJSON = "application/x-ndjson"
ERRORS_SHOWN = 50
"""Of the fields of one body."""
M = TypeVar("M", bound=BaseModel)

REQUESTS = Counter("gristmill_http_requests_total", "HTTP requests", ["method", "route", "status"])
SECONDS = Histogram(
    "gristmill_http_request_seconds",
    "Duration of HTTP requests",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)

Id = Annotated[int, Path(ge=1, le=INT64_MAX, description="Integer id")]
UuidId = Annotated[UUID, Path(description="UUID")]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="Page, from 1")]
PerPage = Annotated[int, Query(ge=1, le=PER_PAGE_MAX, description=f"Entries per page, at most {PER_PAGE_MAX}")]
CursorText = Annotated[
    str | None, Query(max_length=CURSOR_BYTES_MAX, description="`next_cursor` of the page before; absent for the first")
]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description=f"Entries per page, at most {LIMIT_MAX}")]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the app holds for all requests, as `request.app.state.shared`."""

    database: Database
    settings: Settings


def shared(request: Request) -> Shared:
    """The app's shared things."""
    found: Shared = request.app.state.shared
    return found


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, as RFC 9457 has it."""

    type: str
    """A stable URI of the kind of problem: `about:gristmill/` and the code."""
    title: str
    """What the code means."""
    status: int
    detail: str
    """What went wrong this time, and what to do."""
    code: str
    """Stable; for programs."""
    errors: list[FieldError]
    """What is wrong with which field, where that is the trouble."""
    request_id: str


def problem(request: Request, error: Error, *, status: int | None = None) -> JSONResponse:
    """The problem document of an error. `facts` of the error become further members."""
    code = CODES[error.code]
    body: dict[str, Any] = {
        **{name: value for name, value in error.facts.items() if isinstance(value, str | int | float | bool)},
        "type": f"about:gristmill/{error.code}",
        "title": code.meaning,
        "status": status or code.status,
        "detail": error.message,
        "code": error.code,
        "errors": [{k: v for k, v in asdict(item).items() if v is not None} for item in error.errors],
        "request_id": request.scope.get("request_id", ""),
    }
    headers = dict(error.headers)
    if "retry_after_s" in error.facts:
        headers["Retry-After"] = str(error.facts["retry_after_s"])
    if code.status == 401:  # noqa: PLR2004 - Unauthorized asks for a challenge
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status_code=status or code.status, media_type=PROBLEM, headers=headers)


class _Plain(Error):
    """An error made from what the framework says."""

    def __init__(self, code: str, message: str, errors: tuple[FieldError, ...] = (), **facts: object) -> None:
        super().__init__(message, errors=errors, **facts)
        self.code = code  # pyright: ignore[reportAttributeAccessIssue]  # one instance, one code


_BY_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_type",
}


def install_errors(app: FastAPI) -> None:
    """Answer every failure in the one shape."""

    @app.exception_handler(Error)
    async def ours(request: Request, error: Error) -> JSONResponse:
        if CODES[error.code].status >= 500:  # noqa: PLR2004 - server errors are worth a line in the log
            log.warning("request failed", code=error.code, detail=error.message, path=request.url.path)
        return problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = tuple(_field_error(item) for item in error.errors()[:ERRORS_SHOWN])
        malformed = any(item["type"] == "json_invalid" or item["loc"][:1] == ("path",) for item in error.errors())
        summary = "; ".join(f"`{item.field}`: {item.message}" if item.field else item.message for item in wrong[:5])
        return problem(request, _Plain("malformed" if malformed else "invalid", summary, wrong))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        code = _BY_STATUS.get(error.status_code, "malformed" if error.status_code < 500 else "internal")  # noqa: PLR2004
        detail = f"There is nothing at {request.url.path[:200]}." if error.status_code == 404 else str(error.detail)  # noqa: PLR2004
        facts = {"limit": error.limit} if isinstance(error, _BodyTooLarge) else {}
        return problem(request, _Plain(code, detail, (), **facts), status=error.status_code)

    @app.exception_handler(psycopg.DataError)
    async def unstorable(request: Request, error: psycopg.DataError) -> JSONResponse:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return problem(request, _Plain("invalid", f"A value can't be stored: {first[:200]}"))

    @app.exception_handler(psycopg.OperationalError)
    async def busy(request: Request, error: psycopg.OperationalError) -> JSONResponse:
        log.warning("the database refused", path=request.url.path, error=str(error)[:300])
        if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            return problem(request, _Plain("conflict", "Another change was under way at the same time; try again."))
        if isinstance(error, psycopg.errors.QueryCanceled):
            return problem(request, _Plain("timed_out", "The database took too long; ask for less."))
        return problem(request, _Plain("unavailable", "The database could not do that just now; try again."))

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        log.error("a defect", path=request.url.path, exc_info=error)
        return problem(request, _Plain("internal", "A defect of ours. The request id finds it in the server's log."))


def _field_error(item: MutableMapping[str, Any] | Any) -> FieldError:
    location = [str(part) for part in item["loc"]]
    field = (
        ".".join(location[1:])
        if location[:1] and location[0] in {"body", "query", "path", "header"}
        else ".".join(location)
    )
    message = str(item["msg"])
    if item["type"] == "json_invalid":
        offset = item["loc"][1] if len(item["loc"]) > 1 and isinstance(item["loc"][1], int) else None
        where = f" at character {offset}" if offset is not None else ""
        return FieldError("", f"is not JSON{where}: {item.get('ctx', {}).get('error', message)}")
    return FieldError(field, message)


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _BodyTooLarge(HTTPException):
    """The framework turns any other exception that comes while it reads a body into a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body is larger than {limit} bytes.")
        self.limit = limit


class CallContext:
    """ASGI middleware: a request id in, out and in every log line; metrics; the limit on bodies."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wrap one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        usable = 0 < len(given) <= REQUEST_ID_CHARS_MAX and given.replace("-", "").replace("_", "").isalnum()
        request_id = given if usable and given.isascii() else uuid4().hex
        scope["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 500

        async def tagged_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    *_SAFE_HEADERS,
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, self._limited(scope["path"], headers, receive), tagged_send)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "(none)")
            REQUESTS.labels(scope["method"], path, str(status)).inc()
            SECONDS.labels(scope["method"], path).observe(time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")

    def _limited(self, path: str, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        stream = headers.get(b"content-type", b"").split(b";")[0].strip().decode("latin-1") == NDJSON
        usual = "batch_body_bytes_max" if stream else "json_body_bytes_max"
        setting = next((name for pattern, name in _body_limits if pattern.fullmatch(path)), usual)
        limit: int = getattr(self._settings, setting)
        seen = 0

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise _BodyTooLarge(limit)
            return message

        return receive_limited


_body_limits: list[tuple[re.Pattern[str], str]] = []


def limit_bodies(pattern: str, setting: str) -> None:
    """Give paths that match a pattern as a whole a limit on bodies of their own: they stream what they get."""
    _body_limits.append((re.compile(pattern), setting))


_SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


def media_type(request: Request) -> str:
    """What the body is said to be, in lower case and without parameters; empty when nothing is said."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def validated(model: type[M], value: Any) -> M:
    """A body as a model. Raises `Invalid` that names the fields."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(str(part) for part in item["loc"]), item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)[:ERRORS_SHOWN]
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5]), errors=wrong) from None


async def body_digest(request: Request) -> bytes:
    """SHA-256 of a body that may carry an Idempotency-Key; empty for a stream, which is hashed as it comes."""
    if media_type(request) == NDJSON:
        return b""
    return hashlib.sha256(await request.body()).digest()


def problem_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors that a route answers with; 401 and 422 stand on every route."""
    texts = {facts.status: facts.meaning for facts in reversed(CODES.values())}
    # A reference instead of a `model`: FastAPI would make a validator of it for every status of every route, which
    # takes a third of the server's start.
    content = {PROBLEM: {"schema": {"$ref": SCHEMAS.format(model="Problem")}}}
    return {code: {"description": texts[code], "content": content} for code in sorted({*codes, 400, 401, 422})}


def problem_schemas() -> dict[str, Any]:
    """The OpenAPI schemas that `problem_responses` refers to, by name."""
    schema = TypeAdapter(Problem).json_schema(ref_template=SCHEMAS)
    return {**schema.pop("$defs"), "Problem": schema}
