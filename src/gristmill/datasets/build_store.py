"""SQL of builds: claiming a dataset, writing records, chunks, vectors and postings, and the swap at the end.

Whoever writes holds the dataset's row lock and has checked its lease first (`hold`). Lists travel in binary: in by
`unnest` (packed.py), since row-level security forbids COPY, and long ones out by `array_send` (arrays.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.rows import tuple_row
from psycopg.types.json import Json

from gristmill.base.db import Tx
from gristmill.datasets import packed
from gristmill.datasets.model import DatasetColumn, Progress, Work

if TYPE_CHECKING:
    from gristmill.datasets.postings import Posting


def claim(tx: Tx, organization_id: int, dataset_id: int, worker_id: UUID, progress: Progress) -> dict[str, Any] | None:
    """Take a dataset that waits; None when it does not, or another worker was faster."""
    # Whoever takes a dead worker's datasets back has locked the worker first.
    if tx.row("SELECT FROM worker WHERE id = %s FOR KEY SHARE", (worker_id,)) is None:
        return None
    return tx.row(
        "UPDATE dataset d SET ingest_status = 'processing', worker_id = %(worker)s, epoch = epoch + 1,"
        " progress = %(progress)s, updated_at = clock_timestamp() FROM dataset_file f"
        " WHERE d.organization_id = %(org)s AND d.id = %(id)s AND d.ingest_status = 'pending' AND f.id = d.file_id"
        " RETURNING d.epoch, d.revision, d.version, d.version_next, d.confirmed, d.title, d.type, d.template,"
        " d.options,"
        " d.primary_key_field, d.embedder, f.id AS file_id, f.object_key, f.name AS file_name, f.type AS file_type,"
        " f.size_bytes, f.sha256",
        {"org": organization_id, "id": dataset_id, "worker": worker_id, "progress": Json(asdict(progress))},
    )


def hold(tx: Tx, work: Work) -> dict[str, Any] | None:
    """Lock the dataset and answer its counters; None when the lease is gone or something newer is wanted."""
    return tx.row(
        "SELECT ordinal_next, indexed_to FROM dataset WHERE organization_id = %s AND id = %s AND worker_id = %s"
        " AND epoch = %s AND revision = %s FOR NO KEY UPDATE",
        (work.organization_id, work.dataset_id, work.worker_id, work.epoch, work.revision),
    )


def update_progress(tx: Tx, work: Work, progress: Progress) -> None:
    """Say how far it is."""
    tx.run(
        "UPDATE dataset SET progress = %s, updated_at = clock_timestamp() WHERE id = %s",
        (Json(asdict(progress)), work.dataset_id),
    )


def update_released(tx: Tx, work: Work) -> bool:
    """Give the dataset back unfinished, to be claimed anew; False when it was not ours any more."""
    return (
        tx.run(
            "UPDATE dataset SET ingest_status = 'pending', worker_id = NULL, updated_at = clock_timestamp()"
            " WHERE organization_id = %s AND id = %s AND worker_id = %s AND epoch = %s",
            (work.organization_id, work.dataset_id, work.worker_id, work.epoch),
        )
        > 0
    )


def update_failed(tx: Tx, work: Work, message: str) -> bool:
    """End a processing that can't go on; what was searched before is searched still."""
    return (
        tx.run(
            "UPDATE dataset SET ingest_status = 'failed', worker_id = NULL, last_error = %s,"
            " updated_at = clock_timestamp() WHERE organization_id = %s AND id = %s AND worker_id = %s AND epoch = %s"
            " AND revision = %s",
            (message, work.organization_id, work.dataset_id, work.worker_id, work.epoch, work.revision),
        )
        > 0
    )


def release_worker(tx: Tx, worker_id: UUID) -> list[dict[str, Any]]:
    """Give back what a dead worker processed (system transaction)."""
    return tx.rows(
        "UPDATE dataset SET ingest_status = 'pending', worker_id = NULL WHERE worker_id = %s"
        " RETURNING organization_id, id, revision, epoch",
        (worker_id,),
    )


def list_waiting(tx: Tx, quiet_s: float, limit: int) -> list[dict[str, Any]]:
    """Datasets that have waited for a while (system transaction)."""
    return tx.rows(
        "SELECT organization_id, id, revision, epoch FROM dataset WHERE ingest_status = 'pending'"
        " AND updated_at < now() - make_interval(secs => %s) ORDER BY updated_at LIMIT %s",
        (quiet_s, limit),
    )


