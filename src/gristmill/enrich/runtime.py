"""The `lead` runtime: each row is a lead, and a hunt over the agent's providers enriches it.

The agents' registry finds it by the entry point `lead` of the group `gristmill.runtimes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gristmill.agents import RowCall, RowFunction, RowResult, RuntimeContext
from gristmill.base import jsons
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.money import parse_usd, usd
from gristmill.enrich.desk import Desk, open_desk
from gristmill.enrich.hunt import Hunt, Rules, Stage
from gristmill.enrich.model import Coverage, lead_of
from gristmill.enrich.providers import providers

PASSES_MAX = 20
DAY_S = 86_400
FINGERPRINT_HEX = 32
PACE_KEY_CHARS_MAX = 200
COUNT_MAX = 25


class PassConfig(BaseModel):
    """One provider of the waterfall."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = Field(min_length=1, max_length=60, description="Its kind.", examples=["dataset"])
    name: str = Field(
        "", max_length=100, pattern=r"^[^\x00]*$", description="What facts and receipts call it; its kind unless given."
    )
    config: dict[str, Any] = Field(default_factory=dict)
    price_usd: str | float | int = Field("0", description="What one call adds to the cost of a matched row.")
    cached_price_usd: str | float | int = Field("0", description="What a remembered answer adds to it.")
    timeout_s: float = Field(20.0, gt=0, le=600)
    remember_days: float = Field(
        30.0, ge=0, le=3650, description="How long its answers are used again, for the same question; 0 asks each time."
    )


class CoverageConfig(BaseModel):
    """How many facts of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contacts: int = Field(0, ge=0, le=COUNT_MAX)
    phones: int = Field(0, ge=0, le=COUNT_MAX)
    emails: int = Field(0, ge=0, le=COUNT_MAX)
    entities: int = Field(0, ge=0, le=COUNT_MAX)

    def coverage(self) -> Coverage:
        """The rule as the hunt has it."""
        return Coverage(self.contacts, self.phones, self.emails, self.entities)


class Config(BaseModel):
    """Settings of a lead enricher."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str = Field("US", pattern=r"^[A-Z]{2}$", description="Country of phones without a country code, ISO 3166.")
    passes: list[PassConfig] = Field(
        default_factory=lambda: [PassConfig.model_validate({"provider": "dataset"})],
        min_length=1,
        max_length=PASSES_MAX,
        description="Whom to ask. Cheaper ones are asked first; of equal price, in this order.",
    )
    coverage: CoverageConfig = Field(
        default_factory=lambda: CoverageConfig.model_validate({"contacts": 1, "phones": 1, "emails": 1}),
        description="A hunt stops when it has this much.",
    )
    core: CoverageConfig = Field(
        default_factory=lambda: CoverageConfig.model_validate({"phones": 1}),
        description="With less, the result is thin and the row's search variants are tried.",
    )
    supplement_calls_max: int = Field(4, ge=0, le=50, description="Most calls with search variants.")
    match_usd: str | float | int = Field("0", description="What a match costs beside its calls.")


class LeadRuntime:
    """Enrich each lead by a waterfall of providers."""

    kind: ClassVar[str] = "lead"
    title: ClassVar[str] = "The lead enricher"
    Config: ClassVar[type[BaseModel]] = Config

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Refuse providers' configs that can't work, and prices that the row could never pay."""
        fee = parse_usd(config.match_usd, "config.match_usd")
        if fee > context.price_micro_usd:
            raise _too_dear("config.match_usd", fee, context.price_micro_usd)
        names: set[str] = set()
        for index, item in enumerate(config.passes):
            place = f"config.passes.{index}"
            price = parse_usd(item.price_usd, f"{place}.price_usd")
            cached = parse_usd(item.cached_price_usd, f"{place}.cached_price_usd")
            if fee + max(price, cached) > context.price_micro_usd:
                raise _too_dear(f"{place}.price_usd", fee + max(price, cached), context.price_micro_usd)
            name = item.name or item.provider
            if name in names:
                message = "each pass needs a name of its own"
                raise Invalid(f"`{place}.name`: {message}.", errors=(FieldError(f"{place}.name", message),))
            names.add(name)
            providers.get(item.provider).check(_parsed(item, place), context)

    def provider_key(self, config: Config) -> str:
        """The servers that are asked: a 429 of any of them slows the rows that ask the same ones."""
        keys = {providers.get(item.provider).pace_key(_parsed(item, "config.passes")) for item in config.passes}
        text = "lead:" + ",".join(sorted(key for key in keys if key))
        if len(text) <= PACE_KEY_CHARS_MAX:
            return text
        return f"lead:{hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_HEX]}"

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[RowFunction]:
        """Providers made ready, and one desk for all hunts of the run."""
        async with AsyncExitStack() as stack:
            stages = [await _open_stage(stack, item, context) for item in config.passes]
            stages.sort(key=lambda stage: (stage.reads_documents, stage.price_micro_usd))
            desk = await stack.enter_async_context(open_desk(context.database, context.organization_id))
            rules = Rules(
                region=config.region,
                coverage=config.coverage.coverage(),
                core=config.core.coverage(),
                supplement_calls_max=config.supplement_calls_max,
                match_micro_usd=parse_usd(config.match_usd, "config.match_usd"),
                ceiling_micro_usd=context.price_micro_usd,
            )

            async def run(call: RowCall) -> RowResult:
                return await _run(call, stages, rules, desk)

            yield run


async def _run(call: RowCall, stages: list[Stage], rules: Rules, desk: Desk) -> RowResult:
    try:
        return await Hunt(lead_of(call.input), call, stages, rules, desk).run()
    finally:
        desk.forget_steps(call.row_id)


async def _open_stage(stack: AsyncExitStack, item: PassConfig, context: RuntimeContext) -> Stage:
    provider = providers.get(item.provider)
    config = _parsed(item, "config.passes")
    asker = await stack.enter_async_context(provider.open(config, context))
    facts = {"provider": item.provider, "config": item.config}
    return Stage(
        name=item.name or item.provider,
        asker=asker,
        reads_documents=provider.reads_documents,
        price_micro_usd=parse_usd(item.price_usd, "price_usd"),
        cached_price_micro_usd=parse_usd(item.cached_price_usd, "cached_price_usd"),
        timeout_s=item.timeout_s,
        remember_s=int(item.remember_days * DAY_S),
        fingerprint=hashlib.sha256(jsons.dumps_sorted(facts)).hexdigest()[:FINGERPRINT_HEX],
    )


def _parsed(item: PassConfig, place: str) -> BaseModel:
    try:
        return providers.get(item.provider).Config.model_validate(item.config)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join([place, "config", *(str(part) for part in found["loc"])]), found["msg"])
            for found in error.errors(include_url=False)
        )
        raise Invalid("; ".join(f"`{one.field}`: {one.message}" for one in wrong), errors=wrong) from error


def _too_dear(field: str, amount: int, price: int) -> Invalid:
    message = f"{usd(amount)} USD is more than a row may cost; the agent's `price_usd` is {usd(price)}"
    return Invalid(f"`{field}`: {message}.", errors=(FieldError(field, message),))


PLUGIN = LeadRuntime()
