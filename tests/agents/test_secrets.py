"""Agents that need secrets: sent to the endpoint, kept out of everything else, not deleted under them."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import pytest

from agent_server import AgentServer
from conftest import Caller, make_agent, wait_for
from gristmill import vault
from gristmill.agents import RowCall, RowResult, RuntimeContext, runtimes, update
from gristmill.agents import delete as delete_agent
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.base.ids import uuid7
from gristmill.base.signing import verify

HTTP = runtimes.get("http")
TOKEN = "tok-canary-5530-uvwxyz"


@pytest.fixture
def secret(database: Database, organization: int) -> vault.Secret:
    with database.tx(organization) as tx:
        return vault.put(tx, organization, name="Scoring", values={"token": TOKEN})


def run(database: Database, organization: int, config: dict[str, Any], rows: int = 1) -> list[RowResult]:
    context = RuntimeContext(settings(), organization, "Test", 2, agent_id=5, database=database)

    async def go() -> list[RowResult]:
        async with HTTP.open(HTTP.Config.model_validate(config), context) as function:
            return [
                await function(RowCall(uuid7(), number, 1, {"n": number}, 5.0))  # type: ignore[misc]
                for number in range(rows)
            ]

    return asyncio.run(go())


def test_the_secret_opens_the_endpoint(
    database: Database, organization: int, agent_server: AgentServer, secret: vault.Secret
) -> None:
    run(database, organization, {"url": f"{agent_server.url}/echo", "secret_ref": secret.ref}, rows=3)
    assert {headers["Authorization"] for headers in agent_server.calls.headers} == {f"Bearer {TOKEN}"}
    with database.tx(organization) as tx:
        uses = tx.rows("SELECT purpose FROM secret_use WHERE secret_id = %s", (secret.id,))
    assert uses == [{"purpose": "agent:5"}]


def test_a_signed_request_verifies(
    database: Database, organization: int, agent_server: AgentServer, secret: vault.Secret
) -> None:
    config = {"url": f"{agent_server.url}/echo", "secret_ref": secret.ref, "auth_scheme": "HmacSha256"}
    run(database, organization, config)
    headers = {name.lower(): value for name, value in agent_server.calls.headers[0].items()}
    assert verify([TOKEN], headers, b'{"n":0}', now=time.time()) == headers["idempotency-key"]


def test_a_secret_that_does_not_fit_is_told_before_any_row_runs(
    database: Database, organization: int, agent_server: AgentServer, secret: vault.Secret
) -> None:
    config = {"url": f"{agent_server.url}/echo", "secret_ref": secret.ref, "auth_scheme": "Basic"}
    with pytest.raises(Invalid, match="`username` and `password`"):
        run(database, organization, config, rows=0)
    assert agent_server.calls.bodies == []


def test_an_endpoint_that_sends_the_secret_back_does_not_get_it_into_the_result(
    database: Database, organization: int, agent_server: AgentServer, secret: vault.Secret
) -> None:
    config = {"url": f'{agent_server.url}/raw?body={{"you_sent":"Bearer_{TOKEN}"}}', "secret_ref": secret.ref}
    assert run(database, organization, config)[0].value == {"you_sent": "Bearer_[secret]"}


def test_a_rotated_secret_reaches_a_run_under_way(
    database: Database,
    organization: int,
    agent_server: AgentServer,
    secret: vault.Secret,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["gristmill.agents.runtimes.http"], "REVEAL_EVERY_S", 0.0)
    context = RuntimeContext(settings(), organization, "Test", 2, agent_id=5, database=database)
    config = HTTP.Config.model_validate({"url": f"{agent_server.url}/echo", "secret_ref": secret.ref})

    async def go() -> None:
        async with HTTP.open(config, context) as function:
            await function(RowCall(uuid7(), 1, 1, {}, 5.0))  # type: ignore[misc]
            with database.tx(organization) as tx:
                vault.rotate(tx, organization, secret.id, values={"token": "the-second-token"}, overlap_s=60)
            await function(RowCall(uuid7(), 2, 1, {}, 5.0))  # type: ignore[misc]

    asyncio.run(go())
    sent = [headers["Authorization"] for headers in agent_server.calls.headers]
    assert sent == [f"Bearer {TOKEN}", "Bearer the-second-token"]


def test_an_agent_names_only_secrets_that_are_there(
    database: Database, organization: int, secret: vault.Secret, owner: Caller, stranger: Caller
) -> None:
    config = {"url": "https://agents.example.com/", "secret_ref": secret.ref}
    assert owner.post("/api/v1/agents", {"name": "Mine", "runtime": "http", "config": config}).status_code == 201
    refused = stranger.post("/api/v1/agents", {"name": "Theirs", "runtime": "http", "config": config})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "config.secret_ref"
    both = {**config, "bearer_env": "GRISTMILL_AGENT_X"}
    assert owner.post("/api/v1/agents", {"name": "Both", "runtime": "http", "config": both}).status_code == 422


def test_a_secret_is_not_deleted_under_an_agent_or_its_batch(
    database: Database, organization: int, owner: Caller, agent_server: AgentServer, secret: vault.Secret
) -> None:
    config = {"url": f"{agent_server.url}/echo", "secret_ref": secret.ref}
    agent = make_agent(database, organization, runtime="http", config=config)
    path = f"/api/v1/secrets/{secret.id}"
    assert f"agent:{agent.id}" in owner.delete(path).json()["detail"]
    batch = owner.post(f"/api/v1/agents/{agent.id}/batch_executions", {"items": [{"n": 1}]}).json()["id"]
    owner.post(f"/api/v1/batch_executions/{batch}/pause")
    with database.tx(organization) as tx:
        update(tx, organization, agent.id, {"config": {"url": f"{agent_server.url}/echo"}})
    refused = owner.delete(path)
    assert (refused.status_code, f"batch:{batch}" in refused.text, "agent:" in refused.text) == (409, True, False)
    owner.post(f"/api/v1/batch_executions/{batch}/cancel")
    wait_for(lambda: owner.get(f"/api/v1/batch_executions/{batch}").json()["status"] == "cancelled", "the end")
    assert owner.delete(path).status_code == 204


def test_a_deleted_agent_needs_its_secret_no_more(database: Database, organization: int, secret: vault.Secret) -> None:
    config = {"url": "https://agents.example.com/", "secret_ref": secret.ref}
    agent = make_agent(database, organization, runtime="http", config=config)
    with database.tx(organization) as tx:
        delete_agent(tx, organization, agent.id)
        vault.delete(tx, organization, secret.id)
