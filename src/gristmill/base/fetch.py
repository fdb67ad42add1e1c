"""The one door for outgoing HTTP requests, guarded at the socket.

A URL is judged twice: its text before anything is resolved, and every address just before a socket is opened to it
(aiohttp calls `socket_factory` for IP literals and for each resolved address alike, so nothing is connected to that
was not judged). A name is resolved once for each connection, all of its addresses must be allowed, and one of these
very addresses is connected to, so a name that answers differently the second time gains nothing. Redirects are not
followed unless asked for, and then each is judged anew. Environment proxies are ignored. Size and time are bounded.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import socket
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gristmill.base.egress import Egress, EgressRefused
from gristmill.base.errors import Error, FieldError, Invalid

CONNECTIONS_MAX = 1000
CONNECT_S_MAX = 10.0
LOOKUP_S_MAX = 10.0
LOOKUP_THREADS_MAX = 256
"""Names that are looked up at a time; a thread waits for each, so that dead name servers hold up nobody else."""
CHUNK_BYTES = 65_536
REASON_CHARS_MAX = 500
REDIRECTS = frozenset({301, 302, 303, 307, 308})
KEPT_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent", "range", "if-none-match",
                          "if-modified-since"})  # fmt: skip
"""What another host gets to see after a redirect: no credentials, whatever header they are in."""
FRAMING_HEADERS = frozenset({"connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization",
                             "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})  # fmt: skip
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_UNSAFE = re.compile(r"[^\t\x20-\x7e]")
PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_INFLATE_EITHER = 47
"""Window bits that let zlib tell gzip and zlib by their headers."""

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Answers all addresses of a host, for a port. Raises `OSError`."""

_lookups = ThreadPoolExecutor(LOOKUP_THREADS_MAX, thread_name_prefix="lookup")


class HeaderRefused(Invalid):
    """A header can't be sent, or is not for users to set."""


def check_headers(headers: Mapping[str, str], field: str) -> None:
    """Judge headers that a user set. Raises `HeaderRefused` that names the first wrong one, as part of `field`.

    What frames a message is ours: a wrong length would let one request swallow the next on the same connection, which
    may be another tenant's.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or _HEADER_UNSAFE.search(value) or name.lower() in FRAMING_HEADERS:
            what = "is set by Gristmill" if name.lower() in FRAMING_HEADERS else "can't be sent"
            where = FieldError(f"{field}.{name[:60]}", what)
            raise HeaderRefused(f"The header `{name[:60]}` {what}.", errors=(where,))


class BodyTooLarge(Error):
    """The answer is larger than its limit."""

    code = "upstream_failed"


class TooMuchSent(Error):
    """The body to be sent is larger than its limit."""

    code = "too_large"


class BadAnswer(Error):
    """The answer can't be read."""

    code = "upstream_failed"


async def look_up(host: str, port: int) -> list[str]:
    """All addresses of a host, as this machine resolves names. Raises `OSError`."""
    looking = asyncio.get_running_loop().run_in_executor(
        _lookups, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    try:
        infos = await asyncio.wait_for(looking, LOOKUP_S_MAX)
    except TimeoutError:
        raise OSError(f"the name servers gave no address of {host} within {LOOKUP_S_MAX:g} s") from None
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class _JudgedResolver(AbstractResolver):
    """Resolves a name and refuses it as a whole when any of its addresses is not allowed.

    `judged` collects the private addresses that passed under their name: the operator has allowed the name.
    """

    def __init__(self, egress: Egress, lookup: Lookup, judged: set[tuple[str, int]]) -> None:
        self._egress = egress
        self._lookup = lookup
        self._judged = judged
        self._under_way: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # both are judged, whichever is used
        addresses = await self._addresses(host, port)
        if not addresses:
            raise OSError(f"{host} has no address")
        for address in addresses:
            self._egress.check_address(address, host, port)
            self._judged.add((address, port))
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in addresses
        ]

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Calls that start while a name is being looked up share the answer; none is kept for later ones."""
        key = (host, port)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._lookup(host, port))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Lookups under way are of no use any more."""
        for task in list(self._under_way.values()):
            task.cancel()


