"""Sources: the list, a new one, and the page of one with its mapping and first rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.responses import RedirectResponse, Response

from gristmill import agents, sources
from gristmill.agents import Agent
from gristmill.base.errors import Conflict, Error, Invalid
from gristmill.base.http import INT64_MAX, Id, PageNumber, shared
from gristmill.batches.columns import SURE, propose
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.formats import cut, plain
from gristmill.doors.dashboard.render import html
from gristmill.sources import DefaultMapping, Draft, Preview, Source, SourceConfig, StoredSource

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
PREVIEW_ROWS = 20
SAMPLES = 3
AGENTS_MAX = 200
"""Agents whose fields can be chosen from."""
BLANK_LINES = 2
"""Lines of the mapping that are empty, for more fields."""
MAPPING_LINES_MAX = 1000
NAME_CHARS_MAX = 200
QUERY_CHARS_MAX = 40_000

FormText = Annotated[str, Form(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class MappedField:
    """One line of the mapping: a field, its column, and what is in it."""

    field: str
    column: str
    type: str
    samples: list[str]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A column that is proposed for a field."""

    column: str
    confidence: float
    why: str


@router.get("/dashboard/sources")
def list_sources(request: Request, page: PageNumber = 1) -> Response:
    """All saved sources, newest first."""
    with open_visit(request) as visit:
        found = sources.list_sources(visit.tx, visit.organization_id, page=page, per_page=PER_PAGE)
        shell = visit.shell("sources", "/dashboard/sources")
    return html("sources.html", shell=shell, page=found, base_url=str(request.base_url).rstrip("/"))


@router.get("/dashboard/sources/new")
def new_source(request: Request) -> Response:
    """The forms for a new source."""
    with open_visit(request) as visit:
        return _new_page(visit, request)


def _new_page(
    visit: Visit, request: Request, *, problem: str = "", http_status: int = 200, query: str = "", name: str = ""
) -> Response:
    settings = shared(request).settings
    return html(
        "source_new.html",
        http_status=http_status,
        shell=visit.shell("sources", "/dashboard/sources/new"),
        problem=problem,
        env_keys=sources.env_keys(sources.host_of(settings)),
        size_max=settings.source_csv_bytes_max,
        query=query,
        name=name,
    )


@router.post("/dashboard/sources/new")
def create_source(
    request: Request,
    csrf: FormText = "",
    kind: FormText = "csv",
    name: FormText = "",
    file: UploadFile | None = None,
    env_key: FormText = "",
    query: Annotated[str, Form(max_length=QUERY_CHARS_MAX)] = "",
) -> Response:
    """Read the whole file, or check the query, and keep the source."""
    with open_visit(request, csrf):
        pass
    try:
        draft = _draft(kind, name.strip(), file, env_key, query)
        prepared = sources.prepare(draft, sources.host_of(shared(request).settings))
        with open_visit(request, csrf) as visit:
            made = sources.create(visit.tx, visit.organization_id, prepared)
    except Error as error:
        with open_visit(request, csrf) as visit:
            return _new_page(
                visit, request, problem=error.message, http_status=error.status, query=query, name=name.strip()
            )
    return RedirectResponse(f"/dashboard/sources/{made.id}", status_code=303)


def _draft(kind: str, name: str, file: UploadFile | None, env_key: str, query: str) -> Draft:
    if kind == "postgres":
        if not name:
            raise Invalid("Give the source a name.")
        return Draft(name, kind, SourceConfig(env_key=env_key, query=query))
    if file is None or not file.filename:
        raise Invalid("Choose a file.")
    name = name or file.filename.rsplit("/", 1)[-1][:NAME_CHARS_MAX]
    return Draft(name, "csv", SourceConfig(), file.file.read())


@router.get("/dashboard/sources/{source_id}")
def show_source(
    source_id: Id,
    request: Request,
    preview: Annotated[bool, Query()] = False,
    agent_id: Annotated[int, Query(ge=0, le=INT64_MAX)] = 0,
    saved: Annotated[bool, Query()] = False,
) -> Response:
    """A source's mapping and first rows. A database is asked only when a person asks for it."""
    with open_visit(request) as visit:
        stored = sources.get(visit.tx, visit.organization_id, source_id)
        agent = agents.get(visit.tx, visit.organization_id, agent_id) if agent_id else None
    sample, problem = _sample(stored, request, wanted=preview)
    with open_visit(request) as visit:
        return _source_page(visit, stored, sample, agent=agent, problem=problem, saved=saved)


def _sample(stored: StoredSource, request: Request, *, wanted: bool) -> tuple[Preview | None, str]:
    if not wanted and stored.source.columns is None:
        return None, ""
    try:
        return sources.preview(stored, PREVIEW_ROWS, sources.host_of(shared(request).settings)), ""
    except Error as error:
        return None, error.message


