"""The `dataset` provider: search the agent's own datasets for the lead, with no network at all.

The search brings up candidates; which of them is the lead is told by comparing names, addresses and phones, in
competition with its rivals. Records that agree in all of these are one candidate: the rows of several people at one
company are all about that company.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill import datasets
from gristmill.agents import RuntimeContext
from gristmill.base.db import Database
from gristmill.base.errors import Error, PluginError
from gristmill.enrich.likeness import likeness
from gristmill.enrich.model import Lead
from gristmill.enrich.normalise import company_key, phones, street_key, zip_key
from gristmill.enrich.providers import Finding, Found, Query
from gristmill.enrich.record_map import RecordMap, record_map

SAMPLE_ROWS = 200
"""Records that a dataset's columns are understood from."""
CANDIDATES = 30
"""Records that a search brings up."""


class Config(BaseModel):
    """Settings of the agent's own datasets as a provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_ids: list[int] | None = Field(None, max_length=50, description="All of the agent's unless given.")
    mode: Literal["keyword", "hybrid"] = Field(
        "keyword", description="How candidates are found: by words, or by words and meaning, which takes a model."
    )
    min_confidence: float = Field(0.5, ge=0, le=1, description="Records that are less likely the lead are left out.")
    trust: float = Field(0.95, gt=0, le=1, description="How often the datasets' facts are right.")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Records that speak of one company."""

    identity: dict[str, str]
    hits: list[datasets.Hit] = field(default_factory=list[Any])


class DatasetProvider:
    """Look into what the agent knows itself."""

    kind: ClassVar[str] = "dataset"
    title: ClassVar[str] = "The agent's own datasets"
    Config: ClassVar[type[BaseModel]] = Config
    reads_documents: ClassVar[bool] = False

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Nothing to refuse: datasets may come later."""

    def pace_key(self, config: Config) -> str:
        """Nobody outside is asked."""
        del config
        return ""

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[_DatasetAsker]:
        """Each dataset's columns are understood when the first of its records comes up."""
        yield _DatasetAsker(config, context)


class _DatasetAsker:
    def __init__(self, config: Config, context: RuntimeContext) -> None:
        self._config = config
        self._context = context
        self._maps: dict[int, RecordMap] = {}

    def wants(self, query: Query) -> bool:
        """Only where the agent is saved and there is a database."""
        return self._context.database is not None and self._context.agent_id is not None and bool(words_of(query))

    def key(self, query: Query) -> Any:
        """What datasets say is not remembered: it is here, and may change."""
        del query

    async def ask(self, query: Query) -> Finding:
        context, config = self._context, self._config
        database, agent_id = context.database, context.agent_id
        assert database is not None  # noqa: S101 - `wants` has seen it
        assert agent_id is not None  # noqa: S101 - the same
        question = datasets.Question(
            words_of(query), top_k=CANDIDATES, mode=config.mode, dataset_ids=config.dataset_ids
        )
        try:
            result = await datasets.ask(database, context.settings, context.organization_id, agent_id, question)
        except Error as error:
            raise PluginError(error.message, permanent=True, code=error.code) from error
        for dataset_id in {hit.dataset_id for hit in result.hits} - self._maps.keys():
            self._maps[dataset_id] = await asyncio.to_thread(self._understand, database, dataset_id)
        return self._judge(result.hits, query)

    def _understand(self, database: Database, dataset_id: int) -> RecordMap:
        organization_id = self._context.organization_id
        with database.tx(organization_id) as tx:
            records = datasets.record_rows(tx, organization_id, dataset_id)
            rows = [row for _, row in islice(records, SAMPLE_ROWS)]
        return record_map(rows)

    def _judge(self, hits: Sequence[datasets.Hit], query: Query) -> Finding:
        """The facts of the likeliest candidate of each dataset."""
        found: list[Found] = []
        best = 0.0
        for dataset_id in dict.fromkeys(hit.dataset_id for hit in hits):
            knows = self._maps[dataset_id]
            candidates = _candidates([hit for hit in hits if hit.dataset_id == dataset_id], knows)
            chances = likeness(query.lead, [item.identity for item in candidates], query.region)
            index = max(range(len(candidates)), key=lambda place: chances[place])
            if chances[index] < self._config.min_confidence:
                continue
            best = max(best, chances[index])
            for hit in candidates[index].hits:
                source = f"dataset:{dataset_id}/record/{hit.record_key}"
                confidence = chances[index] * self._config.trust
                found += [Found(kind, value, source, confidence) for kind, value in knows.facts(hit.metadata)]
        return Finding(found, best if found else 1.0)


def _candidates(hits: Sequence[datasets.Hit], knows: RecordMap) -> list[_Candidate]:
    """Hits put together that agree in name and place."""
    groups: dict[tuple[str, ...], _Candidate] = {}
    for hit in hits:
        side = knows.identity(hit.metadata)
        place = (street_key(side.get("street", "")), zip_key(side.get("zip", "")), street_key(side.get("city", "")))
        key = (company_key(side.get("company", "")), *place)
        if key not in groups:
            groups[key] = _Candidate(side, [])
        groups[key].hits.append(hit)
        merged = groups[key].identity
        if side.get("phone") and side["phone"] not in merged.get("phone", ""):
            merged["phone"] = ", ".join(filter(None, (merged.get("phone", ""), side["phone"])))
    return list(groups.values())


def words_of(query: Query) -> str:
    """What the search is asked: name, place, and the phone as it is usually written."""
    lead: Lead = query.lead
    numbers = [number["national"] for number in phones(lead.number1, query.region)[:1]]
    return " ".join(filter(None, (lead.company, lead.street, lead.city, lead.zip, *numbers)))


PLUGIN = DatasetProvider()
