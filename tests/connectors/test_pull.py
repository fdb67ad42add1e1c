"""Pulls from a real S3 server: nothing missed, nothing twice, every receipt right."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from conftest import Caller
from connector_world import closes, csv, fates, make_place, s3_body
from gristmill.base.db import Database
from s3_server import S3Server

pytestmark = pytest.mark.usefixtures("worker")


def test_new_files_become_inventory_once(database: Database, owner: Caller, s3: S3Server, bucket: str) -> None:
    place = make_place(database, owner, s3_body(s3, bucket))
    s3.put(bucket, "in/a.csv", csv(3, "a"))
    s3.put(bucket, "in/deep/b.csv.gz", gzip.compress(csv(4, "b")))
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
    line = next(item for item in first["manifest_json"] if item["key"] == "in/a.csv")
    assert line["sha256"] == hashlib.sha256(csv(3, "a")).hexdigest()
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
