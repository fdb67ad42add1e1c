"""`APPRISE`: a hundred more services, by a URL of the library Apprise, such as `tgram://TOKEN/CHAT`.

The library opens connections of its own, so it runs in a process of its own whose every socket is judged by the egress
guard: see `gristmill.events.apprise_process`.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.errors import FieldError, Invalid
from gristmill.events.channels import SEND_S_MAX, Tools
from gristmill.events.model import Message, Sent

PROCESS = "gristmill.events.apprise_process"
START_S_MAX = 30.0
"""The library takes a second to load, more on a busy machine."""
SAID_BYTES_MAX = 65_536
ERROR_CHARS_MAX = 500
PROCESSES_MAX = 2
"""Of this worker, at a time."""
LOCAL_SCHEMAS = frozenset({"dbus", "kde", "qt", "glib", "gnome", "macosx", "windows", "syslog", "growl"})
"""What would notify somebody who sits at the server."""
_SCHEMA = re.compile(r"([a-z0-9+.-]{2,40})://", re.IGNORECASE)


class Config(BaseModel):
    """Nothing but the URL is needed, and that is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AppriseChannel:
    """Whatever Apprise knows."""

    kind: ClassVar[str] = "APPRISE"
    title: ClassVar[str] = "Telegram, Teams, Discord, ntfy and others, by an Apprise URL"
    Config: ClassVar[type[BaseModel]] = Config
    secret_names: ClassVar[tuple[str, ...]] = ("url",)

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(PROCESSES_MAX)

    def check(self, config: Config, secret: Mapping[str, str], settings: Settings) -> None:
        """Refuse what is no such URL, or would notify the server's own desktop. A test tells the rest."""
        del config, settings
        found = _SCHEMA.match(secret["url"])
        if found is None or found[1].lower() in LOCAL_SCHEMAS:
            message = "must be an Apprise URL, such as tgram://TOKEN/CHAT"
            raise Invalid(f"The secret's `url` {message}.", errors=(FieldError("secret.url", message),))

    async def send(self, message: Message, config: Config, secrets: Sequence[Mapping[str, str]], tools: Tools) -> Sent:
        """One process for one message. The URL goes in by its standard input, where no other user can see it."""
        del config
        url = secrets[0]["url"]
        found = _SCHEMA.match(url)
        request = {"service": found[1].lower() if found else "", "size_bytes": len(message.text)}
        order = {
            "url": url,
            "title": message.title,
            "text": message.text,
            "allow": sorted(tools.egress.allow),
            "seconds": SEND_S_MAX,
        }
        async with self._turns:
            said = await _run(jsons.dumps(order))
        return Sent(said is None, request, error=said)


async def _run(order: bytes) -> str | None:
    """What the process says went wrong, or None."""
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TZ", "SSL_CERT_FILE"}}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PROCESS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        async with asyncio.timeout(START_S_MAX + SEND_S_MAX):
            out, _ = await process.communicate(order)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    lines = out[-SAID_BYTES_MAX:].decode("utf-8", "replace").strip().splitlines()
    return " ".join(lines[-3:])[:ERROR_CHARS_MAX] or f"it ended with {process.returncode}"


PLUGIN = AppriseChannel()
