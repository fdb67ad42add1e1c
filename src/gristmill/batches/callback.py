"""Calling a batch's `callback_url` when it ends: a durable job that tries a few times and keeps the outcome.

The body is the event, as `GET /api/v1/events` shows it; `webhook-id` is the event's id and the same for every try, so a
receiver can tell a repetition.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import aiohttp

from gristmill.base import jsons
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.fetch import Egress, http_session, request
from gristmill.base.log import get_log
from gristmill.batches import store
from gristmill.engine import JobContext, enqueue, register

log = get_log("batches")

CALLBACK_JOB = "batches.callback"
WAITS_S = (0.0, 5.0, 30.0, 120.0)
"""Pause before each try."""
TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 65_536


def enqueue_callback(tx: Tx, batch: dict[str, Any], event_id: UUID, kind: str, data: dict[str, Any]) -> None:
    """Have the callback made, in the transaction that ended the batch."""
    payload = {
        "organization_id": batch["organization_id"],
        "batch_id": str(batch["id"]),
        "url": batch["callback_url"],
        "event": {"id": str(event_id), "kind": kind, "data": data},
    }
    enqueue(
        tx, CALLBACK_JOB, payload, key=f"callback-{event_id}", partition=f"callback-{event_id}", queue=batch["queue"]
    )


@register(CALLBACK_JOB)
async def call_back(context: JobContext, payload: dict[str, Any]) -> None:
    """POST the event until the receiver answers 2xx or the tries are used up; a job that is run again starts over."""
    outcome: dict[str, Any] = {}
    for number, wait_s in enumerate(WAITS_S, start=1):
        if wait_s:
            await asyncio.sleep(wait_s)
        outcome = {"attempts": number, **await _post(context, payload)}
        if outcome["delivered"]:
            break
    if not outcome["delivered"]:
        log.warning("a callback was not delivered", batch=payload["batch_id"], error=outcome.get("error"))
    await asyncio.to_thread(_keep, context, payload, outcome)


async def _post(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    egress = Egress.of(context.settings.egress_allow)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "gristmill",
        "webhook-id": payload["event"]["id"],
    }
    try:
        async with http_session(egress, connections=1) as session:
            answer = await request(
                session,
                egress,
                "POST",
                payload["url"],
                headers=headers,
                body=jsons.dumps(payload["event"]),
                timeout_s=TIMEOUT_S,
                body_bytes_max=ANSWER_BYTES_MAX,
            )
    except TimeoutError:
        return {"delivered": False, "error": f"no answer within {TIMEOUT_S:g} s"}
    except (Error, aiohttp.ClientError) as error:
        return {"delivered": False, "error": str(error)[:300]}
    delivered = 200 <= answer.status < 300  # noqa: PLR2004 - the class of successes
    return {"delivered": delivered, "status": answer.status}


def _keep(context: JobContext, payload: dict[str, Any], outcome: dict[str, Any]) -> None:
    with context.database.tx(payload["organization_id"]) as tx:
        store.update_callback(tx, UUID(payload["batch_id"]), outcome)
