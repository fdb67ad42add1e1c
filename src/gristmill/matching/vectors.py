"""Texts as sparse vectors: features of a text weighted by how rare they are (TF-IDF), products of pairs, nearest.

A feature is a word or a run of characters. Runs are found for all texts at once, on one array of code points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gristmill.matching.text import codes_in, numbers_in

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Features = Literal["words", "trigrams", "runs", "digits", "codes", "numbers"]

PAIRS_AT_ONCE = 20_000
ROWS_AT_ONCE = 256
WORK_MAX = 10_000
"""Entries of the other side that one row's rarest features may lead to: what keeps the search for neighbours linear."""
_RUN = 4
_BITS = 21  # of a code point
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64)


@dataclass(frozen=True, slots=True)
class Space:
    """Two lists of texts as vectors over the same features."""

    left: Any
    """Sparse rows of length 1."""
    right: Any
    left_counts: Any
    """Sparse rows of 0 and 1: which features a text has."""
    right_counts: Any
    weights: Floats
    """Information of each feature in nats: log(texts / texts that have it)."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The features of the reference's texts, found once for any number of rows."""

    kind: Features
    names: NDArray[np.uint64]
    """Sorted."""
    counts: Any
    """Sparse rows: how often each text has each feature."""
    ones: Any


def make_lexicon(texts: Sequence[str], kind: Features) -> Lexicon:
    """The lexicon of plain texts."""
    rows, found = _features(texts, kind)
    names, columns = np.unique(found, return_inverse=True)
    counts = _matrix(rows, columns, len(texts), len(names))
    return Lexicon(kind, names, counts, _ones(counts))


def make_space(left: Sequence[str], lexicon: Lexicon) -> Space:
    """Vectors of plain texts and of a lexicon's; how rare a feature is, is counted over both."""
    rows, found = _features(left, lexicon.kind)
    known = len(lexicon.names)
    at = np.minimum(np.searchsorted(lexicon.names, found), max(known - 1, 0))
    is_known = lexicon.names[at] == found if known else np.zeros(len(found), np.bool_)
    fresh, positions = np.unique(found[~is_known], return_inverse=True)
    columns = at.astype(np.int64)
    columns[~is_known] = known + positions
    width = known + len(fresh)
    a = _matrix(rows, columns, len(left), width)
    b = _widened(lexicon.counts, width)
    ones_a, ones_b = _ones(a), _widened(lexicon.ones, width)
    count = a.shape[0] + b.shape[0]
    seen = np.bincount(a.indices, minlength=width) + np.bincount(b.indices, minlength=width)
    scale = np.log((1 + count) / (1 + seen)) + 1
    weights = np.log(count / np.maximum(seen, 1))
    return Space(_unit(weighed(a, scale)), _unit(weighed(b, scale)), ones_a, ones_b, weights)


def _widened(matrix: Any, width: int) -> Any:
    """The same rows with further, empty columns."""
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], width))


def weighed(matrix: Any, weights: Floats) -> Any:
    """The rows of a sparse matrix with each column multiplied by its weight."""
    data = matrix.data * weights[matrix.indices]
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _features(texts: Sequence[str], features: Features) -> tuple[Ints, NDArray[Any]]:
    """(text number, feature) of every feature of every text, repeats included."""
    if features == "trigrams":
        return _runs([f" {text} " if text else "" for text in texts], 3, whole_words=True)
    if features == "runs":
        return _runs([text.replace(" ", "") for text in texts], _RUN)
    if features == "digits":
        return _runs([text.replace(" ", "") for text in texts], _RUN, with_digit=True)
    split: Callable[[str], list[str]] = str.split
    if features == "codes":
        split = codes_in
    elif features == "numbers":
        split = numbers_in
    rows: list[int] = []
    words: list[int] = []
    for number, text in enumerate(texts):
        for word in split(text):
            rows.append(number)
            words.append(_hash(word))
    return np.array(rows, np.int64), np.array(words, np.uint64)


