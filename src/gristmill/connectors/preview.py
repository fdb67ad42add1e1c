"""What a push would send, and where to, before anything leaves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar
from uuid import UUID

from pydantic import ConfigDict

from gristmill import batches
from gristmill.base.db import Database, Tx
from gristmill.batches.export import file_columns, result_lines
from gristmill.batches.model import BatchNotFound
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.model import CAMEL, StoredConnector
from gristmill.connectors.push import result_json
from gristmill.connectors.service import parse_config

SAMPLE_ROWS = 3


@dataclass(frozen=True, slots=True)
class PushPreview:
    """What would leave, and where to. Nothing was sent."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    destination: str
    format: str
    """To a URL JSON is posted, in pages when it is large."""
    auto_push: bool
    """Whether results of this agent's batches leave by themselves."""
    job_id: UUID | None
    """The batch that was looked at: the one asked for, or the latest that completed."""
    rows: int | None
    columns: list[str]
    """Of the file. A page has `data` and `result` of each row as they are."""
    sample: list[dict[str, Any]]
    """The first rows, as they would be sent to a URL."""


def find_batch(tx: Tx, connector: StoredConnector, job_id: UUID | None) -> batches.Batch | None:
    """The batch to look at."""
    organization_id, agent_id = connector.organization_id, connector.agent_id
    if job_id is not None:
        found = batches.get(tx, organization_id, job_id)
        if found.agent_id != agent_id:
            raise BatchNotFound(f"There is no batch {job_id} of this agent.")
        return found
    listed = batches.list_batches(tx, organization_id, agent_id=agent_id, status="completed", cursor=None, limit=1)
    return listed.data[0] if listed.data else None


def preview_push(
    database: Database, connector: StoredConnector, batch: batches.Batch | None, *, auto_push: bool
) -> PushPreview:
    """What a push of this batch would send; without one, where it would go."""
    kind = KINDS.get(connector.connector.type)
    place = kind.place(parse_config(kind.Config, connector.config), connector.connector.role)
    form = connector.connector.format or kind.push_formats[0]
    columns: list[str] = []
    sample: list[dict[str, Any]] = []
    if batch is not None:
        with database.tx(connector.organization_id) as tx:
            columns = file_columns(tx, connector.organization_id, batch.id)
        sample = [
            result_json(line)
            for line in islice(result_lines(database, connector.organization_id, batch.id), SAMPLE_ROWS)
        ]
        place = place.replace("{jobId}", str(batch.id))
    return PushPreview(
        place, form, auto_push, batch.id if batch else None, batch.rows_in if batch else None, columns, sample
    )