def read_records(tx: Tx, work: Work, recipe: bytes) -> tuple[bytes | None, ...]:
    """Ordinals, parts, keys and contents of all records as binary arrays, and 1 for those made by this recipe."""
    with tx.raw.cursor(row_factory=tuple_row, binary=True) as cursor:
        row = cursor.execute(
            "SELECT array_send(array_agg(ordinal)), array_send(array_agg(parts)),"
            " array_send(array_agg((recipe = %s)::int)), array_send(array_agg(key_hash)),"
            " array_send(array_agg(content_hash)) FROM (SELECT ordinal, parts, recipe, key_hash, content_hash"
            " FROM dataset_record WHERE organization_id = %s AND dataset_id = %s ORDER BY ordinal) r",
            (recipe, work.organization_id, work.dataset_id),
        ).fetchone()
    return row or ()


def find_known(tx: Tx, organization_id: int, model: str, hashes: Sequence[bytes]) -> set[bytes]:
    """Of which texts the vectors are known."""
    rows = packed.tuples(
        tx,
        "SELECT text_hash FROM embedding WHERE organization_id = %s AND model = %s AND text_hash = ANY(%b::bytea[])",
        (organization_id, model, packed.blobs(hashes)),
    )
    return {row[0] for row in rows}


def insert_vectors(tx: Tx, organization_id: int, model: str, hashes: Sequence[bytes], vectors: Sequence[bytes]) -> None:
    """Keep vectors of texts."""
    packed.run(
        tx,
        "INSERT INTO embedding (organization_id, model, text_hash, vector)"
        " SELECT %s, %s, t.* FROM unnest(%b::bytea[], %b::bytea[]) AS t"
        " ON CONFLICT (organization_id, model, text_hash) DO NOTHING",
        (organization_id, model, packed.blobs(hashes), packed.blobs(vectors)),
    )


def touch_vectors(tx: Tx, organization_id: int, model: str, hashes: Sequence[bytes]) -> None:
    """Note that vectors were of use, at most once a day."""
    packed.run(
        tx,
        "UPDATE embedding SET used_at = now() WHERE organization_id = %s AND model = %s"
        " AND text_hash = ANY(%b::bytea[]) AND used_at < now() - interval '1 day'",
        (organization_id, model, packed.blobs(hashes)),
    )


def delete_old_vectors(tx: Tx, days: int, limit: int) -> int:
    """Forget vectors that nothing asked for in a long time (system transaction)."""
    return tx.run(
        "DELETE FROM embedding e USING (SELECT organization_id, model, text_hash FROM embedding"
        " WHERE used_at < now() - make_interval(days => %s) ORDER BY used_at LIMIT %s) old"
        " WHERE e.organization_id = old.organization_id AND e.model = old.model AND e.text_hash = old.text_hash",
        (days, limit),
    )


def update_ordinals(tx: Tx, work: Work, ordinal_next: int) -> None:
    """Take ordinals up to and without this one."""
    tx.run("UPDATE dataset SET ordinal_next = %s WHERE id = %s", (ordinal_next, work.dataset_id))


def insert_records(
    tx: Tx,
    work: Work,
    recipe: bytes,
    *,
    ordinals: Sequence[int],
    parts: Sequence[int],
    keys: Sequence[str],
    key_hashes: Sequence[bytes],
    content_hashes: Sequence[bytes],
    data: Sequence[str],
) -> None:
    """Some new records."""
    packed.run(
        tx,
        "INSERT INTO dataset_record (dataset_id, organization_id, recipe, ordinal, parts, record_key, key_hash,"
        " content_hash, data) SELECT %(id)s, %(org)s, %(recipe)s, t.*"
        " FROM unnest(%(ordinals)b::int[], %(parts)b::int[],"
        " %(keys)b::text[], %(key_hashes)b::bytea[], %(contents)b::bytea[], %(data)b::json[]) AS t",
        {
            "id": work.dataset_id,
            "org": work.organization_id,
            "recipe": recipe,
            "ordinals": packed.ints(ordinals),
            "parts": packed.ints(parts),
            "keys": packed.texts(keys),
            "key_hashes": packed.blobs(key_hashes),
            "contents": packed.blobs(content_hashes),
            "data": packed.documents(data),
        },
    )


