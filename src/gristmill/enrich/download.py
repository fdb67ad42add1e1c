"""Results out: the flat CSV of a job, and the uploaded file with its results appended.

One line per lead, in upload order. A duplicate row carries the result of the row that it equals; its cost is zero.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, cast
from uuid import UUID

from gristmill import batches, inventory, tables
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.batches import BatchRow
from gristmill.enrich import service
from gristmill.enrich.model import LISTS
from gristmill.inventory import StoredInventory

PAGE_ROWS = 1000
SPOOL_BYTES = 8 * 1024**2
COPY_BYTES = 1024**2
FACTS = ("row_index", "enrich_status", "enrich_matched", "enrich_spent_usd")
"""Columns before the result's; `row_index` counts from 1, as the rows' addresses do."""
ORDER = (*LISTS.values(), "confidence", "summary_markdown")
"""Parts of a result in the order of its columns."""
ENDED = frozenset({"succeeded", "empty", "failed", "skipped", "cancelled", "duplicate"})


def flat_csv(database: Database, organization_id: int, batch_id: UUID) -> Iterator[bytes]:
    """`row_index, enrich_status, enrich_matched, enrich_spent_usd, contact_id`, then the union of the results' columns.

    Rows are read page by page, each in a short transaction. Raises `JobNotFound` before the first byte.
    """
    columns = _result_columns(database, organization_id, batch_id)
    rows = _rows(database, organization_id, batch_id)
    lines = ([*_facts(row), row.data.get("contact_id"), *_cells(row, columns)] for row in rows)
    return tables.write_csv(lines, [*FACTS, "contact_id", *columns])


def original_csv(
    database: Database, settings: Settings, organization_id: int, batch_id: UUID
) -> tuple[Generator[bytes], str]:
    """The uploaded columns with the results appended, in the file's delimiter and encoding: (bytes, media type).

    Where the file's encoding lacks a character of a result, all of it is written in UTF-8 with a byte order mark rather
    than losing one. It is written to a file of its own first, since that shows only at the end.
    """
    with database.tx(organization_id) as tx:
        _, stored = service.columns_of(tx, organization_id, batch_id)
    columns = _result_columns(database, organization_id, batch_id)
    encoding = stored.dialect.encoding if stored.dialect.format == "delimited" else "utf-8"
    spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 - closed by _drain
    try:
        try:
            _write(spool, _original(database, settings, organization_id, batch_id, stored, columns, encoding))
        except Invalid:
            spool.seek(0)
            spool.truncate()
            encoding = "utf-8-sig"
            _write(spool, _original(database, settings, organization_id, batch_id, stored, columns, encoding))
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return _drain(spool), f"text/csv; charset={encoding.removesuffix('-sig')}"


def _original(
    database: Database,
    settings: Settings,
    organization_id: int,
    batch_id: UUID,
    stored: StoredInventory,
    columns: Sequence[str],
    encoding: str,
) -> Iterator[bytes]:
    with inventory.open_file(stored, settings) as file:
        table = tables.read_table(file, dialect=stored.dialect)
        header = table.header or [column.name for column in table.columns]
        width = len(table.columns)
        own = [*header, *[""] * (width - len(header))][:width]
        results = [_free(name, own) for name in (*FACTS, *columns)]
        rows = _rows(database, organization_id, batch_id)
        lines = (
            [*record, *_facts(row), *_cells(row, columns)] for record, row in zip(table.records(), rows, strict=True)
        )
        delimiter = stored.dialect.delimiter if len(stored.dialect.delimiter) == 1 else ","
        yield from tables.write_csv(
            lines,
            [*own, *results],
            delimiter=delimiter if stored.dialect.format == "delimited" else ",",
            quote=stored.dialect.quote or '"',
            quoting="minimal",
            encoding=encoding,
        )


def _free(name: str, taken: Sequence[str]) -> str:
    """A column name that the file does not have."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _result_columns(database: Database, organization_id: int, batch_id: UUID) -> list[str]:
    with database.tx(organization_id) as tx:
        service.get(tx, organization_id, batch_id)
        names = batches.result_columns(tx, organization_id, batch_id)
    places = {name: place for place, name in enumerate(ORDER)}
    return tables.order_columns(sorted(names, key=lambda name: places.get(name.split(".", 1)[0], len(ORDER))))


def _rows(database: Database, organization_id: int, batch_id: UUID) -> Iterator[BatchRow]:
    cursor = None
    while True:
        with database.tx(organization_id) as tx:
            page = batches.list_rows(
                tx, organization_id, batch_id, status=None, query=None, cursor=cursor, limit=PAGE_ROWS
            )
        yield from page.data
        cursor = page.meta.next_cursor
        if cursor is None:
            return


def _facts(row: BatchRow) -> list[Any]:
    return [row.row_number, row.status, row.result is not None, row.charge_usd]


def _cells(row: BatchRow, columns: Sequence[str]) -> list[Any]:
    """The result's values under the columns. What came since the header was written is for the next download."""
    values = tables.flatten(row.result) if row.result else {}
    return [values.get(name, "") for name in columns]


def _write(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    file.writelines(chunks)


def _drain(spool: BinaryIO) -> Generator[bytes]:
    with spool:
        while chunk := spool.read(COPY_BYTES):
            yield chunk
