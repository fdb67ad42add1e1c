"""Bytes on their way into the object store while they still come: hashed once, written once, visible when complete.

Small objects are kept in memory and written when they are complete, many together. For a large one a thread of its own
writes what arrives, for as long as that takes; a few chunks wait between the two, so that memory stays flat. Until
`finish` nobody sees the object, and whatever goes wrong before leaves none.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from gristmill.base.objects import ObjectStore, Stored
from gristmill.connectors.remote import check_size
from gristmill.connectors.session import in_thread

MEMORY_BYTES_MAX = 1024**2
"""Objects up to here are written when they are complete."""
GROUPS_AT_ONCE = 4
"""Threads that write them: each waits for the disk."""
GROUP_FILES_MAX = 32
"""Each of them is an open file until the last is synced."""
HASHED_BYTES = 2047
"""Hashed at a time by the loop itself: for more, Python's hashes let go of the interpreter, and getting it back while
threads are at work takes far longer than the hash."""
CHUNKS_WAITING = 4
"""Between the line and the object store."""
CHUNK_BYTES_MAX = 1024**2


class _Dropped(Exception):
    """Ends a writer whose object nobody wants any more."""


class _Writer:
    """A thread that writes chunks to the object store as they come."""

    def __init__(self, objects: ObjectStore, key: str, *, hashed: bool) -> None:
        self._hashed = hashed
        self._chunks: queue.Queue[bytes | threading.Event | None] = queue.Queue(CHUNKS_WAITING)
        self._is_dropped = False
        self.md5: Any = hashlib.md5(usedforsecurity=False)
        self.task = asyncio.ensure_future(self._write(objects, key))

    async def _write(self, objects: ObjectStore, key: str) -> Stored:
        own = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sync-large")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                own, lambda: objects.put_stream(key, self._arriving(own))
            )
        finally:
            own.shutdown(wait=False)

    def _arriving(self, other: Executor) -> Iterator[bytes]:
        """The chunks; while one is written, another thread works out its MD5, the slowest of what is done with it."""
        hashing: Future[None] | None = None
        while (item := self._chunks.get()) is not None:
            if hashing is not None:
                hashing.result()
            if isinstance(item, threading.Event):
                item.set()
                continue
            if self._is_dropped:
                raise _Dropped
            if self._hashed:
                hashing = other.submit(self.md5.update, item)
            yield item
        if self._is_dropped:
            raise _Dropped

    async def put(self, item: bytes | threading.Event | None) -> None:
        """Hand something to the thread, once there is room. Raises what has ended the thread."""
        while True:
            try:
                self._chunks.put_nowait(item)
            except queue.Full:
                if self.task.done():
                    self.task.result()
                await asyncio.wait([self.task], timeout=LOOK_S)
            else:
                return

    async def drop(self) -> None:
        """End the thread without an object."""
        self._is_dropped = True
        if not self.task.done():
            while not self._chunks.empty():
                try:
                    self._chunks.get_nowait()
                except queue.Empty:
                    break
            await self.put(None)
        await asyncio.gather(self.task, return_exceptions=True)


LOOK_S = 0.002
"""How often a line that is faster than the object store looks whether there is room."""


class Groups:
    """Small objects on their way into the object store: those that come while others are written go together."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self._waiting: deque[tuple[str, bytes, asyncio.Future[Stored]]] = deque()
        self._writing: set[asyncio.Task[None]] = set()

    async def put(self, key: str, data: bytes) -> Stored:
        """Write an object. Raises what its group failed with."""
        stored: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, data, stored))
        if len(self._writing) < GROUPS_AT_ONCE:
            task = asyncio.ensure_future(self._write())
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        return await stored

    async def _write(self) -> None:
        """Write what waits, until nothing does."""
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_FILES_MAX))]
            items = [(key, data) for key, data, _ in group]
            try:
                done = await in_thread(lambda: self.objects.put_many(items))  # noqa: B023 - used at once
            except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
                for _, _, stored in group:
                    if not stored.done():
                        stored.set_exception(error)
                continue
            for (_, _, stored), item in zip(group, done, strict=True):
                if not stored.done():
                    stored.set_result(item)


class StoreLanding:
    """See Landing: what comes is an object of the object store once it is finished."""

    def __init__(self, groups: Groups, key: str, bytes_max: int) -> None:
        self._groups = groups
        self._objects = groups.objects
        self._key = key
        self._bytes_max = bytes_max
        self._memory = bytearray()
        self._writer: _Writer | None = None
        self._size = 0
        self._hashed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            await asyncio.shield(self._writer.drop())

    @property
    def size(self) -> int:
        """See Landing."""
        return self._size

    async def write(self, chunk: bytes) -> None:
        """See Landing."""
        check_size(self._size + len(chunk), self._bytes_max)
        self._size += len(chunk)
        if self._writer is None and self._size <= MEMORY_BYTES_MAX:
            self._memory += chunk
            return
        if self._writer is None:
            self._writer = _Writer(self._objects, self._key, hashed=self._hashed)
            await self._writer.put(bytes(self._memory))
            self._memory.clear()
        for start in range(0, len(chunk), CHUNK_BYTES_MAX):
            await self._writer.put(chunk[start : start + CHUNK_BYTES_MAX])

    async def clear(self, *, hashed: bool = True) -> None:
        """See Landing."""
        self._hashed = hashed
        if self._writer is not None:
            await self._writer.drop()
            self._writer = None
        self._memory.clear()
        self._size = 0

    async def md5(self) -> str:
        """See Landing."""
        if self._writer is None:
            digest = hashlib.md5(usedforsecurity=False)
            for start in range(0, self._size, HASHED_BYTES):
                digest.update(self._memory[start : start + HASHED_BYTES])
            return digest.hexdigest()
        written = threading.Event()
        await self._writer.put(written)
        while not written.is_set():
            if self._writer.task.done():
                self._writer.task.result()
            await asyncio.sleep(LOOK_S)
        return str(self._writer.md5.hexdigest())

    async def finish(self) -> Stored:
        """The object is complete: from now on it can be seen."""
        if self._writer is None:
            return await self._groups.put(self._key, bytes(self._memory))
        writer, self._writer = self._writer, None
        await writer.put(None)
        return await writer.task