@asynccontextmanager
async def http_session(
    egress: Egress, *, connections: int, lookup: Lookup = look_up
) -> AsyncGenerator[aiohttp.ClientSession]:
    """A guarded aiohttp session, for `request` and `stream`."""
    judged: set[tuple[str, int]] = set()

    def judged_socket(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, proto, _, address = info
        ip, port = str(address[0]), int(str(address[1]))
        if (ip, port) not in judged:
            egress.check_address(ip, ip, port)
        return socket.socket(family, kind, proto)

    connector = aiohttp.TCPConnector(
        limit=min(connections, CONNECTIONS_MAX),
        use_dns_cache=False,
        resolver=_JudgedResolver(egress, lookup, judged),
        socket_factory=judged_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX),
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


class Reply:
    """An answer whose body is still to be read."""

    def __init__(self, response: aiohttp.ClientResponse, *, inflate: bool) -> None:
        self._response = response
        self._inflate = inflate
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        """By name, in any case."""
        self.url = str(response.url)
        """Where it came from, after redirects."""

    async def chunks(self, bytes_max: int) -> AsyncIterator[bytes]:
        """The body, unpacked. Raises `BodyTooLarge` as soon as it is larger, however small it came over the wire."""
        size = 0
        async for chunk in self._unpacked():
            size += len(chunk)
            if size > bytes_max:
                raise BodyTooLarge(f"The answer is larger than {bytes_max} bytes.", limit=bytes_max)
            yield chunk

    async def read(self, bytes_max: int) -> bytes:
        """The whole body. Raises `BodyTooLarge`."""
        return b"".join([chunk async for chunk in self.chunks(bytes_max)])

    async def excerpt(self, bytes_max: int) -> bytes:
        """The beginning of the body; what comes after it, and what goes wrong with it, does not matter."""
        parts: list[bytes] = []
        size = 0
        try:
            async with aclosing(self._unpacked()) as unpacked:
                async for chunk in unpacked:
                    parts.append(chunk)
                    size += len(chunk)
                    if size >= bytes_max:
                        break
        except (aiohttp.ClientError, Error):
            pass
        return b"".join(parts)[:bytes_max]

    async def _unpacked(self) -> AsyncGenerator[bytes]:
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        raw = self._response.content.iter_chunked(CHUNK_BYTES)
        if not self._inflate or coding in {"", "identity"}:
            async for chunk in raw:
                yield chunk
            return
        if coding not in PACKED:
            raise BadAnswer(f"The answer is packed as `{coding[:40]}`, which nobody asked for.")
        unpacker = _Unpacker(coding)
        async for chunk in raw:
            for unpacked in unpacker.feed(chunk):
                yield unpacked
        unpacker.finish()


class _Unpacker:
    """gzip or zlib, in pieces that stay small however well they were packed."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._zlib = zlib.decompressobj(_INFLATE_EITHER)
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack the next bytes. Raises `BadAnswer`."""
        while data:
            if self._zlib.eof:  # gzip files may stand one behind the other
                self._zlib = zlib.decompressobj(_INFLATE_EITHER)
            self._fed = True
            try:
                piece = self._zlib.decompress(data, CHUNK_BYTES)
                yield piece
                while len(piece) == CHUNK_BYTES and not self._zlib.unconsumed_tail and not self._zlib.eof:
                    piece = self._zlib.decompress(b"", CHUNK_BYTES)  # it holds more than there was room for
                    yield piece
            except zlib.error as error:
                raise BadAnswer(f"The answer is no {self._coding}: {error}.") from None
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail

    def finish(self) -> None:
        """Raises `BadAnswer` when bytes are missing at the end."""
        if self._fed and not self._zlib.eof:
            raise BadAnswer(f"The {self._coding} of the answer ends too soon.")


Body = bytes | AsyncIterable[bytes] | None


@asynccontextmanager
async def stream(
    session: aiohttp.ClientSession,
    egress: Egress,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Body = None,
    body_bytes_max: int | None = None,
    timeout_s: float | None,
    silence_s: float | None = None,
    redirects_max: int = 0,
    inflate: bool = True,
) -> AsyncGenerator[Reply]:
    """One request, whose answer is read inside the block; `timeout_s` bounds all of it, reading included.

    `silence_s` bounds each wait for the next bytes. `body` may be a stream, of at most `body_bytes_max` bytes.
    `redirects_max` lets GET and HEAD follow redirects: each is judged anew, never leads from https to http, and another
    host sees no header that could open anything. `inflate` unpacks gzip and deflate.

    Raises `EgressRefused`, `BadAnswer`, `TooMuchSent`, `aiohttp.ClientError` or `TimeoutError`; `reason` words them.
    """
    target = egress.judge(url)
    sent = {"Accept-Encoding": "identity", **headers}
    data = body if body is None or isinstance(body, bytes) else _bounded(body, body_bytes_max)
    wait = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX, sock_read=silence_s)
    async with asyncio.timeout(timeout_s):
        for hop in range(redirects_max + 1):
            async with session.request(
                method, target, headers=sent, data=data, allow_redirects=False, timeout=wait
            ) as response:
                after = _redirected(egress, method, response) if redirects_max else None
                if after is None:
                    yield Reply(response, inflate=inflate)
                    return
                if hop == redirects_max:
                    raise BadAnswer(f"{url[:200]} was redirected more than {redirects_max} times.")
            if after.origin() != target.origin():
                sent = {name: value for name, value in sent.items() if name.lower() in KEPT_HEADERS}
            target = after


async def _bounded(body: AsyncIterable[bytes], bytes_max: int | None) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in body:
        size += len(chunk)
        if bytes_max is not None and size > bytes_max:
            raise TooMuchSent(f"More than {bytes_max} bytes would be sent.", limit=bytes_max)
        yield chunk


def _redirected(egress: Egress, method: str, response: aiohttp.ClientResponse) -> URL | None:
    """Where an answer leads to, judged; None when it is an answer to be read."""
    location = response.headers.get("Location")
    if response.status not in REDIRECTS or location is None or method not in {"GET", "HEAD"}:
        return None
    try:
        after = egress.judge(urljoin(str(response.url), location))
    except ValueError:
        raise EgressRefused("A redirect leads to something that is no URL.") from None
    if response.url.scheme == "https" and after.scheme != "https":
        raise EgressRefused(f"A redirect leads from https to {after.scheme}.")
    return after


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole up to the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    """Where it came from, after redirects."""


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
    redirects_max: int = 0,
) -> Answer:
    """One request and its whole answer.

    Raises what `stream` raises, and `BodyTooLarge` for an answer of more than `body_bytes_max` bytes, unpacked.
    """
    async with stream(
        session, egress, method, url, headers=headers, body=body, timeout_s=timeout_s, redirects_max=redirects_max
    ) as reply:
        return Answer(reply.status, reply.headers, await reply.read(body_bytes_max), reply.url)


def reason(error: BaseException) -> str:
    """Why a request failed, in the words of whoever refused it, for people."""
    if isinstance(error, Error):
        return error.message
    if isinstance(error, TimeoutError):
        return "there was no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} can't be resolved: {_said(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return f"{error.host}:{error.port} can't be connected to: {_said(error.os_error)}"
    return (str(error) or type(error).__name__)[:REASON_CHARS_MAX]


def _said(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__)[:REASON_CHARS_MAX]


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
