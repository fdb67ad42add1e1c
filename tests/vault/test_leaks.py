"""Canaries: unique secrets go through every flow, failures included, and are then looked for everywhere in every form.

Looked through: all that server and worker logged, a dump of the whole database, every answer of the API, exports, what
a receiver sent back. In which forms: see `canaries`.
"""

from __future__ import annotations

import base64
import io
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import structlog

from canaries import Canaries, Watched, all_logs, dump
from conftest import Caller, make_agent, wait_for
from events.receiver_server import Receiver
from gristmill import engine, events, vault
from gristmill.base.db import Database
from gristmill.base.errors import Error
from gristmill.vault.service import rotate_master


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    with all_logs() as stream:
        yield stream


def test_no_canary_gets_out(
    database: Database, owner: Caller, receiver: Receiver, worker: engine.Worker, logs: io.StringIO
) -> None:
    canaries, api = Canaries(), Watched(owner)
    plant_and_use(canaries, api, database, receiver)
    plant_and_fail(canaries, api, database, receiver)
    events_and_people(canaries, api, database, receiver)
    list(rotate_master(database))
    look_at_everything(api)
    logs_text = logs.getvalue()
    assert len(canaries.planted) >= 12
    assert [(canaries.found_in(text), text[:2000]) for text in api.seen if canaries.found_in(text)] == []
    assert canaries.found_in(logs_text) == [], "in the logs"
    assert canaries.found_in(dump(database)) == [], "in the database"
    assert canaries.found_in(" ".join(Canaries.__dict__)) == []
    for where, value in canaries.planted.items():  # the test can fail: it finds each one where it was sent
        assert canaries.found_in(f"x{base64.b64encode(b'ab' + value.encode()).decode()}x") != [], where


def plant_and_use(canaries: Canaries, api: Watched, database: Database, receiver: Receiver) -> None:
    """Agents that are opened by secrets and send them back; keys; repeated calls."""
    token, password = canaries.plant("token"), canaries.plant("password")
    body = {"name": "Token", "values": {"token": token}}
    secret = api.ask("POST", "/secrets", body, headers={"Idempotency-Key": "leak-1"}).json()
    api.ask("POST", "/secrets", body, headers={"Idempotency-Key": "leak-1"})
    basic = api.ask("POST", "/secrets", {"name": "Basic", "values": {"username": "ana", "password": password}}).json()
    key = api.ask("POST", "/api_keys", {"name": "k"}, shows=True, headers={"Idempotency-Key": "leak-2"}).json()
    canaries.add("api key", key["secret"])
    for name, ref, scheme in (("bearer", secret["id"], "Bearer"), ("basic", basic["id"], "Basic")):
        config = {"url": f"{receiver.url}/agent-{name}", "secret_ref": ref, "auth_scheme": scheme}
        agent = api.ask("POST", "/agents", {"name": f"Leak {name}", "runtime": "http", "config": config}).json()
        receiver.always[f"/agent-{name}"] = "echo"
        api.ask("POST", f"/agents/{agent['id']}/run", {"input": {"n": 1}})
        run_batch(api, agent["id"])
    sent = [call.headers["authorization"] for call in receiver.calls if call.path.startswith("/agent-")]
    assert f"Bearer {token}" in sent, "the canary was really used"
    assert any(password in base64.b64decode(item.removeprefix("Basic ")).decode() for item in sent if "Basic" in item)
    rotated = canaries.plant("rotated token")
    api.ask("POST", f"/secrets/{secret['id']}/rotate", {"values": {"token": rotated}})
    changed = canaries.plant("changed token")
    api.ask("PATCH", f"/secrets/{secret['id']}", {"values": {"token": changed}})
    run_batch(api, agent["id"])


def plant_and_fail(canaries: Canaries, api: Watched, database: Database, receiver: Receiver) -> None:
    """Everything that goes wrong with a secret in hand."""
    bad = canaries.plant("refused body")
    for body in (
        {"name": "x", "values": bad},
        {"name": "x", "values": {"token": [bad]}},
        {"name": {"deep": bad}, "values": {"token": "x"}},
        {"name": "x", "values": {"token": bad}, "more": bad},
        {"name": "x", "values": {bad: bad}},
    ):
        api.ask("POST", "/secrets", body)
    api.caller.client.request("POST", "/api/v1/secrets", content=b'{"name": "x", "values": {"token": "' + bad.encode())
    token = canaries.plant("failing token")
    secret = api.ask("POST", "/secrets", {"name": "Failing", "values": {"token": token}}).json()
    for number, trouble in enumerate((500, "cut", (302, {"Location": f"/?token={quote(token)}"}), "echo-500")):
        path = f"/failing-{number}"
        receiver.always[path] = trouble
        config = {"url": f"{receiver.url}{path}", "secret_ref": secret["id"]}
        values = {"name": f"Failing {number}", "runtime": "http", "config": config, "retry": {"max_attempts": 1}}
        agent = api.ask("POST", "/agents", values).json()
        api.ask("POST", f"/agents/{agent['id']}/run", {"input": {"n": 1}})
        run_batch(api, agent["id"])
    organization_id = api.caller.organization_id
    with pytest.raises(RuntimeError), database.tx(organization_id) as tx:
        opened = vault.reveal(tx, organization_id, secret["id"], purpose="test")
        try:
            raise ValueError(f"a library quotes {opened['token']}")
        except ValueError as error:
            structlog.get_logger().exception("it broke", token=opened["token"], opened=opened)
            logging.getLogger("a.library").exception("it broke with %s", opened["token"])
            message = Error(f"the remote said: {opened['token']}").message
            assert canaries.found_in(message) == []
            raise RuntimeError from error


