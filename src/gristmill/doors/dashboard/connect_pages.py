"""Connect and balance: money, moves of the ledger, and API keys."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import agents, identity, ledger
from gristmill.base.errors import Error, Invalid
from gristmill.base.http import CursorText, UuidId
from gristmill.base.money import parse_usd
from gristmill.doors.dashboard.addresses import ReturnPath, safe_return
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.render import html

router = APIRouter(include_in_schema=False, route_class=PageRoute)

AMOUNTS = (10, 25, 100)
"""Dollars offered at a click."""
MOVES_MAX = 25
AGENTS_MAX = 200
ROTATE_OVERLAP_HOURS = 24
FormText = Annotated[str, Form(max_length=200)]


@router.get("/connect")
def connect(request: Request, back: ReturnPath = "", action: Annotated[str, Query(max_length=40)] = "",
            cursor: CursorText = None) -> Response:  # fmt: skip
    """Balance, top-up, moves and keys."""
    with open_visit(request) as visit:
        return _page(visit, back=safe_return(back), action=action, cursor=cursor)


def _page(
    visit: Visit,
    *,
    back: str = "",
    action: str = "",
    cursor: str | None = None,
    problem: str = "",
    http_status: int = 200,
    made: identity.NewApiKey | None = None,
) -> Response:
    tx, organization_id = visit.tx, visit.organization_id
    return html(
        "connect.html",
        http_status=http_status,
        shell=visit.shell("connect", "/connect"),
        balance=ledger.balance(tx, organization_id),
        moves=ledger.entries(tx, organization_id, cursor=cursor, limit=MOVES_MAX),
        cursor=cursor,
        keys=identity.list_keys(tx, organization_id),
        agents=agents.list_agents(tx, organization_id, only_id=None, page=1, per_page=AGENTS_MAX).data,
        amounts=AMOUNTS,
        back=back,
        action=action,
        once=str(uuid4()),
        problem=problem,
        made=made,
    )


@router.post("/connect/topup")
def top_up(
    request: Request, once: FormText, csrf: FormText = "", amount: FormText = "", back: FormText = ""
) -> Response:
    """Credit by an administrator. The same form sent twice adds money once."""
    target = safe_return(back)
    try:
        with open_visit(request, csrf) as visit:
            micro = parse_usd(amount, "amount")
            ledger.top_up(
                visit.tx, visit.organization_id, micro, key=f"dashboard-{once}", note="Added in the dashboard"
            )
    except Error as error:
        if error.code == "unauthenticated":
            raise
        with open_visit(request, csrf) as visit:
            return _page(visit, back=target, action="topup", problem=error.message, http_status=error.status)
    return RedirectResponse(target or "/connect", status_code=303)


@router.post("/connect/keys")
def make_key(
    request: Request, csrf: FormText = "", name: FormText = "", scope: FormText = "usage", agent_id: FormText = ""
) -> Response:
    """Make a key; its secret is shown on this one page."""
    with open_visit(request, csrf) as visit:
        try:
            made = _issue(visit, name.strip(), scope, agent_id)
        except Error as error:
            return _page(visit, problem=error.message, http_status=error.status)
        return _page(visit, made=made)


def _issue(visit: Visit, name: str, scope: str, agent_id: str) -> identity.NewApiKey:
    if not name:
        raise Invalid("Give the key a name.")
    if scope not in {"admin", "usage"}:
        raise Invalid("A key's scope is `admin` or `usage`.")
    only = agents.get(visit.tx, visit.organization_id, int(agent_id)).id if agent_id.isdecimal() else None
    return identity.issue_key(
        visit.tx,
        visit.organization_id,
        name=name,
        scope="admin" if scope == "admin" else "usage",
        agent_id=only,
    )


@router.post("/connect/keys/{key_id}/rotate")
def rotate_key(key_id: UuidId, request: Request, csrf: FormText = "") -> Response:
    """A new key with the same rights; the old one works for a day more."""
    with open_visit(request, csrf) as visit:
        try:
            made = identity.rotate_key(visit.tx, visit.organization_id, key_id, overlap_hours=ROTATE_OVERLAP_HOURS)
        except Error as error:
            return _page(visit, problem=error.message, http_status=error.status)
        return _page(visit, made=made)


@router.post("/connect/keys/{key_id}/revoke")
def revoke_key(key_id: UuidId, request: Request, csrf: FormText = "") -> Response:
    """Close a key at once and for good."""
    with open_visit(request, csrf) as visit:
        identity.revoke_key(visit.tx, visit.organization_id, UUID(str(key_id)))
    return RedirectResponse("/connect", status_code=303)


@router.get("/connect/{path:path}")
def after_change(path: str) -> Response:
    """Where the page of a change was shown: loading it again leads back."""
    del path
    return RedirectResponse("/connect", status_code=303)
