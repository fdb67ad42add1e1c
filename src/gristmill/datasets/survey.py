"""The first look at a file: who each row is, of what kind each column is, and what differs from what is there. Pure.

Two passes are read of a file: this one, which keeps a few dozen bytes of each row, and that of the build, which takes
up only the rows that are not there yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gristmill.base.errors import FieldError, Invalid, TooLarge
from gristmill.datasets.columns import Watches
from gristmill.datasets.keys import HASH_BYTES, HASH_TYPE, Identities, RowHasher, identities, key_hash, locate, pairs
from gristmill.datasets.model import DatasetColumn, Difference
from gristmill.tables import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_KEY = b"\0" * HASH_BYTES


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over all rows found."""

    rows: int
    who: Identities
    columns: list[DatasetColumn]
    blank_keys: int
    """Rows whose primary key is empty; their identity is their content."""


@dataclass(frozen=True, slots=True)
class Known:
    """The records that are there already."""

    ordinals: NDArray[np.int32]
    parts: NDArray[np.int32]
    current: NDArray[np.bool_]
    """Whether made by the same recipe."""
    keys: NDArray[np.bytes_]
    contents: NDArray[np.bytes_]


def key_index(table: Table, primary_key_field: str | None) -> int | None:
    """Index of the primary key's column. Raises `Invalid` that lists the columns when there is none of that name."""
    if primary_key_field is None:
        return None
    names = [column.name for column in table.columns]
    for wanted in (primary_key_field, primary_key_field.strip()):
        if wanted in names:
            return names.index(wanted)
    originals = [column.original for column in table.columns]
    if primary_key_field in originals:
        return originals.index(primary_key_field)
    shown = ", ".join(names[:50])
    raise Invalid(
        f"The file has no column `{primary_key_field[:80]}` for the primary key; it has: {shown}.",
        errors=(FieldError("primary_key_field", f"is no column; there are: {shown}"),),
    )


def survey(table: Table, primary_key_field: str | None, rows_max: int) -> Survey:
    """Read a file from end to end. Raises `TooLarge` for more rows than `rows_max`."""
    hasher = RowHasher([column.name for column in table.columns], key_index(table, primary_key_field))
    watches = Watches(table.columns)
    keys, keyed, contents = bytearray(), bytearray(), bytearray()
    for group in table.groups():
        values = group.values or [None] * len(group.rows)
        for row, value in zip(group.rows, values, strict=True):
            key = hasher.key(row)
            keyed.append(key is not None)
            keys += NO_KEY if key is None else key_hash(key)
            contents += hasher.content(row, value)
        watches.add(group.rows)
        if len(keyed) > rows_max:
            raise TooLarge(f"The file has more than {rows_max} rows, the most that a dataset takes.", limit=rows_max)
    blank = keyed.count(0) if primary_key_field is not None else 0
    return Survey(len(keyed), identities(bytes(keys), bytes(keyed), bytes(contents)), watches.columns(), blank)


def reuse(who: Identities, known: Known) -> NDArray[np.int64]:
    """Index in `known` of each row's record made by the same recipe; -1 for rows that must be written."""
    usable = np.flatnonzero(known.current)
    places = locate(pairs(who.keys, who.contents), pairs(known.keys[usable], known.contents[usable]))
    found = np.where(places >= 0, usable[places] if len(usable) else -1, -1)
    return np.where(who.keep, found, -1)


def compare(keys: NDArray[np.bytes_], contents: NDArray[np.bytes_], before: Known, *, same_recipe: bool) -> Difference:
    """The difference of records, by key and content, from those of before."""
    places = locate(keys, before.keys)
    there = places >= 0
    kept = int(there.sum())
    same = int((contents[there] == before.contents[places[there]]).sum()) if same_recipe else 0
    return Difference(len(keys) - kept, kept - same, len(before.keys) - kept, same)


def none_known() -> Known:
    """No records."""
    empty = np.empty(0, np.int32)
    hashes = np.empty(0, HASH_TYPE)
    return Known(empty, empty, np.empty(0, bool), hashes, hashes)


def members_of(ordinals: NDArray[np.int32], parts: NDArray[np.int32], size: int) -> NDArray[np.bool_]:
    """A flag per ordinal: records with all of their chunks."""
    flags = np.zeros(size + 1, np.int32)
    np.add.at(flags, ordinals, 1)
    np.add.at(flags, ordinals + parts, -1)
    return np.cumsum(flags)[:size] > 0


def spread(values: NDArray[np.int32], ordinals: NDArray[np.int32], parts: NDArray[np.int32], size: int) -> bytes:
    """A value per ordinal, int32: that of the record whose chunk it is; 0 where there is none."""
    out = np.zeros(size, "<i4")
    chunks = np.repeat(ordinals, parts) + within(parts)
    out[chunks] = np.repeat(values, parts)
    return out.tobytes()


def within(parts: NDArray[np.int32]) -> NDArray[np.int64]:
    """0, 1, 2, ... inside of each run of the given lengths."""
    ends = np.cumsum(parts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - parts, parts)


def pack(flags: NDArray[np.bool_]) -> bytes:
    """Flags as bits, least significant first, which is PostgreSQL's order in `get_bit`."""
    return np.packbits(flags, bitorder="little").tobytes()


def unpack(bits: bytes, size: int) -> NDArray[np.bool_]:
    """Bits as flags."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=size, bitorder="little").astype(bool)


def signature(columns: Sequence[DatasetColumn]) -> str:
    """What tells whether a table of typed rows fits: the columns that SQL reaches and their kinds."""
    return repr([(item.name, item.kind, item.day_first) for item in columns if item.sql_name is not None])
