"""Files that are pushed in: who may, once, and what happens to what nobody may send."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from conftest import Caller
from connector_world import Place, closes, csv, make_place, s3_body
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.signing import new_shared_secret, signed_headers
from gristmill.connectors.inbound import accept
from s3_server import S3Server

pytestmark = pytest.mark.usefixtures("worker")

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DATA = csv(5)


@pytest.fixture
def place(database: Database, owner: Caller) -> Place:
    body = {
        "name": "Pushed in", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK",
        "config": {"authScheme": "HmacSha256"}, "secret": {"key": KEY},
    }  # fmt: skip
    return make_place(database, owner, body)


def signed(body: bytes, message_id: str, key: str = KEY, at: float | None = None) -> dict[str, str]:
    return signed_headers([key], message_id, int(time.time() if at is None else at), body)


def send(
    anyone: httpx.Client, place: Place, body: bytes, headers: dict[str, str], kind: str = "text/csv", query: str = ""
) -> httpx.Response:
    url = place.show()["inboundUrl"] + query
    return anyone.post(url, content=body, headers={"Content-Type": kind, **headers})


def test_a_signed_file_becomes_inventory(anyone: httpx.Client, place: Place) -> None:
    answer = send(anyone, place, DATA, signed(DATA, "m1"), query="?name=daily.csv")
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "accepted"
    done = place.end_of(answer.json()["syncId"])
    assert done["sync"]["status"] == "COMPLETED"
    assert (done["sync"]["cause"], done["sync"]["direction"]) == ("HOOK", "INBOUND")
    assert closes(done)
    (line,) = done["manifest_json"]
    assert (line["key"], line["rows"], line["sha256"]) == ("daily.csv", 5, hashlib.sha256(DATA).hexdigest())
    (item,) = place.inventory()
    assert (item["id"], item["name"], item["row_count"]) == (line["inventoryId"], "daily.csv", 5)
    content = place.caller.get(f"/api/v1/agents/{place.agent}/inventories/{item['id']}/content").content
    assert content == DATA


@pytest.mark.parametrize(
    ("body", "kind", "rows"),
    [
        (b'[{"sku": "1", "n": 1}, {"sku": "2", "n": 2}]', "application/json", 2),
        (b'{"rows": [{"sku": "1"}, {"sku": "2"}, {"sku": "3"}]}', "application/json", 3),
        (b'{"sku": "1"}\n{"sku": "2"}\n', "application/x-ndjson", 2),
        (gzip.compress(DATA, mtime=0), "application/gzip", 5),
        (DATA, "application/octet-stream; charset=binary", 5),
    ],
)
def test_rows_and_files_of_many_kinds(anyone: httpx.Client, place: Place, body: bytes, kind: str, rows: int) -> None:
    answer = send(anyone, place, body, signed(body, "m1"), kind)
    assert answer.status_code == 202, answer.text
    assert place.end_of(answer.json()["syncId"])["sync"]["rows"] == rows


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_packed_body_is_signed_as_it_is_sent(anyone: httpx.Client, place: Place, coding: str) -> None:
    body = gzip.compress(DATA, mtime=0) if coding == "gzip" else zlib.compress(DATA)
    answer = send(anyone, place, body, {**signed(body, "m1"), "Content-Encoding": coding})
    assert answer.status_code == 202, answer.text
    place.end_of(answer.json()["syncId"])
    assert place.inventory()[0]["sha256"] == hashlib.sha256(DATA).hexdigest()


def test_a_message_is_taken_once(anyone: httpx.Client, place: Place) -> None:
    first = send(anyone, place, DATA, signed(DATA, "m1"))
    again = send(anyone, place, DATA, signed(DATA, "m1"))
    assert (again.status_code, again.json()) == (200, {"syncId": first.json()["syncId"], "status": "duplicate"})
    other = csv(6)
    assert send(anyone, place, other, signed(other, "m1")).status_code == 409
    assert send(anyone, place, other, signed(other, "m2")).status_code == 202
    with ThreadPoolExecutor(8) as threads:
        third = csv(7)
        answers = list(threads.map(lambda _: send(anyone, place, third, signed(third, "m3")), range(8)))
    assert sorted(item.status_code for item in answers) == [200] * 7 + [202]
    assert len({item.json()["syncId"] for item in answers}) == 1
    for sync in place.syncs():
        place.end_of(sync["id"])
    assert sorted(item["row_count"] for item in place.inventory()) == [5, 6, 7]


def test_the_signatures_of_github(anyone: httpx.Client, place: Place) -> None:
    raw = base64.b64decode(KEY.removeprefix("whsec_"))
    digest = "sha256=" + hmac.new(raw, DATA, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": digest, "X-GitHub-Delivery": "d1"}
    first = send(anyone, place, DATA, headers)
    assert first.status_code == 202, first.text
    assert send(anyone, place, DATA, headers).status_code == 200
    replayed = send(anyone, place, DATA, {**headers, "X-GitHub-Delivery": "d2"})
    assert replayed.json() == {"syncId": first.json()["syncId"], "status": "duplicate"}, "the id is not signed"
    assert send(anyone, place, csv(9), headers).status_code == 401
    assert send(anyone, place, csv(1), {"X-Hub-Signature-256": "sha256=" + "0" * 64}).status_code == 401


@pytest.mark.parametrize(
    ("config", "secret", "header"),
    [
        ({"authScheme": "Bearer"}, {"token": "a-long-secret-token"}, {"Authorization": "Bearer a-long-secret-token"}),
        (
            {"authScheme": "Basic"},
            {"username": "ana", "password": "a-long-password"},
            {"Authorization": "Basic YW5hOmEtbG9uZy1wYXNzd29yZA=="},
        ),
        ({"authScheme": "Header", "authHeader": "X-Door"}, {"value": "a-long-value"}, {"X-Door": "a-long-value"}),
    ],
)
def test_plain_secrets(
    database: Database, owner: Caller, anyone: httpx.Client, config: Any, secret: Any, header: dict[str, str]
) -> None:
    body = {"name": "In", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK", "config": config, "secret": secret}
    place = make_place(database, owner, body)
    first = send(anyone, place, DATA, header)
    assert first.status_code == 202, first.text
    assert send(anyone, place, DATA, header).status_code == 200, "the same content again"
    ((name, value),) = header.items()
    for wrong in ("", value[:-1], value + "x", "Bearer", "Basic ===", "Bearer \u00e9"):
        headers: Any = {name: wrong.encode()}
        assert send(anyone, place, DATA, headers).status_code == 401, wrong
    assert send(anyone, place, DATA, signed(DATA, "x")).status_code == 401


def bad_headers() -> dict[str, dict[str, str]]:
    good = signed(DATA, "m1")
    return {
        "nothing": {},
        "no signature": {name: value for name, value in good.items() if name != "webhook-signature"},
        "no id": {name: value for name, value in good.items() if name != "webhook-id"},
        "another key": signed(DATA, "m1", new_shared_secret()),
        "another body": signed(csv(9), "m1"),
        "another id": {**good, "webhook-id": "m2"},
        "another time": {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)},
        "too old": signed(DATA, "m1", at=time.time() - 400),
        "of the future": signed(DATA, "m1", at=time.time() + 400),
        "no number": {**good, "webhook-timestamp": "1e9"},
        "a long number": {**good, "webhook-timestamp": "9" * 200},
        "no base64": {**good, "webhook-signature": "v1,%%%"},
        "no version": {**good, "webhook-signature": good["webhook-signature"].removeprefix("v1,")},
        "only the version": {**good, "webhook-signature": "v1"},
        "many": {**good, "webhook-signature": " ".join(["v1,AAAA"] * 500)},
        "a body signature of nothing": {"X-Hub-Signature-256": ""},
        "an empty bearer": {"Authorization": "Bearer"},
        "a null key": {"X-Hub-Signature-256": "sha256=" + hmac.new(b"", DATA, hashlib.sha256).hexdigest()},
    }


@pytest.mark.parametrize("name", list(bad_headers()))
def test_what_is_not_signed_is_refused_as_an_unknown_url_is(anyone: httpx.Client, place: Place, name: str) -> None:
    headers = bad_headers()[name]
    answer = send(anyone, place, DATA, headers)
    unknown = anyone.post("/hooks/" + "0" * 32, content=DATA, headers={"Content-Type": "text/csv", **headers})
    assert answer.status_code == unknown.status_code == 401, answer.text
    for varying in ("request_id",):
        assert {**answer.json(), varying: ""} == {**unknown.json(), varying: ""}
    assert {**answer.headers, "x-request-id": "", "date": ""} == {**unknown.headers, "x-request-id": "", "date": ""}
    assert place.syncs() == []


def test_bodies_that_are_too_large_or_of_the_wrong_kind_are_refused_before_anything_else(
    anyone: httpx.Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(anyone, place, DATA, {}, "image/png").status_code == 415
    assert anyone.post("/hooks/nothing", content=DATA, headers={"Content-Type": "image/png"}).status_code == 415
    big = b"x" * (settings().hook_bytes_max + 1)
    assert send(anyone, place, big, {}).status_code == 413
    assert anyone.post("/hooks/nothing", content=big, headers={"Content-Type": "text/csv"}).status_code == 413


def test_a_bomb_is_refused_while_it_is_unpacked(
    anyone: httpx.Client, place: Place, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(b"0" * (settings().hook_bytes_max + 10))
    answer = send(anyone, place, bomb, {**signed(bomb, "m1"), "Content-Encoding": "gzip"})
    assert answer.status_code == 413
    torn = gzip.compress(DATA, mtime=0)[:-9]
    answer = send(anyone, place, torn, {**signed(torn, "m2"), "Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert send(anyone, place, DATA, {**signed(DATA, "m3"), "Content-Encoding": "br"}).status_code == 400
    assert send(anyone, place, DATA, {**signed(DATA, "m4"), "Content-Encoding": "gzip"}).status_code == 400
    assert place.syncs() == []
    assert send(anyone, place, DATA, signed(DATA, "m1")).status_code == 202, "a refused message may come again"


def test_a_file_that_is_none_is_kept_with_its_reason(database: Database, anyone: httpx.Client, place: Place) -> None:
    body = bytes(range(3)) * 400
    answer = send(anyone, place, body, signed(body, "m1"), "application/octet-stream")
    done = place.end_of(answer.json()["syncId"])
    assert done["sync"]["status"] == "FAILED"
    assert done["manifest_json"][0]["status"] == "rejected"
    assert done["manifest_json"][0]["error"]
    assert closes(done)
    assert place.inventory() == []
    assert place.show()["failuresInRow"] == 0, "a bad file is not the source's failure"
    file = place.caller.get(f"{place.path}/syncs/{done['sync']['id']}/file")
    assert file.content == body


def test_too_many_messages_are_slowed_down(anyone: httpx.Client, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "MESSAGES_PER_MINUTE", 3)
    statuses = []
    for number in range(5):
        body = csv(1, str(number))
        answer = send(anyone, place, body, signed(body, f"m{number}"))
        statuses.append(answer.status_code)
    assert statuses == [202, 202, 202, 429, 429]
    assert int(answer.headers["retry-after"]) > 0


def test_a_paused_source_takes_nothing(anyone: httpx.Client, owner: Caller, place: Place) -> None:
    owner.patch(place.path, {"status": "PAUSED"})
    assert send(anyone, place, DATA, signed(DATA, "m1")).status_code == 409


def test_any_source_can_have_a_key_of_its_own(
    database: Database, owner: Caller, anyone: httpx.Client, s3: S3Server, bucket: str
) -> None:
    place = make_place(database, owner, s3_body(s3, bucket))
    assert send(anyone, place, DATA, {}).status_code == 401
    first = owner.post(f"{place.path}/inbound").json()
    assert first["inboundUrl"] == place.show()["inboundUrl"]
    assert send(anyone, place, DATA, signed(DATA, "m1", first["key"])).status_code == 202
    second = owner.post(f"{place.path}/inbound", {"overlapS": 60}).json()
    assert second["key"] != first["key"]
    for number, key in enumerate((first["key"], second["key"])):
        body = csv(2, str(number))
        assert send(anyone, place, body, signed(body, f"n{number}", key)).status_code == 202
    third = owner.post(f"{place.path}/inbound", {"overlapS": 0}).json()
    body = csv(8)
    assert send(anyone, place, body, signed(body, "o1", second["key"])).status_code == 401
    assert send(anyone, place, body, signed(body, "o1", third["key"])).status_code == 202
    assert owner.delete(place.path).status_code == 204


def test_urls_of_other_tenants_and_of_the_past(
    database: Database, owner: Caller, anyone: httpx.Client, place: Place
) -> None:
    url = place.show()["inboundUrl"]
    owner.delete(place.path)
    answer = anyone.post(url, content=DATA, headers={"Content-Type": "text/csv", **signed(DATA, "m1")})
    assert answer.status_code == 401
    assert anyone.get(url).status_code == 405
    assert len(url.rsplit("/", 1)[1]) == 32, "128 bits"
