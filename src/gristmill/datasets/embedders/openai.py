"""Any server with OpenAI's `POST /v1/embeddings`: OpenAI, OpenRouter, Ollama, vLLM, llama.cpp and many more.

Texts go in groups, a few groups at a time. A server that is busy is asked again after the time that it names.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import sleep
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from gristmill.base import jsons
from gristmill.base.errors import Error, FieldError, Invalid, PluginError
from gristmill.base.fetch import Egress, http_session, request, retry_after_s
from gristmill.datasets.embedders import DIMENSIONS_MAX, EmbedderContext, Encode, Model, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP_TEXTS = 128
GROUP_TOKENS = 100_000
"""Servers refuse requests with more."""
GROUPS_AT_ONCE = 4
TIMEOUT_S = 120.0
ATTEMPTS_MAX = 6
BACKOFF_S = 1.0
"""Before the second attempt; doubled for each further one."""
WAIT_S_MAX = 120.0
ANSWER_BYTES_MAX = 256 * 1024**2
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
BYTES_PER_TOKEN = 3
"""Fewer than any text in use has, so that a count is never too low."""
TEXTS_PER_S = 100.0
EXCERPT_CHARS = 300
_SUCCESS = range(200, 300)


class Config(BaseModel):
    """Settings of an OpenAI-compatible server; what is absent is taken from the server's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | None = Field(
        None,
        max_length=2048,
        description="Up to and without `/embeddings`. With it no key of the server's settings is sent.",
        examples=["https://api.openai.com/v1"],
    )
    model: str | None = Field(
        None, min_length=1, max_length=200, description="Name of the model.", examples=["text-embedding-3-small"]
    )
    dimensions: int | None = Field(
        None, ge=1, le=DIMENSIONS_MAX, description="Asked of the model; absent: as many as it gives."
    )
    window_tokens: int = Field(2_000, ge=32, le=100_000, description="Tokens of the longest text; longer ones are cut.")
    price_micro_usd_per_million_tokens: int = Field(0, ge=0, description="For estimates.")
    secret_ref: str | None = Field(
        None, max_length=100, description="A secret whose `api_key` is sent as bearer token."
    )


@dataclass(frozen=True, slots=True)
class _Server:
    """Where texts go."""

    base_url: str
    model: str
    dimensions: int | None
    secret_ref: str | None
    key: str | None


def _server(config: Config, context: EmbedderContext) -> _Server:
    settings = context.settings
    base_url = config.base_url or settings.embeddings_url
    model = config.model or settings.embeddings_model
    if not base_url or not model:
        lacking = "base_url" if not base_url else "model"
        raise Invalid(
            f"The embedder needs `{lacking}`, in its config or as GRISTMILL_EMBEDDINGS_"
            f"{'URL' if lacking == 'base_url' else 'MODEL'}.",
            errors=(FieldError(f"embedder.config.{lacking}", "is needed"),),
        )
    # The operator's key goes to the operator's server only, never to one that a user names.
    own = config.base_url is None and settings.embeddings_api_key is not None
    key = settings.embeddings_api_key.get_secret_value() if own and settings.embeddings_api_key else None
    dimensions = config.dimensions or (settings.embeddings_dimensions if config.base_url is None else None)
    return _Server(base_url.rstrip("/"), model, dimensions, config.secret_ref, key)


