"""Datasets of an agent: the tab, the way from a file to a dataset, and the page of one with its playground."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.responses import RedirectResponse, Response

from gristmill import agents
from gristmill.agents import Agent
from gristmill.base.errors import Error, Invalid, PluginError
from gristmill.base.http import CursorText, Id, PageNumber, shared
from gristmill.datasets import files, listing, service
from gristmill.datasets.analyze import Analysis, analyze_file
from gristmill.datasets.model import Answer, Draft, Mode, Plan, Question, SearchResult, Sent, TemplateOptions
from gristmill.datasets.querying import query
from gristmill.datasets.questions import ask
from gristmill.datasets.service import Changes, Scope
from gristmill.doors.dashboard.agent_tabs import show_tab
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.render import html

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
RECORDS = 25
HITS = 10
SQL_ROWS = 100
TEMPLATE_CHARS_MAX = 64 * 1024

FormText = Annotated[str, Form(max_length=1000)]
FormTemplate = Annotated[str, Form(max_length=TEMPLATE_CHARS_MAX)]
QueryText = Annotated[str, Query(max_length=2000, pattern=r"^[^\x00]*$")]
Change = Literal["process", "delete", "activate"]


def values(visit: Visit, agent: Agent, request: Request) -> Mapping[str, Any]:
    """One page of the agent's datasets."""
    text = request.query_params.get("page", "1")
    number = max(int(text), 1) if text.isdecimal() and len(text) < 7 else 1  # noqa: PLR2004 - more pages there are not
    scope = Scope(visit.organization_id, agent.id)
    return {
        "page": service.list_datasets(visit.tx, scope, page=number, per_page=PER_PAGE),
        "size_max": shared(request).settings.dataset_file_bytes_max,
    }


@router.post("/dashboard/agents/{agent_id}/datasets")
def analyze(agent_id: Id, request: Request, csrf: FormText = "", file: UploadFile | None = None) -> Response:
    """Keep a file, look at it, and offer templates."""
    settings = shared(request).settings
    with open_visit(request, csrf) as visit:
        agents.get(visit.tx, visit.organization_id, agent_id)
        organization_id = visit.organization_id
    try:
        if file is None or not file.filename:
            raise Invalid("Choose a file.")
        kind = files.type_of_name(file.filename) or "csv"
        sent = files.keep(settings, organization_id, agent_id, file.filename, kind, file.file)
        try:
            analysis, sent = analyze_file(settings, sent)
        except Error:
            files.discard(settings, sent)
            raise
        with open_visit(request, csrf) as visit:
            service.keep_file(visit.tx, Scope(organization_id, agent_id), sent)
            return _new_page(visit, agent_id, analysis)
    except Error as error:
        with open_visit(request, csrf) as visit:
            return show_tab(visit, agent_id, "datasets", request, problem=error.message, http_status=error.status)


def _new_page(
    visit: Visit, agent_id: int, analysis: Analysis, *, problem: str = "", http_status: int = 200, **typed: str
) -> Response:
    best = analysis.templates[0].template if analysis.templates else ""
    name = analysis.file_filename.rsplit(".", 1)[0]
    return html(
        "dataset/new.html",
        http_status=http_status,
        shell=visit.shell("agents", f"/dashboard/agents/{agent_id}/datasets"),
        agent=agents.get(visit.tx, visit.organization_id, agent_id),
        analysis=analysis,
        problem=problem,
        title=typed.get("title", name),
        template_text=typed.get("template", best),
        key=typed.get("key", analysis.primary_key_field or ""),
    )


@router.post("/dashboard/agents/{agent_id}/datasets/new")
def create_dataset(
    agent_id: Id,
    request: Request,
    csrf: FormText = "",
    file_path: FormText = "",
    title: FormText = "",
    template: FormTemplate = "",
    key: FormText = "",
) -> Response:
    """Make the dataset of the file that was looked at; what can't be is told beside what was typed."""
    settings = shared(request).settings
    with open_visit(request, csrf) as visit:
        scope = Scope(visit.organization_id, agent_id)
        sent = service.find_file(visit.tx, scope, file_path)
    try:
        if not title.strip():
            raise Invalid("Give the dataset a title.")
        draft = Draft(
            title.strip()[:200],
            sent.type,
            template.replace("\r\n", "\n"),
            TemplateOptions(),
            key or None,
            service.default_embedder(settings),
        )
        service.prepare(settings, draft, sent)
        with open_visit(request, csrf) as visit:
            made = service.create(visit.tx, scope, draft, sent)
    except Error as error:
        analysis, _ = analyze_file(settings, sent)
        with open_visit(request, csrf) as visit:
            return _new_page(
                visit,
                agent_id,
                analysis,
                problem=told(error),
                http_status=error.status,
                title=title,
                template=template,
                key=key,
            )
    return RedirectResponse(f"/dashboard/agents/{agent_id}/datasets/{made.id}", status_code=303)


def told(error: Error) -> str:
    """An error with the line and column of what it is about."""
    place = next((item for item in error.errors if item.line is not None), None)
    if place is None:
        return error.message
    column = f", column {place.column}" if place.column is not None else ""
    return f"Line {place.line}{column}: {error.message}"


