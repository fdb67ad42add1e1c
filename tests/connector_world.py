"""What tests of connectors share: an agent with a source or sink on the S3 server, and waiting for its syncs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from conftest import Caller, make_agent, wait_for
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.connectors import runner
from gristmill.connectors.session import Session
from s3_server import REGION, S3Server, allow

_names = itertools.count(1)
ENDED = frozenset({"COMPLETED", "FAILED", "DEAD", "HELD", "REJECTED"})


def csv(rows: int, tag: str = "x") -> bytes:
    """A file of so many rows."""
    lines = [f"{tag}-{number},Product {number},{number}.50" for number in range(rows)]
    return ("sku,name,price\n" + "".join(line + "\n" for line in lines)).encode()


@dataclass
class Place:
    """A connector over the API."""

    caller: Caller
    agent: int
    id: int

    @property
    def path(self) -> str:
        return f"/api/v1/agents/{self.agent}/data-sources/{self.id}"

    def show(self) -> dict[str, Any]:
        return self.caller.get(self.path).json()

    def pull(self, *, within_s: float = 60.0, **body: Any) -> dict[str, Any]:
        """Pull and wait for the end: the sync with its manifest."""
        answer = self.caller.post(f"{self.path}/pull", body or None)
        assert answer.status_code == 202, answer.text
        return self.end_of(answer.json()["id"], within_s=within_s)

    def push(self, job: str) -> dict[str, Any]:
        answer = self.caller.post(f"{self.path}/push", {"jobId": job})
        assert answer.status_code == 202, answer.text
        return self.end_of(answer.json()["id"])

    def end_of(self, sync_id: str, *, within_s: float = 60.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.sync(sync_id)
            return found if found["sync"]["status"] in ENDED else None

        return wait_for(look, "the end of the sync", within_s)  # type: ignore[no-any-return]

    def sync(self, sync_id: str) -> dict[str, Any]:
        return self.caller.get(f"{self.path}/syncs/{sync_id}").json()

    def syncs(self) -> list[dict[str, Any]]:
        return self.caller.get(f"{self.path}/syncs").json()["data"]

    def inventory(self) -> list[dict[str, Any]]:
        return self.caller.get(f"/api/v1/agents/{self.agent}/inventories?limit=1000").json()["data"]

    def pending(self) -> list[dict[str, Any]]:
        answer = self.caller.get(f"/api/v1/agents/{self.agent}/pending").json()
        return [item for item in answer["data"] if item["resolvedAt"] is None]


def limit(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    """Other settings for the syncs that begin from now on."""
    other = settings().model_copy(update=values)
    monkeypatch.setattr(runner, "Session", lambda context, *more: Session(replace(context, settings=other), *more))


def rules(database: Database, caller: Caller, agent: int, values: Mapping[str, Any]) -> None:
    answer = caller.patch(f"/api/v1/agents/{agent}", {"rules": dict(values)})
    assert answer.status_code == 200, answer.text


def user_of(s3: S3Server, bucket: str, *actions: str) -> dict[str, str]:
    return s3.user(
        f"user-{next(_names)}-{bucket}",
        allow(list(actions or ("s3:*",)), f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"),
    )


def s3_body(s3: S3Server, bucket: str, *, url: str | None = None, role: str = "INVENTORY_SOURCE", **more: Any) -> Any:
    config = {"bucket": bucket, "prefix": "in/", "region": REGION, "endpointUrl": url or s3.url}
    return {
        "name": f"Place {next(_names)}",
        "role": role,
        "type": "S3",
        "config": {**config, **more.pop("config", {})},
        "secret": more.pop("secret", None) or user_of(s3, bucket),
        **more,
    }


def make_place(database: Database, caller: Caller, body: Any, agent: int | None = None, **values: Any) -> Place:
    """A connector of an agent of its own."""
    number = agent or make_agent(database, caller.organization_id, **values).id
    answer = caller.post(f"/api/v1/agents/{number}/data-sources", body)
    assert answer.status_code == 201, answer.text
    return Place(caller, number, answer.json()["id"])


def fates(sync: dict[str, Any]) -> dict[str, str]:
    """Key -> status of a sync's manifest."""
    return {line["key"]: line["status"] for line in sync["manifest_json"]}


def closes(sync: dict[str, Any]) -> bool:
    """Whether the receipt of a sync adds up, and is what its manifest says."""
    receipt = sync["sync"]["receipt"]
    names = ("uploaded", "unchanged", "rejected", "failed")
    counted = {name: sum(line["status"] == name for line in sync["manifest_json"]) for name in names}
    whole = receipt["listed"] == sum(receipt[name] for name in (*names, "ignored", "deferred"))
    return whole and all(receipt[name] == counted[name] for name in names)
