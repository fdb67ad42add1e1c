"""An agent's tab `batch`: rows from a saved source or as JSON, a look at what would run, then the batch.

Nothing is written or billed before the last step. Step one and two are a form whose answer is an address, so a review
can be shared and loaded again; rows pasted as JSON are sent along instead.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import agents, batches, sources
from gristmill.agents import Agent, input_of
from gristmill.base import jsons
from gristmill.base.errors import Error, Invalid
from gristmill.base.http import Id, shared
from gristmill.base.money import parse_usd
from gristmill.batches import rows_of_items
from gristmill.batches.columns import find_columns, recall
from gristmill.batches.quote import Quote, Survey, quote
from gristmill.doors.dashboard.agent_tabs import show_tab
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.identity.idempotency import find_answer, keep_answer
from gristmill.mapping import Memory
from gristmill.sources import StoredSource

router = APIRouter(include_in_schema=False, route_class=PageRoute)

RECENT_MAX = 10
SOURCES_MAX = 200
"""Sources to choose from; others are reached from their own page."""
REVIEW_ROWS = 10
ITEMS_CHARS_MAX = 2_000_000
LIMITS = (10, 100, 0)
"""Rows to process; 0 means all."""
LIMIT_DEFAULT = 10
LIMIT_MAX = 2**31 - 1
ONCE_HOURS = 24

FormText = Annotated[str, Form(max_length=200)]
ItemsText = Annotated[str, Form(max_length=ITEMS_CHARS_MAX)]
FormNumber = Annotated[int, Form(ge=0, le=2**63 - 1)]
FormLimit = Annotated[int, Form(ge=0, le=LIMIT_MAX)]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows, and how many of them."""

    data_source_id: int = 0
    items: str = ""
    """JSON text; empty when a source was chosen."""
    row_limit: int = LIMIT_DEFAULT
    """0 means all."""


@dataclass(frozen=True, slots=True)
class Review:
    """What would run."""

    quote: Quote
    fields: list[str]
    rows: list[dict[str, Any]]
    """Inputs of the first rows, as the agent would get them."""
    name: str
    """What the rows come from."""
    mapping: dict[str, str]
    """Agent field -> column, saved or proposed."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows on their way into a batch, with what is known of them."""

    origin: Mapping[str, Any]
    mapping: Mapping[str, str]
    columns: list[str]
    rows: Iterable[Mapping[str, Any]]


def values(visit: Visit, agent: Agent, request: Request) -> Mapping[str, Any]:
    """The form and the batches so far; nothing is reviewed yet."""
    found = sources.list_sources(visit.tx, visit.organization_id, page=1, per_page=SOURCES_MAX)
    recent = batches.list_batches(
        visit.tx, visit.organization_id, agent_id=agent.id, status=None, cursor=None, limit=RECENT_MAX
    )
    return {
        "sources": found.data,
        "recent": recent,
        "choice": _choice_of(request),
        "limits": LIMITS,
        "review": None,
        "once": str(uuid4()),
        "budget": "",
    }


def review_of_address(agent_id: int, request: Request) -> Mapping[str, Any]:
    """The review of the source that the address names; its rows are read outside any transaction."""
    choice = _choice_of(request)
    if not choice.data_source_id:
        return {}
    with open_visit(request) as visit:
        agent = agents.get(visit.tx, visit.organization_id, agent_id)
        stored = sources.get(visit.tx, visit.organization_id, choice.data_source_id)
    try:
        with _open(stored, choice, request) as found:
            with open_visit(request) as visit:
                known = recall(visit.tx, visit.organization_id, agent, found.columns)
            return {"review": look(agent, found, choice, known)}
    except Error as error:
        return {"problem": error.message, "http_status": error.status}


def _choice_of(request: Request) -> Choice:
    """The choice in the address; what can't be read there counts as not chosen."""
    query = request.query_params
    source = query.get("data_source_id", "")
    limit = query.get("row_limit", "")
    return Choice(
        data_source_id=int(source) if source.isdecimal() and len(source) < 19 else 0,  # noqa: PLR2004 - fits a bigint
        row_limit=min(int(limit), LIMIT_MAX) if limit.isdecimal() and len(limit) < 19 else LIMIT_DEFAULT,  # noqa: PLR2004 - the same
    )


