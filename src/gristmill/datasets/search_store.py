"""SQL of searching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.base.db import Tx


def list_searchable(
    tx: Tx, organization_id: int, agent_id: int, dataset_ids: Sequence[int] | None
) -> list[dict[str, Any]]:
    """The datasets of an agent, or some of them, each with the version that is searched; without one it is None."""
    return tx.rows(
        "SELECT d.id, d.version, d.ordinal_next, v.chunks, v.words, v.records, v.segments, v.rows_table,"
        " v.vectors_table, v.ef_search, v.columns, v.embedder, v.model FROM dataset d"
        " LEFT JOIN dataset_version v ON v.dataset_id = d.id AND v.version = d.version"
        " WHERE d.organization_id = %(org)s AND d.agent_id = %(agent)s"
        " AND (%(ids)s::bigint[] IS NULL OR d.id = ANY(%(ids)s)) ORDER BY d.id",
        {"org": organization_id, "agent": agent_id, "ids": None if dataset_ids is None else list(dataset_ids)},
    )


def find_map(tx: Tx, organization_id: int, dataset_id: int, version: int) -> tuple[bytes, bytes, bytes]:
    """Members, lengths and positions of a version."""
    rows = tx.tuples(
        "SELECT members, lengths, positions FROM dataset_version"
        " WHERE organization_id = %s AND dataset_id = %s AND version = %s",
        (organization_id, dataset_id, version),
    )
    return rows[0]  # pyright: ignore[reportReturnType]  # three columns


def find_rows(tx: Tx, organization_id: int, dataset_id: int, version: int) -> dict[str, Any]:
    """Where the typed rows of a version are, and which of them are its own; `members` is None where all are."""
    return tx.one(
        "SELECT v.rows_table, v.columns, v.positions,"
        " CASE WHEN v.chunks <> d.ordinal_next THEN v.members END AS members"
        " FROM dataset_version v JOIN dataset d ON d.id = v.dataset_id"
        " WHERE v.organization_id = %s AND v.dataset_id = %s AND v.version = %s",
        (organization_id, dataset_id, version),
    )


def list_postings(
    tx: Tx, organization_id: int, segment_ids: Sequence[int], terms: Sequence[str]
) -> list[tuple[int, str, bytes, bytes]]:
    """(segment, term, ordinals, counts) of some terms."""
    with tx.raw.cursor(binary=True) as cursor:
        return cursor.execute(
            "SELECT segment_id, term, ordinals, counts FROM dataset_posting"
            " WHERE organization_id = %s AND segment_id = ANY(%s) AND term = ANY(%s)",
            (organization_id, list(segment_ids), list(terms)),
        ).fetchall()  # pyright: ignore[reportReturnType]  # four columns


def list_hits(
    tx: Tx, organization_id: int, dataset_id: int, ordinals: Sequence[int], owners: Sequence[int]
) -> list[dict[str, Any]]:
    """Chunks, each with its record."""
    return tx.rows(
        "SELECT c.ordinal, c.text, r.record_key, r.data"
        " FROM unnest(%(ordinals)b::int[], %(owners)b::int[]) AS w(ordinal, owner)"
        " JOIN dataset_chunk c ON c.dataset_id = %(id)s AND c.ordinal = w.ordinal"
        " JOIN dataset_record r ON r.dataset_id = %(id)s AND r.ordinal = w.owner"
        " WHERE c.organization_id = %(org)s AND r.organization_id = %(org)s",
        {"org": organization_id, "id": dataset_id, "ordinals": list(ordinals), "owners": list(owners)},
    )
