"""Workers are killed with -9 in the middle of a pull and of a push: nothing is lost, nothing comes or goes twice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector_world import ENDED, closes, csv, s3_body
from flows.processes import Api, Up, kill, running_up, wait_for
from receiver import Receiver
from s3_server import BadLine, S3Server, bad_line

pytestmark = [pytest.mark.xdist_group("kill"), pytest.mark.timeout(300)]

FILES = 120
KILLS = 3
ROWS = 4_500


@pytest.fixture(scope="module")
def up(open_folder: Path) -> Iterator[Up]:
    settings = {"GRISTMILL_LEASE_TIMEOUT_S": "4", "GRISTMILL_HEARTBEAT_S": "0.5"}
    with running_up(open_folder / "connectors-kill", workers=2, env=settings) as running:
        yield running


def holder(up: Up, sync: str) -> int | None:
    """Process of the worker that has a sync."""
    with up.connect() as connection:
        row = connection.execute(
            "SELECT w.pid FROM connector_sync s JOIN worker w ON w.id = s.worker_id WHERE s.id = %s", (sync,)
        ).fetchone()
    return None if row is None else int(row[0])


def lines_of(up: Up, sync: str) -> int:
    with up.connect() as connection:
        row = connection.execute("SELECT count(*) FROM connector_sync_line WHERE sync_id = %s", (sync,)).fetchone()
    return int(row[0]) if row else 0


def end_of(api: Api, path: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = api.get(path, patience_s=60)
        return found if found["sync"]["status"] in ENDED else None

    return wait_for(look, "the end of the sync", 120)  # type: ignore[no-any-return]


def slow_down(line: BadLine) -> None:
    """So that a pull is still under way when its worker is killed."""
    line.on_request = lambda head: time.sleep(0.4) if b"/in/" in head.partition(b"\r\n")[0] else None


def test_a_pull_whose_workers_are_killed(up: Up, s3: S3Server) -> None:
    bucket = s3.bucket("killed-pull")
    bodies = {f"in/{number:03}.csv": csv(30, str(number)) for number in range(FILES)}
    for key, body in bodies.items():
        s3.put(bucket, key, body)
    api = up.api()
    agent = api.post("/agent_templates/echo/deploy", {"name": "Killed pull"}, expect=201)["id"]
    with bad_line(s3.port) as line:
        path = f"/agents/{agent}/data-sources"
        source = api.post(path, s3_body(s3, bucket, url=line.url), expect=201)["id"]
        slow_down(line)
        sync = api.post(f"{path}/{source}/pull", expect=202)["id"]
        for round_number in range(KILLS):
            before = round_number * FILES // (KILLS + 1)
            wait_for(lambda before=before: lines_of(up, sync) > before, "some files", 60)  # type: ignore[misc]
            pid = holder(up, sync)
            if pid is None:
                break
            kill(pid)
        line.on_request = None
        found = end_of(api, f"{path}/{source}/syncs/{sync}")
    assert found["sync"]["status"] == "COMPLETED", found["sync"]
    assert found["sync"]["tries"] > 1, "no worker was killed in time"
    assert closes(found)
    assert {line["key"]: line["status"] for line in found["manifest_json"]} == dict.fromkeys(bodies, "uploaded")
    assert {line["key"]: line["sha256"] for line in found["manifest_json"]} == {
        key: hashlib.sha256(body).hexdigest() for key, body in bodies.items()
    }
    listed = api.get(f"/agents/{agent}/inventories?limit=1000")["data"]
    assert Counter(item["name"] for item in listed) == Counter(bodies.keys())
    assert {item["id"] for item in listed} == {line["inventoryId"] for line in found["manifest_json"]}
    with up.connect() as connection:
        kept = {row[0] for row in connection.execute("SELECT object_key FROM inventory").fetchall()}
        left = connection.execute("SELECT count(*) FROM connector_sync_line").fetchone()
    objects = up.data_dir / "objects"
    there = {str(item.relative_to(objects)) for item in (objects / "inventory").rglob("*") if item.is_file()}
    assert there == kept, "no object without a line, no line without its object"
    assert left == (0,)


def begin_push(api: Api, receiver: Receiver, name: str, rows: int) -> tuple[str, str]:
    """Have the results of a new batch pushed: (path of the sync, its id)."""
    agent = api.post("/agent_templates/echo/deploy", {"name": name}, expect=201)["id"]
    path = f"/agents/{agent}/data-sources"
    sink = api.post(
        path,
        {
            "name": "Out", "role": "RESULTS_SINK", "type": "HTTPS_WEBHOOK", "secret": {"key": "a-key-that-signs"},
            "config": {"url": f"{receiver.url}/r", "authScheme": "HmacSha256"},
        },
        expect=201,
    )["id"]  # fmt: skip
    batch = api.run(agent, [{"n": number} for number in range(rows)])
    api.await_batch(batch, within_s=120)
    sync = api.post(f"{path}/{sink}/push", {"jobId": batch}, expect=202)["id"]
    return f"{path}/{sink}/syncs/{sync}", sync


def test_a_push_whose_worker_drains_goes_on_elsewhere_and_sends_nothing_twice(up: Up) -> None:
    receiver = Receiver(delay_s=0.5)
    try:
        api = up.api()
        path, sync = begin_push(api, receiver, "Drained push", ROWS)
        wait_for(lambda: receiver.posts, "the first page", 60)
        pid = wait_for(lambda: holder(up, sync), "a worker", 10)
        os.kill(pid, signal.SIGTERM)
        found = end_of(api, path)
    finally:
        receiver.stop()
    assert found["sync"]["status"] == "COMPLETED", found["sync"]
    assert found["sync"]["tries"] == 2, "it was not handed over"
    ids = [got.headers["webhook-id"] for got in receiver.posts]
    assert len(ids) == len(set(ids)) == -(-ROWS // 1000)


def test_a_push_whose_workers_are_killed(up: Up) -> None:
    receiver = Receiver(delay_s=0.5)
    try:
        api = up.api()
        path, sync = begin_push(api, receiver, "Killed push", ROWS)
        for pages in (1, 3):
            wait_for(lambda pages=pages: len(receiver.posts) >= pages, "some pages", 60)  # type: ignore[misc]
            pid = holder(up, sync)
            if pid is not None:
                kill(pid)
        found = end_of(api, path)
    finally:
        receiver.stop()
    assert found["sync"]["status"] == "COMPLETED", found["sync"]
    assert found["sync"]["tries"] > 1, "no worker was killed in time"
    by_id: dict[str, set[bytes]] = {}
    for got in receiver.posts:
        by_id.setdefault(got.headers["webhook-id"], set()).add(got.body)
    assert all(len(bodies) == 1 for bodies in by_id.values()), "a repetition is byte for byte the same"
    pages = sorted((json.loads(next(iter(bodies))) for bodies in by_id.values()), key=lambda page: page["page"])
    assert [item["rowNumber"] for page in pages for item in page["results"]] == list(range(1, ROWS + 1))
    assert len(receiver.posts) - len(by_id) <= 2, "at most the page in flight goes again, once for each kill"
    assert closes(found)
