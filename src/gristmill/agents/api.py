"""HTTP of agents and their templates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from gristmill.agents import service
from gristmill.agents.model import (
    ATTEMPTS_MAX,
    BACKOFF_S_MAX,
    CONCURRENCY_MAX,
    INPUT_FIELDS_MAX,
    TIMEOUT_S_MAX,
    Agent,
    FieldType,
    InputField,
    RateLimit,
    Retry,
    Template,
)
from gristmill.agents.runtimes import runtimes
from gristmill.base.http import Dollars, Id, PageNumber, PerPage, problem_responses, shared
from gristmill.base.money import parse_usd
from gristmill.base.paging import FullList, Page, full_list
from gristmill.base.routes import LateRoute
from gristmill.identity.api import AdminCall, AnyCall, OnceGuard, open_call

router = APIRouter(prefix="/api/v1", tags=["Agents"], route_class=LateRoute)
INT32_MAX = 2**31 - 1


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(_filled)
]


class InputFieldBody(BaseModel):
    """One field that an agent takes from a row."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=200, examples=["email"])
    type: FieldType = "string"
    required: bool = Field(default=False, description="A row without it fails before it runs and costs nothing.")
    description: Text = Field("", max_length=1000)


class RateLimitBody(BaseModel):
    """Calls that an agent may start, over all its batches and workers."""

    model_config = ConfigDict(extra="forbid")

    rpm: int | None = Field(None, ge=1, le=INT32_MAX, description="Calls per minute.")
    tpm: int | None = Field(None, ge=1, le=INT32_MAX, description="Tokens per minute, where a runtime counts them.")


class RetryBody(BaseModel):
    """What happens after an attempt that may succeed later."""

    model_config = ConfigDict(extra="forbid")

    max_attempts: int = Field(4, ge=1, le=ATTEMPTS_MAX, description="Attempts of a row in all, the first included.")
    backoff: float = Field(
        1.0, ge=0, le=BACKOFF_S_MAX, description="Seconds before the second attempt; doubled for each further one."
    )


