"""Pulls from a real S3 server: nothing missed, nothing twice, every receipt right."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from conftest import Caller, wait_for
from connector_world import Place, closes, csv, fates, limit, make_place, rules, s3_body, user_of
from gristmill import inventory
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.base.objects import StoreUnavailable
from gristmill.connectors import duties, pull, triggers
from gristmill.connectors.s3 import client
from gristmill.inventory import OpenedFile, StoredInventory
from s3_server import ODD_KEYS, S3Server, bad_line

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def place(database: Database, owner: Caller, s3: S3Server, bucket: str) -> Place:
    return make_place(database, owner, s3_body(s3, bucket))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries that no test wants to wait for."""
    monkeypatch.setattr(client, "PAUSE_S", 0.002)


def contents(place: Place) -> Counter[str]:
    """SHA-256 of everything that came in, with how often it did."""
    return Counter(item["sha256"] for item in place.inventory())


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_new_files_become_inventory_once(place: Place, s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "in/a.csv", csv(3, "a"))
    s3.put(bucket, "in/deep/b.csv.gz", gzip.compress(csv(4, "b"), mtime=0))
    s3.put(bucket, "in/c.jsonl", b'{"sku": "1"}\n{"sku": "2"}\n')
    s3.put(bucket, "in/folder/", b"")
    s3.put(bucket, "in/empty.csv", b"")
    s3.put(bucket, "in/noise.bin", bytes(range(3)) * 400)
    s3.put(bucket, "elsewhere/d.csv", csv(1))
    first = place.pull()
    assert first["sync"]["status"] == "COMPLETED", first
    assert fates(first) == {
        "in/a.csv": "uploaded", "in/deep/b.csv.gz": "uploaded", "in/c.jsonl": "uploaded",
        "in/empty.csv": "rejected", "in/noise.bin": "rejected",
    }  # fmt: skip
    assert closes(first)
    assert first["sync"]["receipt"]["ignored"] == 1
    (listing,) = first["exchanges"]
    assert (listing["method"], listing["status"], listing["error"]) == ("GET", 200, "")
    assert "list-type=2" in listing["url"]
    line = next(item for item in first["manifest_json"] if item["key"] == "in/a.csv")
    assert line["sha256"] == sha(csv(3, "a"))
    assert (line["size"], line["rows"], line["rejected"], line["error"]) == (len(csv(3, "a")), 3, 0, None)
    assert line["etag"] == hashlib.md5(csv(3, "a"), usedforsecurity=False).hexdigest()
    assert {item["name"]: item["row_count"] for item in place.inventory()} == {
        "in/a.csv": 3, "in/deep/b.csv.gz": 4, "in/c.jsonl": 2,
    }  # fmt: skip
    assert line["inventoryId"] in {item["id"] for item in place.inventory()}
    assert place.show()["lastSyncedAt"] is not None

    second = place.pull()
    assert fates(second) == {
        "in/a.csv": "unchanged", "in/deep/b.csv.gz": "unchanged", "in/c.jsonl": "unchanged",
        "in/empty.csv": "rejected", "in/noise.bin": "unchanged",
    }  # fmt: skip
    assert closes(second)
    assert second["sync"]["bytes"] == 0
    assert len(place.inventory()) == 3


def test_all_pages_of_a_listing_and_no_bytes_for_what_is_known(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: s3.put(bucket, f"in/{number:05}.csv", b"a,b\n1,%d\n" % number), range(1100)))
    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        first = place.pull(within_s=120)
        assert first["sync"]["receipt"] == {
            "listed": 1100, "uploaded": 1100, "unchanged": 0, "rejected": 0, "failed": 0, "ignored": 0, "deferred": 0,
        }  # fmt: skip
        assert len({item["inventoryId"] for item in first["manifest_json"]}) == 1100
        line.requests.clear()
        second = place.pull()
        assert second["sync"]["receipt"]["unchanged"] == 1100
        assert line.count("GET", "list-type=2") == 2
        assert len(line.requests) == 2, "nothing but the listing was asked for"


