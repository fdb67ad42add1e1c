"""A file that was pushed in: its bytes are here already; it is read and becomes inventory."""

from __future__ import annotations

from typing import Any

from gristmill import inventory
from gristmill.base.db import Tx
from gristmill.base.errors import Error
from gristmill.base.objects import ObjectStore
from gristmill.connectors import store, sync_store
from gristmill.connectors.closing import announce, forget_old
from gristmill.connectors.model import ManifestLine, StoredConnector, line_json
from gristmill.connectors.session import Session, in_thread


async def take_file(session: Session, connector: StoredConnector) -> None:
    """Read the file and close the sync. One that can't be read is rejected; its bytes stay with the sync."""
    parcel: dict[str, Any] = session.row["parcel"]
    objects = ObjectStore.of(session.context.settings)

    def examine() -> tuple[inventory.Examined | None, str | None]:
        with objects.open(parcel["raw"]) as file:
            try:
                declared = connector.connector.format
                return inventory.Reader(declared).examine(file), None  # pyright: ignore[reportArgumentType]  # checked
            except Error as error:
                if error.code == "unavailable":
                    raise
                return None, error.message

    found, problem = await in_thread(examine)
    await session.write(lambda tx: _close(tx, session, connector, found, problem))


def _close(
    tx: Tx,
    session: Session,
    connector: StoredConnector,
    found: inventory.Examined | None,
    problem: str | None,
) -> None:
    parcel: dict[str, Any] = session.row["parcel"]
    line = ManifestLine(
        parcel["name"], parcel["size"], parcel["delivery_id"], parcel["sha256"], "rejected", error=problem
    )
    if found is not None:
        origin = {
            "kind": "connector",
            "connector_id": connector.id,
            "sync_id": str(session.sync_id),
            "key": parcel["name"],
            "delivery_id": parcel["delivery_id"],
        }
        draft = inventory.Draft(parcel["name"], origin, parcel["raw"], parcel["size"], parcel["sha256"], found)
        made = inventory.add(tx, connector.organization_id, connector.agent_id, draft)
        line = ManifestLine(
            line.key, line.size, line.etag, line.sha256, "uploaded", made.id, made.row_count, made.reject_count
        )
    values = {
        "listed": 1,
        "uploaded": int(found is not None),
        "unchanged": 0,
        "rejected": int(found is None),
        "failed": 0,
        "ignored": 0,
        "deferred": 0,
        "bytes": line.size,
        "rows": line.rows or 0,
        "requests": 0,
        "error": problem,
        "manifest": [line_json(line)],
        "exchanges": [],
    }
    sync_store.update_closed(tx, session.sync_id, "COMPLETED" if found else "FAILED", values)
    if found is not None:
        store.update_synced(tx, connector.id)
        announce(tx, session, connector, "completed", {"uploaded": 1, "rows": line.rows})
    else:
        announce(tx, session, connector, "failed", {"message": problem})
    forget_old(tx, session)
