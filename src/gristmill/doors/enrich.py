"""`gristmill enrich`: its options. What it does is in enrich_desk.py, which is imported when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gristmill.doors.map_option import field_columns

EXAMPLE = "Example: `gristmill enrich leads.csv --reference registry.csv -o enriched.csv`"


class Layout(StrEnum):
    """What the output looks like."""

    FLAT = "flat"
    ORIGINAL = "original"


def enrich(
    file: Annotated[Path, typer.Argument(help="Leads: any delimiter, any header.", exists=True, dir_okay=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where results go. FILE.enriched.csv unless given."),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference", "-r", metavar="FILE", help="A file that knows more of them; may be repeated.", exists=True
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            metavar="AGENT",
            help="A saved lead enricher's name or an agent file; one of its own unless given.",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            "-m",
            metavar="FIELD=COLUMN",
            help="Which column feeds a field; several of one field are joined. What is not named is found.",
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Also tried when little is found, and no news when found again: your own e-mails, websites, further"
            " names; may be repeated. Unless given, they are found.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Enrich this many leads; the rest is kept as skipped.", min=1)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Stop before more than this many USD are spent.")
    ] = None,
    region: Annotated[
        str, typer.Option(help="Country of phones without a country code, two letters.", metavar="XX")
    ] = "US",
    layout: Annotated[
        Layout, typer.Option(help="`original`: the file's own columns and form, with the results appended.")
    ] = Layout.FLAT,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run leads again that failed in the last run.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew instead of going on where the last run stopped.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="FOLDER", help="Folder of database and files.", envvar="GRISTMILL_DATA_DIR"),
    ] = None,
) -> None:
    """Enrich each lead of a file from what you have. The same command again goes on where it was stopped or killed."""
    import os  # noqa: PLC0415 - only here

    from gristmill.doors.enrich_desk import EnrichOrder, enrich_file  # noqa: PLC0415 - keeps --help quick

    if data_dir is not None:
        os.environ["GRISTMILL_DATA_DIR"] = str(data_dir.absolute())
    order = EnrichOrder(
        file=file,
        out=out or file.with_name(f"{file.name}.enriched.csv"),
        references=tuple(reference or ()),
        agent=agent,
        mapping=_columns_of(mapping or []),
        variants=None if variant is None else tuple(variant),
        limit=limit,
        budget=budget,
        region=region.upper(),
        original=layout is Layout.ORIGINAL,
        retry_failed=retry_failed,
        fresh=fresh,
    )
    raise typer.Exit(enrich_file(order))


def _columns_of(texts: list[str]) -> dict[str, list[str]]:
    """Field -> columns, in the order in which they were given."""
    found: dict[str, list[str]] = {}
    for field, column in field_columns(texts):
        found.setdefault(field, []).append(column)
    return found
