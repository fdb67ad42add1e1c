"""The hunt for one lead: a waterfall of passes over providers, the cheap ones first.

Read `Hunt.run` aloud: ask each provider about the lead until enough is known or the row's money is spent; when the core
is still thin, ask again with the search variants; answer a match only when something new was found.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from uuid import UUID

from gristmill.agents import RowCall, RowResult
from gristmill.base import jsons
from gristmill.base.errors import PluginError
from gristmill.enrich.graph import Graph
from gristmill.enrich.model import Coverage, Fact, Lead, ProviderCall, cost_of
from gristmill.enrich.normalise import address, email, person, phones
from gristmill.enrich.providers import Asker, Document, Finding, Found, Query
from gristmill.enrich.variants import variant_leads

DIGEST_BYTES = 16
PROVIDER_CODE = "provider_failed"
TEXT_CHARS_MAX = 200
"""Of one field of a fact."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One provider's place in the waterfall."""

    name: str
    asker: Asker
    reads_documents: bool
    price_micro_usd: int
    cached_price_micro_usd: int
    timeout_s: float
    remember_s: int
    """How long its answers are good; 0 asks every time."""
    fingerprint: str
    """Of its config: answers of another config are other answers."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a hunt has enough, and what it may cost."""

    region: str
    coverage: Coverage
    """Stop when there is this much."""
    core: Coverage
    """With less the result is thin, and the search variants are tried."""
    supplement_calls_max: int
    match_micro_usd: int
    """What a match costs beside its calls."""
    ceiling_micro_usd: int
    """What the row may cost at most; calls that would go over it are not made."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer that a provider gave before."""

    finding: Finding
    fetched_at: str
    row_id: UUID | None
    """The row that paid for it."""


class Memory(Protocol):
    """What is remembered of earlier calls; `desk.py` keeps it in the database."""

    async def recall(self, digest: bytes) -> Remembered | None:
        """The answer that is still good."""
        ...

    async def ask_once(self, digest: bytes | None, asker: Asker, query: Query) -> tuple[Finding, str, bool]:
        """Ask, or wait for who asks the same just now: (finding, time, whether it was this call that asked).

        Without a digest nobody else's answer will do. Raises `PluginError`, also for a provider that overruns its time.
        """
        ...

    def keep(self, digest: bytes, stage: Stage, finding: Finding, fetched_at: str, row_id: UUID) -> None:
        """Remember an answer."""
        ...

    def tell(self, row_id: UUID, step: Mapping[str, Any]) -> None:
        """Show a step to whoever watches the row just now."""
        ...


