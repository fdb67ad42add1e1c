"""Peer: the raw limit. Claim rows in chunks and write their results in bulk, with psycopg and nothing else.

One transaction saves the chunk before and claims the next, as a worker's step does, with the same number of rows, but
without an agent, fences, counters, money, change list, row-level security or a job engine, and without parsing the
rows' JSON. Run by engine.py: prints `ready`, waits for a line, prints how it went as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from uuid import UUID, uuid4

import psycopg

CHUNK = 500
BATCH = UUID(int=7)

SCHEMA = """
CREATE TABLE raw_row (
    batch_id uuid NOT NULL, row_number int NOT NULL, organization_id bigint NOT NULL, status text NOT NULL,
    data json NOT NULL, input_hash bytea NOT NULL, attempt int NOT NULL DEFAULT 0, tries int NOT NULL DEFAULT 0,
    worker_id uuid, not_before timestamptz, held_micro_usd bigint NOT NULL DEFAULT 0, result json, error_code text,
    error text, charge_micro_usd bigint NOT NULL DEFAULT 0, duration_ms int, started_at timestamptz,
    finished_at timestamptz, PRIMARY KEY (batch_id, row_number)
) WITH (fillfactor = 55)
"""
CLAIM = """
UPDATE raw_row r SET status = 'running', worker_id = %(worker)s, attempt = r.attempt + 1, started_at = now()
FROM (SELECT row_number FROM raw_row WHERE batch_id = %(batch)s AND row_number > %(after)s AND status = 'pending'
      ORDER BY row_number LIMIT %(limit)s FOR UPDATE SKIP LOCKED) picked
WHERE r.batch_id = %(batch)s AND r.row_number = picked.row_number RETURNING r.row_number, r.data::text
"""
FINISH = """
UPDATE raw_row r SET status = 'succeeded', worker_id = NULL, tries = r.tries + 1, result = x.result,
    duration_ms = x.ms, finished_at = now()
FROM unnest(%(numbers)s::int[], %(results)s::json[], %(ms)s::int[]) AS x(row_number, result, ms)
WHERE r.batch_id = %(batch)s AND r.row_number = x.row_number AND r.status = 'running'
"""


def run(url: str) -> dict[str, float]:
    """Claim and finish until nothing is left."""
    worker, after, done = uuid4(), 0, 0
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        print("ready", flush=True)
        sys.stdin.readline()
        first = time.time()
        rows: list[tuple[int, str]] = []
        while True:
            if rows:
                values = {
                    "batch": BATCH,
                    "numbers": [row[0] for row in rows],
                    "results": [row[1] for row in rows],
                    "ms": [0] * len(rows),
                }
                done += connection.execute(FINISH, values).rowcount
            wanted = {"worker": worker, "batch": BATCH, "after": after, "limit": CHUNK}
            rows = connection.execute(CLAIM, wanted).fetchall()
            connection.commit()
            if rows:
                after = max(row[0] for row in rows)
            elif after:
                after = 0  # once more from the start: rows that were locked when their turn came
            else:
                return {"first": first, "last": time.time(), "rows": done}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])), flush=True)
