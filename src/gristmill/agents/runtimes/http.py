"""The `http` runtime: POST each row as JSON to the user's own endpoint and read JSON back.

The contract with the endpoint, in full: docs/howto/http-agent.md.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from gristmill.agents.runtimes import RowCall, RowFunction, RowResult, RuntimeContext
from gristmill.base import jsons
from gristmill.base.conceal import HIDDEN, conceal
from gristmill.base.errors import Error, FieldError, Invalid, PluginError
from gristmill.base.fetch import Egress, EgressRefused, check_headers, http_session, reason, request, retry_after_s
from gristmill.base.money import parse_usd
from gristmill.vault import Revealed
from gristmill.vault.credentials import DEFAULT_HEADER, Scheme, auth_headers

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
THROTTLED = frozenset({429, 503})
ENV_KEY = re.compile(r"GRISTMILL_AGENT_[A-Z0-9_]{1,100}")
COST_HEADER = "X-Gristmill-Cost-Usd"
EXCERPT_CHARS = 300
REVEAL_AGAIN_S = 10.0
REVEAL_EVERY_S = 300.0
"""A run under way learns of a rotated secret within this time."""


class Config(BaseModel):
    """Settings of an HTTP agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        min_length=1,
        max_length=2048,
        description="Where rows are sent.",
        examples=["https://agents.example.com/enrich"],
    )
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=50,
        description="Further headers. Not for secrets: they are shown to every reader.",
    )
    secret_ref: str | None = Field(None, max_length=36, description="Id of the secret that opens the endpoint.")
    auth_scheme: Scheme = Field(
        "Bearer",
        description="How the secret is sent. `Bearer`: its `token`. `Basic`: its `username` and `password`. `Header`: "
        "its `value`, in the header `auth_header`. `HmacSha256`: each request is signed with its `key`.",
    )
    auth_header: str = Field(DEFAULT_HEADER, min_length=1, max_length=100, description="Only for `Header`.")
    bearer_env: str | None = Field(
        None,
        pattern=ENV_KEY.pattern,
        description="Instead of a secret: name of a variable in the worker's environment, `GRISTMILL_AGENT_*`, sent as "
        "bearer token.",
    )


class HttpRuntime:
    """POST the mapped row as JSON to an endpoint."""

    kind: ClassVar[str] = "http"
    title: ClassVar[str] = "Your own HTTP endpoint"
    Config: ClassVar[type[BaseModel]] = Config

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Refuse URLs that the egress guard would refuse, and headers that break the protocol."""
        try:
            Egress.of(context.settings.egress_allow).check_url(config.url)
        except EgressRefused as error:
            raise EgressRefused(error.message, errors=(FieldError("config.url", error.message),)) from None
        if config.secret_ref and config.bearer_env:
            raise Invalid(
                "Set `secret_ref` or `bearer_env`, not both.",
                errors=(FieldError("config.bearer_env", "must be absent beside `secret_ref`"),),
            )
        check_headers(config.headers, "config.headers")
        check_headers({config.auth_header: ""}, "config.auth_header")

    def provider_key(self, config: Config) -> str:
        """Scheme, host and port: what a 429 speaks for."""
        parts = urlsplit(config.url)
        return f"{parts.scheme}://{parts.netloc}"

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[RowFunction]:
        """One connection pool for the run."""
        egress = Egress.of(context.settings.egress_allow)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "gristmill",
            **config.headers,
        }
        access = _Access(config, context)
        await access.refresh()
        async with http_session(egress, connections=context.concurrency) as session:

            async def call(row: RowCall) -> RowResult:
                return await _call(session, egress, config, headers, access, row, context.settings.result_bytes_max)

            yield call


class _Access:
    """What opens the endpoint, looked up again now and then so that a rotated secret reaches a run under way."""

    def __init__(self, config: Config, context: RuntimeContext) -> None:
        self._config = config
        self._context = context
        self._revealed: Revealed | None = None
        self._token = ""
        self._due = 0.0
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Raises `Error` when the secret, the variable, or the key to the vault is missing; once known it stays."""
        if time.monotonic() < self._due:
            return
        async with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + REVEAL_EVERY_S
            try:
                await self._look_up()
            except Error:
                if self._revealed is None:
                    raise
                self._due = time.monotonic() + REVEAL_AGAIN_S  # the database is away for a moment

    async def _look_up(self) -> None:
        if self._config.secret_ref:
            found = await asyncio.to_thread(self._context.secret, self._config.secret_ref)
            auth_headers(self._config.auth_scheme, found)  # what does not fit is told before any row runs
            self._revealed = found
        elif self._config.bearer_env:
            self._token = os.environ.get(self._config.bearer_env, "")
            if not self._token:
                raise Invalid(f"The worker has no environment variable {self._config.bearer_env}.")
            conceal([self._token])

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """Headers of one request."""
        if self._revealed is not None:
            scheme, header = self._config.auth_scheme, self._config.auth_header
            return auth_headers(scheme, self._revealed, header=header, message_id=message_id, body=body)
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def redact(self, body: bytes) -> bytes:
        """An answer without the secret, which an endpoint may have sent back."""
        if self._revealed is not None:
            return self._revealed.redact(body)
        return body.replace(self._token.encode(), HIDDEN.encode()) if self._token else body