@dataclass(slots=True)
class Hunt:
    """One attempt at one lead."""

    lead: Lead
    call: RowCall
    stages: Sequence[Stage]
    rules: Rules
    memory: Memory
    graph: Graph = field(init=False)
    calls: list[ProviderCall] = field(default_factory=list[ProviderCall])
    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    documents: list[Document] = field(default_factory=list[Document])
    troubles: list[PluginError] = field(default_factory=list[PluginError])
    asked: set[bytes] = field(default_factory=set[bytes])
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.graph = Graph(self.lead, self.rules.region)

    async def run(self) -> RowResult:
        """Hunt. Raises `PluginError` when a provider failed whose answer might have made the difference."""
        if not self.lead.can_be_hunted():
            message = "The lead has neither a company nor a street with a town or postal code."
            raise PluginError(message, permanent=True, code="lead_too_thin")
        self._step("pass", name="primary")
        for stage in self.stages:
            if not self._lacking(self.rules.coverage):
                break
            await self._ask(stage, self.lead, "")
        if self._lacking(self.rules.core) and self.lead.search_variants:
            await self._supplement()
        return self._outcome()

    async def _supplement(self) -> None:
        """Ask again with what else may find the lead, one variant after the other."""
        self._step("pass", name="supplement", lacking=self._lacking(self.rules.core))
        calls = 0
        for column, lead in variant_leads(self.lead, self.rules.region):
            for stage in self.stages:
                if calls >= self.rules.supplement_calls_max or not self._lacking(self.rules.core):
                    return
                calls += await self._ask(stage, lead, column)

    async def _ask(self, stage: Stage, lead: Lead, variant: str) -> bool:
        """Ask one provider, or remember what it said; answers whether that was anything new to ask."""
        left_s = self.call.timeout_s - (time.monotonic() - self.started)
        query = Query(
            lead, self.rules.region, self.call.row_id, min(stage.timeout_s, max(left_s, 0.1)), tuple(self.documents)
        )
        if not stage.asker.wants(query):
            return False
        key = stage.asker.key(query)
        remember = key is not None and stage.remember_s > 0
        digest = _digest(stage.fingerprint, [str(self.call.row_id), variant] if key is None else key)
        if digest in self.asked:
            return False
        self.asked.add(digest)
        began = time.monotonic()
        remembered = await self.memory.recall(digest) if remember else None
        if remembered is not None:
            own = remembered.row_id == self.call.row_id  # an attempt of this very row paid the vendor
            price = stage.price_micro_usd if own else stage.cached_price_micro_usd
            self._take(stage, variant, remembered.finding, remembered.fetched_at, price, began, cached=True)
        elif stage.price_micro_usd > self._money_left():
            self._note(stage, variant, "refused", 0, 0, began, "The row's budget does not cover it.")
        else:
            await self._call(stage, variant, query, digest, began, remember=remember)
        return True

    async def _call(
        self, stage: Stage, variant: str, query: Query, digest: bytes, began: float, *, remember: bool
    ) -> None:
        self._step("call", provider=stage.name, variant=variant)
        try:
            finding, fetched_at, first = await self.memory.ask_once(digest if remember else None, stage.asker, query)
        except PluginError as error:
            self.troubles.append(error)
            self._note(stage, variant, "failed", 0, 0, began, error.message)
            return
        if remember and first:
            self.memory.keep(digest, stage, finding, fetched_at, self.call.row_id)
        price = stage.price_micro_usd if first else stage.cached_price_micro_usd
        self._take(stage, variant, finding, fetched_at, price, began, cached=not first)

    def _take(
        self, stage: Stage, variant: str, finding: Finding, fetched_at: str, price: int, began: float, *, cached: bool
    ) -> None:
        """Put what a provider says in its one form, and merge it in."""
        self.documents += finding.documents
        facts = [
            fact
            for item in finding.found
            for fact in facts_of(item, self.rules.region, stage.name, finding.confidence, fetched_at)
        ]
        if facts:
            self.graph.anchor(stage.name, finding.confidence)
        new = self.graph.add(facts)
        outcome = "cached" if cached else "answered"
        self._note(stage, variant, outcome, price, new, began, "", [_shown(fact) for fact in facts])

    def _note(
        self,
        stage: Stage,
        variant: str,
        outcome: Literal["answered", "cached", "failed", "refused"],
        price: int,
        facts: int,
        began: float,
        detail: str,
        shown: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        elapsed_ms = int((time.monotonic() - began) * 1000)
        call = ProviderCall(stage.name, variant, outcome, price, facts, elapsed_ms, detail[:TEXT_CHARS_MAX])
        self.calls.append(call)
        self._step(
            outcome, provider=stage.name, variant=variant, ms=elapsed_ms, facts=facts, found=shown, detail=call.detail
        )

    def _lacking(self, wanted: Coverage) -> list[str]:
        return wanted.lacking(self.graph.counts())

    def _money_left(self) -> int:
        spent = sum(call.price_micro_usd for call in self.calls)
        return self.rules.ceiling_micro_usd - self.rules.match_micro_usd - spent

    def _outcome(self) -> RowResult:
        """A match, or nothing; a trouble where trying again may find more, or where nothing may be a lie."""
        worth_another = [error for error in self.troubles if not error.permanent]
        if worth_another and not self.call.last and self._lacking(self.rules.coverage):
            raise self._failed(worth_another)
        if self.troubles and not self.graph.matched:
            raise self._failed(worth_another or self.troubles)
        cost = cost_of(self.calls, self.rules.match_micro_usd, self.rules.ceiling_micro_usd)
        self._step("done", matched=self.graph.matched, confidence=self.graph.confidence)
        return RowResult(self.graph.result() if self.graph.matched else None, cost, trace_of(self))

    def _failed(self, errors: Sequence[PluginError]) -> PluginError:
        """One failure for a row whose providers failed: the first one's words, the longest wait."""
        first = errors[0]
        waits = [error.retry_after_s for error in errors if error.retry_after_s is not None]
        self._step("done", matched=False, failed=first.code)
        return PluginError(
            first.message,
            permanent=all(error.permanent for error in errors),
            code=first.code,
            retry_after_s=max(waits, default=None),
            throttled=any(error.throttled for error in errors),
            trace=trace_of(self),
        )

    def _step(self, what: str, **facts: Any) -> None:
        """One line of the trace: kept for later, and shown to whoever watches."""
        named = {name: value for name, value in facts.items() if value not in ("", None, (), [])}
        step = {"t_ms": int((time.monotonic() - self.started) * 1000), "step": what, **named}
        self.steps.append(step)
        self.memory.tell(self.call.row_id, step)


def facts_of(item: Found, region: str, provider: str, confidence: float, fetched_at: str) -> list[Fact]:
    """A found thing in its one form: none when it is no such thing, several when a text holds several phones."""
    sure = confidence if item.confidence is None else min(item.confidence, confidence)
    raw = {name: text[:TEXT_CHARS_MAX] for name, text in item.value.items() if text}
    return [Fact(item.kind, value, item.source, provider, sure, fetched_at) for value in _values(item, raw, region)]


def _values(item: Found, raw: dict[str, str], region: str) -> list[dict[str, str]]:
    if item.kind == "phone":
        more = {name: text for name, text in raw.items() if name not in {"number", "type"}}
        return [{**more, **number} for number in phones(raw.get("number", ""), region)]
    if item.kind == "email":
        more = {name: text for name, text in raw.items() if name not in {"address", "type"}}
        found = email(raw.get("address", ""))
        return [{**found, **more}] if found else []
    if item.kind == "contact":
        names = (raw.get("first_name", ""), raw.get("last_name", ""))
        found = person(raw.get("display_name", "") or " ".join(filter(None, names)))
        more = {name: text for name, text in raw.items() if name not in {"display_name", "first_name", "last_name"}}
        return [{**found, **more}] if found else []
    if item.kind == "address":
        found = address(raw, region)
        return [found] if found else []
    return [raw] if raw.get("legal_name") else []


def trace_of(hunt: Hunt) -> dict[str, Any]:
    """What is kept of a hunt beside its result: its steps, and its calls for the receipt."""
    calls = [{name: getattr(call, name) for name in call.__dataclass_fields__} for call in hunt.calls]
    return fitted({"steps": hunt.steps, "calls": calls, "match_micro_usd": hunt.rules.match_micro_usd})


def fitted(trace: dict[str, Any], bytes_max: int = 15_000) -> dict[str, Any]:
    """A trace cut to what is kept of one row: what was found goes first, then the steps; the calls stay."""
    if len(jsons.dumps(trace)) > bytes_max:
        steps = [{name: value for name, value in step.items() if name != "found"} for step in trace["steps"]]
        trace = {**trace, "steps": steps, "cut": True}
    while len(trace["steps"]) > 1 and len(jsons.dumps(trace)) > bytes_max:
        trace = {**trace, "steps": trace["steps"][: len(trace["steps"]) // 2]}
    return trace


def _shown(fact: Fact) -> dict[str, Any]:
    return {"kind": fact.kind, **fact.value, "confidence": round(fact.confidence, 4)}


def _digest(fingerprint: str, key: Any) -> bytes:
    return hashlib.blake2b(jsons.dumps_sorted([fingerprint, key]), digest_size=DIGEST_BYTES).digest()
