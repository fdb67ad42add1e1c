"""The rungs of a connector's Test: what was tried, how long it took, what was found, how to mend it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import ConfigDict

from gristmill.base.egress import DEFAULT_PORTS, Egress
from gristmill.base.errors import Error
from gristmill.base.fetch import look_up, reason
from gristmill.connectors.model import CAMEL
from gristmill.connectors.remote import RemoteFailed

HANDSHAKE_S_MAX = 10.0


@dataclass(slots=True)
class Rung:
    """One step of a test."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    name: str
    ok: bool = True
    detail: str = ""
    """What was found, or what went wrong."""
    fix: str = ""
    """What to do about it."""
    remote_error: str = ""
    """What the other side said, word for word."""
    duration_ms: int = 0
    warning: bool = False
    """It went well, but somebody should read it."""


@dataclass(frozen=True, slots=True)
class ConnectorTest:
    """How trying a connector went. No file was moved and no sync was recorded."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    ok: bool
    rungs: list[Rung]
    policy: dict[str, Any] | None
    """The least that the key must be allowed, as an IAM policy; null where there is no such thing."""


class Fell(Exception):
    """A rung broke, so the ladder ends."""


class Ladder:
    """Climbs rung by rung; the first that breaks is the last."""

    def __init__(self) -> None:
        self.rungs: list[Rung] = []

    @property
    def ok(self) -> bool:
        """Whether every rung held."""
        return bool(self.rungs) and all(rung.ok for rung in self.rungs)

    @contextmanager
    def rung(self, name: str) -> Generator[Rung]:
        """Time one step. What it raises is told by the rung and ends the ladder: `Fell`."""
        step = Rung(name)
        self.rungs.append(step)
        started = time.monotonic()
        try:
            yield step
        except (RemoteFailed, Error, OSError, TimeoutError) as error:
            step.ok = False
            step.detail = error.message if isinstance(error, RemoteFailed) else reason(error)
            if isinstance(error, RemoteFailed):
                step.fix, step.remote_error = error.fix, error.raw
        finally:
            step.duration_ms = round((time.monotonic() - started) * 1000)
        if not step.ok:
            raise Fell


async def climb_to_host(ladder: Ladder, egress: Egress, url: str) -> None:
    """The rungs `dns` and `tls`: the host has allowed addresses, and its certificate is good."""
    with ladder.rung("dns") as step:
        judged = egress.judge(url)
        host, port = judged.host or "", judged.port or DEFAULT_PORTS[judged.scheme]
        try:
            addresses = await look_up(host, port)
        except OSError as error:
            raise RemoteFailed(
                f"{host} has no address: {error}", permanent=False, raw=str(error), fix="Check the host's name."
            ) from None
        for address in addresses:
            egress.check_address(address, host, port)
        step.detail = f"{host} is at {', '.join(addresses[:4])}."
    with ladder.rung("tls") as step:
        if urlsplit(url).scheme == "http":
            step.warning = True
            step.detail = "Plain http: whoever is between can read what is sent."
            return
        step.detail = await _shake_hands(addresses[0], host, port)


async def _shake_hands(address: str, host: str, port: int) -> str:
    """Connect to an address that was judged; answers what the certificate says."""
    context = ssl.create_default_context()
    try:
        async with asyncio.timeout(HANDSHAKE_S_MAX):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            _, writer = await asyncio.open_connection(address, port, family=family, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise RemoteFailed(
            f"The certificate is not good: {error.verify_message}.", permanent=True, raw=str(error),
            fix="Use the name that the certificate is for, or renew the certificate.",
        ) from None  # fmt: skip
    except ssl.SSLError as error:
        raise RemoteFailed(
            f"No TLS: {error.reason or error}.", permanent=True, raw=str(error),
            fix="Check that this port speaks https.",
        ) from None  # fmt: skip
    try:
        certificate = writer.get_extra_info("peercert") or {}
        version = writer.get_extra_info("ssl_object").version()
        return f"{version}, certificate valid until {certificate.get('notAfter', 'some day')}."
    finally:
        writer.close()
