"""The second pass over a file: rows that are not there yet are rendered, embedded and written.

While a batch is written, the next one is rendered and embedded already. No transaction is open meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.base.db import Tx
from gristmill.datasets import build_store as store
from gristmill.datasets.embedders import Encode, Model
from gristmill.datasets.keys import content_key, shown_key, text_hash, whole
from gristmill.datasets.lease import Lease
from gristmill.datasets.model import ERRORS_KEPT, ErrorKind, Progress, storable
from gristmill.datasets.render import Rendered, Renderer, stored_json
from gristmill.datasets.survey import Survey
from gristmill.tables import Table

BATCH_ROWS = 512
"""Rows that are rendered, embedded and written together."""
BATCH_CHARS = 4 * 1024**2
"""A batch ends early when its rows are this long."""
RECORD, DUPLICATE, EMPTY, FAILED = range(4)

ErrorRow = tuple[int, str, int, str | None, str, str | None]
"""(number, kind, line, record key, reason, data as JSON)."""


@dataclass(slots=True)
class Places:
    """What became of each row of the file."""

    status: NDArray[np.uint8]
    ordinals: NDArray[np.int32]
    """Of its record; -1 while there is none."""
    parts: NDArray[np.int32]

    @property
    def records(self) -> NDArray[np.int64]:
        """Indexes of the rows that are records."""
        return np.flatnonzero(self.status == RECORD)

    def count(self, status: int) -> int:
        """Rows that ended so."""
        return int((self.status == status).sum())


@dataclass(slots=True)
class Errors:
    """Rows that are no records, up to a limit."""

    rows: list[ErrorRow] = field(default_factory=list[ErrorRow])

    def add(self, kind: ErrorKind, line: int, key: str | None, reason: str, data: Any) -> None:
        """Keep one while there is room."""
        if len(self.rows) < ERRORS_KEPT:
            self.rows.append((len(self.rows) + 1, kind, line, key, storable(reason), stored_json(data)))


@dataclass(slots=True)
class _Taken:
    """Rows as the file hands them out."""

    rows: list[int] = field(default_factory=list[int])
    """Indexes in the file."""
    lines: list[int] = field(default_factory=list[int])
    cells: list[list[str]] = field(default_factory=list[list[str]])
    values: list[Any] = field(default_factory=list[Any])
    chars: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= BATCH_ROWS or self.chars >= BATCH_CHARS


@dataclass(slots=True)
class _Batch:
    """Rows on their way into the database."""

    rows: list[int] = field(default_factory=list[int])
    keys: list[str] = field(default_factory=list[str])
    data: list[str] = field(default_factory=list[str])
    texts: list[list[str]] = field(default_factory=list[list[str]])
    hashes: list[bytes] = field(default_factory=list[bytes])
    """Of the texts, chunk by chunk."""
    known: list[bytes] = field(default_factory=list[bytes])
    """Hashes of texts whose vectors were there."""
    new: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    """Vectors that were computed now."""


class Writer:
    """Writes what a survey found missing."""

    def __init__(self, lease: Lease, found: Survey, places: Places, recipe: bytes, model: Model) -> None:
        self._lease = lease
        self._found = found
        self._places = places
        self._recipe = recipe
        self._model = model
        self._errors = Errors()
        self._fresh = (places.ordinals < 0) & (places.status == RECORD)
        self.progress = Progress("embedding", 0, int(self._fresh.sum()))
        self.lacking = 0
        """Texts that have Go's mark of a missing key."""

    async def write_all(self, table: Table, renderer: Renderer, key_column: int | None, encode: Encode) -> None:
        """All batches. Raises `Superseded`, `Draining`, or what the embedder raises."""
        writing: asyncio.Task[None] | None = None
        try:
            async for taken in self._batches(table, key_column):
                batch = await self._prepare(renderer, taken, key_column, encode)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(asyncio.to_thread(self._write, batch))
        finally:
            if writing is not None:
                await writing
        await asyncio.to_thread(self._write_errors, table)

    async def _batches(self, table: Table, key_column: int | None) -> AsyncIterator[_Taken]:
        if not self._fresh.any() and self._found.who.keep.all():
            return
        rows = self._take(table, key_column)
        while (taken := await asyncio.to_thread(next, rows, None)) is not None:
            self._lease.look_up()
            yield taken

    def _take(self, table: Table, key_column: int | None) -> Iterator[_Taken]:
        """Fresh rows, a batch at a time; duplicates go to the errors as they pass."""
        names = [column.name for column in table.columns]
        fresh, keep = self._fresh.tolist(), self._found.who.keep.tolist()
        taken, number = _Taken(), -1
        for group in table.groups():
            values = group.values or [None] * len(group.rows)
            for line, row, value in zip(group.lines, group.rows, values, strict=True):
                number += 1
                if not keep[number]:
                    data = dict(zip(names, row, strict=True)) if value is None else value
                    key = None if key_column is None else shown_key(row[key_column].strip())
                    self._errors.add("duplicate", line, key, "The key comes again further down.", data)
                if not fresh[number]:
                    continue
                taken.rows.append(number)
                taken.lines.append(line)
                taken.cells.append(row)
                taken.values.append(value)
                taken.chars += sum(map(len, row))
                if taken.is_full:
                    yield taken
                    taken = _Taken()
        if taken.rows:
            yield taken

    async def _prepare(self, renderer: Renderer, taken: _Taken, key_column: int | None, encode: Encode) -> _Batch:
        """Render, cut, look for known vectors, and compute the others."""
        batch = await asyncio.to_thread(self._render, renderer, taken, key_column)
        texts = [text for item in batch.texts for text in item]
        batch.hashes = [text_hash(text) for text in texts]
        by_hash = dict(zip(batch.hashes, texts, strict=True))
        if not by_hash:
            return batch
        known = await asyncio.to_thread(self._lease.read, lambda tx: self._find_known(tx, list(by_hash)))
        missing = [item for item in by_hash if item not in known]
        if missing:
            vectors = (await encode([by_hash[item] for item in missing])).astype("<f2")
            batch.new = {item: vector.tobytes() for item, vector in zip(missing, vectors, strict=True)}
        batch.known = list(known)
        return batch

    def _find_known(self, tx: Tx, hashes: Sequence[bytes]) -> set[bytes]:
        return store.find_known(tx, self._lease.work.organization_id, self._model.name, hashes)

    def _render(self, renderer: Renderer, taken: _Taken, key_column: int | None) -> _Batch:
        typed = self._lease.work.file.type == "json"
        batch = _Batch()
        rendered = renderer.render(taken.cells, taken.values if typed else None)
        for number, line, row, value, item in zip(
            taken.rows, taken.lines, taken.cells, taken.values, rendered, strict=True
        ):
            key, data = self._record_key(number, row, key_column), renderer.data(row, value)
            if not item.texts:
                self._refuse(number, line, key, item, data)
                continue
            batch.rows.append(number)
            batch.keys.append(key)
            batch.data.append(stored_json(data))
            batch.texts.append(item.texts)
            self.lacking += item.lacks_value
        return batch

    def _record_key(self, number: int, row: Sequence[str], key_column: int | None) -> str:
        who = self._found.who
        if key_column is not None and who.keyed[number]:
            return shown_key(row[key_column].strip())
        return content_key(whole(who.contents, number), int(who.occurrences[number]))

    def _refuse(self, number: int, line: int, key: str, item: Rendered, data: Any) -> None:
        """Count a row that has no text."""
        self._places.status[number] = FAILED if item.reason else EMPTY
        kind: ErrorKind = "template" if item.reason else "empty"
        self._errors.add(kind, line, key, item.reason or "The template gave no text.", data)

    def _write(self, batch: _Batch) -> None:
        """One transaction: vectors, records, chunks, progress."""
        work, parts = self._lease.work, [len(item) for item in batch.texts]
        progress = self._advanced(batch)

        def write(tx: Tx, counters: dict[str, Any]) -> int:
            if batch.new:
                hashes, vectors = list(batch.new), list(batch.new.values())
                store.insert_vectors(tx, work.organization_id, self._model.name, hashes, vectors)
            if batch.known:
                store.touch_vectors(tx, work.organization_id, self._model.name, batch.known)
            first = int(counters["ordinal_next"])
            if batch.rows:
                store.update_ordinals(tx, work, first + len(batch.hashes))
                self._insert(tx, batch, first, parts)
            store.update_progress(tx, work, progress)
            return first

        first = self._lease.write(write)
        self.progress = progress
        if batch.rows:
            self._places.ordinals[batch.rows] = _starts(first, parts)
            self._places.parts[batch.rows] = parts

    def _insert(self, tx: Tx, batch: _Batch, first: int, parts: list[int]) -> None:
        who = self._found.who
        store.insert_records(
            tx,
            self._lease.work,
            self._recipe,
            ordinals=_starts(first, parts),
            parts=parts,
            keys=batch.keys,
            key_hashes=[whole(who.keys, number) for number in batch.rows],
            content_hashes=[whole(who.contents, number) for number in batch.rows],
            data=batch.data,
        )
        store.insert_chunks(
            tx,
            self._lease.work,
            ordinals=list(range(first, first + len(batch.hashes))),
            hashes=batch.hashes,
            texts=[text for item in batch.texts for text in item],
        )

    def _advanced(self, batch: _Batch) -> Progress:
        now = self.progress
        return Progress(
            "embedding",
            now.rows + len(batch.rows),
            now.rows_total,
            now.chunks + len(batch.hashes),
            now.embedded + len(batch.new),
        )

    def _write_errors(self, table: Table) -> None:
        """Keep what was wrong, and the records of the file that are no rows."""
        for reject in table.rejects:
            self._errors.add("reject", reject.line, None, reject.reason, reject.raw.decode("utf-8", "replace"))
        rows = self._errors.rows

        def write(tx: Tx, _: dict[str, Any]) -> None:
            for start in range(0, len(rows), BATCH_ROWS):
                store.insert_errors(tx, self._lease.work, rows[start : start + BATCH_ROWS])

        if rows:
            self._lease.write(write)


def _starts(first: int, parts: Sequence[int]) -> list[int]:
    """Ordinal of each record's first chunk."""
    return (first + np.cumsum([0, *parts[:-1]])).tolist()
