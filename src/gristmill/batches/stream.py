"""Server-sent events of one batch, resumable by revision."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from gristmill.base import jsons
from gristmill.base.errors import Error
from gristmill.base.http import Shared
from gristmill.batches import service, store
from gristmill.batches.model import Batch

LOOK_S = 0.25
"""Pause between two looks: at most four messages a second."""
LINES_MAX = 200
"""Most changes in one look. A subscriber who is further behind gets `resync` and reads the rows anew."""
ENDED = frozenset({"completed", "failed", "cancelled"})
_batch_json: TypeAdapter[Batch] = TypeAdapter(Batch)


@dataclass(frozen=True, slots=True)
class _Look:
    batch: Batch
    rows: list[Any]
    behind: bool


async def event_stream(
    shared: Shared,
    organization_id: int,
    batch_id: UUID,
    after: int | None,
    disconnected: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[bytes]:
    """Messages until the batch has ended or the subscriber is gone. `after` is the last revision that was seen."""
    seen, first = after, True
    spoke = time.monotonic()
    while not await disconnected():
        try:
            look = await asyncio.to_thread(_look, shared, organization_id, batch_id, seen)
        except Error as error:
            yield _message("error", None, jsons.dumps({"code": error.code, "detail": error.message}))
            return
        batch = look.batch
        if first or batch.revision != seen:
            if look.behind:
                yield _message("resync", batch.revision, b"{}")
            elif look.rows:
                yield _message("rows", batch.revision, jsons.dumps(look.rows))
            yield _message("progress", batch.revision, _batch_json.dump_json(batch))
            seen, first, spoke = batch.revision, False, time.monotonic()
        if batch.status in ENDED and batch.running == 0:
            yield _message("done", batch.revision, b"{}")
            return
        if time.monotonic() - spoke > shared.settings.sse_idle_s:
            yield b": still here\n\n"
            spoke = time.monotonic()
        await asyncio.sleep(LOOK_S)


def _look(shared: Shared, organization_id: int, batch_id: UUID, seen: int | None) -> _Look:
    with shared.database.tx(organization_id) as tx:
        batch = service.get(tx, organization_id, batch_id)
        if seen is None or seen >= batch.revision:
            return _Look(batch, [], behind=False)
        lines = store.list_progress(tx, organization_id, batch_id, after=seen, limit=LINES_MAX + 1)
    lines = [line for line in lines if line["revision"] <= batch.revision]  # what came since is for the next look
    if len(lines) > LINES_MAX:
        return _Look(batch, [], behind=True)
    return _Look(batch, [row for line in lines for row in line["rows"]], behind=False)


def _message(event: str, revision: int | None, data: bytes) -> bytes:
    id_line = f"id: {revision}\n" if revision is not None else ""
    return f"{id_line}event: {event}\ndata: ".encode() + data + b"\n\n"
