"""The option `--map FIELD=COLUMN` of commands that feed columns to fields."""

from __future__ import annotations

from collections.abc import Iterable

import typer


def field_columns(texts: Iterable[str]) -> list[tuple[str, str]]:
    """(field, column) of each, in the order in which they were given."""
    pairs: list[tuple[str, str]] = []
    for text in texts:
        field, equals, column = text.partition("=")
        if not equals or not field or not column:
            raise typer.BadParameter(f"`{text}` is not FIELD=COLUMN", param_hint="--map")
        pairs.append((field.strip(), column))
    return pairs
