"""An agent as a Python function: run it with `--agent titles:shorten_name` from this folder."""

from __future__ import annotations

from typing import Any

LEGAL_FORMS = ["Pty Ltd", "Company", "Co.", "Co", "Inc.", "Inc", "Ltd", "LLC"]


def shorten_name(row: dict[str, Any], context: Any) -> dict[str, Any]:
    """A business name without its legal form; an empty result when there is no name."""
    name = " ".join(str(row.get("name") or "").split())
    if not name:
        return {}
    short = name
    for form in context.options.get("legal_forms", LEGAL_FORMS):
        short = short.removesuffix(f" {form}")
    return {"short_name": short, "words": len(short.split())}
