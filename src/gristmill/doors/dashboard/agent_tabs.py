"""The tabs of an agent's page: a name, a title, and the values that its part of the page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from gristmill import agents
from gristmill.agents import Agent
from gristmill.base import jsons
from gristmill.base.errors import FieldError, Invalid
from gristmill.doors.dashboard.door import Visit
from gristmill.doors.dashboard.render import html

Values = Callable[[Visit, Agent, Request], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab; its markup is `templates/agent/<name>.html`."""

    name: str
    title: str
    values: Values


TABS: dict[str, Tab] = {}
"""By name, in the order they are shown; filled by `agent_pages`, which knows all tabs."""


def show_tab(
    visit: Visit,
    agent_id: int,
    name: str,
    request: Request,
    *,
    problem: str = "",
    http_status: int = 200,
    **more: Any,
) -> Response:
    """An agent's page with one tab open. `problem` says what was refused, `more` replaces values of the tab."""
    agent = agents.get(visit.tx, visit.organization_id, agent_id)
    tab = TABS[name]
    values = {**tab.values(visit, agent, request), **more}
    return html(
        f"agent/{name}.html",
        http_status=http_status,
        shell=visit.shell("agents", f"/dashboard/agents/{agent_id}"),
        agent=agent,
        tabs=list(TABS.values()),
        tab=tab,
        problem=problem,
        base_url=str(request.base_url).rstrip("/"),
        **values,
    )


def config_of(text: str, name: str = "config") -> dict[str, Any]:
    """A form's JSON, called `name` where it is none. Raises `Invalid`."""
    try:
        found = jsons.loads(text.encode()) if text.strip() else {}
    except ValueError as error:
        message = f"The {name} {'are' if name == 'rules' else 'is'} no JSON: {error}."
        raise Invalid(message, errors=(FieldError(name, f"is no JSON: {error}"),)) from None
    if not isinstance(found, dict):
        message = f"The {name} must be a JSON object."
        raise Invalid(message, errors=(FieldError(name, "must be a JSON object"),))
    return found
