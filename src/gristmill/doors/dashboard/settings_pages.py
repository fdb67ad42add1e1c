"""Settings of the organization: secrets of the vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import vault
from gristmill.base.errors import Error, Invalid
from gristmill.base.http import PageNumber, UuidId
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.settings_tabs import TABS, Tab, show_tab

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
VALUE_LINES = 3
"""Lines of the form for named values."""
ROTATE_OVERLAP_S = 24 * 3600.0

FormText = Annotated[str, Form(max_length=200)]
NameLines = Annotated[list[str], Form(max_length=20)]
ValueLines = Annotated[list[str], Form(max_length=20)]


def _secrets(visit: Visit, request: Request) -> Mapping[str, Any]:
    page = request.query_params.get("page", "1")
    number = int(page) if page.isdecimal() and 0 < len(page) < 7 else 1  # noqa: PLR2004 - more pages there are not
    return {
        "page": vault.list_secrets(visit.tx, visit.organization_id, page=max(number, 1), per_page=PER_PAGE),
        "value_lines": VALUE_LINES,
        "names": [""] * VALUE_LINES,
        "secret_name": "",
    }


TABS["secrets"] = Tab("secrets", "Secrets", _secrets)


@router.get("/dashboard/settings")
def show_settings(request: Request, page: PageNumber = 1, tab: Annotated[str, Query(max_length=40)] = "") -> Response:
    """Settings with one of their tabs."""
    del page
    with open_visit(request) as visit:
        return show_tab(visit, tab if tab in TABS else next(iter(TABS)), request)


def named_values(names: list[str], values: list[str]) -> dict[str, str]:
    """Lines of a form as values by name; raises `Invalid` for a half-filled line or a name that comes twice."""
    found: dict[str, str] = {}
    for raw, value in zip(names, values, strict=False):
        name = raw.strip()
        if not name and not value:
            continue
        if not name or not value:
            raise Invalid(f"`{name or 'A value'}` needs both a name and a value.")
        if name in found:
            raise Invalid(f"`{name}` is there twice.")
        found[name] = value
    if not found:
        raise Invalid("A secret has at least one named value.")
    return found


@router.post("/dashboard/settings/secrets")
def put_secret(
    request: Request, csrf: FormText = "", name: FormText = "", value_name: NameLines = [], value: ValueLines = []  # noqa: B006 - FastAPI copies them
) -> Response:  # fmt: skip
    """Keep a secret. Values go in and never come out again; after an error they have to be typed again."""
    with open_visit(request, csrf) as visit:
        try:
            if not name.strip():
                raise Invalid("Give the secret a name.")
            vault.put(visit.tx, visit.organization_id, name=name.strip(), values=named_values(value_name, value))
        except Error as error:
            names = [*value_name, *[""] * VALUE_LINES][: max(VALUE_LINES, len(value_name))]
            return show_tab(
                visit,
                "secrets",
                request,
                problem=error.message,
                http_status=error.status,
                names=names,
                secret_name=name,
            )
    return RedirectResponse("/dashboard/settings?tab=secrets", status_code=303)


@router.post("/dashboard/settings/secrets/{secret_id}/rotate")
def rotate_secret(
    secret_id: UuidId, request: Request, csrf: FormText = "", value_name: NameLines = [], value: ValueLines = []  # noqa: B006 - FastAPI copies them
) -> Response:  # fmt: skip
    """Other values from now on; those of before are accepted for a day where something is checked by them."""
    given = {name: text for name, text in zip(value_name, value, strict=False) if text}
    with open_visit(request, csrf) as visit:
        try:
            if not given:
                raise Invalid("Type at least one new value.")
            vault.rotate(visit.tx, visit.organization_id, secret_id, values=given, overlap_s=ROTATE_OVERLAP_S)
        except Error as error:
            if error.code == "not_found":
                raise
            return show_tab(visit, "secrets", request, problem=error.message, http_status=error.status)
    return RedirectResponse("/dashboard/settings?tab=secrets", status_code=303)


@router.post("/dashboard/settings/secrets/{secret_id}/delete")
def delete_secret(secret_id: UuidId, request: Request, csrf: FormText = "") -> Response:
    """Forget a secret that nothing needs."""
    with open_visit(request, csrf) as visit:
        try:
            vault.delete(visit.tx, visit.organization_id, secret_id)
        except Error as error:
            if error.code == "not_found":
                raise
            return show_tab(visit, "secrets", request, problem=error.message, http_status=error.status)
    return RedirectResponse("/dashboard/settings?tab=secrets", status_code=303)


@router.get("/dashboard/settings/{part}")
@router.get("/dashboard/settings/{part}/{path:path}")
def after_change(part: str, path: str = "") -> Response:
    """Where the page of a refused change was shown: loading it again leads back."""
    del path
    return RedirectResponse(f"/dashboard/settings?tab={part if part in TABS else ''}", status_code=303)
