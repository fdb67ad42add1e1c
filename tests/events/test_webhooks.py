"""Webhooks as a user has them: made, tested, rotated, replayed, ended."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conftest import Caller, wait_for
from events.conftest import Emit
from events.receiver_server import Receiver
from gristmill.base.signing import verify


def make(owner: Caller, url: str, event_types: list[str] | None = None, **more: Any) -> dict[str, Any]:
    answer = owner.post("/api/v1/webhooks", {"url": url, "event_types": event_types or ["*"], **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def hook_path(made: dict[str, Any]) -> str:
    return f"/api/v1/webhooks/{made['webhook']['id']}"


def deliveries(owner: Caller, made: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    return owner.get(f"{hook_path(made)}/deliveries{query}").json()["data"]


def test_an_event_is_delivered_signed_and_kept(owner: Caller, receiver: Receiver, emit: Emit, worker: object) -> None:
    made = make(owner, f"{receiver.url}/signed", ["dataset.*"], headers={"X-Team": "ops"})
    emit("connector.paused")
    event_id = emit("dataset.created", name="Products", rows=3)
    call = wait_for(lambda: receiver.of("/signed"), "the delivery")[0]
    assert verify([made["secret"]], call.headers, call.body, now=time.time()) == str(event_id)
    assert call.headers["x-team"] == "ops"
    assert call.json["type"] == "dataset.created"
    assert call.json["data"] == {"name": "Products", "rows": 3}
    kept = wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the outcome")
    assert [item["event_id"] for item in kept] == [str(event_id)]
    full = owner.get(f"{hook_path(made)}/deliveries/{event_id}").json()
    attempt = full["attempts"][0]
    assert (attempt["number"], attempt["status"], attempt["answer"]) == (1, 200, "answered 200")
    assert attempt["request"]["headers"]["webhook-id"] == str(event_id)
    assert attempt["request"]["size_bytes"] == len(call.body)
    shown = owner.get(hook_path(made))
    assert made["secret"] not in shown.text + owner.get("/api/v1/webhooks").text
    assert shown.json()["secret_redacted"] == f"gm_byo_****{made['secret'][-4:]}"


def test_a_private_key_signs_and_its_public_half_verifies(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object
) -> None:
    made = make(owner, f"{receiver.url}/v1a", signing="v1a")
    assert made["secret"] is None
    event_id = emit()
    call = wait_for(lambda: receiver.of("/v1a"), "the delivery")[0]
    assert verify([made["webhook"]["public_key"]], call.headers, call.body, now=time.time()) == str(event_id)
    rotated = owner.post(f"{hook_path(made)}/rotate").json()
    assert rotated["webhook"]["public_key"] != made["webhook"]["public_key"]
    emit()
    call = wait_for(lambda: receiver.of("/v1a")[1:], "the second delivery")[0]
    for key in (made["webhook"]["public_key"], rotated["webhook"]["public_key"]):
        verify([key], call.headers, call.body, now=time.time())


def test_during_the_overlap_both_secrets_verify(owner: Caller, receiver: Receiver, emit: Emit, worker: object) -> None:
    made = make(owner, f"{receiver.url}/rotated")
    rotated = owner.post(f"{hook_path(made)}/rotate", {"overlap_hours": 24}).json()
    assert rotated["secret"] != made["secret"]
    emit()
    call = wait_for(lambda: receiver.of("/rotated"), "the delivery")[0]
    assert len(call.headers["webhook-signature"].split()) == 2
    for secret in (made["secret"], rotated["secret"]):
        verify([secret], call.headers, call.body, now=time.time())
    last = owner.post(f"{hook_path(made)}/rotate", {"overlap_hours": 0}).json()
    emit()
    call = wait_for(lambda: receiver.of("/rotated")[1:], "the second delivery")[0]
    verify([last["secret"]], call.headers, call.body, now=time.time())
    assert len(call.headers["webhook-signature"].split()) == 1, "without an overlap everything older ends at once"


def test_a_test_tells_what_the_receiver_said(owner: Caller, receiver: Receiver) -> None:
    made = make(owner, f"{receiver.url}/tested")
    good = owner.post(f"{hook_path(made)}/test").json()
    assert (good["ok"], good["status"], good["answer"]) == (True, 200, "answered 200")
    call = receiver.of("/tested")[0]
    assert call.json["type"] == "webhook.test"
    verify([made["secret"]], call.headers, call.body, now=time.time())
    receiver.answers["/tested"] = [500, 302]
    assert owner.post(f"{hook_path(made)}/test").json()["error"] == "the receiver answered 500"
    assert not owner.post(f"{hook_path(made)}/test").json()["ok"]
    owner.patch(hook_path(made), {"url": "http://127.0.0.1:9/"})
    away = owner.post(f"{hook_path(made)}/test").json()
    assert (away["ok"], away["status"]) == (False, None)
    assert "can't be connected to" in away["error"]
    assert deliveries(owner, made) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "https://10.0.0.1/", "event_types": ["*"]}, ""),
        ({"url": "http://hooks.example.com/", "event_types": ["*"]}, ""),
        ({"url": "https://hooks.example.com/", "event_types": ["dataset.made"]}, "event_types.0"),
        ({"url": "https://hooks.example.com/", "event_types": []}, "event_types"),
        ({"url": "https://hooks.example.com/", "event_types": ["*"], "headers": {"a b": "c"}}, "config.headers.a b"),
        ({"url": "https://hooks.example.com/", "event_types": ["*"], "headers": {"a": "b\r\nc"}}, "config.headers.a"),
        (
            {"url": "https://hooks.example.com/", "event_types": ["*"], "headers": {"Webhook-Id": "1"}},
            "config.headers.Webhook-Id",
        ),
        ({"url": "https://hooks.example.com/", "event_types": ["*"], "secret": "mine"}, "secret"),
    ],
)
def test_what_is_no_webhook(owner: Caller, body: dict[str, Any], field: str) -> None:
    refused = owner.post("/api/v1/webhooks", body)
    assert refused.status_code == 422, refused.text
    if field:
        assert refused.json()["errors"][0]["field"] == field


def test_changes_take_effect_and_paused_means_later(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object
) -> None:
    made = make(owner, f"{receiver.url}/before", ["dataset.*"])
    paused = owner.patch(hook_path(made), {"status": "paused", "url": f"{receiver.url}/after"}).json()
    assert (paused["status"], paused["url"]) == ("paused", f"{receiver.url}/after")
    first, second = emit(n=1), emit(n=2)
    wait_for(lambda: owner.get(hook_path(made)).json()["owed"] == 2, "the deliveries")
    assert receiver.of("/after") == []
    owner.patch(hook_path(made), {"status": "active"})
    wait_for(lambda: len(receiver.of("/after")) == 2, "the deliveries")
    assert [call.id for call in receiver.of("/after")] == [str(first), str(second)]
    assert receiver.of("/before") == []


def test_a_deleted_webhook_gets_nothing_more(owner: Caller, receiver: Receiver, emit: Emit, worker: object) -> None:
    made = make(owner, f"{receiver.url}/deleted")
    other = make(owner, f"{receiver.url}/kept")
    assert owner.delete(hook_path(made)).status_code == 204
    emit()
    wait_for(lambda: receiver.of("/kept"), "the other delivery")
    assert receiver.of("/deleted") == []
    assert owner.get(hook_path(made)).status_code == 404
    assert owner.get(hook_path(other)).status_code == 200
    owners = {item["owner"] for item in owner.get("/api/v1/secrets").json()["data"]}
    assert owners == {f"webhook:{other['webhook']['id']}"}


def test_its_secret_is_kept_by_the_webhook_alone(owner: Caller) -> None:
    make(owner, "https://hooks.example.com/")
    secret = owner.get("/api/v1/secrets").json()["data"][0]
    refused = owner.delete(f"/api/v1/secrets/{secret['id']}")
    assert refused.status_code == 409
    assert "webhook:" in refused.json()["detail"]


def test_one_delivery_is_replayed_with_the_same_id(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object
) -> None:
    made = make(owner, f"{receiver.url}/replayed")
    event_id = emit()
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the delivery")
    answer = owner.post(f"{hook_path(made)}/deliveries/{event_id}/replay")
    assert answer.status_code == 202
    wait_for(lambda: len(receiver.of("/replayed")) == 2, "the replay")
    first, second = receiver.of("/replayed")
    assert (first.id, first.body) == (second.id, second.body)
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "its outcome")
    attempts = owner.get(f"{hook_path(made)}/deliveries/{event_id}").json()["attempts"]
    assert [item["number"] for item in attempts] == [1, 2]


def test_a_time_is_replayed_in_order_with_what_was_never_owed(
    owner: Caller, receiver: Receiver, emit: Emit, worker: object
) -> None:
    before = [emit(n=number) for number in range(3)]
    emit("connector.paused")
    made = make(owner, f"{receiver.url}/range", ["dataset.*"])
    after = emit(n=3)
    wait_for(lambda: deliveries(owner, made, "?status=delivered"), "the delivery")
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    path = f"{hook_path(made)}/replay"
    assert owner.post(path, {"since": since}).json() == {"replayed": 0, "more": False}
    assert owner.post(path, {"since": since, "which": "missing"}).json()["replayed"] == 3
    wait_for(lambda: len(receiver.of("/range")) == 4, "the missing ones")
    assert [call.id for call in receiver.of("/range")] == [str(item) for item in (after, *before)]
    wait_for(lambda: len(deliveries(owner, made, "?status=delivered")) == 4, "their outcomes")
    assert owner.post(path, {"since": since, "which": "all"}).json()["replayed"] == 4
    wait_for(lambda: len(receiver.of("/range")) == 8, "all again")
    later = {"since": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "which": "all"}
    assert owner.post(path, later).json()["replayed"] == 0


def test_deliveries_are_paged(owner: Caller, receiver: Receiver, emit: Emit, worker: object) -> None:
    made = make(owner, f"{receiver.url}/paged")
    made_ids = [str(emit(n=number)) for number in range(5)]
    wait_for(lambda: len(deliveries(owner, made)) == 5, "the deliveries")
    seen, cursor = [], ""
    while True:
        page = owner.get(f"{hook_path(made)}/deliveries?limit=2{cursor}").json()
        seen += [item["event_id"] for item in page["data"]]
        if page["meta"]["next_cursor"] is None:
            break
        cursor = f"&cursor={page['meta']['next_cursor']}"
    assert seen == made_ids[::-1]


def test_the_callback_secret_is_shown_when_it_is_rotated(owner: Caller) -> None:
    before = owner.get("/api/v1/callback_secret").json()
    assert before["secret"] is None
    rotated = owner.post("/api/v1/callback_secret/rotate").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["redacted"] == f"gm_byo_****{rotated['secret'][-4:]}"
    assert rotated["overlap_until"]
    assert rotated["secret"] not in owner.get("/api/v1/callback_secret").text
