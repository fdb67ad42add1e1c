"""Fixtures of the flow tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.processes import AgentProcess, Shell, agent_process, environment, open_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of this test's own, which the database's user can enter."""
    with open_folder() as path:
        yield path


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """A real HTTP agent in a process of its own."""
    with agent_process(tmp_path) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, folder: Path) -> Shell:
    """A user's shell, with an embedded database in a data folder of its own."""
    return Shell(tmp_path, environment(tmp_path, GRISTMILL_DATA_DIR=str(folder / "data")))
