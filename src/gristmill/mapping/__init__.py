"""Mapping: which columns of a table feed which fields, with evidence.

`propose_mapping` reads a sample of a table and answers a `Mapping`; `apply` turns a row into the values of the fields.
Fields are the lead fields of enrichment, an agent's input fields, or the properties of any JSON Schema. What is settled
is remembered per agent: `recall` before a proposal, `remember` after it, and `edit` for a person, whose choice stays.
"""

from gristmill.mapping.apply import apply, split_place, variants_of
from gristmill.mapping.cache import Cache, Memory
from gristmill.mapping.fields import LEAD, LEAD_FIELDS
from gristmill.mapping.llm import model_of
from gristmill.mapping.model import (
    ChatLabel,
    Evidence,
    Field,
    FieldMapping,
    Mapping,
    MappingNotFound,
    NothingToSearch,
    RunnerUp,
    StoredMapping,
    UnknownFields,
)
from gristmill.mapping.propose import SAMPLE_ROWS, propose_for_rows, propose_mapping
from gristmill.mapping.service import edit, edited, get, recall, remember

__all__ = [
    "LEAD",
    "LEAD_FIELDS",
    "SAMPLE_ROWS",
    "Cache",
    "ChatLabel",
    "Evidence",
    "Field",
    "FieldMapping",
    "Mapping",
    "MappingNotFound",
    "Memory",
    "NothingToSearch",
    "RunnerUp",
    "StoredMapping",
    "UnknownFields",
    "apply",
    "edit",
    "edited",
    "get",
    "model_of",
    "propose_for_rows",
    "propose_mapping",
    "recall",
    "remember",
    "split_place",
    "variants_of",
]
