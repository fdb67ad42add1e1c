"""HTTPS: one file is fetched from a URL when it has changed, or pushed in; results are posted in pages."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from gristmill.base import jsons
from gristmill.base.conceal import redact
from gristmill.base.egress import Egress
from gristmill.base.errors import Error, FieldError, Invalid
from gristmill.base.fetch import BodyTooLarge, Reply, check_headers, http_session, reason, retry_after_s, stream
from gristmill.base.signing import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from gristmill.connectors.ladder import Ladder
from gristmill.connectors.model import Entry, Found, Role
from gristmill.connectors.remote import (
    SAMPLE_BYTES,
    Door,
    Exchange,
    Fetched,
    Job,
    Keep,
    Landing,
    ObjectGone,
    Piece,
    RemoteFailed,
    TooBig,
    Trail,
    exchange_of,
)
from gristmill.inventory import Format
from gristmill.vault.credentials import DEFAULT_HEADER, Scheme, auth_headers

CONNECTIONS = 4
ANSWER_S_MAX = 30.0
"""Silence after which a request is given up; a small one as a whole."""
FETCH_ATTEMPTS = 3
FETCH_PAUSE_S = 1.0
RETRY_AFTER_S_MAX = 30.0
ANSWER_BYTES_MAX = 4096
EXCERPT_S_MAX = 2.0
"""How long the beginning of an answer is waited for once its status is known."""
MARK_CHARS_MAX = 1000
PAGE_ROWS = 1000
PAGE_BYTES = 1024**2
"""A page of results is closed when it has this many rows or bytes."""
NOT_MODIFIED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, GONE = 304, 401, 403, 404, 405, 410
SUCCESS = range(200, 300)
NO_OPTIONS = frozenset({NOT_FOUND, METHOD_NOT_ALLOWED, 501})
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
OWN_HEADERS = frozenset({
    "authorization", "cookie", "content-type", ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER, "x-gristmill-signature",
})  # fmt: skip
"""Headers that we set, or that would be a secret in the open."""

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$")]
HeaderValue = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[\x20-\x7e]*$")]


class HttpsConfig(BaseModel):
    """A URL and how it is opened."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    url: str | None = Field(
        None,
        max_length=2048,
        description="Where a file is fetched from or results are posted to. A source without one is pushed to only.",
        examples=["https://example.com/inventory.csv"],
    )
    auth_scheme: Scheme | None = Field(None, description="How the secret is used; nothing is proved without one.")
    auth_header: HeaderName = Field(DEFAULT_HEADER, description="Name of the header, for the scheme `Header`.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, max_length=20, description="Further headers; whoever can read the connector sees them."
    )


