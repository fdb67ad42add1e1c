"""The contract between Gristmill and somebody's HTTP agent."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from agent_server import AgentServer
from gristmill.agents import RowCall, RowResult, RuntimeContext, runtimes
from gristmill.base.config import settings
from gristmill.base.errors import Invalid, PluginError
from gristmill.base.ids import uuid7

HTTP = runtimes.get("http")


def run(config: dict[str, Any], *, timeout_s: float = 5.0, row: dict[str, Any] | None = None) -> RowResult:
    call = RowCall(uuid7(), 7, 2, {"n": 1} if row is None else row, timeout_s)

    async def go() -> RowResult:
        async with HTTP.open(HTTP.Config.model_validate(config), RuntimeContext(settings(), 1, "Test", 2)) as function:
            return await function(call)  # type: ignore[misc]

    return asyncio.run(go())


def test_the_row_goes_out_as_json_with_its_keys(agent_server: AgentServer) -> None:
    run({"url": f"{agent_server.url}/echo", "headers": {"X-Team": "ops"}}, row={"name": "Zoë", "n": 1})
    assert agent_server.calls.bodies == [{"name": "Zoë", "n": 1}]
    headers = agent_server.calls.headers[0]
    assert headers["X-Team"] == "ops"
    assert headers["X-Gristmill-Attempt"] == "2"
    assert len(headers["Idempotency-Key"]) == 36


@pytest.mark.parametrize(
    ("body", "value"),
    [("", None), ("null", None), ("{}", {}), ('{"a":1}', {"a": 1}), ("[1]", {"value": [1]}), ('"x"', {"value": "x"})],
)
def test_what_an_answer_means(agent_server: AgentServer, body: str, value: Any) -> None:
    assert run({"url": f"{agent_server.url}/raw?body={body}"}).value == value


def test_an_answer_that_is_not_json_fails_for_good_and_shows_its_beginning(agent_server: AgentServer) -> None:
    with pytest.raises(PluginError, match="not JSON: <html>oops") as caught:
        run({"url": f"{agent_server.url}/raw?body=<html>oops"})
    assert (caught.value.code, caught.value.permanent) == ("bad_answer", True)


@pytest.mark.parametrize(
    ("status", "permanent", "throttled"),
    [(429, False, True), (503, False, True), (500, False, False), (404, True, False), (302, True, False)],
)
def test_statuses(agent_server: AgentServer, status: int, permanent: bool, throttled: bool) -> None:
    with pytest.raises(PluginError) as caught:
        run({"url": f"{agent_server.url}/status/{status}?retry_after=7"})
    error = caught.value
    assert (error.permanent, error.throttled, error.code) == (permanent, throttled, f"http_{status}")
    assert error.retry_after_s == (None if permanent else 7.0)


def test_a_cost_header_is_the_real_cost(agent_server: AgentServer) -> None:
    assert run({"url": f"{agent_server.url}/cost/0.0123"}).cost_micro_usd == 12_300
    with pytest.raises(PluginError, match="X-Gristmill-Cost-Usd"):
        run({"url": f"{agent_server.url}/cost/much"})


def test_a_slow_agent_times_out_and_may_be_asked_again(agent_server: AgentServer) -> None:
    with pytest.raises(PluginError, match=r"within 0.1 s") as caught:
        run({"url": f"{agent_server.url}/slow/5000"}, timeout_s=0.1)
    assert (caught.value.code, caught.value.permanent) == ("timed_out", False)


def test_an_agent_that_is_away_may_be_asked_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = rf"can't be reached: 127\.0\.0\.1:{port} can't be connected to: .*\.$"
    with pytest.raises(PluginError, match=words) as caught:
        run({"url": f"http://127.0.0.1:{port}/"})
    assert not caught.value.permanent


def test_a_bearer_token_comes_from_the_environment_only(
    agent_server: AgentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"url": f"{agent_server.url}/echo", "bearer_env": "GRISTMILL_AGENT_TOKEN"}
    with pytest.raises(Invalid, match="no environment variable"):
        run(config)
    monkeypatch.setenv("GRISTMILL_AGENT_TOKEN", "s3cret")
    run(config)
    assert agent_server.calls.headers[-1]["Authorization"] == "Bearer s3cret"


def test_an_answer_over_the_limit_fails_for_good(agent_server: AgentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_RESULT_BYTES_MAX", "256")
    settings.cache_clear()
    try:
        with pytest.raises(PluginError, match="larger than 256 bytes") as caught:
            run({"url": f"{agent_server.url}/raw?body={'x' * 300}"})
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert caught.value.permanent
