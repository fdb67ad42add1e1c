"""What makes a version searchable: its typed rows, its vectors, its words. Each part is filled with what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.base.db import Tx
from gristmill.datasets import arrays, rows_store, vectors_store
from gristmill.datasets import build_store as store
from gristmill.datasets.columns import reader
from gristmill.datasets.embedders import Encode, Model
from gristmill.datasets.keys import text_hash
from gristmill.datasets.lease import Lease
from gristmill.datasets.model import DatasetColumn, Kind
from gristmill.datasets.postings import SegmentBuilder
from gristmill.datasets.survey import signature, within
from gristmill.tables import cell, flatten

FILL_ROWS = 2_000
"""Rows or vectors that are filled in by one transaction."""
ANALYZE_SHARE = 0.1
"""Share of rows written after which the planner gets fresh statistics."""
EXACT_CHUNKS_MAX = 10_000
"""Up to here every vector is compared, which finds all of the nearest; beyond, there is an index."""
TEXTS_AT_ONCE = 5_000
SEGMENT_WORDS = 3_000_000
"""A segment of the keyword index ends when it has so many words, which bounds the memory that it takes to make."""
POSTINGS_AT_ONCE = 5_000
STEMS_AT_ONCE = 20_000
SEGMENT_SMALL = 20_000
SMALL_SEGMENTS_MAX = 6
"""More small segments than these, one behind the other, become one."""
EF_CHOICES = (60, 100, 160, 240, 400, 700, 1000)
"""How many candidates the vector index looks at: the first that finds enough is taken."""
RECALL_MIN = 0.985
RECALL_QUESTIONS = 40
RECALL_TOP = 10
RECALL_DRIFT_MAX = 0.1
"""Share of changed chunks up to which the recall of before is trusted."""


@dataclass(frozen=True, slots=True)
class Content:
    """The records of a version."""

    columns: list[DatasetColumn]
    originals: list[str]
    """The columns' names as in the file."""
    ordinals: NDArray[np.int32]
    parts: NDArray[np.int32]

    @property
    def chunks(self) -> NDArray[np.int64]:
        """Ordinals of all chunks."""
        return np.repeat(self.ordinals, self.parts) + within(self.parts)


@dataclass(frozen=True, slots=True)
class VectorPart:
    """Where a version's vectors are, and how the nearest are found."""

    table: int
    ef_search: int | None = None
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class WordPart:
    """A version's part of the keyword index."""

    segments: list[int]
    lengths: bytes
    """Words of each ordinal's chunk, uint16."""
    words: int


# Typed rows


def fill_rows(lease: Lease, content: Content) -> int:
    """The table with the records' typed cells; answers its id."""
    wanted = signature(content.columns)
    table, missing = _best_table(lease, "rows", wanted, content.ordinals)
    typed = [column for column in content.columns if column.sql_name is not None]
    kinds: list[Kind] = [column.kind for column in typed]
    if table is None:

        def make(tx: Tx, _: dict[str, Any]) -> int:
            table_id = store.insert_table(tx, lease.work, "rows", wanted)
            rows_store.make(tx, table_id, kinds)
            return table_id

        table = lease.write(make)
    readers = [reader(column) for column in typed]
    is_json = lease.work.file.type == "json"
    names = content.originals[: len(typed)] if is_json else [column.name for column in typed]
    for group in _groups(missing):
        lease.look_up()
        lease.write(lambda tx, _, group=group: _fill_rows(tx, lease, table, group, (names, kinds, readers)))
    if len(missing) > ANALYZE_SHARE * len(content.ordinals):  # the SQL door judges plans by the planner's counts
        lease.write(lambda tx, _: rows_store.analyze(tx, table))
    return table


def _fill_rows(tx: Tx, lease: Lease, table: int, group: list[int], columns: tuple[Any, Any, Any]) -> None:
    names, kinds, readers = columns
    found = store.list_data(tx, lease.work, group)
    is_json = lease.work.file.type == "json"
    rows = [_flat(data) if is_json else data for _, _, data in found]
    cells = [[read(row.get(name) or "") for row in rows] for name, read in zip(names, readers, strict=True)]
    ordinals, keys = [item[0] for item in found], [item[1] for item in found]
    rows_store.insert(tx, table, kinds, ordinals=ordinals, keys=keys, cells=cells)


def _flat(data: Any) -> dict[str, str]:
    return {name: cell(item) for name, item in flatten(data).items()}


