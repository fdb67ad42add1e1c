"""Give each row back: a dry run that shows what an agent would get."""

from __future__ import annotations

from typing import Any

from gristmill.agents.runtimes.python import Context


def echo(row: dict[str, Any], context: Context) -> dict[str, Any]:
    """The row itself."""
    del context
    return dict(row)
