"""The calls that a connector makes of S3, each bounded, repeated while that can help, and told in plain words."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from gristmill.base.egress import Egress
from gristmill.base.fetch import CONNECT_S_MAX, retry_after_s
from gristmill.connectors.remote import Exchange, RemoteFailed, exchange_of
from gristmill.connectors.s3.documents import (
    DOCUMENT_BYTES_MAX,
    BadDocument,
    Listed,
    ListPage,
    complete_document,
    read_facts,
    read_list,
)
from gristmill.connectors.s3.sigv4 import EMPTY_SHA256, Keys, Signer, encode_path, encode_query

ATTEMPTS_MAX = 5
"""Of one request that fails in a way that may pass."""
PAUSE_S = 0.2
"""Before the second attempt; doubled for each further one, with jitter."""
PAUSE_S_MAX = 5.0
ANSWER_S_MAX = 30.0
"""Silence of the server after which a request is given up."""
ASK_S_MAX = 180.0
"""A request with a small answer, sending included, whatever trickles in meanwhile."""
EMPTY_PAGES_MAX = 50
"""Pages of a listing in a row without an object, from a server that never comes to an end."""
CHUNK_BYTES = 256 * 1024
PAGE_KEYS = 1000
READ_HERE_BYTES_MAX = 1024**2
"""A listing that is larger is read in a thread: none may hold up the loop."""
ETAG_MD5_CHARS = 32
NO_RANGE = "NoRange"
"""Our own code for a server that sends no ranges."""
REGION_MAX_CHARS = 40
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})

FIXES = {
    "InvalidAccessKeyId": "There is no such access key: check accessKeyId, and that the key has not been deleted.",
    "SignatureDoesNotMatch": "secretAccessKey does not belong to accessKeyId: copy both anew.",
    "AccessDenied": "The key may not do this: give it the permissions of the policy shown.",
    "NoSuchBucket": "There is no such bucket at this endpoint: check bucket, region and endpointUrl.",
    "PermanentRedirect": "The bucket is in another region: set region.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set region.",
    "TemporaryRedirect": "The endpoint sends this bucket elsewhere: set region or endpointUrl.",
    "RequestTimeTooSkewed": "The clock of this machine is wrong: let it keep time by NTP.",
    "ExpiredToken": "The session token has expired: store a new one, or use a key without a session.",
    "InvalidToken": "The session token is not valid for this key: store both anew.",
    "InvalidObjectState": "The object is archived: restore it first.",
    "unreachable": "The endpoint did not answer: check endpointUrl and region, and whether a firewall is between.",
}


class S3Error(RemoteFailed):
    """What S3 said no with."""

    def __init__(self, status: int, code: str, message: str, *, permanent: bool, fix: str = "") -> None:
        text = f"{code}: {message}" if message else code
        self.status = status
        """Of HTTP; 0 where there was no answer."""
        self.s3_code = code
        self.server_time: datetime | None = None
        """Where the server finds ours wrong."""
        said = f"S3 answered {status} {text}" if status else text
        super().__init__(
            said[:600],
            permanent=permanent,
            code="unreachable" if status == 0 else f"http_{status}",
            raw=text,
            fix=fix or FIXES.get(code, ""),
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A bucket at an endpoint."""

    bucket: str
    region: str
    endpoint: str
    """`https://host[:port][/path]`."""
    path_style: bool

    @classmethod
    def of(cls, bucket: str, region: str, endpoint: str | None, *, path_style: bool | None) -> Target:
        """The usual place of a bucket on AWS, or a given endpoint.

        Path style unless said otherwise at an endpoint of one's own, and for a bucket with dots, whose name no
        certificate covers.
        """
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        base = (endpoint or f"https://s3.{region}.{suffix}").rstrip("/")
        style = (endpoint is not None or "." in bucket) if path_style is None else path_style
        return cls(bucket, region, base, style)

    def place(self, key: str) -> tuple[str, str, str]:
        """(scheme://host, host as in the Host header, encoded path) of an object; of the bucket when `key` is empty."""
        parts = urlsplit(self.endpoint)
        host, base = parts.netloc, parts.path
        if self.path_style:
            path = f"{base}/{self.bucket}/{encode_path(key)}" if key else f"{base}/{self.bucket}"
        else:
            host, path = f"{self.bucket}.{host}", f"{base}/{encode_path(key)}"
        default = {"http": ":80", "https": ":443"}[parts.scheme]
        return f"{parts.scheme}://{host}", host.removesuffix(default), path


@dataclass(frozen=True, slots=True)
class Head:
    """What S3 says about an object without sending it."""

    size: int
    etag: str
    version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """`x-amz-meta-*`, without that prefix."""
    etag_is_md5: bool = False
    """Whether the ETag can be compared with the content's MD5."""


