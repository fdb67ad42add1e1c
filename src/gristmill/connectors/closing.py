"""How a pull ends: its manifest and receipt, and what that means for the connector. All in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill import agents, events
from gristmill.agents import Rules
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.connectors import service, store, sync_store, syncs
from gristmill.connectors.model import (
    PULL_FAILED,
    SYNC_HELD,
    SYNCS_KEPT,
    TRIES_MAX,
    ConnectorBusy,
    ConnectorPaused,
    Entry,
    Found,
    ManifestLine,
    Plan,
    StoredConnector,
    SyncStatus,
    line_json,
)
from gristmill.connectors.session import Session

OBJECTS_NAMED = 20
"""Objects that a pending item lists."""
FATES = ("uploaded", "unchanged", "rejected", "failed")


@dataclass(slots=True)
class _Failure:
    found: Found
    message: str
    transient: bool
    final: bool
    """Trying again can't help while the object is as it is."""
    is_gone: bool = False


@dataclass(slots=True)
class Outcome:
    """What a pull has come to so far, beside what is in the database already."""

    lines: list[ManifestLine] = field(default_factory=list[ManifestLine])
    """Objects that needed no reading."""
    failures: list[_Failure] = field(default_factory=list[_Failure])
    listed: int = 0
    ignored: int = 0
    deferred: int = 0
    done: int = 0
    """Listed objects that this sync handled before it was interrupted."""
    own_lines: int = 0
    """Lines of listed objects that this run wrote to the database."""
    fetched: int = 0
    requests: int = 0
    known: int = 0

    def take(self, plan: Plan, *, deferred: int) -> None:
        """What the plan has settled already."""
        self.lines += [*plan.unchanged, *plan.settled]
        self.listed, self.ignored, self.done, self.known = plan.listed, plan.ignored, plan.done, plan.known
        self.deferred += deferred

    def fail(self, found: Found, message: str, *, transient: bool, final: bool) -> None:
        """An object could not be read."""
        self.failures.append(_Failure(found, message, transient, final))

    def gone(self, found: Found, message: str) -> None:
        """An object was deleted before it could be read; that is nobody's fault."""
        self.failures.append(_Failure(found, message, transient=False, final=False, is_gone=True))

    @property
    def error(self) -> str | None:
        """What is wrong with the whole source; None when it is single objects, or nothing.

        Nothing could be read: that is the source's trouble when the other side did not answer, when it is so with
        several objects, or when there never was a good one.
        """
        wrong = [item for item in self.failures if not item.is_gone]
        if self.fetched or not wrong:
            return None
        if any(item.transient for item in wrong) or len(wrong) > 1 or not self.known:
            return wrong[-1].message
        return None


def close_pull(tx: Tx, session: Session, connector: StoredConnector, rules: Rules, outcome: Outcome) -> None:
    """End a pull with its receipt; the constraint of the table refuses one that does not add up."""
    error = outcome.error
    status: SyncStatus = "FAILED" if error else "COMPLETED"
    given_up = _keep_failures(tx, session, connector, outcome, count=error is None)
    written = [row["line"] for row in sync_store.list_lines(tx, session.sync_id)]
    failed = [ManifestLine(item.found.key, item.found.size, item.found.etag, None, "failed", error=item.message)
              for item in outcome.failures]  # fmt: skip
    manifest = sorted(
        [*written, *map(line_json, outcome.lines), *map(line_json, failed)], key=lambda line: str(line["key"])
    )
    # Lines of a run before that was cut off, whose objects have changed or gone since: they were listed then.
    before = max(0, len(written) - outcome.own_lines - outcome.done)
    counts = Counter(line["status"] for line in manifest)
    values = {
        **{fate: counts[fate] for fate in FATES},
        "listed": outcome.listed + before,
        "ignored": outcome.ignored,
        "deferred": outcome.deferred,
        "bytes": sum(int(line["size"]) for line in manifest if line["status"] in {"uploaded", "rejected"}),
        "rows": sum(int(line["rows"] or 0) for line in manifest if line["status"] == "uploaded"),
        "requests": outcome.requests,
        "error": error,
        "manifest": manifest,
        "exchanges": session.exchanges,
    }
    sync_store.update_closed(tx, session.sync_id, status, values)
    sync_store.delete_lines(tx, session.sync_id)
    if error:
        note_failure(tx, session, connector, rules, error)
        return
    store.update_synced(tx, connector.id)
    events.withdraw_pending(
        tx, connector.organization_id, connector.agent_id, PULL_FAILED, key=service.owner_of(connector.id)
    )
    if given_up:
        _file_given_up(tx, session, connector, given_up)
    announce(tx, session, connector, "completed", {name: values[name] for name in ("listed", *FATES, "bytes", "rows")})
    forget_old(tx, session)
    if outcome.deferred:
        _go_on(tx, connector)


