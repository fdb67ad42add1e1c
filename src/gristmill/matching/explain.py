"""Why two rows were matched, in words: what agrees, what differs, what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.matching.model import FieldPair
from gristmill.matching.table import Side

EQUAL = 0.9999
NEAR = 0.75
ALIKE = 0.45
FIELDS_TOLD = 8
CELL_CHARS = 40


def explain(left: Side, right: Side, row: int, record: int, fields: Sequence[FieldPair], alike: Sequence[float]) -> str:
    """One clause per field, those that agree first."""
    clauses = [
        (-1.0 if np.isnan(value) else value, _clause(left, right, row, record, pair, value))
        for pair, value in zip(fields, alike, strict=True)
    ]
    clauses.sort(key=lambda item: -item[0])
    told = [text for _, text in clauses if text][:FIELDS_TOLD]
    return "; ".join(told) or "the rows agree as a whole"


def _clause(left: Side, right: Side, row: int, record: int, pair: FieldPair, alike: float) -> str:
    if np.isnan(alike):
        return ""
    label = pair.label
    if pair.kind == "geo":
        return f"{_distance(left, right, row, record)} apart"
    if alike >= EQUAL:
        return f"{label} equal"
    if alike >= NEAR:
        return f"{label} nearly equal"
    some = " ".join(filter(None, (left.cells[name][row].strip() for name in pair.left)))
    other = " ".join(filter(None, (right.cells[name][record].strip() for name in pair.right)))
    word = "similar" if alike >= ALIKE else "differs"
    return f"{label} {word} ({_short(some)} / {_short(other)})"


def _distance(left: Side, right: Side, row: int, record: int) -> str:
    if left.places is None or right.places is None:
        return "an unknown distance"
    metres = float(np.linalg.norm(left.places[1][row] - right.places[1][record]))
    return f"{metres:.0f} m" if metres < 1_000 else f"{metres / 1_000:,.1f} km"  # noqa: PLR2004 - a kilometre


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1].rstrip() + "…"
