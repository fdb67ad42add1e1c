"""`gristmill run`: the main job from the shell.

It starts what it needs in its own process, runs an agent over every row of a file, and writes the results. Everything
is in the database, so the same command again - after Ctrl-C, `kill -9` or a power cut - goes on where it stopped and
repeats no finished row.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import typer

from gristmill import batches, engine, tables
from gristmill.agents import Agent
from gristmill.agents.model import TIMEOUT_S_MAX
from gristmill.base import jsons
from gristmill.base.config import settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.log import configure_logging
from gristmill.base.money import parse_usd
from gristmill.batches import Batch
from gristmill.batches.columns import propose, sure_columns
from gristmill.doors.agent_file import AgentSpec, find_agent, spec_of
from gristmill.doors.desk import default_organization, local_database
from gristmill.doors.process import Stops
from gristmill.doors.progress import Progress, print_outcome
from gristmill.mapping import SAMPLE_ROWS

LOOK_S = 0.1
EXIT_FAILED_ROWS = 3
EXIT_STOPPED = 1
EXIT_INTERRUPTED = 130
HASH_CHUNK = 1024**2
MATCH_CONCURRENCY = 256
"""Rows in flight of a matching, each of which only waits for the one answer that holds them all."""
REJECTS_SUFFIX = ".rejects.jsonl"


@dataclass(frozen=True, slots=True)
class MatchOrder:
    """The file that rows are matched with, instead of an agent."""

    file: Path
    key: str | None
    threshold: float | None
    one_to_one: bool | None


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What the command line asks for."""

    file: Path
    agent: str
    """Empty when rows are matched."""
    out: Path
    mapping: Mapping[str, str]
    limit: int | None
    budget: str | None
    concurrency: int | None
    max_failures: int | None
    retry_failed: bool
    fresh: bool
    match: MatchOrder | None = None


@dataclass(slots=True)
class Interrupt:
    """Ctrl-C: once to stop in order, twice to stop at once."""

    asked: threading.Event = field(default_factory=threading.Event)
    _stops: Stops = field(default_factory=Stops)

    def install(self) -> None:
        """Take over SIGINT and SIGTERM."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        if self._stops.again():
            os._exit(EXIT_INTERRUPTED)
        self.asked.set()


def run_file(order: RunOrder) -> int:
    """Run an agent over a file; answers the exit code."""
    if order.out.suffix.lstrip(".") not in batches.FORMATS:
        message = f"must end in {' or '.join('.' + kind for kind in batches.FORMATS)}"
        raise Invalid(f"The output file {message}.", errors=(FieldError("--out", message),))
    check_writable(order.out)
    os.environ.setdefault("GRISTMILL_EGRESS_ALLOW", "loopback")  # the user's own machine, the user's own agent
    current = settings()
    configure_logging(log_format=current.log_format, level="error", role="run")
    spec = spec_of(order.agent) if order.match is None else _match_spec(order.match)
    interrupt = Interrupt()
    interrupt.install()
    with local_database() as database:
        organization_id = default_organization(database)
        with database.system() as tx:
            engine.reap_dead_processes(tx)
        batch, agent = _open_batch(database, organization_id, order, spec)
        if batch.status in {"queued", "running"}:
            worker = engine.Worker(database, current, queues=(engine.LOCAL_QUEUE,))
            worker.start()
            try:
                batch = watch(database, organization_id, batch, agent, interrupt)
            finally:
                worker.stop()
        _export(database, organization_id, batch, order.out)
        with database.tx(organization_id) as tx:
            batch = batches.get(tx, organization_id, batch.id)
            receipt = batches.receipt(tx, organization_id, batch.id)
            failures = batches.failures(tx, organization_id, batch.id) if batch.failed else []
    print_outcome(batch, receipt, failures, order.out)
    if order.match is not None and receipt.closed:
        _report_matches(batch, order.match)
    return exit_code(batch, interrupted=interrupt.asked.is_set())


def _open_batch(database: Database, organization_id: int, order: RunOrder, spec: AgentSpec) -> tuple[Batch, Agent]:
    """The batch of this very command: the one it started before, or a new one."""
    table = tables.read_table(order.file)
    columns = [column.name for column in table.columns]
    with database.tx(organization_id) as tx:
        agent = find_agent(tx, organization_id, spec, concurrency=order.concurrency)
        proposed = _propose(table, agent, order.mapping)
        mapping = match_columns(columns, agent, order.mapping, proposed)
        run_key = _run_key(order, agent, mapping)
        found = batches.get_by_run_key(tx, organization_id, run_key)
        if found is not None and order.fresh:
            if found.status in {"queued", "running"}:  # its process was killed; nobody else would end it
                batches.cancel(tx, organization_id, found.id)
            batches.forget_run_key(tx, organization_id, found.id)
            found = None
        if found is not None:
            return _take_up(tx, organization_id, found, order, agent), agent
        batch = batches.create(
            tx,
            organization_id,
            agent,
            batches.Order(
                origin={"kind": "file", "name": order.file.name},
                mapping=mapping,
                columns=columns,
                name=order.file.name,
                row_limit=order.limit,
                budget_micro_usd=None if order.budget is None else parse_usd(order.budget, "--budget"),
                max_failures=order.max_failures,
                run_key=run_key,
                queue=engine.LOCAL_QUEUE,
            ),
            table.rows(),
        )
    _report_table(table, order.out)
    _report_mapping(mapping, agent)
    return batch, agent


def _take_up(tx: Tx, organization_id: int, batch: Batch, order: RunOrder, agent: Agent) -> Batch:
    """Go on with a batch that an earlier call of this command started."""
    done = batch.rows_in - batch.pending - batch.running
    typer.echo(
        f"Going on with the run of {batch.created_at:%Y-%m-%d %H:%M} UTC: {done} of {batch.rows_in} rows are done."
    )
    if order.retry_failed and batch.failed and batch.status not in {"queued", "running"}:
        return batches.retry(tx, organization_id, batch.id, batches.RetryOrder(), agent)
    if batch.status == "completed":
        typer.echo("Nothing is left to run. `--fresh` runs all rows anew, `--retry-failed` the failed ones.")
        return batch
    if batch.status in {"queued", "running"}:  # its process was killed: end what it left and start over
        batches.pause(tx, organization_id, batch.id)
    return batches.resume(tx, organization_id, batch.id)


def _propose(table: tables.Table, agent: Agent, given: Mapping[str, str]) -> dict[str, str]:
    """Columns for the agent's fields by what headers and values say; none where the user named all."""
    if not agent.input_fields or all(item.name in given for item in agent.input_fields):
        return {}
    names = [column.name for column in table.columns]
    return sure_columns(propose(agent, names, islice(table.rows(), SAMPLE_ROWS)))