def _keep_failures(
    tx: Tx, session: Session, connector: StoredConnector, outcome: Outcome, *, count: bool
) -> list[_Failure]:
    """Note in the ledger what could not be read; answers what is given up. An outage is no object's fault."""
    ledger = {}
    if outcome.failures:
        ledger = sync_store.list_entries(tx, connector.id)
    entries: list[Entry] = []
    given_up: list[_Failure] = []
    for item in outcome.failures:
        if item.is_gone or not count:
            continue
        found, before = item.found, ledger.get(item.found.key)
        same = before is not None and before.is_same(found) and before.status == "failed"
        tries = TRIES_MAX if item.final else (before.tries if before is not None and same else 0) + 1
        entries.append(
            Entry(
                found.key, found.etag, found.size, found.version, "failed", tries, session.sync_id, error=item.message
            )
        )
        if tries >= TRIES_MAX:
            given_up.append(item)
    sync_store.upsert_entries(tx, connector.organization_id, connector.id, [(entry, None) for entry in entries])
    return given_up


def _file_given_up(tx: Tx, session: Session, connector: StoredConnector, given_up: Sequence[_Failure]) -> None:
    shown = [{"key": item.found.key, "error": item.message} for item in given_up[:OBJECTS_NAMED]]
    events.file_pending(
        tx,
        connector.organization_id,
        connector.agent_id,
        PULL_FAILED,
        message=f"{len(given_up)} objects of the source `{connector.connector.name}` could not be read and are given "
        f"up until they change: {given_up[0].found.key}: {given_up[0].message}",
        facts={"connector_id": connector.id, "sync_id": str(session.sync_id), "objects": shown},
        key=f"{service.owner_of(connector.id)}:objects",
    )


def _go_on(tx: Tx, connector: StoredConnector) -> None:
    """What was over a limit is brought at once."""
    try:
        syncs.start_pull(tx, connector, cause="SCHEDULE")
    except (ConnectorBusy, ConnectorPaused):
        return


def hold_pull(tx: Tx, session: Session, connector: StoredConnector, plan: Plan, reason: str) -> None:
    """Keep a pull that would change far more than usual, until a person has decided."""
    manifest = [
        {"key": item.key, "size": item.size, "etag": item.etag, "sha256": None, "status": "held",
         "inventoryId": None, "rows": None, "rejected": None, "error": None, "version": item.version}
        for item in plan.fetch
    ]  # fmt: skip
    counts = Counter(line.status for line in plan.settled)
    values: Mapping[str, Any] = {
        "listed": plan.listed,
        "uploaded": 0,
        "unchanged": len(plan.unchanged),
        "rejected": counts["rejected"],
        "failed": counts["failed"],
        "ignored": plan.ignored,
        "deferred": len(plan.fetch),
        "bytes": 0,
        "rows": 0,
        "requests": 0,
        "error": reason,
        "manifest": manifest,
        "exchanges": session.exchanges,
    }
    sync_store.update_closed(tx, session.sync_id, "HELD", values)
    facts = {
        "connector_id": connector.id,
        "sync_id": str(session.sync_id),
        "files": len(plan.fetch),
        "bytes": plan.bytes,
    }
    events.file_pending(
        tx,
        connector.organization_id,
        connector.agent_id,
        SYNC_HELD,
        message=f"A pull of `{connector.connector.name}` waits for approval. {reason}",
        facts=facts,
        key=f"sync:{session.sync_id}",
    )
    announce(tx, session, connector, "held", {"message": reason, **facts})


