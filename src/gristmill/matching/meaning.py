"""Texts by their meaning, where the caller has a model that turns texts into vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gristmill.matching.model import Embed
from gristmill.matching.table import Side
from gristmill.matching.vectors import Floats, Ints

NEIGHBOURS = 5
PAIRS_AT_ONCE = 10_000_000
"""Likenesses that are in memory at a time."""


class Meaning:
    """Vectors of the names of both sides."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._right: tuple[Side, NDArray[np.float32]] | None = None
        self._left: tuple[Side, NDArray[np.float32]] | None = None
        self._alone: set[tuple[int, int]] = set()

    def near(self, left: Side, right: Side) -> tuple[Ints, Ints]:
        """The records that mean most nearly the same as each row."""
        a, b = self._vectors(left, right)
        count = min(NEIGHBOURS, right.size)
        rows: list[Ints] = []
        records: list[Ints] = []
        step = max(1, PAIRS_AT_ONCE // max(right.size, 1))
        for at in range(0, len(a), step):
            likeness = a[at : at + step] @ b.T
            best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            rows.append(np.repeat(np.arange(at, at + len(best)), count))
            records.append(best.reshape(-1))
        i, j = np.concatenate(rows).astype(np.int64), np.concatenate(records).astype(np.int64)
        texts_left, texts_right = left.text_of(left.main_columns()), right.text_of(right.main_columns())
        self._alone = {
            (row, record)
            for row, record in zip(i.tolist(), j.tolist(), strict=True)
            if not set(texts_left[row].split()) & set(texts_right[record].split())
        }
        return i, j

    def alike(self, left: Side, right: Side, i: Ints, j: Ints) -> Floats:
        """Cosine of the meanings of pairs, 0..1."""
        a, b = self._vectors(left, right)
        return np.clip(np.einsum("ij,ij->i", a[i], b[j]).astype(np.float64), 0, 1)

    def found_alone(self, row: int, record: int) -> bool:
        """Whether a pair is near in meaning though the names share no word."""
        return (row, record) in self._alone

    def _vectors(self, left: Side, right: Side) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._right is None or self._right[0] is not right:
            self._right = right, self._of(right)
        if self._left is None or self._left[0] is not left:
            self._left = left, self._of(left)
        return self._left[1], self._right[1]

    def _of(self, side: Side) -> NDArray[np.float32]:
        columns = side.main_columns()
        texts = [" ".join(parts) for parts in zip(*(side.cells[name] for name in columns), strict=True)]
        vectors = np.asarray(self._embed(texts or [""] * side.size), np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(length == 0, 1, length)).astype(np.float32)