@router.get("/dashboard/agents/{agent_id}/datasets/{dataset_id}")
def show_dataset(
    agent_id: Id,
    dataset_id: Id,
    request: Request,
    q: QueryText = "",
    mode: Annotated[Mode, Query()] = "hybrid",
    find: QueryText = "",
    cursor: CursorText = None,
) -> Response:
    """A dataset: what it is, what it knows, and what it answers to a question."""
    with open_visit(request) as visit:
        service.get(visit.tx, Scope(visit.organization_id, agent_id), dataset_id)
        organization_id = visit.organization_id
    result, problem = None, ""
    if q.strip():
        question = Question(q.strip(), top_k=HITS, mode=mode, dataset_ids=[dataset_id])
        state = shared(request)
        try:
            result = asyncio.run(ask(state.database, state.settings, organization_id, agent_id, question))
        except (Error, PluginError) as error:
            problem = error.message
    with open_visit(request) as visit:
        return page(
            visit, agent_id, dataset_id, q=q, mode=mode, find=find, cursor=cursor, result=result, problem=problem
        )


def page(
    visit: Visit,
    agent_id: int,
    dataset_id: int,
    *,
    q: str = "",
    mode: str = "hybrid",
    find: str = "",
    cursor: str | None = None,
    result: SearchResult | None = None,
    sql: str = "SELECT count(*) FROM records",
    answer: Answer | None = None,
    problem: str = "",
    http_status: int = 200,
    template: str | None = None,
    plan: Plan | None = None,
    planned: Sent | None = None,
) -> Response:
    """The page of a dataset, with what was asked of it."""
    tx, scope = visit.tx, Scope(visit.organization_id, agent_id)
    row = service.row_of(tx, scope, dataset_id)
    dataset = service.dataset_of(row)
    records = listing.list_records(
        tx, visit.organization_id, row, cursor=cursor, limit=RECORDS, text=find.strip() or None
    )
    return html(
        "dataset/page.html",
        http_status=http_status,
        shell=visit.shell("agents", f"/dashboard/agents/{agent_id}/datasets/{dataset_id}"),
        agent=agents.get(tx, visit.organization_id, agent_id),
        dataset=dataset,
        versions=service.list_versions(tx, scope, dataset_id),
        records=records,
        busy=dataset.ingest_status in {"pending", "processing"},
        q=q,
        mode=mode,
        modes=("hybrid", "vector", "keyword"),
        find=find,
        cursor=cursor,
        result=result,
        sql=sql,
        answer=answer,
        problem=problem,
        template_text=dataset.template if template is None else template,
        plan=plan,
        planned=planned,
    )


@router.post("/dashboard/agents/{agent_id}/datasets/{dataset_id}/sql")
def run_sql(
    agent_id: Id, dataset_id: Id, request: Request, csrf: FormText = "", sql: Annotated[str, Form(max_length=8000)] = ""
) -> Response:
    """Count and sum over the records, exactly."""
    with open_visit(request, csrf) as visit:
        organization_id = visit.organization_id
    try:
        answer = query(shared(request).database, organization_id, agent_id, dataset_id, sql, rows_max=SQL_ROWS)
    except Error as error:
        if error.code == "not_found":
            raise
        with open_visit(request, csrf) as visit:
            return page(visit, agent_id, dataset_id, sql=sql, problem=told(error), http_status=error.status)
    with open_visit(request, csrf) as visit:
        return page(visit, agent_id, dataset_id, sql=sql, answer=answer)


@router.post("/dashboard/agents/{agent_id}/datasets/{dataset_id}/template")
def change_template(
    agent_id: Id, dataset_id: Id, request: Request, csrf: FormText = "", template: FormTemplate = ""
) -> Response:
    """Another template: only texts that become others are embedded anew, beside what is searched meanwhile."""
    text, settings = template.replace("\r\n", "\n"), shared(request).settings
    with open_visit(request, csrf) as visit:
        scope = Scope(visit.organization_id, agent_id)
        row = service.row_of(visit.tx, scope, dataset_id)
    changes = Changes(template=text)
    try:
        service.prepare(settings, changes.apply(service.draft_of(row)), service.file_of(row))
        with open_visit(request, csrf) as visit:
            service.update(visit.tx, scope, dataset_id, changes)
    except Error as error:
        with open_visit(request, csrf) as visit:
            return page(visit, agent_id, dataset_id, problem=told(error), http_status=error.status, template=template)
    return RedirectResponse(f"/dashboard/agents/{agent_id}/datasets/{dataset_id}", status_code=303)


@router.post("/dashboard/agents/{agent_id}/datasets/{dataset_id}/{change}")
def change_dataset(
    agent_id: Id, dataset_id: Id, change: Change, request: Request, csrf: FormText = "", version: PageNumber = 1,
    confirmed: Annotated[bool, Form()] = False,
) -> Response:  # fmt: skip
    """Process again, go to another version, or delete."""
    here = f"/dashboard/agents/{agent_id}/datasets/{dataset_id}"
    try:
        with open_visit(request, csrf) as visit:
            scope = Scope(visit.organization_id, agent_id)
            if change == "process":
                service.process(visit.tx, scope, dataset_id, confirmed=confirmed)
            elif change == "activate":
                service.activate(visit.tx, scope, dataset_id, version)
            else:
                service.delete(visit.tx, scope, dataset_id)
                here = f"/dashboard/agents/{agent_id}?tab=datasets"
    except Error as error:
        if error.code != "conflict":
            raise
        with open_visit(request, csrf) as visit:
            return page(visit, agent_id, dataset_id, problem=error.message, http_status=error.status)
    return RedirectResponse(here, status_code=303)


@router.get("/dashboard/agents/{agent_id}/datasets/{dataset_id}/{change}")
def after_change(agent_id: Id, dataset_id: Id, change: str) -> Response:
    """Where the page of a refused change was shown: loading it again leads back to the dataset."""
    del change
    return RedirectResponse(f"/dashboard/agents/{agent_id}/datasets/{dataset_id}", status_code=303)
