"""Verbs of agents."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel, ValidationError

from gristmill import datasets, events, vault
from gristmill.agents import store
from gristmill.agents.model import (
    RESULT_FIELDS,
    Agent,
    AgentNotFound,
    RateLimit,
    Retry,
    Template,
    check_input,
    input_of,
)
from gristmill.agents.rules import read_rules
from gristmill.agents.runtimes import RowCall, RowResult, RuntimeContext, runtimes
from gristmill.agents.templates import TEMPLATES
from gristmill.base.config import settings
from gristmill.base.cron import BadCron, Cron
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Conflict, Error, FieldError, Invalid, NotFound, PluginError
from gristmill.base.ids import uuid7
from gristmill.base.money import usd
from gristmill.base.paging import Page, page_of

DEFAULTS: dict[str, Any] = {
    "config": {},
    "input_fields": [],
    "output_schema": None,
    "concurrency": 8,
    "rate_limit": asdict(RateLimit()),
    "timeout_s": 60.0,
    "retry": asdict(Retry()),
    "price_micro_usd": 0,
    "bill_on_match": True,
    "daily_budget_micro_usd": None,
    "rules": {},
    "schedule_cron": None,
    "template": None,
}

OWNED = {"inventory": "files", "connector": "connectors"}
"""Tables whose lines must go before their agent does, and what they are called."""


def create(tx: Tx, organization_id: int, values: dict[str, Any], *, local: bool = False) -> Agent:
    """A new agent. Raises `Invalid` for a config that its runtime refuses, `Conflict` when the name is taken."""
    complete = {**DEFAULTS, **values}
    complete["config"] = check_config(complete, organization_id, local=local)
    _check_cron(complete["schedule_cron"])
    _check_fields(complete["input_fields"])
    _check_output_schema(complete["output_schema"])
    read_rules(complete["rules"])
    if store.find_agent_by_name(tx, organization_id, complete["name"]):
        raise Conflict(f"There is an agent named `{complete['name']}` already.")
    try:
        made = store.insert_agent(tx, organization_id, complete)
    except psycopg.errors.UniqueViolation:
        raise Conflict(f"There is an agent named `{complete['name']}` already.") from None
    _refer_secrets(tx, organization_id, made)
    return made


def update(tx: Tx, organization_id: int, agent_id: int, changes: dict[str, Any], *, local: bool = False) -> Agent:
    """Change some settings. Batches under way keep the agent as it was when they were made."""
    before = store.find_agent(tx, organization_id, agent_id, lock=True)
    if before is None:
        raise AgentNotFound(f"There is no agent {agent_id}.")
    old = {
        name: value for name, value in asdict(before).items() if name == "name" or name in DEFAULTS or name == "runtime"
    }
    new = {**old, **changes}
    for name in ("rate_limit", "retry"):
        new[name] = {**old[name], **new[name]}
    new["config"] = check_config(new, organization_id, local=local)
    _check_cron(new["schedule_cron"])
    _check_fields(new["input_fields"])
    _check_output_schema(new["output_schema"])
    read_rules(new["rules"])
    changed = any(new[name] != old[name] for name in RESULT_FIELDS)
    try:
        after = store.update_agent(tx, organization_id, agent_id, new, new_version=changed)
    except psycopg.errors.UniqueViolation:
        raise Conflict(f"There is an agent named `{new['name']}` already.") from None
    _refer_secrets(tx, organization_id, after)
    return after


def check_config(values: dict[str, Any], organization_id: int, *, local: bool) -> dict[str, Any]:
    """The runtime's config, checked and with its defaults filled in. Raises `Invalid` with `config.<field>`."""
    runtime = runtimes.get(values["runtime"])
    config = parse_config(runtime.Config, values["config"])
    context = RuntimeContext(
        settings(), organization_id, values["name"], values["concurrency"], local, None, values["price_micro_usd"]
    )
    runtime.check(config, context)
    return config.model_dump(mode="json")


