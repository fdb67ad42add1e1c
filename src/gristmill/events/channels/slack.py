"""`SLACK`: a message to an incoming webhook of Slack, or of anything that takes the same (Mattermost, Rocket.Chat).

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.egress import Egress
from gristmill.events.channels import Tools
from gristmill.events.model import Message, Sent
from gristmill.events.posting import post


class Config(BaseModel):
    """Nothing but the URL is needed, and that is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SlackChannel:
    """A text in a Slack channel."""

    kind: ClassVar[str] = "SLACK"
    title: ClassVar[str] = "Slack, by an incoming webhook"
    Config: ClassVar[type[BaseModel]] = Config
    secret_names: ClassVar[tuple[str, ...]] = ("url",)

    def check(self, config: Config, secret: Mapping[str, str], settings: Settings) -> None:
        """Refuse URLs that the egress guard would refuse."""
        del config
        Egress.of(settings.egress_allow).check_url(secret["url"])

    async def send(self, message: Message, config: Config, secrets: Sequence[Mapping[str, str]], tools: Tools) -> Sent:
        """Slack answers 200 `ok`; whatever else it says is kept."""
        del config
        url = secrets[0]["url"]
        parts = urlsplit(url)
        body = jsons.dumps({"text": _escape(f"*{message.title}*\n{message.text}")})
        headers = {"Content-Type": "application/json", "User-Agent": "gristmill"}
        return await post(url, headers, body, tools, shown_url=f"{parts.scheme}://{parts.netloc}/...")


def _escape(text: str) -> str:
    """Slack's three control characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


PLUGIN = SlackChannel()
