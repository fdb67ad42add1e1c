"""A new file of a dataset in the browser: what it would change is shown before it does, and one press takes it in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import RedirectResponse, Response

from gristmill.base.errors import Error, Invalid
from gristmill.base.http import Id, shared
from gristmill.datasets import files, service
from gristmill.datasets.model import Plan, Sent
from gristmill.datasets.service import Changes, Scope
from gristmill.doors.dashboard import dataset_pages
from gristmill.doors.dashboard.door import PageRoute, open_visit

router = APIRouter(include_in_schema=False, route_class=PageRoute)

FormText = Annotated[str, Form(max_length=1000)]


@router.post("/dashboard/agents/{agent_id}/datasets/{dataset_id}/plan")
def plan_file(
    agent_id: Id, dataset_id: Id, request: Request, csrf: FormText = "", file: UploadFile | None = None
) -> Response:
    """Keep a file and say what it would change; nothing is changed."""
    with open_visit(request, csrf) as visit:
        scope = Scope(visit.organization_id, agent_id)
        service.row_of(visit.tx, scope, dataset_id)
    try:
        if file is None or not file.filename:
            raise Invalid("Choose a file.")
        sent, plan = _planned(request, csrf, scope, dataset_id, file)
    except Error as error:
        problem, status = dataset_pages.told(error), error.status
        with open_visit(request, csrf) as visit:
            return dataset_pages.page(visit, agent_id, dataset_id, problem=problem, http_status=status)
    with open_visit(request, csrf) as visit:
        return dataset_pages.page(visit, agent_id, dataset_id, plan=plan, planned=sent)


def _planned(request: Request, csrf: str, scope: Scope, dataset_id: int, file: UploadFile) -> tuple[Sent, Plan]:
    from gristmill.datasets.analyze import analyze_file  # noqa: PLC0415 - NumPy takes a while to load
    from gristmill.datasets.plan import plan  # noqa: PLC0415 - the same

    state, name = shared(request), file.filename or ""
    kind = files.type_of_name(name) or "csv"
    sent = files.keep(state.settings, scope.organization_id, scope.agent_id, name, kind, file.file)
    try:
        _, sent = analyze_file(state.settings, sent)
        found = plan(state.database, state.settings, scope, dataset_id, Changes(file=sent))
    except Error:
        files.discard(state.settings, sent)
        raise
    with open_visit(request, csrf) as visit:
        service.keep_file(visit.tx, scope, sent)
    return sent, found


@router.post("/dashboard/agents/{agent_id}/datasets/{dataset_id}/file")
def take_in(
    agent_id: Id,
    dataset_id: Id,
    request: Request,
    csrf: FormText = "",
    file_path: FormText = "",
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Process the file that was planned, beside what is searched meanwhile."""
    here = f"/dashboard/agents/{agent_id}/datasets/{dataset_id}"
    try:
        with open_visit(request, csrf) as visit:
            scope = Scope(visit.organization_id, agent_id)
            row = service.row_of(visit.tx, scope, dataset_id)
            sent = service.find_file(visit.tx, scope, file_path)
        changes = Changes(file=sent)
        service.prepare(shared(request).settings, changes.apply(service.draft_of(row)), sent)
        with open_visit(request, csrf) as visit:
            service.update(visit.tx, scope, dataset_id, changes, confirmed=confirmed)
    except Error as error:
        with open_visit(request, csrf) as visit:
            problem, status = dataset_pages.told(error), error.status
            return dataset_pages.page(visit, agent_id, dataset_id, problem=problem, http_status=status)
    return RedirectResponse(here, status_code=303)
