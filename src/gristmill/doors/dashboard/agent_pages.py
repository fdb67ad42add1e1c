"""Agents: the list, and the page of one with its tabs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import agents
from gristmill.base.errors import Error
from gristmill.base.http import Id, PageNumber
from gristmill.doors.dashboard import (
    agent_batch,
    agent_connectors,
    agent_settings,
    channel_pages,
    dataset_pages,
    dataset_plan,
)
from gristmill.doors.dashboard.agent_tabs import TABS, Tab, config_of, show_tab
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.render import html

router = APIRouter(include_in_schema=False, route_class=PageRoute)
# The last ones take whatever verb is left.
for part in (agent_batch, agent_settings, channel_pages, dataset_plan, dataset_pages):
    router.routes.extend(part.router.routes)

PER_PAGE = 50
TABS.update(
    batch=Tab("batch", "Batch", agent_batch.values),
    datasets=Tab("datasets", "Datasets", dataset_pages.values),
    **{"data-sources": Tab("data-sources", "Data sources", agent_connectors.values)},
    channels=Tab("channels", "Channels", channel_pages.values),
    settings=Tab("settings", "Settings", agent_settings.values),
)
FIRST = "batch"
FormText = Annotated[str, Form(max_length=200)]
ConfigText = Annotated[str, Form(max_length=20_000)]


@router.get("/dashboard/agents")
def list_agents(request: Request, page: PageNumber = 1) -> Response:
    """All agents in order of name."""
    with open_visit(request) as visit:
        return _agents_page(visit, page)


def _agents_page(visit: Visit, page: int, *, problem: Error | None = None, slug: str = "", given: str = "") -> Response:
    found = agents.list_agents(visit.tx, visit.organization_id, only_id=None, page=page, per_page=PER_PAGE)
    return html(
        "agents.html",
        http_status=problem.status if problem else 200,
        shell=visit.shell("agents", "/dashboard/agents"),
        page=found,
        templates=agents.templates(),
        problem=problem.message if problem else "",
        slug=slug,
        given=given,
    )


@router.post("/dashboard/agents")
def deploy(request: Request, csrf: FormText = "", slug: FormText = "", config: ConfigText = "") -> Response:
    """An agent from a template; then its page. What is refused is told, and what was typed stays."""
    try:
        with open_visit(request, csrf) as visit:
            made = agents.deploy(visit.tx, visit.organization_id, slug, name=None, config=config_of(config))
    except Error as problem:
        if problem.code not in agent_settings.REFUSALS:
            raise
        with open_visit(request, csrf) as visit:
            return _agents_page(visit, 1, problem=problem, slug=slug, given=config)
    return RedirectResponse(f"/dashboard/agents/{made.id}", status_code=303)


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
