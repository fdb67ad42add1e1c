"""SQL of the engine room: the table of live workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from gristmill.base.db import Tx


def insert_worker(tx: Tx, worker_id: UUID, *, host: str, pid: int, queues: list[str]) -> None:
    """Take a lease."""
    tx.run("INSERT INTO worker (id, host, pid, queues) VALUES (%s, %s, %s, %s)", (worker_id, host, pid, queues))


def touch_worker(tx: Tx, worker_id: UUID) -> float | None:
    """Renew a lease; answers for how many seconds it had not been, None when it is gone."""
    row = tx.row(
        "UPDATE worker w SET seen_at = now() FROM (SELECT id, seen_at FROM worker WHERE id = %s FOR UPDATE) before"
        " WHERE w.id = before.id RETURNING extract(epoch FROM now() - before.seen_at)::float8 AS silent_s",
        (worker_id,),
    )
    return row["silent_s"] if row else None


def find_silence(tx: Tx, worker_id: UUID) -> float | None:
    """For how many seconds a lease has not been renewed; None when it is gone."""
    row = tx.row(
        "SELECT extract(epoch FROM now() - seen_at)::float8 AS silent_s FROM worker WHERE id = %s", (worker_id,)
    )
    return row["silent_s"] if row else None


def claim_silent_workers(tx: Tx, silent_s: float) -> list[UUID]:
    """Lock and list the workers that have been silent for too long.

    A database that has just started excuses everyone: nobody could reach it while it was down.
    """
    rows = tx.rows(
        "SELECT id FROM worker WHERE seen_at < now() - make_interval(secs => %(s)s)"
        " AND pg_postmaster_start_time() < now() - make_interval(secs => %(s)s) FOR UPDATE SKIP LOCKED",
        {"s": silent_s},
    )
    return [row["id"] for row in rows]


def delete_worker(tx: Tx, worker_id: UUID) -> None:
    """Give a lease up."""
    tx.run("DELETE FROM worker WHERE id = %s", (worker_id,))


def list_workers(tx: Tx, *, within_s: float | None = None) -> list[UUID]:
    """Ids of all workers, or of those seen in the last `within_s` seconds."""
    rows = tx.rows(
        "SELECT id FROM worker WHERE %(s)s::float8 IS NULL OR seen_at > now() - make_interval(secs => %(s)s)",
        {"s": within_s},
    )
    return [row["id"] for row in rows]


def try_lock(tx: Tx, lock: int) -> bool:
    """Whether this transaction got an advisory lock without waiting."""
    return bool(tx.one("SELECT pg_try_advisory_xact_lock(%s) AS mine", (lock,))["mine"])


def list_workers_of_host(tx: Tx, host: str) -> list[dict[str, Any]]:
    """Id and pid of the workers of one host."""
    return tx.rows("SELECT id, pid FROM worker WHERE host = %s FOR UPDATE SKIP LOCKED", (host,))


def try_session_lock(connection: psycopg.Connection, lock: int) -> bool:
    """Whether this connection got an advisory lock, which it keeps until it is closed, without waiting."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (lock,)).fetchone()
    return bool(row and row[0])


def engine_version(connection: psycopg.Connection) -> str | None:
    """Version of the engine that made its tables."""
    row = connection.execute("SELECT version FROM engine_schema").fetchone()
    return row[0] if row else None


def set_engine_version(connection: psycopg.Connection, version: str) -> None:
    """Note which engine made its tables."""
    connection.execute(
        "INSERT INTO engine_schema (one, version) VALUES (true, %s) ON CONFLICT (one) DO UPDATE SET version = %s",
        (version, version),
    )


def list_orphans(
    tx: Tx, queues: Sequence[str], worker_id: UUID, running: Sequence[str], *, young_s: float, limit: int
) -> list[tuple[str, str, bool]]:
    """Jobs of some queues that nobody runs though the engine believes so: (queue, id, whether this worker has it).

    Whoever had one is gone, or it is this worker, which neither runs it nor took it less than `young_s` ago (system
    transaction).
    """
    return tx.tuples(
        "SELECT queue_name, workflow_uuid, executor_id = %(worker)s FROM dbos.workflow_status j"
        " WHERE status = 'PENDING' AND queue_name = ANY(%(queues)s::text[]) AND (executor_id IS NULL"
        " OR NOT EXISTS (SELECT FROM worker w WHERE w.id::text = j.executor_id)"
        " OR (executor_id = %(worker)s AND workflow_uuid <> ALL (%(running)s::text[])"
        "   AND coalesce(started_at_epoch_ms, 0) < (extract(epoch FROM now()) - %(young)s) * 1000)) LIMIT %(limit)s",
        {
            "queues": list(queues),
            "worker": str(worker_id),
            "running": list(running),
            "young": young_s,
            "limit": limit,
        },
    )


def signs_query(queues: Sequence[str], conditions: Sequence[LiteralString]) -> sql.Composed:
    """One row: whether jobs of some queues wait, then whether each of the conditions is true."""
    jobs = sql.SQL(
        "EXISTS (SELECT FROM dbos.workflow_status WHERE status = 'ENQUEUED' AND queue_name = ANY({}::text[]))"
    ).format(list(queues))
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join([jobs, *map(sql.SQL, conditions)]))
