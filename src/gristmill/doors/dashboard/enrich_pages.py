"""Enrichment in the browser: upload, review of the mapping, start, progress and download.

The pages are frames: what they show is fetched from the API, by the session or, before a job is linked, by its upload
token, which only the browser holds. So no page can contain a contact's name, phone or e-mail.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gristmill.base.http import UuidId, shared
from gristmill.doors.dashboard.door import PageRoute, Shell, open_visit
from gristmill.doors.dashboard.render import html
from gristmill.identity import Unauthenticated

router = APIRouter(include_in_schema=False, route_class=PageRoute)

LIMIT_DEFAULT = 10
"""Rows to process unless something else is chosen."""


def _shell(request: Request, path: str) -> Shell | None:
    """The frame of someone who is logged in; None for everyone else."""
    try:
        with open_visit(request) as visit:
            return visit.shell("enrich", path)
    except Unauthenticated:
        return None


@router.get("/batch")
def upload_page(request: Request) -> Response:
    """Drop a file; its columns are shown before anything is spent."""
    return _start_page(request, "/batch", auto_start=False)


@router.get("/enrich_agent")
def agent_page(request: Request) -> Response:
    """The same, with jobs that start by themselves when the balance allows."""
    return _start_page(request, "/enrich_agent", auto_start=True)


def _start_page(request: Request, path: str, *, auto_start: bool) -> Response:
    settings = shared(request).settings
    return html(
        "enrich/start.html",
        shell=_shell(request, path),
        auto_start=auto_start,
        limit=LIMIT_DEFAULT,
        rows_max=settings.batch_enrich_max_rows,
        size_max=settings.batch_enrich_max_upload_bytes,
    )


@router.get("/batch/{batch_id}")
@router.get("/batch/{batch_id}/results")
def job_page(batch_id: UuidId, request: Request) -> Response:
    """A job: its mapping before the start, its progress after it. Whether it is there, the API says."""
    return html("enrich/job.html", shell=_shell(request, f"/batch/{batch_id}"), batch_id=str(batch_id))
