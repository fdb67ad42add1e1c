"""Whom a hunt asks about a lead: the plug-in family `providers`, one file each.

A provider is a class with `kind`, `title`, `Config` and three methods. Others add theirs by an entry point of the group
`gristmill.providers` that loads an instance. Price, timeout and caching of each are set by the agent, not by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from uuid import UUID

from pydantic import BaseModel

from gristmill.agents import RuntimeContext
from gristmill.base.kinds import Family
from gristmill.enrich.model import FactKind, Lead


@dataclass(frozen=True, slots=True)
class Query:
    """One question about one lead."""

    lead: Lead
    """On a supplement pass with the search variant in the place of what it varies."""
    region: str
    """ISO 3166, two letters: where phone numbers without a country code are, and addresses in one line."""
    row_id: UUID
    """The same for every attempt at the row: an idempotency key towards vendors."""
    timeout_s: float
    documents: tuple[Document, ...] = ()
    """What earlier providers of this hunt have read, for those that read on."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that a provider read and that may say more."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a provider says, not yet in its one form."""

    kind: FactKind
    value: Mapping[str, str]
    """`display_name, title` of a contact; `number` of a phone; `address` of an e-mail; `legal_name`, `website` and more
    of an entity; `street, city, state, zip, country` or `full` of an address."""
    source: str
    confidence: float | None = None
    """How sure of this one; the answer's confidence when None."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a provider answered; empty when it knows nothing of the lead."""

    found: list[Found] = field(default_factory=list[Found])
    confidence: float = 1.0
    """How sure it is that it speaks of this very lead, 0 to 1."""
    documents: list[Document] = field(default_factory=list[Document])


class Asker(Protocol):
    """A provider made ready for a run."""

    def wants(self, query: Query) -> bool:
        """Whether asking makes sense: False when the lead lacks what the provider goes by. Then it costs nothing."""
        ...

    def key(self, query: Query) -> Any:
        """What would be asked, as JSON without secrets: equal keys get equal answers, so the second one is remembered.

        None when answers must not be remembered.
        """
        ...

    async def ask(self, query: Query) -> Finding:
        """Ask. Raises `PluginError`; nothing found is an empty answer, not an error."""
        ...


class Provider(Protocol):
    """Somebody who may know more about a lead."""

    kind: ClassVar[str]
    title: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    reads_documents: ClassVar[bool]
    """True: it is asked after the others, and only when one of them read something."""

    def check(self, config: Any, context: RuntimeContext) -> None:
        """Refuse a config that can't work, when an agent is saved. Raises `Error`."""
        ...

    def pace_key(self, config: Any) -> str:
        """Whom a request to ask less speaks of; empty when it never asks anybody outside."""
        ...

    def open(self, config: Any, context: RuntimeContext) -> AbstractAsyncContextManager[Asker]:
        """Make ready what all leads of a run share."""
        ...


providers: Family[Provider] = Family("providers", "gristmill.enrich.providers", "provider")
