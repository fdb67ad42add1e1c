"""Login and the first page of the dashboard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from gristmill.base.errors import Error
from gristmill.base.http import shared
from gristmill.identity import open_session
from gristmill.identity.api import SESSION_COOKIE
from gristmill.identity.model import SESSION_LIFETIME

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login(request: Request, token: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Trade a one-time link for a session."""
    try:
        with shared(request).database.system() as tx:
            session = open_session(tx, token)
    except Error as error:
        return HTMLResponse(f"<h1>Login</h1><p>{error.message}</p>", status_code=error.status)
    answer = RedirectResponse("/dashboard", status_code=303)
    answer.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer
