"""Nouns and pure rules of enrichment: leads, facts, coverage, prices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gristmill.agents import InputField

FactKind = Literal["contact", "phone", "email", "entity", "address"]
LISTS: dict[FactKind, str] = {
    "contact": "contacts",
    "phone": "phones",
    "email": "emails",
    "entity": "entities",
    "address": "addresses",
}
"""Kind of fact -> name of its list in a result."""

HUNT_FIELDS = ("company", "street", "city", "state", "zip", "number1", "number2", "dm_name")
"""What a hunt looks for a lead by. `contact_id` is the user's own number of the lead and no clue."""

LEAD_FIELDS: tuple[InputField, ...] = (
    InputField("company", description="Business or account name"),
    InputField("street", description="Address line"),
    InputField("city"),
    InputField("state"),
    InputField("zip"),
    InputField("number1", description="Primary phone"),
    InputField("number2", description="Secondary phone"),
    InputField("dm_name", description="Contact or owner"),
    InputField("search_variants", "any", description="Further names, addresses, phones and ids, by column"),
)
"""Input of the lead enricher. Two leads that are equal in these are one lead, whatever their `contact_id`."""

CONTACT_ID_HEX = 16
CORE_FACTS: frozenset[FactKind] = frozenset({"contact", "phone", "email", "entity"})
"""Kinds that make a match when one of them is new; an address alone does not."""


@dataclass(frozen=True, slots=True)
class Lead:
    """One lead, as a hunt sees it. Every field is text, empty when unknown."""

    company: str = ""
    street: str = ""
    city: str = ""
    state: str = ""
    zip: str = ""
    number1: str = ""
    number2: str = ""
    dm_name: str = ""
    search_variants: Mapping[str, str] = field(default_factory=dict[str, str])
    """Column -> value of what else may find it."""

    def has_place(self) -> bool:
        """Whether there is enough of an address to look for: a street, and where it is."""
        return bool(self.street and (self.city or self.zip))

    def can_be_hunted(self) -> bool:
        """Whether a hunt has anything to start from."""
        return bool(self.company) or self.has_place()


def lead_of(row: Mapping[str, Any]) -> Lead:
    """The lead in an agent's input; what is missing is empty."""
    texts = {name: _text(row.get(name)) for name in HUNT_FIELDS}
    raw: Any = row.get("search_variants")
    if isinstance(raw, Mapping):
        pairs = [(str(name), _text(value)) for name, value in raw.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    elif isinstance(raw, list | tuple):
        pairs = [(f"variant_{index}", _text(value)) for index, value in enumerate(raw, start=1)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    else:
        pairs = [("variant_1", _text(raw))]
    return Lead(**texts, search_variants={name: value for name, value in pairs if value})


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def contact_id_of(lead: Lead) -> str:
    """A stable id for a lead that has none: the hash of company and address, the same in every file."""
    parts = (lead.company, lead.street, lead.city, lead.state, lead.zip)
    plain = "\x1f".join("".join(char for char in part.casefold() if char.isalnum()) for part in parts)
    return hashlib.sha256(plain.encode()).hexdigest()[:CONTACT_ID_HEX]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing found out about a lead, and where from."""

    kind: FactKind
    value: Mapping[str, str]
    """Fields of its kind, such as `e164`; empty ones are left out."""
    source: str
    """Where it was read: a URL, or `dataset:12/record/7`."""
    provider: str
    confidence: float
    """0 to 1: how sure we are that it is true of this lead."""
    fetched_at: str
    """When the provider was asked, RFC 3339; for a cached answer the time of the first call."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many facts of each kind are enough. Zero asks for none."""

    contacts: int = 1
    phones: int = 1
    emails: int = 0
    entities: int = 0

    def lacking(self, counts: Mapping[str, int]) -> list[str]:
        """Lists that have too few facts, in the order of the fields."""
        return [name for name in self.__dataclass_fields__ if counts.get(name, 0) < getattr(self, name)]


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One question to one provider, as the receipt of the row has it."""

    provider: str
    variant: str
    """Column of the search variant that was asked with; empty on the first pass."""
    outcome: Literal["answered", "cached", "failed", "refused"]
    """`refused`: the row's budget did not cover it, so it was not made."""
    price_micro_usd: int
    """What it adds to the row's cost."""
    facts: int
    ms: int
    detail: str = ""
    """Why it failed or was not made."""


def cost_of(calls: Sequence[ProviderCall], match_micro_usd: int, ceiling_micro_usd: int) -> int:
    """What a matched row costs: the fee for a match and the prices of its calls, never above the ceiling."""
    return min(match_micro_usd + sum(call.price_micro_usd for call in calls), ceiling_micro_usd)
