"""An agent's tab `settings`: how it runs, and a form that changes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel

from gristmill import agents
from gristmill.agents import Agent
from gristmill.agents.api import AgentPatch, agent_values
from gristmill.base.errors import Error, Invalid
from gristmill.base.http import Id, validated
from gristmill.base.money import usd
from gristmill.doors.dashboard.agent_tabs import config_of, show_tab
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit

router = APIRouter(include_in_schema=False, route_class=PageRoute)

CONFIG_CHARS_MAX = 64 * 1024
REFUSALS = frozenset({"invalid", "conflict", "egress_refused"})
"""What a person can mend in the form."""

FormText = Annotated[str, Form(max_length=1000)]
FormConfig = Annotated[str, Form(max_length=CONFIG_CHARS_MAX)]


def values(visit: Visit, agent: Agent, request: Request) -> Mapping[str, Any]:
    """What stands in the form: the agent as it is; and its rules, with their defaults and meanings."""
    del visit, request
    typed = {
        "name": agent.name,
        "price_usd": agent.price_usd.removesuffix("0000"),
        "daily_budget_usd": _blank(agent.daily_budget_micro_usd, usd),
        "concurrency": str(agent.concurrency),
        "rpm": _blank(agent.rate_limit.rpm, str),
        "timeout_s": f"{agent.timeout_s:g}",
        "max_attempts": str(agent.retry.max_attempts),
        "schedule_cron": agent.schedule_cron or "",
        "config": json.dumps(agent.config, indent=2, ensure_ascii=False),
        "rules": json.dumps(agent.rules, indent=2, ensure_ascii=False),
    }
    return {"rules": list(_rules(agent)), "typed": typed, "wrong": dict.fromkeys(typed, "")}


def _rules(agent: Agent) -> Iterator[tuple[str, Any, str]]:
    """Name, value and meaning of each rule; none where what is saved can't be read."""
    try:
        found = agents.read_rules(agent.rules)
    except Invalid:
        return
    for group in type(found).model_fields:
        rules: BaseModel = getattr(found, group)
        for name, field in type(rules).model_fields.items():
            yield f"{group}.{name}", getattr(rules, name), field.description or ""


def _blank(value: int | None, text: Callable[[int], str]) -> str:
    return "" if value is None else text(value)


@router.post("/dashboard/agents/{agent_id}/settings")
def change_settings(
    agent_id: Id,
    request: Request,
    csrf: FormText = "",
    name: FormText = "",
    price_usd: FormText = "",
    daily_budget_usd: FormText = "",
    concurrency: FormText = "",
    rpm: FormText = "",
    timeout_s: FormText = "",
    max_attempts: FormText = "",
    schedule_cron: FormText = "",
    config: FormConfig = "",
    rules: FormConfig = "",
) -> Response:
    """Change the agent; what is refused is told beside what was typed. Batches under way keep what they began with."""
    typed = {
        "name": name,
        "price_usd": price_usd,
        "daily_budget_usd": daily_budget_usd,
        "concurrency": concurrency,
        "rpm": rpm,
        "timeout_s": timeout_s,
        "max_attempts": max_attempts,
        "schedule_cron": schedule_cron,
        "config": config,
        "rules": rules,
    }
    try:
        with open_visit(request, csrf) as visit:
            agents.update(visit.tx, visit.organization_id, agent_id, _changes(typed))
    except Error as problem:
        if problem.code not in REFUSALS:
            raise
        with open_visit(request, csrf) as visit:
            return show_tab(
                visit,
                agent_id,
                "settings",
                request,
                problem=problem.message,
                http_status=problem.status,
                typed=typed,
                wrong=_wrong(problem, typed),
            )
    return RedirectResponse(f"/dashboard/agents/{agent_id}?tab=settings", status_code=303)


def _wrong(problem: Error, typed: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each field of the form; an error may be about a part of one, such as `config.url`."""
    found: dict[str, str] = dict.fromkeys(typed, "")
    for item in problem.errors:
        name = next((part for part in item.field.split(".") if part in typed), None)
        if name is not None and not found[name]:
            found[name] = item.message
    return found


def _changes(typed: Mapping[str, str]) -> dict[str, Any]:
    """The form as the API's body has it; an empty field is no limit, where there may be none. Raises `Invalid`.

    Rules stay as they are where none were typed.
    """
    plain = {name: text.strip() for name, text in typed.items()}
    body = {
        "name": plain["name"],
        "price_usd": plain["price_usd"] or "0",
        "daily_budget_usd": plain["daily_budget_usd"] or None,
        "concurrency": plain["concurrency"],
        "rate_limit": {"rpm": plain["rpm"] or None},
        "timeout_s": plain["timeout_s"],
        "retry": {"max_attempts": plain["max_attempts"]},
        "schedule_cron": plain["schedule_cron"] or None,
        "config": config_of(plain["config"]),
    }
    if plain["rules"]:
        body["rules"] = config_of(plain["rules"], "rules")
    return agent_values(validated(AgentPatch, body))
