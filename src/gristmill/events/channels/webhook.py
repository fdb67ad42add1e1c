"""`WEBHOOK`: POST the event as JSON to a URL, signed as Standard Webhooks has it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gristmill.base.config import Settings
from gristmill.base.egress import Egress
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.fetch import check_headers
from gristmill.base.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    BadKey,
    shared_bytes,
    signed_headers,
)
from gristmill.events.channels import Tools
from gristmill.events.model import URL_CHARS_MAX, Message, Sent
from gristmill.events.posting import post

HEADERS_MAX = 20
OWN_HEADERS = frozenset({"content-type", "user-agent", ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER})


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
        check_headers(config.headers, "config.headers")
        ours = next((name for name in config.headers if name.lower() in OWN_HEADERS), None)
        if ours is not None:
            wrong = FieldError(f"config.headers.{ours}", "is set by Gristmill")
            raise Invalid(f"The header `{ours}` is set by Gristmill.", errors=(wrong,))
        try:
            shared_bytes(secret["key"])
        except BadKey as error:
            raise Invalid(f"The key can't sign: {error}.", errors=(FieldError("secret.key", str(error)),)) from None

    async def send(self, message: Message, config: Config, secrets: Sequence[Mapping[str, str]], tools: Tools) -> Sent:
        """2xx is a success, whatever comes after the status. Redirects are not followed."""
        ours = {
            "Content-Type": "application/json",
            "User-Agent": "gristmill",
            **signed_headers([secret["key"] for secret in secrets], message.id, int(time.time()), message.body),
        }
        taken = {name.lower() for name in ours}
        theirs = {name: value for name, value in config.headers.items() if name.lower() not in taken}
        return await post(config.url, {**theirs, **ours}, message.body, tools)


PLUGIN = WebhookChannel()