def look(agent: Agent, found: Rows, choice: Choice, known: Memory | None = None) -> Review:
    """Go through the chosen rows without running any; `known` has the columns that a person chose for such tables."""
    fed = find_columns(
        None, 0, agent, found.rows, origin=found.origin, chosen=found.mapping, columns=found.columns, known=known
    )
    order = batches.Order(
        origin=fed.origin, mapping=fed.mapping, columns=found.columns, row_limit=choice.row_limit or None
    )
    rows = iter(fed.rows)
    first = list(islice(rows, REVIEW_ROWS))
    survey = Survey(agent, order)
    survey.look(chain(first, rows))
    inputs = [input_of(row, fed.mapping, agent.input_fields) for row in first]
    fields = list(dict.fromkeys(name for value in inputs for name in value))
    facts = quote(survey, agent, reused=0, pilot=None)
    return Review(facts, fields, inputs, str(found.origin.get("name", "")), dict(fed.mapping))


@contextmanager
def _open(stored: StoredSource | None, choice: Choice, request: Request) -> Generator[Rows]:
    """The rows that were chosen: of a source, or pasted."""
    if stored is None:
        yield Rows({"kind": "items"}, {}, [], list(rows_of_items(_items(choice.items))))
        return
    with sources.open_rows(stored, shared(request).settings) as opened:
        origin = {"kind": "data_source", "data_source_id": choice.data_source_id, "name": opened.name}
        yield Rows(origin, opened.mapping, opened.columns, opened.rows)


def _items(text: str) -> list[Any]:
    try:
        found = jsons.loads(text)
    except ValueError as error:
        raise Invalid(f"The rows can't be read as JSON: {error}.") from error
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not found:
        raise Invalid('Rows are a JSON list of objects, such as `[{"email": "ana@example.com"}]`.')
    return found


@router.post("/dashboard/agents/{agent_id}/items")
def review_items(
    agent_id: Id, request: Request, csrf: FormText = "", items: ItemsText = "", row_limit: FormLimit = LIMIT_DEFAULT
) -> Response:
    """Show what would run of rows that were pasted as JSON."""
    choice = Choice(items=items, row_limit=row_limit)
    with open_visit(request, csrf) as visit:
        agent = agents.get(visit.tx, visit.organization_id, agent_id)
        try:
            with _open(None, choice, request) as found:
                review = look(agent, found, choice)
        except Error as error:
            return show_tab(
                visit, agent_id, "batch", request, http_status=error.status, choice=choice, problem=error.message
            )
        return show_tab(visit, agent_id, "batch", request, choice=choice, review=review)


@router.post("/dashboard/agents/{agent_id}/batches")
def submit(
    agent_id: Id,
    request: Request,
    once: FormText,
    csrf: FormText = "",
    data_source_id: FormNumber = 0,
    items: ItemsText = "",
    row_limit: FormLimit = LIMIT_DEFAULT,
    budget: FormText = "",
) -> Response:
    """Make the batch and go to its page. The same form sent twice leads to the same batch."""
    choice = Choice(data_source_id, items, row_limit)
    stored = None
    with open_visit(request, csrf) as visit:
        agent = agents.get(visit.tx, visit.organization_id, agent_id)
        if data_source_id:
            stored = sources.get(visit.tx, visit.organization_id, data_source_id)
    try:
        limit = parse_usd(budget, "budget") if budget.strip() else None
        with _open(stored, choice, request) as found, open_visit(request, csrf) as visit:
            order = batches.Order(
                origin=found.origin,
                mapping=found.mapping,
                columns=found.columns,
                row_limit=row_limit or None,
                budget_micro_usd=limit,
            )
            batch_id = _create_once(visit, agent, order, found, once)
    except Error as error:
        with open_visit(request, csrf) as visit:
            return show_tab(
                visit,
                agent_id,
                "batch",
                request,
                problem=error.message,
                http_status=error.status,
                choice=choice,
                budget=budget,
            )
    return RedirectResponse(f"/dashboard/batches/{batch_id}", status_code=303)


def _create_once(visit: Visit, agent: Agent, order: batches.Order, found: Rows, once: str) -> str:
    tx, organization_id = visit.tx, visit.organization_id
    name, key = f"form of agent {agent.id}", f"form-{once}"
    kept = find_answer(tx, organization_id, key, call=name, body_sha256=b"", hours=ONCE_HOURS)
    if kept is not None:
        return str(kept.body["id"])
    made = batches.create(tx, organization_id, agent, order, found.rows)
    keep_answer(tx, organization_id, key, status=202, body=jsons.dumps({"id": str(made.id)}))
    return str(made.id)
