"""An agent's tab `data-sources`: a frame; what it shows comes from the API, which tests and moves by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from gristmill.agents import Agent
from gristmill.doors.dashboard.door import Visit


def values(visit: Visit, agent: Agent, request: Request) -> Mapping[str, Any]:
    """Nothing but the agent, which every tab has."""
    del visit, agent, request
    return {}