def close_failed(tx: Tx, session: Session, message: str) -> None:
    """End a sync that could not go on; what it did before that stays done, and stands in its manifest."""
    connector = service.get(tx, session.organization_id, session.connector_id)
    lines = [row["line"] for row in sync_store.list_lines(tx, session.sync_id) if row["status"] != "stored"]
    counts = Counter(str(line["status"]) for line in lines)
    values: Mapping[str, Any] = {
        **{fate: counts[fate] for fate in FATES},
        "listed": len(lines),
        "ignored": 0,
        "deferred": 0,
        "bytes": sum(int(line["size"]) for line in lines),
        "rows": sum(int(line["rows"] or 0) for line in lines),
        "requests": 0,
        "error": message,
        "manifest": lines,
        "exchanges": session.exchanges,
    }
    sync_store.update_closed(tx, session.sync_id, "FAILED", values)
    sync_store.delete_lines(tx, session.sync_id)
    if session.row["direction"] == "INBOUND" and session.row["cause"] != "HOOK":
        try:
            rules = agents.read_rules(agents.get(tx, session.organization_id, connector.agent_id).rules)
        except Error:  # which may be the very failure that is noted here
            rules = agents.Rules()
        note_failure(tx, session, connector, rules, message)
    else:
        announce(tx, session, connector, "failed", {"message": message})


def note_failure(tx: Tx, session: Session, connector: StoredConnector, rules: Rules, error: str) -> None:
    """Count a failed pull; after so many in a row the source is paused and people are told."""
    failures = store.count_failure(tx, connector.id)
    announce(tx, session, connector, "failed", {"message": error, "failures_in_row": failures})
    forget_old(tx, session)
    limit = rules.data_sources.pause_source_after_failures
    if not limit or failures < limit or connector.connector.status == "PAUSED":
        return
    reason = f"{failures} pulls failed in a row. The last: {error}"[:1000]
    store.update_status(tx, connector.id, "PAUSED", reason)
    facts = {"connector_id": connector.id, "sync_id": str(session.sync_id), "failures_in_row": failures}
    events.file_pending(
        tx,
        connector.organization_id,
        connector.agent_id,
        PULL_FAILED,
        message=f"The source `{connector.connector.name}` is paused: {reason}",
        facts=facts,
        key=service.owner_of(connector.id),
    )
    data = {"agent_id": connector.agent_id, "name": connector.connector.name, "message": reason, **facts}
    events.emit(tx, connector.organization_id, "connector.paused", subject=service.owner_of(connector.id), data=data)


def announce(tx: Tx, session: Session, connector: StoredConnector, what: str, facts: Mapping[str, Any]) -> None:
    """Tell of a sync's beginning or end."""
    data = {
        "agent_id": connector.agent_id,
        "connector_id": connector.id,
        "sync_id": str(session.sync_id),
        "name": connector.connector.name,
        "direction": session.row["direction"],
        "job_id": str(session.row["batch_id"]) if session.row["batch_id"] else None,
        **facts,
    }
    events.emit(tx, connector.organization_id, f"connector.sync.{what}", subject=f"sync:{session.sync_id}", data=data)


def forget_old(tx: Tx, session: Session) -> None:
    """Keep the newest syncs only."""
    for row in sync_store.delete_old_syncs(tx, session.connector_id, SYNCS_KEPT):
        session.useless += service.parcel_keys(row["status"], row["parcel"] or {})