def match_columns(
    columns: list[str], agent: Agent, given: Mapping[str, str], proposed: Mapping[str, str]
) -> dict[str, str]:
    """Field -> column: what the user gave; for the agent's other fields the column of the same name, or a proposed one.

    Names are compared without case, spaces and punctuation. Raises `Invalid` for a column that is not there and for a
    required field without one.
    """
    missing = [column for column in given.values() if column not in columns]
    if missing:
        raise Invalid(f"The file has no column {', '.join(missing)}; it has: {', '.join(columns)}.")
    if not agent.input_fields:
        if not given:
            return {}  # the agent gets the row as it is
        return {column: column for column in columns if column not in given.values()} | dict(given)
    fields = [item.name for item in agent.input_fields]
    unknown = [name for name in given if name not in fields]
    if unknown:
        message = f"The agent has no field {', '.join(unknown)}; it takes: {', '.join(fields)}."
        raise Invalid(message, errors=(FieldError("--map", message),))
    by_name = {_plain(column): column for column in reversed(columns)}
    mapping = dict(given)
    for item in agent.input_fields:
        column = by_name.get(_plain(item.name))
        if item.name not in mapping and column is not None:
            mapping[item.name] = column
    used = set(mapping.values())
    mapping |= {name: column for name, column in proposed.items() if name not in mapping and column not in used}
    lacking = [item.name for item in agent.input_fields if item.required and item.name not in mapping]
    if lacking:
        hints = " ".join(f"--map {name}=COLUMN" for name in lacking)
        raise Invalid(
            f"The agent needs {', '.join(lacking)}. Say which column: {hints}. Columns: {', '.join(columns)}."
        )
    if not mapping:
        takes, has = ", ".join(fields), ", ".join(columns)
        raise Invalid(f"No column feeds the agent, which takes {takes}. Use --map. Columns: {has}.")
    return mapping


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _run_key(order: RunOrder, agent: Agent, mapping: Mapping[str, str]) -> str:
    """What makes two calls the same run: the file's bytes, the agent, the mapping and the limit."""
    digest = hashlib.sha256()
    with order.file.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    facts = {"agent": agent.id, "version": agent.version, "mapping": dict(mapping), "limit": order.limit}
    digest.update(jsons.dumps_sorted(facts))
    return digest.hexdigest()


