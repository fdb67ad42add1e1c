"""Nouns and pure rules of enrichment: leads, facts, coverage, prices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from gristmill.agents import InputField
from gristmill.base.errors import Error, Invalid, NotFound

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


JobStatus = Literal["uploaded", "queued", "running", "paused", "completed", "failed", "cancelled"]
"""`uploaded` until it is started for the first time; then the batch's status."""


class JobNotFound(NotFound):
    """There is no such enrichment job."""


class TokenUnknown(Error):
    """The upload token is unknown, used, or has expired."""

    code = "unauthenticated"


class UploadRefused(Invalid):
    """The file can't be enriched."""


class TooManyUploads(Error):
    """Too many uploads without a key wait to be linked; come again later, or send a key."""

    code = "rate_limited"


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """Which columns feed a field of the leads."""

    columns: list[str]
    """Names, in the order in which they are joined; empty when none does."""
    confidence: float
    """0 to 1."""
    stage: str
    """What settled it: `obvious` headers, `cache`, `evidence`, `model`, or a `person`."""
    samples: list[str]
    """Up to three values, as the field gets them."""
    pass_rate: float | None
    """Share of the sampled values that look right."""
    reasons: list[str]
    runner_up: list[str]
    """The next best columns."""


@dataclass(frozen=True, slots=True)
class ChatLabel:
    """Columns that name a lead for a person."""

    primary_column: str | None
    location_columns: list[str]


@dataclass(frozen=True, slots=True)
class JobMapping:
    """How the columns of a file become leads."""

    fields: dict[str, ColumnUse]
    variants: list[str]
    """Columns that feed no field and are tried when a first pass finds little; what they say is no news."""
    columns: list[str]
    """All columns of the file."""
    chat_label: ChatLabel


@dataclass(frozen=True, slots=True)
class UploadReceipt:
    """Every record of the file, and every stored row, accounted for."""

    lines: int
    """Records of the file: header + preamble + rows + rejects + blank."""
    header: int
    preamble: int
    rows: int
    rejects: int
    """Records that are no rows; they can be downloaded with line and reason."""
    blank: int
    stored: int
    """Rows stored: pending + skipped + duplicate + failed."""
    pending: int
    skipped: int
    """Beyond `row_limit`."""
    duplicate: int
    """The same lead as an earlier row: hunted and billed once."""
    failed: int
    """Rows with neither a company nor enough of an address."""
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class JobQuote:
    """What a job will cost at most, before it starts."""

    rows_to_run: int
    price_usd: str
    """Held for each row while it runs; a match costs this at most, a row without one nothing."""
    price_micro_usd: int
    cost_usd_max: str
    cost_micro_usd_max: int
    available_usd: str
    available_micro_usd: int
    min_balance_usd: str
    """What the free balance must be for a start."""
    min_balance_micro_usd: int
    missing_usd: str
    """What lacks of that; zero when it may start."""
    missing_micro_usd: int
    rows_covered: int
    """Rows that the free balance pays for even if each costs the most."""
    topup_url: str
    warnings: list[str] = field(default_factory=list[str])
    """What a person should know before the start, such as that the agent has nobody to ask."""


@dataclass(frozen=True, slots=True)
class Job:
    """An uploaded lead file on its way through enrichment. It shows counts only, never a name or a number."""

    id: UUID
    status: JobStatus
    reason: str | None
    """Why it is paused: `user`, `balance`, `budget`, `failures`."""
    message: str
    file_name: str
    agent_id: int | None
    """Null until an anonymous upload is linked."""
    linked: bool
    expires_at: datetime | None
    """When an upload that nobody linked is deleted."""
    process_limit: int | None
    file_row_count: int
    stored_row_count: int
    row_count: int
    """Rows within the limit, each different lead once: stored rows but skipped and duplicate ones."""
    pending: int
    running: int
    succeeded: int
    empty: int
    failed: int
    skipped: int
    duplicate: int
    cancelled: int
    spent_usd: str
    spent_micro_usd: int
    held_usd: str
    held_micro_usd: int
    price_usd: str
    price_micro_usd: int
    budget_usd: str | None
    budget_micro_usd: int | None
    mapping: dict[str, list[str]]
    """Field -> columns; the evidence is at `/mapping`."""
    rate_per_s: float | None
    eta_s: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an enrichment has found so far, in counts."""

    id: UUID
    status: JobStatus
    rows: int
    processed: int
    matched: int
    empty: int
    failed: int
    skipped: int
    duplicate: int
    people: int
    phones: int
    emails: int
    entities: int
    addresses: int
    spent_usd: str
    spent_micro_usd: int


@dataclass(frozen=True, slots=True)
class PricedCall(ProviderCall):
    """The same as receipts show it."""

    price_usd: str = ""


@dataclass(frozen=True, slots=True)
class RowReceipt:
    """What one row was asked, what it cost, and why."""

    input_hash: str
    """Of everything the hunt goes by: equal hashes are one lead."""
    calls: list[PricedCall]
    provider_cost_usd: str
    """Prices of the calls that were made for this row."""
    provider_cost_micro_usd: int
    provider_calls: int
    """Calls that were made; a remembered answer is none."""
    cache_hits: int
    price_rule: str
    held_usd: str
    """What was set aside for it."""
    held_micro_usd: int
    charged_usd: str
    charged_micro_usd: int
    refunded_usd: str
    refunded_micro_usd: int
    refund_reason: str | None
    """`no_match`, `failed`, `below_ceiling`; `refunded` when it was given back afterwards; `duplicate` or `reused` when
    nothing had to be held; null when all of it was charged or it has not ended."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One lead of a job, as lists show it."""

    row_number: int
    status: str
    chat_title: str
    matched: bool
    spent_usd: str
    spent_micro_usd: int
    duplicate_of: int | None
    error_code: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobRowDetail:
    """One lead with all that is known of its hunt."""

    row: JobRow
    lead: dict[str, Any]
    result: dict[str, Any] | None
    steps: list[dict[str, Any]]
    """The trace of the hunt; of a row that runs, what can be seen of it so far."""
    receipt: RowReceipt
