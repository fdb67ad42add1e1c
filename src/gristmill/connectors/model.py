"""Nouns, states and pure rules of connectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from gristmill.base.errors import Conflict, NotFound

Role = Literal["INVENTORY_SOURCE", "RESULTS_SINK"]
Status = Literal["ACTIVE", "PAUSED"]
Direction = Literal["INBOUND", "OUTBOUND"]
Cause = Literal["SCHEDULE", "MANUAL", "HOOK", "BATCH"]
SyncStatus = Literal["QUEUED", "RUNNING", "HELD", "COMPLETED", "FAILED", "DEAD", "REJECTED"]
LineStatus = Literal["uploaded", "unchanged", "rejected", "failed"]
EntryStatus = Literal["stored", "uploaded", "rejected", "failed", "ignored"]

SYNC_TRANSITIONS: dict[SyncStatus, frozenset[SyncStatus]] = {
    "QUEUED": frozenset({"RUNNING", "FAILED"}),
    "RUNNING": frozenset({"QUEUED", "HELD", "COMPLETED", "FAILED", "DEAD"}),
    "HELD": frozenset({"QUEUED", "REJECTED"}),
    "COMPLETED": frozenset(),
    "FAILED": frozenset(),
    "DEAD": frozenset({"QUEUED"}),
    "REJECTED": frozenset(),
}
"""From which state to which. Back to `QUEUED`: a worker that died or drains, a retry, an approval, a replay."""

SYNCS_KEPT = 200
"""Syncs kept of a connector, with everything about them; a newer one takes the place of the oldest that has ended."""
TRIES_MAX = 3
"""An object that failed in this many syncs in a row is given up, until it changes or somebody asks for it."""
EXCHANGES_MAX = 100
"""Requests and answers kept of a sync."""
HISTORY_SYNCS = 10
HISTORY_SYNCS_MIN = 3
"""Syncs that brought something, before anything can be called unusual."""
UNUSUAL_FILES_MIN = 20
UNUSUAL_BYTES_MIN = 64 * 1024**2
CHANGED_SHARE_MAX = 0.5
"""Known objects that may come anew at once."""
HOOK_PATH = "/hooks/"

PULL_FAILED = "DATA_SOURCE_PULL_FAILED"
SYNC_HELD = "DATA_SOURCE_SYNC_HELD"
PUSH_FAILED = "DATA_SINK_PUSH_FAILED"
"""Kinds of pending items."""


class ConnectorNotFound(NotFound):
    """There is no such connector of this agent."""


class SyncNotFound(NotFound):
    """There is no such sync of this connector."""


class ConnectorBusy(Conflict):
    """A pull of this connector is under way."""


class ConnectorPaused(Conflict):
    """The connector is paused; a green test or PATCH with status ACTIVE activates it."""


class WrongState(Conflict):
    """The state of the sync does not allow that."""


def _camel(name: str) -> str:
    return name if name == "manifest_json" else to_camel(name)


CAMEL = ConfigDict(alias_generator=_camel, serialize_by_alias=True, validate_by_name=True)
"""Connectors speak camelCase, but for the one name that the manifest has."""


@dataclass(frozen=True, slots=True)
class Connector:
    """An agent's own place that inventory comes from or results go to."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    id: int
    agent_id: int
    name: str
    role: Role
    type: str
    config: dict[str, Any]
    """The kind's own settings, and `secretRef`."""
    secret_ref: UUID | None
    secret: dict[str, str]
    """The secret's values as they may be shown: `gm_byo_****1234`."""
    inbound_url: str | None
    """Where files can be pushed to; only of a source."""
    format: str | None
    """Of a source: what files must be, found out by their content unless set. Of a sink: what is written."""
    status: Status
    status_reason: str
    """Why it was paused, when nobody asked for it."""
    schedule_cron: str | None
    """Null: the agent's."""
    timezone: str
    next_run_at: datetime | None
    """When it is pulled by itself; null when it is not."""
    failures_in_row: int
    last_synced_at: datetime | None
    """End of the last sync that went well. What is new is decided by the ledger of objects, not by this time."""
    last_tested_at: datetime | None
    last_test_ok: bool | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredConnector:
    """A connector with what using it needs."""

    organization_id: int
    connector: Connector
    config: dict[str, Any]
    """The kind's own settings alone."""
    secret_id: UUID | None
    inbound_secret_id: UUID | None
    hook_id: str
    last_started_at: datetime | None

    @property
    def id(self) -> int:
        """The connector's id."""
        return self.connector.id

    @property
    def agent_id(self) -> int:
        """The agent that it belongs to."""
        return self.connector.agent_id


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """The fate of every object: listed = uploaded + unchanged + rejected + failed + ignored + deferred."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    listed: int = 0
    uploaded: int = 0
    """Became inventory; of a push: written."""
    unchanged: int = 0
    """Known already, so not read again."""
    rejected: int = 0
    """Can't be read as a table."""
    failed: int = 0
    """Could not be read or written; tried again by the next syncs."""
    ignored: int = 0
    """Folders, and keys that no glob matches."""
    deferred: int = 0
    """Over a limit of one sync; the next one takes them."""

    @property
    def closed(self) -> bool:
        """Whether every listed object has its fate."""
        parts = (self.uploaded, self.unchanged, self.rejected, self.failed, self.ignored, self.deferred)
        return self.listed == sum(parts)


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """What became of one object."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    key: str
    size: int
    etag: str
    sha256: str | None
    status: LineStatus
    inventory_id: UUID | None = None
    rows: int | None = None
    rejected: int | None = None
    """Records of the file that are no rows."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sync:
    """One pull or push of a connector."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    id: UUID
    connector_id: int
    direction: Direction
    cause: Cause
    status: SyncStatus
    job_id: UUID | None
    """The batch whose results are pushed."""
    receipt: SyncReceipt
    bytes: int
    """Of content that was moved."""
    rows: int
    requests: int
    tries: int
    """Times that it was begun."""
    due_at: datetime
    error: str | None
    created_at: datetime
    started_at: datetime | None
    fetched_at: datetime | None
    """When all bytes of a pull had come; what is left is reading them."""
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class SyncDetail:
    """A sync with everything that is kept of it."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    sync: Sync
    manifest_json: list[dict[str, Any]]
    """One line for each object: `{key, size, etag, sha256, status, inventoryId, rows, rejected, error}`."""
    exchanges: list[dict[str, Any]]
    """Requests and answers, the latest last."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object as the other side lists it."""

    key: str
    etag: str
    size: int
    version: str = ""
    modified_at: datetime | None = None
    ask: bool = False
    """Whether only reading it can tell if it has changed."""
    obstacle: str = ""
    """Why it can't be read; empty when it can."""
    ignored: bool = False
    """Whether the connector's own settings leave it out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of a key."""

    key: str
    etag: str
    size: int
    version: str
    status: EntryStatus
    tries: int
    sync_id: UUID
    sha256: str | None = None
    inventory_id: UUID | None = None
    rows: int | None = None
    rejected: int | None = None
    error: str | None = None
    object_key: str | None = None

    def is_same(self, found: Found) -> bool:
        """Whether this is the very object that was listed. No clock has a say in it."""
        same_version = not found.version or not self.version or found.version == self.version
        return self.etag == found.etag and self.size == found.size and same_version


