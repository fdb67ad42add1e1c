"""Kinds of sources, one file each: where the rows of a saved source come from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from gristmill.base.kinds import Family
from gristmill.sources.model import Content, Draft, Host, RowStream, Sample, StoredSource
from gristmill.sources.rungs import Rung


class SourceKind(Protocol):
    """A place that rows come from. None of its methods is called inside a transaction of ours."""

    @property
    def kind(self) -> str:
        """The word in the API and the database."""
        ...

    @property
    def title(self) -> str:
        """What lists and forms show."""
        ...

    @property
    def summary(self) -> str:
        """One sentence for a form."""
        ...

    @property
    def remote(self) -> bool:
        """Whether reading uses the network; such rows are copied to a file before they are used."""
        ...

    def prepare(self, draft: Draft, before: StoredSource | None, host: Host) -> Content:
        """Check a new source, or a change of `before`; raises an `Error` that names the field."""
        ...

    def preview(self, source: StoredSource, limit: int, host: Host) -> Sample:
        """The first rows, as fast as can be."""
        ...

    def open(self, source: StoredSource, host: Host) -> AbstractContextManager[RowStream]:
        """All rows, or an `Error` at a limit; never some of them without a word."""
        ...

    def test(self, source: StoredSource, host: Host) -> list[Rung]:
        """Try it step by step; it ends at the first step that breaks."""
        ...


KINDS: Family[SourceKind] = Family("sources", "gristmill.sources.kinds", "kind")
"""Every module of this folder with a `PLUGIN`, and entry points of the same group."""
