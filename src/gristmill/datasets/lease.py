"""A build's hold on its dataset: every transaction that writes checks it first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gristmill.base.config import Settings
from gristmill.base.db import Tx
from gristmill.datasets import build_store as store
from gristmill.datasets.model import Progress, Work
from gristmill.engine import JobContext

T = TypeVar("T")


class Superseded(Exception):
    """The lease is gone, or something newer is wanted: this build has no more to say."""


class Draining(Exception):
    """The process stops; another will go on."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who builds, and what."""

    context: JobContext
    work: Work

    @property
    def settings(self) -> Settings:
        """The process's settings."""
        return self.context.settings

    def read(self, function: Callable[[Tx], T]) -> T:
        """Run a transaction that only looks."""
        with self.context.database.tx(self.work.organization_id) as tx:
            return function(tx)

    def write(self, function: Callable[[Tx, dict[str, Any]], T]) -> T:
        """Run a transaction that holds the dataset; the function gets the dataset's counters. Raises `Superseded`."""
        with self.context.database.tx(self.work.organization_id) as tx:
            counters = store.hold(tx, self.work)
            if counters is None:
                raise Superseded
            return function(tx, counters)

    def tell(self, progress: Progress) -> None:
        """Say how far it is. Raises `Superseded`."""
        self.write(lambda tx, _: store.update_progress(tx, self.work, progress))

    def look_up(self) -> None:
        """Raises `Draining` when the process stops: called between batches."""
        if self.context.stopping.is_set():
            raise Draining