def _best_table(lease: Lease, kind: Any, wanted: str, ordinals: NDArray[Any]) -> tuple[int | None, NDArray[Any]]:
    """The table that lacks least of some ordinals, and what it lacks."""

    def look(tx: Tx) -> tuple[int | None, NDArray[Any]]:
        best: tuple[int | None, NDArray[Any]] = (None, ordinals)
        for line in store.list_tables(tx, lease.work, kind, wanted):
            missing = np.setdiff1d(
                ordinals, arrays.ints(rows_store.read_ordinals(tx, kind, line["id"])), assume_unique=True
            )
            if best[0] is None or len(missing) < len(best[1]):
                best = (line["id"], missing)
        return best

    return lease.read(look)


def _groups(ordinals: NDArray[Any]) -> Iterator[list[int]]:
    for start in range(0, len(ordinals), FILL_ROWS):
        yield ordinals[start : start + FILL_ROWS].tolist()


# Vectors


async def fill_vectors(lease: Lease, content: Content, model: Model, encode: Encode) -> int | None:
    """The table with the chunks' vectors; answers its id, or None where there can't be one."""
    chunks = content.chunks
    dimensions = model.dimensions or await asyncio.to_thread(_find_dimensions, lease, model, chunks)
    if dimensions is None or not await asyncio.to_thread(lease.read, vectors_store.is_available):
        return None
    wanted = f"{model.name}:{dimensions}"
    table, missing = await asyncio.to_thread(_best_table, lease, "vectors", wanted, chunks)
    # An index that is filled entry by entry takes longer than one that is built at once.
    if table is None or len(missing) > max(EXACT_CHUNKS_MAX, len(chunks) // 2):
        missing = chunks

        def make(tx: Tx, _: dict[str, Any]) -> int:
            table_id = store.insert_table(tx, lease.work, "vectors", wanted)
            vectors_store.make(tx, table_id, dimensions)
            return table_id

        table = await asyncio.to_thread(lease.write, make)
    for group in _groups(missing):
        lease.look_up()
        await _fill_vectors(lease, table, group, model, encode)
    if len(missing) >= FILL_ROWS:
        await asyncio.to_thread(lease.write, lambda tx, _: rows_store.analyze(tx, table))
    return table


async def _fill_vectors(lease: Lease, table: int, group: list[int], model: Model, encode: Encode) -> None:
    found = await asyncio.to_thread(lease.read, lambda tx: store.list_chunk_vectors(tx, lease.work, model.name, group))
    forgotten = [text for _, vector, text in found if vector is None and text is not None]
    made = iter((await encode(forgotten)).astype("<f2")) if forgotten else iter(())
    vectors = np.array([next(made) if vector is None else np.frombuffer(vector, "<f2") for _, vector, _ in found])

    def write(tx: Tx, _: dict[str, Any]) -> None:
        if forgotten:
            lost = [index for index, item in enumerate(found) if item[1] is None]
            hashes, data = [text_hash(text) for text in forgotten], [vectors[index].tobytes() for index in lost]
            store.insert_vectors(tx, lease.work.organization_id, model.name, hashes, data)
        oid = vectors_store.find_type(tx)
        if oid is None:
            raise LookupError("the type halfvec is gone")
        vectors_store.insert(tx, table, [item[0] for item in found], vectors_store.many(vectors, oid))

    await asyncio.to_thread(lease.write, write)


def _find_dimensions(lease: Lease, model: Model, chunks: NDArray[np.int64]) -> int | None:
    """Of a model that did not say: the length of a vector that it has made."""
    first = lease.read(lambda tx: store.list_chunk_vectors(tx, lease.work, model.name, chunks[:1].tolist()))
    return len(first[0][1]) // 2 if first and first[0][1] is not None else None


def index_vectors(lease: Lease, table: int, content: Content, live: dict[str, Any] | None) -> VectorPart:
    """Have an index where there are many vectors, and know how well it finds."""
    chunks = content.chunks
    if len(chunks) <= EXACT_CHUNKS_MAX:
        return VectorPart(table, None, 1.0)
    lines = lease.read(lambda tx: store.find_table(tx, lease.work, table))
    if not lines["indexed"]:
        # The lease is not held meanwhile: it takes long, and nobody else knows of the table.
        lease.read(lambda tx: vectors_store.build_index(tx, table))
    elif live is not None and live["vectors_table"] == table and live["ef_search"] is not None:
        drift = abs(len(chunks) - live["chunks"]) / len(chunks)
        if drift <= RECALL_DRIFT_MAX:
            return VectorPart(table, live["ef_search"], live["recall"])
    return lease.read(lambda tx: _measure(tx, lease, table, chunks))


def _measure(tx: Tx, lease: Lease, table: int, chunks: NDArray[np.int64]) -> VectorPart:
    """Recall of the index against comparing all, with questions that lie between two chunks of the dataset."""
    dice = np.random.default_rng(lease.work.dataset_id)
    sample = dice.choice(chunks, 2 * RECALL_QUESTIONS).tolist()
    found = vectors_store.list_vectors(tx, table, sample)
    vectors = np.array([np.frombuffer(found[item][4:], ">f2") for item in sample], np.float32)
    mixed = 0.8 * vectors[:RECALL_QUESTIONS] + 0.2 * vectors[RECALL_QUESTIONS:]
    questions = [vectors_store.one(item / np.linalg.norm(item)) for item in mixed]
    exact = [
        {ordinal for ordinal, _ in vectors_store.nearest_of_all(tx, table, item, members=None, limit=RECALL_TOP)}
        for item in questions
    ]
    recall, ef_search = 0.0, EF_CHOICES[0]
    for ef_search in EF_CHOICES:
        hits = 0
        for item, truth in zip(questions, exact, strict=True):
            near = vectors_store.nearest(tx, table, item, members=None, ef_search=ef_search, limit=RECALL_TOP)
            hits += len(truth & {ordinal for ordinal, _ in near})
        recall = hits / sum(map(len, exact))
        if recall >= RECALL_MIN:
            break
    return VectorPart(table, ef_search, recall)


# Words


def index_words(lease: Lease, content: Content) -> WordPart:
    """Index the chunks that are in no segment yet, and choose the segments that the version needs."""
    high, low = lease.read(lambda tx: store.find_counters(tx, lease.work))
    builder = SegmentBuilder(low)
    for start in range(low, high, TEXTS_AT_ONCE):
        lease.look_up()
        end = min(high, start + TEXTS_AT_ONCE)
        for ordinal, text in lease.read(lambda tx, a=start, b=end: store.list_texts(tx, lease.work, a, b)):
            builder.add(ordinal, text)
        if builder.size >= SEGMENT_WORDS or end == high:
            _write_segment(lease, builder, end)
            builder = SegmentBuilder(end)
    chosen = _merge_small(lease, _choose(lease, content))
    lengths = _lengths(lease, chosen, high)
    return WordPart([item["id"] for item in chosen], lengths.tobytes(), int(lengths[content.chunks].sum()))


def _write_segment(lease: Lease, builder: SegmentBuilder, high: int) -> None:
    stems: dict[str, str] = {}
    vocabulary = builder.vocabulary
    for start in range(0, len(vocabulary), STEMS_AT_ONCE):
        part = vocabulary[start : start + STEMS_AT_ONCE]
        stems |= lease.read(lambda tx, part=part: store.find_stems(tx, part))

    def write(tx: Tx, _: dict[str, Any]) -> None:
        if builder.high > builder.low:
            store.insert_segment(
                tx,
                lease.work,
                low=builder.low,
                high=builder.high,
                lengths=builder.lengths(),
                postings=builder.postings(stems),
                group=POSTINGS_AT_ONCE,
            )
        store.update_indexed(tx, lease.work, high)

    lease.write(write)


def _choose(lease: Lease, content: Content) -> list[dict[str, Any]]:
    """Segments that have chunks of the version; of those that overlap the widest, which was made of the others."""
    chosen: list[dict[str, Any]] = []
    covered = 0
    chunks = np.sort(content.chunks)
    for segment in lease.read(lambda tx: store.list_segments(tx, lease.work)):
        if segment["low"] < covered:
            continue
        covered = segment["high"]
        first, last = np.searchsorted(chunks, (segment["low"], segment["high"]))
        if last > first:
            chosen.append(segment)
    return chosen


def _merge_small(lease: Lease, segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with the small ones at the end merged, once there are too many."""
    tail = len(segments)
    while tail > 0 and segments[tail - 1]["high"] - segments[tail - 1]["low"] < SEGMENT_SMALL:
        tail -= 1
    small = segments[tail:]
    if len(small) <= SMALL_SEGMENTS_MAX:
        return segments
    low, high = small[0]["low"], small[-1]["high"]
    lengths = _lengths(lease, small, high)[low:].tobytes()
    ids = [item["id"] for item in small]
    merged = lease.write(lambda tx, _: store.merge_segments(tx, lease.work, ids, low=low, high=high, lengths=lengths))
    return [*segments[:tail], {"id": merged, "low": low, "high": high}]


def _lengths(lease: Lease, segments: Sequence[dict[str, Any]], size: int) -> NDArray[np.uint16]:
    """Words of each ordinal's chunk; 0 where no segment has it."""
    out = np.zeros(size, "<u2")
    for low, data in lease.read(lambda tx: store.find_lengths(tx, lease.work, [item["id"] for item in segments])):
        found = np.frombuffer(data, "<u2")
        out[low : low + len(found)] = found
    return out
