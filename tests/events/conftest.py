"""Fixtures of the events' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from events.receiver_server import Receiver
from gristmill import events
from gristmill.base.db import Database


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A real receiver; each test uses paths of its own."""
    running = Receiver().start()
    yield running
    running.stop()


Emit = Callable[..., UUID]


@pytest.fixture
def emit(database: Database, organization: int) -> Emit:
    """Makes a fact: `emit(kind, subject=..., **data)`."""

    def make(kind: str = "dataset.created", subject: str = "dataset:1", **data: Any) -> UUID:
        with database.tx(organization) as tx:
            return events.emit(tx, organization, kind, subject=subject, data=data)

    return make


@pytest.fixture
def quick_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder with tenths of seconds in place of hours."""
    monkeypatch.setattr("gristmill.events.model.WAITS_S", (0.0, 0.05, 0.05, 0.05))
