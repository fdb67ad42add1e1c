"""Matching: which record of a reference each row is, untrained and without a database.

`match` does it in one call; a `Matcher` keeps a reference ready for many. Columns are aligned by what is in them,
candidates found by rare parts of texts, codes and places, fields weighed by how well they tell likely matches from
chance, and the threshold is found for each task anew, without labels. Each match comes with its confidence and the
reasons in words. The numpy and scipy behind it are imported on first use, so that nobody else pays for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gristmill.matching.model import (
    BadKey,
    BadReference,
    BadThreshold,
    Embed,
    FieldPair,
    Match,
    Method,
    OneToOne,
    Outcome,
    Row,
)

if TYPE_CHECKING:
    from gristmill.matching.matcher import Matcher, match

__all__ = [
    "BadKey",
    "BadReference",
    "BadThreshold",
    "Embed",
    "FieldPair",
    "Match",
    "Matcher",
    "Method",
    "OneToOne",
    "Outcome",
    "Row",
    "match",
]

_LAZY = ("Matcher", "match")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from gristmill.matching import matcher  # noqa: PLC0415 - imports numpy and scipy

        return getattr(matcher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
