"""The Test button: rung by rung from the host's name to what the next sync would do. Nothing is moved."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from pydantic import BaseModel

from gristmill.base.config import Settings
from gristmill.connectors.kinds import KINDS, ConnectorKind, Remote
from gristmill.connectors.ladder import ConnectorTest, Fell, Ladder, Rung, climb_to_host
from gristmill.connectors.model import HOOK_PATH, Entry, StoredConnector, plan_pull
from gristmill.connectors.remote import SAMPLE_BYTES, Door, MemoryLanding, RemoteFailed
from gristmill.connectors.service import parse_config
from gristmill.inventory.model import fits, format_of
from gristmill.tables import Table, read_table

SAMPLE_ROWS = 100
TEST_S_MAX = 120.0
SAMPLE_BYTES_MAX = 64 * 1024**2
UNPACKED_BYTES = 4 * 1024**2
"""Of a packed sample that is only the beginning of a file, at most this much is unpacked."""
GZIP_MAGIC = b"\x1f\x8b"
WHOLE_FILES = (b"PK\x03\x04", b"PAR1", b"\xd0\xcf\x11\xe0", b"\x28\xb5\x2f\xfd")
"""Beginnings of files that can't be read in part: zip and XLSX, Parquet, XLS, Zstandard."""
COLUMNS_SHOWN = 12


async def try_connector(
    connector: StoredConnector,
    secret: Mapping[str, str],
    ledger: Mapping[str, Entry],
    settings: Settings,
    *,
    write: bool,
) -> ConnectorTest:
    """Climb the ladder of a connector; `write` lets a sink be written to for a moment."""
    kind = KINDS.get(connector.connector.type)
    config = parse_config(kind.Config, connector.config)
    role, door, ladder = connector.connector.role, Door.of(settings), Ladder()
    try:
        async with asyncio.timeout(TEST_S_MAX):
            if role == "INVENTORY_SOURCE" and not kind.pulls(config):
                _climb_inbound(ladder, connector, secret)
            else:
                await climb_to_host(ladder, door.egress, kind.host_url(config) or "")
                async with kind.open(config, secret, door) as remote:
                    await _climb(ladder, connector, kind, config, remote, ledger, write=write)
    except Fell:
        pass
    except TimeoutError:
        ladder.rungs.append(Rung("time", ok=False, detail=f"The test took more than {TEST_S_MAX:g} s."))
    return ConnectorTest(ladder.ok, ladder.rungs, kind.policy(config, role))


def _climb_inbound(ladder: Ladder, connector: StoredConnector, secret: Mapping[str, str]) -> None:
    with ladder.rung("inbound") as step:
        if not secret and connector.inbound_secret_id is None:
            raise RemoteFailed(
                "Whoever pushes can't prove who they are.", permanent=True,
                fix="Set authScheme with a secret, or make an inbound key.",
            )  # fmt: skip
        step.detail = f"Files are taken at {HOOK_PATH}{connector.hook_id}."


async def _climb(
    ladder: Ladder,
    connector: StoredConnector,
    kind: ConnectorKind,
    config: BaseModel,
    remote: Remote,
    ledger: Mapping[str, Entry],
    *,
    write: bool,
) -> None:
    role = connector.connector.role
    landing = MemoryLanding(SAMPLE_BYTES_MAX)
    key = await remote.climb(ladder, role, landing, write=write)
    if role == "RESULTS_SINK":
        with ladder.rung("destination") as step:
            form = connector.connector.format or kind.push_formats[0]
            step.detail = f"Results would go to {kind.place(config, role)}, as {form}."
        return
    if key is not None:
        await asyncio.to_thread(_climb_sample, ladder, landing.read(), connector.connector.format)
    with ladder.rung("next sync") as step:
        step.detail = await _next_sync(remote, ledger)


def _climb_sample(ladder: Ladder, data: bytes, declared: str | None) -> None:
    """The rungs `decompress`, `sniff` and `parse` over the beginning of a file."""
    with ladder.rung("decompress") as step:
        sample, step.detail = _unpacked(data)
    with ladder.rung("sniff") as step:
        table = read_table(sample)
        found = format_of(table.dialect)
        if not fits(declared, found):  # pyright: ignore[reportArgumentType]  # checked when it was saved
            raise RemoteFailed(
                f"The file is {found}; {declared} was expected.", permanent=True, fix="Set another format, or none."
            )
        step.detail = _described(table)
    with ladder.rung("parse") as step:
        rows = 0
        for group in table.groups():
            rows += len(group.rows)
            if rows >= SAMPLE_ROWS:
                break
        names = ", ".join(column.name for column in table.columns[:COLUMNS_SHOWN])
        if len(table.columns) > COLUMNS_SHOWN:
            names += f" and {len(table.columns) - COLUMNS_SHOWN} more"
        step.detail = f"{min(rows, SAMPLE_ROWS)} rows of {len(table.columns)} columns: {names}."
        if table.receipt.rejects:
            step.warning = True
            step.detail += f" {table.receipt.rejects} records are no rows; the first: {table.rejects[0].reason}"


def _described(table: Table) -> str:
    dialect = table.dialect
    found = format_of(dialect)
    if found == "CSV":
        return f"CSV with {dialect.delimiter!r} between cells, in {dialect.encoding}."
    return f"{found}."


def _unpacked(data: bytes) -> tuple[bytes, str]:
    """A file, or its beginning, as it can be read: unpacked; a beginning is cut after its last whole line."""
    whole = len(data) < SAMPLE_BYTES
    if data.startswith(GZIP_MAGIC):
        inflater = zlib.decompressobj(wbits=31)
        try:
            unpacked = inflater.decompress(data, UNPACKED_BYTES)
            whole = whole and inflater.eof
        except zlib.error as error:
            raise RemoteFailed(f"The gzip file is damaged: {error}.", permanent=True, raw=str(error)) from None
        return unpacked if whole else _whole_lines(unpacked), f"gzip, {len(unpacked)} bytes unpacked so far."
    if data.startswith(WHOLE_FILES):
        return data, "Packed by its own format."
    return data if whole else _whole_lines(data), "Not packed."


def _whole_lines(data: bytes) -> bytes:
    end = data.rfind(b"\n")
    return data[: end + 1] if end > 0 else data


async def _next_sync(remote: Remote, ledger: Mapping[str, Entry]) -> str:
    listing = [found async for found in remote.list_objects(ledger)]
    plan = plan_pull(listing, ledger)
    if any(item.ask for item in listing):
        return "It would ask whether the file has changed since it was last read."
    parts = [f"It would bring {len(plan.fetch)} files of {plan.bytes} bytes", f"{len(plan.unchanged)} are known"]
    if plan.settled:
        parts.append(f"{len(plan.settled)} can't be read")
    return f"{'; '.join(parts)}."
