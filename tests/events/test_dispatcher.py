"""Sending under trouble: receivers that fail in every way, order, dead ends, workers that share the work."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest

from conftest import Caller, make_agent, make_organization, wait_for
from events.conftest import Emit
from events.receiver_server import Receiver
from events.test_webhooks import deliveries, hook_path, make
from gristmill import engine, events
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.events import delivery_store, webhooks


def attempts(owner: Caller, made: dict[str, Any], event_id: UUID) -> list[dict[str, Any]]:
    return owner.get(f"{hook_path(made)}/deliveries/{event_id}").json()["attempts"]


def test_a_fact_that_did_not_happen_is_not_told(
    owner: Caller, database: Database, receiver: Receiver, emit: Emit, worker: object
) -> None:
    make(owner, f"{receiver.url}/true")
    with pytest.raises(RuntimeError), database.tx(owner.organization_id) as tx:
        events.emit(tx, owner.organization_id, "dataset.created", subject="dataset:1", data={"n": "lost"})
        raise RuntimeError
    kept = emit(n="kept")
    wait_for(lambda: receiver.of("/true"), "the delivery")
    assert [call.id for call in receiver.of("/true")] == [str(kept)]


def test_only_who_asked_is_told(
    owner: Caller, stranger: Caller, receiver: Receiver, emit: Emit, worker: object
) -> None:
    make(owner, f"{receiver.url}/asked", ["agent.batch.*", "dataset.deleted"])
    make(owner, f"{receiver.url}/all", ["*"])
    make(stranger, f"{receiver.url}/stranger", ["*"])
    kinds = ["agent.batch.started", "dataset.created", "dataset.deleted", "connector.sync.failed"]
    for kind in kinds:
        emit(kind)
    wait_for(lambda: len(receiver.of("/all")) == 4, "the deliveries")
    wait_for(lambda: len(receiver.of("/asked")) == 2, "the deliveries")
    assert [call.json["type"] for call in receiver.of("/all")] == kinds
    assert [call.json["type"] for call in receiver.of("/asked")] == ["agent.batch.started", "dataset.deleted"]
    assert receiver.of("/stranger") == []


@pytest.mark.parametrize(
    ("trouble", "says", "status"),
    [
        (500, "answered 500", 500),
        (404, "answered 404", 404),
        ((302, {"Location": "/elsewhere"}), "answered 302", 302),
        ((429, {"Retry-After": "0"}), "answered 429", 429),
        ("hang", "no answer in time", None),
        ("cut", "disconnected", None),
    ],
)
def test_a_failure_is_tried_again_with_the_same_id_and_body(
    owner: Caller,
    receiver: Receiver,
    emit: Emit,
    worker: object,
    quick_ladder: None,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Any,
    says: str,
    status: int | None,
) -> None:
    monkeypatch.setattr("gristmill.events.posting.SEND_S_MAX", 0.5)
    path = f"/trouble-{uuid7()}"
    receiver.answers[path] = [trouble]
    made = make(owner, receiver.url + path)
    event_id = emit()
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the delivery")
    first, second = receiver.of(path)
    assert (first.id, first.body) == (second.id, second.body) == (str(event_id), second.body)
    failed, succeeded = attempts(owner, made, event_id)
    assert says in failed["error"]
    assert (failed["status"], succeeded["status"], succeeded["error"]) == (status, 200, None)
    hook = owner.get(hook_path(made)).json()
    assert (hook["failing_since"], hook["owed"]) == (None, 0)
    assert says in hook["last_error"]
    assert receiver.of("/elsewhere") == []


@pytest.mark.parametrize("answer", ["drip", "huge"])
def test_an_answer_that_does_not_end_is_a_success_and_its_beginning_is_kept(
    owner: Caller,
    receiver: Receiver,
    emit: Emit,
    worker: object,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
) -> None:
    monkeypatch.setattr("gristmill.events.posting.EXCERPT_S_MAX", 0.5)
    path = f"/{answer}"
    receiver.answers[path] = [answer]
    made = make(owner, receiver.url + path)
    event_id = emit()
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the delivery", within_s=10)
    kept = attempts(owner, made, event_id)[0]["answer"]
    assert len(kept) == 4096 if answer == "huge" else len(kept) < 100
    assert len(receiver.of(path)) == 1


def test_a_receiver_that_names_a_later_time_gets_it(
    owner: Caller, database: Database, receiver: Receiver, emit: Emit, worker: object, quick_ladder: None
) -> None:
    receiver.answers["/later"] = [(429, {"Retry-After": "3600"})]
    made = make(owner, f"{receiver.url}/later")
    event_id = emit()
    wait_for(lambda: deliveries(owner, made)[0]["attempts"] == 1, "the attempt")
    with database.tx(owner.organization_id) as tx:
        row = tx.one("SELECT next_at - now() AS pause FROM delivery WHERE event_id = %s", (event_id,))
    assert 3500 < row["pause"].total_seconds() <= 3600


def test_what_the_receiver_says_of_our_secret_is_not_kept(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object, quick_ladder: None
) -> None:
    made = make(owner, f"{receiver.url}/echo")
    receiver.answers["/echo"] = [(500, {"X-Said": "x"})]
    event_id = emit(message=f"the key is {made['secret']}")
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the delivery")
    for attempt in attempts(owner, made, event_id):
        assert made["secret"] not in str(attempt)


def test_order_is_kept_through_failures(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object, quick_ladder: None
) -> None:
    made = make(owner, f"{receiver.url}/ordered")
    receiver.answers["/ordered"] = [200, 500, 500, 200, 503, 200, 500, 500, 200]
    ids = [str(emit(n=number)) for number in range(12)]
    wait_for(lambda: len(deliveries(owner, made, "?status=delivered")) == 12, "all deliveries")
    seen = [call.id for call in receiver.of("/ordered")]
    assert list(dict.fromkeys(seen)) == ids
    assert seen == sorted(seen, key=ids.index), "a later event was sent before an earlier one had ended"


def test_without_order_later_events_pass_one_that_fails(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.events.outcomes.UNORDERED_PAUSE_S", 0.1)
    made = make(owner, f"{receiver.url}/unordered", ordered=False)
    receiver.answers["/unordered"] = [500]
    stuck = emit(n=0)
    wait_for(lambda: deliveries(owner, made)[0]["attempts"] == 1, "the failure")
    later = [emit(n=number) for number in range(1, 6)]
    wait_for(lambda: len(deliveries(owner, made, "?status=delivered")) == 5, "the later ones")
    assert {item["event_id"] for item in deliveries(owner, made, "?status=pending")} == {str(stuck)}
    assert {item["event_id"] for item in deliveries(owner, made, "?status=delivered")} == {str(x) for x in later}


def test_the_end_of_the_ladder_is_told_to_others_and_the_next_event_goes_on(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object, quick_ladder: None
) -> None:
    receiver.answers["/dead"] = [500] * 4
    made = make(owner, f"{receiver.url}/dead")
    make(owner, f"{receiver.url}/told", ["delivery.dead"])
    dead, after = emit(n=1), emit(n=2)
    wait_for(lambda: deliveries(owner, made, "?status=dead"), "the dead end")
    assert len(attempts(owner, made, dead)) == 4
    told = wait_for(lambda: receiver.of("/told"), "the news")[0].json["data"]
    assert (told["event_id"], told["attempts"], told["message"]) == (str(dead), 4, "the receiver answered 500")
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the next event")
    assert receiver.of("/dead")[-1].id == str(after)
    assert all(call.json["type"] != "delivery.dead" for call in receiver.of("/dead"))
    owner.post(f"{hook_path(made)}/deliveries/{dead}/replay")
    wait_for(lambda: not deliveries(owner, made, "?status=dead"), "the replay")


def test_gone_disables_at_once_and_people_are_told(
    owner: Caller, database: Database, receiver: Receiver, emit: Emit, worker: object, quick_ladder: None
) -> None:
    agent = make_agent(database, owner.organization_id)
    channel = {"type": "WEBHOOK", "config": {"url": f"{receiver.url}/people"}, "eventSubscriptions": ["on_escalation"]}
    assert owner.post(f"/api/v1/agents/{agent.id}/channels", channel).status_code == 201
    receiver.answers["/gone"] = [410]
    made = make(owner, f"{receiver.url}/gone")
    first = emit()
    wait_for(lambda: owner.get(hook_path(made)).json()["status"] == "disabled", "the end")
    assert "410" in owner.get(hook_path(made)).json()["reason"]
    told = wait_for(lambda: receiver.of("/people"), "the news")[0].json
    assert (told["type"], told["data"]["webhook_id"]) == ("subscription.disabled", made["webhook"]["id"])
    item = owner.get("/api/v1/pending").json()["data"][0]
    assert (item["kind"], item["facts"]["webhook_id"]) == ("WEBHOOK_DISABLED", made["webhook"]["id"])
    missed = emit(n="missed")
    owner.patch(hook_path(made), {"status": "active"})
    wait_for(lambda: len(receiver.of("/gone")) == 2, "what it was owed")
    assert owner.get("/api/v1/pending").json()["data"] == []
    assert {call.id for call in receiver.of("/gone")} == {str(first)}
    owner.post(f"{hook_path(made)}/replay", {"since": "2026-01-01T00:00:00Z", "which": "missing"})
    wait_for(lambda: str(missed) in {call.id for call in receiver.of("/gone")}, "what it missed")


def test_five_days_of_failure_disable(
    owner: Caller, database: Database, receiver: Receiver, emit: Emit, worker: object, quick_ladder: None
) -> None:
    receiver.always["/days"] = 500
    made = make(owner, f"{receiver.url}/days")
    emit()
    wait_for(lambda: deliveries(owner, made, "?status=dead"), "a dead end")
    hook = owner.get(hook_path(made)).json()
    assert (hook["status"], bool(hook["failing_since"])) == ("active", True)
    with database.tx(owner.organization_id) as tx:
        tx.run("UPDATE receiver SET failing_since = now() - interval '6 days', failures = 3")
    emit()
    wait_for(lambda: len(deliveries(owner, made, "?status=dead")) == 2, "another dead end")
    assert owner.get(hook_path(made)).json()["status"] == "active", "a few attempts are not enough"
    emit()
    emit()
    wait_for(lambda: owner.get(hook_path(made)).json()["status"] == "disabled", "the end")
    assert "failed" in owner.get(hook_path(made)).json()["reason"]


def test_many_dead_receivers_delay_no_healthy_one(
    database: Database, receiver: Receiver, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.events.posting.SEND_S_MAX", 20.0)
    dead, healthy = make_organization(database), make_organization(database)
    receiver.always["/hanging"] = "hang"
    with database.tx(dead) as tx:
        for number in range(200):
            webhooks.create_webhook(tx, dead, url=f"{receiver.url}/hanging?n={number}", event_types=["*"])
        events.emit(tx, dead, "dataset.created", subject="dataset:1", data={})
    with database.tx(healthy) as tx:
        webhooks.create_webhook(tx, healthy, url=f"{receiver.url}/healthy", event_types=["*"])
    wait_for(lambda: len(receiver.of("/hanging")) == 200, "the dead ones to be tried")
    for number in range(10):
        began = time.monotonic()
        with database.tx(healthy) as tx:
            events.emit(tx, healthy, "dataset.created", subject="dataset:1", data={})
        wait_for(lambda wanted=number: len(receiver.of("/healthy")) > wanted, "the healthy one", within_s=10)
        assert receiver.of("/healthy")[-1].at - began < 2
    with database.tx(dead) as tx:
        tx.run("DELETE FROM receiver")


def test_receivers_are_shared_between_workers_and_never_sent_to_by_two(fresh_database: Database) -> None:
    organization = make_organization(fresh_database)
    with fresh_database.tx(organization) as tx:
        for number in range(20):
            webhooks.create_webhook(tx, organization, url=f"https://h{number}.example.com/", event_types=["*"])
        events.emit(tx, organization, "dataset.created", subject="dataset:1", data={})
    first, second = uuid7(), uuid7()
    with fresh_database.system() as one:
        assert delivery_store.wake_receivers(one) == 20
        mine = delivery_store.claim_lanes(one, first, limit=8, owed_max=5)
    with fresh_database.system() as one, fresh_database.system() as two:
        mine += delivery_store.claim_lanes(one, first, limit=4, owed_max=5)
        theirs = delivery_store.claim_lanes(two, second, limit=50, owed_max=5)
    assert len(mine) == 12
    assert len(theirs) == 8
    assert not {lane.receiver_id for lane in mine} & {lane.receiver_id for lane in theirs}
    assert all(len(lane.owed) == 1 for lane in [*mine, *theirs])


def test_what_a_dead_worker_was_sending_is_due_again(fresh_database: Database) -> None:
    organization = make_organization(fresh_database)
    with fresh_database.tx(organization) as tx:
        webhooks.create_webhook(tx, organization, url="https://hooks.example.com/", event_types=["*"])
        event_id = events.emit(tx, organization, "dataset.created", subject="dataset:1", data={})
    dead, next_one = uuid7(), uuid7()
    with fresh_database.system() as tx:
        delivery_store.wake_receivers(tx)
        lane = delivery_store.claim_lanes(tx, dead, limit=5, owed_max=5)[0]
        assert delivery_store.claim_lanes(tx, next_one, limit=5, owed_max=5) == []
    from gristmill.events.dispatcher import release_lost  # noqa: PLC0415 - only here
    from gristmill.events.model import Sent  # noqa: PLC0415
    from gristmill.events.outcomes import Report, save  # noqa: PLC0415
    from gristmill.events.sending import outcome_of  # noqa: PLC0415

    with fresh_database.system() as tx:
        release_lost(tx, dead)
        again = delivery_store.claim_lanes(tx, next_one, limit=5, owed_max=5)[0]
    assert [owed.event.id for owed in again.owed] == [event_id]
    with fresh_database.system() as tx:
        late = outcome_of(event_id, 0, Sent(ok=True), tx.now, 0.1)
        assert save(tx, dead, [Report(lane, lane.owed[0], late), Report(lane, done=True)]) == {lane.receiver_id}
        row = tx.one("SELECT d.status, r.worker_id FROM delivery d JOIN receiver r ON r.id = d.receiver_id")
    assert (row["status"], row["worker_id"]) == ("pending", next_one), "a late write changed something"


def test_an_outcome_that_can_not_be_stored_keeps_nothing_else_back(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill.events import sending  # noqa: PLC0415 - only here

    real = sending._storable
    monkeypatch.setattr(
        sending, "_storable", lambda text, most: "a\x00b" if text == "answered 201" else real(text, most)
    )
    receiver.always["/poison"] = 201
    poison, fine = make(owner, f"{receiver.url}/poison"), make(owner, f"{receiver.url}/fine")
    event_id = emit()
    wait_for(lambda: deliveries(owner, fine, "?status=delivered"), "the fine one")
    wait_for(lambda: deliveries(owner, poison, "?status=delivered"), "the poisonous one")
    assert attempts(owner, poison, event_id)[0]["error"] == "could not be stored"


def test_a_worker_that_drains_finishes_what_it_sends_and_gives_its_receivers_back(
    fresh_database: Database, receiver: Receiver
) -> None:
    organization = make_organization(fresh_database)
    receiver.pause_s = 0.3
    with fresh_database.tx(organization) as tx:
        webhooks.create_webhook(tx, organization, url=f"{receiver.url}/drain", event_types=["*"])
        for number in range(5):
            events.emit(tx, organization, "dataset.created", subject="dataset:1", data={"n": number})

    async def live() -> None:
        stopping = asyncio.Event()
        context = engine.JobContext(uuid7(), fresh_database, settings(), stopping)
        running = asyncio.ensure_future(events.dispatch(context))
        await asyncio.to_thread(wait_for, lambda: receiver.of("/drain"), "the first request")
        stopping.set()
        await asyncio.wait_for(running, 10)

    try:
        asyncio.run(live())
    finally:
        receiver.pause_s = 0.0
    sent = len({call.id for call in receiver.of("/drain")})
    with fresh_database.system() as tx:
        rows = tx.rows("SELECT status FROM delivery ORDER BY place")
        free = tx.one("SELECT worker_id, due_at FROM receiver")
    assert [row["status"] for row in rows] == ["delivered"] * sent + ["pending"] * (5 - sent)
    assert free["worker_id"] is None
    assert free["due_at"] is not None


def test_a_draining_worker_does_not_wait_for_a_receiver_that_hangs(
    fresh_database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.events.dispatcher.DRAIN_S", 0.2)
    organization = make_organization(fresh_database)
    receiver.always["/drain-hang"] = "hang"
    with fresh_database.tx(organization) as tx:
        webhooks.create_webhook(tx, organization, url=f"{receiver.url}/drain-hang", event_types=["*"])
        events.emit(tx, organization, "dataset.created", subject="dataset:1", data={})

    async def live() -> None:
        stopping = asyncio.Event()
        running = asyncio.ensure_future(
            events.dispatch(engine.JobContext(uuid7(), fresh_database, settings(), stopping))
        )
        await asyncio.to_thread(wait_for, lambda: receiver.of("/drain-hang"), "the request")
        stopping.set()
        await asyncio.wait_for(running, 5)

    asyncio.run(live())
    with fresh_database.system() as tx:
        row = tx.one("SELECT d.status, d.attempts, r.worker_id FROM delivery d JOIN receiver r ON r.id = d.receiver_id")
    assert row == {"status": "pending", "attempts": 0, "worker_id": None}


def test_the_dispatcher_outlives_a_database_that_is_away(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.events.dispatcher.TROUBLE_S", 0.05)
    real, calls = delivery_store.claim_lanes, []

    def sometimes(*args: Any, **more: Any) -> Any:
        calls.append(1)
        lanes = real(*args, **more)
        if len(calls) % 3 == 1:
            import psycopg  # noqa: PLC0415 - only here

            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return lanes

    monkeypatch.setattr(delivery_store, "claim_lanes", sometimes)
    made = make(owner, f"{receiver.url}/away")
    ids = [str(emit(n=number)) for number in range(5)]
    wait_for(lambda: len(deliveries(owner, made, "?status=delivered")) == 5, "the deliveries")
    assert [call.id for call in receiver.of("/away")] == ids
    assert asyncio.iscoroutinefunction(events.dispatch)


def test_the_sign_is_up_while_something_may_be_sent(fresh_database: Database, receiver: Receiver) -> None:
    organization = make_organization(fresh_database)

    def is_up() -> bool:
        with fresh_database.system() as tx:
            return bool(tx.one("SELECT " + delivery_store.WAITING + " AS up")["up"])

    with fresh_database.tx(organization) as tx:
        webhooks.create_webhook(tx, organization, url=f"{receiver.url}/sign", event_types=["*"])
    assert not is_up()
    with fresh_database.tx(organization) as tx:
        events.emit(tx, organization, "dataset.created", subject="dataset:1", data={})
    assert is_up(), "an event that no dispatcher has seen"
    with fresh_database.system() as tx:
        delivery_store.wake_receivers(tx)
    assert is_up(), "a receiver that is due"
    with fresh_database.system() as tx:
        assert delivery_store.claim_lanes(tx, uuid7(), limit=10, owed_max=10)
    assert not is_up(), "a receiver in somebody's hands"
