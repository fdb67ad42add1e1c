"""Writing one object so that doing it again changes nothing, and nothing that is not ours is overwritten."""

from __future__ import annotations

import asyncio
import hashlib
from http import HTTPStatus
from typing import BinaryIO

from gristmill.connectors.remote import RemoteFailed, Trail
from gristmill.connectors.s3.client import Head, S3Client, S3Error

PART_BYTES = 8 * 1024**2
WHOLE_BYTES_MAX = 2 * PART_BYTES
"""Written in one request up to here."""
PARTS_MAX = 9000
"""S3 takes ten thousand."""
PARTS_AT_ONCE = 3
NEW_ONLY = {"if-none-match": "*"}


class ObjectInTheWay(RemoteFailed):
    """An object that is not ours has the name already."""


async def write_once(
    client: S3Client,
    key: str,
    data: BinaryIO,
    *,
    size: int,
    sha256: str,
    content_type: str,
    ours: str | None,
    trail: Trail,
) -> str:
    """Write an object unless it is there already, just so; answers its ETag.

    `ours` is the ETag of what we wrote there before, which may be overwritten. Raises `ObjectInTheWay` for anything
    else of that name, or `S3Error`.
    """
    if trail.recalled:
        await client.abort_upload(key, trail.recalled)
        await trail.remember(None)
    writing = _Writing(client, key, data, size, sha256, content_type, trail)
    if size > WHOLE_BYTES_MAX:  # look before much is sent for nothing
        there = await _look(client, key)
        if there is not None and await writing.is_same(there):
            return there.etag
    try:
        return await writing.write(NEW_ONLY)
    except S3Error as error:
        if error.status not in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_IMPLEMENTED}:
            raise
        conditions_work = error.status == HTTPStatus.PRECONDITION_FAILED
    return await _write_over(client, writing, ours, conditions_work=conditions_work)


async def _write_over(client: S3Client, writing: _Writing, ours: str | None, *, conditions_work: bool) -> str:
    """Write where something is, or may be: only over the same content, or over what we wrote before."""
    there = await _look(client, writing.key)
    if there is not None and await writing.is_same(there):
        return there.etag
    if there is None and not conditions_work:
        return await writing.write({})
    if there is not None and there.etag != ours:
        raise _in_the_way(writing.key)
    # Where the key may not look, the condition does: it holds for the very same content only.
    expected = await asyncio.to_thread(writing.md5) if there is None else there.etag
    try:
        return await writing.write({"if-match": f'"{expected}"'} if conditions_work else {})
    except S3Error as error:
        if error.status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND}:
            raise _in_the_way(writing.key) from None
        raise


def _in_the_way(key: str) -> ObjectInTheWay:
    return ObjectInTheWay(
        f"`{key[:300]}` is there already and is not what we wrote.",
        permanent=True,
        code="in_the_way",
        fix="Move or delete that object, or set another prefix; allow s3:GetObject so that equal content is seen.",
    )


async def _look(client: S3Client, key: str) -> Head | None:
    """What is there; None when there is nothing, or when the key may not look."""
    try:
        return await client.head(key)
    except S3Error as error:
        if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}:
            return None
        raise


class _Writing:
    """One object on its way up."""

    def __init__(
        self, client: S3Client, key: str, data: BinaryIO, size: int, sha256: str, content_type: str, trail: Trail
    ) -> None:
        self._client = client
        self.key = key
        self._data = data
        self._size = size
        self._sha256 = sha256
        self._content_type = content_type
        self._trail = trail

    async def write(self, condition: dict[str, str]) -> str:
        """Write it under a condition; answers the ETag."""
        metadata = {"sha256": self._sha256}
        self._data.seek(0)
        if self._size <= WHOLE_BYTES_MAX:
            body = await asyncio.to_thread(self._data.read)
            return await self._client.put(
                self.key, body, condition=condition, metadata=metadata, content_type=self._content_type
            )
        upload = await self._client.start_upload(self.key, metadata=metadata, content_type=self._content_type)
        await self._trail.remember(upload)
        try:
            etags = await self._put_parts(upload)
            etag = await self._client.complete_upload(self.key, upload, etags, condition=condition)
        except BaseException:
            await asyncio.shield(self._give_up(upload))
            raise
        await self._trail.remember(None)
        return etag

    async def _put_parts(self, upload: str) -> list[str]:
        part_bytes = max(PART_BYTES, -(-self._size // PARTS_MAX))
        etags: list[str] = []
        while True:
            parts = [await asyncio.to_thread(self._data.read, part_bytes) for _ in range(PARTS_AT_ONCE)]
            parts = [part for part in parts if part]
            if not parts:
                return etags
            numbers = range(len(etags) + 1, len(etags) + 1 + len(parts))
            etags += await asyncio.gather(
                *(
                    self._client.put_part(self.key, upload, number, part)
                    for number, part in zip(numbers, parts, strict=True)
                )
            )

    async def _give_up(self, upload: str) -> None:
        try:
            await self._client.abort_upload(self.key, upload)
        except RemoteFailed:
            return  # the next try remembers it
        await self._trail.remember(None)

    async def is_same(self, head: Head) -> bool:
        """Whether what is there is what we would write."""
        if head.size != self._size:
            return False
        known = head.metadata.get("sha256")
        if known is not None:
            return known == self._sha256
        return head.etag_is_md5 and await asyncio.to_thread(self.md5) == head.etag

    def md5(self) -> str:
        """Of the content, which is the ETag of an object that was written in one request."""
        digest = hashlib.md5(usedforsecurity=False)
        self._data.seek(0)
        while chunk := self._data.read(PART_BYTES):
            digest.update(chunk)
        return digest.hexdigest()
