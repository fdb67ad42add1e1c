"""How receivers are told: the plug-in family `channels`, one file each.

A kind is a class with `kind`, `title`, `Config`, and two methods. Others add theirs by an entry point of the group
`gristmill.channels` that loads an instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import aiohttp
from pydantic import BaseModel

from gristmill.base.config import Settings
from gristmill.base.egress import Egress
from gristmill.base.kinds import Family
from gristmill.events.model import Message, Sent

SEND_S_MAX = 15.0
"""Time limit of one attempt, whatever kind it is."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a kind may use to send."""

    session: aiohttp.ClientSession
    egress: Egress
    settings: Settings


class Channel(Protocol):
    """A way to tell somebody of an event."""

    kind: ClassVar[str]
    title: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    secret_names: ClassVar[tuple[str, ...]]
    """Values that its secret must have."""

    def check(self, config: Any, secret: Mapping[str, str], settings: Settings) -> None:
        """Refuse a config or secret that can't work, when it is saved. Raises `Error`."""
        ...

    async def send(self, message: Message, config: Any, secrets: Sequence[Mapping[str, str]], tools: Tools) -> Sent:
        """One attempt; `secrets` has the current values first, then those that are still valid after a rotation.

        Raises `Error`, `aiohttp.ClientError`, `OSError` or `TimeoutError` when nobody could be told.
        """
        ...


channels: Family[Channel] = Family("channels", "gristmill.events.channels", "type")