def insert_chunks(
    tx: Tx, work: Work, *, ordinals: Sequence[int], hashes: Sequence[bytes], texts: Sequence[str]
) -> None:
    """Some new chunks."""
    packed.run(
        tx,
        "INSERT INTO dataset_chunk (dataset_id, organization_id, ordinal, text_hash, text)"
        " SELECT %(id)s, %(org)s, t.* FROM unnest(%(ordinals)b::int[], %(hashes)b::bytea[], %(texts)b::text[]) AS t",
        {
            "id": work.dataset_id,
            "org": work.organization_id,
            "ordinals": packed.ints(ordinals),
            "hashes": packed.blobs(hashes),
            "texts": packed.texts(texts),
        },
    )


def delete_errors(tx: Tx, work: Work, version: int) -> None:
    """Forget the errors of a version."""
    tx.run("DELETE FROM dataset_error WHERE dataset_id = %s AND version = %s", (work.dataset_id, version))


def move_errors(tx: Tx, work: Work, to: int) -> None:
    """Give the errors of the version under way to one that is there already, since it turned out to be the same."""
    delete_errors(tx, work, to)
    tx.run(
        "UPDATE dataset_error SET version = %s WHERE dataset_id = %s AND version = %s",
        (to, work.dataset_id, work.version),
    )


def insert_errors(tx: Tx, work: Work, rows: Sequence[tuple[int, str, int, str | None, str, str | None]]) -> None:
    """(number, kind, line, record key, reason, data as JSON) of some rows."""
    numbers, kinds, lines, keys, reasons, data = zip(*rows, strict=True)
    tx.run(
        "INSERT INTO dataset_error (dataset_id, version, organization_id, number, kind, line, record_key, reason, data)"
        " SELECT %(id)s, %(version)s, %(org)s, t.* FROM unnest(%(numbers)b::int[], %(kinds)b::text[], %(lines)b::int[],"
        " %(keys)b::text[], %(reasons)b::text[], %(data)b::json[]) AS t",
        {
            "id": work.dataset_id,
            "version": work.version,
            "org": work.organization_id,
            "numbers": list(numbers),
            "kinds": list(kinds),
            "lines": list(lines),
            "keys": list(keys),
            "reasons": list(reasons),
            "data": list(data),
        },
    )


def list_texts(tx: Tx, work: Work, low: int, high: int) -> list[tuple[int, str]]:
    """(ordinal, text) of chunks from an ordinal on, below another."""
    return tx.tuples(  # pyright: ignore[reportReturnType]  # two columns
        "SELECT ordinal, text FROM dataset_chunk WHERE organization_id = %s AND dataset_id = %s AND ordinal >= %s"
        " AND ordinal < %s ORDER BY ordinal",
        (work.organization_id, work.dataset_id, low, high),
    )


def find_counters(tx: Tx, work: Work) -> tuple[int, int]:
    """The next ordinal, and up to which all are indexed."""
    row = tx.one("SELECT ordinal_next, indexed_to FROM dataset WHERE id = %s", (work.dataset_id,))
    return int(row["ordinal_next"]), int(row["indexed_to"])


def list_chunk_vectors(
    tx: Tx, work: Work, model: str, ordinals: Sequence[int]
) -> list[tuple[int, bytes | None, str | None]]:
    """(ordinal, vector, text) of chunks; the text only where the vector is not known any more."""
    return packed.tuples(  # pyright: ignore[reportReturnType]  # three columns
        tx,
        "SELECT c.ordinal, e.vector, CASE WHEN e.vector IS NULL THEN c.text END FROM dataset_chunk c"
        " LEFT JOIN embedding e ON e.organization_id = c.organization_id AND e.model = %s AND e.text_hash = c.text_hash"
        " WHERE c.organization_id = %s AND c.dataset_id = %s AND c.ordinal = ANY(%b::int[]) ORDER BY c.ordinal",
        (model, work.organization_id, work.dataset_id, packed.ints(ordinals)),
    )


