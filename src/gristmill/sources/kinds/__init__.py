"""Kinds of sources, one file each: where the rows of a saved source come from."""

from __future__ import annotations

from dataclasses import dataclass

from gristmill.base.kinds import Family


@dataclass(frozen=True, slots=True)
class SourceKind:
    """What the lists and forms show of a kind; its module holds the reading."""

    kind: str
    title: str
    summary: str


KINDS: Family[SourceKind] = Family("source kind", "gristmill.sources.kinds", "kind")
"""Every module of this folder with a `PLUGIN`, and entry points of the same group."""
