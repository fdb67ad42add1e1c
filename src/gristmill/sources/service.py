"""Verbs of sources.

What reads a file or a database takes no transaction: `prepare`, `preview`, `test`, `take_snapshot` and `open_rows` run
between two short ones, on a source that the first has loaded.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast
from uuid import UUID

from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.db import Tx
from gristmill.base.errors import Error, TooLarge
from gristmill.base.ids import uuid7
from gristmill.base.log import get_log
from gristmill.base.objects import ObjectNotFound, ObjectStore
from gristmill.base.paging import Page, page_of
from gristmill.sources import store
from gristmill.sources.kinds import KINDS
from gristmill.sources.model import (
    SNAPSHOTS_MAX,
    Draft,
    Host,
    OpenedRows,
    Prepared,
    Preview,
    RowStream,
    Sample,
    Snapshot,
    SnapshotDraft,
    SnapshotNotFound,
    Source,
    SourceChanged,
    SourceInUse,
    SourceNotFound,
    StoredSource,
    check_mapping,
)
from gristmill.sources.rungs import Rung

log = get_log("sources")

SPOOL_MEMORY_BYTES = 1024**2
"""Rows of a database are kept in memory up to here, then in a temporary file."""
WRITE_BYTES = 256 * 1024
"""JSON lines are handed on in chunks of about this size."""
BATCHES_SHOWN = 5
"""Batches named when a source can't be deleted."""


def host_of(settings: Settings) -> Host:
    """This process as the place where sources are read."""
    return Host(settings, os.environ)


def prepare(draft: Draft, host: Host, before: StoredSource | None = None) -> Prepared:
    """Check a new source, or what `before` should become; no transaction is open while a database is asked.

    Raises `TooLarge`, `Unreadable`, `QueryRefused`, or `Invalid` that names the field.
    """
    content = KINDS.get(draft.kind).prepare(draft, before, host)
    if content.columns is not None:
        check_mapping(draft.config.default_mapping, content.columns)
    return Prepared(draft, content)


def create(tx: Tx, organization_id: int, prepared: Prepared) -> Source:
    """Save a new source."""
    return store.insert_source(tx, organization_id, prepared.draft, prepared.content)


def update(tx: Tx, before: StoredSource, prepared: Prepared) -> Source:
    """Save a changed source. Raises `SourceChanged` when it is no more what `prepare` looked at."""
    found = store.update_source(tx, before, prepared.draft, prepared.content)
    if found is not None:
        return found
    get(tx, before.organization_id, before.id)
    raise SourceChanged


def get(tx: Tx, organization_id: int, source_id: int, *, text: bool = True) -> StoredSource:
    """A source with what reading it needs. Raises `SourceNotFound`."""
    found = store.find_source(tx, organization_id, source_id, text=text)
    if found is None:
        raise SourceNotFound(f"There is no source {source_id}.")
    return found


def with_text(source: StoredSource) -> Source:
    """A source as it is answered, with the text where it was loaded."""
    return replace(source.source, csv_data=source.csv_data)


def list_sources(tx: Tx, organization_id: int, *, page: int, per_page: int) -> Page[Source]:
    """One page of sources, newest first, without their texts."""
    data, total = store.list_sources(tx, organization_id, limit=per_page, offset=(page - 1) * per_page)
    return page_of(data, page=page, per_page=per_page, total=total)


def delete(tx: Tx, organization_id: int, source_id: int) -> list[str]:
    """Remove a source; answers keys of objects for `delete_objects`, once the transaction is through.

    Raises `SourceInUse` while batches from it are not finished.
    """
    if not store.lock_source(tx, organization_id, source_id):
        raise SourceNotFound(f"There is no source {source_id}.")
    batches = store.list_open_batches(tx, organization_id, source_id, BATCHES_SHOWN + 1)
    if batches:
        shown = ", ".join(str(item) for item in batches[:BATCHES_SHOWN])
        more = " and more" if len(batches) > BATCHES_SHOWN else ""
        raise SourceInUse(
            f"Batches from source {source_id} are not finished: {shown}{more}. Cancel them or wait for their end."
        )
    return store.delete_source(tx, organization_id, source_id)


def delete_objects(keys: Iterable[str], settings: Settings) -> None:
    """Remove rows of snapshots that no source has any more; a store that fails is told to the operator only."""
    for key in keys:
        try:
            ObjectStore.of(settings).delete(key)
        except Error as error:
            log.warning("an object was left behind", key=key, detail=error.message)


def preview(source: StoredSource, limit: int, host: Host) -> Preview:
    """The first rows."""
    return _preview(source, KINDS.get(source.kind).preview(source, limit, host))


