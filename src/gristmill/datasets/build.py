"""Building a version: read, compare, write, index, swap.

Every step looks for what is not there yet, so a build that was cut off goes on where it was. Records are written beside
those of the version that is searched, which does not change; what belongs to the new version is decided at its end, in
one transaction.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill import events
from gristmill.base.db import Tx
from gristmill.datasets import arrays, index, rows_store
from gristmill.datasets import build_store as store
from gristmill.datasets.embedders import EmbedderContext, embedders, parse_config
from gristmill.datasets.files import open_table
from gristmill.datasets.lease import Lease
from gristmill.datasets.model import (
    VERSIONS_KEPT,
    WARNINGS_MAX,
    Difference,
    FileReceipt,
    Progress,
    RemovalNotConfirmed,
    Work,
    columns_from,
    removal_share,
    same_columns,
)
from gristmill.datasets.render import Renderer, compiled, recipe
from gristmill.datasets.survey import (
    Known,
    Survey,
    compare,
    key_index,
    members_of,
    none_known,
    pack,
    reuse,
    spread,
    survey,
    unpack,
)
from gristmill.datasets.writing import DUPLICATE, EMPTY, FAILED, RECORD, Places, Writer
from gristmill.tables import Table

SWEEP_ORDINALS = 20_000
"""Records that are removed by one transaction."""
ANALYZE_ROWS = 2_000
"""Rows written after which the planner gets fresh statistics."""
SPARSE_FACTOR = 4
SPARSE_ORDINALS_MIN = 50_000
"""When there are so many times more ordinals than rows, all rows are written anew, so that the bits stay few."""


class Build:
    """One version of one dataset on its way."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._started = time.monotonic()
        work = lease.work
        self._embedder = embedders.get(work.draft.embedder.kind)
        self._config = parse_config(self._embedder, work.draft.embedder.config)
        self._context = EmbedderContext(lease.settings, work.organization_id, lease.context.database)
        self._model = self._embedder.model(self._config, self._context)
        self._recipe = recipe(work.draft, self._model)
        self._live: dict[str, Any] | None = None
        """The version that is searched meanwhile, which nothing changes while this build holds the dataset."""
        self._before = none_known()
        """Its records."""

    async def run(self) -> None:
        """The whole of it. Raises `Superseded`, `Draining`, an `Error`, or a `PluginError` of the embedder."""
        work = self._lease.work
        with open_table(self._lease.settings, work.file) as table:
            typed = work.file.type == "json"
            template = compiled(work.draft.template, work.draft.options, typed=typed)
            rows_max = self._lease.settings.dataset_rows_max
            found = await asyncio.to_thread(survey, table, work.draft.primary_key_field, rows_max)
            places = await asyncio.to_thread(self._compare, found)
            writer = Writer(self._lease, found, places, self._recipe, self._model)
            names = [column.name for column in table.columns]
            renderer = Renderer(template, names, self._embedder, self._model.window)
            async with self._embedder.open(self._config, self._context) as encode:
                key_column = key_index(table, work.draft.primary_key_field)
                await writer.write_all(table, renderer, key_column, encode)
                records = places.records
                self._ask(found, records)  # again: rows that the template fails on are no records
                content = index.Content(
                    found.columns,
                    [column.original for column in table.columns],
                    places.ordinals[records],
                    places.parts[records],
                )
                if writer.progress.chunks >= ANALYZE_ROWS:
                    await asyncio.to_thread(self._lease.read, store.analyze)
                self._lease.tell(Progress("indexing", found.rows, found.rows, writer.progress.chunks))
                rows_table = await asyncio.to_thread(index.fill_rows, self._lease, content)
                vectors_table = await index.fill_vectors(self._lease, content, self._model, encode)
            words = await asyncio.to_thread(index.index_words, self._lease, content)
            vectors = await asyncio.to_thread(self._index_vectors, vectors_table, content)
            warnings = _warnings(table, found, writer, has_vectors=vectors is not None, has_records=records.size > 0)
            version = _Version(found, places, content, rows_table, vectors, words, writer.progress, warnings)
            await asyncio.to_thread(self._swap, version, _reading(table))
        await asyncio.to_thread(self._sweep)

    def _index_vectors(self, table: int | None, content: index.Content) -> index.VectorPart | None:
        return None if table is None else index.index_vectors(self._lease, table, content, self._live)

    # Compare

    def _compare(self, found: Survey) -> Places:
        """Find the records that can stay. Raises `RemovalNotConfirmed`."""
        work = self._lease.work

        def load(tx: Tx, counters: dict[str, Any]) -> tuple[Known, dict[str, Any] | None, int]:
            store.delete_errors(tx, work, work.version)
            store.update_progress(tx, work, Progress("reading", found.rows, found.rows))
            live = store.find_live(tx, work) if work.active is not None else None
            return known_records(tx, work, self._recipe), live, int(counters["ordinal_next"])

        known, self._live, ordinals = self._lease.write(load)
        self._before = live_records(known, self._live)
        kept = found.who.keep
        self._ask(found, kept)
        places = Places(
            np.where(kept, RECORD, DUPLICATE).astype(np.uint8),
            np.full(found.rows, -1, np.int32),
            np.zeros(found.rows, np.int32),
        )
        if ordinals <= max(SPARSE_ORDINALS_MIN, SPARSE_FACTOR * found.rows):
            taken = reuse(found.who, known)
            there = taken >= 0
            places.ordinals[there] = known.ordinals[taken[there]]
            places.parts[there] = known.parts[taken[there]]
        return places

    def _ask(self, found: Survey, kept: NDArray[Any]) -> None:
        """Whether only these rows may stay. Raises `RemovalNotConfirmed`."""
        work, before = self._lease.work, len(self._before.keys)
        difference = compare(found.who.keys[kept], found.who.contents[kept], self._before, same_recipe=True)
        share_max = self._lease.settings.dataset_removal_share_max
        if not work.confirmed and needs_confirmation(work, self._live, difference, before, share_max):
            raise RemovalNotConfirmed(
                f"{difference.removed} of {before} records would be removed; nothing was changed. Look at "
                "the plan, and process with `confirm_removals` if this is meant."
            )

    # Swap

    def _swap(self, version: _Version, reading: dict[str, Any]) -> None:
        """Make the version, and have it searched: one transaction."""
        work, live = self._lease.work, self._live

        def swap(tx: Tx, counters: dict[str, Any]) -> None:
            same_recipe = live is not None and live["recipe"] == self._recipe
            values = version.values(int(counters["ordinal_next"]), self._before, same_recipe=same_recipe)
            records, number = values["records"], work.version
            if live is not None and version.is_same(live, values, self._recipe):
                store.update_same(tx, work, columns=version.found.columns, reading=reading, warnings=version.warnings)
                store.move_errors(tx, work, live["version"])
                number = live["version"]
            else:
                seconds = time.monotonic() - self._started
                values |= {"model": self._model.name, "recipe": self._recipe, "reading": reading, "seconds": seconds}
                store.insert_version(tx, work, values)
            progress = Progress("done", version.found.rows, version.found.rows, values["chunks"], values["embedded"])
            store.update_completed(tx, work, version=number, records=records, progress=progress)
            store.delete_old_versions(tx, work, VERSIONS_KEPT)
            store.release_files(tx, work)
            facts = {name: values[name] for name in ("added", "changed", "removed", "unchanged", "records", "failures")}
            events.emit(
                tx,
                work.organization_id,
                "dataset.completed",
                subject=f"dataset:{work.dataset_id}",
                data={"dataset_id": work.dataset_id, "version": number, **facts},
            )

        self._lease.write(swap)

    def _sweep(self) -> None:
        """Remove what belongs to no version any more, unless the next processing has begun."""
        work = self._lease.work

        def plan(tx: Tx) -> list[int] | None:
            if not store.lock_idle(tx, work.organization_id, work.dataset_id):
                return None
            size, _ = store.find_counters(tx, work)
            alive = np.zeros(size, bool)
            for bits in store.list_members(tx, work):
                members = unpack(bits, min(size, 8 * len(bits)))
                alive[: len(members)] |= members
            known = known_records(tx, work, self._recipe)
            dead = ~alive[known.ordinals]
            chunks = np.repeat(known.ordinals[dead], known.parts[dead])
            return (chunks + index.within(known.parts[dead])).tolist()

        def sweep(tx: Tx, ordinals: list[int]) -> bool:
            if not store.lock_idle(tx, work.organization_id, work.dataset_id):
                return False
            store.delete_unused(tx, work)
            if ordinals:
                store.delete_ordinals(tx, work, ordinals)
                for table in store.list_all_tables(tx, work):
                    rows_store.delete_ordinals(tx, table["kind"], table["id"], ordinals)
            return True

        dead = self._lease.read(plan)
        for start in range(0, max(1, len(dead or ())), SWEEP_ORDINALS):
            part = (dead or [])[start : start + SWEEP_ORDINALS]
            if dead is None or not self._lease.read(lambda tx, part=part: sweep(tx, part)):
                return


