"""Arrays on their way into the database, in PostgreSQL's binary form, as `array_recv` takes it.

A statement that writes thousands of rows by `unnest` spends most of its time here in adapting values one by one;
joining bytes is several times faster. Layout: number of dimensions, whether there are nulls, type, length and lower
bound of 4 bytes each, then each element's size (-1 is null) and bytes, all big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from gristmill.base.db import Tx

BYTEA, INT8, INT4, TEXT, JSON = 17, 20, 23, 25, 114
"""Numbers of types in PostgreSQL's catalog, which never change."""
_SIZE, _INT4, _INT8 = struct.Struct(">i").pack, struct.Struct(">i").pack, struct.Struct(">q").pack
_HEAD, _NO_ELEMENTS = struct.Struct(">5i").pack, struct.Struct(">3i").pack


class Packed(bytes):
    """A value in PostgreSQL's binary form, for a place whose cast says its type."""

    __slots__ = ()


class _PackedDumper(Dumper):
    """Sends the bytes as they are; the server knows the type from the cast."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: Packed) -> bytes:
        return bytes(obj)


def cursor(tx: Tx) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor that knows how to send `Packed`; a connection may be older than this module."""
    made = tx.raw.cursor(row_factory=tuple_row)
    made.adapters.register_dumper(Packed, _PackedDumper)
    return made


def run(tx: Tx, statement: LiteralString | sql.Composed, params: Sequence[Any] | dict[str, Any]) -> None:
    """Run a statement that takes `Packed`."""
    with cursor(tx) as made:
        made.execute(statement, params)


def tuples(tx: Tx, statement: LiteralString, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All rows of a query that takes `Packed`."""
    with cursor(tx) as made:
        return made.execute(statement, params).fetchall()


def ints(values: Sequence[int]) -> Packed:
    """An int[]."""
    return _joined(INT4, list(map(_INT4, values)))


def bigints(values: Sequence[int | None]) -> Packed:
    """A bigint[]."""
    if None in values:
        return _with_nulls(INT8, [None if value is None else _INT8(value) for value in values])
    return _joined(INT8, list(map(_INT8, values)))


def blobs(values: Sequence[bytes]) -> Packed:
    """A bytea[]."""
    return _joined(BYTEA, values)


def texts(values: Sequence[str | None]) -> Packed:
    """A text[]; the texts must be storable."""
    if None in values:
        return _with_nulls(TEXT, [None if value is None else value.encode() for value in values])
    return _joined(TEXT, list(map(str.encode, cast("Sequence[str]", values))))


def documents(values: Sequence[str]) -> Packed:
    """A json[] of texts that are JSON."""
    return _joined(JSON, list(map(str.encode, values)))


def _joined(oid: int, parts: Sequence[bytes]) -> Packed:
    if not parts:
        return Packed(_NO_ELEMENTS(0, 0, oid))
    pieces = [b""] * (2 * len(parts))
    pieces[::2] = map(_SIZE, map(len, parts))
    pieces[1::2] = parts
    return Packed(_HEAD(1, 0, oid, len(parts), 1) + b"".join(pieces))


def _with_nulls(oid: int, parts: Sequence[bytes | None]) -> Packed:
    pieces = [_SIZE(-1) if part is None else _SIZE(len(part)) + part for part in parts]
    return Packed(_HEAD(1, 1, oid, len(parts), 1) + b"".join(pieces))
