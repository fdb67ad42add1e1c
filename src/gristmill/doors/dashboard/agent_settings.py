"""An agent's tab `settings`: how it runs, to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from gristmill.agents import Agent
from gristmill.doors.dashboard.door import Visit


def values(visit: Visit, agent: Agent, request: Request) -> Mapping[str, Any]:
    """Everything shown is in the agent itself."""
    del visit, agent, request
    return {}
