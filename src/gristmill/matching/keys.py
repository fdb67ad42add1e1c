"""Rows that bring the reference's own key: joined by it, once the rest of the rows shows that it is the same key."""

from __future__ import annotations

import math

import numpy as np

from gristmill.matching.model import LIFT_MIN
from gristmill.matching.table import KEY_NAME, Side, counts_rows
from gristmill.matching.text import trigram_likeness

SHARE_MIN = 0.3
"""Share of a column's filled cells that must be keys of the reference."""
PAIRS_LOOKED_AT = 200


def key_pairs(left: Side, right: Side) -> tuple[str | None, dict[int, int]]:
    """(column of the rows that holds the reference's keys, row -> record of it); None where no column does.

    Two tables that both count their rows from 1 share all their numbers and mean nothing by it. So the joined rows must
    be more alike than rows joined at random; where nothing else can be compared, the numbers must not be mere counts.
    """
    if right.key is None or not left.size:
        return None, {}
    record_of = {text.strip(): number for number, text in enumerate(right.cells[right.key])}
    best: tuple[float, str, dict[int, int]] | None = None
    for name in left.columns:
        cells = [text.strip() for text in left.cells[name]]
        filled = sum(map(bool, cells))
        joined = {row: record_of[text] for row, text in enumerate(cells) if text in record_of}
        share = len(joined) / filled if filled else 0.0
        if share >= SHARE_MIN and (best is None or share > best[0]) and _means_the_same(left, right, name, joined):
            best = (share, name, joined)
    return (best[1], best[2]) if best else (None, {})


def _means_the_same(left: Side, right: Side, name: str, joined: dict[int, int]) -> bool:
    columns_left = [other for other in left.compared if other != name]
    columns_right = right.compared
    if not columns_left or not columns_right:
        return not (counts_rows(left.cells[name]) and counts_rows(right.cells[right.key or ""]))
    step = max(1, math.ceil(len(joined) / PAIRS_LOOKED_AT))
    rows = list(joined)[::step]
    records = [joined[row] for row in rows]
    texts_left, texts_right = left.text_of(columns_left), right.text_of(columns_right)
    alike = [trigram_likeness(texts_left[a], texts_right[b]) for a, b in zip(rows, records, strict=True)]
    others = np.roll(records, len(records) // 2 + 1) if len(records) > 1 else [(records[0] + 1) % right.size]
    by_chance = [trigram_likeness(texts_left[a], texts_right[b]) for a, b in zip(rows, others, strict=True)]
    return float(np.mean(alike)) - float(np.mean(by_chance)) >= LIFT_MIN


def own_key(left: Side, right: Side) -> str | None:
    """The column that numbers the rows of `left` for itself alone, which says nothing about the reference."""
    if len(left.columns) < 2:  # noqa: PLR2004 - a single column is what is to be matched
        return None
    keys = set(right.cells[right.key]) if right.key else set[str]()
    for name in left.columns:
        cells = left.cells[name]
        unique = len(set(cells)) == len(cells) and all(map(str.strip, cells))
        if unique and not keys.intersection(cells) and (counts_rows(cells) or KEY_NAME.search(name)):
            return name
    return None