class _HttpsRemote:
    """A URL, opened."""

    def __init__(
        self, config: HttpsConfig, secret: Mapping[str, str], session: aiohttp.ClientSession, door: Door
    ) -> None:
        self._config = config
        self._secret = secret
        self._session = session
        self._egress: Egress = door.egress
        self._bytes_max = door.settings.upload_bytes_max
        self._note = door.note
        self.requests = 0

    @property
    def _url(self) -> str:
        if self._config.url is None:
            raise RemoteFailed("There is no url to call: files are pushed in.", permanent=True, code="no_url")
        return self._config.url

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        headers = {"User-Agent": "gristmill", **self._config.headers}
        scheme = self._config.auth_scheme
        if message_id:
            headers |= {ID_HEADER: message_id, TIMESTAMP_HEADER: str(int(time.time()))}
        if scheme is not None:
            headers |= auth_headers(
                scheme,
                self._secret,
                header=self._config.auth_header,
                message_id=message_id or f"ask-{uuid4().hex}",
                body=body,
            )
        return headers

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        *,
        message_id: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        is_small: bool = True,
    ) -> AsyncGenerator[Reply]:
        self.requests += 1
        sent = {**self._headers(message_id, body or b""), **(headers or {})}
        started = time.monotonic()
        status, failure = None, None
        try:
            async with stream(
                self._session, self._egress, method, self._url, headers=sent, body=body,
                timeout_s=ANSWER_S_MAX if is_small else None, silence_s=ANSWER_S_MAX,
            ) as reply:  # fmt: skip
                status = reply.status
                yield reply
        except RemoteFailed as error:
            failure = error
            raise
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            failure = RemoteFailed(
                f"No answer: {reason(error)}.", permanent=False, raw=reason(error),
                fix="Check the host and port, and whether a firewall is between.",
            )  # fmt: skip
            raise failure from None
        finally:
            told = status is not None or failure is not None  # neither: it was cancelled
            if self._note is not None and told and not message_id:  # messages are noted by whoever sends them
                self._note(exchange_of(method, self._url.partition("?")[0], status, started, failure))

    async def _knock(self) -> tuple[int, str]:
        """OPTIONS, and HEAD where a server knows no OPTIONS: (status, what that means). Nothing is read or written."""
        status = 0
        for method in ("OPTIONS", "HEAD"):
            async with self._call(method) as reply:
                status = reply.status
                if status in NO_OPTIONS:
                    continue
                if status in {UNAUTHORIZED, FORBIDDEN} or 300 <= status < 400 or status >= 500:  # noqa: PLR2004
                    raise await _refusal(reply)
                return status, f"{method} was answered {status}."
        return status, f"The server answers, though OPTIONS and HEAD are not for this URL ({status})."

    async def ping(self, role: Role) -> None:
        """See Remote."""
        del role
        if self._config.url is not None:
            await self._knock()

    async def climb(self, ladder: Ladder, role: Role, landing: Landing, *, write: bool) -> str | None:
        """See Remote."""
        with ladder.rung("auth") as step:
            status, step.detail = await self._knock()
            step.warning = status in NO_OPTIONS
        if role == "RESULTS_SINK":
            if write:
                await self._climb_write(ladder)
            return None
        with ladder.rung("get") as step:
            async with self._call("GET") as reply:
                if reply.status != 200:  # noqa: PLR2004 - OK
                    raise await _refusal(reply)
                async for chunk in reply.chunks(self._bytes_max):
                    await landing.write(chunk[: SAMPLE_BYTES - landing.size])
                    if landing.size >= SAMPLE_BYTES:
                        break
            step.detail = f"{landing.size} bytes of {reply.headers.get('Content-Type', 'no declared type')[:100]}."
        return _key(self._url)

    async def _climb_write(self, ladder: Ladder) -> None:
        body = jsons.dumps({"type": "connector.test", "results": []})
        with ladder.rung("write") as step:
            async with self._call(
                "POST", message_id=f"test-{uuid4().hex}", body=body, headers={"Content-Type": "application/json"}
            ) as reply:
                if reply.status not in SUCCESS:
                    raise await _refusal(reply)
            step.detail = f"A signed test without results was answered {reply.status}."

    async def list_objects(self, ledger: Mapping[str, Entry]) -> AsyncIterator[Found]:
        """See Remote: there is one object, and only asking can tell whether it has changed."""
        key = _key(self._url)
        entry = ledger.get(key)
        if entry is None:
            yield Found(key, "", 0, ask=True)
        else:
            yield Found(key, entry.etag, entry.size, entry.version, ask=True)

    async def fetch(self, found: Found, entry: Entry | None, landing: Landing) -> Fetched | None:
        """See Remote: with the ETag and date of the last time, unless that reading failed."""
        del found
        asked = entry if entry is not None and entry.status in {"uploaded", "rejected"} else None
        attempt = 0
        while True:
            attempt += 1
            await landing.clear()
            try:
                return await self._fetch_once(asked, landing)
            except RemoteFailed as error:
                if error.permanent or attempt >= FETCH_ATTEMPTS:
                    raise
                await asyncio.sleep(min(max(FETCH_PAUSE_S * attempt, error.retry_after_s or 0.0), RETRY_AFTER_S_MAX))

    async def _fetch_once(self, asked: Entry | None, landing: Landing) -> Fetched | None:
        headers: dict[str, str] = {}
        if asked is not None and asked.etag:
            headers["If-None-Match"] = asked.etag
        if asked is not None and asked.version:
            headers["If-Modified-Since"] = asked.version
        async with self._call("GET", headers=headers, is_small=False) as reply:
            if reply.status == NOT_MODIFIED and headers:
                return None
            if reply.status in {NOT_FOUND, GONE}:
                raise ObjectGone(f"The server answered {reply.status}: there is no file.", permanent=True)
            if reply.status != 200:  # noqa: PLR2004 - OK
                raise await _refusal(reply)
            try:
                async for chunk in reply.chunks(self._bytes_max):
                    await landing.write(chunk)
            except BodyTooLarge as error:
                raise TooBig(error.message, permanent=True, code="too_large") from None
            return Fetched(_mark(reply, "ETag"), landing.size, _mark(reply, "Last-Modified"))

    async def send(self, piece: Piece, data: BinaryIO, before: Piece | None, trail: Trail) -> str:
        """See Remote: every try sends the same bytes under the same `webhook-id`, by which repetitions are told."""
        del before
        body = await asyncio.to_thread(data.read)
        started = time.monotonic()
        status, answer, failure = None, "", None
        try:
            async with self._call(
                "POST", message_id=piece.name, body=body, headers={"Content-Type": piece.content_type}
            ) as reply:
                status = reply.status  # which counts, however what is said after it goes on
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EXCERPT_S_MAX):
                        answer = (await reply.excerpt(ANSWER_BYTES_MAX)).decode("utf-8", "replace")
                if status not in SUCCESS:
                    failure = _failure(reply, answer)
        except RemoteFailed as error:
            if status not in SUCCESS:  # else time ran out in what was said after it
                failure = error
        except Error as error:
            failure = RemoteFailed(error.message, permanent=error.code == "egress_refused", code=error.code)
        took = round((time.monotonic() - started) * 1000)
        trail.note(Exchange("POST", self._url, status, took, answer, failure.message if failure else ""))
        if failure is not None:
            raise failure
        return f"answered-{status}"


def _mark(reply: Reply, name: str) -> str:
    """A header that tells versions apart; none where it is too long or repeats a secret, for it is kept and shown."""
    mark = reply.headers.get(name, "")
    return mark if len(mark) <= MARK_CHARS_MAX and redact(mark) == mark else ""


