"""Every route, asked by its owner, a teammate with a usage key, a stranger of another organization, and nobody.

The table must name every route of the OpenAPI document: a new route without a line here fails the test.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from conftest import Caller, MakeCaller, fund, make_agent, wait_for
from gristmill import events, ledger
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.ledger import payment_store

OK = frozenset({200, 201, 202, 204})
_names = itertools.count(1)


@dataclass(frozen=True)
class World:
    """Things that the owner has."""

    agent: int
    source: int
    batch: str
    row: str
    key: str
    secret: str
    payment: str
    file: str
    mapping: str
    job: str
    webhook: str
    event: str
    channel: str
    item: str
    notice: str
    connector: int
    sink: int
    sync: str
    dataset: int
    twin: int
    """Of the same agent; the routes under `/api` that have a twin under `/api/v1` work on it."""


@dataclass(frozen=True)
class Line:
    """One route: how to ask, and what each caller gets. 'list' means: 200, but nothing of the owner's in it."""

    method: str
    path: str
    body: Any = None
    teammate: int | None = None
    """None: the same as the owner."""
    stranger: int | str = 404
    nobody: int = 401
    file: bytes | None = None
    """Sent as a form instead of JSON."""


def lines() -> list[Line]:
    usage = 403
    return [
        Line("GET", "/api/v1/agents/balance", stranger="own"),
        Line("GET", "/api/v1/billing/ledger", stranger="own"),
        Line("POST", "/api/v1/billing/topups", {"amount_usd": "1.00", "key": "K"}, usage, "own"),
        Line("POST", "/api/v1/billing/refunds", {"batch_id": "{batch}", "row_number": 1, "key": "K"}, usage),
        Line("POST", "/api/v1/billing/adjustments", {"amount_usd": "1.00", "key": "K"}, usage, "own"),
        Line("GET", "/api/v1/billing/payments", stranger="own"),
        Line("GET", "/api/v1/billing/payments/{payment}"),
        Line("GET", "/api/v1/connect", stranger="own"),
        Line("POST", "/api/v1/connect", {"name": "N"}, usage, "own"),
        Line("GET", "/api/v1/agents", stranger="own"),
        Line(
            "POST",
            "/api/v1/agents",
            {"name": "N", "runtime": "http", "config": {"url": "https://e.example"}},
            usage,
            "own",
        ),
        Line("GET", "/api/v1/agents/{agent}"),
        Line("PATCH", "/api/v1/agents/{agent}", {"concurrency": 9}, usage),
        Line("POST", "/api/v1/agents/{agent}/run", {"input": {"n": 1}}),
        Line("GET", "/api/v1/agent_templates", stranger="own"),
        Line("POST", "/api/v1/agent_templates/echo/deploy", {"name": "N"}, usage, "own"),
        Line("GET", "/api/v1/agent_runtimes", stranger="own"),
        Line("GET", "/api/v1/data_sources", stranger="own"),
        Line("POST", "/api/v1/data_sources", {"name": "N", "kind": "csv", "csv_data": "a,b\n1,2\n"}, usage, "own"),
        Line("GET", "/api/v1/data_sources/{source}"),
        Line("PATCH", "/api/v1/data_sources/{source}", {"name": "M"}, usage),
        Line("POST", "/api/v1/data_sources/{source}/preview", {"limit": 5}),
        Line("POST", "/api/v1/data_sources/{source}/test", None, usage),
        Line("GET", "/api/v1/data_source_env_keys", None, usage, "own"),
        Line("POST", "/api/v1/tables/inspect", {"file_base64": "YSxiCjEsMgo="}, stranger="own"),
        Line("POST", "/api/v1/mappings/propose", {"csv_data": "firm,plz\nA GmbH,10115\n"}, stranger="own"),
        Line("GET", "/api/v1/mappings/{mapping}"),
        Line("PUT", "/api/v1/mappings/{mapping}", {"fields": {"company": [1]}}, usage),
        Line("GET", "/api/v1/agents/{agent}/inventories"),
        Line("POST", "/api/v1/agents/{agent}/inventories", {"name": "N", "file_base64": "YSxiCjEsMgo="}),
        Line("GET", "/api/v1/agents/{agent}/inventories/{file}"),
        Line("GET", "/api/v1/agents/{agent}/inventories/{file}/content"),
        Line("GET", "/api/v1/agents/{agent}/inventories/{file}/rejects"),
        Line("DELETE", "/api/v1/agents/{agent}/inventories/{file}", None, usage),
        Line("GET", "/api/v1/data-source-types", stranger="own"),
        Line("GET", "/api/v1/agents/{agent}/data-sources"),
        Line(
            "POST",
            "/api/v1/agents/{agent}/data-sources",
            {"name": "N", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK", "config": {}},
            usage,
        ),
        Line("GET", "/api/v1/agents/{agent}/data-sources/{connector}"),
        Line("PATCH", "/api/v1/agents/{agent}/data-sources/{connector}", {"name": "M"}, usage),
        Line("POST", "/api/v1/agents/{agent}/data-sources/{connector}/test", None, usage),
        Line("POST", "/api/v1/agents/{agent}/data-sources/{connector}/inbound", None, usage),
        Line("POST", "/api/v1/agents/{agent}/data-sources/{connector}/pull"),
        Line("GET", "/api/v1/agents/{agent}/data-sources/{connector}/syncs"),
        Line("GET", "/api/v1/agents/{agent}/data-sources/{connector}/syncs/{sync}"),
        Line("GET", "/api/v1/agents/{agent}/data-sources/{connector}/syncs/{sync}/file"),
        Line("POST", "/api/v1/agents/{agent}/data-sources/{connector}/syncs/{sync}/replay", None, usage),
        Line("POST", "/api/v1/agents/{agent}/data-sources/{sink}/push", {"jobId": "{batch}"}, usage),
        Line("GET", "/api/v1/agents/{agent}/data-sources/{sink}/push/preview"),
        Line("DELETE", "/api/v1/agents/{agent}/data-sources/{connector}", None, usage),
        Line("POST", "/api/v1/batch/enrich/upload", nobody=201, stranger="own", file=b"company,city\nAcme,Tampa\n"),
        Line("GET", "/api/v1/batch/enrich", stranger="own"),
        Line("GET", "/api/v1/batch/enrich/{job}"),
        Line("GET", "/api/v1/batch/enrich/{job}/preview"),
        Line("GET", "/api/v1/batch/enrich/{job}/quote"),
        Line("GET", "/api/v1/batch/enrich/{job}/mapping"),
        Line("PATCH", "/api/v1/batch/enrich/{job}/mapping", {"fields": {}}),
        Line("GET", "/api/v1/batch/enrich/{job}/rejects"),
        Line("GET", "/api/v1/batch/enrich/{job}/download.csv"),
        Line("GET", "/api/v1/batch/enrich/{job}/rows"),
        Line("POST", "/api/v1/batch/enrich/{job}/link", {"upload_token": "guessed"}),
        Line("POST", "/api/v1/batch/enrich/{job}/start"),
        Line("GET", "/api/v1/batch/enrich/{job}/rows/1"),
        Line("GET", "/api/v1/batch/enrich/{job}/rows/1/events"),
        Line("POST", "/api/v1/batch/enrich/{job}/resume"),
        Line("POST", "/api/v1/agents/{agent}/batch_executions", {"items": [{"n": 1}]}),
        Line("GET", "/api/v1/agents/{agent}/batch_executions"),
        Line("POST", "/api/v1/agents/{agent}/batch_executions/quote", {"items": [{"n": 1}]}),
        Line("POST", "/api/v1/data_source_runs", {"agent_id": "{agent}", "data_source_id": "{source}"}),
        Line("GET", "/api/v1/batch_executions", stranger="own"),
        Line("GET", "/api/v1/batch_executions/{batch}"),
        Line("GET", "/api/v1/batch_executions/{batch}/receipt"),
        Line("GET", "/api/v1/batch_executions/{batch}/rows"),
        Line("GET", "/api/v1/batch_executions/{batch}/rows/{row}"),
        Line("GET", "/api/v1/batch_executions/{batch}/failures"),
        Line("GET", "/api/v1/batch_executions/{batch}/export.csv"),
        Line("GET", "/api/v1/batch_executions/{batch}/events"),
        Line("GET", "/api/v1/batches/{batch}/events"),
        Line("POST", "/api/v1/batch_executions/{batch}/retry", {"row_ids": ["{row}"]}),
        Line("POST", "/api/v1/batch_executions/{batch}/pause"),
        Line("POST", "/api/v1/batch_executions/{batch}/resume"),
        Line("POST", "/api/v1/batch_executions/{batch}/cancel"),
        Line("GET", "/api/v1/api_keys", None, usage, "own"),
        Line("POST", "/api/v1/api_keys", {"name": "N"}, usage, "own"),
        Line("POST", "/api/v1/api_keys/{key}/rotate", {}, usage),
        Line("DELETE", "/api/v1/api_keys/{key}", None, usage),
        Line("GET", "/api/v1/events", stranger="own"),
        Line("GET", "/api/v1/event_types", stranger="own"),
        Line("GET", "/api/v1/webhooks", None, usage, "own"),
        Line("POST", "/api/v1/webhooks", {"url": "https://e.example.com", "event_types": ["*"]}, usage, "own"),
        Line("GET", "/api/v1/webhooks/{webhook}", None, usage),
        Line("PATCH", "/api/v1/webhooks/{webhook}", {"description": "M"}, usage),
        Line("POST", "/api/v1/webhooks/{webhook}/rotate", {}, usage),
        Line("POST", "/api/v1/webhooks/{webhook}/test", None, usage),
        Line("GET", "/api/v1/webhooks/{webhook}/deliveries", None, usage),
        Line("GET", "/api/v1/webhooks/{webhook}/deliveries/{event}", None, usage),
        Line("POST", "/api/v1/webhooks/{webhook}/deliveries/{event}/replay", None, usage),
        Line("POST", "/api/v1/webhooks/{webhook}/replay", {"since": "2026-01-01T00:00:00Z"}, usage),
        Line("DELETE", "/api/v1/webhooks/{webhook}", None, usage),
        Line("GET", "/api/v1/callback_secret", None, usage, "own"),
        Line("POST", "/api/v1/callback_secret/rotate", None, usage, "own"),
        Line("GET", "/api/v1/channel_types", stranger="own"),
        Line("GET", "/api/v1/agents/{agent}/channels", None, usage),
        Line(
            "POST",
            "/api/v1/agents/{agent}/channels",
            {"type": "WEBHOOK", "config": {"url": "https://e.example.com"}},
            usage,
        ),
        Line("GET", "/api/v1/agents/{agent}/channels/{channel}", None, usage),
        Line("PATCH", "/api/v1/agents/{agent}/channels/{channel}", {"name": "M"}, usage),
        Line("POST", "/api/v1/agents/{agent}/channels/{channel}/test", None, usage),
        Line("DELETE", "/api/v1/agents/{agent}/channels/{channel}", None, usage),
        Line("GET", "/api/v1/agents/{agent}/pending"),
        Line("POST", "/api/v1/agents/{agent}/pending/{item}/resolve", {"decision": "done"}, usage),
        Line("GET", "/api/v1/pending", stranger="own"),
        Line("POST", "/api/v1/pending/{notice}/resolve", None, usage),
        Line("GET", "/api/v1/secrets", None, usage, "own"),
        Line("POST", "/api/v1/secrets", {"name": "N", "values": {"token": "N"}}, usage, "own"),
        Line("GET", "/api/v1/secrets/{secret}", None, usage),
        Line("PATCH", "/api/v1/secrets/{secret}", {"name": "M"}, usage),
        Line("POST", "/api/v1/secrets/{secret}/rotate", {"values": {"token": "M"}}, usage),
        Line("GET", "/api/v1/secrets/{secret}/uses", None, usage),
        Line("DELETE", "/api/v1/secrets/{secret}", None, usage),
        Line("DELETE", "/api/v1/data_sources/{source}", None, usage),
        Line("GET", "/api/v1/embedders", stranger="own"),
        *dataset_lines("/api/agents/{agent}", usage),
        *dataset_lines("/api/v1/agents/{agent}", usage),
        Line("DELETE", "/api/v1/agents/{agent}", None, usage),
    ]


CSV_BODY = {"file_base64": "YSxiCjEsMgo=", "file_filename": "rows.csv"}
DATASET_BODY = {**CSV_BODY, "title": "N", "type": "csv", "template": "a is {{.a}}"}


def dataset_lines(base: str, usage: int) -> list[Line]:
    one = f"{base}/datasets/{{dataset}}"
    return [
        Line("GET", f"{base}/datasets"),
        Line("POST", f"{base}/datasets", DATASET_BODY, usage),
        Line("POST", f"{base}/datasets/analyze", CSV_BODY, usage),
        Line("GET", one),
        Line("PATCH", one, {"title": "M"}, usage),
        Line("GET", f"{one}/versions"),
        Line("POST", f"{one}/versions/1/activate", None, usage),
        Line("POST", f"{one}/plan"),
        Line("GET", f"{one}/records"),
        Line("GET", f"{one}/chunks"),
        Line("GET", f"{one}/errors.csv"),
        Line("POST", f"{base}/search", {"query": "a", "mode": "keyword"}),
        Line("POST", f"{base}/query", {"dataset_id": "{dataset}", "sql": "SELECT count(*) FROM records"}),
        Line("PUT", f"{one}/file", CSV_BODY, usage),
        Line("POST", f"{one}/process", None, usage),
        Line("DELETE", one, None, usage),
    ]


def fill(value: Any, world: World) -> Any:
    if isinstance(value, dict):
        return {name: fill(item, world) for name, item in value.items()}
    if isinstance(value, list):
        return [fill(item, world) for item in value]
    if isinstance(value, str):
        if value in {"{agent}", "{source}", "{dataset}"}:
            return getattr(world, value.strip("{}"))
        if value in {"N", "M", "K"}:
            return f"{value}{next(_names)}"
        return value.format(**vars(world)) if "{" in value and "{{" not in value else value
    return value


def ask(caller: Caller | httpx.Client, line: Line, world: World) -> httpx.Response:
    client = caller if isinstance(caller, httpx.Client) else caller.client
    if line.path.startswith("/api/agents/"):
        world = replace(world, dataset=world.twin)
    if line.file is not None:
        return client.request(line.method, line.path, files={"file": ("leads.csv", line.file)})
    return client.request(line.method, fill(line.path, world), json=fill(line.body, world))


@pytest.fixture
def world(database: Database, owner: Caller, worker: object) -> World:
    agent = make_agent(database, owner.organization_id)
    source = owner.post("/api/v1/data_sources", {"name": "Rows", "kind": "csv", "csv_data": "n\n1\n2\n"}).json()
    batch = owner.post(f"/api/v1/agents/{agent.id}/batch_executions", {"items": [{"n": 1}, {"n": 2}]}).json()
    path = f"/api/v1/batch_executions/{batch['id']}"
    wait_for(lambda: owner.get(path).json()["status"] == "completed", "completion")
    row = owner.get(f"{path}/rows").json()["data"][0]
    key = owner.post("/api/v1/api_keys", {"name": "To be rotated"}).json()["key"]
    secret = owner.post("/api/v1/secrets", {"name": "Token", "values": {"token": "0123456789"}}).json()
    payment = make_payment(database, owner)
    upload = {"name": "rows.csv", "file_base64": "YSxiCjEsMgo="}
    file = owner.post(f"/api/v1/agents/{agent.id}/inventories", upload).json()
    mapping = owner.post("/api/v1/mappings/propose", {"csv_data": "owner's,columns\n1,2\n"}).json()["fingerprint"]
    fund(database, owner.organization_id, 20_000_000)
    charge(database, owner.organization_id, UUID(batch["id"]), 5000)
    leads = {"file": ("leads.csv", b"company,city\nAcme,Tampa\n")}
    job = owner.post("/api/v1/batch/enrich/upload", files=leads).json()
    ids = (source["id"], batch["id"], row["id"], key["id"], secret["id"], payment, file["id"], mapping, job["id"])
    receivers, connectors = make_receivers(database, owner, agent.id), make_connectors(owner, agent.id)
    return World(agent.id, *ids, *receivers, *connectors, make_dataset(owner, agent.id), make_dataset(owner, agent.id))


def charge(database: Database, organization_id: int, batch_id: UUID, amount: int) -> None:
    """What a row of a priced agent costs; the batches of these tests are free."""
    with database.tx(organization_id) as tx:
        ledger.lock_available(tx, organization_id)
        ledger.hold_rows(tx, organization_id, batch_id, [ledger.RowHold(1, 99)], amount)
        ledger.settle_rows(tx, organization_id, batch_id, [ledger.RowCharge(1, 99, amount, amount)])


def make_dataset(owner: Caller, agent: int) -> int:
    path = f"/api/v1/agents/{agent}/datasets"
    made = owner.post(path, {**DATASET_BODY, "title": "Rows"}).json()
    wait_for(lambda: owner.get(f"{path}/{made['id']}").json()["ingest_status"] == "completed", "the dataset")
    return made["id"]


def make_connectors(owner: Caller, agent: int) -> tuple[int, int, str]:
    path = f"/api/v1/agents/{agent}/data-sources"
    opened = {"type": "HTTPS_WEBHOOK", "secret": {"token": "0123456789abcdef"}}
    source = {"name": "In", "role": "INVENTORY_SOURCE", "config": {"authScheme": "Bearer"}, **opened}
    url = f"{str(owner.client.base_url).rstrip('/')}/healthz"
    sink = {"name": "Out", "role": "RESULTS_SINK", "config": {"authScheme": "Bearer", "url": url}, **opened}
    made = owner.post(path, source).json()
    bearer = {"Authorization": "Bearer 0123456789abcdef", "Content-Type": "text/csv"}
    pushed = owner.client.post(made["inboundUrl"], content=b"a,b\n1,2\n", headers=bearer).json()
    return made["id"], owner.post(path, sink).json()["id"], pushed["syncId"]


def make_receivers(database: Database, owner: Caller, agent_id: int) -> tuple[str, str, str, str, str]:
    """A webhook that is owed an event, a channel, and two pending items."""
    hook = owner.post("/api/v1/webhooks", {"url": "https://e.example.com", "event_types": ["dataset.*"]}).json()
    channel = {"type": "WEBHOOK", "config": {"url": "https://e.example.com"}, "eventSubscriptions": ["on_pause"]}
    made = owner.post(f"/api/v1/agents/{agent_id}/channels", channel).json()
    organization_id = owner.organization_id
    with database.tx(organization_id) as tx:
        event_id = events.emit(tx, organization_id, "dataset.created", subject="dataset:1", data={})
        items = [
            events.file_pending(tx, organization_id, agent_id, "LOOK", message="x", facts={}, key=str(number)).id
            for number in range(2)
        ]
    return hook["webhook"]["id"], str(event_id), made["id"], str(items[0]), str(items[1])


def make_payment(database: Database, owner: Caller) -> str:
    payment_id = uuid7()
    terms = {"network": "eip155:1", "asset": "0x1", "payer": "0x2", "nonce": str(payment_id), "purpose": "top_up"}
    rest = {"amount_micro_usd": 1, "payload": {}, "requirements": {}, "valid_before": datetime.now(UTC)}
    with database.tx(owner.organization_id) as tx:
        payment_store.insert_payment(tx, owner.organization_id, payment_id, {**terms, **rest})
    return str(payment_id)


def test_every_route_has_a_line(anyone: httpx.Client) -> None:
    document = anyone.get("/openapi.json").json()
    names = {"agent_id": "agent", "source_id": "source", "batch_id": "batch", "row_id": "row", "key_id": "key",
             "payment_id": "payment"}  # fmt: skip
    names |= {"secret_id": "secret", "inventory_id": "file", "fingerprint": "mapping"}
    names |= {"connector_id": "connector", "sync_id": "sync", "dataset_id": "dataset"}
    names |= {"webhook_id": "webhook", "event_id": "event", "channel_id": "channel", "item_id": "item"}
    routes = set()
    for path, methods in document["paths"].items():
        if not path.startswith("/api/"):
            continue
        plain = path.replace("{slug}", "echo").replace("{kind}", "csv").replace("{decision}", "replay")
        plain = plain.replace("{connector_id}/push", "{sink}/push").replace("{version}", "1")
        for long, short in names.items():
            plain = plain.replace(f"{{{long}}}", f"{{{short}}}")
        plain = plain.replace("/enrich/{batch}", "/enrich/{job}").replace("{row_number}", "1")
        plain = plain.replace("/v1/pending/{item}", "/v1/pending/{notice}")
        routes |= {(method.upper(), plain) for method in methods}
    assert {(line.method, line.path) for line in lines()} == routes


def test_who_gets_what(world: World, owner: Caller, teammate: Caller, stranger: Caller, anyone: httpx.Client) -> None:
    for line in lines():
        where = f"{line.method} {line.path}"
        nobody = ask(anyone, line, world)
        assert nobody.status_code == line.nobody, where
        if line.nobody == 401:
            assert nobody.headers["content-type"] == "application/problem+json", where

        foreign = ask(stranger, line, world)
        expected = OK if line.stranger == "own" else {line.stranger}
        assert foreign.status_code in expected, f"{where}: a stranger got {foreign.status_code} {foreign.text[:300]}"
        for secret in (world.batch, world.row, world.key, world.file):
            assert secret not in foreign.text or line.stranger == 404, f"{where} shows a stranger the owner's objects"

        if line.teammate is not None:
            answer = ask(teammate, line, world)
            assert answer.status_code == line.teammate, (
                f"{where}: a teammate got {answer.status_code} {answer.text[:300]}"
            )

        mine = ask(owner, line, world)
        fine = {*OK, 409} if line.method == "DELETE" or "pause" in line.path or "resume" in line.path else OK
        fine |= {422, 409} if line.path.endswith(("/test", "/cancel", "/link", "/replay", "/pull")) else set()
        assert mine.status_code in fine, f"{where}: the owner got {mine.status_code} {mine.text[:500]}"


def test_a_key_limited_to_one_agent_sees_only_that_agent(
    database: Database, world: World, owner: Caller, make_caller: MakeCaller
) -> None:
    other = make_agent(database, owner.organization_id)
    limited = make_caller(owner.organization_id, agent_id=other.id)
    assert [item["id"] for item in limited.get("/api/v1/agents").json()["data"]] == [other.id]
    assert limited.get(f"/api/v1/agents/{world.agent}").status_code == 403
    assert limited.get(f"/api/v1/batch_executions/{world.batch}").status_code == 404
    assert limited.get("/api/v1/batch_executions").json()["data"] == []
    assert limited.post(f"/api/v1/agents/{world.agent}/batch_executions", {"items": [{}]}).status_code == 403
    assert limited.get("/api/v1/api_keys").status_code == 403
    assert limited.post("/api/v1/billing/topups", {"amount_usd": 1, "key": "x"}).status_code == 403


def test_a_forgotten_where_still_shows_nothing_of_others(database: Database, world: World, stranger: Caller) -> None:
    """The second wall: a query without any condition, in the stranger's transaction."""
    with database.tx(stranger.organization_id) as tx:
        for table in ("batch", "batch_row", "agent", "data_source", "event", "ledger_entry", "batch_progress"):
            rows = tx.rows(f"SELECT organization_id FROM {table}")  # type: ignore[arg-type]
            assert {row["organization_id"] for row in rows} <= {stranger.organization_id}, table
        touched = tx.run("UPDATE agent SET name = 'stolen'")
        assert touched == 0
        assert tx.run("DELETE FROM batch_row") == 0
    assert world.batch


def test_a_transaction_without_a_tenant_sees_nothing(database: Database, world: World) -> None:
    with database.system() as tx:
        tx.raw.execute("SELECT set_config('role', 'gristmill_app', true)")
        assert tx.rows("SELECT id FROM batch") == []
    assert world.batch
