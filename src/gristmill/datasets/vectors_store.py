"""SQL of the tables `datasets.vectors_<id>`: chunks' vectors, compared one by one or by an index.

Vectors are half-precision and of length 1, so the inner product is the cosine. They travel in pgvector's binary form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from gristmill.base.db import Tx
from gristmill.datasets import packed
from gristmill.datasets.packed import Packed
from gristmill.datasets.rows_store import table_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_MS_MAX = 4 * 3_600_000
"""Time to build the index of a million vectors, with room."""
SCAN_TUPLES_MAX = 40_000
"""Entries of the index that a narrow filter may make it look at."""

_SEARCH_SETTINGS: LiteralString = (
    "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),"
    " set_config('hnsw.max_scan_tuples', %s, true), set_config('enable_seqscan', 'off', true)"
)
_AFTER: LiteralString = "SELECT set_config('enable_seqscan', 'on', true)"
"""The planner takes row-level security to leave few rows, and would compare them all instead of using the index."""
_INSIDE: LiteralString = "WHERE CASE WHEN ordinal < %(count)s THEN get_bit(%(members)b, ordinal) = 1 END "


def one(vector: NDArray[Any]) -> Packed:
    """One vector: its number of dimensions, two unused bytes, 16-bit floats, big-endian."""
    return Packed(len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f2").tobytes())


def many(vectors: NDArray[Any], oid: int) -> Packed:
    """An array of vectors, in the form of PostgreSQL's array_send."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second that only embedding needs

    count, dimensions = vectors.shape
    items = np.zeros(
        count, dtype=[("size", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"), ("values", ">f2", (dimensions,))]
    )
    items["size"] = 4 + 2 * dimensions
    items["dimensions"] = dimensions
    items["values"] = vectors
    head = np.array([1, 0, oid, count, 1], ">i4").tobytes()
    return Packed(head + items.tobytes())


def is_available(tx: Tx) -> bool:
    """Whether the server has pgvector."""
    return tx.row("SELECT FROM pg_available_extensions WHERE name = 'vector'") is not None


def find_type(tx: Tx) -> int | None:
    """The number of the type `halfvec`; None before the first table."""
    row = tx.one("SELECT to_regtype('halfvec')::oid::bigint AS oid")
    return row["oid"]


def make(tx: Tx, table_id: int, dimensions: int) -> None:
    """Make the table of a registered line, and the extension if need be."""
    tx.row("SELECT app_make_vectors_table(%s, %s)", (table_id, dimensions))


def insert(tx: Tx, table_id: int, ordinals: Sequence[int], vectors: Packed) -> None:
    """Some vectors."""
    statement = sql.SQL("INSERT INTO {} SELECT t.* FROM unnest(%b::int[], %b::halfvec[]) AS t")
    with packed.cursor(tx) as cursor:
        cursor.execute(statement.format(table_name("vectors", table_id)), [packed.ints(ordinals), vectors])


def build_index(tx: Tx, table_id: int) -> None:
    """Make the index of a table; nothing writes to it meanwhile."""
    tx.row("SELECT set_config('statement_timeout', %s, true)", (str(INDEX_MS_MAX),))
    tx.row("SELECT app_index_vectors(%s)", (table_id,))


def list_vectors(tx: Tx, table_id: int, ordinals: Sequence[int]) -> dict[int, bytes]:
    """Vectors by ordinal, in binary form with four bytes before the values."""
    statement = sql.SQL("SELECT ordinal, halfvec_send(embedding) FROM {} WHERE ordinal = ANY(%b::int[])")
    with packed.cursor(tx) as cursor:
        rows = cursor.execute(statement.format(table_name("vectors", table_id)), [list(ordinals)]).fetchall()
    return dict(rows)


def nearest(
    tx: Tx, table_id: int, vector: Packed, *, members: bytes | None, ef_search: int, limit: int
) -> list[tuple[int, float]]:
    """(ordinal, cosine) of the nearest by the index; `members` are the ordinals that count, all of them if None."""
    return nearest_and_named(tx, table_id, vector, members=members, ef_search=ef_search, limit=limit, named=())[0]


def nearest_and_named(
    tx: Tx,
    table_id: int,
    vector: Packed,
    *,
    members: bytes | None,
    ef_search: int,
    limit: int,
    named: Sequence[int],
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """The same, and beside them those that are `named`, all on one way to the server."""
    inside = sql.SQL("") if members is None else sql.SQL(_INSIDE)
    statement = sql.SQL(
        "SELECT ordinal, -(embedding <#> %(vector)b::halfvec) FROM {} {}"
        "ORDER BY embedding <#> %(vector)b::halfvec LIMIT %(limit)s"
    ).format(table_name("vectors", table_id), inside)
    params = {"vector": vector, "members": members, "count": 8 * len(members or b""), "limit": limit}
    with packed.cursor(tx) as cursor, packed.cursor(tx) as beside:
        with tx.raw.pipeline():
            tx.raw.execute(_SEARCH_SETTINGS, (str(ef_search), str(SCAN_TUPLES_MAX)))
            cursor.execute(statement, params)
            tx.raw.execute(_AFTER)
            if named:
                beside.execute(_compare_some(table_id), _some(vector, named, len(named)))
        return _pairs(cursor), _pairs(beside) if named else []


def nearest_of_all(
    tx: Tx, table_id: int, vector: Packed, *, members: bytes | None, limit: int
) -> list[tuple[int, float]]:
    """The same by comparing every vector."""
    inside = sql.SQL("") if members is None else sql.SQL(_INSIDE)
    # The order is by an expression that no index knows, and that is computed once.
    statement = sql.SQL(
        "SELECT ordinal, -(embedding <#> %(vector)b::halfvec) AS score FROM {} {}ORDER BY score DESC, ordinal"
        " LIMIT %(limit)s"
    ).format(table_name("vectors", table_id), inside)
    params = {"vector": vector, "members": members, "count": 8 * len(members or b""), "limit": limit}
    with packed.cursor(tx) as cursor:
        return _pairs(cursor.execute(statement, params))


def nearest_of_some(
    tx: Tx, table_id: int, vector: Packed, *, ordinals: Sequence[int], limit: int
) -> list[tuple[int, float]]:
    """The same by comparing those that are named."""
    with packed.cursor(tx) as cursor:
        return _pairs(cursor.execute(_compare_some(table_id), _some(vector, ordinals, limit)))


def _compare_some(table_id: int) -> sql.Composed:
    return sql.SQL(
        "SELECT ordinal, -(embedding <#> %(vector)b::halfvec) AS score FROM {} WHERE ordinal = ANY(%(ordinals)b::int[])"
        " ORDER BY score DESC, ordinal LIMIT %(limit)s"
    ).format(table_name("vectors", table_id))


def _some(vector: Packed, ordinals: Sequence[int], limit: int) -> dict[str, Any]:
    return {"vector": vector, "ordinals": packed.ints(ordinals), "limit": limit}


def _pairs(cursor: psycopg.Cursor[tuple[Any, ...]]) -> list[tuple[int, float]]:
    """(ordinal, cosine), the nearest first."""
    found = [(int(ordinal), float(score)) for ordinal, score in cursor.fetchall()]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))
