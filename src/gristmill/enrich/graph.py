"""What is known of one lead: facts of many providers, merged and de-duplicated, each with its provenance.

Facts that say the same thing become one entry. Providers that agree make it surer: the confidences of different
providers combine as independent witnesses do, 1 - (1 - a)(1 - b); one that repeats itself adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gristmill.enrich.model import CORE_FACTS, LISTS, Fact, FactKind, Lead
from gristmill.enrich.normalise import company_key, email, person, person_key, phones, site_key, street_key, zip_key

CONFIDENCE_MAX = 0.99
"""However many agree: records are wrong together, too."""
CONFIDENCE_MIN = 0.5
"""Entries below are kept in the result but count neither as coverage nor as a match."""
ENTRIES_MAX = 25
"""Most entries of one kind in a result, the surest ones."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")
_SUMMARY_KEYS = {"contacts": "display_name", "phones": "e164", "emails": "address"}
_NAMES = frozenset({"legal_name", "website"})


@dataclass(slots=True)
class Entry:
    """Facts that say the same thing."""

    kind: FactKind
    value: dict[str, str]
    facts: list[Fact]
    known: bool
    """The lead said so itself: confirmed, not found."""

    @property
    def confidence(self) -> float:
        """Of all its providers together."""
        best: dict[str, float] = {}
        for fact in self.facts:
            best[fact.provider] = max(best.get(fact.provider, 0.0), fact.confidence)
        doubt = 1.0
        for confidence in best.values():
            doubt *= 1.0 - confidence
        return round(min(1.0 - doubt, CONFIDENCE_MAX), 4)

    def add(self, fact: Fact) -> None:
        """Take one more witness; fuller names and missing fields are filled in."""
        self.facts.append(fact)
        for name, text in fact.value.items():
            if not self.value.get(name):
                self.value[name] = text
        fuller = len(fact.value.get("display_name", "")) > len(self.value.get("display_name", ""))
        if self.kind == "contact" and fuller:
            for name in ("display_name", "first_name", "last_name"):
                if fact.value.get(name):
                    self.value[name] = fact.value[name]

    def as_json(self) -> dict[str, Any]:
        """The entry as results have it: its fields, then where they are from."""
        best = max(self.facts, key=lambda fact: fact.confidence)
        return {
            **self.value,
            "confidence": self.confidence,
            "source": best.source,
            "provider": best.provider,
            "fetched_at": best.fetched_at,
            "agreeing_providers": len({fact.provider for fact in self.facts}),
            "new": not self.known,
        }