def _source_page(
    visit: Visit,
    stored: StoredSource,
    sample: Preview | None,
    *,
    agent: Agent | None = None,
    problem: str = "",
    saved: bool = False,
    http_status: int = 200,
    edited: Mapping[str, str] | None = None,
) -> Response:
    source = stored.source
    chosen = dict(source.config.default_mapping.fields if edited is None else edited)
    mapping = mapped_fields(chosen, source, sample)
    used = {item.column for item in mapping}
    columns = sample.columns if sample else source.columns or []
    fields = list(agent.input_fields) if agent else []
    suggested = suggest(agent, sample, used)
    return html(
        "source.html",
        http_status=http_status,
        shell=visit.shell("sources", f"/dashboard/sources/{source.id}"),
        source=source,
        preview=sample,
        problem=problem,
        saved=saved,
        mapping=mapping,
        columns=columns,
        used=used,
        unmapped=[column for column in columns if column.name not in used],
        agent=agent,
        missing=[item for item in fields if item.name not in chosen],
        agents=agents.list_agents(visit.tx, visit.organization_id, only_id=None, page=1, per_page=AGENTS_MAX).data,
        blank_lines=BLANK_LINES,
        suggested={name: item.column for name, item in suggested.items() if item.confidence >= SURE},
        reasons={name: f"{item.column}: {item.confidence:.0%} sure; {item.why}" for name, item in suggested.items()},
    )


@router.post("/dashboard/sources/{source_id}")
def save_mapping(
    source_id: Id,
    request: Request,
    csrf: FormText = "",
    field: Annotated[list[str], Form(max_length=MAPPING_LINES_MAX)] = [],  # noqa: B006 - FastAPI copies it
    column: Annotated[list[str], Form(max_length=MAPPING_LINES_MAX)] = [],  # noqa: B006 - the same
) -> Response:
    """Keep the mapping: lines with both a field and a column. It is used by every batch from this source."""
    pairs = [(name.strip(), of) for name, of in zip(field, column, strict=False) if name.strip() and of]
    with open_visit(request, csrf) as visit:
        stored = sources.get(visit.tx, visit.organization_id, source_id)
    host = sources.host_of(shared(request).settings)
    try:
        twice = sorted({name for name, _ in pairs if [item for item, _ in pairs].count(name) > 1})
        if twice:
            raise Invalid(f"`{twice[0]}` is mapped twice; a field takes one column.")
        config = replace(stored.config, default_mapping=DefaultMapping(dict(pairs)))
        prepared = sources.prepare(Draft(stored.source.name, stored.kind, config), host, stored)
        with open_visit(request, csrf) as visit:
            sources.update(visit.tx, stored, prepared)
    except Error as error:
        sample, _ = _sample(stored, request, wanted=False)
        with open_visit(request, csrf) as visit:
            return _source_page(
                visit, stored, sample, problem=error.message, http_status=error.status, edited=dict(pairs)
            )
    return RedirectResponse(f"/dashboard/sources/{source_id}?saved=1", status_code=303)


@router.get("/dashboard/sources/{source_id}/batch")
def open_batch_tab(source_id: Id, agent_id: Annotated[int, Query(ge=1, le=INT64_MAX)]) -> Response:
    """To the agent that shall run the rows."""
    return RedirectResponse(f"/dashboard/agents/{agent_id}?tab=batch&data_source_id={source_id}", status_code=303)


@router.post("/dashboard/sources/{source_id}/delete")
def delete_source(source_id: Id, request: Request, csrf: FormText = "") -> Response:
    """Remove a source that no batch reads from."""
    try:
        with open_visit(request, csrf) as visit:
            keys = sources.delete(visit.tx, visit.organization_id, source_id)
    except Conflict as error:
        with open_visit(request, csrf) as visit:
            stored = sources.get(visit.tx, visit.organization_id, source_id)
        sample, _ = _sample(stored, request, wanted=False)
        with open_visit(request, csrf) as visit:
            return _source_page(visit, stored, sample, problem=error.message, http_status=error.status)
    sources.delete_objects(keys, shared(request).settings)
    return RedirectResponse("/dashboard/sources", status_code=303)


@router.get("/dashboard/sources/{source_id}/delete")
def after_delete(source_id: Id) -> Response:
    """Where the page of a refused change was shown: loading it again leads back to the source."""
    return RedirectResponse(f"/dashboard/sources/{source_id}", status_code=303)


def suggest(agent: Agent | None, sample: Preview | None, used: set[str]) -> dict[str, Suggestion]:
    """Agent field -> the column that is proposed for it. What is uncertain is offered, not chosen."""
    if agent is None or sample is None or not agent.input_fields:
        return {}
    found = propose(agent, [column.name for column in sample.columns], sample.rows)
    return {
        name: Suggestion(column, found.fields[name].confidence, "; ".join(found.fields[name].evidence.reasons[:2]))
        for name, column in found.as_columns().items()
        if column not in used
    }


def mapped_fields(mapping: Mapping[str, str], source: Source, sample: Preview | None) -> list[MappedField]:
    """The mapping with the first values of each column."""
    types = {column.name: column.type for column in (sample.columns if sample else source.columns or [])}
    found: list[MappedField] = []
    for name, column in mapping.items():
        values = (cut(plain(row.get(column)), 30) for row in sample.rows) if sample else ()
        distinct = list(dict.fromkeys(value for value in values if value))
        found.append(MappedField(name, column, types.get(column, ""), distinct[:SAMPLES]))
    return found
