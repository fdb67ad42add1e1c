"""Agents, to read."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gristmill import agents, batches
from gristmill.base.http import Id, PageNumber
from gristmill.doors.dashboard.door import PageRoute, open_visit
from gristmill.doors.dashboard.render import html

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
RECENT_MAX = 10


@router.get("/dashboard/agents")
def list_agents(request: Request, page: PageNumber = 1) -> Response:
    """All agents in order of name."""
    with open_visit(request) as visit:
        found = agents.list_agents(visit.tx, visit.organization_id, only_id=None, page=page, per_page=PER_PAGE)
        shell = visit.shell("agents", "/dashboard/agents")
    return html(
        "agents.html",
        shell=shell,
        page=found,
        templates=agents.templates(),
        base_url=str(request.base_url).rstrip("/"),
    )


@router.get("/dashboard/agents/{agent_id}")
def show_agent(agent_id: Id, request: Request) -> Response:
    """An agent's settings and its latest batches."""
    with open_visit(request) as visit:
        agent = agents.get(visit.tx, visit.organization_id, agent_id)
        recent = batches.list_batches(
            visit.tx, visit.organization_id, agent_id=agent_id, status=None, cursor=None, limit=RECENT_MAX
        )
        shell = visit.shell("agents", f"/dashboard/agents/{agent_id}")
    return html("agent.html", shell=shell, agent=agent, recent=recent, base_url=str(request.base_url).rstrip("/"))
