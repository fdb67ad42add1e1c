"""The door for browsers: a session lets you in, a form must bring its token, and errors are pages."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from gristmill import ledger
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.http import shared
from gristmill.base.log import get_log
from gristmill.base.routes import LateRoute
from gristmill.doors.dashboard.addresses import link, safe_return
from gristmill.doors.dashboard.render import html
from gristmill.identity import Actor, Forbidden, Unauthenticated, authenticate_session
from gristmill.identity.api import CSRF_HEADER, SAFE_METHODS, SESSION_COOKIE
from gristmill.ledger import Balance

log = get_log("dashboard")


@dataclass(frozen=True, slots=True)
class Shell:
    """What every page shows around its content."""

    now: datetime
    balance: Balance
    csrf: str
    path: str
    """Where the page is: a form that was refused answers under another path."""
    section: str
    """The entry of the menu that is current."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A person's request, in one transaction of their organization."""

    actor: Actor
    tx: Tx

    @property
    def organization_id(self) -> int:
        """The tenant."""
        return self.actor.organization_id

    def shell(self, section: str, path: str) -> Shell:
        """The frame of a page."""
        balance = ledger.balance(self.tx, self.organization_id)
        return Shell(self.tx.now, balance, self.actor.csrf or "", path, section)


@contextmanager
def open_visit(request: Request, csrf: str = "") -> Generator[Visit]:
    """Let a browser in and enter its tenant; commits at the end of the block.

    Raises `Unauthenticated` without a session, and `Forbidden` for a change whose form brought another token.
    """
    with shared(request).database.system() as tx:
        actor = authenticate_session(tx, request.cookies.get(SESSION_COOKIE, ""))
        if request.method not in SAFE_METHODS:
            given = csrf or request.headers.get(CSRF_HEADER, "")
            if not actor.csrf or not secrets.compare_digest(given.encode(), actor.csrf.encode()):
                raise Forbidden("This form is not of your present login. Go back, reload the page and try again.")
        tx.enter(actor.organization_id)
        yield Visit(actor, tx)


class PageRoute(LateRoute):
    """A route whose errors are pages; without a session it leads to the login."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, with errors turned into pages."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except Exception as error:  # noqa: BLE001 - every failure is a page
                return _page_of(request, error)

        return handle


def _page_of(request: Request, error: Exception) -> Response:
    path = request.url.path
    match error:
        case Unauthenticated():
            where = f"{path}?{request.url.query}" if request.url.query else path
            target = link("/login", **{"return": safe_return(where)}) if request.method == "GET" else "/login"
            return RedirectResponse(target, status_code=303, headers={"Cache-Control": "no-store"})
        case Error():
            if error.status >= 500:  # noqa: PLR2004 - server errors are worth a line in the log
                log.warning("page failed", code=error.code, detail=error.message, path=path)
            return error_page(request, error.status, error.message)
        case RequestValidationError():
            in_path = any(item["loc"][:1] == ("path",) for item in error.errors())
            return error_page(request, 404 if in_path else 422)
        case psycopg.DataError():
            return error_page(request, 422)
        case HTTPException():
            return error_page(request, error.status_code, str(error.detail))
        case _:
            log.error("a defect", path=path, exc_info=error)
            return error_page(request, 500)


_TITLES = {
    403: "That is not allowed",
    404: "There is nothing here",
    409: "That does not fit the present state",
    422: "That address can't be read",
}
_TEXTS = {
    404: "It may have been deleted, or it belongs to another organization.",
    422: "Part of the address has a value that is not known here. Go back and choose again.",
    500: "A defect of ours. The request id below finds it in the server's log.",
}


def error_page(request: Request, status: int, message: str = "") -> HTMLResponse:
    """An error as a page."""
    return html(
        "error.html",
        http_status=status,
        code=status,
        title=_TITLES.get(status, "Something went wrong"),
        message=message or _TEXTS.get(status, ""),
        request_id=str(request.scope.get("request_id", "")),
    )
