"""`gristmill connector`: the command's words. What they do is in `connector_desk`, which is loaded when one is used.

It works on this installation: a sync is run by its workers, or by the command itself when there are none.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Connectors: places that files come from and results go to.",
    epilog="Example: `gristmill connector pull 1`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


class Direction(StrEnum):
    """Which way data goes."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


ConnectorId = Annotated[int, typer.Argument(min=1, help="Number of the connector, as `connector list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def choose(data_dir: Annotated[Path | None, typer.Option(help="Folder of database and files.")] = None) -> None:
    """Connectors: places that files come from and results go to."""
    if data_dir is not None:
        os.environ["GRISTMILL_DATA_DIR"] = str(data_dir.absolute())


@app.command(
    epilog="Example: `gristmill connector add stock --agent library --type S3 --set bucket=acme --set prefix=daily/"
    " --secret accessKeyId=AKIA... --secret secretAccessKey=...`"
)
def add(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    agent: Annotated[str, typer.Option(help="Name of the agent that it belongs to.")],
    type: Annotated[str, typer.Option(help="`S3` or `HTTPS_WEBHOOK`.")],  # noqa: A002 - the API's word
    direction: Annotated[Direction, typer.Option(help="Whether files come in or results go out.")] = Direction.INBOUND,
    set: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the type's config; may be repeated.")] = None,  # noqa: A002
    secret: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE that is moved to the vault; may be repeated.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Five cron fields; the agent's unless given.")] = None,
    timezone: Annotated[str, typer.Option(help="Time zone of the schedule.")] = "UTC",
) -> None:
    """Add a connector; one cheap request checks it before it is saved."""
    from gristmill.doors import connector_desk  # noqa: PLC0415 - keeps --help quick

    connector_desk.add(
        name,
        agent=agent,
        kind=type,
        inbound=direction is Direction.INBOUND,
        config=set or [],
        secret=secret or [],
        schedule=schedule,
        timezone=timezone,
    )


@app.command("list", epilog="Example: `gristmill connector list --agent library`")
def list_all(
    agent: Annotated[str | None, typer.Option(help="Name of the agent; all agents unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the connectors of all agents, or of one."""
    from gristmill.doors import connector_desk  # noqa: PLC0415 - keeps --help quick

    connector_desk.show_all(agent, as_json=as_json)


@app.command("test", epilog="Example: `gristmill connector test 1`")
def try_one(
    connector: ConnectorId,
    write: Annotated[bool, typer.Option("--write", help="Of a sink: write something and delete it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try a connector rung by rung; nothing is moved. Exits with 1 when a rung broke."""
    from gristmill.doors import connector_desk  # noqa: PLC0415 - keeps --help quick

    connector_desk.try_one(connector, write=write, as_json=as_json)


@app.command(epilog="Example: `gristmill connector pull 1`")
def pull(
    connector: ConnectorId,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also what was rejected or given up.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring what is new, and show what became of every object. Exits with 1 when the pull failed."""
    from gristmill.doors import connector_desk  # noqa: PLC0415 - keeps --help quick

    connector_desk.pull(connector, retry_failed=retry_failed, as_json=as_json)


@app.command(epilog="Example: `gristmill connector push 2 01993b6c-...`")
def push(
    connector: ConnectorId,
    job: Annotated[str, typer.Argument(help="Id of a completed batch of the connector's agent.")],
    as_json: AsJson = False,
) -> None:
    """Send a completed batch's results. It can't be undone. Exits with 1 when the push failed."""
    from gristmill.doors import connector_desk  # noqa: PLC0415 - keeps --help quick

    connector_desk.push(connector, job, as_json=as_json)


@app.command(epilog="Example: `gristmill connector syncs 1`")
def syncs(
    connector: ConnectorId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Syncs to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the latest pulls and pushes of a connector."""
    from gristmill.doors import connector_desk  # noqa: PLC0415 - keeps --help quick

    connector_desk.show_syncs(connector, limit=limit, as_json=as_json)