def _hash(word: str) -> int:
    """A 64-bit number for a word, the same in every process (FNV-1a)."""
    value = 0xCBF29CE484222325
    for byte in word.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _runs(
    texts: Sequence[str], length: int, *, whole_words: bool = False, with_digit: bool = False
) -> tuple[Ints, NDArray[Any]]:
    """Runs of `length` characters. `whole_words`: none across two words. A shorter text is one run, padded."""
    padded = [text.ljust(length, "\0") if text else "" for text in texts]
    sizes = np.fromiter(map(len, padded), np.int64, len(padded))
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    if len(points) < length:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    owners = np.repeat(np.arange(len(padded)), sizes)
    count = len(points) - length + 1
    inside = owners[:count] == owners[length - 1 :]
    if whole_words:
        inside &= points[1 : count + 1] != ord(" ")
    if with_digit:
        digit = np.concatenate([[0], np.cumsum((points >= ord("0")) & (points <= ord("9")))])
        inside &= digit[length : length + count] > digit[:count]
    starts = np.flatnonzero(inside)
    runs = np.zeros(len(starts), np.uint64)
    for offset in range(length):
        part = points[starts + offset]
        if length * _BITS <= np.iinfo(np.uint64).bits:
            runs |= part << np.uint64(_BITS * offset)
        else:
            runs ^= (part + np.uint64(offset)) * _MIX[offset]
            runs = (runs << np.uint64(13)) | (runs >> np.uint64(51))
    return owners[starts].astype(np.int64), runs


def _matrix(rows: Ints, columns: NDArray[Any], count: int, width: int) -> Any:
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, width))
    matrix.sum_duplicates()
    return matrix


def _ones(matrix: Any) -> Any:
    ones = np.ones(len(matrix.data), np.int8)  # an eighth of the memory of floats
    return sparse.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _unit(matrix: Any) -> Any:
    """The rows, each of length 1."""
    sizes = np.diff(matrix.indptr)
    length = np.sqrt(np.bincount(np.repeat(np.arange(len(sizes)), sizes), matrix.data**2, len(sizes)))
    data = matrix.data / np.repeat(np.where(length == 0, 1, length), sizes)
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def dots(left: Any, right: Any, i: Ints, j: Ints) -> Floats:
    """Scalar product of row i[k] of one and row j[k] of the other, for each k."""
    found = np.empty(len(i))
    for at in range(0, len(i), PAIRS_AT_ONCE):
        part = slice(at, at + PAIRS_AT_ONCE)
        found[part] = left[i[part]].multiply(right[j[part]]).sum(axis=1)
    return found


def largest_shared(left: Any, right: Any, i: Ints, j: Ints) -> Floats:
    """The largest weight among the features that row i[k] of one and row j[k] of the other share; 0 for none."""
    found = np.zeros(len(i))
    for at in range(0, len(i) if left.shape[1] else 0, PAIRS_AT_ONCE):
        part = slice(at, at + PAIRS_AT_ONCE)
        found[part] = left[i[part]].multiply(right[j[part]]).max(axis=1).toarray().ravel()
    return found


def nearest(left: Any, right: Any, count: int) -> tuple[Ints, Ints]:
    """(i, j) of the rows of `right` that are nearest to each row of `left`, up to `count` of them.

    Only the rarest features of a row are followed, as many as lead to WORK_MAX entries: common ones tell records apart
    least and cost most.
    """
    common = np.bincount(right.indices, minlength=right.shape[1])
    pruned = _rarest(left, common)
    turned = right.T.tocsr()
    found_i: list[Ints] = []
    found_j: list[Ints] = []
    for at in range(0, left.shape[0], ROWS_AT_ONCE):
        product = (pruned[at : at + ROWS_AT_ONCE] @ turned).tocsr()
        for row in range(product.shape[0]):
            begin, end = product.indptr[row], product.indptr[row + 1]
            columns = product.indices[begin:end]
            if len(columns) > count:
                best = np.argpartition(-product.data[begin:end], count)[:count]
                columns = columns[best]
            found_i.append(np.full(len(columns), at + row, np.int64))
            found_j.append(columns.astype(np.int64))
    if not found_i:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(found_i), np.concatenate(found_j)


def _rarest(matrix: Any, common: NDArray[Any]) -> Any:
    """The matrix with the features of each row, rarest first, that together have at most WORK_MAX entries."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    entries = common[matrix.indices]
    order = np.lexsort((matrix.indices, entries, rows))
    work = np.cumsum(entries[order])
    before = np.concatenate([[0], work])[matrix.indptr[:-1]]
    kept = order[work - before[rows[order]] <= WORK_MAX]
    return sparse.csr_array((matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape)