def _match_spec(order: MatchOrder) -> AgentSpec:
    """An agent that matches with a file; a changed file is another version of it."""
    from gristmill.agents.runtimes.match import file_config  # noqa: PLC0415 - only this command needs it

    typer.echo(f"Matching with {order.file.name}: rows are compared all together, then written one by one.", err=True)
    config = file_config(order.file, key=order.key, threshold=order.threshold, one_to_one=order.one_to_one)
    values = {"runtime": "match", "config": config, "concurrency": MATCH_CONCURRENCY, "timeout_s": TIMEOUT_S_MAX}
    name = f"match {order.file.name}"[:200]
    return AgentSpec(name, {"name": name, **values})


def _report_matches(batch: Batch, order: MatchOrder) -> None:
    """Say how many rows have a match."""
    told = f"{batch.succeeded:,} rows have a match in {order.file.name}, {batch.empty:,} have none."
    typer.echo(
        told + (f" {batch.duplicate:,} equal rows share the outcome of another." if batch.duplicate else ""), err=True
    )


def _report_mapping(mapping: Mapping[str, str], agent: Agent) -> None:
    """Say which columns feed the agent where any has another name than its field."""
    if agent.input_fields and any(_plain(name) != _plain(column) for name, column in mapping.items()):
        typer.echo("Mapped: " + ", ".join(f"{name} = {column}" for name, column in mapping.items()))


def _report_table(table: tables.Table, out: Path) -> None:
    """Say what of the file is no row, and keep those lines beside the output."""
    receipt = table.receipt
    if not table.rejects:
        return
    path = out.with_name(out.name + REJECTS_SUFFIX)
    lines = (
        {"line": item.line, "reason": item.reason, "raw": item.raw.decode("utf-8", "replace")} for item in table.rejects
    )
    path.write_bytes(b"".join(tables.write_jsonl(lines)))
    typer.secho(f"{receipt.rejects} lines of the file are no rows; they are kept in {path}.", fg="yellow")


def watch(database: Database, organization_id: int, batch: Batch, agent: Agent, interrupt: Interrupt) -> Batch:
    """Show progress until the batch is over; on Ctrl-C pause it and wait for the rows in flight."""
    pausing = False
    with Progress(batch, agent) as progress:
        while True:
            with database.tx(organization_id) as tx:
                if interrupt.asked.is_set() and not pausing:
                    pausing = True
                    with contextlib.suppress(batches.WrongState):  # it has just ended by itself
                        batch = batches.pause(tx, organization_id, batch.id)
                        progress.say(f"Stopping: {batch.running} rows in flight finish. Ctrl-C again stops at once.")
                batch = batches.get(tx, organization_id, batch.id)
            progress.show(batch)
            if batch.status not in {"queued", "running"} and (batch.running == 0 or batch.status == "failed"):
                return batch
            time.sleep(LOOK_S)


def _export(database: Database, organization_id: int, batch: Batch, out: Path) -> None:
    write_whole(out, batches.export(database, organization_id, batch.id, out.suffix.lstrip(".")))


def check_writable(out: Path) -> None:
    """Find out before any row runs whether the results can be written. Raises `Invalid`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        half = _half(out)
        half.touch()
        half.unlink()
    except OSError as error:
        message = f"can't be written to {out}: {error.strerror}"
        raise Invalid(f"Results {message}.", errors=(FieldError("--out", message),)) from None


def _half(out: Path) -> Path:
    """Where a file is written before it takes its name."""
    return out.with_name(f".{out.name}.{os.getpid()}.part")


def write_whole(out: Path, chunks: Iterable[bytes]) -> None:
    """Write a file at once: no reader ever sees half of it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = _half(out)
    try:
        with half.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)


def exit_code(batch: Batch, *, interrupted: bool) -> int:
    """How the command ends."""
    if interrupted and batch.status == "paused":
        return EXIT_INTERRUPTED
    if batch.status != "completed":
        return EXIT_STOPPED
    return EXIT_FAILED_ROWS if batch.failed else 0
