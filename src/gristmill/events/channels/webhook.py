"""`WEBHOOK`: POST the event as JSON to a URL, signed as Standard Webhooks has it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gristmill.base.config import Settings
from gristmill.base.egress import Egress
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.fetch import retry_after_s, stream
from gristmill.base.signing import BadKey, shared_bytes, signed_headers
from gristmill.events.channels import SEND_S_MAX, Tools
from gristmill.events.model import ANSWER_BYTES_MAX, URL_CHARS_MAX, Message, Sent

EXCERPT_S_MAX = 2.0
"""How long the beginning of an answer is waited for once its status is known."""
HEADERS_MAX = 20
SUCCESS = range(200, 300)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


class Config(BaseModel):
    """Where events go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1, max_length=URL_CHARS_MAX, examples=["https://hooks.example.com/gristmill"])
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=HEADERS_MAX,
        description="Further headers. Not for secrets: they are shown to every reader.",
    )


class WebhookChannel:
    """A signed POST."""

    kind: ClassVar[str] = "WEBHOOK"
    title: ClassVar[str] = "Signed HTTP request"
    Config: ClassVar[type[BaseModel]] = Config
    secret_names: ClassVar[tuple[str, ...]] = ("key",)

    def check(self, config: Config, secret: Mapping[str, str], settings: Settings) -> None:
        """Refuse URLs that the egress guard would refuse, headers that can't be sent, keys that can't sign."""
        Egress.of(settings.egress_allow).check_url(config.url)
        for name, value in config.headers.items():
            if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise Invalid(
                    f"`{name[:60]}` is not a header that can be sent.",
                    errors=(FieldError(f"config.headers.{name[:60]}", "can't be sent"),),
                )
        try:
            shared_bytes(secret["key"])
        except BadKey as error:
            raise Invalid(f"The key can't sign: {error}.", errors=(FieldError("secret.key", str(error)),)) from None

    async def send(self, message: Message, config: Config, secrets: Sequence[Mapping[str, str]], tools: Tools) -> Sent:
        """2xx is a success, whatever comes after the status. Redirects are not followed."""
        headers = {
            **config.headers,
            "Content-Type": "application/json",
            "User-Agent": "gristmill",
            **signed_headers([secret["key"] for secret in secrets], message.id, int(time.time()), message.body),
        }
        return await post(config.url, headers, message.body, tools)


async def post(url: str, headers: Mapping[str, str], body: bytes, tools: Tools, *, shown_url: str = "") -> Sent:
    """POST and judge the answer by its status. `shown_url` is what to keep of a URL that is secret itself."""
    request: dict[str, Any] = {
        "method": "POST",
        "url": shown_url or url,
        "headers": dict(headers),
        "size_bytes": len(body),
    }
    async with stream(
        tools.session, tools.egress, "POST", url, headers=headers, body=body, timeout_s=SEND_S_MAX
    ) as reply:
        excerpt = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXCERPT_S_MAX):
                excerpt = await reply.excerpt(ANSWER_BYTES_MAX)
        return Sent(
            reply.status in SUCCESS,
            request,
            reply.status,
            excerpt.decode("utf-8", "replace"),
            None if reply.status in SUCCESS else f"the receiver answered {reply.status}",
            retry_after_s(reply.headers.get("Retry-After")),
        )


PLUGIN = WebhookChannel()
