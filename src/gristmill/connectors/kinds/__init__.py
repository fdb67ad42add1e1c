"""Kinds of connectors, one file each: how objects are listed and read there, and how results are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, BinaryIO, Protocol

from pydantic import BaseModel

from gristmill.base.kinds import Family
from gristmill.connectors.ladder import Ladder
from gristmill.connectors.model import Entry, Found, Role
from gristmill.connectors.remote import Door, Fetched, Job, Keep, Landing, Piece, Trail
from gristmill.inventory import Format


class Remote(Protocol):
    """The other side, opened with its secret. Every method raises `RemoteFailed`, or an `Error` of the guard."""

    @property
    def requests(self) -> int:
        """Sent so far."""
        ...

    async def ping(self, role: Role) -> None:
        """One cheap request that shows whether this can work at all; nothing is read or written."""
        ...

    async def climb(self, ladder: Ladder, role: Role, landing: Landing, *, write: bool) -> str | None:
        """The kind's own rungs of a test, after the host was reached; `write` allows to write something and delete it.

        Of a source it puts one object into `landing`, or its first `remote.SAMPLE_BYTES` where it is larger, and
        answers its key; None where there is none.
        """
        ...

    def list_objects(self, ledger: Mapping[str, Entry]) -> AsyncIterator[Found]:
        """Everything that is there now, each key once."""
        ...

    async def fetch(self, found: Found, entry: Entry | None, landing: Landing) -> Fetched | None:
        """Put an object into `landing`, whole and unmixed; None when it is what `entry` says.

        Raises `ObjectGone`, `TooBig`, or a `RemoteFailed` once nothing more can be tried.
        """
        ...

    async def send(self, piece: Piece, data: BinaryIO, before: Piece | None, trail: Trail) -> str:
        """Write a piece so that writing it again changes nothing; answers the ETag, or another name of what came of it.

        `before` is what we wrote under the same name earlier, if we did.
        """
        ...


class ConnectorKind(Protocol):
    """A place outside that inventory comes from or results go to."""

    @property
    def kind(self) -> str:
        """The word in the API and the database."""
        ...

    @property
    def title(self) -> str:
        """What lists and forms show."""
        ...

    @property
    def summary(self) -> str:
        """One sentence for a form."""
        ...

    @property
    def Config(self) -> type[BaseModel]:  # noqa: N802 - a class
        """What a user sets, without secrets."""
        ...

    @property
    def secret_values(self) -> Mapping[str, str]:
        """Names of the values that a secret may have, with their meaning."""
        ...

    @property
    def push_formats(self) -> tuple[Format, ...]:
        """What results can be written as; the first unless the connector says otherwise."""
        ...

    def check(self, config: BaseModel, role: Role, secret: Mapping[str, str] | None, door: Door) -> None:
        """Raises an `Error` that names the field when these can't work together. No network."""
        ...

    def pulls(self, config: BaseModel) -> bool:
        """Whether there is something to pull from; a place that only pushes in has nothing."""
        ...

    def place(self, config: BaseModel, role: Role) -> str:
        """Where files come from or go to, in one line for people."""
        ...

    def host_url(self, config: BaseModel) -> str | None:
        """The URL of the host that is called."""
        ...

    def policy(self, config: BaseModel, role: Role) -> dict[str, Any] | None:
        """The least that the key must be allowed."""
        ...

    def open(self, config: BaseModel, secret: Mapping[str, str], door: Door) -> AbstractAsyncContextManager[Remote]:
        """Get ready to call; the first request is made by what is asked for."""
        ...

    def pack(self, config: BaseModel, job: Job, form: str, keep: Keep) -> Iterator[Piece]:
        """The pieces that a batch's results go out in, in the order they are sent."""
        ...


KINDS: Family[ConnectorKind] = Family("connectors", "gristmill.connectors.kinds", "type")
"""Every module of this folder with a `PLUGIN`, and entry points of the same group."""
