"""Large files through a connector: 300 MB in and out again, with flat memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector_world import closes, s3_body
from flows.processes import Up, running_up
from flows.test_connectors_kill import end_of
from s3_server import S3Server

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