def list_data(tx: Tx, work: Work, ordinals: Sequence[int]) -> list[tuple[int, str, Any]]:
    """(ordinal, record key, row) of records."""
    return packed.tuples(  # pyright: ignore[reportReturnType]  # three columns
        tx,
        "SELECT ordinal, record_key, data FROM dataset_record WHERE organization_id = %s AND dataset_id = %s"
        " AND ordinal = ANY(%b::int[]) ORDER BY ordinal",
        (work.organization_id, work.dataset_id, packed.ints(ordinals)),
    )


def find_stems(tx: Tx, words: Sequence[str]) -> dict[str, str]:
    """The stem of each word that is not its own."""
    rows = packed.tuples(
        tx,
        "SELECT word, stem FROM unnest(%b::text[]) AS word"
        " CROSS JOIN LATERAL (SELECT (ts_lexize('app_stem', word))[1] AS stem) s WHERE stem <> word",
        (packed.texts(words),),
    )
    return dict(rows)


def insert_segment(
    tx: Tx, work: Work, *, low: int, high: int, lengths: bytes, postings: Iterable[Posting], group: int
) -> int:
    """A part of the keyword index, its postings in groups of `group`; answers its id."""
    segment_id = int(
        tx.one(
            "INSERT INTO dataset_segment (organization_id, dataset_id, low, high, lengths) VALUES (%s, %s, %s, %s, %s)"
            " RETURNING id",
            (work.organization_id, work.dataset_id, low, high, lengths),
        )["id"]
    )
    waiting: list[Posting] = []
    for posting in postings:
        waiting.append(posting)
        if len(waiting) >= group:
            _insert_postings(tx, work, segment_id, waiting)
            waiting = []
    if waiting:
        _insert_postings(tx, work, segment_id, waiting)
    return segment_id


def update_indexed(tx: Tx, work: Work, high: int) -> None:
    """Note that every ordinal below is in a segment, or has no chunk."""
    tx.run("UPDATE dataset SET indexed_to = %s WHERE id = %s", (high, work.dataset_id))


def _insert_postings(tx: Tx, work: Work, segment_id: int, postings: Sequence[Posting]) -> None:
    terms, ordinals, counts = zip(*postings, strict=True)
    packed.run(
        tx,
        "INSERT INTO dataset_posting (segment_id, organization_id, term, ordinals, counts)"
        " SELECT %s, %s, t.* FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) AS t",
        (segment_id, work.organization_id, packed.texts(terms), packed.blobs(ordinals), packed.blobs(counts)),
    )


def list_segments(tx: Tx, work: Work) -> list[dict[str, Any]]:
    """All segments in the order of their ordinals. Merged ones stand beside those that they were made of."""
    return tx.rows(
        "SELECT id, low, high FROM dataset_segment WHERE organization_id = %s AND dataset_id = %s"
        " ORDER BY low, high DESC",
        (work.organization_id, work.dataset_id),
    )


def find_lengths(tx: Tx, work: Work, segment_ids: Sequence[int]) -> list[tuple[int, bytes]]:
    """(first ordinal, lengths) of segments."""
    return tx.tuples(  # pyright: ignore[reportReturnType]  # two columns
        "SELECT low, lengths FROM dataset_segment WHERE organization_id = %s AND id = ANY(%s)",
        (work.organization_id, list(segment_ids)),
    )


def merge_segments(tx: Tx, work: Work, segment_ids: Sequence[int], *, low: int, high: int, lengths: bytes) -> int:
    """One segment with the postings of several, between which there is none; answers its id."""
    ids = list(segment_ids)
    merged = int(
        tx.one(
            "INSERT INTO dataset_segment (organization_id, dataset_id, low, high, lengths) VALUES (%s, %s, %s, %s, %s)"
            " RETURNING id",
            (work.organization_id, work.dataset_id, low, high, lengths),
        )["id"]
    )
    tx.run(
        "INSERT INTO dataset_posting (segment_id, organization_id, term, ordinals, counts)"
        " SELECT %s, %s, p.term, string_agg(p.ordinals, '' ORDER BY s.low), string_agg(p.counts, '' ORDER BY s.low)"
        " FROM dataset_posting p JOIN dataset_segment s ON s.id = p.segment_id"
        " WHERE p.organization_id = %s AND p.segment_id = ANY(%s) GROUP BY p.term",
        (merged, work.organization_id, work.organization_id, ids),
    )
    return merged


