"""Addresses of pages: made with their parameters, and judged before a browser is sent to one."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query

RETURN_PATHS = ("/batch", "/connect", "/dashboard", "/enrich_agent")
"""Where `return=` may lead: pages of ours and nothing else."""

ReturnPath = Annotated[str, Query(alias="return", max_length=300)]


def link(path: str, **query: object) -> str:
    """A path with the parameters that have a value."""
    pairs = {name: str(value) for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(pairs)}" if pairs else path


def safe_return(path: str) -> str:
    """The path when it is one of our pages; else empty."""
    inside = any(path == start or path.startswith((f"{start}/", f"{start}?")) for start in RETURN_PATHS)
    return path if inside and "\\" not in path and "//" not in path and path.isprintable() else ""
