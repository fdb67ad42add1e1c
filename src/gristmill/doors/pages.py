"""Everything that a browser sees: login, the dashboard, its style and scripts."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gristmill.base.errors import NotFound
from gristmill.doors.dashboard import (
    access,
    agent_pages,
    assets,
    batch_pages,
    connect_pages,
    enrich_pages,
    overview,
    pending_pages,
    settings_pages,
    source_pages,
    webhook_pages,
)
from gristmill.doors.dashboard.door import PageRoute, open_visit

router = APIRouter(include_in_schema=False)
for part in (
    access,
    overview,
    pending_pages,
    batch_pages,
    agent_pages,
    source_pages,
    connect_pages,
    enrich_pages,
    webhook_pages,
    settings_pages,
    assets,
):
    router.routes.extend(part.router.routes)

_rest = APIRouter(include_in_schema=False, route_class=PageRoute)


@_rest.api_route("/dashboard/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def no_such_page(path: str, request: Request) -> Response:
    """Whatever no page answers to: the login for those who have none, else a page that says so."""
    if request.method == "GET":
        with open_visit(request):
            pass
    raise NotFound(f"There is no page `/dashboard/{path[:100]}`.")


router.routes.extend(_rest.routes)