def list_tables(tx: Tx, work: Work, kind: str, signature: str) -> list[dict[str, Any]]:
    """Tables of a kind that could be used again, newest first."""
    return tx.rows(
        "SELECT id, indexed FROM dataset_table WHERE organization_id = %s AND dataset_id = %s AND kind = %s"
        " AND signature = %s ORDER BY id DESC",
        (work.organization_id, work.dataset_id, kind, signature),
    )


def insert_table(tx: Tx, work: Work, kind: str, signature: str) -> int:
    """Register a table that is about to be made; answers its id."""
    row = tx.one(
        "INSERT INTO dataset_table (organization_id, dataset_id, kind, signature) VALUES (%s, %s, %s, %s) RETURNING id",
        (work.organization_id, work.dataset_id, kind, signature),
    )
    return int(row["id"])


def find_table(tx: Tx, work: Work, table_id: int) -> dict[str, Any]:
    """A registered table."""
    return tx.one(
        "SELECT id, indexed FROM dataset_table WHERE organization_id = %s AND id = %s", (work.organization_id, table_id)
    )


def list_all_tables(tx: Tx, work: Work) -> list[dict[str, Any]]:
    """Every table of a dataset."""
    return tx.rows(
        "SELECT id, kind FROM dataset_table WHERE organization_id = %s AND dataset_id = %s",
        (work.organization_id, work.dataset_id),
    )


def release_files(tx: Tx, work: Work) -> None:
    """Let go of the files that neither the dataset nor a version of it names."""
    tx.run(
        "UPDATE dataset_file SET dataset_id = NULL, expires_at = now() WHERE organization_id = %(org)s"
        " AND dataset_id = %(id)s AND id <> (SELECT file_id FROM dataset WHERE id = %(id)s)"
        " AND id NOT IN (SELECT file_id FROM dataset_version WHERE dataset_id = %(id)s)",
        {"org": work.organization_id, "id": work.dataset_id},
    )


def find_live(tx: Tx, work: Work) -> dict[str, Any] | None:
    """The version that is searched while another is built."""
    return tx.row(
        "SELECT version, recipe, columns, members, positions, rows_table, vectors_table, ef_search,"
        " recall, chunks, rows_in, duplicates, empties, failures, primary_key_field FROM dataset_version"
        " WHERE organization_id = %s AND dataset_id = %s AND version = %s",
        (work.organization_id, work.dataset_id, work.active),
    )


def insert_version(tx: Tx, work: Work, values: dict[str, Any]) -> None:
    """The version, complete."""
    tx.run(
        "INSERT INTO dataset_version (dataset_id, version, organization_id, file_id, template, options,"
        " primary_key_field, embedder, model, recipe, columns, reading, warnings, rows_in, records, duplicates,"
        " empties, failures, added, changed, removed, unchanged, chunks, embedded, words, members,"
        " positions, lengths, segments,"
        " rows_table, vectors_table, ef_search, recall, seconds) VALUES (%(id)s, %(version)s, %(org)s, %(file)s,"
        " %(template)s, %(options)s, %(key)s, %(embedder)s, %(model)s, %(recipe)s, %(columns)s, %(reading)s,"
        " %(warnings)s, %(rows_in)s, %(records)s, %(duplicates)s, %(empties)s, %(failures)s, %(added)s,"
        " %(changed)s, %(removed)s,"
        " %(unchanged)s, %(chunks)s, %(embedded)s, %(words)s, %(members)s, %(positions)s, %(lengths)s, %(segments)s,"
        " %(rows_table)s, %(vectors_table)s, %(ef_search)s, %(recall)s, %(seconds)s)",
        {
            "id": work.dataset_id,
            "version": work.version,
            "org": work.organization_id,
            "file": work.file.id,
            "template": work.draft.template,
            "options": Json(asdict(work.draft.options)),
            "key": work.draft.primary_key_field,
            "embedder": Json(asdict(work.draft.embedder)),
            **values,
            "columns": Json([asdict(column) for column in values["columns"]]),
            "reading": Json(values["reading"]),
            "warnings": Json(values["warnings"]),
        },
    )


