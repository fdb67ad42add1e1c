"""Nouns and pure rules of agents."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from gristmill.base.errors import FieldError, NotFound
from gristmill.base.money import usd

CONCURRENCY_MAX = 10_000
TIMEOUT_S_MAX = 3600.0
ATTEMPTS_MAX = 20
INPUT_FIELDS_MAX = 200
BACKOFF_S_MAX = 3600.0
RETRY_AFTER_S_MAX = 3600.0

FieldType = Literal["string", "integer", "number", "boolean", "any"]


class AgentNotFound(NotFound):
    """There is no such agent."""


@dataclass(frozen=True, slots=True)
class InputField:
    """One field that an agent takes from a row."""

    name: str
    type: FieldType = "string"
    """What the value must look like; the agent still gets it as it is in the row."""
    required: bool = False
    """A row without it fails before it runs and costs nothing."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Calls that an agent may start, over all its batches and workers."""

    rpm: int | None = None
    """Calls per minute."""
    tpm: int | None = None
    """Tokens per minute; for runtimes that count tokens."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What happens after an attempt that may succeed later."""

    max_attempts: int = 4
    """Attempts of a row in all, the first one included."""
    backoff: float = 1.0
    """Seconds before the second attempt; doubled for each further one, with jitter, up to an hour."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What runs on a row."""

    id: int
    name: str
    runtime: str
    """How it runs a row: `http`, `python`, or another installed runtime."""
    config: dict[str, Any]
    """The runtime's own settings."""
    input_fields: list[InputField]
    output_schema: dict[str, Any] | None
    """JSON schema of a result, for the docs and the export; null when results vary."""
    concurrency: int
    """Most rows in flight at a time, over all batches and workers."""
    rate_limit: RateLimit
    timeout_s: float
    """Time limit of one attempt."""
    retry: Retry
    price_usd: str
    """What one row may cost at most; it is held before the row runs."""
    price_micro_usd: int
    bill_on_match: bool
    """True: a row with an empty result costs nothing."""
    daily_budget_usd: str | None
    """Most that the agent may spend on one UTC day; null for no limit."""
    daily_budget_micro_usd: int | None
    rules: dict[str, Any]
    schedule_cron: str | None
    template: str | None
    """Slug of the template that it was deployed from."""
    version: int
    """Goes up whenever a change can change results."""
    created_at: datetime
    updated_at: datetime


RESULT_FIELDS = frozenset({"runtime", "config", "input_fields", "output_schema"})
"""Changes of these make a new version: results of the old one are not reused."""


def agent_from_row(row: Mapping[str, Any]) -> Agent:
    """An agent from its database row."""
    price, budget = row["price_micro_usd"], row["daily_budget_micro_usd"]
    return Agent(
        id=row["id"],
        name=row["name"],
        runtime=row["runtime"],
        config=row["config"],
        input_fields=[InputField(**item) for item in row["input_fields"]],
        output_schema=row["output_schema"],
        concurrency=row["concurrency"],
        rate_limit=RateLimit(**row["rate_limit"]),
        timeout_s=row["timeout_s"],
        retry=Retry(**row["retry"]),
        price_usd=usd(price),
        price_micro_usd=price,
        bill_on_match=row["bill_on_match"],
        daily_budget_usd=None if budget is None else usd(budget),
        daily_budget_micro_usd=budget,
        rules=row["rules"],
        schedule_cron=row["schedule_cron"],
        template=row["template"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def snapshot(agent: Agent) -> dict[str, Any]:
    """The parts of an agent that a batch keeps, as JSON, so that a later edit does not change a run under way."""
    return {
        "id": agent.id,
        "name": agent.name,
        "runtime": agent.runtime,
        "config": agent.config,
        "input_fields": [{f.name: getattr(item, f.name) for f in fields(item)} for item in agent.input_fields],
        "timeout_s": agent.timeout_s,
        "retry": {"max_attempts": agent.retry.max_attempts, "backoff": agent.retry.backoff},
        "bill_on_match": agent.bill_on_match,
        "version": agent.version,
    }


def input_of(row: Mapping[str, Any], mapping: Mapping[str, str], input_fields: Sequence[InputField]) -> dict[str, Any]:
    """What the agent gets of a user's row.

    With a mapping: its fields, each from its column. Without one: the agent's input fields by name where it has some,
    otherwise the row as it is.
    """
    if mapping:
        return {name: row.get(column) for name, column in mapping.items()}
    if input_fields:
        return {item.name: row[item.name] for item in input_fields if item.name in row}
    return dict(row)


def check_input(value: Mapping[str, Any], input_fields: Sequence[InputField]) -> list[FieldError]:
    """What is wrong with a row's input; an empty list when it may run."""
    wrong: list[FieldError] = []
    for item in input_fields:
        found = value.get(item.name)
        missing = found is None or (isinstance(found, str) and not found.strip())
        if missing:
            if item.required:
                wrong.append(FieldError(item.name, "is required"))
        elif not _fits(found, item.type):
            wrong.append(FieldError(item.name, f"must be {_ARTICLES[item.type]}, not {str(found)[:60]!r}"))
    return wrong


_ARTICLES: dict[FieldType, str] = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "any": "a value",
}
_TRUTH_WORDS = frozenset({"true", "false", "yes", "no", "1", "0", "t", "f", "y", "n"})


def _fits(value: Any, kind: FieldType) -> bool:
    """Whether a value, which is text when it came from a file, can be read as the type."""
    if kind == "any":
        return True
    if kind == "string":
        return isinstance(value, str | int | float | bool)
    if kind == "boolean":
        return isinstance(value, bool) or str(value).strip().lower() in _TRUTH_WORDS
    if isinstance(value, bool):
        return False
    try:
        number = float(str(value).strip())
    except ValueError:
        return False
    return number == number and (kind == "number" or number.is_integer())  # noqa: PLR0124 - NaN is not itself


def backoff_s(retry: Retry, attempt: int, retry_after_s: float | None) -> float:
    """Seconds to wait after attempt number `attempt`: exponential with half jitter, never before Retry-After."""
    base = min(retry.backoff * 2.0 ** (attempt - 1), BACKOFF_S_MAX)
    jittered = base * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
    return max(jittered, min(retry_after_s or 0.0, RETRY_AFTER_S_MAX))


@dataclass(frozen=True, slots=True)
class Template:
    """A blueprint that agents are deployed from."""

    slug: str
    title: str
    description: str
    """What it does, in one or two sentences."""
    runtime: str
    config: dict[str, Any]
    input_fields: list[InputField]
    output_schema: dict[str, Any] | None = None
    needs: str = ""
    """What the user must fill in before it can run; empty when it runs at once."""
    concurrency: int = 8
    retry: Retry = field(default_factory=Retry)
    timeout_s: float = 60.0
