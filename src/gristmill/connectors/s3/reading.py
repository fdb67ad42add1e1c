"""Reading one object whole and unmixed: in ranges, resumed where a line broke, always of the same version."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from gristmill.connectors.remote import Landing, ObjectGone, RemoteFailed
from gristmill.connectors.s3.client import ATTEMPTS_MAX, ETAG_MD5_CHARS, NO_RANGE, Head, S3Client, S3Error, pause_s

RANGE_BYTES = 8 * 1024**2
"""Larger objects are read in ranges of this size."""
RANGES_AT_ONCE = 4
"""Of one object."""
RANGES_AHEAD_MAX = 24
"""Of all objects that this process reads; they are in memory until it is their turn."""
CHANGES_MAX = 3
"""How often an object is followed that changes while it is read."""


@dataclass(slots=True)
class _Room:
    """Room for ranges that are read ahead. Nobody waits for it: without any an object is read in one line."""

    taken: int = 0

    def take(self) -> bool:
        """Whether there was some."""
        if self.taken >= RANGES_AHEAD_MAX:
            return False
        self.taken += 1
        return True

    def give(self) -> None:
        """Somebody else may have it."""
        self.taken -= 1


_ahead = _Room()


@dataclass(frozen=True, slots=True)
class Version:
    """One content of a key."""

    key: str
    etag: str
    size: int

    @property
    def may_have_md5(self) -> bool:
        """Whether its ETag can be the MD5 of its content; that of an object which came in parts never is."""
        return len(self.etag) == ETAG_MD5_CHARS


async def read_object(client: S3Client, version: Version, landing: Landing) -> Head:
    """Put an object into `landing`; one that changes meanwhile is taken as it is then.

    Raises `ObjectGone`, `TooBig` or `S3Error`.
    """
    mismatch, read = "", _read_version
    for _ in range(CHANGES_MAX):
        await landing.clear(hashed=version.may_have_md5)
        try:
            head = await read(client, version, landing)
        except S3Error as error:
            if error.s3_code == NO_RANGE:
                read = _read_whole
                continue
            if error.status not in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND}:
                raise
            version = await _look_again(client, version)
            continue
        digest = await landing.md5() if head.etag_is_md5 else head.etag
        # A server whose ETag is something else gives the same bytes twice; a line that garbles them does not.
        if digest in {head.etag, mismatch}:
            return head
        mismatch = digest
    raise RemoteFailed(
        f"`{version.key[:200]}` changed {CHANGES_MAX} times while it was read.", permanent=False, code="changing"
    )


async def _look_again(client: S3Client, version: Version) -> Version:
    try:
        head = await client.head(version.key)
    except S3Error as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise ObjectGone("The object was deleted after it had been listed.", permanent=True) from None
        raise
    return Version(version.key, head.etag, head.size)


async def _read_version(client: S3Client, version: Version, landing: Landing) -> Head:
    if version.size <= RANGE_BYTES:
        return await _read_range(client, version, 0, version.size - 1, landing.write)
    waiting: deque[asyncio.Task[tuple[Head, list[bytes]]]] = deque()
    starts = deque(range(0, version.size, RANGE_BYTES))
    try:
        while True:
            while starts and len(waiting) < RANGES_AT_ONCE and _ahead.take():
                waiting.append(asyncio.ensure_future(_read_ahead(client, version, starts.popleft())))
            if waiting:
                head, chunks = await waiting[0]
                for chunk in chunks:
                    await landing.write(chunk)
                waiting.popleft()
                _ahead.give()
            else:
                first = starts.popleft()
                head = await _read_range(client, version, first, _last(version, first), landing.write)
            if not waiting and not starts:
                return head
    finally:
        for task in waiting:
            task.cancel()
            _ahead.give()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _read_whole(client: S3Client, version: Version, landing: Landing) -> Head:
    """In one request, from a server that sends no ranges: where a line broke, all of it is asked for again."""
    attempt = 0
    while True:
        attempt += 1
        try:
            async with client.get(version.key, if_match=version.etag) as (head, chunks):
                _check_same(head, version)
                async for chunk in chunks:
                    _check_not_more(landing.size + len(chunk) - version.size)
                    await landing.write(chunk)
            _check_complete(version.size - landing.size)
        except S3Error as error:
            if error.permanent or attempt >= ATTEMPTS_MAX:
                raise
            await landing.clear(hashed=version.may_have_md5)
            await asyncio.sleep(pause_s(attempt, error.retry_after_s))
        else:
            return head


def _last(version: Version, first: int) -> int:
    """Where the range ends that begins there."""
    return min(first + RANGE_BYTES, version.size) - 1


async def _read_ahead(client: S3Client, version: Version, first: int) -> tuple[Head, list[bytes]]:
    """One range, in memory until it is its turn."""
    chunks: list[bytes] = []

    async def put(chunk: bytes) -> None:
        chunks.append(chunk)

    return await _read_range(client, version, first, _last(version, first), put), chunks


async def _read_range(
    client: S3Client, version: Version, first: int, last: int, put: Callable[[bytes], Awaitable[None]]
) -> Head:
    """Bytes `first` to `last`, each handed on once; asked again from where a line broke."""
    offset, attempt = first, 0
    whole = first == 0 and last == version.size - 1
    while True:
        started = offset
        try:
            until = None if whole and offset == 0 else last
            async with client.get(version.key, if_match=version.etag, first=offset, last=until) as (head, chunks):
                _check_same(head, version)
                async for chunk in chunks:
                    offset += len(chunk)
                    _check_not_more(offset - last - 1)
                    await put(chunk)
            _check_complete(last + 1 - offset)
        except S3Error as error:
            attempt = 1 if offset > started else attempt + 1
            if error.permanent or attempt >= ATTEMPTS_MAX:
                raise
            await asyncio.sleep(pause_s(attempt, error.retry_after_s))
        else:
            return head


def _check_same(head: Head, version: Version) -> None:
    """For servers that ignore If-Match."""
    if (head.etag and head.etag != version.etag) or head.size != version.size:
        raise S3Error(HTTPStatus.PRECONDITION_FAILED, "Changed", "another version came", permanent=True)


def _check_complete(missing: int) -> None:
    if missing:
        raise S3Error(0, "unreachable", f"{missing} bytes are missing", permanent=False)


def _check_not_more(extra: int) -> None:
    """What was not asked for would end in memory, as long as it comes."""
    if extra > 0:
        raise S3Error(HTTPStatus.OK, "BadAnswer", "more bytes came than were asked for", permanent=True)
