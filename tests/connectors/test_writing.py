"""Writing one object to S3: again without harm, over nobody else's, and without leaving halves behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
from typing import Any

import pytest

from gristmill.base.fetch import Egress, http_session
from gristmill.connectors.s3 import Keys, S3Client, S3Error, Target, writing
from gristmill.connectors.s3.writing import ObjectInTheWay, write_once
from s3_server import REGION, ROOT_KEY, S3Server, allow

DATA = b"0123456789" * 500


class Trail:
    def __init__(self, recalled: str | None = None) -> None:
        self.recalled = recalled

    def note(self, exchange: object) -> None:
        """Nothing is kept."""

    async def remember(self, text: str | None) -> None:
        self.recalled = text


def write(
    s3: S3Server, bucket: str, data: bytes = DATA, *, ours: str | None = None, trail: Trail | None = None,
    keys: Keys = ROOT_KEY, client: type[S3Client] = S3Client,
) -> str:  # fmt: skip
    async def go() -> str:
        egress = Egress.of("loopback")
        async with http_session(egress, connections=8) as session:
            one = client(session, egress, Target.of(bucket, REGION, s3.url, path_style=None), keys)
            return await write_once(
                one, "out/k", io.BytesIO(data), size=len(data), sha256=hashlib.sha256(data).hexdigest(),
                content_type="text/csv", ours=ours, trail=trail or Trail(),
            )  # fmt: skip

    return asyncio.run(go())


@pytest.fixture(params=["whole", "parts"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "parts":
        monkeypatch.setattr(writing, "PART_BYTES", 1000)
        monkeypatch.setattr(writing, "WHOLE_BYTES_MAX", 1000)


@pytest.mark.usefixtures("size")
def test_the_same_content_is_written_once(s3: S3Server, bucket: str) -> None:
    first = write(s3, bucket)
    assert write(s3, bucket) == first
    assert s3.get(bucket, "out/k") == DATA
    assert s3.uploads(bucket) == []


@pytest.mark.usefixtures("size")
def test_nobody_elses_object_is_overwritten(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "out/k", b"theirs")
    with pytest.raises(ObjectInTheWay):
        write(s3, bucket)
    with pytest.raises(ObjectInTheWay):
        write(s3, bucket, ours="0" * 32)
    assert s3.get(bucket, "out/k") == b"theirs"
    assert s3.uploads(bucket) == []


@pytest.mark.usefixtures("size")
def test_what_we_wrote_before_is(s3: S3Server, bucket: str) -> None:
    before = write(s3, bucket)
    write(s3, bucket, DATA + b"new", ours=before)
    assert s3.get(bucket, "out/k") == DATA + b"new"


def test_a_key_that_may_only_put_still_finds_out(s3: S3Server, bucket: str) -> None:
    user = s3.user(f"put-{bucket}", allow(["s3:PutObject"], f"arn:aws:s3:::{bucket}/*"))
    keys = Keys(user["accessKeyId"], user["secretAccessKey"])
    write(s3, bucket, keys=keys)
    write(s3, bucket, keys=keys)
    s3.put(bucket, "out/k", b"theirs")
    with pytest.raises(ObjectInTheWay):
        write(s3, bucket, keys=keys)
    assert s3.get(bucket, "out/k") == b"theirs"


def test_the_half_that_a_killed_push_left_is_thrown_away(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PART_BYTES", 1000)
    monkeypatch.setattr(writing, "WHOLE_BYTES_MAX", 1000)
    half = s3.begin_upload(bucket, "out/k")
    assert s3.uploads(bucket) == ["out/k"]
    trail = Trail(half)
    write(s3, bucket, trail=trail)
    assert (s3.uploads(bucket), trail.recalled) == ([], None)
    write(s3, bucket, trail=Trail(half))  # an upload that is gone is no trouble


def test_a_failed_upload_in_parts_leaves_nothing(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PART_BYTES", 1000)
    monkeypatch.setattr(writing, "WHOLE_BYTES_MAX", 1000)

    class Failing(S3Client):
        async def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
            if number == 3:
                raise S3Error(403, "AccessDenied", "no", permanent=True)
            return await super().put_part(key, upload_id, number, body)

    trail = Trail()
    with pytest.raises(S3Error):
        write(s3, bucket, trail=trail, client=Failing)
    assert (s3.uploads(bucket), trail.recalled, s3.list(bucket)) == ([], None, [])


def test_a_server_that_knows_no_conditions(s3: S3Server, bucket: str) -> None:
    class Plain(S3Client):
        async def put(self, key: str, body: bytes, *, condition: Any = None, **more: Any) -> str:
            if condition:
                raise S3Error(501, "NotImplemented", "no conditions", permanent=True)
            return await super().put(key, body, **more)

    first = write(s3, bucket, client=Plain)
    assert write(s3, bucket, client=Plain) == first
    with pytest.raises(ObjectInTheWay):
        write(s3, bucket, DATA + b"x", client=Plain)
    write(s3, bucket, DATA + b"x", ours=first, client=Plain)
    assert s3.get(bucket, "out/k") == DATA + b"x"