def test_an_overwritten_key_comes_again_also_within_a_second(place: Place, s3: S3Server, bucket: str) -> None:
    versions = [b"a,b\n1,%d\n" % number for number in range(4)]
    for version in versions:
        s3.put(bucket, "in/k.csv", version)
        assert fates(place.pull()) == {"in/k.csv": "uploaded"}
    assert contents(place) == Counter(map(sha, versions))
    s3.put(bucket, "in/k.csv", versions[0])  # what it was at first is a change, too
    assert fates(place.pull()) == {"in/k.csv": "uploaded"}


def test_a_file_whose_upload_began_before_the_last_sync_is_found(place: Place, s3: S3Server, bucket: str) -> None:
    """S3 dates a multipart object by the start of its upload, so it may appear with an old date."""
    late = s3.begin_upload(bucket, "in/late.csv")
    s3.put(bucket, "in/early.csv", csv(2))
    assert fates(place.pull()) == {"in/early.csv": "uploaded"}
    s3.finish_upload(bucket, "in/late.csv", late, [csv(3, "late")])
    found = place.pull()
    assert fates(found) == {"in/early.csv": "unchanged", "in/late.csv": "uploaded"}
    assert closes(found)


def test_an_etag_that_is_no_md5_is_no_change_when_the_content_is_the_same(
    place: Place, s3: S3Server, bucket: str
) -> None:
    data = csv(5)
    s3.put(bucket, "in/k.csv", data)
    place.pull()
    etag = s3.put_in_parts(bucket, "in/k.csv", [data])
    assert "-" in etag
    again = place.pull()
    assert fates(again) == {"in/k.csv": "unchanged"}
    assert again["manifest_json"][0]["etag"] == etag
    assert again["manifest_json"][0]["inventoryId"] == place.inventory()[0]["id"]
    assert len(place.inventory()) == 1
    assert closes(again)


def test_keys_of_any_characters(place: Place, s3: S3Server, bucket: str) -> None:
    keys = [f"in/{key[:900]}" for key in ODD_KEYS if key != "../x/./y//z" and not key.endswith("/")]
    for number, key in enumerate(keys):
        s3.put(bucket, key, b"a,b\n1,%d\n" % number)
    found = place.pull()
    assert fates(found) == dict.fromkeys(keys, "uploaded")
    assert {item["name"] for item in place.inventory()} == set(keys)
    assert fates(place.pull()) == dict.fromkeys(keys, "unchanged")


@pytest.mark.parametrize(
    "prefix", ["d\u00e4 ta+%2F/#?&=;/", "\u65e5\u672c/\U0001f600/", "a//b//", " ", "in'()!*$@,[]{}|^~`\"<>\\"]
)
def test_a_prefix_of_any_characters(database: Database, owner: Caller, s3: S3Server, bucket: str, prefix: str) -> None:
    for key in (f"{prefix}one.csv", f"{prefix}deep/two.csv", "other.csv", prefix[:-1] + "x.csv"):
        s3.put(bucket, key, csv(2, key))
    place = make_place(database, owner, s3_body(s3, bucket, config={"prefix": prefix}))
    wanted = dict.fromkeys([f"{prefix}one.csv", f"{prefix}deep/two.csv"], "uploaded")
    assert fates(place.pull()) == wanted
    test = owner.post(f"{place.path}/test").json()
    assert test["ok"], test


