"""HTTP of events."""

from __future__ import annotations

from fastapi import APIRouter

from gristmill.base.http import CursorText, Limit, problem_responses
from gristmill.base.paging import CursorPage
from gristmill.events import service
from gristmill.events.model import Event
from gristmill.identity.api import AnyCall

router = APIRouter(prefix="/api/v1", tags=["Events"])


@router.get("/events", summary="List events", responses=problem_responses(403))
def list_events(call: AnyCall, cursor: CursorText = None, limit: Limit = 100) -> CursorPage[Event]:
    """Facts of the organization in the order they happened."""
    call.actor.require_whole_organization()
    return service.list_events(call.tx, call.organization_id, cursor=cursor, limit=limit)
