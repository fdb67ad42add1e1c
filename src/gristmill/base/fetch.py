"""The one door for outgoing HTTP requests, guarded at the socket.

A URL is judged twice: its text before anything is resolved, and every address just before a socket is opened to it
(aiohttp calls `socket_factory` for IP literals and for each resolved address alike, so nothing is connected to that
was not judged, and a name that answers differently the second time gains nothing). Redirects are not followed,
environment proxies are ignored, size and time are bounded.

Python's `ipaddress.is_global` calls several internal ranges global (mapped and translated IPv4, 6to4, cloud
metadata addresses), so the ranges are our own.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gristmill.base.errors import Error

URL_BYTES_MAX = 2048
PORTS_PUBLIC = frozenset({80, 443, 8080, 8443})
CONNECTIONS_MAX = 1000
CONNECT_S_MAX = 10.0
LOOPBACK = "loopback"

_BLOCKED_V4 = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
)  # fmt: skip
_ALLOWED_V6 = ipaddress.ip_network("2000::/3")
_BLOCKED_V6 = tuple(ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_ISATAP = re.compile(r"(:0:5efe:|:200:5efe:|::5efe:)")
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)
_PRIVATE_SUFFIXES = (".local", ".internal", ".localhost", ".localdomain", ".home.arpa")


class EgressRefused(Error):
    """The address of this request is not allowed."""

    code = "egress_refused"


@dataclass(frozen=True, slots=True)
class Egress:
    """What outgoing requests may reach beside the public internet."""

    allow: frozenset[str] = frozenset()
    """`host`, `host:port`, or `loopback`."""

    @classmethod
    def of(cls, setting: str) -> Egress:
        """From the comma-separated setting `GRISTMILL_EGRESS_ALLOW`."""
        return cls(frozenset(part.strip().lower() for part in setting.split(",") if part.strip()))

    def names(self, host: str, port: int) -> bool:
        """Whether the operator named this destination."""
        return host in self.allow or f"{host}:{port}" in self.allow

    def check_url(self, url: str) -> None:
        """Judge a URL's text. Raises `EgressRefused` with the reason."""
        if len(url.encode("utf-8", "surrogatepass")) > URL_BYTES_MAX:
            raise EgressRefused(f"The URL is longer than {URL_BYTES_MAX} bytes.")
        if _UNSAFE.search(url):
            raise EgressRefused("The URL has a space, a backslash or a control character in it.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise EgressRefused("The URL can't be read.") from None
        if parts.scheme not in {"http", "https"}:
            raise EgressRefused("Only http:// and https:// URLs are called.")
        if "@" in parts.netloc or "%" in parts.netloc:
            raise EgressRefused("A URL must not carry a user name, a password or escapes in its host.")
        self._check_host(_ascii_host(parts.hostname or ""), port or (443 if parts.scheme == "https" else 80))

    def check_address(self, address: str, host: str, port: int) -> None:
        """Judge one IP address that a socket is about to be opened to. Raises `EgressRefused`."""
        ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
        if self.names(str(ip), port) or self.names(host, port):
            return
        if LOOPBACK in self.allow and ip.is_loopback:
            return
        if not _is_public(ip):
            raise EgressRefused(
                f"{host} is at {ip}, which is not a public address. GRISTMILL_EGRESS_ALLOW can allow it."
            )

    def _check_host(self, host: str, port: int) -> None:
        if not host:
            raise EgressRefused("The URL has no host.")
        if self.names(host, port) or (LOOPBACK in self.allow and host in {"localhost", "127.0.0.1", "::1"}):
            return
        literal = _literal(host)
        if literal is not None:
            self.check_address(str(literal), host, port)
        elif host == "localhost" or "." not in host or host.endswith(_PRIVATE_SUFFIXES):
            raise EgressRefused(f"{host} names a private host. An operator can allow it by GRISTMILL_EGRESS_ALLOW.")
        elif host.rsplit(".", 1)[1].isdigit() or not all(_NAME.fullmatch(label) for label in host.split(".")):
            raise EgressRefused(f"{host[:80]} is neither a host name nor a plain IP address.")
        if port not in PORTS_PUBLIC:
            allowed = ", ".join(str(number) for number in sorted(PORTS_PUBLIC))
            raise EgressRefused(f"Port {port} is not called; allowed are {allowed}.")


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _ascii_host(host: str) -> str:
    host = host.rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise EgressRefused("The host name can't be written in ASCII.") from None


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _BLOCKED_V4)
    if ip not in _ALLOWED_V6 or any(ip in network for network in _BLOCKED_V6):
        return False
    return not _ISATAP.search(ip.exploded.replace(":0000", ":0").lower()) and "5efe" not in ip.exploded[20:29]


class _JudgedResolver(AbstractResolver):
    """Resolves a name and refuses it as a whole when any of its addresses is not allowed.

    `judged` collects the addresses that passed under their name: the operator may have allowed the name.
    """

    def __init__(self, egress: Egress, judged: set[str]) -> None:
        self._egress = egress
        self._judged = judged

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        answers: list[ResolveResult] = []
        for found_family, _, proto, _, address in infos:
            ip = str(address[0])
            self._egress.check_address(ip, host, port)
            self._judged.add(ip)
            answers.append(
                {
                    "hostname": host,
                    "host": ip,
                    "port": port,
                    "family": found_family,
                    "proto": proto,
                    "flags": socket.AI_NUMERICHOST,
                }
            )
        return answers

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def http_session(egress: Egress, *, connections: int) -> AsyncGenerator[aiohttp.ClientSession]:
    """A guarded aiohttp session. Callers pass `allow_redirects=False`; use `request` for that."""
    judged: set[str] = set()

    def judged_socket(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, proto, _, address = info
        ip, port = str(address[0]), int(str(address[1]))
        if ip not in judged:
            egress.check_address(ip, ip, port)
        return socket.socket(family, kind, proto)

    connector = aiohttp.TCPConnector(
        limit=min(connections, CONNECTIONS_MAX),
        use_dns_cache=False,
        resolver=_JudgedResolver(egress, judged),
        socket_factory=judged_socket,
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole up to the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BodyTooLarge(Error):
    """The answer is larger than its limit."""

    code = "upstream_failed"


async def request(
    session: aiohttp.ClientSession,
    egress: Egress,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
    body_bytes_max: int,
) -> Answer:
    """One request without redirects.

    Raises `EgressRefused`, `BodyTooLarge`, `aiohttp.ClientError` or `TimeoutError`.
    """
    egress.check_url(url)
    async with session.request(
        method,
        url,
        headers={"Accept-Encoding": "identity", **headers},
        data=body,
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S_MAX),
    ) as response:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(65536):
            size += len(chunk)
            if size > body_bytes_max:
                raise BodyTooLarge(f"The answer is larger than {body_bytes_max} bytes.")
            chunks.append(chunk)
        return Answer(response.status, response.headers, b"".join(chunks))


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, section 10.2.3), or None."""
    if header is None:
        return None
    text = header.strip()
    if text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