@dataclass(slots=True)
class Graph:
    """Everything found out about one lead so far."""

    lead: Lead
    region: str
    entries: list[Entry] = field(default_factory=list[Entry])
    anchors: dict[str, float] = field(default_factory=dict[str, float])
    """Provider -> how sure it is that its answer speaks of this lead at all."""

    def add(self, facts: Iterable[Fact]) -> int:
        """Merge facts in; answers how many entries they made."""
        before = len(self.entries)
        for fact in facts:
            found = next(
                (entry for entry in self.entries if entry.kind == fact.kind and _same(entry.value, fact)), None
            )
            if found is not None:
                found.add(fact)
            else:
                self.entries.append(Entry(fact.kind, dict(fact.value), [fact], self._knows(fact)))
        return len(self.entries) - before

    def anchor(self, provider: str, confidence: float) -> None:
        """Note how sure a provider is that it found this very lead."""
        self.anchors[provider] = max(self.anchors.get(provider, 0.0), confidence)

    def counts(self) -> dict[str, int]:
        """Entries that are sure enough, by list."""
        counts = dict.fromkeys(LISTS.values(), 0)
        for entry in self.entries:
            counts[LISTS[entry.kind]] += entry.confidence >= CONFIDENCE_MIN
        return counts

    @property
    def matched(self) -> bool:
        """Whether anything was found that the lead did not say itself: only then is the row a match."""
        return any(
            entry.kind in CORE_FACTS and not entry.known and entry.confidence >= CONFIDENCE_MIN
            for entry in self.entries
        )

    @property
    def confidence(self) -> float:
        """How sure we are that this is the lead: of all providers that found something, as independent witnesses."""
        doubt = 1.0
        for confidence in self.anchors.values():
            doubt *= 1.0 - confidence
        return round(min(1.0 - doubt, CONFIDENCE_MAX), 4)

    def result(self) -> dict[str, Any]:
        """The typed graph as JSON, lists in order of confidence, and a summary to read."""
        lists: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS.values()}
        for entry in sorted(self.entries, key=lambda entry: -entry.confidence):
            entries = lists[LISTS[entry.kind]]
            if len(entries) < ENTRIES_MAX:
                entries.append(entry.as_json())
        kept: dict[str, Any] = {name: entries for name, entries in lists.items() if entries}
        return {**kept, "confidence": self.confidence, "summary_markdown": self._summary(lists)}

    def _knows(self, fact: Fact) -> bool:
        """Whether the lead itself says so."""
        lead, texts = self.lead, self.lead.search_variants.values()
        if fact.kind == "phone":
            own = [lead.number1, lead.number2, *texts]
            return any(number["e164"] == fact.value["e164"] for text in own for number in phones(text, self.region))
        if fact.kind == "email":
            return any((found := email(text)) and found["address"] == fact.value["address"] for text in texts)
        if fact.kind == "contact":
            own_name = person(lead.dm_name)
            return own_name is not None and _same_person(own_name, fact.value)
        if fact.kind == "entity":
            names = {company_key(text) for text in (lead.company, *texts) if text}
            sites = {"", *(site_key(text) for text in texts)}
            return (
                set(fact.value) <= _NAMES
                and company_key(fact.value.get("legal_name", "")) in names
                and site_key(fact.value.get("website", "")) in sites
            )
        return _same_place({"street": lead.street, "city": lead.city, "zip": lead.zip}, fact.value)

    def _summary(self, lists: Mapping[str, list[dict[str, Any]]]) -> str:
        what = _escaped(self.lead.company or ", ".join(filter(None, (self.lead.street, self.lead.city))))
        lines = [f"**{what}**: {_counted(lists)}, confidence {self.confidence:.2f}."]
        for name, key in _SUMMARY_KEYS.items():
            for entry in lists[name][:3]:
                title = f", {_escaped(str(entry['title']))}" if entry.get("title") else ""
                lines.append(f"- {_escaped(str(entry[key]))}{title} ({_escaped(str(entry['provider']))})")
        return "\n".join(lines)


def _counted(lists: Mapping[str, list[dict[str, Any]]]) -> str:
    words = {"contacts": "contact", "phones": "phone", "emails": "e-mail", "entities": "entity"}
    parts: list[str] = []
    for name, word in words.items():
        count = len(lists[name])
        many = "entities" if word == "entity" else f"{word}s"
        if count:
            parts.append(f"{count} {word if count == 1 else many}")
    return ", ".join(parts) or "nothing new"


def _escaped(text: str) -> str:
    """Text of others inside Markdown: never a link, an image or HTML."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _same(value: Mapping[str, str], fact: Fact) -> bool:
    """Whether an entry and a fact of its kind say the same thing."""
    other = fact.value
    if fact.kind == "phone":
        return value["e164"] == other["e164"] and value.get("extension") == other.get("extension")
    if fact.kind == "email":
        return value["address"] == other["address"]
    if fact.kind == "contact":
        return _same_person(value, other)
    if fact.kind == "entity":
        return company_key(value.get("legal_name", "")) == company_key(other.get("legal_name", ""))
    return _same_place(value, other)


def _same_person(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Equal last names, and first names that are equal or one the beginning of the other (`J.`, `Jo`, `John`)."""
    (last_a, first_a), (last_b, first_b) = person_key(one), person_key(other)
    if not last_a or not last_b:
        return (last_a, first_a) == (last_b, first_b)
    return last_a == last_b and (first_a.startswith(first_b) or first_b.startswith(first_a))


def _same_place(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Equal streets, in postal codes or towns that do not contradict."""
    if street_key(one.get("street", "")) != street_key(other.get("street", "")):
        return False
    zip_a, zip_b = zip_key(one.get("zip", "")), zip_key(other.get("zip", ""))
    if zip_a and zip_b:
        return zip_a == zip_b
    city_a, city_b = street_key(one.get("city", "")), street_key(other.get("city", ""))
    return not city_a or not city_b or city_a == city_b
