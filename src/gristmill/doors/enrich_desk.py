"""What `gristmill enrich` does: reference files become datasets, leads a job, and the job is run in this process.

Everything is in the database, so the same command again - after Ctrl-C, `kill -9`, or a top-up - goes on where it
stopped, and repeats and bills no finished lead.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from gristmill import agents, batches, datasets, engine, enrich, inventory, mapping
from gristmill.agents import Agent
from gristmill.base import jsons
from gristmill.base.config import Settings, settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Invalid
from gristmill.base.log import configure_logging
from gristmill.base.money import parse_usd
from gristmill.batches import Batch
from gristmill.datasets import Changes, Scope, files, service
from gristmill.datasets.model import Draft, TemplateOptions
from gristmill.doors.agent_file import AgentSpec, find_agent, spec_of
from gristmill.doors.desk import default_organization, local_database
from gristmill.doors.progress import print_outcome
from gristmill.doors.run import REJECTS_SUFFIX, Interrupt, check_writable, exit_code, watch, write_whole
from gristmill.enrich.columns import contacts_left_out, edited
from gristmill.enrich.model import LEAD_FIELDS

AGENT_NAME = "Leads from the command line"
CONCURRENCY = 16
HASH_CHUNK = 1024**2
LOOK_S = 0.1
TITLE_CHARS_MAX = 200
DATASETS_MAX = 200
HOW_TO_MAP = "Name them: `--map company=COLUMN`, or `--map street=COLUMN --map city=COLUMN`."


@dataclass(frozen=True, slots=True)
class EnrichOrder:
    """What the command line asks for."""

    file: Path
    out: Path
    references: tuple[Path, ...]
    agent: str | None
    mapping: Mapping[str, Sequence[str]]
    """Field -> columns that the user chose."""
    variants: tuple[str, ...] | None
    limit: int | None
    budget: str | None
    region: str
    original: bool
    retry_failed: bool
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """This installation, and the agent that enriches."""

    database: Database
    settings: Settings
    organization_id: int
    agent: Agent


def enrich_file(order: EnrichOrder) -> int:
    """Enrich a file; answers the exit code."""
    check_writable(order.out)
    os.environ.setdefault("GRISTMILL_EGRESS_ALLOW", "loopback")  # the user's own machine, the user's own vendors
    current = settings()
    # The cap is for uploads of others; here it is the user's own machine.
    current = current.model_copy(update={"batch_enrich_max_rows": current.batch_rows_max})
    configure_logging(log_format=current.log_format, level="error", role="enrich")
    interrupt = Interrupt()
    interrupt.install()
    with local_database() as database:
        organization_id = default_organization(database)
        with database.system() as tx:
            engine.reap_dead_processes(tx)
        with database.tx(organization_id) as tx:
            agent = _agent(tx, organization_id, order)
        place = _Place(database, current, organization_id, agent)
        worker = engine.Worker(database, current, queues=(engine.LOCAL_QUEUE,))
        worker.start()
        try:
            for path in order.references:
                _add_reference(place, path)
            batch = _open_job(place, order)
            if batch.status in {"queued", "running"}:
                batch = watch(database, organization_id, batch, agent, interrupt)
        finally:
            worker.stop()
        _write(place, batch, order)
        _tell(place, batch, order)
    return exit_code(batch, interrupted=interrupt.asked.is_set())


def _agent(tx: Tx, organization_id: int, order: EnrichOrder) -> Agent:
    if order.agent is not None:
        found = find_agent(tx, organization_id, spec_of(order.agent), concurrency=None)
        return enrich.lead_agent(tx, organization_id, settings(), agent_id=found.id)
    values: dict[str, Any] = {
        "name": AGENT_NAME,
        "runtime": "lead",
        "config": {"region": order.region},
        "input_fields": [asdict(item) for item in LEAD_FIELDS],
        "concurrency": CONCURRENCY,
    }
    # Of the config only the region is ours: what a user added to the saved agent since stays.
    saved = agents.get_by_name(tx, organization_id, AGENT_NAME)
    if saved is not None:
        values["config"] = {**saved.config, "region": order.region}
    return find_agent(tx, organization_id, AgentSpec(AGENT_NAME, values), concurrency=None)


def _add_reference(place: _Place, path: Path) -> None:
    """Make a file a dataset of the agent, or bring the one of that name up to date, which repeats nothing."""
    from gristmill.datasets.analyze import analyze_file  # noqa: PLC0415 - NumPy takes a while to load

    scope = Scope(place.organization_id, place.agent.id)
    title = path.name[:TITLE_CHARS_MAX]
    kind = files.type_of_name(path.name) or "csv"
    with path.open("rb") as stream:
        sent = files.keep(place.settings, scope.organization_id, scope.agent_id, path.name, kind, stream)
    analysis, sent = analyze_file(place.settings, sent)
    template = analysis.templates[0].template if analysis.templates else ""
    draft = Draft(title, sent.type, template, TemplateOptions(), None, service.default_embedder(place.settings))
    service.prepare(place.settings, draft, sent)
    with place.database.tx(scope.organization_id) as tx:
        service.keep_file(tx, scope, sent)
        known = datasets.list_datasets(tx, scope, page=1, per_page=DATASETS_MAX).data
        before = next((item for item in known if item.title == title), None)
        if before is None:
            made = service.create(tx, scope, draft, sent, queue=engine.LOCAL_QUEUE)
        else:
            changes = Changes(template=template, file=sent)
            made = service.update(tx, scope, before.id, changes, confirmed=True, queue=engine.LOCAL_QUEUE)
    typer.echo(f"Reading {path.name}: {analysis.row_count:,} records", err=True)
    while True:
        with place.database.tx(scope.organization_id) as tx:
            found = datasets.get(tx, scope, made.id)
        if found.ingest_status == "failed":
            raise Invalid(f"{path.name} can't be used as a reference: {found.last_error}")
        if found.ingest_status == "completed":
            return
        time.sleep(LOOK_S)


def _open_job(place: _Place, order: EnrichOrder) -> Batch:
    """The job of this very command: the one it started before, or a new one."""

    def recall(headers: str) -> mapping.Memory:
        with place.database.tx(place.organization_id) as tx:
            return mapping.recall(tx, place.organization_id, headers, agent_id=place.agent.id)

    def choose(columns: mapping.Mapping) -> mapping.Mapping:
        chosen = bool(order.mapping) or order.variants is not None
        return edited(columns, order.mapping, order.variants, None) if chosen else columns

    with order.file.open("rb") as file:
        try:
            prepared = enrich.prepare(place.settings, file, recall, row_limit=order.limit, choose=choose)
        except mapping.NothingToSearch as error:
            raise mapping.NothingToSearch(f"{error.message} {HOW_TO_MAP}", errors=error.errors) from None
        run_key = _run_key(place, order, prepared)
        with place.database.tx(place.organization_id) as tx:
            found = batches.get_by_run_key(tx, place.organization_id, run_key)
            if found is not None and not order.fresh:
                return _take_up(tx, place, found, order)
            if found is not None:
                if found.status in {"queued", "running"}:
                    batches.cancel(tx, place.organization_id, found.id)
                batches.forget_run_key(tx, place.organization_id, found.id)
        file.seek(0)
        stored = inventory.keep(place.settings, place.organization_id, place.agent.id, file)
        origin = {"kind": "command"}
        draft = inventory.Draft(
            order.file.name, origin, stored.key, stored.size_bytes, stored.sha256, prepared.examined
        )
        wishes = enrich.Wishes(
            row_limit=order.limit,
            budget_micro_usd=None if order.budget is None else parse_usd(order.budget, "--budget"),
            run_key=run_key,
            queue=engine.LOCAL_QUEUE,
        )
        with place.database.tx(place.organization_id) as tx:
            made = enrich.create(tx, place.organization_id, place.settings, place.agent, prepared, file, draft, wishes)
            batch = batches.resume(tx, place.organization_id, made.id, gated=False)
    _tell_mapping(made, prepared.columns)
    if made.receipt.rejects:
        _keep_rejects(place, batch, order)
    return batch


def _take_up(tx: Tx, place: _Place, batch: Batch, order: EnrichOrder) -> Batch:
    """Go on with the job that an earlier call of this command started."""
    organization_id = place.organization_id
    done = batch.rows_in - batch.pending - batch.running
    typer.echo(f"Going on: {done} of {batch.rows_in} leads are done.", err=True)
    if order.retry_failed and batch.failed and batch.status not in {"queued", "running"}:
        return batches.retry(tx, organization_id, batch.id, batches.RetryOrder(), place.agent)
    if batch.status == "completed":
        typer.echo("Nothing is left to do. `--fresh` begins anew, `--retry-failed` runs failed leads again.", err=True)
        return batch
    if batch.status in {"queued", "running"}:  # its process was killed
        batches.pause(tx, organization_id, batch.id)
    return batches.resume(tx, organization_id, batch.id, gated=False)


def _run_key(place: _Place, order: EnrichOrder, prepared: enrich.Prepared) -> str:
    """What makes two calls the same: the files' bytes, the agent, the mapping and the limit."""
    digest = hashlib.sha256()
    for path in (order.file, *order.references):
        with path.open("rb") as file:
            while chunk := file.read(HASH_CHUNK):
                digest.update(chunk)
        digest.update(b"\0")
    fields = {name: item.columns for name, item in prepared.columns.fields.items()}
    facts = {
        "agent": place.agent.id,
        "version": place.agent.version,
        "fields": fields,
        "variants": prepared.columns.variants,
        "limit": order.limit,
    }
    digest.update(jsons.dumps_sorted(facts))
    return f"enrich-{digest.hexdigest()}"


