"""Sources, to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gristmill import sources
from gristmill.base.errors import Error
from gristmill.base.http import Id, PageNumber, shared
from gristmill.doors.dashboard.door import PageRoute, open_visit
from gristmill.doors.dashboard.formats import cut, plain
from gristmill.doors.dashboard.render import html
from gristmill.sources import Preview, Source

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
PREVIEW_ROWS = 20
SAMPLES = 3


@dataclass(frozen=True, slots=True)
class MappedField:
    """One line of the mapping: a field, its column, and what is in it."""

    field: str
    column: str
    type: str
    samples: list[str]


@router.get("/dashboard/sources")
def list_sources(request: Request, page: PageNumber = 1) -> Response:
    """All saved sources, newest first."""
    with open_visit(request) as visit:
        found = sources.list_sources(visit.tx, visit.organization_id, page=page, per_page=PER_PAGE)
        shell = visit.shell("sources", "/dashboard/sources")
    return html("sources.html", shell=shell, page=found, base_url=str(request.base_url).rstrip("/"))


@router.get("/dashboard/sources/{source_id}")
def show_source(source_id: Id, request: Request, preview: Annotated[bool, Query()] = False) -> Response:
    """A source's mapping and first rows. A database is asked only when a person asks for it."""
    with open_visit(request) as visit:
        stored = sources.get(visit.tx, visit.organization_id, source_id)
        shell = visit.shell("sources", f"/dashboard/sources/{source_id}")
    source, sample, problem = stored.source, None, ""
    if preview or source.columns is not None:
        try:
            sample = sources.preview(stored, PREVIEW_ROWS, sources.host_of(shared(request).settings))
        except Error as error:
            problem = error.message
    mapping = mapped_fields(source, sample)
    used = {item.column for item in mapping}
    columns = sample.columns if sample else source.columns or []
    return html(
        "source.html",
        shell=shell,
        source=source,
        preview=sample,
        problem=problem,
        mapping=mapping,
        used=used,
        unmapped=[column for column in columns if column.name not in used],
    )


def mapped_fields(source: Source, sample: Preview | None) -> list[MappedField]:
    """The saved mapping with the first values of each column."""
    types = {column.name: column.type for column in (sample.columns if sample else source.columns or [])}
    found: list[MappedField] = []
    for name, column in source.config.default_mapping.fields.items():
        values = (cut(plain(row.get(column)), 30) for row in sample.rows) if sample else ()
        distinct = list(dict.fromkeys(value for value in values if value))
        found.append(MappedField(name, column, types.get(column, ""), distinct[:SAMPLES]))
    return found
