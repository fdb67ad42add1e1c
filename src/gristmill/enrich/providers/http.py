"""The `http` provider: any vendor's REST API, described by a request template and a map of its answers.

How to describe one, with a worked example: docs/howto/provider.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill.agents import RuntimeContext
from gristmill.base import jsons
from gristmill.base.fetch import Egress, check_headers
from gristmill.enrich.likeness import likeness
from gristmill.enrich.model import FactKind, Lead
from gristmill.enrich.providers import Finding, Found, Query
from gristmill.enrich.templates import check_template, each, fill, fill_url, fills_a_hole, text_at
from gristmill.enrich.vendor import Auth, Vendor, json_of, open_vendor, origin_of

RECORDS_MAX = 50
"""Most records of one answer that are looked at."""
FACTS_PER_RECORD_MAX = 200

LeadField = Literal["company", "street", "city", "state", "zip", "number1", "number2", "dm_name"]


class FactMap(BaseModel):
    """Where one kind of fact is in a record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FactKind
    each: str = Field("", max_length=300, description="Path of an array inside the record, one fact for each element.")
    fields: dict[str, str] = Field(
        min_length=1,
        max_length=30,
        description="Field of the fact -> path inside the element. `display_name` and `title` of a contact, `number` "
        "of a phone, `address` of an e-mail, `legal_name` of an entity, `street`, `city`, `state`, `zip` or `full` of "
        "an address.",
        examples=[{"display_name": "name", "title": "role"}],
    )
    confidence: str = Field("", max_length=300, description="Path of the vendor's own confidence, 0 to 1 or to 100.")


class Identity(BaseModel):
    """Where a record says whom it speaks of; compared with the lead to tell how sure it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    company: str = Field("", max_length=300)
    street: str = Field("", max_length=300)
    city: str = Field("", max_length=300)
    zip: str = Field("", max_length=300)
    phone: str = Field("", max_length=300)


class Config(BaseModel):
    """Settings of a vendor's API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        min_length=1,
        max_length=2048,
        description="May have holes such as `{company}`.",
        examples=["https://api.example.com/v1/companies"],
    )
    method: Literal["GET", "POST"] = "GET"
    query: dict[str, str] = Field(default_factory=dict, max_length=50, examples=[{"name": "{company}"}])
    headers: dict[str, str] = Field(default_factory=dict, max_length=50, description="Not for secrets: use `auth`.")
    body: dict[str, Any] | None = Field(None, description="Template of a JSON body.")
    auth: Auth | None = None
    needs: list[LeadField] = Field(
        default_factory=list, description="Fields without which the vendor is not asked, since it could not answer."
    )
    nothing_found: list[int] = Field(
        default_factory=lambda: [404], max_length=10, description="Statuses that mean that the vendor knows nothing."
    )
    records: str = Field("", max_length=300, description="Path of the record or records in the answer.")
    identity: Identity | None = Field(
        None, description="Without it the vendor is trusted to speak of the lead that was asked for."
    )
    min_confidence: float = Field(0.5, ge=0, le=1, description="Records that are less likely the lead are dropped.")
    trust: float = Field(0.9, gt=0, le=1, description="How often the vendor's facts are right of whom they speak of.")
    source: str = Field("", max_length=300, description="Path of the record's own address, told as the facts' source.")
    facts: list[FactMap] = Field(min_length=1, max_length=50)


class HttpProvider:
    """Ask a vendor's REST API."""

    kind: ClassVar[str] = "http"
    title: ClassVar[str] = "A vendor's REST API"
    Config: ClassVar[type[BaseModel]] = Config
    reads_documents: ClassVar[bool] = False

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Refuse addresses that the egress guard would refuse, and holes that no field fills."""
        for name in ("url", "query", "headers", "body"):
            check_template(getattr(config, name), f"config.{name}")
        check_headers(config.headers, "config.headers")
        Egress.of(context.settings.egress_allow).check_url(fill_url(config.url, Lead()))

    def pace_key(self, config: Config) -> str:
        """The vendor's server."""
        return origin_of(config.url)

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[_HttpAsker]:
        """A connection pool."""
        async with open_vendor(context, config.auth) as vendor:
            yield _HttpAsker(config, vendor)


class _HttpAsker:
    def __init__(self, config: Config, vendor: Vendor) -> None:
        self._config = config
        self._vendor = vendor

    def wants(self, query: Query) -> bool:
        """Only with what the vendor needs, and never with an empty request."""
        config, lead = self._config, query.lead
        if any(not getattr(lead, name) for name in config.needs):
            return False
        return fills_a_hole([config.url, config.query, config.body], lead)

    def key(self, query: Query) -> Any:
        """The request without the key."""
        config, lead = self._config, query.lead
        return {
            "method": config.method,
            "url": fill_url(config.url, lead),
            "query": fill(config.query, lead),
            "headers": fill(config.headers, lead),
            "body": fill(config.body, lead),
            # The answer is kept as it was understood, and who the lead is decides how.
            "lead": {name: getattr(lead, name) for name in ("company", "street", "city", "zip", "number1", "number2")},
            "map": config.model_dump(mode="json", include={"records", "identity", "facts", "trust", "min_confidence"}),
        }

    async def ask(self, query: Query) -> Finding:
        config, lead = self._config, query.lead
        body = fill(config.body, lead)
        headers = {name: _one_line(text) for name, text in fill(config.headers, lead).items()}
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        if config.method == "POST":
            headers = {"Idempotency-Key": str(query.row_id), **headers}
        answer = await self._vendor.call(
            config.method,
            fill_url(config.url, lead),
            query=fill(config.query, lead),
            headers=headers,
            body=None if body is None else jsons.dumps(body),
            timeout_s=query.timeout_s,
            fine=frozenset(config.nothing_found),
        )
        if answer.status in config.nothing_found:
            return Finding()
        return read_records(each(json_of(answer), config.records)[:RECORDS_MAX], config, query)


def read_records(records: list[Any], config: Config, query: Query) -> Finding:
    """The facts of the record that is most likely the lead; of all records where nothing tells them apart."""
    if not records:
        return Finding()
    if config.identity is None:
        found = [item for record in records for item in _facts(record, config, config.trust)]
        return Finding(found, config.trust)
    paths = config.identity.model_dump()
    sides = [{name: text_at(record, path) for name, path in paths.items() if path} for record in records]
    chances = likeness(query.lead, sides, query.region)
    best = max(range(len(records)), key=lambda index: chances[index])
    if chances[best] < config.min_confidence:
        return Finding()
    return Finding(_facts(records[best], config, chances[best] * config.trust), chances[best])


def _facts(record: Any, config: Config, confidence: float) -> list[Found]:
    source = text_at(record, config.source) if config.source else ""
    found: list[Found] = []
    for item in config.facts:
        for element in each(record, item.each)[:FACTS_PER_RECORD_MAX]:
            value = {name: text for name, path in item.fields.items() if (text := text_at(element, path))}
            if value:
                own = _vendor_confidence(text_at(element, item.confidence)) if item.confidence else 1.0
                found.append(Found(item.kind, value, source or origin_of(config.url), confidence * own))
    return found


def _vendor_confidence(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return min(max(value / 100 if value > 1 else value, 0.0), 1.0)


def _one_line(text: str) -> str:
    """A header's value can't hold line breaks, whatever a cell holds."""
    return "".join(char for char in text if char.isprintable())


PLUGIN = HttpProvider()
