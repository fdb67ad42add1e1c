"""Pending items: what of the whole organization waits for a person, and what was decided."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import agents
from gristmill.base.errors import NotFound
from gristmill.base.http import CursorText, UuidId
from gristmill.connectors.model import PUSH_FAILED, SYNC_HELD
from gristmill.doors.dashboard.addresses import link
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.render import html
from gristmill.events import PendingItem, service
from gristmill.events.service import Decision, ItemResolved

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
PAGE = "/dashboard/pending"
PLACES = {"overview": "/dashboard", "pending": PAGE}
"""Where a decision leads back to."""

DECISIONS: dict[str, tuple[tuple[Decision, str], ...]] = {
    SYNC_HELD: (("approve", "Approve"), ("reject", "Reject")),
    PUSH_FAILED: (("approve", "Send again"), ("reject", "Give up")),
}
"""What can be decided, by kind of item; of the others, that they were looked at."""
DONE: tuple[tuple[Decision, str], ...] = (("done", "Done"),)
DECIDED: dict[str, str] = {"done": "Done", "approve": "Approved", "reject": "Rejected"}

FormText = Annotated[str, Form(max_length=200)]
State = Literal["open", "resolved"]


@dataclass(frozen=True, slots=True)
class Shown:
    """An item as the pages show it."""

    item: PendingItem
    agent: str
    """Its agent's name; empty for an item of the organization."""
    place: str
    """Where it can be mended."""
    decisions: tuple[tuple[Decision, str], ...]
    decided: str


def shown(visit: Visit, items: Iterable[PendingItem]) -> list[Shown]:
    """Items with what the pages add to them."""
    found = list(items)
    names: dict[int, str] = {}
    for number in {item.agent_id for item in found if item.agent_id is not None}:
        with suppress(NotFound):
            names[number] = agents.get(visit.tx, visit.organization_id, number).name
    return [
        Shown(
            item,
            names.get(item.agent_id or 0, ""),
            _place(item),
            DECISIONS.get(item.kind, DONE),
            DECIDED.get(str((item.resolution or {}).get("decision", "")), "Gone by itself"),
        )
        for item in found
    ]


def open_items(visit: Visit, limit: int) -> list[Shown]:
    """The newest items that wait."""
    page = service.list_pending(visit.tx, visit.organization_id, agent_id=None, is_open=True, cursor=None, limit=limit)
    return shown(visit, page.data)


def _place(item: PendingItem) -> str:
    if "webhook_id" in item.facts:
        return f"/dashboard/settings/webhooks/{item.facts['webhook_id']}"
    if item.agent_id is None:
        return ""
    tab = "channels" if "channel_id" in item.facts else "data-sources"
    return link(f"/dashboard/agents/{item.agent_id}", tab=tab)


@router.get(PAGE)
def list_pending(request: Request, status: Annotated[State, Query()] = "open", cursor: CursorText = None) -> Response:
    """What waits for a person, or what was decided, newest first."""
    with open_visit(request) as visit:
        page = service.list_pending(
            visit.tx,
            visit.organization_id,
            agent_id=None,
            is_open=status == "open",
            cursor=cursor,
            limit=PER_PAGE,
        )
        items = shown(visit, page.data)
        shell = visit.shell("pending", PAGE)
    return html("pending.html", shell=shell, page=page, items=items, status=status, cursor=cursor)


@router.post(PAGE + "/{item_id}")
def resolve(
    item_id: UuidId,
    request: Request,
    csrf: FormText = "",
    decision: Annotated[Decision, Form()] = "done",
    where: FormText = "pending",
) -> Response:
    """Decide; what somebody else has decided meanwhile stays as it is."""
    with open_visit(request, csrf) as visit, suppress(ItemResolved):
        service.resolve_pending(visit.tx, visit.organization_id, item_id, decision=decision)
    return RedirectResponse(PLACES.get(where, PAGE), status_code=303)


@router.get(PAGE + "/{item_id}")
def after_change(item_id: str) -> Response:
    """Where a refused decision was shown: loading it again leads back."""
    del item_id
    return RedirectResponse(PAGE, status_code=303)
