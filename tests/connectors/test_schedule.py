"""Pulls by the schedule: in time, once, for the agent's cron or the connector's own, and only while they should."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conftest import Caller, make_agent, wait_for
from connector_world import Place, make_place, rules
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.connectors import duties
from gristmill.connectors.model import jitter_s
from receiver import Receiver

pytestmark = pytest.mark.usefixtures("worker")


def body(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {
        "name": "Feed", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK", "config": {"url": f"{receiver.url}/f"},
        **more,
    }  # fmt: skip


def planned(place: Place) -> datetime:
    """When the source runs next, once that is worked out."""
    text = wait_for(lambda: place.show()["nextRunAt"], "a plan")
    return datetime.fromisoformat(text)


def make_due(database: Database, place: Place, ago: timedelta = timedelta(seconds=1)) -> None:
    with database.tx(place.caller.organization_id) as tx:
        tx.run("UPDATE connector SET next_run_at = now() - %s WHERE id = %s", (ago, place.id))


def test_the_next_run_is_by_the_connectors_cron_and_zone(database: Database, owner: Caller, receiver: Receiver) -> None:
    place = make_place(database, owner, body(receiver, scheduleCron="30 6 * * *", timezone="Asia/Kathmandu"))
    late = timedelta(seconds=jitter_s(place.id, settings().connector_jitter_s))
    at = planned(place) - late
    assert (at.astimezone(UTC).hour, at.minute, at.second) == (0, 45, 0), "06:30 at +05:45"
    assert timedelta(0) < planned(place) - datetime.now(UTC) <= timedelta(days=1, minutes=1)


def test_the_agents_cron_is_the_default_and_its_changes_count(
    database: Database, owner: Caller, receiver: Receiver
) -> None:
    agent = make_agent(database, owner.organization_id, schedule_cron="0 3 * * *").id
    place = make_place(database, owner, body(receiver), agent=agent)
    assert planned(place).hour == 3
    owner.patch(f"/api/v1/agents/{agent}", {"schedule_cron": "0 17 * * *"})
    wait_for(lambda: planned(place).hour == 17, "the new plan")
    owner.patch(place.path, {"scheduleCron": "0 9 * * *"})
    wait_for(lambda: planned(place).hour == 9, "the connector's own plan")
    owner.patch(place.path, {"scheduleCron": None})
    wait_for(lambda: planned(place).hour == 17, "the agent's plan")
    owner.patch(f"/api/v1/agents/{agent}", {"schedule_cron": None})
    wait_for(lambda: place.show()["nextRunAt"] is None, "no plan")


def test_what_is_due_is_pulled_once_and_planned_anew(database: Database, owner: Caller, receiver: Receiver) -> None:
    receiver.file = b"a,b\n1,2\n"
    place = make_place(database, owner, body(receiver, scheduleCron="*/30 * * * *"))
    planned(place)
    make_due(database, place, timedelta(days=3))
    sync = wait_for(place.syncs, "a pull")[0]
    assert sync["cause"] == "SCHEDULE"
    assert place.end_of(sync["id"])["sync"]["status"] == "COMPLETED"
    wait_for(lambda: planned(place) > datetime.now(UTC), "the next plan")
    assert len(place.syncs()) == 1, "the times of three days that were missed are one time"
    assert len(place.inventory()) == 1


def test_a_pull_under_way_is_not_begun_again(database: Database, owner: Caller, receiver: Receiver) -> None:
    receiver.file, receiver.delay_s = b"a,b\n1,2\n", 1.0
    place = make_place(database, owner, body(receiver, scheduleCron="*/30 * * * *"))
    planned(place)
    sync_id = owner.post(f"{place.path}/pull").json()["id"]
    for _ in range(3):
        make_due(database, place)
        with database.system() as tx:
            duties.start_scheduled(tx)
    place.end_of(sync_id)
    assert [item["cause"] for item in place.syncs()] == ["MANUAL"]
    assert planned(place) > datetime.now(UTC)


def test_nothing_is_pulled_by_itself_when_the_rule_or_the_status_says_no(
    database: Database, owner: Caller, receiver: Receiver
) -> None:
    place = make_place(database, owner, body(receiver, scheduleCron="*/30 * * * *"))
    planned(place)
    rules(database, owner, place.agent, {"data_sources": {"auto_pull_on_schedule": False}})
    make_due(database, place)
    wait_for(lambda: planned(place) > datetime.now(UTC), "the next plan")
    assert place.syncs() == []
    owner.patch(place.path, {"status": "PAUSED"})
    wait_for(lambda: place.show()["nextRunAt"] is None, "no plan for a paused source")
    sink = make_place(database, owner, body(receiver, role="RESULTS_SINK", scheduleCron="*/30 * * * *", name="Out"))
    with database.system() as tx:
        duties.start_scheduled(tx)
    assert sink.show()["nextRunAt"] is None


def test_a_late_start_does_not_push_the_next_time_away(database: Database, owner: Caller, receiver: Receiver) -> None:
    place = make_place(database, owner, body(receiver, scheduleCron="*/5 * * * *"))
    planned(place)
    make_due(database, place, timedelta(seconds=20))
    sync = wait_for(place.syncs, "a pull")[0]
    place.end_of(sync["id"])
    assert planned(place) - datetime.now(UTC) <= timedelta(minutes=10, seconds=1)


def test_rules_that_can_not_be_read_keep_no_other_source_from_being_pulled(
    database: Database, owner: Caller, receiver: Receiver
) -> None:
    receiver.file = b"a,b\n1,2\n"
    bad, good = (make_place(database, owner, body(receiver, scheduleCron="*/30 * * * *")) for _ in range(2))
    for place in (bad, good):
        planned(place)
    with database.system() as tx:
        tx.run("UPDATE agent SET rules = '{\"data_sources\": 7}' WHERE id = %s", (bad.agent,))
    for place in (bad, good):
        make_due(database, place)
    wait_for(good.syncs, "the pull of the other")
    wait_for(lambda: planned(bad) > datetime.now(UTC), "the next plan")
    assert bad.syncs() == []
