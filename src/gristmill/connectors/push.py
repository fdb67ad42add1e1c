"""A push, from packing to the last piece that has arrived.

What goes out is packed once, kept, and sent as it is however often it is tried: pieces that have arrived are not sent
again, and a piece that may have arrived is sent so that a second time changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import chain
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from gristmill import agents, batches, events
from gristmill.agents import Rules
from gristmill.base import jsons
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Conflict, Error
from gristmill.base.log import get_log
from gristmill.base.objects import ObjectStore
from gristmill.batches.export import file_columns, result_lines
from gristmill.connectors import service, store, sync_store, syncs
from gristmill.connectors.closing import announce, forget_old
from gristmill.connectors.kinds import ConnectorKind, Remote
from gristmill.connectors.model import PUSH_FAILED, ManifestLine, StoredConnector, line_json
from gristmill.connectors.remote import Exchange, Job, Piece, PieceForm, RemoteFailed
from gristmill.connectors.session import Session, SyncLost, in_thread

log = get_log("connectors")

WAITS_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0, 36_000.0)
"""Pause before each further try."""
JITTER = 0.1
RETRY_AFTER_S_MAX = 86_400.0
FINAL = frozenset({"http_410", "in_the_way", "egress_refused"})
"""Failures that no further try can mend."""


class BatchGoesOn(Conflict):
    """The batch was started again; when it completes, its results are pushed anew."""


class Push:
    """One push while this worker has it."""

    def __init__(
        self,
        session: Session,
        connector: StoredConnector,
        kind: ConnectorKind,
        config: BaseModel,
        remote: Remote,
        rules: Rules,
    ) -> None:
        self._session = session
        self._connector = connector
        self._kind = kind
        self._config = config
        self._remote = remote
        self._rules = rules
        self._objects = ObjectStore.of(session.context.settings)
        self._parcel: dict[str, Any] = session.row["parcel"] or {}

    async def run(self) -> None:
        """Pack, send what has not arrived, close; or put it off. Raises `SyncLost`."""
        self._session.exchanges = await self._session.read(
            lambda tx: sync_store.find_exchanges(tx, self._session.sync_id)
        )
        try:
            if "pieces" not in self._parcel:
                await self._pack()
            done = await self._send_all()
        except (SyncLost, BatchGoesOn):
            raise
        except (RemoteFailed, Error) as error:
            await self._put_off(error)
            return
        if done:
            await self._session.write(self._close)
            self._session.useless += service.parcel_keys("COMPLETED", self._parcel)
        else:
            await self._session.write(self._hand_over)

    async def _pack(self) -> None:
        """Make the pieces and keep them."""
        session, connector = self._session, self._connector
        job = await session.read(lambda tx: load_job(tx, session.context.database, session, connector))
        form = connector.connector.format or self._kind.push_formats[0]

        def keep(name: str, what: PieceForm, content_type: str, data: Iterable[bytes], rows: int) -> Piece:
            key = f"pushes/{connector.organization_id}/{session.sync_id}/{len(pieces) + 1}"
            stored = self._objects.put_stream(key, data)
            return Piece(name, what, content_type, stored.size_bytes, stored.sha256, rows, key)

        pieces: list[Piece] = []

        def pack() -> None:
            for piece in self._kind.pack(self._config, job, form, keep):
                pieces.append(piece)  # noqa: PERF402 - `keep` looks at how many there are

        await in_thread(pack)
        self._parcel["pieces"] = [asdict(piece) for piece in pieces]
        await self._save()

    async def _send_all(self) -> bool:
        """Send what has not arrived, one after the other; False when this worker drains first."""
        earlier = await self._session.read(self._earlier)
        for index, facts in enumerate(self._parcel["pieces"]):
            piece = Piece(**facts)
            if piece.delivered_at is not None:
                continue
            if self._session.context.stopping.is_set():
                return False
            data = await in_thread(lambda: self._objects.open(piece.object_key))  # noqa: B023 - used at once
            with data:
                etag = await self._remote.send(piece, data, earlier.get(piece.name), _Trail(self, piece.name))
            now = await self._session.read(lambda tx: tx.now)
            self._parcel["pieces"][index] = asdict(replace(piece, etag=etag, delivered_at=now.isoformat()))
            await self._save()
        return True

    def _earlier(self, tx: Tx) -> dict[str, Piece]:
        """What an earlier push of this batch wrote, by name."""
        session = self._session
        parcel = sync_store.find_last_parcel(tx, session.connector_id, session.row["batch_id"], session.sync_id)
        return {facts["name"]: Piece(**facts) for facts in (parcel or {}).get("pieces", [])}

    async def _save(self) -> None:
        await self._session.write(lambda tx: sync_store.update_parcel(tx, self._session.sync_id, self._parcel))

    async def remember(self, name: str, text: str | None) -> None:
        """What the next try should know of a piece."""
        memory: dict[str, str] = self._parcel.setdefault("memory", {})
        memory.pop(name, None)
        if text is not None:
            memory[name] = text
        await self._save()

    def recalled(self, name: str) -> str | None:
        """What an earlier try remembered of a piece."""
        return self._parcel.get("memory", {}).get(name)

    def note(self, exchange: Exchange) -> None:
        """Keep a request and its answer."""
        self._session.note(exchange)

    def _close(self, tx: Tx) -> None:
        pieces = [Piece(**facts) for facts in self._parcel["pieces"]]
        values = self._values(pieces, None)
        sync_store.update_parcel(tx, self._session.sync_id, self._parcel)
        sync_store.update_closed(tx, self._session.sync_id, "COMPLETED", values)
        store.update_synced(tx, self._connector.id)
        events.withdraw_pending(
            tx,
            self._connector.organization_id,
            self._connector.agent_id,
            PUSH_FAILED,
            key=f"sync:{self._session.sync_id}",
        )
        announce(tx, self._session, self._connector, "completed", {"bytes": values["bytes"], "rows": values["rows"]})
        forget_old(tx, self._session)

    def _values(self, pieces: list[Piece], error: str | None) -> dict[str, Any]:
        lines = [
            ManifestLine(
                piece.name, piece.size, piece.etag or "", piece.sha256,
                "uploaded" if piece.delivered_at else "failed", rows=piece.rows,
                error=None if piece.delivered_at else error,
            )
            for piece in pieces
        ]  # fmt: skip
        arrived = [piece for piece in pieces if piece.delivered_at]
        return {
            "listed": len(pieces),
            "uploaded": len(arrived),
            "unchanged": 0,
            "rejected": 0,
            "failed": len(pieces) - len(arrived),
            "ignored": 0,
            "deferred": 0,
            "bytes": sum(piece.size for piece in arrived),
            "rows": sum(piece.rows for piece in arrived),
            "requests": self._remote.requests,
            "error": error,
            "manifest": [line_json(line) for line in lines],
            "exchanges": self._session.exchanges,
        }

    def _hand_over(self, tx: Tx) -> None:
        """This worker drains: another goes on."""
        session = self._session
        sync_store.update_waiting(tx, session.sync_id, error=None, delay_s=0.0, exchanges=session.exchanges)

    async def _put_off(self, error: RemoteFailed | Error) -> None:
        """Try again later as the rule says; after the last try the push is dead and a person is asked."""
        failures = self._parcel["failures"] = self._parcel.get("failures", 0) + 1
        final = error.code in FINAL or failures > self._rules.data_sinks.retry_failed_push
        message = error.message
        if not final:
            after = error.retry_after_s if isinstance(error, RemoteFailed) else None
            await self._session.write(lambda tx: self._wait(tx, message, wait_s(failures, after)))
            return
        log.warning("a push is dead", sync=str(self._session.sync_id), error=message)
        await self._session.write(lambda tx: self._die(tx, message))

    def _wait(self, tx: Tx, message: str, delay_s: float) -> None:
        session = self._session
        sync_store.update_parcel(tx, session.sync_id, self._parcel)
        sync_store.update_waiting(tx, session.sync_id, error=message, delay_s=delay_s, exchanges=session.exchanges)

    def _die(self, tx: Tx, message: str) -> None:
        session, connector = self._session, self._connector
        self._parcel["failures"] = 0  # a replay has all its tries again
        sync_store.update_parcel(tx, session.sync_id, self._parcel)
        pieces = [Piece(**facts) for facts in self._parcel.get("pieces", [])]
        sync_store.update_closed(tx, session.sync_id, "DEAD", self._values(pieces, message))
        store.count_failure(tx, connector.id)
        events.file_pending(
            tx,
            connector.organization_id,
            connector.agent_id,
            PUSH_FAILED,
            message=f"Results could not be pushed to `{connector.connector.name}`: {message}",
            facts={
                "connector_id": connector.id,
                "sync_id": str(session.sync_id),
                "job_id": str(session.row["batch_id"]),
            },
            key=f"sync:{session.sync_id}",
        )
        announce(tx, session, connector, "failed", {"message": message})


class _Trail:
    """See Trail: of one piece."""

    def __init__(self, push: Push, name: str) -> None:
        self._push = push
        self._name = name

    @property
    def recalled(self) -> str | None:
        return self._push.recalled(self._name)

    def note(self, exchange: Exchange) -> None:
        self._push.note(exchange)

    async def remember(self, text: str | None) -> None:
        await self._push.remember(self._name, text)


def wait_s(failures: int, retry_after_s: float | None) -> float:
    """Seconds until the next try after so many failed ones; a receiver that names a later time gets it."""
    base = WAITS_S[min(failures, len(WAITS_S)) - 1]
    jittered = base * (1 + JITTER * random.random())  # noqa: S311 - spreads load, guards nothing
    return max(jittered, min(retry_after_s or 0.0, RETRY_AFTER_S_MAX))


def load_job(tx: Tx, database: Database, session: Session, connector: StoredConnector) -> Job:
    """What a kind needs to know of the batch whose results it packs."""
    organization_id, batch_id = connector.organization_id, session.row["batch_id"]
    batch = batches.get(tx, organization_id, batch_id)
    if batch.status != "completed":
        raise BatchGoesOn
    receipt = batches.receipt(tx, organization_id, batch_id)
    counts = {
        name: int(getattr(receipt, name))
        for name in ("rows_in", "succeeded", "empty", "failed", "skipped", "duplicate", "cancelled")
    }

    def results() -> Iterator[dict[str, Any]]:
        return map(result_json, result_lines(database, organization_id, batch_id))

    def file(form: str) -> Iterable[bytes]:
        if form == "json":
            return _array(results())
        return batches.export(database, organization_id, batch_id, form)

    matched = store.count_matched(tx, batch_id)
    return Job(
        id=batch_id,
        push_id=session.sync_id,
        agent_id=batch.agent_id,
        organization_id=organization_id,
        completed_at=batch.finished_at,
        stats={"total": counts["rows_in"], "matched": matched, "unmatched": counts["rows_in"] - matched},
        receipt=counts,
        columns=file_columns(tx, organization_id, batch_id),
        results=results,
        file=file,
    )


def result_json(line: Mapping[str, Any]) -> dict[str, Any]:
    """One row's result as it is posted."""
    return {
        "rowId": line["row_id"],
        "rowNumber": line["row_number"],
        "externalId": line["external_id"],
        "status": line["status"],
        "data": line["data"],
        "result": line["result"],
        "error": line["error"],
    }


def _array(results: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """A JSON array, an element per line."""
    first = next(results, None)
    yield b"["
    if first is not None:
        yield b"\n" + jsons.dumps(first)
        yield from chain.from_iterable((b",\n", jsons.dumps(item)) for item in results)
    yield b"\n]\n"


def push_completed(tx: Tx, organization_id: int, batch: Mapping[str, Any]) -> None:
    """A batch is complete: have its results pushed where the agent's rule says so, in the batch's own transaction."""
    agent_id = int(batch["agent_id"])
    try:
        rules = agents.read_rules(agents.get(tx, organization_id, agent_id).rules)
    except Error as error:  # a rule that can't be read must not keep a batch from completing
        log.warning("the rules of an agent can't be read", agent=agent_id, error=error.message)
        return
    if rules.data_sinks.auto_push_on_job_complete:
        for connector_id in store.list_sinks_to_push(tx, organization_id, agent_id):
            syncs.queue_push(tx, organization_id, connector_id, UUID(str(batch["batch_id"])), cause="BATCH")
