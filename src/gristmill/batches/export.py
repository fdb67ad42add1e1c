"""Results out: one line per row, in the order of the user's rows, streamed with flat memory.

The user's columns come first, then how the row ended, then the user's id of it where there is one, then the result's
columns flattened (`a.0.b`). A duplicate row carries the result of the row it equals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from gristmill.base.db import Database, Tx
from gristmill.base.ids import row_uuid
from gristmill.base.money import usd
from gristmill.batches import store
from gristmill.batches.model import BatchNotFound
from gristmill.tables import MEDIA_TYPES, check_format, flat_columns, order_columns, write_jsonl, write_table

PAGE_ROWS = 1000
FACTS = ("row_number", "status", "charge_usd", "error_code", "error")
EXTERNAL_ID = "external_id"
"""A further column where the rows came with ids of the user's."""
FORMATS = MEDIA_TYPES

Page = list[dict[str, Any]]
"""Rows of a batch, as the store has them."""


def export(database: Database, organization_id: int, batch_id: UUID, kind: str) -> Iterator[bytes]:
    """A batch's rows as the bytes of a file in one of FORMATS. Raises `BatchNotFound` before the first byte.

    CSV and JSON Lines are streamed, XLSX and Parquet are written to a temporary file first. Rows are read page by page,
    each in a short transaction of its own; a running batch can be exported at any time and shows each row as it is when
    its page is read.
    """
    check_format(kind)
    with database.tx(organization_id) as tx:
        batch = store.find_batch(tx, organization_id, batch_id)
        has_ids = store.has_external_ids(tx, organization_id, batch_id)
    if batch is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    if kind == "jsonl":
        return write_jsonl(result_lines(database, organization_id, batch_id))
    return write_table(kind, *flat_lines(batch, _pages(database, organization_id, batch_id), has_ids=has_ids))


def result_lines(database: Database, organization_id: int, batch_id: UUID) -> Iterator[dict[str, Any]]:
    """A batch's rows as JSON objects, the same as the lines of a JSON Lines export."""
    pages = _pages(database, organization_id, batch_id)
    return (_line(batch_id, row) for page in pages for row in page)


def file_columns(tx: Tx, organization_id: int, batch_id: UUID) -> list[str]:
    """Names of the columns of a CSV, XLSX or Parquet export. Raises `BatchNotFound`."""
    batch = store.find_batch(tx, organization_id, batch_id)
    if batch is None:
        raise BatchNotFound(f"There is no batch {batch_id}.")
    return flat_lines(batch, iter(()), has_ids=store.has_external_ids(tx, organization_id, batch_id))[1]


def _pages(database: Database, organization_id: int, batch_id: UUID) -> Iterator[Page]:
    after = 0
    while True:
        with database.tx(organization_id) as tx:
            page = store.list_rows(tx, organization_id, batch_id, status=None, query=None, after=after, limit=PAGE_ROWS)
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]["row_number"]


def flat_lines(
    batch: dict[str, Any], pages: Iterator[Page], *, has_ids: bool = False
) -> tuple[Iterator[Sequence[Any]], list[str]]:
    """Lines of cells, and the names above them."""
    columns: list[str] = batch["columns"]
    results = order_columns(batch["result_columns"])
    names = _distinct([*columns, *FACTS, *([EXTERNAL_ID] if has_ids else []), *results], keep=len(columns))

    def lines() -> Iterator[Sequence[Any]]:
        for page in pages:
            own = [[row["data"].get(column) for row in page] for column in columns]
            cells, late = _result_cells(page, results)
            status = ["running" if place in late else row["status"] for place, row in enumerate(page)]
            facts = [
                [row["row_number"] for row in page],
                status,
                [usd(row["charge_micro_usd"]) for row in page],
                [row["error_code"] for row in page],
                [row["error"] for row in page],
            ]
            if has_ids:
                facts.append([row["external_id"] for row in page])
            yield from zip(*own, *facts, *cells, strict=True)

    return lines(), names


def _result_cells(page: Page, names: Sequence[str]) -> tuple[list[Sequence[Any]], set[int]]:
    """The results of a page as columns, and the rows whose results brought columns that are not among the names.

    Such a row ended after the header was written: it is shown as it was then, without a result.
    """
    places = [place for place, row in enumerate(page) if row["result"]]
    found = {column.name: column for column in flat_columns([page[place]["result"] for place in places])}
    late = {places[row] for name in found.keys() - set(names) for row in found[name].rows}
    cells: list[Sequence[Any]] = []
    for name in names:
        cells.append(column := [None] * len(page))
        if name in found:
            for row, value in zip(found[name].rows, found[name].cells, strict=True):
                column[places[row]] = value
        for place in late:
            column[place] = None
    return cells, late


def _line(batch_id: UUID, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "row_id": str(row_uuid(batch_id, row["row_number"])),
        "row_number": row["row_number"],
        "status": row["status"],
        "data": row["data"],
        "result": row["result"],
        "charge_usd": usd(row["charge_micro_usd"]),
        "error_code": row["error_code"],
        "error": row["error"],
        "duplicate_of": row["duplicate_of"],
        "external_id": row["external_id"],
    }


def _distinct(names: list[str], *, keep: int) -> list[str]:
    """Column names without repeats: the user's own stay, ours get a `_2`."""
    seen: set[str] = set(names[:keep])
    out = names[:keep]
    for name in names[keep:]:
        candidate, number = name, 2
        while candidate in seen:
            candidate, number = f"{name}_{number}", number + 1
        seen.add(candidate)
        out.append(candidate)
    return out
