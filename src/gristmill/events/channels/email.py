"""`EMAIL`: a message through the operator's own mail server, the one that `GRISTMILL_SMTP_URL` names.

The server is the operator's choice and may be in a private network, so the egress guard is not asked.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, EmailStr, Field

from gristmill.base.conceal import conceal
from gristmill.base.config import Settings
from gristmill.base.errors import Invalid
from gristmill.events.channels import SEND_S_MAX, Tools
from gristmill.events.model import Message, Sent

RECIPIENTS_MAX = 20
PORTS = {"smtp": 587, "smtps": 465}


class MailServerUnset(Invalid):
    """No mail server is set: an operator sets GRISTMILL_SMTP_URL."""


class Config(BaseModel):
    """Who gets mail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: list[Annotated[EmailStr, Field(max_length=320)]] = Field(
        min_length=1, max_length=RECIPIENTS_MAX, examples=[["ops@example.com"]]
    )


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server and how to get in."""

    host: str
    port: int
    tls: bool
    """From the first byte; otherwise STARTTLS is used where the server offers it, and always before a password."""
    user: str
    password: str
    sender: str


class EmailChannel:
    """Mail to a few addresses."""

    kind: ClassVar[str] = "EMAIL"
    title: ClassVar[str] = "E-mail, through the operator's mail server"
    Config: ClassVar[type[BaseModel]] = Config
    secret_names: ClassVar[tuple[str, ...]] = ()

    def check(self, config: Config, secret: Mapping[str, str], settings: Settings) -> None:
        """Refuse it where no mail server is set."""
        del config, secret
        mail_server(settings)

    async def send(self, message: Message, config: Config, secrets: Sequence[Mapping[str, str]], tools: Tools) -> Sent:
        """Accepted by the server for every recipient is a success."""
        del secrets
        server = mail_server(tools.settings)
        mail = EmailMessage()
        mail["From"] = server.sender
        mail["To"] = ", ".join(config.to)
        mail["Subject"] = " ".join(message.title.split())
        mail["Date"] = formatdate(message.created_at.timestamp())
        mail["Message-ID"] = make_msgid(idstring=message.id, domain=server.sender.rsplit("@", 1)[1])
        mail.set_content(message.text)
        request = {"server": f"{server.host}:{server.port}", "to": list(config.to), "size_bytes": len(bytes(mail))}
        async with asyncio.timeout(2 * SEND_S_MAX):
            refused = await asyncio.to_thread(_hand_over, server, mail)
        if refused:
            return Sent(False, request, error=f"refused for {', '.join(refused)}"[:500])
        return Sent(True, request)


def mail_server(settings: Settings) -> MailServer:
    """The mail server of the settings. Raises `MailServerUnset`, or `Invalid` when the URL can't be read."""
    if settings.smtp_url is None:
        raise MailServerUnset
    try:
        parts = urlsplit(settings.smtp_url.get_secret_value())
        host, port, sender = parts.hostname, parts.port, parse_qs(parts.query).get("from", [""])[0]
    except ValueError:
        host, port, sender, parts = None, None, "", urlsplit("")
    if host is None or parts.scheme not in PORTS or "@" not in sender:
        raise Invalid("GRISTMILL_SMTP_URL must look like smtps://user:password@mail.example.com?from=me@example.com.")
    password = unquote(parts.password or "")
    conceal([password])
    user = unquote(parts.username or "")
    return MailServer(host, port or PORTS[parts.scheme], parts.scheme == "smtps", user, password, sender)


def _hand_over(server: MailServer, mail: EmailMessage) -> list[str]:
    """Answers the recipients that the server refused. Raises `OSError`, of which the library's errors are a kind."""
    context = ssl.create_default_context()
    if server.tls:
        connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=SEND_S_MAX, context=context)
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=SEND_S_MAX)
    with connection:
        connection.ehlo()
        if not server.tls and (server.user or connection.has_extn("starttls")):
            connection.starttls(context=context)
        if server.user:
            connection.login(server.user, server.password)
        return list(connection.send_message(mail))


PLUGIN = EmailChannel()
