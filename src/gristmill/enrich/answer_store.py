"""SQL of what workers remember while they hunt: providers' answers, and steps for whoever watches a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from gristmill.base.db import Tx


def find_answers(tx: Tx, organization_id: int, digests: Sequence[bytes]) -> list[dict[str, Any]]:
    """Answers that are still good."""
    return tx.rows(
        "SELECT input_hash, finding, row_id, fetched_at FROM provider_answer"
        " WHERE organization_id = %s AND input_hash = ANY(%b) AND expires_at > now()",
        (organization_id, list(digests)),
    )


def upsert_answers(
    tx: Tx,
    organization_id: int,
    *,
    digests: Sequence[bytes],
    providers: Sequence[str],
    findings: Sequence[str],
    row_ids: Sequence[UUID],
    fetched: Sequence[str],
    seconds: Sequence[int],
) -> int:
    """Remember answers; the newest one of the same question stays."""
    return tx.run(
        "INSERT INTO provider_answer (organization_id, input_hash, provider, finding, row_id, fetched_at, expires_at)"
        " SELECT %(org)s, t.input_hash, t.provider, t.finding, t.row_id, t.fetched,"
        "        now() + make_interval(secs => t.seconds)"
        " FROM unnest(%(digests)b::bytea[], %(providers)s::text[], %(findings)s::json[], %(rows)s::uuid[],"
        "   %(fetched)s::timestamptz[], %(seconds)s::int[])"
        "   AS t(input_hash, provider, finding, row_id, fetched, seconds)"
        " ON CONFLICT (organization_id, input_hash) DO UPDATE SET finding = excluded.finding,"
        "   row_id = excluded.row_id, fetched_at = excluded.fetched_at, expires_at = excluded.expires_at",
        {
            "org": organization_id,
            "digests": list(digests),
            "providers": list(providers),
            "findings": list(findings),
            "rows": list(row_ids),
            "fetched": list(fetched),
            "seconds": list(seconds),
        },
    )


def insert_steps(
    tx: Tx, organization_id: int, *, batch_ids: Sequence[UUID], row_numbers: Sequence[int], steps: Sequence[str]
) -> int:
    """Steps of hunts under way, in their order."""
    return tx.run(
        "INSERT INTO hunt_step (organization_id, batch_id, row_number, step)"
        " SELECT %s, t.batch_id, t.row_number, t.step"
        " FROM unnest(%s::uuid[], %s::int[], %s::json[]) WITH ORDINALITY AS t(batch_id, row_number, step, place)"
        " ORDER BY t.place",
        (organization_id, list(batch_ids), list(row_numbers), list(steps)),
    )


def list_steps(
    tx: Tx, organization_id: int, batch_id: UUID, row_number: int, *, after: int, limit: int
) -> list[dict[str, Any]]:
    """Steps of one row's hunt, oldest first."""
    return tx.rows(
        "SELECT id, step FROM hunt_step WHERE organization_id = %s AND batch_id = %s AND row_number = %s AND id > %s"
        " ORDER BY id LIMIT %s",
        (organization_id, batch_id, row_number, after, limit),
    )


def delete_expired_answers(tx: Tx, limit: int) -> int:
    """Forget answers that are no longer good (system transaction)."""
    return tx.run(
        "DELETE FROM provider_answer p USING (SELECT organization_id, input_hash FROM provider_answer"
        "   WHERE expires_at < now() LIMIT %s) old"
        " WHERE p.organization_id = old.organization_id AND p.input_hash = old.input_hash",
        (limit,),
    )


def delete_old_steps(tx: Tx, *, hours: int, limit: int) -> int:
    """Forget live steps; a row that has ended keeps its whole trace itself (system transaction)."""
    return tx.run(
        "DELETE FROM hunt_step WHERE id IN (SELECT id FROM hunt_step"
        " WHERE at < now() - make_interval(hours => %s) ORDER BY id LIMIT %s)",
        (hours, limit),
    )
