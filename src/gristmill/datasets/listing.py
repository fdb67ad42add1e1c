"""Pages of a version's records and chunks, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gristmill.base.db import Tx
from gristmill.base.errors import Malformed
from gristmill.base.paging import CursorMeta, CursorPage, decode_cursor, encode_cursor
from gristmill.datasets import store
from gristmill.datasets.model import ChunkView, RecordView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS_AT_ONCE = 1_000


def list_records(
    tx: Tx, organization_id: int, row: dict[str, Any], *, cursor: str | None, limit: int, text: str | None
) -> CursorPage[RecordView]:
    """Records of the version that is searched; with `text` those that have it in their key or row."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second that a server's start does not pay

    positions = _positions(tx, organization_id, row)
    numbers, ordinals = _records(positions)
    if text:
        found = np.array(store.find_ordinals(tx, organization_id, row["id"], text), np.int64)
        inside = np.isin(ordinals, found)
        numbers, ordinals = numbers[inside], ordinals[inside]
    start = int(np.searchsorted(numbers, _after(cursor)[0], side="right"))
    page = ordinals[start : start + limit]
    by_ordinal = {item["ordinal"]: item for item in store.list_records(tx, organization_id, row["id"], page.tolist())}
    data = [
        RecordView(item["record_key"], int(positions[ordinal]), item["data"], item["parts"])
        for ordinal in page.tolist()
        if (item := by_ordinal.get(ordinal)) is not None
    ]
    more = start + limit < len(ordinals)
    return CursorPage(data, CursorMeta(encode_cursor([data[-1].row_number, 0]) if more and data else None))


def list_chunks(
    tx: Tx, organization_id: int, row: dict[str, Any], *, cursor: str | None, limit: int
) -> CursorPage[ChunkView]:
    """Chunks of the version that is searched."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second that a server's start does not pay

    positions = _positions(tx, organization_id, row)
    ordinals = np.flatnonzero(positions)
    ordinals = ordinals[np.lexsort((ordinals, positions[ordinals]))]
    number, last = _after(cursor)
    keys = positions[ordinals].astype(np.int64)
    start = int(np.searchsorted(keys, number, side="left"))
    while start < len(ordinals) and keys[start] == number and ordinals[start] <= last:
        start += 1
    page = ordinals[start : start + limit].tolist()
    found = {item["ordinal"]: item for item in store.list_chunks(tx, organization_id, row["id"], page)}
    data = [
        ChunkView(item["record_key"], int(positions[ordinal]), ordinal - item["record"], item["text"])
        for ordinal in page
        if (item := found.get(ordinal)) is not None
    ]
    more = start + limit < len(ordinals)
    return CursorPage(data, CursorMeta(encode_cursor([data[-1].row_number, page[-1]]) if more and data else None))


def record_rows(tx: Tx, organization_id: int, row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(record key, row) of every record of the version that is searched, in the order of the file."""
    _, ordinals = _records(_positions(tx, organization_id, row))
    for start in range(0, len(ordinals), ROWS_AT_ONCE):
        page = ordinals[start : start + ROWS_AT_ONCE].tolist()
        found = {item["ordinal"]: item for item in store.list_records(tx, organization_id, row["id"], page)}
        yield from ((found[ordinal]["record_key"], found[ordinal]["data"]) for ordinal in page if ordinal in found)


def _positions(tx: Tx, organization_id: int, row: dict[str, Any]) -> NDArray[np.int32]:
    """Row number by ordinal, 0 where there is none."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second that a server's start does not pay

    if row["version"] is None:
        return np.zeros(0, np.int32)
    found = store.find_positions(tx, organization_id, row["id"], row["version"])
    return np.frombuffer(found, "<i4")


def _records(positions: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(row number, ordinal) of each record in the order of the file."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second that a server's start does not pay

    chunks = np.flatnonzero(positions)
    numbers, first = np.unique(positions[chunks], return_index=True)
    return numbers, chunks[first]


def _after(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, -1
    match decode_cursor(cursor):
        case [int(number), int(ordinal)]:
            return number, ordinal
        case _:
            raise Malformed("The cursor is not one of ours.")