def update_same(tx: Tx, work: Work, *, columns: Sequence[DatasetColumn], reading: Any, warnings: Sequence[str]) -> None:
    """The version that is searched is what the new file says as well: only its file and its reading are noted."""
    tx.run(
        "UPDATE dataset_version SET file_id = %s, columns = %s, reading = %s, warnings = %s"
        " WHERE organization_id = %s AND dataset_id = %s AND version = %s",
        (
            work.file.id,
            Json([asdict(column) for column in columns]),
            Json(reading),
            Json(list(warnings)),
            work.organization_id,
            work.dataset_id,
            work.active,
        ),
    )


def update_completed(tx: Tx, work: Work, *, version: int, records: int, progress: Progress) -> None:
    """The swap: from here on this version is searched."""
    tx.run(
        "UPDATE dataset SET ingest_status = 'completed', worker_id = NULL, version = %(version)s,"
        " version_next = greatest(version_next, %(version)s + 1), source_count = %(records)s, confirmed = false,"
        " last_error = NULL, last_unfurled_at = clock_timestamp(), updated_at = clock_timestamp(),"
        " progress = %(progress)s WHERE id = %(id)s",
        {"id": work.dataset_id, "version": version, "records": records, "progress": Json(asdict(progress))},
    )


def delete_old_versions(tx: Tx, work: Work, keep: int) -> int:
    """Forget all but the newest versions, and the one that is searched."""
    dropped = tx.tuples(
        "DELETE FROM dataset_version WHERE organization_id = %(org)s AND dataset_id = %(id)s"
        " AND version <= (SELECT max(version) FROM dataset_version WHERE dataset_id = %(id)s) - %(keep)s"
        " AND version <> (SELECT version FROM dataset WHERE id = %(id)s) RETURNING version",
        {"org": work.organization_id, "id": work.dataset_id, "keep": keep},
    )
    tx.run(
        "DELETE FROM dataset_error WHERE dataset_id = %(id)s AND version < (SELECT version_next FROM dataset"
        " WHERE id = %(id)s) AND version NOT IN (SELECT version FROM dataset_version WHERE dataset_id = %(id)s)",
        {"id": work.dataset_id},
    )
    return len(dropped)


def lock_idle(tx: Tx, organization_id: int, dataset_id: int) -> bool:
    """Lock a dataset that nobody processes, so that none begins; False when somebody does."""
    return (
        tx.row(
            "SELECT FROM dataset WHERE organization_id = %s AND id = %s AND ingest_status <> 'processing'"
            " FOR NO KEY UPDATE",
            (organization_id, dataset_id),
        )
        is not None
    )


def list_members(tx: Tx, work: Work) -> list[bytes]:
    """Members of every version that is kept."""
    rows = tx.tuples(
        "SELECT members FROM dataset_version WHERE organization_id = %s AND dataset_id = %s",
        (work.organization_id, work.dataset_id),
    )
    return [row[0] for row in rows]


def delete_ordinals(tx: Tx, work: Work, ordinals: Sequence[int]) -> None:
    """Remove records and chunks that belong to no version."""
    params = (work.organization_id, work.dataset_id, list(ordinals))
    tx.run(
        "DELETE FROM dataset_chunk WHERE organization_id = %s AND dataset_id = %s AND ordinal = ANY(%b::int[])", params
    )
    tx.run(
        "DELETE FROM dataset_record WHERE organization_id = %s AND dataset_id = %s AND ordinal = ANY(%b::int[])", params
    )


def delete_unused(tx: Tx, work: Work) -> None:
    """Remove segments and tables that no version uses; the tables themselves go with their lines."""
    scope = {"org": work.organization_id, "id": work.dataset_id}
    tx.run(
        "DELETE FROM dataset_segment WHERE organization_id = %(org)s AND dataset_id = %(id)s AND id NOT IN"
        " (SELECT unnest(segments) FROM dataset_version WHERE dataset_id = %(id)s)",
        scope,
    )
    tx.run(
        "DELETE FROM dataset_table WHERE organization_id = %(org)s AND dataset_id = %(id)s AND id NOT IN"
        " (SELECT rows_table FROM dataset_version WHERE dataset_id = %(id)s UNION"
        " SELECT vectors_table FROM dataset_version WHERE dataset_id = %(id)s AND vectors_table IS NOT NULL)",
        scope,
    )


def analyze(tx: Tx) -> None:
    """Fresh statistics after a bulk load."""
    tx.row("SELECT app_analyze_datasets()")
