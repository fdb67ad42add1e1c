"""Files that are added together come out as if each had been added alone, and each is told of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from conftest import Caller, make_agent
from gristmill import inventory
from gristmill.base.db import Database

NAMES = ("a.csv", "", "nul\x00.csv", "x" * 5000 + ".csv", "日本/é.csv")


def draft(name: str, rows: int) -> inventory.Draft:
    body = b"sku,qty\n" + b"".join(b"S-%d,%d\n" % (number, number) for number in range(rows))
    origin = {"kind": "upload", "name": name.replace("\x00", "")}
    return inventory.Draft(name, origin, f"k/{rows}", len(body), "0" * 64, inventory.Reader().examine(body))


def told(database: Database, organization: int, made: list[inventory.Inventory]) -> list[Any]:
    """What is kept of each file, what its event says, and how many deliveries are owed for it; ids left out."""
    with database.tx(organization) as tx:
        found = []
        for one in made:
            kept = inventory.get(tx, organization, one.id)
            assert kept.inventory == one
            event = tx.one("SELECT id, data FROM event WHERE subject = %s", (f"inventory:{one.id}",))
            assert UUID(event["data"].pop("inventory_id")) == one.id
            owed = tx.one("SELECT count(*) AS n FROM delivery WHERE event_id = %s", (event["id"],))["n"]
            shown = {**asdict(one), "id": None, "created_at": None, "name": one.name.replace(str(one.id), "ID")}
            facts = {**event["data"], "name": event["data"]["name"].replace(str(one.id), "ID")}
            found.append((shown, kept.dialect, kept.object_key, facts, owed))
        return found


def test_files_added_together_are_as_if_added_alone(database: Database, organization: int, owner: Caller) -> None:
    for path in ("one", "two"):
        body = {"url": f"https://example.com/{path}", "event_types": ["agent.inventory.*"]}
        assert owner.post("/api/v1/webhooks", body).status_code == 201
    agent = make_agent(database, organization).id
    drafts = [draft(name, rows) for rows, name in enumerate(NAMES, start=1)]
    alone = []
    for item in drafts:
        with database.tx(organization) as tx:
            alone.append(inventory.add(tx, organization, agent, item))
    with database.tx(organization) as tx:
        together = inventory.add_all(tx, organization, agent, drafts)
        assert inventory.add_all(tx, organization, agent, []) == []
    assert [item.id for item in together] == sorted(item.id for item in together)
    assert told(database, organization, together) == told(database, organization, alone)
    assert [facts[-1] for facts in told(database, organization, together)] == [2] * len(NAMES)
