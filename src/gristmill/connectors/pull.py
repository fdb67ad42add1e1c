"""A pull, from looking at what is there to the closed receipt.

Read `Pull.run` aloud: finish what an interrupted run left, list, compare with the ledger, bring what is new, read it,
close. An object is *stored* in one transaction, with its line in the ledger, and becomes inventory in another; a run
that was cut off goes on from there. So nothing is missed and nothing comes twice, whatever dies in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from gristmill import inventory
from gristmill.agents import Rules
from gristmill.base.clock import Deadline
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.log import get_log
from gristmill.base.objects import ObjectStore, Stored
from gristmill.connectors import sync_store
from gristmill.connectors.closing import Outcome, close_pull, hold_pull
from gristmill.connectors.kinds import Remote
from gristmill.connectors.landing import MEMORY_BYTES_MAX, Groups, StoreLanding
from gristmill.connectors.model import (
    HISTORY_SYNCS,
    Entry,
    Found,
    ManifestLine,
    Plan,
    StoredConnector,
    limit_plan,
    line_json,
    object_key_of,
    plan_pull,
    why_unusual,
)
from gristmill.connectors.remote import Fetched, ObjectGone, RemoteFailed, TooBig, check_size
from gristmill.connectors.session import Session, SyncLost, in_thread
from gristmill.connectors.together import together

log = get_log("connectors")

FETCHES_AT_ONCE = 64
"""Objects in hand; while some come, others are written."""
LARGE_AT_ONCE = 4
"""Of these, objects too large to be kept in memory: each holds a thread for as long as it comes."""
LIST_S_MAX = 900.0
COMMIT_FILES = 64
COMMIT_S = 0.5
"""Files that have landed are written to the ledger together: after this many or this long."""
FAILURES_IN_ROW_MAX = 20
"""After so many failures without a success the other side is taken for gone."""


@dataclass(frozen=True, slots=True)
class _Landed:
    """An object whose bytes are in the object store, or that turned out to be known."""

    found: Found
    entry: Entry
    line: ManifestLine | None
    """Of the manifest; None while the bytes wait to be read."""
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Examined:
    """What reading a stored object came to."""

    entry: Entry
    draft: inventory.Draft | None
    error: str | None


class Pull:
    """One pull while this worker has it."""

    def __init__(self, session: Session, connector: StoredConnector, remote: Remote, rules: Rules) -> None:
        self._session = session
        self._connector = connector
        self._remote = remote
        self._rules = rules
        self._settings = session.context.settings
        self._objects = ObjectStore.of(self._settings)
        self._groups = Groups(self._objects)
        self._deadline = Deadline(self._settings.connector_s_max)
        self._ledger: dict[str, Entry] = {}
        self._landed: list[_Landed] = []
        self._commit_due = Deadline(COMMIT_S)
        self._committing = asyncio.Lock()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._outcome = Outcome()
        self._failures_in_row = 0

    async def run(self) -> None:
        """Bring what is new. Raises `SyncLost`, or what keeps the other side from being listed."""
        await self._read_stored()
        plan = await self._plan()
        reason = None if self._session.row["approved"] else await self._why_unusual(plan)
        if reason is not None:
            await self._session.write(lambda tx: hold_pull(tx, self._session, self._connector, plan, reason))
            return
        plan, over = limit_plan(
            plan, files_max=self._settings.connector_files_max, bytes_max=self._settings.connector_bytes_max
        )
        self._outcome.take(plan, deferred=over)
        try:
            await self._fetch_all(plan)
        finally:
            with contextlib.suppress(SyncLost):
                await self._commit_landed()
        await self._session.write(lambda tx: sync_store.update_fetched(tx, self._session.sync_id))
        await self._read_stored()
        if self._session.context.stopping.is_set():
            await self._session.write(self._hand_over)
            return
        self._outcome.requests = self._remote.requests
        await self._session.write(lambda tx: close_pull(tx, self._session, self._connector, self._rules, self._outcome))

    async def _plan(self) -> Plan:
        self._ledger = await self._session.read(lambda tx: sync_store.list_entries(tx, self._connector.id))
        try:
            async with asyncio.timeout(LIST_S_MAX):
                listing = [found async for found in self._remote.list_objects(self._ledger)]
        except TimeoutError:
            raise RemoteFailed(f"The listing took more than {LIST_S_MAX:g} s.", permanent=False) from None
        row = self._session.row
        return await in_thread(
            lambda: plan_pull(listing, self._ledger, sync_id=row["id"], retry_failed=row["retry_failed"])
        )

    async def _why_unusual(self, plan: Plan) -> str | None:
        factor = self._rules.data_sources.hold_when_times_usual
        history = await self._session.read(lambda tx: sync_store.list_history(tx, self._connector.id, HISTORY_SYNCS))
        return why_unusual(plan, history, factor)

    async def _fetch_all(self, plan: Plan) -> None:
        """Bring the objects of a plan, many at a time; those not begun when time is up wait for the next sync."""
        waiting = iter(plan.fetch)
        await together(*(self._fetch_next(waiting) for _ in range(min(FETCHES_AT_ONCE, len(plan.fetch)))))
        self._outcome.deferred += sum(1 for _ in waiting)

    async def _fetch_next(self, waiting: Iterator[Found]) -> None:
        while not self._is_over():
            found = next(waiting, None)
            if found is None:
                return
            await self._fetch(found)
            if len(self._landed) >= COMMIT_FILES or (self._landed and self._commit_due.passed):
                await self._commit_landed()

    def _is_over(self) -> bool:
        return (
            self._deadline.passed
            or self._session.context.stopping.is_set()
            or self._failures_in_row >= FAILURES_IN_ROW_MAX
        )

    async def _fetch(self, found: Found) -> None:
        """Bring one object; what goes wrong with it is its own trouble and not that of the others."""
        entry, bytes_max = self._ledger.get(found.key), self._settings.upload_bytes_max
        key = object_key_of(self._connector.organization_id, self._connector.id, self._session.sync_id, found)
        try:
            check_size(found.size, bytes_max)
            async with (
                self._large if found.size > MEMORY_BYTES_MAX else contextlib.nullcontext(),
                StoreLanding(self._groups, key, bytes_max) as landing,
            ):
                fetched = await self._fetch_in_time(found, entry, landing)
                if fetched is None:
                    self._note_unchanged(entry)
                else:
                    await self._keep(found, entry, fetched, await landing.finish())
        except ObjectGone as error:
            self._outcome.gone(found, error.message)
        except (RemoteFailed, Error) as error:
            if error.code == "unavailable":  # our own store, which no other object will find better
                raise
            transient = isinstance(error, RemoteFailed) and not error.permanent
            self._outcome.fail(found, error.message, transient=transient, final=isinstance(error, TooBig))
            self._failures_in_row += transient
        else:
            self._failures_in_row = 0
            self._outcome.fetched += 1

    async def _fetch_in_time(self, found: Found, entry: Entry | None, landing: StoreLanding) -> Fetched | None:
        """A line that only trickles must not hold a pull for ever."""
        limit_s = self._settings.connector_s_max
        try:
            async with asyncio.timeout(limit_s):
                return await self._remote.fetch(found, entry, landing)
        except TimeoutError:
            raise RemoteFailed(f"The object did not come within {limit_s:g} s.", permanent=False) from None

    def _note_unchanged(self, entry: Entry | None) -> None:
        """Asking has shown that nothing is new."""
        if entry is None:
            raise RemoteFailed("The server says that nothing has changed, but nothing was known.", permanent=False)
        self._outcome.lines.append(_unchanged(entry, entry.etag, entry.size))

    async def _keep(self, found: Found, entry: Entry | None, fetched: Fetched, stored: Stored) -> None:
        """Note what has landed; the very content that is known already is let go again."""
        known = Entry(
            found.key, fetched.etag, stored.size_bytes, fetched.version, "stored", 0, self._session.sync_id,
            stored.sha256, object_key=stored.key,
        )  # fmt: skip
        line = None
        if entry is not None and entry.status == "uploaded" and entry.sha256 == stored.sha256:
            line = _unchanged(entry, known.etag, known.size)
            known = replace(
                known, status="uploaded", inventory_id=entry.inventory_id, rows=entry.rows, rejected=entry.rejected,
                object_key=None,
            )  # fmt: skip
            await in_thread(lambda: self._objects.delete(stored.key))
        self._landed.append(_Landed(found, known, line, fetched.modified_at))

    async def _commit_landed(self) -> None:
        """Write what has landed to the ledger, and a line of the manifest for each."""
        async with self._committing:
            landed, self._landed = self._landed, []
            self._commit_due = Deadline(COMMIT_S)
            if not landed:
                return
            organization_id, connector_id = self._connector.organization_id, self._connector.id
            lines = [
                (item.found.key, item.found.etag, item.entry.size, item.line.status if item.line else "stored",
                 line_json(item.line) if item.line else {"key": item.found.key})
                for item in landed
            ]  # fmt: skip

            def write(tx: Tx) -> None:
                entries = [(item.entry, item.modified_at) for item in landed]
                sync_store.upsert_entries(tx, organization_id, connector_id, entries)
                sync_store.upsert_lines(tx, organization_id, self._session.sync_id, lines)

            await self._session.write(write)
            self._outcome.own_lines += len(lines)

    async def _read_stored(self) -> None:
        """Read what is stored and make it inventory; also what an earlier run left."""
        entries = await self._session.read(lambda tx: sync_store.list_stored(tx, self._connector.id))
        waiting = iter(entries)
        reader = inventory.Reader(self._connector.connector.format)  # pyright: ignore[reportArgumentType]  # checked
        while not self._session.context.stopping.is_set():
            examined = await in_thread(lambda: self._examine_some(reader, waiting))
            if not examined:
                return
            added = await self._session.write(lambda tx: self._add(tx, examined))  # noqa: B023 - used at once
            for key in added:
                await in_thread(lambda: inventory.delete_object(key, self._settings))  # noqa: B023 - used at once

    def _examine_some(self, reader: inventory.Reader, waiting: Iterator[Entry]) -> list[_Examined]:
        """Read stored objects until there are enough for a transaction."""
        done: list[_Examined] = []
        started = time.monotonic()
        for entry in waiting:
            done.append(self._examine(reader, entry))
            if len(done) >= COMMIT_FILES or time.monotonic() - started > COMMIT_S:
                break
        return done

    def _examine(self, reader: inventory.Reader, entry: Entry) -> _Examined:
        key = entry.object_key or ""
        try:
            with self._objects.open(key) as file:
                found = reader.examine(file)
        except Error as error:
            if error.code == "unavailable":
                raise
            return _Examined(entry, None, error.message)
        origin = {
            "kind": "connector",
            "connector_id": self._connector.id,
            "sync_id": str(entry.sync_id),
            "key": entry.key,
            "etag": entry.etag,
        }
        return _Examined(entry, inventory.Draft(entry.key, origin, key, entry.size, entry.sha256 or "", found), None)

    def _add(self, tx: Tx, examined: list[_Examined]) -> list[str]:
        """Make what was read inventory, or reject it; answers keys of objects that are of no use any more."""
        organization_id, connector_id = self._connector.organization_id, self._connector.id
        # A commit whose answer was lost is tried again: what it did is not stored any more, and is left alone.
        waiting = sync_store.lock_stored(tx, connector_id, [item.entry.key for item in examined])
        mine = [item for item in examined if (item.entry.key, item.entry.etag) in waiting]
        drafts = [item.draft for item in mine if item.draft is not None]
        made = iter(inventory.add_all(tx, organization_id, self._connector.agent_id, drafts))
        entries: list[Entry] = []
        useless: list[str] = []
        for item in mine:
            if item.draft is None:
                entries.append(replace(item.entry, status="rejected", error=item.error, object_key=None))
                useless.append(item.entry.object_key or "")
                continue
            file = next(made)
            entries.append(
                replace(
                    item.entry, status="uploaded", inventory_id=file.id, rows=file.row_count,
                    rejected=file.reject_count, object_key=None,
                )
            )  # fmt: skip
        # Those that another sync left belong to this one now.
        entries = [replace(entry, sync_id=self._session.sync_id) for entry in entries]
        sync_store.upsert_entries(tx, organization_id, connector_id, [(entry, None) for entry in entries])
        lines = {entry.key: _line_of(entry) for entry in entries}
        had = sync_store.update_lines(
            tx, self._session.sync_id, [(key, line.status, line_json(line)) for key, line in lines.items()]
        )
        rest = [
            (key, line.etag, line.size, line.status, line_json(line)) for key, line in lines.items() if key not in had
        ]
        sync_store.upsert_lines(tx, organization_id, self._session.sync_id, rest)
        return useless

    def _hand_over(self, tx: Tx) -> None:
        """This worker drains: another goes on."""
        sync_store.update_waiting(tx, self._session.sync_id, error=None, delay_s=0.0)


def _unchanged(entry: Entry, etag: str, size: int) -> ManifestLine:
    return ManifestLine(
        entry.key, size, etag, entry.sha256, "unchanged", entry.inventory_id, entry.rows, entry.rejected, entry.error
    )


def _line_of(entry: Entry) -> ManifestLine:
    return ManifestLine(
        entry.key, entry.size, entry.etag, entry.sha256, "uploaded" if entry.status == "uploaded" else "rejected",
        entry.inventory_id, entry.rows, entry.rejected, entry.error,
    )  # fmt: skip
