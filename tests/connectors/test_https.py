"""A file at a URL: fetched when it has changed, never more than once, whatever the server does."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from conftest import Caller
from connector_world import Place, closes, csv, fates, limit, make_place
from gristmill.base.db import Database
from gristmill.connectors.kinds import https_webhook
from receiver import Receiver

pytestmark = pytest.mark.usefixtures("worker")

TOKEN = "a-long-secret-token"


@pytest.fixture
def place(database: Database, owner: Caller, receiver: Receiver) -> Place:
    receiver.allow = lambda headers: headers.get("authorization") == f"Bearer {TOKEN}"
    receiver.file = csv(4)
    body = {
        "name": "Feed", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK", "secret": {"token": TOKEN},
        "config": {"url": f"{receiver.url}/feed.csv?part=1", "authScheme": "Bearer"},
    }  # fmt: skip
    return make_place(database, owner, body)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https_webhook, "FETCH_PAUSE_S", 0.01)


def test_a_file_is_fetched_when_it_has_changed(place: Place, receiver: Receiver) -> None:
    first = place.pull()
    assert fates(first) == {"127.0.0.1/feed.csv": "uploaded"}, "the query, which may hold a secret, is not shown"
    assert closes(first)
    assert first["manifest_json"][0]["rows"] == 4
    assert fates(place.pull()) == {"127.0.0.1/feed.csv": "unchanged"}
    assert receiver.got[-1].status == 304
    receiver.file = csv(5)
    again = place.pull()
    assert fates(again) == {"127.0.0.1/feed.csv": "uploaded"}
    assert sorted(item["row_count"] for item in place.inventory()) == [4, 5]


def test_the_history_has_requests_and_answers(place: Place, receiver: Receiver) -> None:
    place.pull()
    found = place.pull()["exchanges"]
    assert [(item["method"], item["status"], item["error"]) for item in found] == [("GET", 304, "")]
    assert found[0]["url"] == f"{receiver.url}/feed.csv"
    assert found[0]["durationMs"] >= 0
    receiver.allow = lambda _: False
    refused = place.pull()["exchanges"]
    assert [item["status"] for item in refused] == [401]
    assert refused[0]["error"] == "The server answered 401."
    assert TOKEN not in str(refused)


def test_a_server_without_etags_is_compared_by_content(place: Place, receiver: Receiver) -> None:
    receiver.headers = {"ETag": ""}
    place.pull()
    second = place.pull()
    assert fates(second) == {"127.0.0.1/feed.csv": "unchanged"}
    assert closes(second)
    assert len(place.inventory()) == 1


def test_a_date_is_enough_to_ask_with(place: Place, receiver: Receiver) -> None:
    receiver.headers = {"Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"}
    place.pull()
    place.pull()
    assert receiver.got[-1].headers["if-modified-since"] == "Wed, 25 Nov 2026 10:00:00 GMT"


def test_a_packed_answer_is_unpacked_and_capped(
    place: Place, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.headers = {"Content-Encoding": "gzip"}
    receiver.file = gzip.compress(csv(7), mtime=0)
    assert place.pull()["manifest_json"][0]["rows"] == 7
    limit(monkeypatch, upload_bytes_max=100_000)
    receiver.file = gzip.compress(b"a,b\n" + b"1,2\n" * 100_000, mtime=0)
    found = place.pull()
    assert (fates(found), closes(found)) == ({"127.0.0.1/feed.csv": "failed"}, True)
    assert "100000 bytes" in found["manifest_json"][0]["error"]


@pytest.mark.parametrize(
    ("status", "sync", "word"),
    [(404, "COMPLETED", "no file"), (403, "FAILED", "403"), (500, "FAILED", "500"), (302, "FAILED", "302")],
)
def test_answers_that_are_no_file(place: Place, receiver: Receiver, status: int, sync: str, word: str) -> None:
    receiver.other = status
    found = place.pull()
    assert (found["sync"]["status"], fates(found)) == (sync, {"127.0.0.1/feed.csv": "failed"})
    assert word in found["manifest_json"][0]["error"]
    receiver.other = 200
    assert fates(place.pull()) == {"127.0.0.1/feed.csv": "uploaded"}


def test_a_server_that_flaps_is_asked_again(place: Place, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = iter([503, 0, 200])
    real = receiver.serve

    def serve(handler: Any) -> None:
        receiver.other = next(statuses, 200)
        real(handler)

    monkeypatch.setattr(receiver, "serve", serve)
    assert fates(place.pull()) == {"127.0.0.1/feed.csv": "uploaded"}


def test_a_file_that_can_not_be_read_is_not_fetched_again_until_it_changes(place: Place, receiver: Receiver) -> None:
    receiver.file = bytes(range(3)) * 300
    assert fates(place.pull()) == {"127.0.0.1/feed.csv": "rejected"}
    second = place.pull()
    assert fates(second) == {"127.0.0.1/feed.csv": "unchanged"}
    assert second["manifest_json"][0]["error"], "and it still says what is wrong"
    receiver.file = csv(3)
    assert fates(place.pull()) == {"127.0.0.1/feed.csv": "uploaded"}
