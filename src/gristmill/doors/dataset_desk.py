"""What `gristmill dataset` does: make a file searchable, show what a new file would change, go back, search, count.

It works on this installation without a server: what has to be processed is processed in this command, and the same
command again goes on where it was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer

from gristmill import agents, datasets, engine
from gristmill.base import jsons
from gristmill.base.config import Settings, settings
from gristmill.base.db import Database
from gristmill.base.errors import FieldError, Invalid, NotFound
from gristmill.base.log import configure_logging
from gristmill.datasets import Changes, Dataset, Scope, files, service
from gristmill.datasets.model import Draft, Mode, Plan, Sent, TemplateOptions
from gristmill.doors.dataset import LIBRARY
from gristmill.doors.desk import default_organization, local_database
from gristmill.doors.inspect import cut
from gristmill.doors.listing import print_list

LIBRARY_TEMPLATE = "echo"
LOOK_S = 0.1
LISTED_MAX = 200
NAMED_MAX = 10
ID_DIGITS_MAX = 18
"""More are no number of a dataset."""
TEXT_CHARS = 300
TITLE_CHARS_MAX = 200
PATH_CHARS_MAX = 255
EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class Place:
    """This installation, and whose datasets are meant."""

    database: Database
    settings: Settings
    scope: Scope
    agent: str

    def find(self, dataset: str) -> int:
        """The id of a dataset that is named by its number or its title. Raises `NotFound`."""
        with self.database.tx(self.scope.organization_id) as tx:
            known = datasets.list_datasets(tx, self.scope, page=1, per_page=LISTED_MAX).data
            if dataset.isdecimal() and len(dataset) <= ID_DIGITS_MAX:
                with contextlib.suppress(NotFound):
                    return service.get(tx, self.scope, int(dataset)).id
        found = [item.id for item in known if dataset in {item.title, item.file_filename}]
        if len(found) == 1:
            return found[0]
        if found:
            numbers = ", ".join(str(number) for number in found)
            raise NotFound(
                f"Several datasets of the agent `{self.agent}` are called `{dataset}`: say which of {numbers}."
            )
        has = ", ".join(f"{item.id} ({item.title})" for item in known[:NAMED_MAX]) or "none yet"
        raise NotFound(f"The agent `{self.agent}` has no dataset `{dataset}`; it has: {has}.")


@contextmanager
def _place(agent: str) -> Generator[Place]:
    current = settings()
    configure_logging(log_format=current.log_format, level="error", role="dataset")
    with local_database() as database:
        organization_id = default_organization(database)
        with database.system() as tx:
            engine.reap_dead_processes(tx)
        with database.tx(organization_id) as tx:
            found = agents.get_by_name(tx, organization_id, agent)
            if found is None and agent == LIBRARY:
                found = agents.deploy(tx, organization_id, LIBRARY_TEMPLATE, name=LIBRARY, config={})
            if found is None:
                message = f"There is no agent `{agent}`."
                raise Invalid(message, errors=(FieldError("--agent", message),))
        yield Place(database, current, Scope(organization_id, found.id), agent)


def add(file: Path, *, title: str | None, template: str | None, key: str | None, agent: str) -> None:
    """Make a dataset of a file and process it."""
    from gristmill.datasets.analyze import analyze_file  # noqa: PLC0415 - NumPy takes a while to load

    name = (title or file.stem)[:TITLE_CHARS_MAX]
    with _place(agent) as place:
        begun = _begun(place, name, file)
        if begun is not None:
            typer.echo(f"Going on with dataset {begun.id}: {begun.title}", err=True)
            _finish(place, begun.id)
            return
        analysis, sent = analyze_file(place.settings, _keep(place, file))
        best = analysis.templates[0].template if analysis.templates else ""
        draft = Draft(
            name,
            sent.type,
            _template_of(template) if template else best,
            TemplateOptions(),
            key or analysis.primary_key_field,
            service.default_embedder(place.settings),
        )
        service.prepare(place.settings, draft, sent)
        with place.database.tx(place.scope.organization_id) as tx:
            service.keep_file(tx, place.scope, sent)
            made = service.create(tx, place.scope, draft, sent, queue=engine.LOCAL_QUEUE)
        typer.echo(f"Dataset {made.id}: {made.title}, key {draft.primary_key_field or 'content of each row'}", err=True)
        _finish(place, made.id)


def _begun(place: Place, title: str, file: Path) -> Dataset | None:
    """The dataset that an interrupted command has left. Raises `Invalid` where the title names a finished one."""
    with place.database.tx(place.scope.organization_id) as tx:
        known = datasets.list_datasets(tx, place.scope, page=1, per_page=LISTED_MAX).data
    found = next((item for item in known if item.title == title), None)
    if found is None:
        return None
    if found.version is None and found.ingest_status in {"pending", "processing"} and found.file_filename == file.name:
        return found
    message = f"names dataset {found.id} already"
    raise Invalid(
        f"Dataset {found.id} is called `{title}` already. `gristmill dataset apply {found.id} FILE` takes in a new"
        " file, `--title` makes another dataset.",
        errors=(FieldError("--title", message),),
    )


def show_all(*, agent: str, as_json: bool) -> None:
    """Show the datasets of an agent."""
    with _place(agent) as place, place.database.tx(place.scope.organization_id) as tx:
        found = datasets.list_datasets(tx, place.scope, page=1, per_page=LISTED_MAX).data
    if as_json:
        _print_json([asdict(item) for item in found])
        return
    if not found:
        typer.echo(f"The agent `{agent}` has no dataset yet: gristmill dataset add FILE", err=True)
        return
    print_list(
        ("id", "title", "state", "records", "processed"),
        ((str(item.id), item.title, item.ingest_status, item.source_count, item.last_unfurled_at) for item in found),
    )


def plan(dataset: str, file: Path, *, agent: str, as_json: bool) -> None:
    """Show what a new file would change; nothing is changed."""
    with _place(agent) as place:
        sent = _keep(place, file)
        try:
            found = _plan(place, place.find(dataset), sent)
        finally:
            files.discard(place.settings, sent)
    if as_json:
        _print_json(asdict(found))
        return
    _print_plan(found)
    if found.needs_confirmation:
        typer.secho("So much would be removed that `apply` needs --confirm.", fg="yellow", err=True)


def apply(dataset: str, file: Path, *, confirm: bool, agent: str) -> None:
    """Take in a new file, unless it would remove so much that somebody should say so."""
    with _place(agent) as place:
        dataset_id = place.find(dataset)
        sent = _keep(place, file)
        found = _plan(place, dataset_id, sent)
        _print_plan(found)
        if found.needs_confirmation and not confirm:
            files.discard(place.settings, sent)
            typer.secho("So much would be removed that --confirm is needed. Nothing was changed.", fg="red", err=True)
            raise typer.Exit(EXIT_FAILED)
        with place.database.tx(place.scope.organization_id) as tx:
            service.keep_file(tx, place.scope, sent)
            changes = Changes(file=sent)
            service.update(tx, place.scope, dataset_id, changes, confirmed=confirm, queue=engine.LOCAL_QUEUE)
        _finish(place, dataset_id)


def write_errors(dataset: str, *, agent: str) -> None:
    """Write the rows that are no records as CSV to standard output."""
    with _place(agent) as place:
        for part in service.write_errors(place.database, place.scope, place.find(dataset)):
            sys.stdout.buffer.write(part)


def show_versions(dataset: str, *, agent: str, as_json: bool) -> None:
    """Show the versions of a dataset, newest first."""
    with _place(agent) as place:
        dataset_id = place.find(dataset)
        with place.database.tx(place.scope.organization_id) as tx:
            found = service.list_versions(tx, place.scope, dataset_id)
    if as_json:
        _print_json([asdict(item) for item in found])
        return
    print_list(
        ("version", "made", "file", "records", "added", "changed", "removed", "embedded"),
        (
            (
                f"{item.version} *" if item.active else str(item.version),
                item.created_at,
                item.file_filename,
                item.receipt.records,
                item.difference.added,
                item.difference.changed,
                item.difference.removed,
                item.embedded,
            )
            for item in found
        ),
    )


def activate(dataset: str, version: int, *, agent: str) -> None:
    """Go to another version."""
    with _place(agent) as place:
        dataset_id = place.find(dataset)
        with place.database.tx(place.scope.organization_id) as tx:
            found = service.activate(tx, place.scope, dataset_id, version)
    typer.echo(f"Dataset {dataset_id} is at version {version}: {found.source_count:,} records of {found.file_filename}")


def search(question: str, *, top: int, mode: Mode, agent: str, as_json: bool) -> None:
    """Find records by meaning and by words, in all datasets of an agent."""
    with _place(agent) as place:
        wanted = datasets.Question(question, top_k=top, mode=mode)
        scope = place.scope
        found = asyncio.run(datasets.ask(place.database, place.settings, scope.organization_id, scope.agent_id, wanted))
    if as_json:
        _print_json([asdict(hit) for hit in found.hits])
        return
    for hit in found.hits:
        typer.echo(f"{hit.score:.3f}  dataset {hit.dataset_id}, {hit.record_key}: {cut(hit.text, TEXT_CHARS)}")
    if not found.hits:
        typer.echo("Nothing was found. `gristmill dataset list` shows what is searched.", err=True)


def query(dataset: str, sql: str, *, agent: str, as_json: bool) -> None:
    """Count and sum over a dataset's records, exactly."""
    with _place(agent) as place:
        scope = place.scope
        answer = datasets.query(place.database, scope.organization_id, scope.agent_id, place.find(dataset), sql)
    if as_json:
        _print_json(asdict(answer))
        return
    # Texts, so that a terminal shows numbers as the query gave them: 4151 may be a postcode.
    rows = [[None if value is None else str(value) for value in row] for row in answer.rows]
    print_list([column.name for column in answer.columns], rows)
    if answer.truncated:
        typer.echo("There are more rows.", err=True)


