"""Servers and senders that mean harm: what they do stays with their own connector, and ends."""

from __future__ import annotations

import gzip
import io
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

import httpx
import pytest

from conftest import Caller, make_agent, wait_for
from connector_world import Place, closes, csv, fates, limit, make_place, rules, s3_body
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.signing import signed_headers
from gristmill.connectors import pull, push, testing
from gristmill.connectors.kinds import https_webhook
from gristmill.connectors.landing import MEMORY_BYTES_MAX
from gristmill.connectors.s3 import client, documents, reading
from s3_server import S3Server

pytestmark = pytest.mark.usefixtures("worker")

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = {"accessKeyId": "AKIA0EXAMPLE", "secretAccessKey": "a-long-secret-value"}
Answer = Callable[[BaseHTTPRequestHandler], None]


class Hostile:
    """An HTTP server that answers as a test says, by method and the path's first part after the bucket."""

    def __init__(self) -> None:
        self.answer: Answer = lambda handler: say(handler, 200, b"")
        self.requests: list[str] = []
        self.open = 0
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hostile.requests.append(f"{self.command} {self.path}")
                try:
                    hostile.answer(self)
                except OSError:
                    self.close_connection = True

            do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = do_GET  # noqa: N815 - the names that the library calls

            def log_message(self, *_: Any) -> None:
                """Be silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Be silent."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.stopped = threading.Event()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def trickle(self, handler: BaseHTTPRequestHandler, head: str = "", piece: bytes = b"x") -> None:
        """A status and then a little, again and again, without end."""
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        while not self.stopped.wait(0.02):
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_S", 0.001)
    monkeypatch.setattr(https_webhook, "FETCH_PAUSE_S", 0.01)
    monkeypatch.setattr(push, "WAITS_S", (0.05,))


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def listing(objects: dict[str, bytes], more: str = "") -> bytes:
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>e{number}</ETag></Contents>"
        for number, (key, body) in enumerate(objects.items())
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}{more}</ListBucketResult>".encode()


def bucket_of(hostile: Hostile, objects: dict[str, bytes], get: Answer | None = None) -> None:
    """Serve objects, each with its number as ETag."""
    etags = {key: f'"e{number}"' for number, key in enumerate(objects)}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "list-type=2" in handler.path:
            say(handler, 200, listing(objects))
        elif get is not None:
            get(handler)
        else:
            key = unquote(urlsplit(handler.path).path.removeprefix("/bucket/"))
            say(handler, 200, objects[key], ETag=etags[key])

    hostile.answer = answer


def s3_source(hostile: Hostile) -> dict[str, Any]:
    return {
        "name": "Hostile", "role": "INVENTORY_SOURCE", "type": "S3", "secret": SECRET,
        "config": {"bucket": "bucket", "endpointUrl": hostile.url},
    }  # fmt: skip


def https_body(url: str, role: str = "INVENTORY_SOURCE") -> dict[str, Any]:
    return {
        "name": f"H {role}", "role": role, "type": "HTTPS_WEBHOOK", "secret": {"token": "a-long-secret-token"},
        "config": {"url": url, "authScheme": "Bearer"},
    }  # fmt: skip


def batch_of(caller: Caller, agent: int) -> str:
    made = caller.post(f"/api/v1/agents/{agent}/batch_executions", {"items": [{"n": 1}]}).json()
    where = f"/api/v1/batch_executions/{made['id']}"
    wait_for(lambda: caller.get(where).json()["status"] == "completed", "completion")
    return str(made["id"])


EVIL_KEYS = [
    "../../../../etc/cron.d/x.csv", "/etc/passwd", "..\\..\\x.csv", "a/../../b.csv", "%2e%2e/x.csv", "./.", "..",
    "C:\\x", "x\nSet-Cookie: a=b", "<b>x</b>.csv", "'; DROP TABLE connector; --", "\u202etxt.csv", "~/x",
]  # fmt: skip


def test_keys_that_climb_stay_where_files_belong(database: Database, owner: Caller, hostile: Hostile) -> None:
    objects = {key: csv(2, str(number)) for number, key in enumerate(EVIL_KEYS)}
    bucket_of(hostile, objects)
    place = make_place(database, owner, s3_source(hostile))
    found = place.pull()
    assert fates(found) == dict.fromkeys(objects, "uploaded"), found["sync"]
    assert closes(found)
    assert {item["name"] for item in place.inventory()} == set(objects)
    with database.tx(owner.organization_id) as tx:
        kept = [
            row["object_key"] for row in tx.rows("SELECT object_key FROM inventory WHERE agent_id = %s", (place.agent,))
        ]
    root = (Path(settings().data_dir) / "objects").resolve()
    assert len(kept) == len(objects)
    for key in kept:
        assert re.fullmatch(rf"inventory/{owner.organization_id}/[-a-z0-9/]+", key), key
        assert (root / key).resolve().is_relative_to(root / "inventory" / str(owner.organization_id))
    for item in place.inventory():
        content = owner.get(f"/api/v1/agents/{place.agent}/inventories/{item['id']}/content")
        assert content.content == objects[item["name"]]
        assert "set-cookie" not in content.headers


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not XML", b"<ListBucketResult>", b"<a/>" * 10, b"\x00\xff\xfe",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><ListBucketResult>&b;</ListBucketResult>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><ListBucketResult/>',
        b"<ListBucketResult>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</ListBucketResult>",
        listing({}, "<Contents><Key>a</Key><Size>1</Size></Contents>" * (documents.ENTRIES_MAX + 1)),
        b"<ListBucketResult>" + b"x" * documents.DOCUMENT_BYTES_MAX + b"</ListBucketResult>",
        listing({}, "<A/>" * 1_000_000 + "<Contents/>"),
    ],
    ids=["empty", "text", "torn", "many roots", "binary", "entities", "external", "deep", "crowded", "long", "dust"],
)  # fmt: skip
def test_listings_that_are_none(database: Database, owner: Caller, hostile: Hostile, body: bytes) -> None:
    bucket_of(hostile, {})
    place = make_place(database, owner, s3_source(hostile))
    hostile.answer = lambda handler: say(handler, 200, body)
    found = place.pull()
    assert found["sync"]["status"] == "FAILED", found["sync"]
    assert len(found["sync"]["error"]) < 1000
    assert place.inventory() == []


def test_more_objects_than_a_sync_looks_at(
    database: Database, owner: Caller, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = iter(range(10**6))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        page = next(pages)
        token = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{page}</NextContinuationToken>"
        items = "".join(f"<Contents><Key>{page}/{n}</Key><Size>1</Size></Contents>" for n in range(1000))
        say(handler, 200, f"<ListBucketResult>{token}{items}</ListBucketResult>".encode())

    hostile.answer = answer
    place = make_place(database, owner, s3_source(hostile))
    limit(monkeypatch, connector_keys_max=5000)
    found = place.pull()
    assert found["sync"]["status"] == "FAILED"
    assert "more than 5000 objects" in found["sync"]["error"]
    assert next(pages) < 10


def test_bytes_that_nobody_asked_for_are_not_taken(
    database: Database, owner: Caller, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says it sends a range and then never stops."""
    monkeypatch.setattr(reading, "RANGE_BYTES", 1000)
    objects = {"large.csv": csv(500), "small.csv": csv(2)}
    head = f'Content-Range: bytes 0-999/{len(objects["large.csv"])}\r\nETag: "e0"\r\n'

    def get(handler: BaseHTTPRequestHandler) -> None:
        if "large" not in handler.path:
            say(handler, 200, objects["small.csv"], ETag='"e1"')
            return
        handler.wfile.write(f"HTTP/1.1 206 Partial Content\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        while not hostile.stopped.is_set():
            handler.wfile.write(b"%x\r\n%b\r\n" % (60_000, b"x" * 60_000))

    bucket_of(hostile, objects, get)
    place = make_place(database, owner, s3_source(hostile))
    began = time.monotonic()
    found = place.pull()
    assert fates(found) == {"large.csv": "failed", "small.csv": "uploaded"}, found
    assert "more bytes" in found["manifest_json"][0]["error"]
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "file:///etc/passwd"]
)
def test_redirects_lead_nowhere(
    database: Database, owner: Caller, hostile: Hostile, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    reached: list[Any] = []
    real = socket.socket.connect
    monkeypatch.setattr(
        socket.socket, "connect", lambda self, address: (reached.append(address), real(self, address))[1]
    )

    def away(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 307, b"", Location=where)

    bucket_of(hostile, {"a.csv": csv(2)}, get=away)
    place = make_place(database, owner, s3_source(hostile))
    assert fates(place.pull()) == {"a.csv": "failed"}
    hostile.answer = lambda handler: say(handler, 200, b"a,b\n1,2\n")
    feed = make_place(database, owner, https_body(f"{hostile.url}/f"))
    hostile.answer = away
    assert "307" in feed.pull()["manifest_json"][0]["error"]
    assert not any("169.254" in str(item) or "10.0.0.1" in str(item) for item in reached)


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["10.0.0.1"], True),
        (["93.184.216.34", "169.254.169.254"], True),
        (["::ffff:10.0.0.1"], True),
        (["fd00::1"], True),
    ],
)
def test_names_that_lead_inside_are_not_called(
    database: Database,
    owner: Caller,
    hostile: Hostile,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    refused: bool,
) -> None:
    """The name was fine when the connector was saved, and its owner has changed where it leads since."""
    sink = make_place(database, owner, https_body(f"{hostile.url}/r", "RESULTS_SINK"))
    job = batch_of(owner, sink.agent)
    with database.tx(owner.organization_id) as tx:
        tx.run(
            "UPDATE connector SET config = jsonb_set(config::jsonb, '{url}', to_jsonb(%s::text))::json WHERE id = %s",
            ("https://rebind.example.com/r", sink.id),
        )
    real = socket.getaddrinfo

    def lie(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != "rebind.example.com":
            return real(host, port, *more, **named)
        kinds = [(socket.AF_INET6 if ":" in name else socket.AF_INET, name) for name in names]
        return [(kind, socket.SOCK_STREAM, 6, "", (name, port)) for kind, name in kinds]

    monkeypatch.setattr(socket, "getaddrinfo", lie)
    done = sink.push(job)
    assert (done["sync"]["status"] == "DEAD") is refused
    assert "not a public address" in done["sync"]["error"]
    assert done["sync"]["tries"] == 1, "no further try can mend it"
    assert not any("POST" in item for item in hostile.requests)
    test = owner.post(f"{sink.path}/test").json()
    assert (test["ok"], test["rungs"][-1]["name"]) == (False, "dns")


def test_a_file_that_only_trickles_does_not_hold_a_pull_for_ever(
    database: Database, owner: Caller, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.answer = lambda handler: say(handler, 200, b"a,b\n1,2\n")
    feed = make_place(database, owner, https_body(f"{hostile.url}/f"))
    hostile.answer = hostile.trickle
    limit(monkeypatch, connector_s_max=0.5)
    found = feed.pull()
    assert (found["sync"]["status"], fates(found)) == ("FAILED", {"127.0.0.1/f": "failed"})
    assert "within 0.5 s" in found["manifest_json"][0]["error"]


def test_many_files_that_only_trickle_hold_up_no_other_organization(
    database: Database, owner: Caller, stranger: Caller, hostile: Hostile, s3: S3Server, bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each of the large ones holds a thread; none of them is one that somebody else needs."""
    large = csv(60_000)
    objects = {f"{number}.csv": large for number in range(pull.LARGE_AT_ONCE)}
    assert len(large) > MEMORY_BYTES_MAX
    begun: list[str] = []

    def get(handler: BaseHTTPRequestHandler) -> None:
        begun.append(handler.path)
        number = int(handler.path.rpartition("/")[2].removesuffix(".csv"))
        handler.wfile.write(
            f'HTTP/1.1 200 OK\r\nETag: "e{number}"\r\nContent-Length: {len(large)}\r\n\r\n'.encode()
            + large[: MEMORY_BYTES_MAX + 1]
        )
        while not hostile.stopped.wait(0.05):
            handler.wfile.write(b"x")

    bucket_of(hostile, objects, get)
    limit(monkeypatch, connector_s_max=4.0)
    places = [make_place(database, owner, s3_source(hostile)) for _ in range(12)]
    syncs = [(place, owner.post(f"{place.path}/pull").json()["id"]) for place in places]
    wait_for(lambda: len(begun) >= 12 * pull.LARGE_AT_ONCE, "files that trickle")
    s3.put(bucket, "in/large.csv", large)
    s3.put(bucket, "in/small.csv", csv(2))
    other = make_place(database, stranger, s3_body(s3, bucket))
    found = other.pull()
    assert fates(found) == dict.fromkeys(["in/large.csv", "in/small.csv"], "uploaded")
    assert any(place.sync(sync)["sync"]["status"] == "RUNNING" for place, sync in syncs), "they trickle on"
    for place in places:
        owner.delete(place.path)
    hostile.stopped.set()


def test_a_listing_and_a_test_that_only_trickle_end(
    database: Database, owner: Caller, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket_of(hostile, {})
    place = make_place(database, owner, s3_source(hostile))
    hostile.answer = hostile.trickle
    monkeypatch.setattr(pull, "LIST_S_MAX", 0.4)
    found = place.pull()
    assert found["sync"]["status"] == "FAILED"
    assert "0.4 s" in found["sync"]["error"]
    monkeypatch.setattr(testing, "TEST_S_MAX", 0.4)
    test = owner.post(f"{place.path}/test").json()
    assert (test["ok"], test["rungs"][-1]["name"]) == (False, "time")


def huge(hostile: Hostile) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while not hostile.stopped.is_set():
            handler.wfile.write(b"x" * 60_000)

    return answer


@pytest.mark.parametrize("kind", ["huge", "trickle", "silent", "loris"])
def test_receivers_that_never_end(
    database: Database, owner: Caller, hostile: Hostile, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A yes is a yes however much is said after it; who says nothing, or never comes to the point, is given up."""
    monkeypatch.setattr(https_webhook, "ANSWER_S_MAX", 0.6)
    sink = make_place(database, owner, https_body(f"{hostile.url}/r", "RESULTS_SINK"))
    rules(database, owner, sink.agent, {"data_sinks": {"retry_failed_push": 1}})
    job = batch_of(owner, sink.agent)

    def loris(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not hostile.stopped.wait(0.05):
            handler.wfile.write(b"X-A: b\r\n")

    answers: dict[str, Answer] = {
        "huge": huge(hostile),
        "trickle": hostile.trickle,
        "silent": lambda _: hostile.stopped.wait(20),  # type: ignore[dict-item, return-value]
        "loris": loris,
    }
    hostile.answer = answers[kind]
    began = time.monotonic()
    done = sink.push(job)
    assert time.monotonic() - began < 10
    assert done["sync"]["status"] == ("COMPLETED" if kind in {"huge", "trickle"} else "DEAD"), done["sync"]
    assert all(len(item["answer"]) <= 4096 for item in done["exchanges"])
    posts = [item for item in hostile.requests if item.startswith("POST")]
    assert len(posts) == (1 if kind in {"huge", "trickle"} else 2)


def test_a_receiver_that_names_a_later_time_gets_it(database: Database, owner: Caller, hostile: Hostile) -> None:
    sink = make_place(database, owner, https_body(f"{hostile.url}/r", "RESULTS_SINK"))
    job = batch_of(owner, sink.agent)
    hostile.answer = lambda handler: say(handler, 429, b"", Retry_After="3600")
    sync = owner.post(f"{sink.path}/push", {"jobId": job}).json()["id"]

    def put_off() -> Any:
        found = sink.sync(sync)["sync"]
        return found if found["status"] == "QUEUED" and found["error"] else None

    found = wait_for(put_off, "the first try")
    with database.tx(owner.organization_id) as tx:
        row = tx.one("SELECT extract(epoch FROM due_at - now()) AS s FROM connector_sync WHERE id = %s", (sync,))
    assert 3500 < float(row["s"]) <= 3600
    assert "429" in found["error"]
    hostile.answer = lambda handler: say(handler, 429, b"", Retry_After="9" * 30)
    with database.tx(owner.organization_id) as tx:
        tx.run("UPDATE connector_sync SET due_at = now() WHERE id = %s", (sync,))
    wait_for(lambda: sink.sync(sync)["sync"]["tries"] == 2 and put_off(), "the second try")
    with database.tx(owner.organization_id) as tx:
        row = tx.one("SELECT extract(epoch FROM due_at - now()) AS s FROM connector_sync WHERE id = %s", (sync,))
    assert float(row["s"]) <= push.RETRY_AFTER_S_MAX


def zip_of(name: str, body: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, body)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("application/gzip", lambda: gzip.compress(b"0" * 40_000_000)),
        ("application/zip", lambda: zip_of("a.csv", b"0" * 40_000_000)),
        ("application/zip", lambda: zip_of("in.zip", zip_of("a.csv", b"1,2\n" * 10_000_000))),
        ("application/zip", lambda: zip_of("xl/worksheets/sheet1.xml", b"<row/>" * 5_000_000)),
    ],
    ids=["gzip", "zip", "zip in zip", "workbook"],
)
def test_bombs_that_are_pushed_in_are_rejected(
    database: Database, owner: Caller, anyone: httpx.Client, kind: str, make: Callable[[], bytes]
) -> None:
    body = {
        "name": "Pushed in", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK",
        "config": {"authScheme": "HmacSha256"}, "secret": {"key": KEY},
    }  # fmt: skip
    place = make_place(database, owner, body)
    bomb = make()
    headers = {"Content-Type": kind, **signed_headers([KEY], "m1", int(time.time()), bomb)}
    answer = anyone.post(place.show()["inboundUrl"], content=bomb, headers=headers)
    assert answer.status_code == 202, answer.text
    began = time.monotonic()
    done = place.end_of(answer.json()["syncId"])
    assert time.monotonic() - began < 15
    assert done["sync"]["status"] == "FAILED", done
    assert done["sync"]["error"]
    assert place.inventory() == []


def test_ids_of_another_organization_open_nothing(
    database: Database, owner: Caller, stranger: Caller, hostile: Hostile
) -> None:
    bucket_of(hostile, {"a.csv": csv(2)})
    mine = make_place(database, owner, s3_source(hostile))
    found = mine.pull()
    file = mine.inventory()[0]["id"]
    job = batch_of(owner, mine.agent)
    hostile.answer = lambda handler: say(handler, 200, b"")
    theirs = make_place(database, stranger, https_body(f"{hostile.url}/r", "RESULTS_SINK"))
    agent = make_agent(database, stranger.organization_id).id
    foreign = Place(stranger, mine.agent, mine.id)
    sync = found["sync"]["id"]
    for path in (
        mine.path, f"{mine.path}/syncs", f"{mine.path}/syncs/{sync}", f"{mine.path}/push/preview",
        f"/api/v1/agents/{agent}/data-sources/{mine.id}", f"{theirs.path}/syncs/{sync}",
        f"/api/v1/agents/{mine.agent}/inventories/{file}", f"/api/v1/agents/{agent}/inventories/{file}/content",
    ):  # fmt: skip
        assert stranger.get(path).status_code == 404, path
    for path in ("pull", "test", f"syncs/{sync}/approve", f"syncs/{sync}/replay", "inbound"):
        assert stranger.post(f"{foreign.path}/{path}").status_code == 404, path
        assert stranger.post(f"{theirs.path}/{path}").status_code in {200, 404, 409, 422}, path
    assert stranger.post(f"{theirs.path}/push", {"jobId": job}).status_code == 404
    assert stranger.post(f"{theirs.path}/syncs/{sync}/replay").status_code == 404
    shown = mine.show()
    body = {**https_body(f"{hostile.url}/x", "RESULTS_SINK"), "name": "Stolen", "secretRef": shown["secretRef"]}
    del body["secret"]
    assert stranger.post(f"/api/v1/agents/{theirs.agent}/data-sources", body).status_code == 404
    assert stranger.patch(theirs.path, {"secretRef": shown["secretRef"]}).status_code == 404
    assert stranger.delete(mine.path).status_code == 404
    assert mine.show() == shown
    run = {"inventory_id": file}
    refused = stranger.post(f"/api/v1/agents/{agent}/batch_executions", run)
    assert refused.status_code in {404, 422}, refused.text
    assert json.dumps(stranger.get("/api/v1/events?limit=1000").json()).count(file) == 0