def _tell_mapping(made: enrich.Uploaded, columns: mapping.Mapping) -> None:
    """Say which columns became what."""
    used = {name: item.columns for name, item in made.mapping.fields.items() if item.columns}
    typer.echo("Mapped: " + ", ".join(f"{name} = {' + '.join(columns)}" for name, columns in used.items()), err=True)
    if made.mapping.variants:
        typer.echo(f"Tried when little is found: {', '.join(made.mapping.variants)}", err=True)
    for warning in made.quote.warnings:
        typer.secho(f"Note: {warning}", fg="yellow", err=True)
    if names := contacts_left_out(columns):
        typer.echo("Choose them by: " + " ".join(f"--variant {shlex.quote(name)}" for name in names), err=True)


def _keep_rejects(place: _Place, batch: Batch, order: EnrichOrder) -> None:
    """Write what of the file is no row beside the output."""
    with place.database.tx(place.organization_id) as tx:
        _, stored = enrich.columns_of(tx, place.organization_id, batch.id)
    path = order.out.with_name(order.out.name + REJECTS_SUFFIX)
    write_whole(path, inventory.write_rejects(stored, place.settings))
    typer.secho(f"Some records of the file are no rows; they are kept in {path}.", fg="yellow", err=True)


def _write(place: _Place, batch: Batch, order: EnrichOrder) -> None:
    if order.original:
        chunks, _ = enrich.original_csv(place.database, place.settings, place.organization_id, batch.id)
        write_whole(order.out, chunks)
    else:
        write_whole(order.out, enrich.flat_csv(place.database, place.organization_id, batch.id))


def _tell(place: _Place, batch: Batch, order: EnrichOrder) -> None:
    """The receipt, what was found in counts, and where the results are."""
    with place.database.tx(place.organization_id) as tx:
        batch = batches.get(tx, place.organization_id, batch.id)
        receipt = batches.receipt(tx, place.organization_id, batch.id)
        failures = batches.failures(tx, place.organization_id, batch.id) if batch.failed else []
        found = enrich.preview(tx, place.organization_id, batch.id)
    print_outcome(batch, receipt, failures, order.out)
    typer.echo(
        f"Found: {found.people:,} people, {found.phones:,} phones, {found.emails:,} e-mails,"
        f" {found.entities:,} companies, {found.addresses:,} addresses.",
        err=True,
    )
    if batch.status == "paused" and batch.reason == "balance":
        typer.echo("Add money with `gristmill topup USD`; the same command then goes on from here.", err=True)
