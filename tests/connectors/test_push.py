"""Results on their way out: once, whole, signed, as they were packed, and only when somebody wants it."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from conftest import Caller, wait_for
from connector_world import Place, fates, make_place, rules, s3_body, user_of
from gristmill.base.db import Database
from gristmill.base.signing import verify
from gristmill.connectors import push
from gristmill.connectors.kinds import https_webhook
from receiver import Receiver
from s3_server import S3Server, bad_line

pytestmark = pytest.mark.usefixtures("worker")

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "WAITS_S", (0.05, 0.05, 0.05))


def run_batch(caller: Caller, agent: int, rows: int = 3) -> str:
    """A completed batch of so many rows, one of which has no result."""
    items: list[Any] = [{"n": number, "name": f"Ana {number}"} for number in range(rows - 1)]
    batch = caller.post(f"/api/v1/agents/{agent}/batch_executions", {"items": [*items, items[0]]}).json()
    path = f"/api/v1/batch_executions/{batch['id']}"
    wait_for(lambda: caller.get(path).json()["status"] == "completed", "completion")
    return str(batch["id"])


def sink_body(url: str, **more: Any) -> dict[str, Any]:
    config = {"url": url, "authScheme": "HmacSha256", **more.pop("config", {})}
    return {
        "name": "Results", "role": "RESULTS_SINK", "type": "HTTPS_WEBHOOK", "config": config,
        "secret": {"key": KEY}, **more,
    }  # fmt: skip


@pytest.fixture
def sink(database: Database, owner: Caller, receiver: Receiver) -> Place:
    return make_place(database, owner, sink_body(f"{receiver.url}/results"))


@pytest.fixture
def bucket_sink(database: Database, owner: Caller, s3: S3Server, bucket: str) -> Place:
    secret = user_of(s3, bucket, "s3:PutObject")
    return make_place(
        database, owner, s3_body(s3, bucket, role="RESULTS_SINK", secret=secret, config={"prefix": "out/"})
    )


def test_a_file_and_its_manifest_go_to_s3_with_a_key_that_may_only_put(
    owner: Caller, bucket_sink: Place, s3: S3Server, bucket: str
) -> None:
    job = run_batch(owner, bucket_sink.agent)
    done = bucket_sink.push(job)
    assert done["sync"]["status"] == "COMPLETED", done["sync"]
    file = s3.get(bucket, f"out/job-{job}.csv")
    assert file == owner.get(f"/api/v1/batch_executions/{job}/export.csv").content
    manifest = json.loads(s3.get(bucket, f"out/job-{job}.csv.manifest.json"))
    assert manifest["file"] == {
        "key": f"out/job-{job}.csv", "format": "CSV", "size": len(file),
        "sha256": hashlib.sha256(file).hexdigest(), "rows": 3,
    }  # fmt: skip
    header = next(csv.reader(file.decode().splitlines()))
    assert [column["name"] for column in manifest["schema"]["columns"]] == header
    assert manifest["stats"] == {"total": 3, "matched": 3, "unmatched": 0}
    assert manifest["receipt"]["duplicate"] == 1
    assert fates(done) == dict.fromkeys([f"out/job-{job}.csv", f"out/job-{job}.csv.manifest.json"], "uploaded")
    assert done["manifest_json"][0]["sha256"] == manifest["file"]["sha256"]
    again = bucket_sink.push(job)
    assert again["sync"]["status"] == "COMPLETED"
    assert len(s3.list(bucket)) == 2


@pytest.mark.parametrize("form", ["JSON", "JSONL", "XLSX", "PARQUET"])
def test_files_of_every_format(database: Database, owner: Caller, s3: S3Server, bucket: str, form: str) -> None:
    place = make_place(database, owner, s3_body(s3, bucket, role="RESULTS_SINK", format=form, config={"prefix": ""}))
    job = run_batch(owner, place.agent)
    assert place.push(job)["sync"]["status"] == "COMPLETED"
    data = s3.get(bucket, f"job-{job}.{form.lower()}")
    if form == "JSON":
        assert [item["rowNumber"] for item in json.loads(data)] == [1, 2, 3]
    else:
        upload = owner.client.post(
            f"/api/v1/agents/{place.agent}/inventories?format={form}", content=data,
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        assert upload.json()["row_count"] == 3, upload.text


def test_what_is_there_and_is_not_ours_is_never_overwritten(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    place = make_place(database, owner, s3_body(s3, bucket, role="RESULTS_SINK", config={"prefix": "out"}))
    job = run_batch(owner, place.agent)
    s3.put(bucket, f"out/job-{job}.csv", b"somebody else's")
    done = place.push(job)
    assert done["sync"]["status"] == "DEAD"
    assert "not what we wrote" in done["sync"]["error"]
    assert s3.get(bucket, f"out/job-{job}.csv") == b"somebody else's"
    assert [item["kind"] for item in place.pending()] == ["DATA_SINK_PUSH_FAILED"]
    s3.delete(bucket, f"out/job-{job}.csv")
    assert owner.post(f"{place.path}/syncs/{done['sync']['id']}/replay").status_code == 200
    assert place.end_of(done["sync"]["id"])["sync"]["status"] == "COMPLETED"
    assert place.pending() == []


def test_results_that_have_changed_replace_what_we_wrote(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    place = make_place(database, owner, s3_body(s3, bucket, role="RESULTS_SINK", config={"prefix": "out"}))
    job = run_batch(owner, place.agent)
    place.push(job)
    with database.tx(owner.organization_id) as tx:
        tx.run("UPDATE batch_row SET result = '{\"new\": true}' WHERE batch_id = %s", (job,))
    assert place.push(job)["sync"]["status"] == "COMPLETED"
    assert s3.get(bucket, f"out/job-{job}.csv") == owner.get(f"/api/v1/batch_executions/{job}/export.csv").content


def test_a_large_file_goes_up_in_parts_over_a_line_that_breaks(
    database: Database, owner: Caller, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.connectors.s3.writing.PART_BYTES", 20_000)
    monkeypatch.setattr("gristmill.connectors.s3.writing.WHOLE_BYTES_MAX", 20_000)
    monkeypatch.setattr("gristmill.connectors.s3.client.PAUSE_S", 0.002)
    with bad_line(s3.port, seed=5) as line:
        body = s3_body(s3, bucket, url=line.url, role="RESULTS_SINK", config={"prefix": "out"})
        place = make_place(database, owner, body)
        job = run_batch(owner, place.agent, 2000)
        line.busy_share = 0.2
        done = place.push(job)
        assert done["sync"]["status"] == "COMPLETED", done["sync"]
        assert line.count("PUT", "partNumber=") > 5
    assert s3.get(bucket, f"out/job-{job}.csv") == owner.get(f"/api/v1/batch_executions/{job}/export.csv").content
    assert s3.uploads(bucket) == []


def test_a_post_is_signed_and_says_everything(owner: Caller, sink: Place, receiver: Receiver) -> None:
    job = run_batch(owner, sink.agent)
    assert receiver.posts == [], "egress is off by default"
    done = sink.push(job)
    assert done["sync"]["status"] == "COMPLETED", done["sync"]
    (got,) = receiver.posts
    assert verify([KEY], got.headers, got.body, now=time.time()) == got.headers["webhook-id"]
    raw = base64.b64decode(KEY.removeprefix("whsec_"))
    assert got.headers["x-gristmill-signature"] == "sha256=" + hmac.new(raw, got.body, hashlib.sha256).hexdigest()
    said = json.loads(got.body)
    assert said["jobId"] == job
    assert said["agentId"] == sink.agent
    assert said["workspaceId"] == owner.organization_id
    assert said["completedAt"]
    assert said["stats"] == {"total": 3, "matched": 3, "unmatched": 0}
    assert [item["data"]["n"] for item in said["results"]] == [0, 1, 0]
    assert all(item["result"] for item in said["results"])
    assert (said["page"], said["isLast"]) == (1, True)
    (exchange,) = done["exchanges"]
    assert (exchange["method"], exchange["status"], exchange["answer"]) == ("POST", 200, '{"said": "thanks"}')


def test_many_results_go_in_pages(
    owner: Caller, sink: Place, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https_webhook, "PAGE_ROWS", 40)
    job = run_batch(owner, sink.agent, 101)
    assert sink.push(job)["sync"]["status"] == "COMPLETED"
    pages = [json.loads(got.body) for got in receiver.posts]
    assert [len(page["results"]) for page in pages] == [40, 40, 21]
    assert [(page["page"], page["isLast"]) for page in pages] == [(1, False), (2, False), (3, True)]
    assert [item["rowNumber"] for page in pages for item in page["results"]] == list(range(1, 102))
    assert len({got.headers["webhook-id"] for got in receiver.posts}) == 3


def test_a_flapping_receiver_gets_every_page_at_least_once_and_the_same_each_time(
    database: Database, owner: Caller, sink: Place, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https_webhook, "PAGE_ROWS", 10)
    rules(database, owner, sink.agent, {"data_sinks": {"retry_failed_push": 8}})
    statuses = [503, 200, 0, 429, 200, 500, 200, 200]
    receiver.answer = lambda number: statuses[number - 1] if number <= len(statuses) else 200
    job = run_batch(owner, sink.agent, 40)
    done = sink.push(job)
    assert done["sync"]["status"] == "COMPLETED", done["sync"]
    bodies: dict[str, set[bytes]] = {}
    for got in receiver.posts:
        bodies.setdefault(got.headers["webhook-id"], set()).add(got.body)
    assert len(bodies) == 4
    assert all(len(versions) == 1 for versions in bodies.values()), "a repetition is byte for byte the same"
    taken = [got.headers["webhook-id"] for got in receiver.posts if got.status == 200]
    assert len(taken) == len(set(taken)) == 4, "what was taken is not sent again"
    assert [item["status"] for item in done["exchanges"]] == [503, 200, None, 429, 200, 500, 200, 200]


def test_after_the_last_try_a_push_is_dead_and_its_replay_keeps_the_ids(
    owner: Caller, sink: Place, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500
    job = run_batch(owner, sink.agent)
    dead = sink.push(job)
    assert dead["sync"]["status"] == "DEAD"
    assert len(receiver.posts) == 3, "the first try and the two of the rule"
    (item,) = sink.pending()
    assert (item["kind"], item["facts"]["job_id"]) == ("DATA_SINK_PUSH_FAILED", job)
    kinds = [event["kind"] for event in owner.get("/api/v1/events?limit=1000").json()["data"]]
    assert "connector.sync.failed" in kinds
    receiver.answer = lambda _: 204
    assert owner.post(f"{sink.path}/syncs/{dead['sync']['id']}/replay").status_code == 200
    done = sink.end_of(dead["sync"]["id"])
    assert done["sync"]["status"] == "COMPLETED"
    assert len({(got.headers["webhook-id"], got.body) for got in receiver.posts}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.posts}) >= 1
    assert sink.pending() == []
    assert owner.post(f"{sink.path}/syncs/{dead['sync']['id']}/replay").status_code == 409


@pytest.mark.parametrize(("status", "posts"), [(410, 1), (302, 3), (404, 3)])
def test_answers_that_are_no_yes(owner: Caller, sink: Place, receiver: Receiver, status: int, posts: int) -> None:
    receiver.answer = lambda _: status
    receiver.headers = {"Location": "http://169.254.169.254/"}
    done = sink.push(run_batch(owner, sink.agent))
    assert done["sync"]["status"] == "DEAD"
    assert len(receiver.posts) == posts


def test_results_leave_by_themselves_only_by_the_rule(
    database: Database, owner: Caller, sink: Place, receiver: Receiver
) -> None:
    run_batch(owner, sink.agent)
    assert sink.syncs() == []
    rules(database, owner, sink.agent, {"data_sinks": {"auto_push_on_job_complete": True}})
    job = run_batch(owner, sink.agent)
    sync = wait_for(sink.syncs, "a push")[0]
    assert (sync["cause"], sync["jobId"], sync["direction"]) == ("BATCH", job, "OUTBOUND")
    assert sink.end_of(sync["id"])["sync"]["status"] == "COMPLETED"
    assert [json.loads(got.body)["jobId"] for got in receiver.posts] == [job]
    owner.patch(sink.path, {"status": "PAUSED"})
    run_batch(owner, sink.agent)
    assert len(sink.syncs()) == 1
    assert owner.post(f"{sink.path}/push", {"jobId": job}).status_code == 409


def test_a_push_commits_with_the_batch_or_not_at_all(
    database: Database, owner: Caller, sink: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill import events  # noqa: PLC0415 - only here

    rules(database, owner, sink.agent, {"data_sinks": {"auto_push_on_job_complete": True}})
    job = run_batch(owner, sink.agent)
    sink.end_of(wait_for(sink.syncs, "a push")[0]["id"])
    with pytest.raises(RuntimeError), database.tx(owner.organization_id) as tx:
        events.emit(
            tx, owner.organization_id, "agent.batch.completed", subject=f"batch:{job}",
            data={"batch_id": job, "agent_id": sink.agent},
        )  # fmt: skip
        raise RuntimeError
    assert len(sink.syncs()) == 1


def test_the_preview_shows_what_would_leave_and_where_to(owner: Caller, sink: Place, receiver: Receiver) -> None:
    shown = owner.get(f"{sink.path}/push/preview").json()
    assert (shown["destination"], shown["jobId"], shown["autoPush"]) == (f"POST {receiver.url}/results", None, False)
    job = run_batch(owner, sink.agent)
    for query in ("", f"?jobId={job}"):
        shown = owner.get(f"{sink.path}/push/preview{query}").json()
        assert (shown["jobId"], shown["rows"], shown["format"]) == (job, 3, "JSON")
        assert [row["rowNumber"] for row in shown["sample"]] == [1, 2, 3]
        assert "status" in shown["columns"]
    assert receiver.posts == []


def test_what_can_not_be_pushed(database: Database, owner: Caller, sink: Place, s3: S3Server, bucket: str) -> None:
    job = run_batch(owner, sink.agent)
    other = make_place(database, owner, s3_body(s3, bucket, role="RESULTS_SINK"))
    assert owner.post(f"{other.path}/push", {"jobId": job}).status_code == 404, "a batch of another agent"
    source = make_place(database, owner, s3_body(s3, bucket), agent=sink.agent)
    assert owner.post(f"{source.path}/push", {"jobId": job}).status_code == 422
    assert owner.post(f"{source.path}/pull", {"jobId": job}).status_code == 422
    assert owner.post(f"{sink.path}/pull").status_code == 422
    with database.tx(owner.organization_id) as tx:
        tx.run("UPDATE batch SET status = 'paused', reason = 'user' WHERE id = %s", (job,))
    assert owner.post(f"{sink.path}/push", {"jobId": job}).status_code == 409


@pytest.mark.parametrize(
    ("scheme", "secret", "header"),
    [
        ("Bearer", {"token": "a-long-secret-token"}, "Bearer a-long-secret-token"),
        ("Basic", {"username": "ana", "password": "a-long-password"}, "Basic YW5hOmEtbG9uZy1wYXNzd29yZA=="),
    ],
)
def test_other_ways_to_open_a_receiver(
    database: Database, owner: Caller, receiver: Receiver, scheme: str, secret: dict[str, str], header: str
) -> None:
    receiver.allow = lambda headers: headers.get("authorization") == header
    body = sink_body(f"{receiver.url}/r", config={"authScheme": scheme, "headers": {"X-Team": "blue"}})
    place = make_place(database, owner, {**body, "secret": secret})
    assert place.push(run_batch(owner, place.agent))["sync"]["status"] == "COMPLETED"
    (got,) = receiver.posts
    assert got.headers["x-team"] == "blue"
    assert got.headers["webhook-id"]
