"""One suite for every runtime: what the runner relies on."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent_server import AgentServer
from gristmill.agents import RowCall, RowResult, RuntimeContext, runtimes
from gristmill.agents.runtimes import RowFunction
from gristmill.base.config import settings
from gristmill.base.errors import Error, PluginError
from gristmill.base.ids import uuid7
from gristmill.base.kinds import UnknownKind

CONTEXT = RuntimeContext(settings(), 1, "Test", 4)
CALL = RowCall(uuid7(), 1, 1, {"n": 1}, 5.0)


@dataclass(frozen=True)
class Kit:
    """Configs with which each kind shows one behaviour."""

    finds: dict[str, Any]
    finds_nothing: dict[str, Any]
    fails_for_good: dict[str, Any] | None
    """None for a runtime that calls nobody, whose rows can't fail one by one."""
    may_succeed_later: dict[str, Any] | None
    refused: dict[str, Any]
    row: RowCall = CALL
    context: RuntimeContext = CONTEXT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to match with."""
    made = tmp_path_factory.mktemp("kinds")
    towns = "Mill Works,Ashford\nBlue Harbour Foods,Kilmore\nNorthern Light Press,Tromso\nOak and Sons,Dorset\n"
    (made / "known.csv").write_text(f"name,town\n{towns}Haney Furniture Co.,Butler\n", encoding="utf-8")
    (made / "other.csv").write_text(f"name,town\n{towns}", encoding="utf-8")
    return made


def kit(kind: str, server: AgentServer, folder: Path) -> Kit:
    if kind == "http":
        return Kit(
            finds={"url": f"{server.url}/echo"},
            finds_nothing={"url": f"{server.url}/empty"},
            fails_for_good={"url": f"{server.url}/status/400"},
            may_succeed_later={"url": f"{server.url}/status/503"},
            refused={"url": "http://169.254.169.254/"},
        )
    if kind == "python":
        return Kit(
            finds={"entry_point": "sample_agents:echo"},
            finds_nothing={"entry_point": "sample_agents:nothing"},
            fails_for_good={"entry_point": "sample_agents:breaks"},
            may_succeed_later={"entry_point": "sample_agents:flaky"},
            refused={"entry_point": "os:system"},
        )
    if kind == "lead":
        return Kit(
            finds=_asking(f"{server.url}/echo"),
            finds_nothing=_asking(f"{server.url}/empty"),
            fails_for_good=_asking(f"{server.url}/status/400"),
            may_succeed_later=_asking(f"{server.url}/status/503"),
            refused=_asking("http://169.254.169.254/"),
            row=RowCall(uuid7(), 1, 1, {"company": "Haney Furniture Co"}, 5.0),
        )
    if kind == "match":
        known, other = (str(folder / name) for name in ("known.csv", "other.csv"))
        return Kit(
            finds={"file": known},
            finds_nothing={"file": other},
            fails_for_good=None,
            may_succeed_later=None,
            refused={},
            row=RowCall(uuid7(), 1, 1, {"name": "Haney Furniture Company", "town": "Butler"}, 30.0),
            context=replace(CONTEXT, local=True),
        )
    pytest.fail(f"the runtime {kind} has no kit in this suite")


def _asking(url: str) -> dict[str, Any]:
    """A lead enricher with one vendor."""
    body = {"company": "{company}", "phone": "724-654-7732"}
    facts = [{"kind": "phone", "fields": {"number": "echo.phone"}}]
    config = {"url": url, "method": "POST", "body": body, "facts": facts}
    return {"passes": [{"provider": "http", "config": config}]}


@pytest.fixture(params=sorted(runtimes.all()))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def call(function: RowFunction, row: RowCall) -> RowResult:
    if inspect.iscoroutinefunction(function):
        return await function(row)
    return await asyncio.to_thread(function, row)  # type: ignore[arg-type]


def run(kind: str, config: dict[str, Any], tools: Kit) -> RowResult:
    runtime = runtimes.get(kind)
    parsed = runtime.Config.model_validate(config)
    runtime.check(parsed, tools.context)

    async def go() -> RowResult:
        async with runtime.open(parsed, tools.context) as function:
            return await call(function, tools.row)

    return asyncio.run(go())


def test_it_describes_itself(kind: str) -> None:
    runtime = runtimes.get(kind)
    assert runtime.kind == kind
    assert runtime.title
    schema = runtime.Config.model_json_schema()
    assert schema["additionalProperties"] is False, "an unknown setting must be refused, not ignored"


def test_it_finds_and_finds_nothing(kind: str, agent_server: AgentServer, folder: Path) -> None:
    tools = kit(kind, agent_server, folder)
    assert run(kind, tools.finds, tools).value
    assert not run(kind, tools.finds_nothing, tools).value


def test_failures_say_whether_they_are_for_good(kind: str, agent_server: AgentServer, folder: Path) -> None:
    tools = kit(kind, agent_server, folder)
    if tools.fails_for_good is None or tools.may_succeed_later is None:
        pytest.skip("this runtime calls nobody")
    with pytest.raises(PluginError) as caught:
        run(kind, tools.fails_for_good, tools)
    assert caught.value.permanent
    assert caught.value.message
    with pytest.raises(PluginError) as caught:
        run(kind, tools.may_succeed_later, tools)
    assert not caught.value.permanent


def test_it_refuses_what_it_must_not_run(kind: str, agent_server: AgentServer, folder: Path) -> None:
    runtime = runtimes.get(kind)
    with pytest.raises(Error):
        runtime.check(runtime.Config.model_validate(kit(kind, agent_server, folder).refused), CONTEXT)


def test_its_provider_key_is_stable(kind: str, agent_server: AgentServer, folder: Path) -> None:
    runtime = runtimes.get(kind)
    config = runtime.Config.model_validate(kit(kind, agent_server, folder).finds)
    assert runtime.provider_key(config) == runtime.provider_key(config)
    assert runtime.provider_key(config)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match="http, lead"):
        runtimes.get("telepathy")