class _Version:
    """What a version will be, once it is known what is searched at that moment."""

    def __init__(
        self,
        found: Survey,
        places: Places,
        content: index.Content,
        rows_table: int,
        vectors: index.VectorPart | None,
        words: index.WordPart,
        progress: Progress,
        warnings: list[str],
    ) -> None:
        self.found = found
        self.warnings = warnings
        self._places = places
        self._content = content
        self._rows_table = rows_table
        self._vectors = vectors
        self._words = words
        self._progress = progress

    def values(self, size: int, before: Known, *, same_recipe: bool) -> dict[str, Any]:
        """The line of the version but for what the build knows; `size` is the number of ordinals."""
        who, records, content = self.found.who, self._places.records, self._content
        difference = compare(who.keys[records], who.contents[records], before, same_recipe=same_recipe)
        vectors, words = self._vectors, self._words
        return {
            "columns": self.found.columns,
            "warnings": self.warnings,
            "rows_in": self.found.rows,
            "records": len(records),
            "duplicates": self._places.count(DUPLICATE),
            "empties": self._places.count(EMPTY),
            "failures": self._places.count(FAILED),
            **asdict(difference),
            "chunks": int(content.parts.sum()),
            "embedded": self._progress.embedded,
            "words": words.words,
            "members": pack(members_of(content.ordinals, content.parts, size)),
            "positions": spread((records + 1).astype(np.int32), content.ordinals, content.parts, size),
            "lengths": np.frombuffer(words.lengths, "<u2")[:size].tobytes(),
            "segments": words.segments,
            "rows_table": self._rows_table,
            "vectors_table": None if vectors is None else vectors.table,
            "ef_search": None if vectors is None else vectors.ef_search,
            "recall": None if vectors is None else vectors.recall,
        }

    def is_same(self, live: dict[str, Any], values: dict[str, Any], recipe_now: bytes) -> bool:
        """Whether the version that is searched already is this one."""
        tables = ("rows_table", "vectors_table")
        counts = ("rows_in", "duplicates", "empties", "failures")
        return (
            live["recipe"] == recipe_now
            and _same_bits(live["members"], values["members"])
            and _same_bits(live["positions"], values["positions"])
            and all(live[name] == values[name] for name in (*tables, *counts))
            and same_columns(columns_from(live["columns"]), self.found.columns)
        )


