"""Nouns of mapping: the fields that are wanted, and which columns feed them with what evidence."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from gristmill.base.errors import Conflict, FieldError, Invalid, NotFound

Stage = Literal["person", "obvious", "cache", "evidence", "model"]
"""Which stage settled a field: a person's edit, plain headers, a mapping of the same table, local evidence, a model."""
Part = Literal["", "city", "state", "zip"]
"""What a field takes out of a combined column; empty for the whole cell."""

PARTS: dict[str, Part] = {"city": "city", "state": "state", "zip": "zip"}
"""Lead fields that may share a column -> what each takes of it."""
COLUMNS_SHOWN = 50
"""Columns that an error lists."""


class NothingToSearch(Invalid):
    """No column holds a company or enough of an address."""


class UnknownFields(Invalid):
    """The wanted fields can't be read."""


class MappingNotFound(NotFound):
    """There is no such mapping; propose one first."""


class AgentNotFound(NotFound):
    """There is no such agent."""


class MappingChanged(Conflict):
    """The mapping was changed by someone else just now; look at it and try again."""


@dataclass(frozen=True, slots=True)
class Field:
    """One wanted field."""

    name: str
    type: str = "string"
    """`string`, `integer`, `number`, `boolean` or `any`."""
    required: bool = False
    description: str = ""
    format: str = ""
    """A format of JSON Schema (`email`, `uri`, `date`, ...); empty for none."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a column feeds a field."""

    samples: tuple[str, ...] = ()
    """Up to three different values, joined as the field gets them."""
    pass_rate: float | None = None
    """Share of the sampled values that the field's validator accepts; null where there is no validator or no value."""
    stage: Stage = "evidence"
    reasons: tuple[str, ...] = ()
    """In words."""


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The next best columns for a field."""

    columns: tuple[int, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The columns that feed one field."""

    columns: tuple[int, ...] = ()
    """0-based, in the order in which they are joined; empty when no column feeds the field."""
    confidence: float = 0.0
    """0..1: how often a choice like this one is right. For an empty field: how often leaving it empty is right."""
    evidence: Evidence = Evidence()
    runner_up: RunnerUp | None = None
    join: str = " "
    """What stands between joined values."""
    part: Part = ""
    whole: bool = False
    """Of a street: whether its values hold the whole address, with city or zip."""


@dataclass(frozen=True, slots=True)
class ChatLabel:
    """Columns that name a row for a person."""

    primary_column: int | None = None
    location_columns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which columns of a table feed which fields."""

    fields: dict[str, FieldMapping]
    """Every wanted field."""
    columns: tuple[str, ...] = ()
    """Names of the table's columns, unique."""
    variants: tuple[int, ...] = ()
    """Columns that feed no field and yet help a search: other names, addresses, phones and ids."""
    chat_label: ChatLabel = ChatLabel()
    fingerprint: str = ""
    """Of the headers; equal for tables that are mapped alike."""
    shapes: str = ""
    """Of the values: differs when the columns hold other kinds of values."""
    fieldset: str = "lead"
    """Which fields were wanted: `lead`, or a hash of the fields."""
    problem: str = ""
    """Why rows of this table can't be enriched; empty when they can."""

    def mapped(self) -> dict[str, FieldMapping]:
        """Only the fields that a column feeds."""
        return {name: item for name, item in self.fields.items() if item.columns}

    def as_columns(self) -> dict[str, str]:
        """Field -> name of its column, for fields that one whole column feeds."""
        return {
            name: self.columns[item.columns[0]]
            for name, item in self.fields.items()
            if len(item.columns) == 1 and not item.part
        }

    def require_lead(self) -> None:
        """Raise `NothingToSearch`, which says what columns were seen, when there is no company and no address."""
        if self.problem:
            shown = ", ".join(f"`{name}`" for name in self.columns[:COLUMNS_SHOWN])
            more = len(self.columns) - COLUMNS_SHOWN
            raise NothingToSearch(
                f"{self.problem} The table has: {shown}{f' and {more} more' if more > 0 else ''}.",
                errors=(FieldError("mapping", self.problem),),
            )


@dataclass(frozen=True, slots=True)
class StoredMapping:
    """A version of a mapping that is kept."""

    mapping: Mapping
    agent_id: int | None
    """Null: for every agent of the organization."""
    version: int
    """1 for the first."""
    edited: bool
    """By a person: it is used for ever, whatever is proposed."""
    created_at: datetime


def lead_problem(fields: Dict[str, FieldMapping]) -> str:
    """Why leads can't be searched by these fields; empty when they can: a company, or a street with its place."""
    found = {name for name, item in fields.items() if item.columns}
    if "company" in found:
        return ""
    if "street" in found and (found & {"city", "zip"} or fields["street"].whole):
        return ""
    return "No column holds a company name, nor enough of an address (a street with its city or zip)."


@dataclass(slots=True)
class Draft:
    """A mapping while the stages work on it."""

    fields: dict[str, FieldMapping] = field(default_factory=dict[str, FieldMapping])
    variants: tuple[int, ...] = ()
    chat_label: ChatLabel = ChatLabel()


def fields_from_json(value: Any) -> tuple[Field, ...]:
    """Fields from a JSON Schema of an object, or from a list of `{name, type, required, description}`.

    Raises `UnknownFields`.
    """
    if isinstance(value, dict):
        properties: Any = value.get("properties")
        if not isinstance(properties, dict) or not properties:
            raise UnknownFields("A schema needs `properties`.", errors=(FieldError("fields", "needs `properties`"),))
        required = value.get("required")
        needed = set(map(str, required)) if isinstance(required, list) else set[str]()
        return tuple(_field(str(name), facts, required=name in needed) for name, facts in properties.items())
    if isinstance(value, list) and value:
        return tuple(_listed(item) for item in value)
    raise UnknownFields("Fields are `lead`, a JSON Schema, or a list of fields.")


def _listed(item: Any) -> Field:
    if isinstance(item, str):
        return Field(item)
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        raise UnknownFields("Each field needs a `name`.", errors=(FieldError("fields", "each needs a `name`"),))
    return _field(item["name"], item, required=item.get("required") is True)


def _field(name: str, facts: Any, *, required: bool) -> Field:
    facts = facts if isinstance(facts, dict) else {}
    kind = facts.get("type", "string")
    if isinstance(kind, list):
        kind = next((item for item in kind if item != "null"), "string")
    text = " ".join(str(facts[key]) for key in ("title", "description") if isinstance(facts.get(key), str))
    kind = kind if kind in {"string", "integer", "number", "boolean", "any"} else "any"
    return Field(name, str(kind), required, text, str(facts.get("format") or ""))
