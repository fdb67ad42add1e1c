"""What kinds of connectors and the jobs that use them talk about: failures, landings, pieces, exchanges."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from gristmill.base.conceal import redact, redact_cut
from gristmill.base.config import Settings
from gristmill.base.egress import Egress
from gristmill.base.errors import PluginError

ANSWER_CHARS_MAX = 4096
"""Kept of an answer."""
SAMPLE_BYTES = 4 * 1024**2
"""Read of one object by a test; less is all of it."""


class RemoteFailed(PluginError):
    """What the other side said no with, and what to do about it."""

    def __init__(
        self,
        message: str,
        *,
        permanent: bool,
        code: str = "unreachable",
        raw: str = "",
        fix: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """`raw` is what the other side said, word for word."""
        super().__init__(message, permanent=permanent, code=code, retry_after_s=retry_after_s)
        self.raw = redact_cut(raw[:ANSWER_CHARS_MAX])
        self.fix = redact_cut(fix)


class ObjectGone(RemoteFailed):
    """The object was deleted after it had been listed."""


class TooBig(RemoteFailed):
    """The object is over a limit."""


@dataclass(frozen=True, slots=True)
class Door:
    """How a kind gets out: the guard and the limits, and who keeps what was asked and answered."""

    egress: Egress
    settings: Settings
    note: Callable[[Exchange], None] | None = None
    """Takes the exchanges worth keeping: all but the objects that came as they should, which the manifest has."""

    @classmethod
    def of(cls, settings: Settings, note: Callable[[Exchange], None] | None = None) -> Door:
        """The usual one."""
        return cls(Egress.of(settings.egress_allow), settings, note)


class Landing(Protocol):
    """Where an object's bytes arrive, in their order."""

    @property
    def size(self) -> int:
        """How many have come."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Append. Raises `TooBig`."""
        ...

    async def clear(self, *, hashed: bool = True) -> None:
        """Begin anew; what has come is forgotten. `hashed`: whether `md5` may be asked for at the end."""
        ...

    async def md5(self) -> str:
        """MD5 of what has come, in hex; S3 calls it the ETag."""
        ...


class MemoryLanding:
    """A landing for little: the beginning of a file."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._data = bytearray()

    @property
    def size(self) -> int:
        """See Landing."""
        return len(self._data)

    async def write(self, chunk: bytes) -> None:
        """See Landing."""
        check_size(len(self._data) + len(chunk), self._bytes_max)
        self._data += chunk

    async def clear(self, *, hashed: bool = True) -> None:
        """See Landing."""
        del hashed  # little is hashed when it is asked for
        self._data.clear()

    async def md5(self) -> str:
        """See Landing."""
        return hashlib.md5(self._data, usedforsecurity=False).hexdigest()

    def read(self) -> bytes:
        """All that has come."""
        return bytes(self._data)


def check_size(size: int, bytes_max: int) -> None:
    """Raises `TooBig` for an object over the limit."""
    if size > bytes_max:
        raise TooBig(f"The object has more than {bytes_max} bytes.", permanent=True, code="too_large")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object that has landed."""

    etag: str
    """As it was read, which may be later than it was listed."""
    size: int
    version: str = ""
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A batch whose results are pushed."""

    id: UUID
    push_id: UUID
    """Of the sync that pushes them; the same for every try."""
    agent_id: int
    organization_id: int
    completed_at: datetime | None
    stats: Mapping[str, int]
    """`total`, `matched`, `unmatched`."""
    receipt: Mapping[str, int]
    columns: list[str]
    """Of the file."""
    results: Callable[[], Iterator[dict[str, Any]]]
    """One object for each row, in their order."""
    file: Callable[[str], Iterable[bytes]]
    """The results as a file of a format."""


PieceForm = Literal["results", "manifest", "page"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes that go out as they are, however often they are tried."""

    name: str
    """The key that is written, or the number of the page."""
    form: PieceForm
    content_type: str
    size: int
    sha256: str
    rows: int
    object_key: str
    """Where we keep the bytes meanwhile."""
    etag: str | None = None
    """Of what was written; null until it has arrived."""
    delivered_at: str | None = None


Keep = Callable[[str, PieceForm, str, Iterable[bytes], int], Piece]
"""(name, form, content type, bytes, rows) -> the piece, kept in our object store."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what came of it."""

    method: str
    url: str
    status: int | None
    """Of the answer; null when there was none."""
    duration_ms: int
    answer: str = ""
    error: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_json(self) -> dict[str, Any]:
        """For the history; nothing secret is in it."""
        return {
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "method": self.method,
            "url": redact(self.url),
            "status": self.status,
            "durationMs": self.duration_ms,
            "answer": redact_cut(self.answer[:ANSWER_CHARS_MAX]),
            "error": redact_cut(self.error[:ANSWER_CHARS_MAX]),
        }


def exchange_of(method: str, url: str, status: int | None, started: float, failure: RemoteFailed | None) -> Exchange:
    """An exchange that has just ended; `started` by the monotonic clock."""
    took = round((time.monotonic() - started) * 1000)
    if failure is None:
        return Exchange(method, url, status, took)
    return Exchange(method, url, status, took, failure.raw, failure.message)


class Trail(Protocol):
    """What a push leaves behind while it is under way."""

    @property
    def recalled(self) -> str | None:
        """What an earlier try of this piece remembered."""
        ...

    def note(self, exchange: Exchange) -> None:
        """Keep a request and its answer for the history."""
        ...

    async def remember(self, text: str | None) -> None:
        """Have the next try know this, should this one be cut off."""
        ...
