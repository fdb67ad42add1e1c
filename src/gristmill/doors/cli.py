"""The command line. Each command's help has one example; heavy imports happen inside the commands.

Exit codes: 0 all rows ended well, 3 some rows failed, 1 error, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.base.errors import CODES, Error
from gristmill.doors.connector import app as connector_app
from gristmill.doors.dataset import app as dataset_app
from gristmill.doors.enrich import EXAMPLE as ENRICH_EXAMPLE
from gristmill.doors.enrich import enrich
from gristmill.doors.map_option import field_columns
from gristmill.doors.payments import EXAMPLE as PAYMENTS_EXAMPLE
from gristmill.doors.payments import payments
from gristmill.doors.template import app as template_app

app = typer.Typer(
    name="gristmill",
    help="The data plane for AI agents: rows in, an agent over every row, results out.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

app.add_typer(template_app, name="template")
app.add_typer(dataset_app, name="dataset")
app.add_typer(connector_app, name="connector")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Folder of database and files.", envvar="GRISTMILL_DATA_DIR"),
]


def _override(**values: Any) -> None:
    """Options win over the environment; child processes and the settings class see them alike."""
    for name, value in values.items():
        if value is not None:
            os.environ[f"GRISTMILL_{name.upper()}"] = str(value)


@contextmanager
def _loading() -> Generator[None]:
    """While a process loads its modules: nothing of them is garbage, so nobody looks for it."""
    gc.disable()
    yield
    gc.enable()


@app.command(epilog="Example: `gristmill up --port 8484 --workers 2`")
def up(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.", min=0, max=64)] = None,
) -> None:
    """Start database, server and workers on this machine. The first start prints URL, API key and login link."""
    with _loading():
        from gristmill.doors.welcome import start_and_watch  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None, host=host, port=port, workers=workers)
    start_and_watch()


@app.command(epilog="Example: `GRISTMILL_DATABASE_URL=postgresql://... gristmill server --port 8484`")
def server(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Serve the API alone, on the database of GRISTMILL_DATABASE_URL."""
    with _loading():
        from gristmill.base.config import settings  # noqa: PLC0415 - keeps --help quick
        from gristmill.doors.serve import run_server  # noqa: PLC0415

    _override(host=host, port=port)
    run_server(settings())


@app.command(epilog="Example: `GRISTMILL_DATABASE_URL=postgresql://... gristmill worker`")
def worker() -> None:
    """Run one worker, on the database of GRISTMILL_DATABASE_URL. Start as many as you like, on any machine."""
    with _loading():
        from gristmill.base.config import settings  # noqa: PLC0415 - keeps --help quick
        from gristmill.doors.work import run_worker  # noqa: PLC0415

    run_worker(settings())


@app.command(
    epilog="Example: `gristmill run leads.csv --agent http://localhost:9000/score --map email=E-Mail -o scored.csv`"
)
def run(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or any delimited text, JSON, JSON Lines, XLSX, XLS, ODS or Parquet, also packed.",
            exists=True,
            dir_okay=False,
        ),
    ],
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            metavar="AGENT",
            help="An agent's name, a YAML or TOML agent file, `module:function`, or an http(s) URL.",
        ),
    ] = None,
    match: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Find each row in this file instead of running an agent.", exists=True, dir_okay=False
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --match: its id column. Found unless given.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="X", help="With --match: least confidence, 0 to 1. One half unless given.", min=0, max=1),
    ] = None,
    one_to_one: Annotated[
        bool, typer.Option("--one-to-one", help="With --match: no two rows have the same match.")
    ] = False,
    many_to_one: Annotated[
        bool,
        typer.Option("--many-to-one", help="With --match: any rows may. Without either of both, the data decides."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where results go: .csv, .xlsx, .jsonl or .parquet. FILE.results.csv unless given.",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", "-m", metavar="FIELD=COLUMN", help="Which column feeds a field.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Run this many rows; the rest is kept as skipped.", min=1)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Stop before more than this many USD are spent.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Rows in flight at a time.", min=1, max=10_000)
    ] = None,
    max_failures: Annotated[
        int | None, typer.Option(metavar="N", help="Pause when more rows than this have failed.", min=0)
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run rows again that failed in the last run.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run all rows anew instead of going on where the last run stopped.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run an agent over every row of a file, or match the rows with another file.

    The same command again goes on where it was stopped or killed.
    """
    from gristmill.doors.run import MatchOrder, RunOrder, run_file  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None)
    if (agent is None) == (match is None):
        raise typer.BadParameter("give one of --agent and --match", param_hint="--agent")
    if match is None and (key is not None or threshold is not None or one_to_one or many_to_one):
        raise typer.BadParameter("belongs to --match", param_hint="--key, --threshold, --one-to-one, --many-to-one")
    if one_to_one and many_to_one:
        raise typer.BadParameter("give one of --one-to-one and --many-to-one", param_hint="--one-to-one")
    order = RunOrder(
        file=file,
        agent=agent or "",
        out=out or file.with_name(f"{file.name}.results.csv"),
        mapping=dict(field_columns(mapping or [])),
        limit=limit,
        budget=budget,
        concurrency=concurrency,
        max_failures=max_failures,
        retry_failed=retry_failed,
        fresh=fresh,
        match=None
        if match is None
        else MatchOrder(match, key, threshold, one_to_one if one_to_one or many_to_one else None),
    )
    raise typer.Exit(run_file(order))


app.command(epilog=ENRICH_EXAMPLE)(enrich)
app.command(epilog=PAYMENTS_EXAMPLE)(payments)


@app.command("inspect", epilog="Example: `gristmill inspect leads.csv --rows 5`")
def inspect_table(
    file: Annotated[Path, typer.Argument(help="A file of any format that is read.", exists=True, dir_okay=False)],
    rows: Annotated[int, typer.Option(min=0, max=100, help="Rows to show.")] = 5,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a workbook, or file of an archive.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show how a file is read: dialect, columns, first rows, what is no row, and the receipt."""
    from gristmill.doors.inspect import inspect_file  # noqa: PLC0415 - keeps --help quick

    inspect_file(file, rows=rows, sheet=sheet, as_json=as_json)


@app.command("map", epilog="Example: `gristmill map leads.csv --fields agent:clean-contacts`")
def map_columns(
    file: Annotated[Path, typer.Argument(help="A file of any format that is read.", exists=True, dir_okay=False)],
    fields: Annotated[
        str, typer.Option(help="`lead`, `agent:NAME` for an agent's input fields, or the path of a JSON Schema.")
    ] = "lead",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show which columns of a file feed which fields, how surely, and why."""
    from gristmill.doors.map_file import map_file  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None)
    map_file(file, fields, as_json=as_json)


@app.command(epilog="Example: `gristmill topup 25 --note 'October'`")
def topup(
    amount: Annotated[str, typer.Argument(help="Dollars to add.")],
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Add money to the balance that priced agents are paid from."""
    from gristmill.doors.desk import add_money  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None)
    add_money(amount, note)


@app.command(epilog="Example: `gristmill login`")
def login(data_dir: DataDir = None) -> None:
    """Print a one-time login link for the dashboard."""
    from gristmill.doors.desk import print_login  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None)
    print_login()


