"""Verbs of mappings: what is remembered, kept and edited."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid
from gristmill.mapping import store
from gristmill.mapping.cache import Memory, Remembered
from gristmill.mapping.fields import LEAD, Fields, wanted
from gristmill.mapping.model import (
    PARTS,
    AgentNotFound,
    Evidence,
    FieldMapping,
    Mapping,
    MappingChanged,
    MappingNotFound,
    StoredMapping,
    lead_problem,
)

EDITED = "a person chose it"


def recall(
    tx: Tx, organization_id: int, fingerprint: str, fields: Fields = LEAD, *, agent_id: int | None = None
) -> Memory:
    """What is remembered of tables with these headers, for `propose_mapping(cache=...)`.

    A person's edit comes before any proposal, and the agent's own before the organization's.
    """
    fieldset, _ = wanted(fields)
    found = [
        stored
        for owner in dict.fromkeys((agent_id, None))
        if (stored := store.find_mapping(tx, organization_id, owner, fieldset, fingerprint))
    ]
    best = next((stored for stored in found if stored.edited), found[0] if found else None)
    if best is None:
        return Memory()
    return Memory({(fingerprint, fieldset): Remembered(best.mapping, best.edited)})


def remember(tx: Tx, organization_id: int, mapping: Mapping, *, agent_id: int | None = None) -> None:
    """Keep a proposal, unless a person's edit is there or the same was kept before."""
    before = store.find_mapping(tx, organization_id, agent_id, mapping.fieldset, mapping.fingerprint)
    if before is not None and (before.edited or _same(before.mapping, mapping)):
        return
    version = before.version + 1 if before else 1
    store.insert_mapping(tx, organization_id, agent_id, mapping, version=version, edited=False)


def agent_fields(tx: Tx, organization_id: int, agent_id: int) -> list[Any]:
    """The input fields of an agent, for `propose_mapping(fields=...)`. Raises `AgentNotFound`."""
    found = store.find_input_fields(tx, organization_id, agent_id)
    if found is None:
        raise AgentNotFound(f"There is no agent {agent_id}.")
    return found


def get(
    tx: Tx, organization_id: int, fingerprint: str, fieldset: str = LEAD, *, agent_id: int | None = None
) -> StoredMapping:
    """The newest version: the agent's, or the organization's when it has none. Raises `MappingNotFound`."""
    for owner in dict.fromkeys((agent_id, None)):
        found = store.find_mapping(tx, organization_id, owner, fieldset, fingerprint)
        if found is not None:
            return found
    raise MappingNotFound(f"There is no mapping of tables with the fingerprint {fingerprint[:40]}.")


def edit(
    tx: Tx,
    organization_id: int,
    fingerprint: str,
    fieldset: str,
    columns: Dict[str, Sequence[int]],
    variants: Sequence[int] | None,
    *,
    agent_id: int | None = None,
) -> StoredMapping:
    """Keep a person's choice of columns as the next version. Fields that are not named stay as they are.

    Raises `MappingNotFound`, `AgentNotFound`, `MappingChanged`, or `Invalid` that names the field.
    """
    if agent_id is not None:
        agent_fields(tx, organization_id, agent_id)
    base = get(tx, organization_id, fingerprint, fieldset, agent_id=agent_id)
    mapping = edited(base.mapping if base.agent_id == agent_id else _without_samples(base.mapping), columns, variants)
    version = base.version + 1 if base.agent_id == agent_id else 1
    found = store.insert_mapping(tx, organization_id, agent_id, mapping, version=version, edited=True)
    if found is None:
        raise MappingChanged
    return found


def edited(mapping: Mapping, columns: Dict[str, Sequence[int]], variants: Sequence[int] | None) -> Mapping:
    """A mapping with a person's columns. Raises `Invalid` that names the field."""
    width = len(mapping.columns)
    wrong = [
        FieldError(f"fields.{name}", problem)
        for name, chosen in (*columns.items(), ("variants", variants or ()))
        if (problem := _problem(name, chosen, mapping, width))
    ]
    if wrong:
        raise Invalid("; ".join(f"`{item.field}` {item.message}" for item in wrong[:5]), errors=tuple(wrong))
    fields = dict(mapping.fields)
    for name, chosen in columns.items():
        old = fields[name]
        if old.columns != tuple(chosen):
            reasons = Evidence(stage="person", reasons=(EDITED,))
            fields[name] = FieldMapping(tuple(chosen), 1.0, reasons, old.runner_up, ", " if name == "street" else " ")
        else:
            fields[name] = replace(old, confidence=1.0)
    if mapping.fieldset == LEAD:
        fields |= _in_parts(fields)
    used = {index for item in fields.values() for index in item.columns}
    kept = mapping.variants if variants is None else tuple(dict.fromkeys(variants))
    return replace(
        mapping,
        fields=fields,
        variants=tuple(index for index in kept if index not in used),
        problem=lead_problem(fields) if mapping.fieldset == LEAD else "",
    )


def _without_samples(mapping: Mapping) -> Mapping:
    """For another owner, who may not see the table that it was proposed for."""
    fields = {name: replace(item, evidence=replace(item.evidence, samples=())) for name, item in mapping.fields.items()}
    return replace(mapping, fields=fields)


def _in_parts(fields: Dict[str, FieldMapping]) -> dict[str, FieldMapping]:
    """City, state and zip that share a column take their part of it."""
    columns = [index for name in PARTS for index in fields[name].columns]
    return {
        name: replace(fields[name], part=part if any(columns.count(i) > 1 for i in fields[name].columns) else "")
        for name, part in PARTS.items()
    }


def _problem(name: str, chosen: Sequence[int], mapping: Mapping, width: int) -> str:
    if name != "variants" and name not in mapping.fields:
        return f"is no field; there are: {', '.join(mapping.fields)}"
    if any(not 0 <= index < width for index in chosen):
        return f"names a column that is not there; columns are numbered 0 to {width - 1}"
    return "names a column twice" if len(set(chosen)) != len(chosen) else ""


def _same(one: Mapping, other: Mapping) -> bool:
    return (
        {name: item.columns for name, item in one.fields.items()}
        == {name: item.columns for name, item in other.fields.items()}
        and one.variants == other.variants
        and one.shapes == other.shapes
    )
