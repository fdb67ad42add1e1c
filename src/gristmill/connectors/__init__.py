"""Connectors: an agent's own places that inventory comes from and results go to.

A source is pulled on demand, by the schedule, or pushed to; a sink gets the results of completed batches. `runner` runs
the syncs, `triggers` does what an agent's rules say.
"""

from gristmill.connectors import duties, runner, triggers
from gristmill.connectors.model import (
    Connector,
    ConnectorBusy,
    ConnectorNotFound,
    ConnectorPaused,
    StoredConnector,
    Sync,
    SyncDetail,
    SyncNotFound,
)
from gristmill.connectors.service import Draft, create, delete, get, list_connectors, ping, prepare, update
from gristmill.connectors.syncs import approve, get_sync, list_syncs, reject, replay, start_pull, start_push
from gristmill.connectors.testing import try_connector

triggers.listen()

__all__ = [
    "Connector",
    "ConnectorBusy",
    "ConnectorNotFound",
    "ConnectorPaused",
    "Draft",
    "StoredConnector",
    "Sync",
    "SyncDetail",
    "SyncNotFound",
    "approve",
    "create",
    "delete",
    "duties",
    "get",
    "get_sync",
    "list_connectors",
    "list_syncs",
    "ping",
    "prepare",
    "reject",
    "replay",
    "runner",
    "start_pull",
    "start_push",
    "try_connector",
    "update",
]