def _same_bits(left: bytes, right: bytes) -> bool:
    """Equal but for zeros at the end: there may be more ordinals now."""
    return left.rstrip(b"\0") == right.rstrip(b"\0")


def known_records(tx: Tx, work: Work, recipe_now: bytes) -> Known:
    """All records of a dataset, of whatever version."""
    ordinals, parts, current, keys, contents = store.read_records(tx, work, recipe_now)
    return Known(
        arrays.ints(ordinals),
        arrays.ints(parts),
        arrays.ints(current) > 0,
        arrays.hashes(keys),
        arrays.hashes(contents),
    )


def live_records(known: Known, live: dict[str, Any] | None) -> Known:
    """Those of the version that is searched."""
    if live is None:
        return none_known()
    members = unpack(live["members"], 8 * len(live["members"]))
    inside = known.ordinals < len(members)
    inside[inside] = members[known.ordinals[inside]]
    return Known(
        known.ordinals[inside], known.parts[inside], known.current[inside], known.keys[inside], known.contents[inside]
    )


def needs_confirmation(
    work: Work, live: dict[str, Any] | None, difference: Difference, before: int, share_max: float
) -> bool:
    """Whether so much of `before` records would go that a person must say so."""
    key = work.draft.primary_key_field
    has_key = key is not None and live is not None and live["primary_key_field"] == key
    return removal_share(difference, before, has_key=has_key) > share_max


def file_receipt(table: Table) -> FileReceipt:
    """What became of the records of a file that was read to its end."""
    receipt = table.receipt
    return FileReceipt(receipt.lines, receipt.header, receipt.preamble, receipt.rows, receipt.rejects, receipt.blank)


def _reading(table: Table) -> dict[str, Any]:
    dialect = table.dialect
    return {
        "receipt": asdict(file_receipt(table)),
        "dialect": {**asdict(dialect), "confidence": dict(dialect.confidence)},
    }


def _warnings(table: Table, found: Survey, writer: Writer, *, has_vectors: bool, has_records: bool) -> list[str]:
    """What a person should know though it stopped nothing."""
    out = list(table.receipt.warnings)
    if not has_records:
        out.insert(0, "No row became a record, so nothing is found; the list of errors says why.")
    if found.blank_keys:
        out.append(f"{found.blank_keys} rows have no primary key; they are known by their content.")
    if writer.lacking:
        out.append(f"{writer.lacking} texts have `<no value>`: the template names something that these rows lack.")
    unfit = [f"{column.name} ({column.unfit})" for column in found.columns if column.unfit]
    if unfit:
        out.append(f"Cells that are not of their column's kind are null in SQL and filters: {', '.join(unfit[:20])}.")
    beyond = sum(column.sql_name is None for column in found.columns)
    if beyond:
        out.append(f"The last {beyond} columns are out of reach for SQL and filters; they are kept with the records.")
    if not has_vectors:
        out.append("The database server has no pgvector: only search by keyword works.")
    return out[:WARNINGS_MAX]
