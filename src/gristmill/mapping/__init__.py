"""Mapping: which columns of a table feed which fields, with evidence.

`propose_mapping` reads a sample of a table and answers a `Mapping`; `apply` turns a row into the values of the fields.
Fields are the lead fields of enrichment, an agent's input fields, or the properties of any JSON Schema.
"""

from gristmill.mapping.apply import apply, split_place, variants_of
from gristmill.mapping.fields import LEAD, LEAD_FIELDS
from gristmill.mapping.model import (
    ChatLabel,
    Evidence,
    Field,
    FieldMapping,
    Mapping,
    NothingToSearch,
    RunnerUp,
    UnknownFields,
)
from gristmill.mapping.propose import propose_mapping

__all__ = [
    "LEAD",
    "LEAD_FIELDS",
    "ChatLabel",
    "Evidence",
    "Field",
    "FieldMapping",
    "Mapping",
    "NothingToSearch",
    "RunnerUp",
    "UnknownFields",
    "apply",
    "propose_mapping",
    "split_place",
    "variants_of",
]