async def _call(
    session: aiohttp.ClientSession,
    egress: Egress,
    config: Config,
    headers: Mapping[str, str],
    access: _Access,
    row: RowCall,
    bytes_max: int,
) -> RowResult:
    row_headers = {**headers, "Idempotency-Key": str(row.row_id), "X-Gristmill-Attempt": str(row.attempt)}
    body = jsons.dumps(row.input)
    try:
        await access.refresh()
        answer = await request(
            session,
            egress,
            config.method,
            config.url,
            headers={**row_headers, **access.headers(str(row.row_id), body)},
            body=body,
            timeout_s=row.timeout_s,
            body_bytes_max=bytes_max,
        )
    except TimeoutError:
        raise PluginError(
            f"The agent did not answer within {row.timeout_s:g} s.", permanent=False, code="timed_out"
        ) from None
    except aiohttp.ClientError as error:
        raise PluginError(
            f"The agent can't be reached: {reason(error)}.", permanent=False, code="unreachable"
        ) from error
    except Error as error:
        raise PluginError(error.message, permanent=True, code=error.code) from error
    trace = {"status": answer.status, "bytes": len(answer.body)}
    answer = replace(answer, body=access.redact(answer.body))
    if answer.status in RETRYABLE:
        raise PluginError(
            f"The agent answered {answer.status}{_excerpt(answer.body)}",
            permanent=False,
            code=f"http_{answer.status}",
            retry_after_s=retry_after_s(answer.headers.get("Retry-After")),
            throttled=answer.status in THROTTLED,
        )
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - the class of successes
        raise PluginError(
            f"The agent answered {answer.status}{_excerpt(answer.body)}", permanent=True, code=f"http_{answer.status}"
        )
    return RowResult(_parse(answer.body), _cost(answer.headers.get(COST_HEADER)), trace)


def _parse(body: bytes) -> dict[str, Any] | None:
    if not body.strip():
        return None
    try:
        value = jsons.loads(body)
    except ValueError:
        raise PluginError(
            f"The agent's answer is not JSON{_excerpt(body)}", permanent=True, code="bad_answer"
        ) from None
    return value if isinstance(value, dict) or value is None else {"value": value}


def _cost(header: str | None) -> int | None:
    if header is None:
        return None
    try:
        return parse_usd(header.strip(), COST_HEADER)
    except Invalid as error:
        raise PluginError(error.message, permanent=True, code="bad_answer") from error


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: EXCERPT_CHARS * 4].decode("utf-8", "replace").split())[:EXCERPT_CHARS]
    return f": {text}" if text else "."


PLUGIN = HttpRuntime()