def events_and_people(canaries: Canaries, api: Watched, database: Database, receiver: Receiver) -> None:
    """Webhooks, channels, callbacks: their secrets, and receivers that send back what they got."""
    receiver.always["/hook"] = "echo"
    hook = api.ask(
        "POST",
        "/webhooks",
        {"url": f"{receiver.url}/hook", "event_types": ["*"]},
        shows=True,
        headers={"Idempotency-Key": "leak-3"},
    ).json()
    canaries.add("signing secret", hook["secret"].removeprefix("whsec_"))
    rotated = api.ask("POST", f"/webhooks/{hook['webhook']['id']}/rotate", {}, shows=True).json()
    canaries.add("rotated signing secret", rotated["secret"].removeprefix("whsec_"))
    callback = api.ask("POST", "/callback_secret/rotate", {}, shows=True).json()
    canaries.add("callback secret", callback["secret"].removeprefix("whsec_"))
    organization_id = api.caller.organization_id
    agent = make_agent(database, organization_id)
    slack = canaries.plant("slack").replace("+", "-").replace("=", "")
    canaries.add("slack", slack)
    made = api.ask(
        "POST", f"/agents/{agent.id}/channels", {"type": "SLACK", "secret": {"url": f"{receiver.url}/{slack}"}}
    ).json()
    apprise = canaries.plant("apprise").replace("+", "-").replace("=", "").replace("/", "-")
    canaries.add("apprise", apprise)
    url = f"json://127.0.0.1:{receiver.port}/{apprise}"
    other = api.ask("POST", f"/agents/{agent.id}/channels", {"type": "APPRISE", "secret": {"url": url}}).json()
    receiver.always[f"/{slack}"] = "echo-500"
    receiver.always[f"/{apprise}"] = "echo-500"
    for channel in (made, other):
        api.ask("POST", f"/agents/{agent.id}/channels/{channel['id']}/test")
    api.ask("POST", f"/webhooks/{hook['webhook']['id']}/test")
    with database.tx(organization_id) as tx:
        events.emit(
            tx, organization_id, "agent.batch.failed", subject="batch:1", data={"agent_id": agent.id, "message": "no"}
        )
    wait_for(lambda: receiver.of(f"/{slack}"), "the message")
    deliveries = f"/webhooks/{hook['webhook']['id']}/deliveries"
    wait_for(lambda: api.ask("GET", f"{deliveries}?status=delivered").json()["data"], "the delivery")
    for item in api.ask("GET", deliveries).json()["data"]:
        api.ask("GET", f"{deliveries}/{item['event_id']}")
    batch = {"items": [{"n": 1}], "callback_url": f"{receiver.url}/hook"}
    made_batch = api.ask("POST", f"/agents/{agent.id}/batch_executions", batch).json()
    wait_for(lambda: api.ask("GET", f"/batch_executions/{made_batch['id']}").json()["callback"], "the callback")
    wait_for(
        lambda: api.ask("GET", f"/agents/{agent.id}/channels/{made['id']}").json()["lastError"], "the channel's error"
    )


def run_batch(api: Watched, agent_id: int) -> None:
    batch = api.ask("POST", f"/agents/{agent_id}/batch_executions", {"items": [{"n": 1}, {"n": 2}]}).json()
    path = f"/batch_executions/{batch['id']}"
    wait_for(lambda: api.ask("GET", path).json()["status"] in {"completed", "failed"}, "the end of the batch")
    for kind in ("csv", "jsonl", "xlsx", "parquet"):
        api.ask("GET", f"{path}/export.{kind}")
    for row in api.ask("GET", f"{path}/rows").json()["data"]:
        api.ask("GET", f"{path}/rows/{row['id']}")
    api.ask("GET", f"{path}/failures")


def look_at_everything(api: Watched) -> None:
    """Every list there is, as JSON and as pages of the dashboard."""
    for path in (
        "/secrets?per_page=200",
        "/agents",
        "/events?limit=1000",
        "/webhooks",
        "/pending?status=all",
        "/batch_executions",
        "/api_keys",
        "/callback_secret",
    ):
        assert api.ask("GET", path).status_code == 200, path
    for item in api.ask("GET", "/secrets?per_page=200").json()["data"]:
        api.ask("GET", f"/secrets/{item['id']}")
        api.ask("GET", f"/secrets/{item['id']}/uses")
    client = httpx.Client(base_url=api.caller.client.base_url, headers=api.caller.client.headers)
    for path in ("/metrics", "/openapi.json", "/readyz"):
        api.seen.append(client.get(path).text)


def test_the_command_line_prints_no_secret(tmp_path: Path) -> None:
    import sys  # noqa: PLC0415 - only here

    value = "canary-of-the-shell-0123456789"
    environment = {
        "GRISTMILL_DATA_DIR": str(tmp_path),
        "GRISTMILL_MASTER_KEY": value,
        "GRISTMILL_SMTP_URL": f"smtp://{value}@h",
        "COLUMNS": "300",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.doors.cli", "config"],
        env={**environment, "GRISTMILL_DATABASE_URL": f"postgresql://u:{value}@127.0.0.1:9/x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "GRISTMILL_SMTP_URL" in done.stdout
    assert value not in done.stdout + done.stderr
