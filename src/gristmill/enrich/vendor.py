"""Calls to vendors, as all providers make them: guarded, authorised from the vault, failures sorted by what helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gristmill.agents import RuntimeContext
from gristmill.base import jsons
from gristmill.base.errors import Error, Invalid, PluginError
from gristmill.base.fetch import FRAMING_HEADERS, Answer, Egress, http_session, reason, request, retry_after_s

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
THROTTLED = frozenset({429, 503})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
EXCERPT_CHARS = 200
CONNECTIONS_PER_ROW = 2
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
HEADER_VALUE = r"^[^\x00-\x08\x0a-\x1f\x7f]*$"


class Auth(BaseModel):
    """How a vendor's key is sent. The key itself lies in the vault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret_ref: str = Field(min_length=1, max_length=200, description="The vault entry that holds the key.")
    value: str = Field("", max_length=200, description="Name of the value in that entry; needed when it has several.")
    place: Literal["header", "query"] = Field("header", description="Where the key is sent.")
    name: str = Field("Authorization", pattern=HEADER_NAME, description="Header or query parameter.")
    prefix: str = Field("Bearer ", max_length=50, pattern=HEADER_VALUE, description="What stands before the key.")

    @model_validator(mode="after")
    def _frames_nothing(self) -> Self:
        if self.place == "header" and self.name.lower() in FRAMING_HEADERS:
            raise ValueError(f"the header {self.name} is set by Gristmill")
        return self


@dataclass(frozen=True, slots=True)
class Vendor:
    """An open connection pool with a vendor's key."""

    session: aiohttp.ClientSession
    egress: Egress
    auth: Auth | None
    secret: str
    bytes_max: int

    async def call(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        fine: frozenset[int] = frozenset(),
        authorise: bool = True,
        redirects_max: int = 0,
    ) -> Answer:
        """One call. Answers 2xx and the statuses in `fine`; raises `PluginError` for everything else.

        `authorise=False` keeps the vendor's key back from servers that are not the vendor's.
        """
        sent = {"User-Agent": "gristmill", "Accept": "application/json, */*;q=0.5", **(headers or {})}
        parameters = dict(query or {})
        if self.auth is not None and authorise:
            place = sent if self.auth.place == "header" else parameters
            place[self.auth.name] = self.auth.prefix + self.secret
        try:
            answer = await request(
                self.session,
                self.egress,
                method,
                with_query(url, parameters),
                headers=sent,
                body=body,
                timeout_s=timeout_s,
                body_bytes_max=self.bytes_max,
                redirects_max=redirects_max,
            )
        except TimeoutError:
            raise PluginError(f"No answer within {timeout_s:g} s.", permanent=False, code="timed_out") from None
        except aiohttp.ClientError as error:
            words = self._without_secret(reason(error))
            raise PluginError(f"It can't be reached: {words}", permanent=False, code="unreachable") from None
        except Error as error:
            raise PluginError(self._without_secret(error.message), permanent=True, code=error.code) from None
        if 200 <= answer.status < 300 or answer.status in fine:  # noqa: PLR2004 - the class of successes
            return answer
        raise PluginError(
            self._without_secret(f"It answered {answer.status}{_excerpt(answer.body)}"),
            permanent=answer.status not in RETRYABLE,
            code=f"http_{answer.status}",
            retry_after_s=retry_after_s(answer.headers.get("Retry-After")),
            throttled=answer.status in THROTTLED,
        )

    def _without_secret(self, text: str) -> str:
        """A vendor may repeat the key in its error."""
        return (text.replace(self.secret, "****") if self.secret else text)[:EXCERPT_CHARS]


@asynccontextmanager
async def open_vendor(context: RuntimeContext, auth: Auth | None) -> AsyncGenerator[Vendor]:
    """A connection pool for a run; the vendor's key is read from the vault once."""
    egress = Egress.of(context.settings.egress_allow)
    secret = await asyncio.to_thread(_reveal, context, auth) if auth else ""
    async with http_session(egress, connections=context.concurrency * CONNECTIONS_PER_ROW) as session:
        yield Vendor(session, egress, auth, secret, context.settings.result_bytes_max)


def _reveal(context: RuntimeContext, auth: Auth) -> str:
    values = context.secret(auth.secret_ref)
    if auth.value:
        if auth.value not in values:
            raise Invalid(f"The secret has no value named `{auth.value}`.")
        return values[auth.value]
    if len(values) != 1:
        raise Invalid("The secret has several values; `auth.value` must say which one is the key.")
    return next(iter(values.values()))


def json_of(answer: Answer) -> Any:
    """The JSON in an answer; None when it has no body. Raises `PluginError` for what is no JSON."""
    if not answer.body.strip():
        return None
    try:
        return jsons.loads(answer.body)
    except ValueError:
        raise PluginError(
            f"It answered what is not JSON{_excerpt(answer.body)}", permanent=True, code="bad_answer"
        ) from None


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """A URL with further query parameters."""
    if not parameters:
        return url
    parts = urlsplit(url)
    query = "&".join(text for text in (parts.query, urlencode(parameters)) if text)
    return urlunsplit(parts._replace(query=query))


def origin_of(url: str) -> str:
    """Scheme, host and port: whom a 429 speaks of."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: EXCERPT_CHARS * 4].decode("utf-8", "replace").split())[:EXCERPT_CHARS]
    return f": {text}" if text else "."