async def _refusal(reply: Reply) -> RemoteFailed:
    return _failure(reply, (await reply.excerpt(ANSWER_BYTES_MAX)).decode("utf-8", "replace"))


def _failure(reply: Reply, answer: str) -> RemoteFailed:
    """What an answer that is no yes means."""
    status, fix = reply.status, ""
    if status in {UNAUTHORIZED, FORBIDDEN}:
        fix = "Check authScheme and the secret."
    elif 300 <= status < 400:  # noqa: PLR2004 - redirects
        fix = f"Redirects are not followed. Set url to where it leads: {reply.headers.get('Location', '')[:500]}"
    elif status == GONE:
        fix = "The receiver wants no more. Set another url."
    return RemoteFailed(
        f"The server answered {status}.",
        permanent=status not in TRANSIENT,
        code=f"http_{status}",
        raw=f"{status} {answer}".strip(),
        fix=fix,
        retry_after_s=retry_after_s(reply.headers.get("Retry-After")),
    )


def _key(url: str) -> str:
    """A URL's place, without the query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


class HttpsWebhook:
    """See the module."""

    kind = "HTTPS_WEBHOOK"
    title = "HTTPS"
    summary = "A file at a URL, files that are pushed in, and results that are posted."
    Config = HttpsConfig
    push_formats: tuple[Format, ...] = ("JSON",)
    secret_values: Mapping[str, str] = {
        "token": "For Bearer.",
        "username": "For Basic.",
        "password": "For Basic.",
        "key": "For HmacSha256: what signs, such as `whsec_...`.",
        "secret": "The same by another name.",
        "value": "For Header; for the other schemes too, when it is the only value.",
    }

    def check(self, config: BaseModel, role: Role, secret: Mapping[str, str] | None, door: Door) -> None:
        """See ConnectorKind."""
        wanted = _config(config)
        if wanted.url is None and role == "RESULTS_SINK":
            raise _wrong("config.url", "is needed")
        if wanted.url is not None:
            try:
                door.egress.check_url(wanted.url)
            except Error as error:
                error.errors = (FieldError("config.url", error.message),)
                raise
        check_headers(wanted.headers, "config.headers")
        check_headers({wanted.auth_header: ""}, "config.authHeader")
        forbidden = [name for name in wanted.headers if name.lower() in OWN_HEADERS]
        if forbidden:
            raise _wrong(f"config.headers.{forbidden[0]}", "can't be set here; a secret goes into the vault")
        if (wanted.auth_scheme is None) != (secret is None):
            name = "config.authScheme" if wanted.auth_scheme is None else "secret"
            raise _wrong(name, "is needed: a scheme and a secret belong together")
        if wanted.auth_scheme is not None and secret is not None:
            auth_headers(wanted.auth_scheme, secret, message_id="check", header=wanted.auth_header)

    def pulls(self, config: BaseModel) -> bool:
        """See ConnectorKind."""
        return _config(config).url is not None

    def place(self, config: BaseModel, role: Role) -> str:
        """See ConnectorKind."""
        url = _config(config).url
        if url is None:
            return "pushed in"
        return f"POST {url}" if role == "RESULTS_SINK" else url

    def host_url(self, config: BaseModel) -> str | None:
        """See ConnectorKind."""
        return _config(config).url

    def policy(self, config: BaseModel, role: Role) -> dict[str, Any] | None:
        """See ConnectorKind."""
        del config, role
        return None

    @asynccontextmanager
    async def open(self, config: BaseModel, secret: Mapping[str, str], door: Door) -> AsyncGenerator[_HttpsRemote]:
        """See ConnectorKind."""
        async with http_session(door.egress, connections=CONNECTIONS) as session:
            yield _HttpsRemote(_config(config), secret, session, door)

    def pack(self, config: BaseModel, job: Job, form: str, keep: Keep) -> Iterator[Piece]:
        """See ConnectorKind: JSON in pages; each says who it is of, which page it is, and whether it is the last."""
        del config, form
        head = {
            "jobId": str(job.id),
            "agentId": job.agent_id,
            "workspaceId": job.organization_id,
            "completedAt": job.completed_at,
            "stats": dict(job.stats),
        }
        pages = _pages(job.results())
        page = next(pages, [])
        number = 1
        while True:
            after = next(pages, None)
            facts = jsons.dumps({**head, "page": number, "isLast": after is None, "results": []})
            body = facts[: -len(b"]}")] + b",".join(page) + b"]}"
            yield keep(f"{job.push_id}.{number}", "page", "application/json", [body], len(page))
            if after is None:
                return
            page, number = after, number + 1


def _pages(results: Iterator[dict[str, Any]]) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    size = 0
    for result in results:
        line = jsons.dumps(result)
        if page and (len(page) >= PAGE_ROWS or size + len(line) > PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(line)
        size += len(line)
    if page:
        yield page


def _config(config: BaseModel) -> HttpsConfig:
    if not isinstance(config, HttpsConfig):
        raise TypeError("another kind's config")
    return config


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


PLUGIN = HttpsWebhook()
