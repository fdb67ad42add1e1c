"""The S3 client against a real server that checks signatures and policies, and over a line that fails."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from gristmill.base.fetch import Egress, EgressRefused, http_session
from gristmill.connectors.remote import MemoryLanding
from gristmill.connectors.s3 import Keys, S3Client, S3Error, Target, client, reading
from gristmill.connectors.s3.documents import BadDocument, read_facts, read_list
from gristmill.connectors.s3.sigv4 import EMPTY_SHA256, Signer
from receiver import Receiver
from s3_server import ODD_KEYS, REGION, ROOT_KEY, S3Server, allow, bad_line

T = TypeVar("T")


def with_client(
    url: str, bucket: str, work: Callable[[S3Client], Awaitable[T]], keys: Keys = ROOT_KEY, region: str = REGION
) -> T:
    async def go() -> T:
        egress = Egress.of("loopback")
        async with http_session(egress, connections=16) as session:
            return await work(S3Client(session, egress, Target.of(bucket, region, url, path_style=None), keys))

    return asyncio.run(go())


async def content(s3: S3Client, key: str, **more: object) -> bytes:
    async with s3.get(key, **more) as (_, chunks):  # type: ignore[arg-type]
        return b"".join([chunk async for chunk in chunks])


def refusal(url: str, bucket: str, work: Callable[[S3Client], Awaitable[object]], keys: Keys = ROOT_KEY) -> S3Error:
    with pytest.raises(S3Error) as caught:
        with_client(url, bucket, work, keys)
    return caught.value


def test_the_signature_is_that_of_the_published_example() -> None:
    """Amazon's own example, "Authenticating Requests": GET Object with a range."""
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    signed = Signer(keys, "us-east-1").headers(
        "GET",
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        "",
        {"Range": "bytes=0-9"},
        payload_sha256=EMPTY_SHA256,
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert signed["authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert "wJalr" not in repr(keys)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        (Target.of("b", "eu-central-1", None, path_style=None), "https://b.s3.eu-central-1.amazonaws.com/a%20b/c"),
        (Target.of("b.x", "us-east-1", None, path_style=None), "https://s3.us-east-1.amazonaws.com/b.x/a%20b/c"),
        (Target.of("b", "cn-north-1", None, path_style=True), "https://s3.cn-north-1.amazonaws.com.cn/b/a%20b/c"),
        (Target.of("b", "r", "https://h:9000/base/", path_style=None), "https://h:9000/base/b/a%20b/c"),
        (Target.of("b", "r", "https://h:9000", path_style=False), "https://b.h:9000/a%20b/c"),
    ],
)
def test_where_a_bucket_is(target: Target, place: str) -> None:
    origin, host, path = target.place("a b/c")
    assert origin + path == place
    assert host in origin


def test_objects_of_any_key_are_written_listed_and_read(s3: S3Server, bucket: str) -> None:
    async def work(one: S3Client) -> set[str]:
        for key in ODD_KEYS:
            etag = await one.put(key, key.encode())
            assert await content(one, key, if_match=etag) == key.encode()
            assert (await one.head(key)).size == len(key.encode())
        return {item.key async for item in one.list_all("")}

    assert with_client(s3.url, bucket, work) == set(ODD_KEYS)


def test_a_listing_has_all_pages(s3: S3Server, bucket: str) -> None:
    async def work(one: S3Client) -> list[str]:
        for start in range(0, 2500, 100):
            await asyncio.gather(*(one.put(f"p/{number:05}", b"x") for number in range(start, start + 100)))
        await one.put("q/other", b"x")
        return [item.key async for item in one.list_all("p/")]

    assert with_client(s3.url, bucket, work) == [f"p/{number:05}" for number in range(2500)]