@dataclass(slots=True)
class Plan:
    """What a pull has to do."""

    fetch: list[Found] = field(default_factory=list[Found])
    """New, changed, to be asked, or to be tried again; oldest first."""
    unchanged: list[ManifestLine] = field(default_factory=list[ManifestLine])
    settled: list[ManifestLine] = field(default_factory=list[ManifestLine])
    """Rejected or failed without being read: empty, archived, given up."""
    listed: int = 0
    ignored: int = 0
    done: int = 0
    """Handled by this very sync before it was interrupted."""
    changed: int = 0
    """Of those to be fetched: known keys with other content."""
    known: int = 0
    """Keys that the ledger had."""

    @property
    def bytes(self) -> int:
        """Of everything to be fetched."""
        return sum(item.size for item in self.fetch)


def plan_pull(
    listing: Iterable[Found],
    ledger: Mapping[str, Entry],
    *,
    sync_id: UUID | None = None,
    retry_failed: bool = False,
) -> Plan:
    """Compare a listing with the ledger, as sets: what is new is what the ledger does not have just so."""
    plan = Plan(known=len(ledger))
    seen: set[str] = set()
    for found in listing:
        plan.listed += 1
        if found.ignored or found.key in seen or (found.key.endswith("/") and found.size == 0):
            plan.ignored += 1
            continue
        seen.add(found.key)
        entry = ledger.get(found.key)
        same = entry is not None and entry.is_same(found)
        if entry is not None and same and entry.sync_id == sync_id:
            plan.done += 1
        elif found.obstacle:
            plan.settled.append(_line(found, "failed", found.obstacle))
        elif found.size == 0 and not found.ask:
            plan.settled.append(_line(found, "rejected", "The object is empty."))
        elif entry is not None and same and not found.ask and not _again(entry, retry_failed=retry_failed):
            _settle(plan, entry)
        else:
            plan.fetch.append(found)
            plan.changed += entry is not None and not same
    plan.fetch.sort(key=lambda item: (item.modified_at.timestamp() if item.modified_at else 0.0, item.key))
    return plan