def test_an_object_that_changes_under_the_download_is_taken_as_it_is_then(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    before, after = csv(200_000, "before"), csv(210_000, "after")
    s3.put(bucket, "in/k.csv", before)  # 4 MB
    changed = threading.Event()

    def change(head: bytes) -> None:
        if head.startswith(b"GET") and b"/in/k.csv" in head.partition(b"\r\n")[0] and not changed.is_set():
            changed.set()
            s3.put(bucket, "in/k.csv", after)

    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.on_request = change
        found = place.pull()
        assert changed.is_set()
        assert fates(found) == {"in/k.csv": "uploaded"}
        assert contents(place) == Counter([sha(after)])
        assert found["manifest_json"][0]["sha256"] == sha(after)
        assert fates(place.pull()) == {"in/k.csv": "unchanged"}


def test_an_object_that_never_rests_fails_and_is_taken_once_it_does(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    numbers = itertools.count()
    s3.put(bucket, "in/k.csv", b"a,b\n1,x\n")
    s3.put(bucket, "in/calm.csv", b"a,b\n1,x\n")

    def change(head: bytes) -> None:
        if head.startswith(b"GET") and b"/in/k.csv" in head.partition(b"\r\n")[0]:
            s3.put(bucket, "in/k.csv", b"a,b\n1,%d\n" % next(numbers))

    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.on_request = change
        found = place.pull()
        assert fates(found) == {"in/k.csv": "failed", "in/calm.csv": "uploaded"}
        assert closes(found)
        line.on_request = None
        assert fates(place.pull()) == {"in/k.csv": "uploaded", "in/calm.csv": "unchanged"}


def test_an_object_that_is_deleted_under_way_is_no_trouble(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    s3.put(bucket, "in/gone.csv", csv(2))
    s3.put(bucket, "in/here.csv", csv(3))

    def delete(head: bytes) -> None:
        if head.startswith(b"GET") and b"/in/gone.csv" in head.partition(b"\r\n")[0]:
            s3.delete(bucket, "in/gone.csv")

    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.on_request = delete
        found = place.pull()
        assert found["sync"]["status"] == "COMPLETED"
        assert fates(found) == {"in/gone.csv": "failed", "in/here.csv": "uploaded"}
        assert closes(found)
        assert fates(place.pull()) == {"in/here.csv": "unchanged"}


def test_a_large_file_comes_whole_over_a_line_that_breaks(
    database: Database, owner: Caller, s3: S3Server, bucket: str, quick: None
) -> None:
    data = csv(700_000)  # 19 MB: two ranges
    s3.put(bucket, "in/large.csv", data)
    with bad_line(s3.port, seed=3) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.cut_share = 0.5
        found = place.pull(within_s=120)
        assert fates(found) == {"in/large.csv": "uploaded"}, found
        assert found["manifest_json"][0]["rows"] == 700_000
        assert contents(place) == Counter([sha(data)])
        assert line.cut >= 1


def test_a_server_that_is_busy_and_a_line_that_breaks_lose_and_double_nothing(
    database: Database, owner: Caller, s3: S3Server, bucket: str, quick: None
) -> None:
    bodies = {f"in/{number:03}.csv": csv(40, str(number)) for number in range(150)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: s3.put(bucket, *item), bodies.items()))
    with bad_line(s3.port, seed=11) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.busy_share, line.cut_share = 0.3, 0.6
        missing = set(bodies)
        for _ in range(10):
            found = place.pull(within_s=120)
            assert closes(found) or found["sync"]["status"] == "FAILED", found["sync"]
            missing -= {line["key"] for line in found["manifest_json"] if line["status"] in {"uploaded", "unchanged"}}
            if place.show()["status"] == "PAUSED":
                owner.patch(place.path, {"status": "ACTIVE"})
            if not missing:
                break
        assert missing == set()
        assert line.busy >= 3
        assert line.cut >= 5
        line.busy_share = line.cut_share = 0.0
        assert fates(place.pull()) == dict.fromkeys(bodies, "unchanged")
    assert contents(place) == Counter(map(sha, bodies.values()))


def test_a_writer_that_never_stops_loses_nothing(place: Place, s3: S3Server, bucket: str) -> None:
    """While keys are overwritten all the time, each pull takes what it sees; the last one has the last versions."""
    stop, last = threading.Event(), {}

    def write() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            key = f"in/{number % 12}.csv"
            last[key] = b"a,b\n1,%08d\n" % number
            s3.put(bucket, key, last[key])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert closes(place.pull())
    finally:
        stop.set()
        writer.join()
    place.pull()
    came = contents(place)
    assert {sha(body) for body in last.values()} <= set(came)
    assert set(came.values()) == {1}
    assert fates(place.pull()) == dict.fromkeys(last, "unchanged")


def test_only_what_a_glob_fits(database: Database, owner: Caller, s3: S3Server, bucket: str) -> None:
    for key in ("in/a.csv", "in/a.txt", "in/2026/b.csv", "in/2026/deep/c.gz", "in/c.gz"):
        s3.put(bucket, key, csv(2, key))
    body = s3_body(s3, bucket, config={"globs": ["*.csv", "2026/**/*.gz"]})
    found = make_place(database, owner, body).pull()
    assert fates(found) == dict.fromkeys(["in/a.csv", "in/2026/b.csv", "in/2026/deep/c.gz"], "uploaded")
    assert (found["sync"]["receipt"]["ignored"], closes(found)) == (2, True)


def test_a_file_must_be_of_the_declared_format(database: Database, owner: Caller, s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "in/a.csv", csv(2))
    s3.put(bucket, "in/b.json", b'[{"a": 1}]')
    found = make_place(database, owner, s3_body(s3, bucket, format="CSV")).pull()
    assert fates(found) == {"in/a.csv": "uploaded", "in/b.json": "rejected"}
    assert "JSON" in next(line["error"] for line in found["manifest_json"] if line["key"] == "in/b.json")


def test_what_is_over_a_limit_comes_with_the_next_sync_at_once(
    place: Place, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, connector_files_max=3)
    for number in range(8):
        s3.put(bucket, f"in/{number}.csv", csv(2, str(number)))
    first = place.pull()
    assert (first["sync"]["receipt"]["uploaded"], first["sync"]["receipt"]["deferred"]) == (3, 5)
    assert closes(first)
    wait_for(lambda: len(place.inventory()) == 8, "the rest of the files")
    wait_for(lambda: {item["status"] for item in place.syncs()} == {"COMPLETED"}, "the end of the syncs")
    assert [item["receipt"]["uploaded"] for item in place.syncs()] == [2, 3, 3]


def test_a_file_over_the_limit_is_given_up_and_told(
    place: Place, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, upload_bytes_max=1000)
    s3.put(bucket, "in/big.csv", csv(1000))
    s3.put(bucket, "in/small.csv", csv(2))
    found = place.pull()
    assert fates(found) == {"in/big.csv": "failed", "in/small.csv": "uploaded"}
    assert [item["kind"] for item in place.pending()] == ["DATA_SOURCE_PULL_FAILED"]
    assert place.pending()[0]["facts"]["objects"][0]["key"] == "in/big.csv"
    limit(monkeypatch, upload_bytes_max=10**6)
    assert fates(place.pull())["in/big.csv"] == "failed", "given up until it changes or somebody asks"
    assert fates(place.pull(retryFailed=True))["in/big.csv"] == "uploaded"


def test_one_bad_object_is_given_up_after_three_tries_and_the_others_go_on(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    secret = s3.user(
        f"mostly-{bucket}",
        {"Effect": "Allow", "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]},
        {"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/in/secret.csv"]},
    )
    place = make_place(database, owner, s3_body(s3, bucket, secret=secret))
    s3.put(bucket, "in/secret.csv", csv(2))
    for number in range(4):
        s3.put(bucket, f"in/{number}.csv", csv(2, str(number)))
        found = place.pull()
        assert found["sync"]["status"] == "COMPLETED"
        assert fates(found)["in/secret.csv"] == "failed"
        assert fates(found)[f"in/{number}.csv"] == "uploaded"
        assert bool(place.pending()) == (number >= 2)
    assert "Given up after 3 tries" in next(
        line["error"] for line in found["manifest_json"] if line["key"] == "in/secret.csv"
    )
    s3.put(bucket, "in/secret.csv", csv(3))
    assert "Given up" not in str(place.pull()["manifest_json"])


def test_failures_in_a_row_pause_a_source_and_people_are_told(
    database: Database, owner: Caller, s3: S3Server, bucket: str, quick: None
) -> None:
    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        s3.put(bucket, "in/a.csv", csv(2))
        rules(database, owner, place.agent, {"data_sources": {"pause_source_after_failures": 2}})
        line.down = True
        assert place.pull()["sync"]["status"] == "FAILED"
        assert (place.show()["status"], place.show()["failuresInRow"]) == ("ACTIVE", 1)
        failed = place.pull()
        assert failed["sync"]["error"]
        shown = place.show()
        assert (shown["status"], shown["failuresInRow"]) == ("PAUSED", 2)
        assert "2 pulls failed in a row" in shown["statusReason"]
        assert [item["kind"] for item in place.pending()] == ["DATA_SOURCE_PULL_FAILED"]
        kinds = [event["kind"] for event in owner.get("/api/v1/events?limit=1000").json()["data"]]
        assert kinds.count("connector.sync.failed") == 2
        assert kinds.count("connector.paused") == 1
        assert owner.post(f"{place.path}/pull").status_code == 409
        test = owner.post(f"{place.path}/test").json()
        assert not test["ok"]
        assert place.show()["status"] == "PAUSED"

        line.down = False
        assert owner.post(f"{place.path}/test").json()["ok"]
        shown = place.show()
        assert (shown["status"], shown["failuresInRow"], shown["statusReason"]) == ("ACTIVE", 0, "")
        assert place.pending() == []
        assert fates(place.pull()) == {"in/a.csv": "uploaded"}


def test_a_person_activates_a_paused_source(database: Database, owner: Caller, place: Place) -> None:
    assert owner.patch(place.path, {"status": "PAUSED"}).json()["status"] == "PAUSED"
    assert owner.post(f"{place.path}/test").json()["ok"]
    assert place.show()["status"] == "PAUSED", "what a person has paused, no test activates"
    assert owner.patch(place.path, {"status": "ACTIVE"}).json()["status"] == "ACTIVE"
    assert place.pull()["sync"]["status"] == "COMPLETED"


def test_an_outage_is_no_objects_fault(
    database: Database, owner: Caller, s3: S3Server, bucket: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "FAILURES_IN_ROW_MAX", 5)
    for number in range(40):
        s3.put(bucket, f"in/{number}.csv", csv(2, str(number)))

    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))

        def break_down(head: bytes) -> None:
            if b"/in/" in head.partition(b"\r\n")[0]:
                line.down = True
                raise OSError

        line.on_request = break_down
        for _ in range(4):
            line.down = False
            assert place.pull()["sync"]["status"] == "FAILED"
            owner.patch(place.path, {"status": "ACTIVE"})
        line.on_request, line.down = None, False
        assert fates(place.pull()) == {f"in/{number}.csv": "uploaded" for number in range(40)}


def test_never_two_pulls_at_once(database: Database, owner: Caller, s3: S3Server, bucket: str) -> None:
    gate = threading.Event()
    s3.put(bucket, "in/a.csv", csv(2))
    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.on_request = lambda head: gate.wait(20) if b"list-type=2" in head else None  # type: ignore[return-value]
        answer = owner.post(f"{place.path}/pull")
        assert answer.status_code == 202
        with ThreadPoolExecutor(8) as threads:
            others = list(threads.map(lambda _: owner.post(f"{place.path}/pull").status_code, range(16)))
        assert set(others) == {409}
        with database.system() as tx:
            duties.start_scheduled(tx)
        gate.set()
        assert fates(place.end_of(answer.json()["id"])) == {"in/a.csv": "uploaded"}
    assert len(place.syncs()) == 1


def test_a_pull_is_safe_to_repeat(owner: Caller, place: Place) -> None:
    headers = {"Idempotency-Key": "pull-1"}
    first = owner.client.post(f"{place.path}/pull", headers=headers)
    second = owner.client.post(f"{place.path}/pull", headers=headers)
    assert first.json()["id"] == second.json()["id"]
    place.end_of(first.json()["id"])
    assert len(place.syncs()) == 1


def test_a_pull_that_would_change_far_more_than_usual_waits_for_approval(
    owner: Caller, place: Place, s3: S3Server, bucket: str
) -> None:
    for round_number in range(3):
        s3.put(bucket, f"in/day-{round_number}.csv", csv(2, str(round_number)))
        assert place.pull()["sync"]["status"] == "COMPLETED"
    for number in range(40):
        s3.put(bucket, f"in/flood-{number:02}.csv", csv(1, f"f{number}"))
    held = place.pull()
    assert held["sync"]["status"] == "HELD"
    assert "40 files" in held["sync"]["error"]
    assert len(held["manifest_json"]) == 40
    assert len(place.inventory()) == 3
    assert owner.post(f"{place.path}/pull").status_code == 409
    pending = place.pending()
    assert [item["kind"] for item in pending] == ["DATA_SOURCE_SYNC_HELD"]
    assert pending[0]["facts"]["files"] == 40
    assert owner.post(f"{place.path}/syncs/{held['sync']['id']}/approve").status_code == 200
    assert place.pending() == []
    done = place.end_of(held["sync"]["id"])
    assert done["sync"]["status"] == "COMPLETED"
    assert Counter(fates(done).values()) == {"uploaded": 40, "unchanged": 3}
    assert closes(done)
    assert owner.post(f"{place.path}/syncs/{held['sync']['id']}/approve").status_code == 409


def test_what_a_person_rejects_stays_out_until_it_changes(
    owner: Caller, place: Place, s3: S3Server, bucket: str
) -> None:
    for round_number in range(3):
        s3.put(bucket, f"in/day-{round_number}.csv", csv(2, str(round_number)))
        place.pull()
    for number in range(40):
        s3.put(bucket, f"in/flood-{number:02}.csv", csv(1, f"f{number}"))
    held = place.pull()
    item = place.pending()[0]
    answer = owner.post(f"/api/v1/agents/{place.agent}/pending/{item['id']}/resolve", {"decision": "reject"})
    assert answer.status_code == 200, answer.text
    assert place.sync(held["sync"]["id"])["sync"]["status"] == "REJECTED"
    s3.put(bucket, "in/flood-07.csv", csv(9, "new"))
    after = place.pull()
    assert after["sync"]["status"] == "COMPLETED"
    assert [key for key, fate in fates(after).items() if fate == "uploaded"] == ["in/flood-07.csv"]
    assert len(place.inventory()) == 4


def test_a_new_file_is_run_where_the_rule_says_so(database: Database, owner: Caller, s3: S3Server, bucket: str) -> None:
    fields = [{"name": "SKU", "required": True}, {"name": "price"}]
    place = make_place(database, owner, s3_body(s3, bucket), input_fields=fields)
    rules(database, owner, place.agent, {"mapping_jobs": {"trigger_on_new_inventory_upload": True}})
    s3.put(bucket, "in/a.csv", csv(3))
    s3.put(bucket, "in/other.csv", b"name\nAna\n")
    place.pull()
    path = f"/api/v1/agents/{place.agent}/batch_executions"
    batch = wait_for(lambda: owner.get(path).json()["data"], "a batch")[0]
    assert batch["origin"]["kind"] == "inventory"
    assert batch["mapping"] == {"SKU": "sku", "price": "price"}
    where = f"/api/v1/batch_executions/{batch['id']}"
    wait_for(lambda: owner.get(where).json()["status"] == "completed", "completion")
    assert owner.get(where).json()["succeeded"] == 3
    item = wait_for(place.pending, "an item for the file that can't be run")[0]
    assert (item["kind"], item["facts"]["fields"]) == ("MAPPING_NEEDED", ["SKU"])
    place.pull()
    assert len(owner.get(path).json()["data"]) == 1


def test_a_file_that_can_not_be_run_now_is_run_later_and_one_that_never_can_is_told(
    database: Database, owner: Caller, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came in, and nobody would look for a batch that there never was."""
    tried: Counter[str] = Counter()

    @contextmanager
    def open_rows(stored: StoredInventory, current: Settings) -> Iterator[OpenedFile]:
        name = stored.inventory.name
        tried[name] += 1
        if name == "in/late.csv" and tried[name] == 1:
            raise StoreUnavailable("The object store can't be reached.")
        if name == "in/never.csv":
            raise Invalid("It makes no sense.")
        if name == "in/defect.csv":
            raise LookupError
        with opens(stored, current) as opened:
            yield opened

    opens = inventory.open_rows
    monkeypatch.setattr(inventory, "open_rows", open_rows)
    monkeypatch.setattr(triggers, "AWAY_PAUSE_S", 0.1)
    place = make_place(database, owner, s3_body(s3, bucket))
    rules(database, owner, place.agent, {"mapping_jobs": {"trigger_on_new_inventory_upload": True}})
    for name in ("late", "never", "defect"):
        s3.put(bucket, f"in/{name}.csv", csv(2, name))
    place.pull()
    path = f"/api/v1/agents/{place.agent}/batch_executions"
    batch = wait_for(lambda: owner.get(path).json()["data"], "a batch")[0]
    assert batch["origin"]["name"] == "in/late.csv"
    items = wait_for(lambda: len(found := place.pending()) == 2 and found, "items for the others")
    assert {item["kind"] for item in items} == {"FILE_NOT_RUN"}
    assert sorted(item["message"].split(":")[0] for item in items) == [
        "`in/defect.csv` was not run", "`in/never.csv` was not run",
    ]  # fmt: skip
    assert tried == {"in/late.csv": 2, "in/never.csv": 1, "in/defect.csv": 1}


def test_the_last_syncs_are_kept(
    database: Database, place: Place, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.connectors.closing.SYNCS_KEPT", 3)
    ids = []
    for number in range(5):
        s3.put(bucket, "in/k.csv", csv(1, str(number)))
        ids.append(place.pull()["sync"]["id"])
    assert [item["id"] for item in place.syncs()] == ids[:1:-1]
    assert place.caller.get(f"{place.path}/syncs/{ids[0]}").status_code == 404
    assert len(place.inventory()) == 5, "what came in stays"


def test_a_key_without_the_right_to_read_fails_as_a_whole(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    place = make_place(database, owner, s3_body(s3, bucket, secret=user_of(s3, bucket, "s3:ListBucket")))
    for number in range(3):
        s3.put(bucket, f"in/{number}.csv", csv(1, str(number)))
    found = place.pull()
    assert found["sync"]["status"] == "FAILED"
    assert "AccessDenied" in found["sync"]["error"]
    assert set(fates(found).values()) == {"failed"}
    assert place.show()["failuresInRow"] == 1


def test_history_shows_a_running_sync(
    database: Database, owner: Caller, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "COMMIT_S", 0.0)
    gate = threading.Event()
    for number in range(3):
        s3.put(bucket, f"in/{number}.csv", csv(1, str(number)))
    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.on_request = lambda head: gate.wait(20) if b"/in/2.csv" in head else None  # type: ignore[return-value]
        sync_id = owner.post(f"{place.path}/pull").json()["id"]
        seen = wait_for(lambda: len(place.sync(sync_id)["manifest_json"]) >= 2 and place.sync(sync_id), "lines")
        assert seen["sync"]["status"] == "RUNNING"
        gate.set()
        assert closes(place.end_of(sync_id))


def test_deleting_a_connector_leaves_the_inventory(
    database: Database, owner: Caller, place: Place, s3: S3Server, bucket: str
) -> None:
    s3.put(bucket, "in/a.csv", csv(2))
    place.pull()
    secret = place.show()["secretRef"]
    assert owner.get(f"/api/v1/secrets/{secret}").status_code == 200
    assert owner.delete(place.path).status_code == 204
    assert owner.get(place.path).status_code == 404
    assert owner.get(f"/api/v1/secrets/{secret}").status_code == 404
    listed = owner.get(f"/api/v1/agents/{place.agent}/inventories").json()["data"]
    assert owner.get(f"/api/v1/agents/{place.agent}/inventories/{listed[0]['id']}/content").content == csv(2)
    with database.tx(owner.organization_id) as tx:
        for table in ("connector_sync", "connector_object", "connector_sync_line"):
            assert tx.rows(f"SELECT * FROM {table} WHERE organization_id = %s", (owner.organization_id,)) == []  # type: ignore[arg-type]


def test_a_connector_that_is_deleted_under_way_ends_its_pull(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    gate = threading.Event()
    s3.put(bucket, "in/a.csv", csv(2))
    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url))
        line.on_request = lambda head: gate.wait(20) if b"/in/a.csv" in head else None  # type: ignore[return-value]
        sync_id = owner.post(f"{place.path}/pull").json()["id"]
        wait_for(lambda: line.count("GET", "/in/a.csv"), "the download")
        assert place.sync(sync_id)["sync"]["status"] == "RUNNING"
        assert owner.delete(place.path).status_code == 204
        gate.set()
        time.sleep(0.3)
    assert owner.get(f"/api/v1/agents/{place.agent}/inventories").json()["data"] == []