def _preview(source: StoredSource, sample: Sample) -> Preview:
    reading = source.reading
    if reading is None:
        return Preview(sample.columns, sample.rows, sample.truncated)
    return Preview(
        sample.columns,
        sample.rows,
        sample.truncated,
        row_count=reading.receipt.rows,
        dialect=replace(reading.dialect, encoding=reading.encoding),
        rejects=reading.rejects,
        receipt=reading.receipt,
    )


def test(source: StoredSource, host: Host) -> list[Rung]:
    """Try a source step by step."""
    return KINDS.get(source.kind).test(source, host)


def take_snapshot(source: StoredSource, limit: int, host: Host) -> SnapshotDraft:
    """Write all rows to the object store; the first `limit` come back too. Save it with `keep_snapshot`."""
    snapshot_id = uuid7()
    key = f"snapshots/{source.organization_id}/{source.id}/{snapshot_id}.jsonl"
    with KINDS.get(source.kind).open(source, host) as stream:
        lines = _JsonLines(stream, limit, host.settings.batch_body_bytes_max)
        ObjectStore.of(host.settings).put_stream(key, lines)
    sample = Sample(stream.columns, lines.first, lines.count > len(lines.first))
    return SnapshotDraft(snapshot_id, key, sample, lines.count)


def keep_snapshot(tx: Tx, source: StoredSource, draft: SnapshotDraft) -> tuple[Preview, list[str]]:
    """Save a snapshot; answers its preview, and keys of older ones for `delete_objects`."""
    if not store.lock_source(tx, source.organization_id, source.id):
        raise SourceNotFound(f"There is no source {source.id} any more.")
    store.insert_snapshot(tx, source.organization_id, source.id, draft)
    old = store.delete_old_snapshots(tx, source.organization_id, source.id, SNAPSHOTS_MAX)
    return replace(_preview(source, draft.sample), row_count=draft.row_count, snapshot_id=draft.id), old


def find_snapshot(tx: Tx, organization_id: int, source_id: int, snapshot_id: UUID) -> Snapshot:
    """A snapshot of a source. Raises `SnapshotNotFound`."""
    found = store.find_snapshot(tx, organization_id, source_id, snapshot_id)
    if found is None:
        raise SnapshotNotFound(f"Source {source_id} has no snapshot {snapshot_id}; take a new one.")
    return found


@contextmanager
def open_rows(source: StoredSource, settings: Settings, *, snapshot: Snapshot | None = None) -> Generator[OpenedRows]:
    """All rows of a source, or those of its snapshot; no transaction is open while they are fetched.

    Rows from a database or an object store are copied to a temporary file first, so that taking them inside a
    transaction touches no network. Raises `TooLarge` for more rows than are read, never a silent cut.
    """
    mapping = dict(source.config.default_mapping.fields)
    kind, host = KINDS.get(source.kind), host_of(settings)
    if snapshot is None and not kind.remote:
        with kind.open(source, host) as stream:
            yield OpenedRows(source.source.name, [item.name for item in stream.columns], mapping, stream.rows)
        return
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES) as spool:
        file = cast("BinaryIO", spool)
        if snapshot is not None:
            columns = snapshot.columns
            _copy_snapshot(snapshot, file, settings)
        else:
            with kind.open(source, host) as stream:
                columns = [item.name for item in stream.columns]
                for chunk in _JsonLines(stream, 0, settings.batch_body_bytes_max):
                    file.write(chunk)
        file.seek(0)
        yield OpenedRows(source.source.name, columns, mapping, (jsons.loads(line) for line in file))


def _copy_snapshot(snapshot: Snapshot, file: BinaryIO, settings: Settings) -> None:
    try:
        with ObjectStore.of(settings).open(snapshot.object_key) as rows:
            while chunk := rows.read(WRITE_BYTES):
                file.write(chunk)
    except ObjectNotFound:
        raise SnapshotNotFound(f"The rows of snapshot {snapshot.id} are gone; take a new one.") from None


class _JsonLines:
    """Rows as JSON lines in chunks; counts them and keeps the first."""

    def __init__(self, stream: RowStream, keep: int, bytes_max: int) -> None:
        self._stream = stream
        self._keep = keep
        self._bytes_max = bytes_max
        self.first: list[dict[str, Any]] = []
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        chunk, size = bytearray(), 0
        for row in self._stream.rows:
            self.count += 1
            if len(self.first) < self._keep:
                self.first.append(row)
            chunk += jsons.dumps(row) + b"\n"
            if len(chunk) >= WRITE_BYTES:
                size += len(chunk)
                if size > self._bytes_max:
                    raise TooLarge(f"The rows are more than {self._bytes_max} bytes as JSON.", limit=self._bytes_max)
                yield bytes(chunk)
                chunk.clear()
        if chunk:
            yield bytes(chunk)