def _keep(place: Place, file: Path) -> Sent:
    kind = files.type_of_name(file.name) or "csv"
    scope = place.scope
    with file.open("rb") as stream:
        return files.keep(place.settings, scope.organization_id, scope.agent_id, file.name, kind, stream)


def _plan(place: Place, dataset: int, sent: Sent) -> Plan:
    from gristmill.datasets.analyze import analyze_file  # noqa: PLC0415 - NumPy takes a while to load
    from gristmill.datasets.plan import plan as plan_change  # noqa: PLC0415 - the same

    _, typed = analyze_file(place.settings, sent)
    return plan_change(
        place.database, place.settings, place.scope, dataset, Changes(file=replace(sent, type=typed.type))
    )


def _template_of(text: str) -> str:
    path = Path(text)
    is_name = "\n" not in text and len(text) <= PATH_CHARS_MAX
    return path.read_text(encoding="utf-8") if is_name and path.is_file() else text


def _print_plan(found: Plan) -> None:
    typer.echo(
        f"{found.added:,} added, {found.changed:,} changed, {found.removed:,} removed, {found.unchanged:,} unchanged;"
        f" {found.embeddings_needed:,} texts to embed, about {found.estimate.seconds:,.0f} s"
    )
    _print_warnings(found.warnings)


