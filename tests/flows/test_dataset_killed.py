"""A dataset whose worker, then whose database, die by `kill -9` meanwhile: searched all along, whole in the end."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from flows.processes import Api, Up, kill, running_up, wait_for

ROWS = 1_500
PATIENCE_S = 60.0

pytestmark = [pytest.mark.xdist_group("kill"), pytest.mark.timeout(300)]


def text(version: str) -> str:
    rows = (f"{number},{version} product number {number} for the kitchen,{number % 9}" for number in range(ROWS))
    return "\n".join(["id,name,price", *rows]) + "\n"


def encoded(version: str) -> dict[str, str]:
    return {"file_base64": base64.b64encode(text(version).encode()).decode(), "file_filename": "products.csv"}


def found(api: Api, base: str, query: str) -> list[str]:
    body = {"query": query, "mode": "keyword", "top_k": 3}
    answer = api.call("POST", f"{base}/search", json=body, patience_s=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return [hit["text"] for hit in answer.json()["data"]]


def await_progress(api: Api, path: str, chunks: int) -> None:
    def enough() -> bool:
        now = api.get(path, patience_s=PATIENCE_S)
        assert now["ingest_status"] != "completed", "too fast: nothing was left to be interrupted"
        return now["ingest_status"] == "processing" and (now["progress"] or {}).get("chunks", 0) >= chunks

    wait_for(enough, f"{chunks} chunks", 120)


def kill_its_worker(up: Up, dataset_id: int) -> None:
    with up.connect() as connection:
        row = connection.execute(
            "SELECT w.pid FROM worker w JOIN dataset d ON d.worker_id = w.id WHERE d.id = %s", (dataset_id,)
        ).fetchone()
        assert row is not None, "somebody processes it"
        kill(row[0])


def kill_the_database(up: Up) -> None:
    old = up.postmaster()
    kill(old)
    wait_for(lambda: up.postmaster() not in {0, old}, "another database", 60)


def await_end(api: Api, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        now: dict[str, Any] = api.get(path, patience_s=PATIENCE_S)
        if now["ingest_status"] in {"completed", "failed"}:
            return now
        time.sleep(0.1)
    pytest.fail("the dataset did not end")


def test_a_dataset_is_whole_whatever_is_killed(folder: Any) -> None:
    with running_up(folder / "data", workers=2) as up:
        api = up.api()
        base = f"/agents/{api.make_agent(config={'entry_point': 'gristmill.agents.builtin.echo:echo'})}"
        body = {
            **encoded("old"),
            "title": "Products",
            "type": "csv",
            "template": "{{.name}}",
            "primary_key_field": "id",
        }
        made = api.post(f"{base}/datasets", body, expect=201)
        path = f"{base}/datasets/{made['id']}"
        first = await_end(api, path)
        assert (first["ingest_status"], first["source_count"]) == ("completed", ROWS)

        changed = api.call("PUT", f"{path}/file", json=encoded("new"))
        assert changed.status_code == 200, changed.text
        await_progress(api, path, 300)
        kill_its_worker(up, made["id"])
        assert found(api, base, "old product") != []
        assert found(api, base, "new") == [], "the version of before answers"
        await_progress(api, path, 600)
        kill_the_database(up)
        assert found(api, base, "new") == []
        done = await_end(api, path)
        assert (done["ingest_status"], done["version"], done["source_count"]) == ("completed", 2, ROWS), done
        assert done["receipt"]["rows_in"] == done["receipt"]["records"] == ROWS
        assert found(api, base, "old") == []
        assert len(found(api, base, "new product")) == 3
        with up.connect() as connection:
            counts = connection.execute(
                "SELECT count(*), count(DISTINCT (record_key, recipe, content_hash)) FROM dataset_record"
            ).fetchone()
            assert counts == (2 * ROWS, 2 * ROWS), "no record is written twice"
            vectors = connection.execute("SELECT count(*) FROM embedding").fetchone()
            assert vectors == (2 * ROWS,)
        assert up.stop() == 0
