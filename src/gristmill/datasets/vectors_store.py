"""SQL of the tables `datasets.vectors_<id>`: chunks' vectors, compared one by one or by an index.

Vectors are half-precision and of length 1, so the inner product is the cosine. They travel in pgvector's binary form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import tuple_row

from gristmill.base.db import Tx
from gristmill.datasets.rows_store import table_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_MS_MAX = 4 * 3_600_000
"""Time to build the index of a million vectors, with room."""
SCAN_TUPLES_MAX = 40_000
"""Entries of the index that a narrow filter may make it look at."""

_SEARCH_SETTINGS: LiteralString = (
    "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),"
    " set_config('hnsw.max_scan_tuples', %s, true)"
)
_INSIDE: LiteralString = "WHERE CASE WHEN ordinal < %(count)s THEN get_bit(%(members)b, ordinal) = 1 END "


class Halfvecs(bytes):
    """`halfvec` or `halfvec[]` in PostgreSQL's binary form."""

    __slots__ = ()


class _HalfvecsDumper(Dumper):
    """Sends the bytes as they are; the server knows the type from the cast."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: Halfvecs) -> bytes:
        return bytes(obj)


def _cursor(tx: Tx) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor that knows how to send vectors; a connection may be older than this module."""
    cursor = tx.raw.cursor(row_factory=tuple_row)
    cursor.adapters.register_dumper(Halfvecs, _HalfvecsDumper)
    return cursor


def one(vector: NDArray[Any]) -> Halfvecs:
    """One vector: its number of dimensions, two unused bytes, 16-bit floats, big-endian."""
    return Halfvecs(len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f2").tobytes())


def many(vectors: NDArray[Any], oid: int) -> Halfvecs:
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
    return Halfvecs(head + items.tobytes())


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


def insert(tx: Tx, table_id: int, ordinals: Sequence[int], vectors: Halfvecs) -> None:
    """Some vectors."""
    statement = sql.SQL("INSERT INTO {} SELECT t.* FROM unnest(%b::int[], %b::halfvec[]) AS t")
    with _cursor(tx) as cursor:
        cursor.execute(statement.format(table_name("vectors", table_id)), [list(ordinals), vectors])


def build_index(tx: Tx, table_id: int) -> None:
    """Make the index of a table; nothing writes to it meanwhile."""
    tx.row("SELECT set_config('statement_timeout', %s, true)", (str(INDEX_MS_MAX),))
    tx.row("SELECT app_index_vectors(%s)", (table_id,))


def list_vectors(tx: Tx, table_id: int, ordinals: Sequence[int]) -> dict[int, bytes]:
    """Vectors by ordinal, in binary form with four bytes before the values."""
    statement = sql.SQL("SELECT ordinal, halfvec_send(embedding) FROM {} WHERE ordinal = ANY(%b::int[])")
    with _cursor(tx) as cursor:
        rows = cursor.execute(statement.format(table_name("vectors", table_id)), [list(ordinals)]).fetchall()
    return dict(rows)


def nearest(
    tx: Tx, table_id: int, vector: Halfvecs, *, members: bytes | None, ef_search: int, limit: int
) -> list[tuple[int, float]]:
    """(ordinal, cosine) of the nearest by the index; `members` are the ordinals that count, all of them if None."""
    inside = sql.SQL("") if members is None else sql.SQL(_INSIDE)
    statement = sql.SQL(
        "SELECT ordinal, -(embedding <#> %(vector)b::halfvec) FROM {} {}"
        "ORDER BY embedding <#> %(vector)b::halfvec LIMIT %(limit)s"
    ).format(table_name("vectors", table_id), inside)
    params = {"vector": vector, "members": members, "count": 8 * len(members or b""), "limit": limit}
    with _cursor(tx) as cursor:
        with tx.raw.pipeline():  # both on one way to the server
            tx.raw.execute(_SEARCH_SETTINGS, (str(ef_search), str(SCAN_TUPLES_MAX)))
            cursor.execute(statement, params)
        found = [(int(ordinal), float(score)) for ordinal, score in cursor.fetchall()]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def nearest_of_all(
    tx: Tx, table_id: int, vector: Halfvecs, *, members: bytes | None, limit: int
) -> list[tuple[int, float]]:
    """The same by comparing every vector."""
    inside = sql.SQL("") if members is None else sql.SQL(_INSIDE)
    # An expression that no index knows.
    statement = sql.SQL(
        "SELECT ordinal, -(embedding <#> %(vector)b::halfvec) AS score FROM {} {}ORDER BY 0 - (embedding <#>"
        " %(vector)b::halfvec) DESC, ordinal LIMIT %(limit)s"
    ).format(table_name("vectors", table_id), inside)
    return _pairs(
        tx, statement, {"vector": vector, "members": members, "count": 8 * len(members or b""), "limit": limit}
    )


def nearest_of_some(
    tx: Tx, table_id: int, vector: Halfvecs, *, ordinals: Sequence[int], limit: int
) -> list[tuple[int, float]]:
    """The same by comparing those that are named."""
    statement = sql.SQL(
        "SELECT ordinal, -(embedding <#> %(vector)b::halfvec) AS score FROM {} WHERE ordinal = ANY(%(ordinals)b::int[])"
        " ORDER BY 0 - (embedding <#> %(vector)b::halfvec) DESC, ordinal LIMIT %(limit)s"
    ).format(table_name("vectors", table_id))
    return _pairs(tx, statement, {"vector": vector, "ordinals": list(ordinals), "limit": limit})


def _pairs(tx: Tx, statement: sql.Composed, params: dict[str, Any]) -> list[tuple[int, float]]:
    with _cursor(tx) as cursor:
        return [(int(ordinal), float(score)) for ordinal, score in cursor.execute(statement, params).fetchall()]
