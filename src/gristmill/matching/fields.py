"""How alike two cells are, for each kind of fact: 1 the same, 0 nothing in common, NaN where one is empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from gristmill.matching.candidates import nearness
from gristmill.matching.model import FieldPair
from gristmill.matching.table import Side
from gristmill.matching.values import PHONE_TAIL, code, day, number, phone
from gristmill.matching.vectors import Features, Floats, Ints, dots, make_space


def similarity(left: Side, right: Side, pair: FieldPair, i: Ints, j: Ints) -> Floats:
    """How alike a field is in each pair of rows (i, j)."""
    if pair.kind == "geo":
        if left.places is None or right.places is None:  # a learned field that these rows do not have
            return np.full(len(i), np.nan)
        return nearness(left.places[1], right.places[1], i, j)
    if pair.kind == "text":
        return _text(left.text_of(pair.left), right, pair.right, i, j)
    a, b = left.cells[pair.left[0]], right.cells[pair.right[0]]
    if pair.kind == "number":
        return _numbers(a, b, i, j)
    normal: Callable[[str], str] = {"code": code, "phone": phone, "date": day}[pair.kind]
    return _codes([normal(text) for text in a], [normal(text) for text in b], i, j, tail=pair.kind == "phone")


def _text(texts: Sequence[str], right: Side, columns: Sequence[str], i: Ints, j: Ints) -> Floats:
    """Mean of the cosines of words and of runs of three characters, rare ones counting more."""
    total = np.zeros(len(i))
    empty = np.zeros(len(i), np.bool_)
    kinds: tuple[Features, ...] = ("words", "trigrams")
    for kind in kinds:
        space = make_space(texts, right.lexicon_of(columns, kind))
        total += dots(space.left, space.right, i, j)
        empty |= (np.diff(space.left.indptr) == 0)[i] | (np.diff(space.right.indptr) == 0)[j]
    return np.where(empty, np.nan, np.clip(total / 2, 0, 1))


def _numbers(a: Sequence[str], b: Sequence[str], i: Ints, j: Ints) -> Floats:
    """1 minus the relative difference."""
    x = np.array([number(text) for text in a])[i]
    y = np.array([number(text) for text in b])[j]
    largest = np.maximum(np.maximum(np.abs(x), np.abs(y)), 1e-9)
    return 1 - np.minimum(1, np.abs(x - y) / largest)


def _codes(a: list[str], b: list[str], i: Ints, j: Ints, *, tail: bool) -> Floats:
    """1 minus the share of characters to change; with `tail` the last digits decide alone."""
    some, others = [a[row] for row in i], [b[row] for row in j]
    alike = np.asarray(
        process.cpdist(some, others, scorer=Levenshtein.normalized_similarity, dtype=np.float64), np.float64
    )
    if tail:
        same = [
            len(x) >= PHONE_TAIL
            and len(y) >= PHONE_TAIL
            and (x.endswith(y[-PHONE_TAIL:]) or y.endswith(x[-PHONE_TAIL:]))
            for x, y in zip(some, others, strict=True)
        ]
        alike[np.array(same, bool)] = 1.0
    missing = np.array([not x or not y for x, y in zip(some, others, strict=True)], bool)
    return np.where(missing, np.nan, alike)