def _again(entry: Entry, *, retry_failed: bool) -> bool:
    """Whether an unchanged object is read again."""
    if entry.status == "failed":
        return retry_failed or entry.tries < TRIES_MAX
    return entry.status == "rejected" and retry_failed


def _settle(plan: Plan, entry: Entry) -> None:
    if entry.status == "failed":
        error = f"Given up after {entry.tries} tries: {entry.error}"
        plan.settled.append(ManifestLine(entry.key, entry.size, entry.etag, None, "failed", error=error))
        return
    plan.unchanged.append(
        ManifestLine(
            entry.key, entry.size, entry.etag, entry.sha256, "unchanged", entry.inventory_id, entry.rows,
            entry.rejected, entry.error,
        )
    )  # fmt: skip


def _line(found: Found, status: LineStatus, error: str) -> ManifestLine:
    return ManifestLine(found.key, found.size, found.etag, None, status, error=error)


def limit_plan(plan: Plan, *, files_max: int, bytes_max: int) -> tuple[Plan, int]:
    """The part of a plan that one sync may do, and how many objects wait for the next one. One file always fits."""
    kept: list[Found] = []
    size = 0
    for item in plan.fetch:
        if len(kept) >= files_max or (kept and size + item.size > bytes_max):
            break
        kept.append(item)
        size += item.size
    return replace(plan, fetch=kept), len(plan.fetch) - len(kept)


@dataclass(frozen=True, slots=True)
class Moved:
    """What an earlier sync brought."""

    files: int
    bytes: int


def why_unusual(plan: Plan, history: Iterable[Moved], factor: float) -> str | None:
    """Why a pull should be looked at before it is applied, in words; None when it is like the ones before.

    `factor`: how many times the usual a sync may bring; 0 lets everything through.
    """
    usual = [item for item in history if item.files][:HISTORY_SYNCS]
    if factor <= 0 or len(usual) < HISTORY_SYNCS_MIN:
        return None
    files, size = median(item.files for item in usual), median(item.bytes for item in usual)
    if len(plan.fetch) > max(files * factor, UNUSUAL_FILES_MIN):
        return f"It would bring {len(plan.fetch)} files; usual are {files:g}."
    if plan.bytes > max(size * factor, UNUSUAL_BYTES_MIN):
        return f"It would bring {plan.bytes} bytes; usual are {size:.0f}."
    if plan.changed > max(plan.known * CHANGED_SHARE_MAX, UNUSUAL_FILES_MIN):
        return f"{plan.changed} of {plan.known} known objects have other content."
    return None


def object_key_of(organization_id: int, connector_id: int, sync_id: UUID, found: Found) -> str:
    """Where the bytes of an object are kept: the same place when an interrupted sync brings them again."""
    identity = "\0".join([found.key, found.etag, str(found.size), found.version])
    name = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"inventory/{organization_id}/connector-{connector_id}/{sync_id}/{name}"


def jitter_s(connector_id: int, most_s: int) -> int:
    """Seconds by which a connector starts late, always the same for one, so that not all start at once."""
    digest = hashlib.sha256(f"connector:{connector_id}".encode()).digest()
    return int.from_bytes(digest[:4]) % max(1, most_s)


def line_json(line: ManifestLine) -> dict[str, Any]:
    """A line as it stands in the manifest."""
    return {
        "key": line.key,
        "size": line.size,
        "etag": line.etag,
        "sha256": line.sha256,
        "status": line.status,
        "inventoryId": str(line.inventory_id) if line.inventory_id else None,
        "rows": line.rows,
        "rejected": line.rejected,
        "error": line.error,
    }
