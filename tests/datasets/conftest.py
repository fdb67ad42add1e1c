"""Datasets of a real agent, made over HTTP and processed by a real worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Caller, _clone, make_agent
from datasets_kit import Desk, QuickEmbedder
from gristmill.base.db import Database
from gristmill.datasets.embedders import embedders


@pytest.fixture(scope="session", autouse=True)
def quick_embedder() -> Iterator[type[QuickEmbedder]]:
    embedders.all()
    embedders._kinds["quick"] = QuickEmbedder()
    yield QuickEmbedder
    del embedders._kinds["quick"]


@pytest.fixture
def agent_id(database: Database, owner: Caller) -> int:
    return make_agent(database, owner.organization_id).id


@pytest.fixture
def desk(owner: Caller, agent_id: int, worker: object) -> Desk:
    return Desk(owner, agent_id)


@pytest.fixture(scope="module")
def own_database(server_url: str, template: str) -> Iterator[Database]:
    """A database of this module's own, without a worker: its tests build by hand."""
    own = Database(_clone(server_url, template))
    yield own
    own.close()