class AgentPatch(BaseModel):
    """Changes of an agent; what is absent stays, also inside of `rate_limit` and `retry`."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    runtime: Text | None = Field(None, min_length=1, max_length=60, examples=["http"])
    config: dict[str, Any] | None = Field(None, examples=[{"url": "https://agents.example.com/run"}])
    input_fields: list[InputFieldBody] | None = Field(None, max_length=INPUT_FIELDS_MAX)
    output_schema: dict[str, Any] | None = None
    concurrency: int | None = Field(
        None, ge=1, le=CONCURRENCY_MAX, description="Most rows in flight at a time, over all batches and workers."
    )
    rate_limit: RateLimitBody | None = None
    timeout_s: float | None = Field(None, gt=0, le=TIMEOUT_S_MAX, description="Time limit of one attempt.")
    retry: RetryBody | None = None
    price_usd: Dollars | None = Field(None, description="What one row may cost at most.", examples=["0.05"])
    bill_on_match: bool | None = Field(None, description="True: a row with an empty result costs nothing.")
    daily_budget_usd: Dollars | None = Field(
        None, description="Most that may be spent on one UTC day; null for no limit."
    )
    rules: dict[str, Any] | None = None
    schedule_cron: Text | None = Field(None, max_length=100, examples=["0 6 * * 1-5"])


class AgentCreate(AgentPatch):
    """A new agent."""

    name: Name = Field(examples=["Lead scorer"])  # pyright: ignore[reportIncompatibleVariableOverride]
    runtime: Text = Field(min_length=1, max_length=60, examples=["http"])  # pyright: ignore[reportIncompatibleVariableOverride]


class RunBody(BaseModel):
    """One row to try."""

    model_config = ConfigDict(extra="forbid")

    input: dict[str, Any] = Field(examples=[{"email": "ana@example.com"}])


class DeployBody(BaseModel):
    """How to deploy a template."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = Field(None, description="The template's title unless given.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of the template's config.", examples=[{"region": "DE"}]
    )


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A way to run an agent."""

    kind: str
    title: str
    config_schema: dict[str, Any]
    """JSON schema of `config`."""


def agent_values(body: AgentPatch) -> dict[str, Any]:
    """Columns to write, from what was sent."""
    sent = body.model_dump(exclude_unset=True)
    never_null = {"name", "runtime", "config", "input_fields", "concurrency", "rate_limit", "timeout_s", "retry",
                  "bill_on_match", "rules"}  # fmt: skip
    values = {name: value for name, value in sent.items() if value is not None or name not in never_null}
    if "price_usd" in values:
        price = values.pop("price_usd")
        if price is not None:
            values["price_micro_usd"] = parse_usd(price, "price_usd")
    if "daily_budget_usd" in values:
        budget = values.pop("daily_budget_usd")
        values["daily_budget_micro_usd"] = None if budget is None else parse_usd(budget, "daily_budget_usd")
    if "input_fields" in values:
        values["input_fields"] = [asdict(InputField(**item)) for item in values["input_fields"] or []]
    if isinstance(body, AgentCreate):
        for name, usual in (("rate_limit", RateLimit()), ("retry", Retry())):
            given: Any = values.get(name)
            if given is not None:
                values[name] = {**asdict(usual), **given}
    return values


@router.get("/agents", summary="List agents", responses=problem_responses())
def list_agents(call: AnyCall, page: PageNumber = 1, per_page: PerPage = 50) -> Page[Agent]:
    """Agents in order of name."""
    return service.list_agents(call.tx, call.organization_id, only_id=call.actor.agent_id, page=page, per_page=per_page)


@router.post(
    "/agents", status_code=201, summary="Make an agent", responses=problem_responses(403, 409), response_model=Agent
)
def create_agent(body: AgentCreate, call: AdminCall, once: OnceGuard) -> Any:
    """The runtime checks `config`; what it refuses is named field by field."""
    call.actor.require_whole_organization()
    return once.run(call, 201, lambda: service.create(call.tx, call.organization_id, agent_values(body)))


@router.get("/agents/{agent_id}", summary="Show an agent", responses=problem_responses(403, 404))
def get_agent(agent_id: Id, call: AnyCall) -> Agent:
    """One agent."""
    call.actor.require_agent(agent_id)
    return service.get(call.tx, call.organization_id, agent_id)


@router.patch("/agents/{agent_id}", summary="Change an agent", responses=problem_responses(403, 404, 409))
def update_agent(agent_id: Id, body: AgentPatch, call: AdminCall) -> Agent:
    """Batches under way keep the agent as it was; concurrency, rate limit and daily budget act at once."""
    call.actor.require_agent(agent_id)
    return service.update(call.tx, call.organization_id, agent_id, agent_values(body))


@router.delete(
    "/agents/{agent_id}", status_code=204, summary="Delete an agent", responses=problem_responses(403, 404, 409)
)
def delete_agent(agent_id: Id, call: AdminCall) -> None:
    """409 while batches refer to it: their receipts must stay readable."""
    call.actor.require_agent(agent_id)
    service.delete(call.tx, call.organization_id, agent_id)


@router.post("/agents/{agent_id}/run", summary="Try one row", responses=problem_responses(403, 404))
async def run_agent(agent_id: Id, body: RunBody, request: Request) -> service.Trial:
    """Run one row at once, one attempt, nothing stored, not billed. The call waits for the agent, up to its timeout."""
    import asyncio  # noqa: PLC0415 - only this route needs it

    def load() -> tuple[Agent, int]:
        with open_call(request) as call:
            call.actor.require_agent(agent_id)
            return service.get(call.tx, call.organization_id, agent_id), call.organization_id

    agent, organization_id = await asyncio.to_thread(load)
    return await service.try_row(agent, organization_id, body.input, database=shared(request).database)


@router.get("/agent_templates", summary="List templates", responses=problem_responses())
def list_templates(call: AnyCall) -> FullList[Template]:
    """Blueprints that agents are deployed from."""
    del call
    return full_list(service.templates())


@router.post(
    "/agent_templates/{slug}/deploy",
    status_code=201,
    summary="Deploy a template",
    responses=problem_responses(403, 404, 409),
    response_model=Agent,
)
def deploy_template(slug: str, call: AdminCall, once: OnceGuard, body: DeployBody | None = None) -> Any:
    """An agent from a template."""
    body = body or DeployBody.model_validate({})
    call.actor.require_whole_organization()
    return once.run(
        call, 201, lambda: service.deploy(call.tx, call.organization_id, slug, name=body.name, config=body.config)
    )


@router.get("/agent_runtimes", summary="List runtimes", responses=problem_responses())
def list_runtimes(call: AnyCall) -> FullList[RuntimeInfo]:
    """Ways to run an agent, with the JSON schema of their config."""
    del call
    return full_list(
        [
            RuntimeInfo(kind, runtime.title, runtime.Config.model_json_schema())
            for kind, runtime in runtimes.all().items()
        ]
    )