class OpenAi:
    """See the module."""

    kind: ClassVar[str] = "openai"
    title: ClassVar[str] = "OpenAI-compatible server"
    summary: ClassVar[str] = "Any server with POST /v1/embeddings."
    Config: ClassVar[type[BaseModel]] = Config

    def check(self, config: Config, context: EmbedderContext) -> None:
        """Refuse a config without server or model, and addresses that the egress guard refuses."""
        server = _server(config, context)
        _egress(config, context).check_url(f"{server.base_url}/embeddings")

    def model(self, config: Config, context: EmbedderContext) -> Model:
        """See Embedder."""
        server = _server(config, context)
        dimensions = f":{server.dimensions}" if server.dimensions else ""
        return Model(
            f"{server.base_url}#{server.model}{dimensions}",
            server.dimensions,
            config.window_tokens,
            TEXTS_PER_S,
            config.price_micro_usd_per_million_tokens,
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """A little more than there are: the tokenizer is the server's secret."""
        return [len(text.encode()) // BYTES_PER_TOKEN + 1 for text in texts]

    @asynccontextmanager
    async def open(self, config: Config, context: EmbedderContext) -> AsyncGenerator[Encode]:
        """One connection pool."""
        server = _server(config, context)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gristmill"}
        key = server.key
        if server.secret_ref:
            revealed = await asyncio.to_thread(context.secret, server.secret_ref)
            key = revealed.get("api_key")
            if key is None:
                raise Invalid("The embedder's secret has no value `api_key`.")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        egress = _egress(config, context)
        async with http_session(egress, connections=GROUPS_AT_ONCE) as session:
            caller = _Caller(session, egress, server, headers)
            yield caller.encode


def _egress(config: Config, context: EmbedderContext) -> Egress:
    """A server that the operator named may be private; one that a user names may not."""
    allowed = Egress.of(context.settings.egress_allow)
    if config.base_url is not None or not context.settings.embeddings_url:
        return allowed
    netloc = context.settings.embeddings_url.split("://", 1)[-1].split("/", 1)[0].lower()
    return Egress(allowed.allow | {netloc})


class _Caller:
    """Calls one server."""

    def __init__(
        self, session: aiohttp.ClientSession, egress: Egress, server: _Server, headers: dict[str, str]
    ) -> None:
        self._session = session
        self._egress = egress
        self._server = server
        self._headers = headers
        self._slots = asyncio.Semaphore(GROUPS_AT_ONCE)

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """See Encode."""
        import numpy as np  # noqa: PLC0415 - a tenth of a second that only embedding needs

        parts = await asyncio.gather(*(self._encode_group(group) for group in _groups(texts)))
        return np.concatenate(parts) if parts else np.empty((0, self._server.dimensions or 1), np.float32)

    async def _encode_group(self, texts: Sequence[str]) -> NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._server.model, "input": list(texts), "encoding_format": "float"}
        if self._server.dimensions:
            body["dimensions"] = self._server.dimensions
        async with self._slots:
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    return _vectors(await self._post(body), len(texts))
                except PluginError as error:
                    if error.permanent or attempt == ATTEMPTS_MAX:
                        raise
                    wait_s = error.retry_after_s
                    await sleep(min(BACKOFF_S * 2 ** (attempt - 1) if wait_s is None else wait_s, WAIT_S_MAX))
        raise AssertionError("every attempt returns or raises")

    async def _post(self, body: dict[str, Any]) -> bytes:
        try:
            answer = await request(
                self._session,
                self._egress,
                "POST",
                f"{self._server.base_url}/embeddings",
                headers=self._headers,
                body=jsons.dumps(body),
                timeout_s=TIMEOUT_S,
                body_bytes_max=ANSWER_BYTES_MAX,
            )
        except TimeoutError:
            raise PluginError(f"The embedder did not answer within {TIMEOUT_S:g} s.", permanent=False) from None
        except aiohttp.ClientError as error:
            reason = (str(error) or type(error).__name__)[:EXCERPT_CHARS]
            raise PluginError(f"The embedder can't be reached: {reason}", permanent=False) from error
        except Error as error:
            raise PluginError(error.message, permanent=True, code=error.code) from error
        if answer.status not in _SUCCESS:
            excerpt = " ".join(answer.body[: EXCERPT_CHARS * 4].decode("utf-8", "replace").split())[:EXCERPT_CHARS]
            raise PluginError(
                f"The embedder answered {answer.status}: {excerpt}",
                permanent=answer.status not in RETRYABLE,
                retry_after_s=retry_after_s(answer.headers.get("Retry-After")),
            )
        return answer.body


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts that a server takes at a time."""
    start = tokens = 0
    for index, count in enumerate(PLUGIN.count(texts)):
        if index > start and (tokens + count > GROUP_TOKENS or index - start >= GROUP_TEXTS):
            yield texts[start:index]
            start, tokens = index, 0
        tokens += count
    if start < len(texts):
        yield texts[start:]


def _vectors(body: bytes, count: int) -> NDArray[np.float32]:
    import numpy as np  # noqa: PLC0415 - see encode

    try:
        data = sorted(jsons.loads(body)["data"], key=lambda item: item["index"])
        vectors = np.array([item["embedding"] for item in data], np.float32)
    except (ValueError, TypeError, KeyError):
        raise PluginError("The embedder's answer is no list of embeddings.", permanent=True) from None
    if vectors.ndim != 2 or len(vectors) != count:  # noqa: PLR2004 - a table
        raise PluginError(f"The embedder answered {len(vectors)} vectors for {count} texts.", permanent=True)
    if vectors.shape[1] > DIMENSIONS_MAX:
        raise PluginError(
            f"The embedder's vectors have {vectors.shape[1]} dimensions; at most {DIMENSIONS_MAX} are kept.",
            permanent=True,
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or math.isclose(float(lengths.min()), 0.0, abs_tol=1e-12):
        raise PluginError("The embedder answered a vector without a direction.", permanent=True)
    return vectors / lengths


PLUGIN = OpenAi()
