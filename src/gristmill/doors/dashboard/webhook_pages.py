"""Webhooks: the tab of the settings, and the page of one with its deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import events
from gristmill.base.errors import Error, Invalid
from gristmill.base.http import CursorText, UuidId, shared
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.render import html
from gristmill.doors.dashboard.settings_tabs import TABS, Tab, show_tab
from gristmill.events import receivers, webhooks
from gristmill.events.model import DeliveryStatus, Sent

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
DELIVERIES = 25
ROTATE_OVERLAP_HOURS = 24
COMMON = ("agent.batch.*", "dataset.*", "connector.*", "billing.*")
"""Patterns offered at a click."""

FormText = Annotated[str, Form(max_length=2048)]
EventTypes = Annotated[list[str], Form(max_length=50)]
Change = Literal["pause", "resume", "rotate", "test", "delete"]


def _values(visit: Visit, request: Request) -> Mapping[str, Any]:
    del request
    found = webhooks.list_webhooks(visit.tx, visit.organization_id, page=1, per_page=webhooks.WEBHOOKS_MAX)
    return {"webhooks": found.data, "common": COMMON, "kinds": events.KINDS, "url": "", "chosen": ["agent.batch.*"]}


TABS["webhooks"] = Tab("webhooks", "Webhooks", _values)


@router.post("/dashboard/settings/webhooks")
def create_webhook(
    request: Request, csrf: FormText = "", url: FormText = "", event_type: EventTypes = []  # noqa: B006 - FastAPI copies it
) -> Response:  # fmt: skip
    """Subscribe; the secret is shown on this one page."""
    with open_visit(request, csrf) as visit:
        try:
            if not event_type:
                raise Invalid("Choose at least one kind of event.")
            made = webhooks.create_webhook(
                visit.tx, visit.organization_id, url=url.strip(), event_types=list(event_type)
            )
        except Error as error:
            return show_tab(
                visit,
                "webhooks",
                request,
                problem=error.message,
                http_status=error.status,
                url=url,
                chosen=list(event_type),
            )
        return _page(visit, made.webhook.id, secret=made.secret or "")


@router.get("/dashboard/settings/webhooks/{webhook_id}")
def show_webhook(
    webhook_id: UuidId,
    request: Request,
    status: Annotated[DeliveryStatus | None, Query()] = None,
    cursor: CursorText = None,
    event: Annotated[UUID | None, Query()] = None,
) -> Response:
    """A webhook, its deliveries, and the attempts of the one that the address names."""
    with open_visit(request) as visit:
        return _page(visit, webhook_id, status=status, cursor=cursor, event=event)


def _page(
    visit: Visit,
    webhook_id: UUID,
    *,
    status: DeliveryStatus | None = None,
    cursor: str | None = None,
    event: UUID | None = None,
    problem: str = "",
    http_status: int = 200,
    secret: str = "",
    tried: Sent | None = None,
) -> Response:
    tx, organization_id = visit.tx, visit.organization_id
    return html(
        "webhook.html",
        http_status=http_status,
        shell=visit.shell("settings", f"/dashboard/settings/webhooks/{webhook_id}"),
        webhook=webhooks.get_webhook(tx, organization_id, webhook_id),
        deliveries=webhooks.list_deliveries(
            tx, organization_id, webhook_id, status=status, cursor=cursor, limit=DELIVERIES
        ),
        opened=webhooks.get_delivery(tx, organization_id, webhook_id, event) if event else None,
        status=status,
        statuses=("pending", "delivered", "dead"),
        cursor=cursor,
        problem=problem,
        secret=secret,
        tried=tried,
    )


@router.post("/dashboard/settings/webhooks/{webhook_id}/{change}")
def change_webhook(webhook_id: UuidId, change: Change, request: Request, csrf: FormText = "") -> Response:
    """Pause, resume, another secret, one test request now, or the end."""
    if change == "test":
        return _test(webhook_id, request, csrf)
    with open_visit(request, csrf) as visit:
        tx, organization_id = visit.tx, visit.organization_id
        if change == "delete":
            webhooks.delete_webhook(tx, organization_id, webhook_id)
            return RedirectResponse("/dashboard/settings?tab=webhooks", status_code=303)
        if change == "rotate":
            made = webhooks.rotate_webhook(tx, organization_id, webhook_id, overlap_hours=ROTATE_OVERLAP_HOURS)
            return _page(visit, webhook_id, secret=made.secret or "")
        status = "paused" if change == "pause" else "active"
        webhooks.update_webhook(tx, organization_id, webhook_id, {"status": status})
    return RedirectResponse(f"/dashboard/settings/webhooks/{webhook_id}", status_code=303)


def _test(webhook_id: UUID, request: Request, csrf: str) -> Response:
    """One signed request, outside any transaction; its outcome is shown."""
    with open_visit(request, csrf) as visit:
        target = receivers.target_of(visit.tx, visit.organization_id, webhook_id, form="webhook")
    sent = asyncio.run(receivers.test(target, shared(request).settings))
    with open_visit(request, csrf) as visit:
        receivers.keep_test(visit.tx, visit.organization_id, target, sent)
        return _page(visit, webhook_id, tried=sent)


@router.post("/dashboard/settings/webhooks/{webhook_id}/deliveries/{event_id}")
def replay(webhook_id: UuidId, event_id: UuidId, request: Request, csrf: FormText = "") -> Response:
    """Send an event again, under the same id."""
    with open_visit(request, csrf) as visit:
        webhooks.replay_delivery(visit.tx, visit.organization_id, webhook_id, event_id)
    return RedirectResponse(f"/dashboard/settings/webhooks/{webhook_id}?event={event_id}", status_code=303)
