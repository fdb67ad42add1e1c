"""Rows -> a file of any format that is written here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gristmill.base.errors import Invalid
from gristmill.tables.writers import write_csv, write_jsonl

MEDIA_TYPES: dict[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
"""Format, which is also the file's ending -> media type."""


def check_format(form: str) -> None:
    """Raise Invalid for a format that is not written."""
    if form not in MEDIA_TYPES:
        raise Invalid(f"`{form[:20]}` is no export format; there are: {', '.join(MEDIA_TYPES)}.")


def write_table(form: str, rows: Iterable[Sequence[Any]], header: Sequence[str]) -> Iterator[bytes]:
    """Rows under a header as a file of a format, with that format's defaults.

    CSV and JSON Lines are streamed; XLSX and Parquet are written to a temporary file first. Raises Invalid for another
    format.
    """
    check_format(form)
    if form == "csv":
        return write_csv(rows, header)
    if form == "jsonl":
        return write_jsonl(dict(zip(header, row, strict=True)) for row in rows)
    if form == "xlsx":
        from gristmill.tables.write_xlsx import write_xlsx  # noqa: PLC0415 - not needed for text

        return write_xlsx(rows, header)
    from gristmill.tables.write_parquet import write_parquet  # noqa: PLC0415 - loads pyarrow

    return write_parquet(rows, header)
