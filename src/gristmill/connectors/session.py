"""What a running sync does to the database: short transactions in threads, each under the fence of the sync's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from gristmill.base.db import Tx, Unavailable
from gristmill.base.errors import Error
from gristmill.base.log import get_log
from gristmill.connectors import sync_store
from gristmill.connectors.model import EXCHANGES_MAX
from gristmill.connectors.remote import Exchange
from gristmill.engine import JobContext

log = get_log("connectors")
T = TypeVar("T")

AWAY = (Unavailable, psycopg.OperationalError)
"""What tells that the database can't be reached just now."""
RETRY_PAUSE_S = 0.5
_transactions = ThreadPoolExecutor(max_workers=16, thread_name_prefix="sync")
_files = ThreadPoolExecutor(max_workers=32, thread_name_prefix="sync-file")
"""Apart, because a large file holds its thread for as long as it comes."""


class SyncLost(Error):
    """The lease of this sync was given to another worker; what it does now is theirs."""

    code = "unavailable"


class Session:
    """One sync while this worker has it."""

    def __init__(self, context: JobContext, organization_id: int, row: dict[str, Any]) -> None:
        self.context = context
        self.organization_id = organization_id
        self.sync_id: UUID = row["id"]
        self.connector_id: int = row["connector_id"]
        self.row = row
        self.exchanges: list[dict[str, Any]] = []
        self.useless: list[str] = []
        """Keys of objects that nothing refers to once the sync has ended well; they are deleted then."""

    def note(self, exchange: Exchange) -> None:
        """Keep a request and its answer for the history; of many, the latest."""
        self.exchanges = [*self.exchanges[-(EXCHANGES_MAX - 1) :], exchange.as_json()]

    async def read(self, function: Callable[[Tx], T]) -> T:
        """A transaction that changes nothing of the sync."""
        return await until_back(self.context, self.organization_id, function)

    async def write(self, function: Callable[[Tx], T]) -> T:
        """A transaction of whoever has the sync. Raises `SyncLost` when that is somebody else by now."""

        def fenced(tx: Tx) -> T:
            if not sync_store.lock_running(tx, self.sync_id, self.context.worker_id):
                raise SyncLost
            return function(tx)

        return await until_back(self.context, self.organization_id, fenced)


async def until_back(context: JobContext, organization_id: int, function: Callable[[Tx], T]) -> T:
    """Run a transaction in a thread, again and again while the database is away: each of ours may run twice."""

    def work() -> T:
        with context.database.tx(organization_id) as tx:
            return function(tx)

    while True:
        try:
            return await asyncio.get_running_loop().run_in_executor(_transactions, work)
        except AWAY as error:
            log.warning("a sync waits for the database", error=str(error)[:200])
            await asyncio.sleep(RETRY_PAUSE_S)


async def in_thread(function: Callable[[], T]) -> T:
    """Work that would hold up the loop: files, hashes, parsing."""
    return await asyncio.get_running_loop().run_in_executor(_files, function)
