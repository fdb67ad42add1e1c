"""Which columns feed an agent when nobody said so: those that the mapping room proposes and is sure enough of.

Only rows of a source or a file: whoever sends JSON objects names their keys as the agent has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from gristmill import mapping
from gristmill.agents import Agent
from gristmill.base.db import Tx
from gristmill.tables import fingerprint

SURE = 0.6
"""Confidence from which on a proposed column is used; the others wait for a person to say so."""
PROPOSED_FOR = frozenset({"data_source", "inventory"})
"""Kinds of origin whose columns were not named for the agent."""

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Fed:
    """Rows with the columns that feed the agent."""

    mapping: Mapping[str, str]
    """Field -> column; empty when the agent gets its fields by name, or the row as it is."""
    origin: Mapping[str, Any]
    """With `proposed_mapping` (field -> confidence) where columns were proposed."""
    rows: Rows


def find_columns(
    tx: Tx | None,
    organization_id: int,
    agent: Agent,
    rows: Rows,
    *,
    origin: Mapping[str, Any],
    chosen: Mapping[str, str],
    columns: Sequence[str],
    known: mapping.Cache | None = None,
) -> Fed:
    """What feeds the agent: the chosen columns, or proposed ones when none are chosen and its fields are not all there.

    With a transaction a person's edit is used where there is one, and the proposal is remembered with its evidence;
    without one, `known` says what is remembered.
    """
    names = {item.name for item in agent.input_fields}
    if chosen or origin.get("kind") not in PROPOSED_FOR or not columns or names <= set(columns):
        return Fed(chosen, origin, rows)
    stream = iter(rows)
    first = list(islice(stream, mapping.SAMPLE_ROWS))
    if tx is not None:
        known = recall(tx, organization_id, agent, columns)
    found = propose(agent, columns, first, known)
    if tx is not None:
        mapping.remember(tx, organization_id, found, agent_id=agent.id)
    sure = sure_columns(found)
    evidence = {"proposed_mapping": {name: found.fields[name].confidence for name in sure}} if sure else {}
    return Fed(sure, {**origin, **evidence}, chain(first, stream))


def recall(tx: Tx, organization_id: int, agent: Agent, columns: Sequence[str]) -> mapping.Memory | None:
    """What is remembered of tables with these columns; None for an agent without input fields."""
    if not agent.input_fields:
        return None
    return mapping.recall(tx, organization_id, fingerprint(list(columns)), agent.input_fields, agent_id=agent.id)


def propose(agent: Agent, columns: Sequence[str], rows: Rows, known: mapping.Cache | None = None) -> mapping.Mapping:
    """The mapping room's proposal for an agent's input fields, from some rows."""
    cells = [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
    return mapping.propose_for_rows(columns, cells, agent.input_fields, cache=known)


def sure_columns(found: mapping.Mapping) -> dict[str, str]:
    """Field -> column of a proposal, without those that it is unsure of."""
    return {name: column for name, column in found.as_columns().items() if found.fields[name].confidence >= SURE}
