"""Background work of connectors: one job that runs a sync, and the duties that see to it that none is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from gristmill import agents
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.log import get_log
from gristmill.connectors import schedule, service, store, sync_store
from gristmill.connectors.closing import announce, close_failed
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.model import StoredConnector
from gristmill.connectors.pull import Pull
from gristmill.connectors.push import Push
from gristmill.connectors.queue import SYNC_JOB, enqueue_sync
from gristmill.connectors.remote import Door, RemoteFailed
from gristmill.connectors.session import Session, SyncLost, in_thread, until_back
from gristmill.connectors.take import take_file
from gristmill.engine import JobContext, every, on_worker_lost, register

log = get_log("connectors")

LOOK_EVERY_S = 1.0
ASK_AGAIN_S = 300.0
"""A sync that is due and that no worker has begun gets another job after this long, whatever became of the first."""
AT_ONCE_MAX = 200
DELIVERIES_KEPT_DAYS = 7
FORGET_EVERY_S = 600.0
FORGET_MAX = 10_000
DEFECT = "A defect of ours stopped it; the workers' log has the details. The next sync goes on from here."


@register(SYNC_JOB)
async def run_sync(context: JobContext, payload: dict[str, Any]) -> None:
    """Begin a sync, unless another worker has it, and bring it to an end."""
    organization_id, sync_id = payload["organization_id"], UUID(payload["sync_id"])
    row = await until_back(context, organization_id, lambda tx: sync_store.claim_sync(tx, sync_id, context.worker_id))
    if row is None:
        return
    session = Session(context, organization_id, row)
    try:
        await _run(session)
        await in_thread(lambda: service.delete_objects(session.useless, context.settings))
    except SyncLost:
        log.warning("a sync ends: its worker's lease is gone", sync=str(sync_id))
    except (RemoteFailed, Error) as error:
        await _fail(session, error.message)
    except Exception:
        log.exception("a sync broke", sync=str(sync_id))
        await _fail(session, DEFECT)


async def _run(session: Session) -> None:
    connector, rules, secret = await session.write(lambda tx: _open(tx, session))
    if session.row["cause"] == "HOOK":
        await take_file(session, connector)
        return
    kind = KINDS.get(connector.connector.type)
    config = service.parse_config(kind.Config, connector.config)
    async with kind.open(config, secret, Door.of(session.context.settings)) as remote:
        if session.row["direction"] == "OUTBOUND":
            await Push(session, connector, kind, config, remote, rules).run()
        else:
            await Pull(session, connector, remote, rules).run()


def _open(tx: Tx, session: Session) -> tuple[StoredConnector, agents.Rules, Mapping[str, str]]:
    """What a sync needs to know; its first beginning is told."""
    connector = service.get(tx, session.organization_id, session.connector_id)
    rules = agents.read_rules(agents.get(tx, session.organization_id, connector.agent_id).rules)
    if session.row["tries"] == 1:
        announce(tx, session, connector, "started", {"cause": session.row["cause"]})
        if session.row["direction"] == "INBOUND":
            store.update_started(tx, connector.id)
    return connector, rules, service.reveal(tx, connector, f"sync:{session.sync_id}") or {}


async def _fail(session: Session, message: str) -> None:
    try:
        await session.write(lambda tx: close_failed(tx, session, message))
    except SyncLost:
        log.warning("a sync failed after its worker's lease was gone", sync=str(session.sync_id), error=message)


@on_worker_lost
def release_syncs(tx: Tx, worker_id: UUID) -> None:
    """Put back the syncs of a worker that is gone (system transaction); `ask_for_workers` finds them there."""
    count = sync_store.release_syncs_of(tx, worker_id)
    if count:
        log.info("syncs were put back", worker=str(worker_id), syncs=count)


@every(LOOK_EVERY_S)
def ask_for_workers(tx: Tx) -> None:
    """Queue jobs for syncs whose time has come: retries, and those that a dead worker left (system transaction)."""
    for row in sync_store.claim_due(tx, ASK_AGAIN_S, AT_ONCE_MAX):
        enqueue_sync(tx, row["organization_id"], row["connector_id"], row["id"], row["cause"])


@every(LOOK_EVERY_S)
def start_scheduled(tx: Tx) -> None:
    """Begin the pulls that the schedules ask for (system transaction)."""
    schedule.plan(tx, AT_ONCE_MAX)
    schedule.start_due(tx, AT_ONCE_MAX)


@every(FORGET_EVERY_S)
def forget_deliveries(tx: Tx) -> None:
    """Messages too old to be sent again by any sender (system transaction)."""
    sync_store.delete_old_deliveries(tx, DELIVERIES_KEPT_DAYS, FORGET_MAX)
