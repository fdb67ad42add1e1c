"""Large files through a connector: 300 MB come in, and go out, with flat memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector_world import closes, s3_body
from connectors.test_writing import Trail
from flows.processes import Up, running_up
from flows.test_connectors_kill import end_of
from gristmill.base.fetch import Egress, http_session
from gristmill.connectors.s3 import S3Client, Target
from gristmill.connectors.s3.writing import write_once
from s3_server import REGION, ROOT_KEY, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SIZE = 300_000_000
GROWTH_MB_MAX = 200


@pytest.fixture
def up(open_folder: Path) -> Iterator[Up]:
    with running_up(open_folder / "connector-files", workers=1) as running:
        yield running


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


def test_three_hundred_megabytes_come_in_with_flat_memory(up: Up, s3: S3Server) -> None:
    bucket = s3.bucket("soak-files")
    line = b"SKU-%09d,A product of some kind,12.50,someone@example.com\n"
    body = b"sku,name,price,email\n" + b"".join(line % number for number in range(SIZE // 57))
    s3.put(bucket, "in/large.csv", body)
    s3.put(bucket, "in/empty.csv", b"")
    api = up.api()
    agent = api.post("/agent_templates/echo/deploy", {"name": "Files"}, expect=201)["id"]
    path = f"/agents/{agent}/data-sources"
    source = api.post(path, s3_body(s3, bucket), expect=201)["id"]
    worker = up.children("worker")[0]
    before = rss_mb(worker)
    sync = api.post(f"{path}/{source}/pull", expect=202)["id"]
    found = end_of(api, f"{path}/{source}/syncs/{sync}")
    assert found["sync"]["status"] == "COMPLETED", found["sync"]
    assert closes(found)
    large = next(item for item in found["manifest_json"] if item["key"] == "in/large.csv")
    assert (large["status"], large["rows"]) == ("uploaded", SIZE // 57)
    assert large["sha256"] == hashlib.sha256(body).hexdigest()
    growth = rss_mb(worker) - before
    print(f"worker grew by {growth:.0f} MB")  # noqa: T201 - a figure of the soak run
    assert growth < GROWTH_MB_MAX


def test_three_hundred_megabytes_go_out_with_flat_memory(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket("soak-out")
    digest, path = hashlib.sha256(), tmp_path / "results.csv"
    with path.open("wb") as file:
        for number in range(SIZE // 1_000_000):
            piece = number.to_bytes(4, "big") * 250_000
            digest.update(piece)
            file.write(piece)

    async def go() -> None:
        egress = Egress.of("loopback")
        async with http_session(egress, connections=8) as session:
            client = S3Client(session, egress, Target.of(bucket, REGION, s3.url, path_style=None), ROOT_KEY)
            with path.open("rb") as data:
                await write_once(
                    client, "out/large.csv", data, size=path.stat().st_size, sha256=digest.hexdigest(),
                    content_type="text/csv", ours=None, trail=Trail(),
                )  # fmt: skip

    before = rss_mb(os.getpid())
    asyncio.run(go())
    growth = rss_mb(os.getpid()) - before
    print(f"the writer grew by {growth:.0f} MB")  # noqa: T201 - a figure of the soak run
    assert growth < GROWTH_MB_MAX
    assert hashlib.sha256(s3.get(bucket, "out/large.csv")).hexdigest() == digest.hexdigest()
