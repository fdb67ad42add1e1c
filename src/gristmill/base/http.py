"""What every API file shares: problem documents, limits, ids, pages, and calls that are safe to repeat."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import structlog
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import Counter, Histogram
from pydantic import BaseModel, BeforeValidator, StrictFloat, StrictInt, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import CODES, Error, FieldError, Invalid, Malformed
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


def _whole(value: Any) -> Any:
    """A number as it is written in a path or query; Python would also take `+1`, `1_0` and `1.0`."""
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdigit()):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer, written in digits")
    return value


Dollars = str | StrictInt | StrictFloat
"""An amount in a body, for `parse_usd`; `true` is none."""
Whole = Annotated[int, BeforeValidator(_whole)]
Id = Annotated[Whole, Path(ge=1, le=INT64_MAX, description="Integer id")]
UuidId = Annotated[UUID, Path(description="UUID")]
PageNumber = Annotated[Whole, Query(ge=1, le=1_000_000, description="Page, from 1")]
PerPage = Annotated[Whole, Query(ge=1, le=PER_PAGE_MAX, description=f"Entries per page, at most {PER_PAGE_MAX}")]
CursorText = Annotated[
    str | None, Query(max_length=CURSOR_BYTES_MAX, description="`next_cursor` of the page before; absent for the first")
]
Limit = Annotated[Whole, Query(ge=1, le=LIMIT_MAX, description=f"Entries per page, at most {LIMIT_MAX}")]


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
        return problem(request, _refusal(request, error))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        return _unrouted(request, error)

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


def _unrouted(request: Request, error: HTTPException) -> Response:
    """What the framework answers by itself: no such path or method, a body that it could not read."""
    status, detail = error.status_code, str(error.detail)
    if status == 405:  # noqa: PLR2004 - Method Not Allowed
        return _wrong_method(request)
    if status == 404:  # noqa: PLR2004 - Not Found
        detail = f"There is nothing at {request.url.path[:200]}."
    code = _BY_STATUS.get(status, "malformed" if status < 500 else "internal")  # noqa: PLR2004 - the server's own errors
    facts = {"limit": error.limit} if isinstance(error, _BodyTooLarge) else {}
    return problem(request, _Plain(code, detail, (), **facts), status=status)


def _wrong_method(request: Request) -> Response:
    """405, or the answer to OPTIONS; both name the methods that the path has."""
    routes = request.app.router.routes
    found = [
        name
        for name in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": name})[0] is Match.FULL for route in routes)
    ]
    allowed = [*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"]
    headers = {"Allow": ", ".join(allowed)}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    refusal = _Plain("method_not_allowed", f"{request.method} is not for this path; {headers['Allow']} are.")
    refusal.headers = headers
    return problem(request, refusal)


def _refusal(request: Request, error: RequestValidationError) -> _Plain:
    """What the framework refused: a body of another type, what can't be read at all, or values of fields."""
    kind = media_type(request)
    items = error.errors()
    whole = any(item["loc"] == ("body",) and item["type"] != "missing" for item in items)
    if whole and kind != "application/json" and not kind.endswith("+json"):
        return _Plain("unsupported_type", f"Send application/json, not `{kind[:60]}`.")
    wrong = tuple(_field_error(item) for item in items[:ERRORS_SHOWN])
    malformed = any(item["type"] == "json_invalid" or item["loc"][:1] == ("path",) for item in items)
    return _Plain("malformed" if malformed else "invalid", _summary(wrong), wrong)


def _field_error(item: MutableMapping[str, Any] | Any) -> FieldError:
    location = [str(part) for part in item["loc"]]
    field = (
        ".".join(location[1:])
        if location[:1] and location[0] in {"body", "query", "path", "header"}
        else ".".join(location)
    )
    message = _sentence(item)
    if item["type"] == "json_invalid":
        offset = item["loc"][1] if len(item["loc"]) > 1 and isinstance(item["loc"][1], int) else None
        where = f" at character {offset}" if offset is not None else ""
        return FieldError("", f"is not JSON{where}: {item.get('ctx', {}).get('error', message)}")
    return FieldError(field, message)


def _sentence(item: MutableMapping[str, Any] | Any) -> str:
    """What pydantic says is wrong, without what it says about itself."""
    if item["type"] in {"model_type", "model_attributes_type", "dataclass_type"}:
        return "must be a JSON object"
    if item["loc"] == ("body",) and item["type"] == "missing":
        return "is missing; send a JSON object"
    return str(item["msg"]).removeprefix("Value error, ")


def _summary(wrong: Sequence[FieldError]) -> str:
    """The first of what is wrong, in one line."""
    return "; ".join(
        f"`{item.field}`: {item.message}"
        if item.field
        else f"The body {item.message}"
        if item.message[:1].islower()
        else item.message
        for item in wrong[:5]
    )


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


class _HeadersAreAll(Exception):
    """A HEAD was answered; what would follow is not made."""


def is_head(request: Request) -> bool:
    """Whether only headers are asked for. A route sees GET then, and must have no effect that happens once."""
    return request.scope.get(_ASKED) == "HEAD"


_ASKED = "gristmill.asked"


class CallContext:
    """ASGI middleware: a request id in, out and in every log line; metrics; the limit on bodies; HEAD, by GET."""

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
        asked = scope["method"]
        # A copy: the server looks at the method by itself when it sends the answer's head.
        scope = {**scope, "request_id": request_id, _ASKED: asked}
        if asked in {"GET", "HEAD"}:
            scope |= {"method": "GET", "query_string": _without_blanks(scope["query_string"])}
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
            if asked == "HEAD":
                await send({"type": "http.response.body"})
                raise _HeadersAreAll

        try:
            await self._app(scope, self._limited(scope["path"], headers, receive), tagged_send)
        except _HeadersAreAll:
            pass
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "(none)")
            REQUESTS.labels(asked, path, str(status)).inc()
            SECONDS.labels(asked, path).observe(time.perf_counter() - started)
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


def _without_blanks(query: bytes) -> bytes:
    """A query without parameters that have no value: forms send what was left blank, which means that it is not set."""
    if b"=&" not in query and not query.endswith(b"="):
        return query
    return b"&".join(item for item in query.split(b"&") if not item.endswith(b"=") or item.count(b"=") > 1)


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


def json_body(raw: bytes) -> Any:
    """The value of a body in JSON. Raises `Malformed`."""
    try:
        return jsons.loads(raw)
    except ValueError as error:
        raise Malformed(f"The body is not JSON: {error}"[:300]) from None


def validated(model: type[M], value: Any) -> M:
    """A body as a model. Raises `Invalid` that names the fields."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(str(part) for part in item["loc"]), _sentence(item))
            for item in error.errors(include_url=False, include_input=False, include_context=False)[:ERRORS_SHOWN]
        )
        raise Invalid(_summary(wrong), errors=wrong) from None


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