def _print_warnings(warnings: Sequence[str]) -> None:
    for text in warnings:
        typer.secho(f"Note: {text}", fg="yellow", err=True)


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(jsons.dumps(value) + b"\n")


def _finish(place: Place, dataset: int) -> None:
    """Process in this command, with progress; exits 1 when it failed."""
    worker = engine.Worker(place.database, place.settings, queues=(engine.LOCAL_QUEUE,))
    worker.start()
    try:
        found = _watch(place, dataset)
    finally:
        worker.stop()
    if found.ingest_status == "failed":
        typer.secho(f"Error: {found.last_error}", fg="red", err=True)
        raise typer.Exit(EXIT_FAILED)
    receipt = found.receipt
    if receipt is not None:
        typer.echo(
            f"{receipt.rows_in:,} rows = {receipt.records:,} records + {receipt.duplicates:,} duplicates"
            f" + {receipt.empties:,} empty + {receipt.failures:,} failed"
        )
        _print_warnings(found.warnings)
        if receipt.rows_in > receipt.records or receipt.file.rejects:
            typer.echo(f"What is no record, and why: gristmill dataset errors {dataset}", err=True)


def _watch(place: Place, dataset: int) -> Dataset:
    shown = ""
    while True:
        with place.database.tx(place.scope.organization_id) as tx:
            found = datasets.get(tx, place.scope, dataset)
        progress = found.progress
        if progress is not None and sys.stderr.isatty():
            text = (
                f"{progress.phase}: {progress.rows:,} of {progress.rows_total:,} rows, {progress.embedded:,} embedded"
            )
            if text != shown:
                shown = text
                typer.echo(f"\r{text}\033[K", nl=False, err=True)
        if found.ingest_status in {"completed", "failed"}:
            if shown:
                typer.echo("\r\033[K", nl=False, err=True)
            return found
        time.sleep(LOOK_S)
