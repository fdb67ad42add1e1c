"""The runner: every worker begins the syncs that are due, as many as it has room for, and brings them to an end.

    claim      one short transaction: syncs that wait become this worker's
    run        outside any transaction, all at the same time
    give back  a sync that this worker has without knowing of it, since the answer to a claim was lost, waits again

A worker that dies leaves its syncs to the reaper; a worker that drains hands over what is not done.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg

from gristmill import agents
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.log import get_log
from gristmill.connectors import queue_store, service, store
from gristmill.connectors.closing import announce, close_failed
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.model import StoredConnector
from gristmill.connectors.pull import Pull
from gristmill.connectors.push import Push
from gristmill.connectors.queue import OF_ONE_MAX, Waiting, choose
from gristmill.connectors.remote import Door, RemoteFailed
from gristmill.connectors.session import Session, SyncLost, in_thread
from gristmill.connectors.take import take_file
from gristmill.engine import JobContext, always, on_worker_lost, watch

log = get_log("connectors")

LOOK_S = 0.2
"""How often a worker looks for syncs, if the lookout has seen any; at once when one has ended, since another may wait
for it."""
SIGN = "syncs"
ASK_S = 0.1
"""How often it asks the worker's lookout whether there may be any, which costs next to nothing."""
GATHER_S = 0.02
"""Several that end within this time are one reason to look."""
TROUBLE_S = 1.0
"""Pause after the database has failed."""
LOOKED_AT_MAX = 2000
DEFECT = "A defect of ours stopped it; the workers' log has the details. The next sync goes on from here."
_claims = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync-claim")
watch(SIGN, queue_store.WAITING)


@always
async def run_syncs(context: JobContext) -> None:
    """Run syncs for as long as the worker lives."""
    await Runner(context).run()


@on_worker_lost
def release_syncs(tx: Tx, worker_id: UUID) -> None:
    """Put back the syncs of a worker that is gone (system transaction)."""
    count = queue_store.release_syncs_of(tx, worker_id, ())
    if count:
        log.info("syncs were put back", worker=str(worker_id), syncs=count)


class Runner:
    """One worker's part in the syncs."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._held: dict[UUID, Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Claim and run until the worker drains; what is under way then hands over, which is waited for."""
        looked_at, news = 0.0, False
        try:
            while not self._context.stopping.is_set():
                if not news and not self._context.is_due(SIGN, looked_at):
                    news = await self._pause(ASK_S)
                    continue
                looked_at = time.monotonic()
                rows = await self._claim()
                for row in rows or ():
                    task = asyncio.ensure_future(self._work(row))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                news = await self._pause(TROUBLE_S if rows is None else LOOK_S)
        finally:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _claim(self) -> list[dict[str, Any]] | None:
        """Take what there is room for; None when the database can't be reached."""
        worker_id, held = self._context.worker_id, dict(self._held)

        def take() -> tuple[list[Waiting], list[dict[str, Any]]]:
            with self._context.database.system() as tx:
                queue_store.release_syncs_of(tx, worker_id, list(held))
                waiting = queue_store.list_waiting(tx, of_one=OF_ONE_MAX, limit=LOOKED_AT_MAX)
                chosen = choose(waiting, held.values())
                return chosen, queue_store.claim_syncs(tx, [item.id for item in chosen], worker_id) if chosen else []

        try:
            chosen, rows = await asyncio.get_running_loop().run_in_executor(_claims, take)
        except (Error, psycopg.Error) as error:
            log.warning("syncs could not be claimed", error=str(error)[:300])
            return None
        claimed = {row["id"] for row in rows}
        self._held |= {item.id: item for item in chosen if item.id in claimed}
        return rows

    async def _work(self, row: dict[str, Any]) -> None:
        try:
            await run_sync(Session(self._context, row["organization_id"], row))
        finally:
            self._held.pop(row["id"], None)
            self._news.set()

    async def _pause(self, seconds: float) -> bool:
        """Answers whether it was cut short by one that has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
                await asyncio.sleep(GATHER_S)
        news = self._news.is_set()
        self._news.clear()
        return news


async def run_sync(session: Session) -> None:
    """Bring a sync to an end that has begun."""
    sync_id = str(session.sync_id)
    try:
        await _run(session)
        await in_thread(lambda: service.delete_objects(session.useless, session.context.settings))
    except SyncLost:
        log.warning("a sync ends: its worker's lease is gone", sync=sync_id)
    except (RemoteFailed, Error) as error:
        await _fail(session, error.message)
    except Exception:
        log.exception("a sync broke", sync=sync_id)
        await _fail(session, DEFECT)


async def _run(session: Session) -> None:
    connector, rules, secret = await session.write(lambda tx: _open(tx, session))
    if session.row["cause"] == "HOOK":
        await take_file(session, connector)
        return
    kind = KINDS.get(connector.connector.type)
    config = service.parse_config(kind.Config, connector.config)
    async with kind.open(config, secret, Door.of(session.context.settings, session.note)) as remote:
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
