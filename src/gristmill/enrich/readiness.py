"""What a person should know before a job starts: that it has nobody to ask, or what would be charged as news."""

from __future__ import annotations

from typing import Any

from gristmill import agents, datasets
from gristmill.agents import Agent
from gristmill.base.db import Tx
from gristmill.base.errors import Conflict
from gristmill.datasets import Dataset
from gristmill.enrich.columns import unheard
from gristmill.enrich.providers.dataset import PLUGIN as OWN_DATASETS
from gristmill.mapping import Mapping as Columns

DATASETS_SEEN = 200
"""Of the agent's newest datasets."""


class DatasetsPending(Conflict):
    """All that the agent asks is still being processed."""


def need_somebody_to_ask(tx: Tx, organization_id: int, agent_id: int) -> None:
    """Refuse a start that would find nothing although it would in a moment. Raises `DatasetsPending`."""
    names = unread(tx, organization_id, agent_id)
    if names:
        told = ", ".join(f"`{name}`" for name in names)
        message = f"The datasets that this agent asks are still being processed: {told}. No lead would match yet."
        raise DatasetsPending(f"{message} Start again when they are completed.")


def unread(tx: Tx, organization_id: int, agent_id: int) -> list[str]:
    """Titles of the datasets that are processed for the first time, where nothing else can be asked yet."""
    _, only = _own_datasets_only(tx, organization_id, agent_id)
    if only is None or any(item.version is not None for item in only):
        return []
    return [item.title for item in only if item.ingest_status in {"pending", "processing"}]


def warnings_of(tx: Tx, organization_id: int, agent_id: int, columns: Columns) -> list[str]:
    """Nothing for a job that may start as it is."""
    return [*_nobody_to_ask(tx, organization_id, agent_id), *unheard(columns)]


def _nobody_to_ask(tx: Tx, organization_id: int, agent_id: int) -> list[str]:
    """A warning when the agent's own datasets are all that it asks, and hold nothing: no lead will match."""
    agent, found = _own_datasets_only(tx, organization_id, agent_id)
    if found is None or any(item.version is not None for item in found):
        return []
    lacking = "none of them can be searched yet" if found else "has none"
    told = f"The agent `{agent.name}` asks only its own datasets and {lacking}: no lead will match."
    return [f"{told} Add a dataset to it (`gristmill enrich --reference FILE`), or another provider to its `passes`."]


def _own_datasets_only(tx: Tx, organization_id: int, agent_id: int) -> tuple[Agent, list[Dataset] | None]:
    """The agent and its datasets; None in their place when it asks others, too."""
    agent = agents.get(tx, organization_id, agent_id)
    passes: list[dict[str, Any]] = agent.config.get("passes") or [{"provider": OWN_DATASETS.kind}]
    if any(item["provider"] != OWN_DATASETS.kind for item in passes):
        return agent, None
    scope = datasets.Scope(organization_id, agent_id)
    return agent, datasets.list_datasets(tx, scope, page=1, per_page=DATASETS_SEEN).data
