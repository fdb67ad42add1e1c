"""Pending items: filed once while open, resolved once, told to whoever waits for the decision."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from conftest import Caller, MakeCaller, make_agent
from gristmill import events
from gristmill.base.db import Database


@pytest.fixture
def agent(database: Database, organization: int) -> int:
    return make_agent(database, organization).id


def file(database: Database, organization: int, agent: int | None, **more: Any) -> events.PendingItem:
    values: dict[str, Any] = {"message": "Pulling failed.", "facts": {"connector_id": 7}, "key": "connector:7", **more}
    with database.tx(organization) as tx:
        return events.file_pending(tx, organization, agent, "DATA_SOURCE_PULL_FAILED", **values)


def test_an_open_item_is_counted_and_not_filed_twice(
    database: Database, organization: int, owner: Caller, agent: int
) -> None:
    first = file(database, organization, agent)
    again = file(database, organization, agent, message="It failed again.")
    assert (again.id, again.times, again.message) == (first.id, 2, "It failed again.")
    assert file(database, organization, agent, key="connector:8").id != first.id
    assert file(database, organization, None).id != first.id
    listed = owner.get(f"/api/v1/agents/{agent}/pending").json()["data"]
    assert [item["kind"] for item in listed] == ["DATA_SOURCE_PULL_FAILED"] * 2
    assert {"agentId", "seenAt", "resolvedAt"} <= set(listed[0])
    assert len(owner.get("/api/v1/pending").json()["data"]) == 3
    with database.tx(organization) as tx:
        kinds = [event.kind for event in events.list_events(tx, organization, cursor=None, limit=50).data]
    assert kinds == ["pending.filed"] * 3


def test_many_at_once_file_one(database: Database, organization: int, agent: int) -> None:
    threads = [threading.Thread(target=file, args=(database, organization, agent)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.tx(organization) as tx:
        assert tx.rows("SELECT times FROM pending_item") == [{"times": 8}]


def test_resolving_tells_who_waits_in_the_same_transaction(
    database: Database, organization: int, owner: Caller, teammate: Caller, stranger: Caller, agent: int
) -> None:
    told: list[dict[str, Any]] = []

    def listen(tx: Any, organization_id: int, resolved: Sequence[events.Event]) -> None:
        if organization_id == organization:
            told.extend(event.data for event in resolved)

    events.on("pending.resolved", listen)
    item = file(database, organization, agent, key="connector:9")
    path = f"/api/v1/agents/{agent}/pending/{item.id}/resolve"
    assert teammate.post(path).status_code == 403
    assert stranger.post(path).status_code == 404
    answer = owner.post(path, {"decision": "approve", "note": "Looks right."}).json()
    assert answer["resolution"] == {"decision": "approve", "note": "Looks right."}
    assert (told[0]["decision"], told[0]["item_kind"], told[0]["facts"]) == (
        "approve",
        "DATA_SOURCE_PULL_FAILED",
        {"connector_id": 7},
    )
    assert owner.post(path).status_code == 409
    assert owner.get(f"/api/v1/agents/{agent}/pending").json()["data"] == []
    assert len(owner.get(f"/api/v1/agents/{agent}/pending?status=resolved").json()["data"]) == 1
    assert file(database, organization, agent, key="connector:9").id != item.id


def test_an_item_whose_cause_is_gone_is_withdrawn(
    database: Database, organization: int, owner: Caller, agent: int
) -> None:
    file(database, organization, agent)
    with database.tx(organization) as tx:
        events.withdraw_pending(tx, organization, agent, "DATA_SOURCE_PULL_FAILED", key="connector:7")
    item = owner.get(f"/api/v1/agents/{agent}/pending?status=all").json()["data"][0]
    assert item["resolution"]["decision"] == "gone"


def test_items_are_paged_and_seen_by_their_own_people_only(
    database: Database, organization: int, owner: Caller, stranger: Caller, make_caller: MakeCaller, agent: int
) -> None:
    for number in range(5):
        file(database, organization, agent, key=f"connector:{number}")
    seen, cursor = [], ""
    while True:
        page = owner.get(f"/api/v1/agents/{agent}/pending?limit=2{cursor}").json()
        seen += [item["id"] for item in page["data"]]
        if page["meta"]["next_cursor"] is None:
            break
        cursor = f"&cursor={page['meta']['next_cursor']}"
    assert len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)
    other = make_agent(database, organization).id
    limited = make_caller(organization, agent_id=other)
    assert limited.get("/api/v1/pending").status_code == 403
    assert limited.get(f"/api/v1/agents/{agent}/pending").status_code == 403
    assert stranger.get(f"/api/v1/agents/{agent}/pending").status_code == 404
    assert owner.post(f"/api/v1/agents/{other}/pending/{seen[0]}/resolve").status_code == 404
    assert owner.post(f"/api/v1/pending/{seen[0]}/resolve").status_code == 200
