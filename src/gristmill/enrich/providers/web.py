"""The `web` provider: ask a search API, read the pages that look right, and take what they say of the lead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill.agents import RuntimeContext
from gristmill.base import jsons
from gristmill.base.errors import PluginError
from gristmill.base.fetch import Answer, Egress
from gristmill.enrich.model import Lead
from gristmill.enrich.pages import facts_of_page, mentions, read_page
from gristmill.enrich.providers import Document, Finding, Found, Query
from gristmill.enrich.templates import check_template, each, fill, fill_url, fills_a_hole, text_at
from gristmill.enrich.vendor import Auth, Vendor, json_of, open_vendor, origin_of

RESULTS_MAX = 20
PAGES_MAX = 10
REDIRECTS_MAX = 3
PAGE_TIMEOUT_S = 10.0
PAGE_HEADERS = {"Accept": "text/html,application/xhtml+xml;q=0.9", "Accept-Language": "en;q=0.8,*;q=0.5"}


class Search(BaseModel):
    """A search engine's API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        min_length=1,
        max_length=2048,
        examples=["https://search.example.com/v1/web"],
        description="May have holes such as `{company}`.",
    )
    method: Literal["GET", "POST"] = "GET"
    query: dict[str, str] = Field(
        default_factory=dict, max_length=50, examples=[{"q": "{company} {street} {city} {state}"}]
    )
    body: dict[str, Any] | None = Field(None, description="Template of a JSON body.")
    auth: Auth | None = None
    results: str = Field("results", max_length=300, description="Path of the array of results.")
    link: str = Field("url", max_length=300, description="Path of a result's address.")
    title: str = Field("title", max_length=300)
    snippet: str = Field("snippet", max_length=300)


class Config(BaseModel):
    """Settings of a look into the web."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: Search
    pages_max: int = Field(3, ge=1, le=PAGES_MAX, description="Most pages that are read for one lead.")
    min_confidence: float = Field(0.5, ge=0, le=1, description="Pages that are less likely the lead's are left out.")
    trust: float = Field(0.8, gt=0, le=1, description="How often a page's facts are right of whom it speaks of.")


class WebProvider:
    """Search the web and read what it finds."""

    kind: ClassVar[str] = "web"
    title: ClassVar[str] = "The web, through a search API"
    Config: ClassVar[type[BaseModel]] = Config
    reads_documents: ClassVar[bool] = False

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Refuse addresses that the egress guard would refuse, and holes that no field fills."""
        for name in ("url", "query", "body"):
            check_template(getattr(config.search, name), f"config.search.{name}")
        Egress.of(context.settings.egress_allow).check_url(fill_url(config.search.url, Lead()))

    def pace_key(self, config: Config) -> str:
        """The search engine; a page's server is asked too seldom to complain."""
        return origin_of(config.search.url)

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[_WebAsker]:
        """One connection pool for the search and all pages."""
        async with open_vendor(context, config.search.auth) as vendor:
            yield _WebAsker(config, vendor)


class _WebAsker:
    def __init__(self, config: Config, vendor: Vendor) -> None:
        self._config = config
        self._vendor = vendor

    def wants(self, query: Query) -> bool:
        """Never with an empty question."""
        search = self._config.search
        return fills_a_hole([search.url, search.query, search.body], query.lead)

    def key(self, query: Query) -> Any:
        """The search; the pages follow from it."""
        search, lead = self._config.search, query.lead
        return {
            "url": fill_url(search.url, lead),
            "query": fill(search.query, lead),
            "body": fill(search.body, lead),
            "lead": {name: getattr(lead, name) for name in ("company", "street", "city", "zip", "number1", "number2")},
        }

    async def ask(self, query: Query) -> Finding:
        """Search, read the pages at the same time, and put together what those say that are the lead's."""
        search, lead = self._config.search, query.lead
        body = fill(search.body, lead)
        answer = await self._vendor.call(
            search.method,
            fill_url(search.url, lead),
            query=fill(search.query, lead),
            headers={"Content-Type": "application/json"} if body is not None else {},
            body=None if body is None else jsons.dumps(body),
            timeout_s=query.timeout_s,
        )
        links = self._links(json_of(answer), query)
        pages = await asyncio.gather(*(self._read(link, query) for link in links))
        found: list[Found] = []
        documents: list[Document] = []
        best = 0.0
        for page, chance, facts in (item for item in pages if item is not None):
            if chance < self._config.min_confidence:
                continue
            best = max(best, chance)
            documents.append(page)
            found += [Found(kind, value, page.source, chance * self._config.trust) for kind, value in facts]
        return Finding(found, best if documents else 1.0, documents)

    def _links(self, value: Any, query: Query) -> list[str]:
        search = self._config.search
        links: list[str] = []
        for result in each(value, search.results)[:RESULTS_MAX]:
            link = text_at(result, search.link)
            shown = f"{text_at(result, search.title)} {text_at(result, search.snippet)}"
            if link.startswith(("http://", "https://")) and mentions(shown, query.lead, query.region):
                links.append(link)
        return list(dict.fromkeys(links))[: self._config.pages_max]

    async def _read(self, link: str, query: Query) -> tuple[Document, float, list[Any]] | None:
        """One page; one that can't be read is passed over, since others may say the same."""
        try:
            answer: Answer = await self._vendor.call(
                "GET",
                link,
                headers=PAGE_HEADERS,
                timeout_s=min(PAGE_TIMEOUT_S, query.timeout_s),
                authorise=False,
                redirects_max=REDIRECTS_MAX,
            )
        except PluginError:
            return None
        kind = answer.headers.get("Content-Type", "")
        if "html" not in kind:
            return None
        page = await asyncio.to_thread(read_page, link, answer.body, kind)
        facts, chance = facts_of_page(page, query.lead, query.region)
        return Document(link, page.text), chance, facts


PLUGIN = WebProvider()
