"""A batch, what can be done with it, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from gristmill import agents, batches, enrich
from gristmill.base.errors import Conflict, Error, Invalid
from gristmill.base.http import CursorText, UuidId
from gristmill.base.ids import row_uuid, split_row_uuid
from gristmill.batches import Batch, FailureGroup, RetryOrder
from gristmill.batches.model import RowNotFound, RowStatus
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.doors.dashboard.render import html
from gristmill.doors.dashboard.words import BAR, ROW_WORDS, is_live, waits_for_start
from gristmill.ledger import BalanceTooLow

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PER_PAGE = 50
REFUSED = "input_invalid"
"""Cause of rows whose input was refused before they ran; running them again would change nothing."""

Verb = Literal["pause", "resume", "cancel", "retry"]
RowFilter = Annotated[RowStatus | None, Query()]
FormText = Annotated[str, Form(max_length=200)]
SearchText = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows a page shows."""

    status: RowStatus | None = None
    q: str = ""
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """What can be done with a batch now."""

    pause: bool
    resume: bool
    cancel: bool
    retry: bool
    retryable: int
    """Rows that a retry would run."""


def allowed(batch: Batch, failures: Sequence[FailureGroup]) -> Allowed:
    """What the batch's state admits."""
    refused = sum(group.rows for group in failures if group.error_code == REFUSED)
    retryable = batch.failed - refused + batch.cancelled
    quiet = not is_live(batch) and batch.running == 0
    return Allowed(
        pause=is_live(batch),
        resume=batch.status in {"paused", "failed"},
        cancel=is_live(batch) or batch.status in {"paused", "failed"},
        retry=quiet and retryable > 0,
        retryable=retryable,
    )


@router.get("/dashboard/batches/{batch_id}")
def show_batch(
    batch_id: UuidId, request: Request, status: RowFilter = None, q: SearchText = "", cursor: CursorText = None
) -> Response:
    """Progress, failures, receipt and rows."""
    with open_visit(request) as visit:
        return _batch_page(visit, batch_id, Choice(status, q.strip(), cursor))


def _is_of_leads(batch: Batch) -> bool:
    """No page shows what was found about leads, only the download does."""
    return batch.origin.get("kind") == enrich.ORIGIN


def _batch_page(visit: Visit, batch_id: UUID, choice: Choice, problem: Error | None = None) -> Response:
    tx, organization_id = visit.tx, visit.organization_id
    batch = batches.get(tx, organization_id, batch_id)
    failures = batches.failures(tx, organization_id, batch_id) if batch.failed else []
    rows = batches.list_rows(
        tx,
        organization_id,
        batch_id,
        status=choice.status,
        query=choice.q or None,
        cursor=choice.cursor,
        limit=PER_PAGE,
    )
    return html(
        "batch.html",
        http_status=problem.status if problem else 200,
        shell=visit.shell("batches", f"/dashboard/batches/{batch_id}"),
        batch=batch,
        leads=_is_of_leads(batch),
        waits=waits_for_start(batch),
        live=is_live(batch) or batch.status == "paused" or batch.running > 0,
        allowed=allowed(batch, failures),
        failures=failures,
        refused_code=REFUSED,
        receipt=batches.receipt(tx, organization_id, batch_id),
        rows=rows,
        choice=choice,
        filters=[(name, ROW_WORDS[name].text, int(getattr(batch, name))) for name in BAR],
        problem=problem.message if problem else "",
    )


@router.post("/dashboard/batches/{batch_id}/{verb}")
def change_batch(
    batch_id: UuidId,
    verb: Verb,
    request: Request,
    csrf: FormText = "",
    error_code: FormText = "",
) -> Response:
    """Pause, resume, cancel, or run failed rows again; then the batch's page, which says what was refused."""
    try:
        with open_visit(request, csrf) as visit:
            _change(visit, batch_id, verb, error_code or None)
    except (Conflict, Invalid, BalanceTooLow) as problem:
        with open_visit(request, csrf) as visit:
            return _batch_page(visit, batch_id, Choice(), problem)
    return RedirectResponse(f"/dashboard/batches/{batch_id}", status_code=303)


def _change(visit: Visit, batch_id: UUID, verb: Verb, error_code: str | None) -> None:
    tx, organization_id = visit.tx, visit.organization_id
    if verb == "retry":
        batch = batches.get(tx, organization_id, batch_id)
        agent = agents.get(tx, organization_id, batch.agent_id)
        batches.retry(tx, organization_id, batch_id, RetryOrder(error_code=error_code), agent)
    else:
        _CHANGES[verb](tx, organization_id, batch_id)


_CHANGES = {"pause": batches.pause, "resume": batches.resume, "cancel": batches.cancel}


@router.get("/dashboard/batches/{batch_id}/{verb}")
def after_change(batch_id: UuidId, verb: Verb) -> Response:
    """Where the page of a refused change was shown: loading it again leads back to the batch."""
    del verb
    return RedirectResponse(f"/dashboard/batches/{batch_id}", status_code=303)


@router.get("/dashboard/batches/{batch_id}/rows/{row_id}")
def show_row(batch_id: UuidId, row_id: UuidId, request: Request) -> Response:
    """Everything that is known about one row."""
    found, number = split_row_uuid(row_id)
    if found != batch_id or number == 0:
        raise RowNotFound(f"There is no row {row_id} in this batch.")
    with open_visit(request) as visit:
        batch = batches.get(visit.tx, visit.organization_id, batch_id)
        if _is_of_leads(batch):
            return RedirectResponse(f"/batch/{batch_id}", status_code=303)
        detail = batches.row_detail(visit.tx, visit.organization_id, row_id)
        shell = visit.shell("batches", f"/dashboard/batches/{batch_id}/rows/{row_id}")
    return html(
        "row.html",
        shell=shell,
        batch=batch,
        detail=detail,
        row=detail.row,
        same_input=detail.input == detail.row.data,
        before=row_uuid(batch_id, number - 1) if number > 1 else None,
        after=row_uuid(batch_id, number + 1) if number < batch.rows_in else None,
        original=row_uuid(batch_id, detail.row.duplicate_of) if detail.row.duplicate_of else None,
    )
