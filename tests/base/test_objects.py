"""The object store: whole objects or none, whatever breaks. With `GRISTMILL_TEST_S3_URL` also on a bucket."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from gristmill.base import objects
from gristmill.base.config import Settings
from gristmill.base.errors import Error
from gristmill.base.objects import KeyRefused, ObjectNotFound, ObjectStore, StoreUnavailable

S3_URL = os.environ.get("GRISTMILL_TEST_S3_URL", "")
"""`s3://bucket`, reached as the `AWS_*` environment says."""


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    if not S3_URL:
        pytest.skip("GRISTMILL_TEST_S3_URL is not set")
    return ObjectStore.of(Settings(object_store_url=f"{S3_URL}/{uuid4()}"))


def test_what_was_written_is_read(store: ObjectStore) -> None:
    stored = store.put_stream("a/b/c.jsonl", [b"one\n", b"", b"two\n"])
    assert stored.key == "a/b/c.jsonl"
    assert stored.size_bytes == 8
    assert stored.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    with store.open("a/b/c.jsonl") as file:
        assert list(file) == [b"one\n", b"two\n"]


def test_an_open_file_is_written_from_where_it_stands(store: ObjectStore) -> None:
    source = io.BytesIO(b"skipped and kept")
    source.seek(len(b"skipped "))
    assert store.put_stream("x", source).size_bytes == 8
    with store.open("x") as file:
        assert file.read() == b"and kept"


def test_an_object_of_many_parts(store: ObjectStore) -> None:
    chunks = [bytes([number]) * 1_000_003 for number in range(20)]
    stored = store.put_stream("big", iter(chunks))
    whole = b"".join(chunks)
    assert stored.sha256 == hashlib.sha256(whole).hexdigest()
    with store.open("big") as file:
        assert file.read(10) == whole[:10]
        file.seek(9_000_000)
        assert file.read() == whole[9_000_000:]


def test_an_empty_object(store: ObjectStore) -> None:
    assert store.put_stream("empty", []).size_bytes == 0
    with store.open("empty") as file:
        assert file.read() == b""


def test_the_same_key_again_replaces(store: ObjectStore) -> None:
    store.put_stream("x", [b"old"])
    store.put_stream("x", [b"new"])
    with store.open("x") as file:
        assert file.read() == b"new"


def test_many_small_objects_at_once(store: ObjectStore) -> None:
    store.put_stream("many/3", [b"old"])
    items = [(f"many/{number}", b"%d" % number * number) for number in range(40)]
    stored = store.put_many([*items, ("elsewhere/x", b"y" * 300_000)])
    for (key, data), one in zip([*items, ("elsewhere/x", b"y" * 300_000)], stored, strict=True):
        assert one == objects.Stored(key, len(data), hashlib.sha256(data).hexdigest())
        with store.open(key) as file:
            assert file.read() == data
    assert store.put_many([]) == []
    with pytest.raises(KeyRefused):
        store.put_many([("fine", b"1"), ("../x", b"2")])
    assert not store.exists("fine")


def test_many_objects_of_which_one_has_no_place(tmp_path: Path) -> None:
    store = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    store.put_stream("file", [b"1"])
    with pytest.raises(StoreUnavailable):
        store.put_many([("a", b"whole"), ("file/b", b"2"), ("c", b"3")])
    left = {path.name: path.read_bytes() for path in (tmp_path / "objects").rglob("*") if path.is_file()}
    assert left.pop("file") == b"1"
    assert left in ({}, {"a": b"whole"}), "what is there is whole, and nothing is half-written"


class Broken(Exception):
    pass


def breaking() -> Iterator[bytes]:
    yield b"x" * 20_000_000
    raise Broken


def test_a_broken_stream_leaves_the_old_object(store: ObjectStore) -> None:
    store.put_stream("x", [b"old"])
    for key in ("x", "y"):
        with pytest.raises(Broken):
            store.put_stream(key, breaking())
    with store.open("x") as file:
        assert file.read() == b"old"
    assert not store.exists("y")


def test_an_error_of_the_reader_is_not_taken_for_one_of_the_store(store: ObjectStore) -> None:
    def gone() -> Iterator[bytes]:
        yield b"x"
        raise OSError("the upload's own trouble")

    with pytest.raises(OSError, match="own trouble"):
        store.put_stream("x", gone())


def test_delete_and_exists(store: ObjectStore) -> None:
    store.put_stream("a/x", [b"1"])
    assert store.exists("a/x")
    store.delete("a/x")
    store.delete("a/x")
    assert not store.exists("a/x")
    assert not store.exists("a")
    with pytest.raises(ObjectNotFound):
        store.open("a/x")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a/..",
        ".",
        "a//b",
        "a/",
        ".writing/x",
        "a\\b",
        "a\0b",
        "a b",
        "ä",
        "x" * 513,
        "a\n",
    ],
)
def test_keys_that_could_leave_the_store_are_refused(store: ObjectStore, key: str) -> None:
    for call in (store.open, store.delete, store.exists, lambda k: store.put_stream(k, [b""])):
        with pytest.raises(KeyRefused):
            call(key)


def test_nothing_half_written_stays_in_the_folder(tmp_path: Path) -> None:
    store = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    with pytest.raises(Broken):
        store.put_stream("a/x", breaking())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_process_left_is_removed_later(tmp_path: Path) -> None:
    folder = tmp_path / "objects" / objects.TEMPORARY
    folder.mkdir(parents=True)
    for name, age_s in (("left", objects.ABANDONED_S + 60), ("being-written", 3600)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    store = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    store.put_many([("a", b"1")])
    assert [path.name for path in folder.iterdir()] == ["being-written"]


def test_nothing_is_seen_before_it_is_complete(tmp_path: Path) -> None:
    store = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 100_000
            assert not store.exists("a")
            with pytest.raises(ObjectNotFound):
                store.open("a")

    store.put_stream("a", chunks())
    assert store.exists("a")


def test_memory_stays_flat(tmp_path: Path) -> None:
    store = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    tracemalloc.start()
    store.put_stream("big", (b"x" * objects.CHUNK_BYTES for _ in range(64)))
    with store.open("big") as file:
        while file.read(objects.CHUNK_BYTES):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * objects.CHUNK_BYTES


def test_a_folder_of_its_own(tmp_path: Path) -> None:
    store = ObjectStore.of(Settings(object_store_url=(tmp_path / "with space").as_uri()))
    store.put_stream("k", [b"1"])
    assert (tmp_path / "with space" / "k").read_bytes() == b"1"


@pytest.mark.parametrize("url", ["objects", "file://host/x", "http://x/y", "s3://", "file:"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(StoreUnavailable):
        ObjectStore.of(Settings(object_store_url=url))


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    store = ObjectStore.of(Settings(object_store_url=(tmp_path / "f").as_uri()))
    with pytest.raises(Error):
        store.put_stream("k", [b"1"])
    assert not store.exists("k")
    with pytest.raises(ObjectNotFound):
        store.open("k")


def test_a_store_that_answers_passes_the_check(store: ObjectStore) -> None:
    store.check()


def test_a_folder_in_a_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnavailable):
        ObjectStore.of(Settings(object_store_url=(tmp_path / "file" / "objects").as_uri())).check()


@pytest.mark.parametrize(("code", "status", "fits"), [
    ("NoSuchKey", 404, True), ("NoSuchBucket", 404, False), ("AccessDenied", 403, True),
    ("InvalidAccessKeyId", 403, False),
])  # fmt: skip
def test_a_bucket_is_checked_without_writing(
    code: str, status: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.command)
            body = f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for name, value in (("ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}"), ("ALLOW_HTTP", "true"),
                            ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("REGION", "z")):  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        bucket = ObjectStore.of(Settings(object_store_url=f"s3://{uuid4()}"))
        with contextlib.nullcontext() if fits else pytest.raises(StoreUnavailable):
            bucket.check()
        server.shutdown()
    assert asked
