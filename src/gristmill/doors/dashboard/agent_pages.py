"""Agents: the list, and the page of one with its tabs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import agents
from gristmill.base.http import Id, PageNumber
from gristmill.doors.dashboard import agent_batch, agent_connectors, agent_settings, dataset_pages
from gristmill.doors.dashboard.agent_tabs import TABS, Tab, show_tab
from gristmill.doors.dashboard.door import PageRoute, open_visit
from gristmill.doors.dashboard.render import html

router = APIRouter(include_in_schema=False, route_class=PageRoute)
for part in (agent_batch, dataset_pages):
    router.routes.extend(part.router.routes)

PER_PAGE = 50
TABS.update(
    batch=Tab("batch", "Batch", agent_batch.values),
    datasets=Tab("datasets", "Datasets", dataset_pages.values),
    **{"data-sources": Tab("data-sources", "Data sources", agent_connectors.values)},
    settings=Tab("settings", "Settings", agent_settings.values),
)
FIRST = "batch"


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
def show_agent(agent_id: Id, request: Request, tab: Annotated[str, Query(max_length=40)] = FIRST) -> Response:
    """An agent with one of its tabs."""
    name = tab if tab in TABS else FIRST
    more = agent_batch.review_of_address(agent_id, request) if name == "batch" else {}
    with open_visit(request) as visit:
        return show_tab(visit, agent_id, name, request, **more)


@router.get("/dashboard/agents/{agent_id}/{part}")
def after_change(agent_id: Id, part: str) -> Response:
    """Where the page of a refused change was shown: loading it again leads back to the agent."""
    tab = {"items": "batch", "batches": "batch"}.get(part, part)
    return RedirectResponse(f"/dashboard/agents/{agent_id}?tab={tab if tab in TABS else FIRST}", status_code=303)
