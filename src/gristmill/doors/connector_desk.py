"""What `gristmill connector` does: add, show and test connectors, and run their syncs."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import typer
from pydantic import TypeAdapter

from gristmill import agents, connectors, engine
from gristmill.base.config import Settings, settings
from gristmill.base.db import Database
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.ids import parse_uuid
from gristmill.base.log import configure_logging
from gristmill.connectors import StoredConnector, Sync, SyncDetail, service, sync_store
from gristmill.doors.desk import default_organization, local_database
from gristmill.doors.listing import print_list

LISTED_MAX = 200
LOOK_S = 0.2
EXIT_FAILED = 1
OPEN = frozenset({"QUEUED", "RUNNING"})


@dataclass(frozen=True, slots=True)
class Place:
    """This installation."""

    database: Database
    settings: Settings
    organization_id: int

    def find(self, connector_id: int) -> StoredConnector:
        """A connector. Raises `ConnectorNotFound`."""
        with self.database.tx(self.organization_id) as tx:
            return connectors.get(tx, self.organization_id, connector_id)


@contextmanager
def _place() -> Generator[Place]:
    os.environ.setdefault("GRISTMILL_EGRESS_ALLOW", "loopback")  # the user's own machine
    current = settings()
    configure_logging(log_format=current.log_format, level="error", role="connector")
    with local_database() as database:
        with database.system() as tx:
            engine.reap_dead_processes(tx)
        yield Place(database, current, default_organization(database))


def add(
    name: str,
    *,
    agent: str,
    kind: str,
    inbound: bool,
    config: list[str],
    secret: list[str],
    schedule: str | None,
    timezone: str,
) -> None:
    """Check and save a connector."""
    draft = service.Draft(
        name,
        "INVENTORY_SOURCE" if inbound else "RESULTS_SINK",
        kind,
        _pairs(config, "--set"),
        schedule,
        timezone,
        secret=_pairs(secret, "--secret") or None,
    )
    with _place() as place:
        prepared = service.prepare(draft, None, place.settings)
        agent_id = _agent_id(place, agent)
        asyncio.run(service.ping(prepared, place.settings))
        with place.database.tx(place.organization_id) as tx:
            made = connectors.create(tx, place.organization_id, agent_id, prepared)
    typer.echo(f"Connector {made.id}: {made.name}")


def _pairs(texts: list[str], option: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Invalid(f"{option} takes NAME=VALUE.", errors=(FieldError(option, "takes NAME=VALUE"),))
        found[name] = value
    return found


def _agent_id(place: Place, name: str) -> int:
    with place.database.tx(place.organization_id) as tx:
        found = agents.get_by_name(tx, place.organization_id, name)
    if found is None:
        raise Invalid(f"There is no agent `{name}`.", errors=(FieldError("--agent", "names no agent"),))
    return found.id


def show_all(agent: str | None, *, as_json: bool) -> None:
    """Show the connectors of an agent, or of all."""
    with _place() as place:
        agent_id = None if agent is None else _agent_id(place, agent)
        with place.database.tx(place.organization_id) as tx:
            found = connectors.list_connectors(
                tx, place.organization_id, agent_id, role=None, page=1, per_page=LISTED_MAX
            ).data
            names = {
                number: agents.get(tx, place.organization_id, number).name for number in {c.agent_id for c in found}
            }
    if as_json:
        _print_json(found)
    elif found:
        print_list(
            ("id", "name", "agent", "direction", "type", "state", "last sync"),
            (
                (
                    str(item.id),
                    item.name,
                    names[item.agent_id],
                    "inbound" if item.role == "INVENTORY_SOURCE" else "outbound",
                    item.type,
                    item.status.lower(),
                    item.last_synced_at or "never",
                )
                for item in found
            ),
        )
    else:
        typer.echo("No connector yet: gristmill connector add", err=True)


def try_one(connector_id: int, *, write: bool, as_json: bool) -> None:
    """Climb the ladder and say how far it went."""
    with _place() as place:
        connector = place.find(connector_id)
        with place.database.tx(place.organization_id) as tx:
            secret = service.reveal(tx, connector, f"test of connector:{connector_id}") or {}
            ledger = sync_store.list_entries(tx, connector_id)
        result = asyncio.run(connectors.try_connector(connector, secret, ledger, place.settings, write=write))
        with place.database.tx(place.organization_id) as tx:
            service.record_test(tx, connector, ok=result.ok)
    if as_json:
        _print_json(result)
    else:
        for rung in result.rungs:
            mark = "ok  " if rung.ok else "FAIL"
            typer.echo(f"{mark} {rung.name} ({rung.duration_ms} ms) {rung.detail}")
            if rung.remote_error:
                typer.echo(f"     the other side said: {rung.remote_error}")
            if rung.fix and (not rung.ok or rung.warning):
                typer.echo(f"     {rung.fix}")
    if not result.ok:
        raise typer.Exit(EXIT_FAILED)


def pull(connector_id: int, *, retry_failed: bool, as_json: bool) -> None:
    """Begin a pull and wait for its end."""
    with _place() as place:
        connector = place.find(connector_id)
        with place.database.tx(place.organization_id) as tx:
            sync = connectors.start_pull(tx, connector, cause="MANUAL", retry_failed=retry_failed)
        detail = _finish(place, connector, sync.id)
    _show(detail, as_json=as_json)


def push(connector_id: int, job: str, *, as_json: bool) -> None:
    """Begin a push and wait for its end."""
    job_id = parse_uuid(job, "job")
    with _place() as place:
        connector = place.find(connector_id)
        with place.database.tx(place.organization_id) as tx:
            sync = connectors.start_push(tx, connector, job_id)
        detail = _finish(place, connector, sync.id)
    _show(detail, as_json=as_json)


def _finish(place: Place, connector: StoredConnector, sync_id: UUID) -> SyncDetail:
    """Wait for a sync; without any worker alive, this command is one."""
    with ExitStack() as stack:
        with place.database.system() as tx:
            alone = engine.live_workers(tx, within_s=place.settings.lease_timeout_s) == 0
        if alone:
            worker = engine.Worker(place.database, place.settings, queues=(engine.SHARED_QUEUE,))
            worker.start()
            stack.callback(worker.stop)
        while True:
            with place.database.tx(place.organization_id) as tx:
                detail = connectors.get_sync(tx, place.organization_id, connector.id, sync_id)
            if detail.sync.status not in OPEN:
                return detail
            time.sleep(LOOK_S)


def show_syncs(connector_id: int, *, limit: int, as_json: bool) -> None:
    """Show the latest pulls and pushes."""
    with _place() as place:
        place.find(connector_id)
        with place.database.tx(place.organization_id) as tx:
            found = connectors.list_syncs(tx, place.organization_id, connector_id, cursor=None, limit=limit).data
    if as_json:
        _print_json(found)
        return
    if not found:
        typer.echo("No sync yet: gristmill connector pull or push", err=True)
        return
    print_list(
        ("when", "direction", "state", "objects", "bytes", "what became of them"),
        (
            (
                sync.created_at,
                sync.direction.lower(),
                sync.status.lower(),
                sync.receipt.listed,
                sync.bytes,
                "; ".join(filter(None, (_fates(sync), sync.error))),
            )
            for sync in found
        ),
    )


def _fates(sync: Sync) -> str:
    """Of the objects, those fates that some had: `3 uploaded, 1 failed`."""
    names = ("uploaded", "unchanged", "rejected", "failed", "ignored", "deferred")
    counts = [(name, getattr(sync.receipt, name)) for name in names]
    return ", ".join(f"{count:,} {name}" for name, count in counts if count)


def _line(sync: Sync) -> str:
    receipt = sync.receipt
    return (
        f"{sync.direction.capitalize()} {sync.status.lower()}: {receipt.listed:,} objects = {receipt.uploaded:,}"
        f" uploaded + {receipt.unchanged:,} unchanged + {receipt.rejected:,} rejected + {receipt.failed:,} failed"
        f" + {receipt.ignored:,} ignored + {receipt.deferred:,} deferred; {sync.bytes:,} bytes"
    )


def _show(detail: SyncDetail, *, as_json: bool) -> None:
    if as_json:
        _print_json(detail)
    else:
        changed = [file for file in detail.manifest_json if file["status"] != "unchanged"]
        if changed:
            print_list(
                ("fate", "object", "bytes", "rows", "note"),
                ((file["status"], file["key"], file["size"], file.get("rows"), file.get("error")) for file in changed),
            )
        typer.echo(_line(detail.sync))
    if detail.sync.status == "HELD":
        typer.secho("It would change far more than usual and waits for approval.", fg="yellow", err=True)
    if detail.sync.status != "COMPLETED":
        raise typer.Exit(EXIT_FAILED)


def _print_json(value: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(type(value) if not isinstance(value, list) else list[Any])
    sys.stdout.buffer.write(adapter.dump_json(value) + b"\n")
