"""`gristmill template`: render a file's rows with a Go template, or look for what is wrong in one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.base.errors import FieldError, Invalid

if TYPE_CHECKING:
    from gristmill.gotemplate import Template
    from gristmill.tables import Table

ROWS_LINTED_MAX = 1_000
"""Rows of JSON whose keys count as columns."""

app = typer.Typer(
    help="Go templates: render the rows of a file, or find what is wrong in a template.",
    epilog="Example: `gristmill template render card.tmpl leads.csv --limit 3`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

TemplateArgument = Annotated[str, typer.Argument(help="A file with a Go template, or the template itself.")]
FileArgument = Annotated[
    Path, typer.Argument(help="A file of any format that is read as a table.", exists=True, dir_okay=False)
]
GoOnly = Annotated[bool, typer.Option("--go-only", help="Only the functions that Go defines, without helpers.")]


@app.command(epilog="Example: `gristmill template render card.tmpl leads.csv --limit 3`")
def render(
    template: TemplateArgument,
    file: FileArgument,
    limit: Annotated[int | None, typer.Option(help="Render this many rows.", min=1)] = None,
    missing_key: Annotated[
        str, typer.Option(help="What a missing key gives: `default`, `zero` or `error`, as in Go.")
    ] = "default",
    go_only: GoOnly = False,
) -> None:
    """Print the text of each row, an empty line between them. Rows that fail are told, and the exit code is 3."""
    from gristmill.tables import read_table  # noqa: PLC0415 - keeps --help quick

    table = read_table(file)
    compiled = _compile(template, table, missing_key, go_only=go_only)
    done = failed = 0
    for lines, rows in _groups(table, limit):
        for line, text in zip(lines, compiled.render_each(rows), strict=True):
            if isinstance(text, str):
                ending = "" if text.endswith("\n") else "\n"
                typer.echo(("\n" * bool(done) + text + ending).encode("utf-8", "surrogateescape"), nl=False)
                done += 1
            else:
                failed += 1
                typer.secho(f"{file.name}, line {line}: {text.message}", fg="red", err=True)
    typer.echo(f"{done} rows rendered, {failed} failed.", err=True)
    if failed:
        raise typer.Exit(3)


@app.command(epilog="Example: `gristmill template lint card.tmpl leads.csv`")
def lint(template: TemplateArgument, file: FileArgument, go_only: GoOnly = False) -> None:
    """Print fields that no column has, columns that are not used, and parts that are always empty or always fail.

    The exit code is 1 when there is more to say than that columns are not used.
    """
    from gristmill import gotemplate  # noqa: PLC0415 - keeps --help quick
    from gristmill.tables import read_table  # noqa: PLC0415

    table = read_table(file)
    compiled = _compile(template, table, "default", go_only=go_only)
    findings = gotemplate.lint(compiled, _columns(table))
    for finding in findings:
        place = f"{compiled.tree.name}:{finding.line}:{finding.column}: " if finding.line else ""
        typer.echo(f"{place}{finding.kind}: {finding.message}")
    if not findings:
        typer.echo("Nothing found.")
    if any(finding.kind != "unused_column" for finding in findings):
        raise typer.Exit(1)


def _compile(template: str, table: Table, missing_key: str, *, go_only: bool) -> Template:
    """The template, for rows of text or of JSON. Raises `TemplateError` and `Invalid`."""
    from gristmill import gotemplate  # noqa: PLC0415 - keeps --help quick

    if missing_key not in gotemplate.MISSING_KEYS:
        raise Invalid("`--missing-key` is default, zero or error.", errors=(FieldError("missing_key", "is not one"),))
    text, name = _text(template)
    return gotemplate.compile(
        text,
        missingkey=missing_key,
        functions={} if go_only else gotemplate.HELPERS,
        data_mode="typed" if table.dialect.format in {"json", "jsonl"} else "csv",
        name=name,
    )


def _text(template: str) -> tuple[str, str]:
    """The template's text and its name in messages."""
    path = Path(template)
    if "{{" not in template or path.is_file():
        try:
            return path.read_bytes().decode("utf-8", "surrogateescape"), path.name
        except OSError as error:
            message = f"The template {template} can't be read: {error.strerror}."
            raise Invalid(message, errors=(FieldError("template", "can't be read"),)) from None
    return template, "template"


def _groups(table: Table, limit: int | None) -> Iterator[tuple[list[int], list[Any]]]:
    """Line numbers and rows as templates see them, many at a time."""
    from gristmill.gotemplate import as_decoded  # noqa: PLC0415 - keeps --help quick

    names = [column.name for column in table.columns]
    left = limit
    for group in table.groups():
        values = group.values
        rows: list[Any] = (
            [dict(zip(names, row, strict=True)) for row in group.rows[:left]]
            if values is None
            else [as_decoded(value) for value in values[:left]]
        )
        yield group.lines[: len(rows)], rows
        if left is not None:
            left -= len(rows)
            if not left:
                return


def _columns(table: Table) -> list[str]:
    """The top-level names of the rows."""
    if table.dialect.format not in {"json", "jsonl"}:
        return [column.name for column in table.columns]
    values = (value for group in table.groups() for value in group.values or ())
    rows = islice((value for value in values if isinstance(value, dict)), ROWS_LINTED_MAX)
    return list(dict.fromkeys(str(key) for row in rows for key in row))
