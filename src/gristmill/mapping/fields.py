"""The sets of fields that tables are mapped to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

from gristmill.base import jsons
from gristmill.mapping.model import Field, UnknownFields, fields_from_json

LEAD = "lead"
FIELDS_MAX = 500
LEAD_FIELDS = (
    Field("contact_id", description="The source's own id of the lead."),
    Field("company", description="Operating or trade name."),
    Field("street", description="Address line 1, with further lines."),
    Field("city"),
    Field("state"),
    Field("zip"),
    Field("number1", description="Main phone."),
    Field("number2", description="Second phone."),
    Field("dm_name", description="Contact, owner or manager."),
)


@runtime_checkable
class FieldLike(Protocol):
    """What an agent's input field has."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def type(self) -> str:
        """`string`, `integer`, `number`, `boolean` or `any`."""
        ...

    @property
    def required(self) -> bool:
        """Whether a row without it is refused."""
        ...

    @property
    def description(self) -> str:
        """What it is, in words."""
        ...


Fields = str | Dict[str, Any] | Sequence[Any]
"""`lead`, a JSON Schema, or a list of fields: names, dicts, or objects with name, type, required and description."""


def wanted(fields: Fields) -> tuple[str, tuple[Field, ...]]:
    """The name of a field set and its fields. Raises `UnknownFields`."""
    if isinstance(fields, str):
        if fields != LEAD:
            raise UnknownFields(f"There is no set of fields `{fields[:60]}`; `lead` is one.")
        return LEAD, LEAD_FIELDS
    if isinstance(fields, Dict):
        found = fields_from_json(dict(fields))
    else:
        listed = [
            asdict(Field(item.name, item.type, item.required, item.description))
            if isinstance(item, FieldLike)
            else item
            for item in fields
        ]
        found = fields_from_json(listed)
    if len(found) > FIELDS_MAX:
        raise UnknownFields(f"There are {len(found)} fields; {FIELDS_MAX} are the most.")
    names = [item.name for item in found]
    if len(set(names)) != len(names):
        raise UnknownFields("Two fields have the same name.")
    digest = hashlib.sha256(jsons.dumps_sorted([asdict(item) for item in found])).hexdigest()[:16]
    return digest, found