def test_refusals_say_what_to_do(s3: S3Server, bucket: str) -> None:
    reader = s3.user(f"r-{bucket}", allow(["s3:GetObject"], f"arn:aws:s3:::{bucket}/*"))
    good = Keys(reader["accessKeyId"], reader["secretAccessKey"])
    wrong = Keys(reader["accessKeyId"], "not the secret")
    listing = refusal(s3.url, bucket, lambda one: one.list_page(""), wrong)
    assert (listing.status, listing.s3_code, listing.permanent) == (403, "SignatureDoesNotMatch", True)
    assert "secretAccessKey" in listing.fix
    assert "not the secret" not in listing.message
    denied = refusal(s3.url, bucket, lambda one: one.list_page(""), good)
    assert denied.s3_code == "AccessDenied"
    unknown = refusal(s3.url, bucket, lambda one: one.list_page(""), Keys("AKIANOBODY", "x"))
    assert unknown.status == 403
    assert unknown.fix
    assert refusal(s3.url, "no-such-bucket", lambda one: one.list_page("")).s3_code == "NoSuchBucket"
    assert refusal(s3.url, bucket, lambda one: one.head("nothing")).status == 404


def test_conditions_hold(s3: S3Server, bucket: str) -> None:
    async def work(one: S3Client) -> None:
        first = await one.put("k", b"one", condition={"if-none-match": "*"})
        with pytest.raises(S3Error) as caught:
            await one.put("k", b"two", condition={"if-none-match": "*"})
        assert caught.value.status == 412
        second = await one.put("k", b"two", condition={"if-match": f'"{first}"'})
        with pytest.raises(S3Error) as caught:
            await content(one, "k", if_match=first)
        assert caught.value.status == 412
        assert await content(one, "k", if_match=second, first=1, last=1) == b"w"

    with_client(s3.url, bucket, work)


def test_a_large_object_goes_up_in_parts_or_not_at_all(s3: S3Server, bucket: str) -> None:
    parts = [bytes([number]) * (5 * 1024**2) for number in range(2)] + [b"end"]

    async def work(one: S3Client) -> None:
        upload = await one.start_upload("big", metadata={"sha256": "abc"}, content_type="text/csv")
        etags = [await one.put_part("big", upload, number, part) for number, part in enumerate(parts, start=1)]
        await one.complete_upload("big", upload, etags, condition={"if-none-match": "*"})
        head = await one.head("big")
        assert (head.size, head.metadata["sha256"]) == (sum(map(len, parts)), "abc")
        assert not head.etag_is_md5
        left = await one.start_upload("left", metadata={}, content_type="text/csv")
        await one.put_part("left", left, 1, b"x")
        await one.abort_upload("left", left)
        await one.abort_upload("left", left)

    with_client(s3.url, bucket, work)
    assert s3.get(bucket, "big") == b"".join(parts)
    assert s3.uploads(bucket) == []


def test_the_etag_of_a_plain_object_is_its_md5(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "k", b"content")
    head = with_client(s3.url, bucket, lambda one: one.head("k"))
    assert head.etag_is_md5
    assert head.etag == hashlib.md5(b"content", usedforsecurity=False).hexdigest()


def test_a_busy_server_is_asked_again_and_not_for_ever(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAUSE_S", 0.001)
    s3.put(bucket, "k", b"x")
    with bad_line(s3.port, seed=4) as line:
        line.busy_share = 0.3
        for _ in range(10):
            page = with_client(line.url, bucket, lambda one: one.list_page(""))
            assert [item.key for item in page.objects] == ["k"]
        assert line.busy > 1
        line.busy_share = 1.0
        before = line.connections
        error = refusal(line.url, bucket, lambda one: one.list_page(""))
        assert (error.status, error.s3_code, error.permanent) == (503, "SlowDown", False)
        assert line.connections - before == client.ATTEMPTS_MAX
        line.down = True
        error = refusal(line.url, bucket, lambda one: one.list_page(""))
        assert (error.status, error.permanent) == (0, False)


def test_redirects_are_refused_and_forbidden_addresses_never_reached(s3: S3Server, bucket: str) -> None:
    async def work(one: S3Client) -> object:
        return await one.list_page("")

    with pytest.raises(EgressRefused):
        with_client("http://169.254.169.254", bucket, work)
    with pytest.raises(EgressRefused):
        with_client("http://10.0.0.1:9000", bucket, work)


def test_a_wrong_clock_is_set_right_by_the_servers(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user = s3.user(f"c-{bucket}", allow(["s3:*"], "arn:aws:s3:::*"))
    keys = Keys(user["accessKeyId"], user["secretAccessKey"])

    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003 - as it is called
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() - 7200, UTC)

    monkeypatch.setattr(client, "datetime", Late)
    s3.put(bucket, "k", b"x")
    page = with_client(s3.url, bucket, lambda one: one.list_page(""), keys)
    assert [item.key for item in page.objects] == ["k"]


@pytest.mark.parametrize(
    "text",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'.encode("utf-16"),
        b"<a>" * 100,
        b"<html><body>Welcome</body></html>",
        b"",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>many</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>%d</Size></Contents></ListBucketResult>" % 2**70,
        b"<ListBucketResult><Contents><Key>%b</Key><Size>1</Size></Contents></ListBucketResult>" % (b"k" * 2000),
    ],
)
def test_documents_that_are_no_listing_are_refused(text: bytes) -> None:
    with pytest.raises(BadDocument):
        read_list(text)