def head_of(headers: Mapping[str, str]) -> Head:
    """An object's facts from the headers of an answer."""
    etag = headers.get("ETag", "").strip('"')
    plain = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    no_customer_key = "x-amz-server-side-encryption-customer-algorithm" not in headers
    total = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "0")
    return Head(
        size=int(total) if total.isdigit() else 0,
        etag=etag,
        version=headers.get("x-amz-version-id", ""),
        metadata={
            name[11:].lower(): value for name, value in headers.items() if name.lower().startswith("x-amz-meta-")
        },
        etag_is_md5=plain and no_customer_key and len(etag) == ETAG_MD5_CHARS,
    )


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class S3Client:
    """One bucket with one key. Safe from several tasks of one loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        egress: Egress,
        target: Target,
        keys: Keys,
        note: Callable[[Exchange], None] | None = None,
    ) -> None:
        """`note` takes listings, changes and refusals; objects that came as they should are too many to keep."""
        self._note = note
        self._session = session
        self._egress = egress
        self.target = target
        self._signer = Signer(keys, target.region)
        self._skew = timedelta()
        self._judged = ""
        self.requests = 0
        """Sent so far, repetitions included."""

    async def list_page(self, prefix: str, token: str | None = None, *, keys_max: int = PAGE_KEYS) -> ListPage:
        """One page of the objects whose keys begin with `prefix`, in the order of their bytes."""
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(keys_max)), ("prefix", prefix)]
        if token is not None:
            query.append(("continuation-token", token))
        reply = await self._ask("GET", "", query)
        try:
            if len(reply.body) <= READ_HERE_BYTES_MAX:
                return read_list(reply.body)
            return await asyncio.to_thread(read_list, reply.body)
        except BadDocument as error:
            raise S3Error(
                reply.status, "BadListing", f"the listing can't be read: {error}", permanent=True,
                fix="This does not look like the S3 API: check endpointUrl.",
            ) from None  # fmt: skip

    async def list_all(self, prefix: str) -> AsyncIterator[Listed]:
        """Every object whose key begins with `prefix`."""
        token: str | None = None
        empty = 0
        while True:
            page = await self.list_page(prefix, token)
            for item in page.objects:
                yield item
            if page.token is None:
                return
            empty = 0 if page.objects else empty + 1
            if page.token == token or empty > EMPTY_PAGES_MAX:
                raise S3Error(200, "BadListing", "the listing does not come to an end", permanent=True)
            token = page.token

    async def head(self, key: str) -> Head:
        """Facts of an object. Raises `S3Error` with status 404 where there is none."""
        return head_of((await self._ask("HEAD", key)).headers)

    @asynccontextmanager
    async def get(
        self, key: str, *, if_match: str = "", first: int = 0, last: int | None = None
    ) -> AsyncGenerator[tuple[Head, AsyncIterator[bytes]]]:
        """An object, or its bytes `first` to `last` inclusive, as they come; asked once, for the caller to resume.

        `if_match`: raises `S3Error` with status 412 when the object has another ETag by now. For a part of an object:
        raises `S3Error` `NO_RANGE` where the server sends something else.
        """
        headers = {"if-match": f'"{if_match}"'} if if_match else {}
        if first or last is not None:
            headers["range"] = f"bytes={first}-{'' if last is None else last}"
        async with self._send("GET", key, (), headers, b"") as response:
            if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                raise await self._refusal(response)
            # Some servers send the range that was asked for and yet call it 200.
            sent = response.headers.get("Content-Range", "")
            if "range" in headers and not sent.startswith(f"bytes {first}-"):
                raise S3Error(response.status, NO_RANGE, "the server ignores Range", permanent=True)
            yield head_of(response.headers), response.content.iter_chunked(CHUNK_BYTES)

    async def put(
        self, key: str, body: bytes, *, condition: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None, content_type: str = "application/octet-stream",
    ) -> str:  # fmt: skip
        """Write an object in one request; answers its ETag. `condition`: `{"if-none-match": "*"}` or an `if-match`."""
        headers = {"content-type": content_type, **_metadata(metadata), **(condition or {})}
        reply = await self._ask("PUT", key, (), headers, body)
        return reply.headers.get("ETag", "").strip('"')

    async def start_upload(self, key: str, *, metadata: Mapping[str, str], content_type: str) -> str:
        """Begin a multipart upload; answers its id."""
        reply = await self._ask("POST", key, [("uploads", "")], {"content-type": content_type, **_metadata(metadata)})
        return self._fact(reply, "UploadId")

    async def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        """Write part `number` (from 1) of an upload; answers its ETag."""
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        reply = await self._ask("PUT", key, query, {}, body)
        return reply.headers.get("ETag", "").strip('"')

    async def complete_upload(
        self, key: str, upload_id: str, etags: Sequence[str], *, condition: Mapping[str, str] | None = None
    ) -> str:
        """Make an object of the parts; answers its ETag."""
        body = complete_document(list(etags))
        headers = {"content-type": "application/xml", **(condition or {})}
        reply = await self._ask("POST", key, [("uploadId", upload_id)], headers, body)
        return self._fact(reply, "ETag").strip('"')

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw the parts of an upload away; one that is gone is no error."""
        try:
            await self._ask("DELETE", key, [("uploadId", upload_id)])
        except S3Error as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        await self._ask("DELETE", key)

    def _fact(self, reply: _Reply, name: str) -> str:
        """A value of a small answer. S3 may answer 200 and yet an `<Error>`, when it took long to find out."""
        try:
            root, facts = read_facts(reply.body)
        except BadDocument as error:
            raise S3Error(reply.status, "BadAnswer", str(error), permanent=True) from None
        if root == "Error":
            raise S3Error(
                HTTPStatus.INTERNAL_SERVER_ERROR, facts.get("Code", "Error"), facts.get("Message", ""), permanent=False
            )
        if not facts.get(name):
            raise S3Error(reply.status, "BadAnswer", f"<{root}> without <{name}>", permanent=True)
        return facts[name]

    async def _ask(
        self,
        method: str,
        key: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> _Reply:
        """A request with a small answer, repeated while its failure may pass. Raises `S3Error`."""
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._send(method, key, query, headers or {}, body, total_s=ASK_S_MAX) as response:
                    if response.status >= 300:  # noqa: PLR2004 - only 2xx is a yes, and redirects are not followed
                        raise await self._refusal(response)
                    data = await _read(response)
                    return _Reply(response.status, response.headers, data)
            except S3Error as error:
                if self._clock_was_wrong(error):
                    continue
                if error.permanent or attempt >= ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(pause_s(attempt, error.retry_after_s))

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        key: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
        *,
        total_s: float | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        origin, host, path = self.target.place(key)
        text = encode_query(query)
        url = f"{origin}{path}?{text}" if text else f"{origin}{path}"
        if origin != self._judged:  # the rest of the URL is a key, which may be long and holds no host
            self._egress.check_url(f"{origin}/")
            self._judged = origin
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        now = datetime.now(UTC) + self._skew
        signed = self._signer.headers(method, host, path, text, headers, payload_sha256=digest, now=now)
        self.requests += 1
        started = time.monotonic()
        status, failure = None, None
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers={"accept-encoding": "identity", "user-agent": "gristmill", **signed},
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S_MAX, sock_read=ANSWER_S_MAX),
            ) as response:
                status = response.status
                yield response
        except S3Error as error:
            failure = error
            raise
        except TimeoutError:
            failure = S3Error(0, "unreachable", "no answer in time", permanent=False)
            raise failure from None
        except (aiohttp.ClientError, ConnectionError) as error:
            failure = S3Error(0, "unreachable", str(error)[:300] or type(error).__name__, permanent=False)
            raise failure from None
        finally:
            told = status is not None and (not key or method not in {"GET", "HEAD"})
            if self._note is not None and (failure is not None or told):
                self._note(exchange_of(method, url, status, started, failure))

    async def _refusal(self, response: aiohttp.ClientResponse) -> S3Error:
        """The error that an answer tells of; a HEAD has no body to tell it in."""
        facts: dict[str, str] = {}
        with suppress(BadDocument):
            facts = read_facts(await _read(response))[1]
        status = response.status
        code = facts.get("Code") or _CODES_BY_STATUS.get(status, f"Http{status}")
        message = facts.get("Message", "")
        region = response.headers.get("x-amz-bucket-region", "") or facts.get("Region", "")
        fix = ""
        if region and region != self.target.region and len(region) <= REGION_MAX_CHARS:
            fix = f"The bucket is in the region {region}: set region to it."
        error = S3Error(status, code, message, permanent=status not in TRANSIENT, fix=fix)
        error.retry_after_s = retry_after_s(response.headers.get("Retry-After"))
        if code == "RequestTimeTooSkewed":
            error.server_time = _date(response.headers.get("Date", ""))
        return error

    def _clock_was_wrong(self, error: S3Error) -> bool:
        """Take the server's time for ours when it refuses ours; once, for a second refusal means something else."""
        if error.server_time is None or self._skew:
            return False
        self._skew = error.server_time - datetime.now(UTC)
        return True


def pause_s(attempt: int, retry_after_s: float | None) -> float:
    """Seconds before the attempt after number `attempt`: exponential with half jitter, and what the server asks for."""
    base = min(PAUSE_S * 2 ** (attempt - 1), PAUSE_S_MAX)
    jittered = base * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
    return max(jittered, min(retry_after_s or 0.0, PAUSE_S_MAX))


_CODES_BY_STATUS = {403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed", 301: "PermanentRedirect"}


def _metadata(values: Mapping[str, str] | None) -> dict[str, str]:
    return {f"x-amz-meta-{name}": value for name, value in (values or {}).items()}


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """A small body."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        data += chunk
        if len(data) > DOCUMENT_BYTES_MAX:
            raise S3Error(response.status, "BadAnswer", f"more than {DOCUMENT_BYTES_MAX} bytes", permanent=True)
    return bytes(data)
