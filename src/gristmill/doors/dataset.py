"""`gristmill dataset`: the command's words. What they do is in `dataset_desk`, which is loaded when one is used.

It works on this installation without a server: what has to be processed is processed in the command.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

LIBRARY = "library"
"""The agent that datasets belong to unless another is named; made on first use."""

app = typer.Typer(
    help="Datasets: make a file searchable, see what a new file would change, go back, search, count.",
    epilog="Example: `gristmill dataset add shops.csv --key id`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


class SearchMode(StrEnum):
    """How records are found."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    KEYWORD = "keyword"


AgentName = Annotated[str, typer.Option("--agent", help="Name of the agent that knows it.")]
FileArgument = Annotated[Path, typer.Argument(help="CSV, JSON, JSON Lines or a workbook.", exists=True, dir_okay=False)]
DatasetName = Annotated[str, typer.Argument(help="Number or title, as `gristmill dataset list` shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def choose(data_dir: Annotated[Path | None, typer.Option(help="Folder of database and files.")] = None) -> None:
    """Datasets: make a file searchable, see what a new file would change, go back, search, count."""
    if data_dir is not None:
        os.environ["GRISTMILL_DATA_DIR"] = str(data_dir.absolute())


@app.command(epilog="Example: `gristmill dataset add shops.csv --key id`")
def add(
    file: FileArgument,
    title: Annotated[str | None, typer.Option(help="The file's name unless given.")] = None,
    template: Annotated[
        str | None, typer.Option(help="A Go template, or a file that holds one; a suggested one unless given.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Column that tells rows apart; the suggested one unless given.")
    ] = None,
    agent: AgentName = LIBRARY,
) -> None:
    """Make a dataset of a file: each row becomes a text that is found by meaning and by words."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.add(file, title=title, template=template, key=key, agent=agent)


@app.command("list", epilog="Example: `gristmill dataset list`")
def list_all(agent: AgentName = LIBRARY, as_json: AsJson = False) -> None:
    """Show the datasets of an agent."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.show_all(agent=agent, as_json=as_json)


@app.command(epilog="Example: `gristmill dataset plan shops shops-new.csv`")
def plan(dataset: DatasetName, file: FileArgument, agent: AgentName = LIBRARY, as_json: AsJson = False) -> None:
    """Show what a new file would change; nothing is changed."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.plan(dataset, file, agent=agent, as_json=as_json)


@app.command(epilog="Example: `gristmill dataset apply shops shops-new.csv`")
def apply(
    dataset: DatasetName,
    file: FileArgument,
    confirm: Annotated[bool, typer.Option("--confirm", help="Removing many records is meant.")] = False,
    agent: AgentName = LIBRARY,
) -> None:
    """Take in a new file: only what changed is made anew, beside what is searched meanwhile."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.apply(dataset, file, confirm=confirm, agent=agent)


@app.command(epilog="Example: `gristmill dataset errors shops > errors.csv`")
def errors(dataset: DatasetName, agent: AgentName = LIBRARY) -> None:
    """Write the rows that are no records as CSV, each with its line and the reason."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.write_errors(dataset, agent=agent)


@app.command(epilog="Example: `gristmill dataset versions shops`")
def versions(dataset: DatasetName, agent: AgentName = LIBRARY, as_json: AsJson = False) -> None:
    """Show the versions that can be gone back to, newest first; the one that is searched has a star."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.show_versions(dataset, agent=agent, as_json=as_json)


@app.command(epilog="Example: `gristmill dataset activate shops 2`")
def activate(
    dataset: DatasetName,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version, as `versions` shows it.")],
    agent: AgentName = LIBRARY,
) -> None:
    """Go to another version at once: what is searched, and file, template and key with it."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.activate(dataset, version, agent=agent)


@app.command(epilog="Example: `gristmill dataset search 'fresh bread' --top 5`")
def search(
    question: Annotated[str, typer.Argument(help="A question, or words.")],
    top: Annotated[int, typer.Option(min=1, max=100, help="Records to show.")] = 5,
    mode: Annotated[SearchMode, typer.Option(help="By meaning, by words, or both.")] = SearchMode.HYBRID,
    agent: AgentName = LIBRARY,
    as_json: AsJson = False,
) -> None:
    """Find records by meaning and by words, in all datasets of an agent."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.search(question, top=top, mode=mode.value, agent=agent, as_json=as_json)


@app.command(epilog="Example: `gristmill dataset query shops 'SELECT city, count(*) FROM records GROUP BY city'`")
def query(
    dataset: DatasetName,
    sql: Annotated[str, typer.Argument(help="One SELECT over the table `records`.")],
    agent: AgentName = LIBRARY,
    as_json: AsJson = False,
) -> None:
    """Count and sum over a dataset's records, exactly."""
    from gristmill.doors import dataset_desk  # noqa: PLC0415 - keeps --help quick

    dataset_desk.query(dataset, sql, agent=agent, as_json=as_json)
