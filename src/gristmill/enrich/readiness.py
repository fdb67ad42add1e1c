"""What a person should know before a job starts: that it has nobody to ask, or what would be charged as news."""

from __future__ import annotations

from typing import Any

from gristmill import agents, datasets
from gristmill.base.db import Tx
from gristmill.enrich.columns import unheard
from gristmill.enrich.providers.dataset import PLUGIN as OWN_DATASETS
from gristmill.mapping import Mapping as Columns

DATASETS_SEEN = 200
"""Of the agent's newest datasets."""


def warnings_of(tx: Tx, organization_id: int, agent_id: int, columns: Columns) -> list[str]:
    """Nothing for a job that may start as it is."""
    return [*_nobody_to_ask(tx, organization_id, agent_id), *unheard(columns)]


def _nobody_to_ask(tx: Tx, organization_id: int, agent_id: int) -> list[str]:
    """A warning when the agent's own datasets are all that it asks, and hold nothing: no lead will match."""
    agent = agents.get(tx, organization_id, agent_id)
    passes: list[dict[str, Any]] = agent.config.get("passes") or [{"provider": OWN_DATASETS.kind}]
    if any(item["provider"] != OWN_DATASETS.kind for item in passes):
        return []
    scope = datasets.Scope(organization_id, agent_id)
    found = datasets.list_datasets(tx, scope, page=1, per_page=DATASETS_SEEN).data
    if any(item.version is not None for item in found):
        return []
    lacking = "none of them can be searched yet" if found else "has none"
    told = f"The agent `{agent.name}` asks only its own datasets and {lacking}: no lead will match."
    return [f"{told} Add a dataset to it (`gristmill enrich --reference FILE`), or another provider to its `passes`."]
