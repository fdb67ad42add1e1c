"""`gristmill map`: which columns of a file feed which fields."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill import mapping, tables
from gristmill.base import jsons
from gristmill.base.config import settings
from gristmill.base.errors import FieldError, Invalid
from gristmill.doors.inspect import cut
from gristmill.mapping.model import FieldMapping

AGENT = "agent:"
SCHEMA_BYTES_MAX = 1024**2
SAMPLE_CHARS = 40
HEADS = ("field", "columns", "sure", "values", "next best")
GAP = 2
"""Blanks between two columns."""
VALUES_WIDTH_MIN = 20


def map_file(file: Path, fields: str, *, as_json: bool) -> None:
    """Propose a mapping and print it: a table for people, or JSON."""
    table = tables.read_table(file)
    wanted, known = _wanted(fields, table)
    found = mapping.propose_mapping(table, wanted, cache=known, llm=mapping.model_of(settings()))
    if as_json:
        sys.stdout.buffer.write(jsons.dumps(asdict(found)) + b"\n")
    else:
        _print(found)


def _wanted(fields: str, table: tables.Table) -> tuple[Any, mapping.Cache | None]:
    """The fields, and what is remembered of an agent. Raises `Invalid` for what is neither."""
    if fields == mapping.LEAD:
        return mapping.LEAD, None
    if fields.startswith(AGENT):
        return _of_agent(fields.removeprefix(AGENT), table)
    path = Path(fields)
    if path.is_file() and path.stat().st_size <= SCHEMA_BYTES_MAX:
        try:
            return jsons.loads(path.read_bytes()), None
        except ValueError as error:
            raise Invalid(f"{path} is not JSON: {error}", errors=(FieldError("--fields", "is not JSON"),)) from None
    message = "is `lead`, `agent:NAME`, or the path of a JSON Schema"
    raise Invalid(f"--fields {message}.", errors=(FieldError("--fields", message),))


def _of_agent(name: str, table: tables.Table) -> tuple[Any, mapping.Cache]:
    from gristmill.doors.agent_file import find_agent, spec_of  # noqa: PLC0415 - only this way needs the database
    from gristmill.doors.desk import default_organization, local_database  # noqa: PLC0415

    with local_database() as database:
        organization_id = default_organization(database)
        with database.tx(organization_id) as tx:
            agent = find_agent(tx, organization_id, spec_of(name), concurrency=None)
            if not agent.input_fields:
                raise Invalid(f"The agent {name} names no input fields; it gets each row as it is.")
            known = mapping.recall(tx, organization_id, table.fingerprint, agent.input_fields, agent_id=agent.id)
    return agent.input_fields, known


def _print(found: mapping.Mapping) -> None:
    console = Console()
    cells = [
        (name, _columns(found, item.columns), f"{item.confidence:.0%}", _samples(item), _runner_up(found, item))
        for name, item in found.fields.items()
    ]
    others = sum(max(len(row[at]) for row in [HEADS, *cells]) + GAP for at in (0, 1, 2, 4))
    left = max(VALUES_WIDTH_MIN, console.width - others)
    lines = Table(*HEADS, box=None, pad_edge=False, header_style="bold")
    for (name, columns, sure, values, second), item in zip(cells, found.fields.values(), strict=True):
        # Names and values are texts of others: not markup.
        lines.add_row(Text(name), Text(columns), Text(sure, _tone(item)), Text(cut(values, left)), Text(second))
    console.print(lines)
    if found.variants:
        console.print(
            Text("search variants: ", "bold") + Text(", ".join(found.columns[index] for index in found.variants))
        )
    if found.problem:
        console.print(Text(found.problem, "yellow"))
    typer.echo(f"fingerprint of the headers: {found.fingerprint}")


def _columns(found: mapping.Mapping, columns: tuple[int, ...]) -> str:
    return " + ".join(found.columns[index] for index in columns) or "-"


def _samples(item: FieldMapping) -> str:
    return " | ".join(cut(text, SAMPLE_CHARS) for text in item.evidence.samples)


def _runner_up(found: mapping.Mapping, item: FieldMapping) -> str:
    second = item.runner_up
    return f"{_columns(found, second.columns)} ({second.confidence:.0%})" if second else ""


def _tone(item: FieldMapping) -> str:
    if not item.columns:
        return "dim"
    return "green" if item.confidence >= 0.9 else "yellow"  # noqa: PLR2004 - nine of ten are right