@pytest.mark.parametrize("token", [b"the same", b"%d"])
def test_a_listing_without_end_is_given_up(receiver: Receiver, token: bytes) -> None:
    pages = itertools.count()
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>%b</NextContinuationToken>"
    real = receiver.serve

    def serve(handler: Any) -> None:
        receiver.file = page % (token % next(pages) if b"%" in token else token) + b"</ListBucketResult>"
        real(handler)

    receiver.serve = serve  # type: ignore[method-assign]

    async def work(one: S3Client) -> list[str]:
        return [item.key async for item in one.list_all("")]

    error = refusal(receiver.url, "endless", work)
    assert (error.s3_code, error.permanent) == ("BadListing", True)


def fetched(url: str, data: bytes) -> bytes:
    """An object over ranges of a thousand bytes."""
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()

    async def work(one: S3Client) -> bytes:
        landing = MemoryLanding(10**7)
        await reading.read_object(one, reading.Version("k", etag, len(data)), landing)
        return landing.read()

    return with_client(url, "bucket", work)


def test_a_server_that_sends_no_ranges(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RANGE_BYTES", 1000)
    monkeypatch.setattr(client, "PAUSE_S", 0.001)
    receiver.file = bytes(range(256)) * 240
    assert fetched(receiver.url, receiver.file) == receiver.file
    with bad_line(receiver.port, seed=9) as line:
        line.cut_share = 0.5
        assert fetched(line.url, receiver.file) == receiver.file
        assert line.cut >= 1


def test_without_room_to_read_ahead_an_object_comes_in_one_line(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RANGE_BYTES", 1000)
    data = bytes(range(256)) * 50
    etag = s3.put(bucket, "k", data)

    async def work(one: S3Client) -> bytes:
        landing = MemoryLanding(10**7)
        await reading.read_object(one, reading.Version("k", etag, len(data)), landing)
        return landing.read()

    for room in (0, 1, 3, 24):
        monkeypatch.setattr(reading, "RANGES_AHEAD_MAX", room)
        assert with_client(s3.url, bucket, work) == data
        assert reading._ahead.taken == 0


def test_a_server_that_sends_ranges_and_calls_them_200(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RANGE_BYTES", 1000)
    whole = bytes(range(251)) * 18
    etag = hashlib.md5(whole, usedforsecurity=False).hexdigest()

    def serve(handler: Any) -> None:
        first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
        part = whole[first : last + 1]
        handler.send_response(200)
        handler.send_header("ETag", f'"{etag}"')
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        handler.send_header("Content-Length", str(len(part)))
        handler.end_headers()
        handler.wfile.write(part)

    receiver.serve = serve  # type: ignore[method-assign]
    assert fetched(receiver.url, whole) == whole


def test_documents_without_a_doctype_only(s3: S3Server) -> None:
    del s3
    with pytest.raises(BadDocument):
        read_facts(b"<!DOCTYPE Error><Error><Code>x</Code></Error>")
    assert read_facts(b"<x:Error xmlns:x='u'><x:Code>A</x:Code></x:Error>") == ("Error", {"Code": "A"})


def test_keys_are_decoded_as_s3_encodes_them() -> None:
    entry = "<Contents><Key>{}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>"
    listing = "<ListBucketResult>{}" + entry.format("run+books/a%2Bb%25.csv") + "</ListBucketResult>"
    encoded = read_list(listing.format("<EncodingType>url</EncodingType>").encode()).objects[0]
    assert (encoded.key, encoded.etag) == ("run books/a+b%.csv", "e")
    assert read_list(listing.format("").encode()).objects[0].key == "run+books/a%2Bb%25.csv"
