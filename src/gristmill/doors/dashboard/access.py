"""Login and logout."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill.base.errors import Error
from gristmill.base.http import is_head, shared
from gristmill.doors.dashboard.addresses import ReturnPath, safe_return
from gristmill.doors.dashboard.door import PageRoute, open_visit
from gristmill.doors.dashboard.render import html
from gristmill.identity import (
    Unauthenticated,
    authenticate_session,
    close_session,
    open_session,
    open_session_with_key,
)
from gristmill.identity.api import SESSION_COOKIE
from gristmill.identity.model import SESSION_LIFETIME

router = APIRouter(include_in_schema=False, route_class=PageRoute)
NO_STORE = {"Cache-Control": "no-store"}
FormText = Annotated[str, Form(max_length=300)]


@router.get("/")
def root() -> Response:
    """The dashboard is the front page."""
    return RedirectResponse("/dashboard", status_code=303)


@router.get("/login")
def login(request: Request, token: Annotated[str, Query(max_length=200)] = "", back: ReturnPath = "") -> Response:
    """Trade a one-time link for a session; without a link, ask for a key."""
    target = safe_return(back)
    if not token or is_head(request):  # whoever looks at a link must not use it up
        if _has_session(request):
            return RedirectResponse(target or "/dashboard", status_code=303, headers=NO_STORE)
        return html("login.html", problem="", back=target)
    try:
        with shared(request).database.system() as tx:
            session = open_session(tx, token)
    except Unauthenticated as error:
        # A link that was opened before, in a browser that it let in: there is nothing to complain about.
        if _has_session(request):
            return RedirectResponse("/dashboard", status_code=303, headers=NO_STORE)
        return html("login.html", http_status=error.status, problem=error.message, back=target)
    return _let_in(request, session, target)


@router.post("/login")
def login_with_key(request: Request, key: FormText = "", back: FormText = "") -> Response:
    """Trade an admin key for a session of the browser. The key itself is kept nowhere."""
    target = safe_return(back)
    try:
        with shared(request).database.system() as tx:
            session = open_session_with_key(tx, key.strip())
    except Error as error:
        return html("login.html", http_status=error.status, problem=error.message, back=target)
    return _let_in(request, session, target)


def _let_in(request: Request, session: str, target: str) -> Response:
    answer = RedirectResponse(target or "/dashboard", status_code=303, headers=NO_STORE)
    answer.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def logout(request: Request, csrf: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Close the session, here and on the server."""
    with open_visit(request, csrf):
        pass
    with shared(request).database.system() as tx:
        close_session(tx, request.cookies[SESSION_COOKIE])
    answer = RedirectResponse("/login", status_code=303, headers=NO_STORE)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=request.url.scheme == "https")
    return answer


def _has_session(request: Request) -> bool:
    try:
        with shared(request).database.system() as tx:
            authenticate_session(tx, request.cookies.get(SESSION_COOKIE, ""))
    except Error:
        return False
    return True
