"""How an agent runs a row: the plug-in family `runtimes`, one file each.

A runtime is a class with `kind`, `title`, `Config` and three methods. Others add theirs by an entry point of the
group `gristmill.runtimes` that loads an instance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from uuid import UUID

from pydantic import BaseModel

from gristmill import vault
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.kinds import Family


@dataclass(frozen=True, slots=True)
class RowCall:
    """One attempt at one row."""

    row_id: UUID
    """The same for every attempt: use it as an idempotency key towards vendors."""
    row_number: int
    attempt: int
    input: dict[str, Any]
    timeout_s: float
    last: bool = False
    """No further attempt follows when this one fails: better half a result than none."""


@dataclass(slots=True)
class RowResult:
    """What an attempt gave."""

    value: dict[str, Any] | None
    """The result; None or an empty object means that nothing was found."""
    cost_micro_usd: int | None = None
    """What it really cost; the agent's price when unknown, and never more than it."""
    trace: dict[str, Any] = field(default_factory=dict)
    """Facts about the call, small and without secrets: status, bytes, steps."""


RowFunction = Callable[[RowCall], RowResult] | Callable[[RowCall], Awaitable[RowResult]]
"""Runs one row. A coroutine function runs on the event loop, a plain one in a thread. Raises `PluginError`."""


@dataclass(frozen=True, slots=True)
class RuntimeContext:
    """What a runtime may use."""

    settings: Settings
    organization_id: int
    agent_name: str
    concurrency: int
    """Most calls at a time; for sizing pools."""
    local: bool = False
    """True in the process of `gristmill run`, whose user may run any Python of theirs."""
    agent_id: int | None = None
    """None before the agent is saved."""
    price_micro_usd: int = 0
    """What one row may cost at most: its hold."""
    database: Database | None = None
    """For runtimes that read what the agent owns; None where a config is only checked. Every transaction is short and
    never open during a call."""
    inputs: Callable[[], Iterator[dict[str, Any]]] | None = None
    """Reads what the agent gets of every row of the batch, for runtimes that must see them all together; in a thread.
    None outside of a batch."""

    def secret(self, secret_ref: str) -> vault.Revealed:
        """The values of a secret, which are noted as used by this agent; not on an event loop.

        Raises `Error` when there is no such secret, or no master key to open it with.
        """
        if self.database is None:
            raise LookupError("a config that is only checked opens no secret")
        with self.database.tx(self.organization_id) as tx:
            return vault.reveal(tx, self.organization_id, secret_ref, purpose=f"agent:{self.agent_id}")


class Runtime(Protocol):
    """A way to run an agent on a row.

    A field of `Config` named `secret_ref`, or with a name that ends in `_secret_ref`, holds the id of a secret, which
    then can't be deleted while the agent has it.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    Config: ClassVar[type[BaseModel]]

    def check(self, config: Any, context: RuntimeContext) -> None:
        """Refuse a config that can't run, when an agent is saved and again before it runs. Raises `Error`."""
        ...

    def provider_key(self, config: Any) -> str:
        """The name under which all rows that call the same provider share their pace."""
        ...

    def open(self, config: Any, context: RuntimeContext) -> AbstractAsyncContextManager[RowFunction]:
        """Make ready what all rows of a run share, and answer the function that runs one row."""
        ...


runtimes: Family[Runtime] = Family("runtimes", "gristmill.agents.runtimes", "runtime")
