"""The first page, and the list of all batches."""

from __future__ import annotations

from typing import Annotated, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gristmill import agents, batches
from gristmill.base.http import CursorText
from gristmill.batches.model import Status
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.pending_pages import open_items
from gristmill.doors.dashboard.render import html
from gristmill.doors.dashboard.words import BATCH_WORDS

router = APIRouter(include_in_schema=False, route_class=PageRoute)

UNDER_WAY: tuple[Status, ...] = ("running", "queued", "paused")
SHOWN_MAX = 20
WAITING_MAX = 5
PER_PAGE = 50


@router.get("/dashboard")
def overview(request: Request) -> Response:
    """What runs, what ran, and how to start."""
    with open_visit(request) as visit:
        running = [batch for status in UNDER_WAY for batch in _batches(visit, status)]
        recent = batches.list_batches(
            visit.tx, visit.organization_id, agent_id=None, status=None, cursor=None, limit=SHOWN_MAX
        )
        some = agents.list_agents(visit.tx, visit.organization_id, only_id=None, page=1, per_page=1)
        waiting = open_items(visit, WAITING_MAX)
        shell = visit.shell("overview", "/dashboard")
    return html(
        "overview.html",
        shell=shell,
        running=running,
        waiting=waiting,
        recent=recent,
        agent_count=some.meta.total,
        first_agent=some.data[0] if some.data else None,
        base_url=str(request.base_url).rstrip("/"),
        templates=agents.templates(),
    )


def _batches(visit: Visit, status: Status) -> list[batches.Batch]:
    return batches.list_batches(
        visit.tx, visit.organization_id, agent_id=None, status=status, cursor=None, limit=SHOWN_MAX
    ).data


@router.get("/dashboard/batches")
def list_batches(
    request: Request, status: Annotated[Status | None, Query()] = None, cursor: CursorText = None
) -> Response:
    """All batches, newest first."""
    with open_visit(request) as visit:
        page = batches.list_batches(
            visit.tx, visit.organization_id, agent_id=None, status=status, cursor=cursor, limit=PER_PAGE
        )
        shell = visit.shell("batches", "/dashboard/batches")
    filters = [(name, BATCH_WORDS[name].text) for name in get_args(Status)]
    return html("batches.html", shell=shell, page=page, status=status, cursor=cursor, filters=filters)