def parse_config(model: type[BaseModel], config: dict[str, Any]) -> BaseModel:
    """A runtime's config from JSON. Raises `Invalid` with one error per field."""
    try:
        return model.model_validate(config)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(["config", *(str(part) for part in item["loc"])]), item["msg"])
            for item in error.errors(include_url=False)
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong), errors=wrong) from error


def _refer_secrets(tx: Tx, organization_id: int, agent: Agent) -> None:
    """The secrets that the config names can't be deleted from now on. Raises `Invalid` for one that is not there."""
    for name, secret_ref in _secret_refs(agent.config).items():
        try:
            vault.get(tx, organization_id, secret_ref)
        except vault.SecretNotFound as error:
            wrong = FieldError(f"config.{name}", "names no secret of this organization")
            raise Invalid(error.message, errors=(wrong,)) from None
    vault.refer_only(tx, organization_id, _secret_refs(agent.config).values(), f"agent:{agent.id}")


def _secret_refs(value: Any, path: str = "") -> dict[str, str]:
    """Dotted path -> id of every secret that a config names, however deep."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: dict[str, str] = {}
    for name, item in items:
        where = f"{path}.{name}" if path else str(name)
        if isinstance(item, str):
            if str(name) == "secret_ref" or str(name).endswith("_secret_ref"):
                found[where] = item
        else:
            found |= _secret_refs(item, where)
    return found


@vault.also_needed
def batches_that_need(tx: Tx, organization_id: int, secret_id: UUID) -> list[str]:
    """Batches that are not finished keep the agent, and so its secrets, as it was when they were made."""
    return [f"batch:{item}" for item in store.list_open_batches_with(tx, organization_id, str(secret_id))]


def get(tx: Tx, organization_id: int, agent_id: int) -> Agent:
    """An agent. Raises `AgentNotFound`."""
    found = store.find_agent(tx, organization_id, agent_id)
    if found is None:
        raise AgentNotFound(f"There is no agent {agent_id}.")
    return found


def get_by_name(tx: Tx, organization_id: int, name: str) -> Agent | None:
    """An agent by its name, or None."""
    return store.find_agent_by_name(tx, organization_id, name)


def list_agents(tx: Tx, organization_id: int, *, only_id: int | None, page: int, per_page: int) -> Page[Agent]:
    """One page of agents; `only_id` for a key that is limited to one."""
    data, total = store.list_agents(tx, organization_id, only_id=only_id, limit=per_page, offset=(page - 1) * per_page)
    return page_of(data, page=page, per_page=per_page, total=total)


def delete(tx: Tx, organization_id: int, agent_id: int) -> None:
    """Remove an agent with its datasets. Raises `Conflict` while batches, files or connectors refer to it."""
    get(tx, organization_id, agent_id)
    kept = Conflict(f"Agent {agent_id} has batches; its results would be lost. Rename it instead.")
    if store.has_batches(tx, agent_id):
        raise kept
    datasets.forget_agent(tx, organization_id, agent_id)
    vault.refer_only(tx, organization_id, (), f"agent:{agent_id}")
    events.forget_agent(tx, organization_id, agent_id)
    try:
        store.delete_agent(tx, organization_id, agent_id)
    except psycopg.errors.ForeignKeyViolation as error:
        what = OWNED.get(error.diag.table_name or "")
        raise (Conflict(f"Agent {agent_id} has {what}; delete them first.") if what else kept) from None


def templates() -> list[Template]:
    """All templates in order of title."""
    return sorted(TEMPLATES, key=lambda item: item.title)


def deploy(tx: Tx, organization_id: int, slug: str, *, name: str | None, config: dict[str, Any]) -> Agent:
    """An agent from a template; `config` overrides the template's."""
    found = next((item for item in TEMPLATES if item.slug == slug), None)
    if found is None:
        raise NotFound(f"There is no template `{slug[:60]}`; `GET /api/v1/agent_templates` lists them.")
    return create(
        tx,
        organization_id,
        {
            "name": name or found.title,
            "runtime": found.runtime,
            "config": {**found.config, **config},
            "input_fields": [asdict(item) for item in found.input_fields],
            "output_schema": found.output_schema,
            "concurrency": found.concurrency,
            "retry": asdict(found.retry),
            "timeout_s": found.timeout_s,
            "template": found.slug,
        },
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """One row run at once, outside any batch."""

    status: str
    """`succeeded`, `empty` or `failed`."""
    result: dict[str, Any] | None
    error_code: str | None
    error: str | None
    duration_ms: int
    trace: dict[str, Any]
    input: dict[str, Any]
    """What the agent got."""
    cost_usd: str | None
    """What the runtime said that it cost, never above the agent's price; null when it said nothing. Not billed."""
    cost_micro_usd: int | None


async def try_row(
    agent: Agent, organization_id: int, row: dict[str, Any], *, local: bool = False, database: Database | None = None
) -> Trial:
    """Run one row, one attempt, nothing stored. Raises `Invalid` when the row lacks required fields."""
    value = input_of(row, {}, agent.input_fields)
    wrong = check_input(value, agent.input_fields)
    if wrong:
        raise Invalid("The row lacks what the agent needs.", errors=tuple(wrong))
    runtime = runtimes.get(agent.runtime)
    config = parse_config(runtime.Config, agent.config)
    context = RuntimeContext(
        settings(), organization_id, agent.name, 1, local, agent.id, agent.price_micro_usd, database
    )
    call = RowCall(uuid7(), 1, 1, value, agent.timeout_s, last=True)
    started = time.monotonic()
    result, failure = await _attempt(runtime.open(config, context), call)
    elapsed = int((time.monotonic() - started) * 1000)
    if failure is not None:
        return Trial("failed", None, failure.code, failure.message, elapsed, {}, value, None, None)
    status = "succeeded" if result.value else "empty"
    cost = None if result.cost_micro_usd is None else min(result.cost_micro_usd, agent.price_micro_usd)
    shown = None if cost is None else usd(cost)
    return Trial(status, result.value, None, None, elapsed, result.trace, value, shown, cost)


async def _attempt(opening: Any, call: RowCall) -> tuple[RowResult, PluginError | None]:
    try:
        async with asyncio.timeout(call.timeout_s), opening as function:
            if inspect.iscoroutinefunction(function):
                return await function(call), None
            return await asyncio.to_thread(function, call), None
    except PluginError as error:
        return RowResult(None), error
    except TimeoutError:
        message = f"The agent did not answer within {call.timeout_s:g} s."
        return RowResult(None), PluginError(message, permanent=False, code="timed_out")
    except Error as error:
        return RowResult(None), PluginError(error.message, permanent=True, code=error.code)


def _check_fields(input_fields: Sequence[Mapping[str, Any]]) -> None:
    names = [item["name"] for item in input_fields]
    wrong = tuple(
        FieldError(f"input_fields.{index}.name", "comes twice")
        for index, name in enumerate(names)
        if name in names[:index]
    )
    if wrong:
        raise Invalid("Each input field has a name of its own.", errors=wrong)


def _check_output_schema(schema: dict[str, Any] | None) -> None:
    if schema is None:
        return
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - only an agent with a schema needs it

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(["output_schema", *(str(part) for part in error.path)])
        wrong = FieldError(where, f"is not as JSON Schema has it: {error.message}"[:300])
        raise Invalid(f"`{wrong.field}` {wrong.message}", errors=(wrong,)) from None
    except RecursionError:
        wrong = FieldError("output_schema", "is nested too deeply")
        raise Invalid(f"`output_schema` {wrong.message}.", errors=(wrong,)) from None


def _check_cron(expression: str | None) -> None:
    if expression is None:
        return
    try:
        Cron.of(expression)
    except BadCron as error:
        wrong = FieldError("schedule_cron", str(error))
        raise Invalid(f"`schedule_cron` {error}.", errors=(wrong,)) from None