@app.command(epilog="Example: `gristmill key --name 'Nightly import' --scope usage`")
def key(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "From the command line",
    scope: Annotated[str, typer.Option(help="admin or usage")] = "admin",
    data_dir: DataDir = None,
) -> None:
    """Make an API key and print it once."""
    from gristmill.doors.desk import print_key  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None)
    print_key(name, scope)


class VaultAction(StrEnum):
    """What `gristmill vault` does."""

    NEW_KEY = "new-key"
    ROTATE_MASTER = "rotate-master"


@app.command(epilog="Example: `gristmill vault rotate-master`")
def vault(
    action: Annotated[
        VaultAction,
        typer.Argument(
            help="new-key prints a master key. rotate-master seals everything with the newest one instead; values are "
            "not touched, and when it is stopped the same command goes on."
        ),
    ],
    data_dir: DataDir = None,
) -> None:
    """Master keys of the vault: make one, or let a new one take the present one's place."""
    from gristmill.doors.desk import print_master_key, replace_master_key  # noqa: PLC0415 - keeps --help quick

    _override(data_dir=data_dir.absolute() if data_dir else None)
    (print_master_key if action is VaultAction.NEW_KEY else replace_master_key)()


@app.command(epilog="Example: `GRISTMILL_PORT=9000 gristmill config`")
def config(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Print every setting with its value, where the value comes from, and what it means."""
    from gristmill.doors.desk import print_settings  # noqa: PLC0415 - keeps --help quick

    print_settings(as_json=as_json)


@app.command(epilog="Example: `gristmill version`")
def version() -> None:
    """Print the version."""
    from gristmill import __version__  # noqa: PLC0415 - keeps --help quick

    typer.echo(__version__)


def _examples() -> str:
    """One example of each command, for the help of the whole."""
    entries = [
        *app.registered_commands,
        *(group.typer_instance.info for group in app.registered_groups if group.typer_instance),
    ]
    texts = [str(entry.epilog or "").removeprefix("Example: ") for entry in entries]
    return "**Examples**\n\n" + "\n\n".join(text for text in texts if text)


app.info.epilog = _examples()


def main() -> None:
    """Entry point: an `Error`, and what the machine refuses, becomes one line and an exit code."""
    try:
        app()
    except Error as error:
        typer.secho(f"Error: {error.message}", fg="red", err=True)
        for item in error.errors:
            if item.message not in error.message:
                place = f"line {item.line}, " if item.line else ""
                typer.echo(f"  {place}{item.field}: {item.message}", err=True)
        sys.exit(CODES[error.code].exit)
    except OSError as error:  # a full disk, a folder that may not be written to
        where = f": {error.filename}" if error.filename else ""
        typer.secho(f"Error: {error.strerror or error}{where}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
