"""The keyword index: texts to postings, and postings to BM25 scores. Pure, on arrays.

BM25 as Robertson and Zaragoza give it (The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3), with
the idf of Lucene, which is never negative. Frequencies, lengths and document frequencies are kept, not weights, so the
scores are exact for whatever version is searched.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.datasets.words import words

K1 = 1.2
B = 0.75
COUNT_MAX = 255
"""A word that comes more often in one chunk counts as often as this, which changes its weight by less than 0.1 %."""
LENGTH_MAX = 65_535

Ordinals = NDArray[np.int32]
Mask = NDArray[np.bool_]
Place = tuple[int, int]
"""Dataset and ordinal."""


class Posting(NamedTuple):
    """Which chunks of a segment have a term, and how often."""

    term: str
    ordinals: bytes
    """int32, ascending."""
    counts: bytes
    """uint8."""


class SegmentBuilder:
    """Collects the words of chunks, then turns them into postings."""

    def __init__(self, low: int) -> None:
        """`low` is the first ordinal of the segment."""
        self.low = low
        self.high = low
        self._numbers: dict[str, int] = {}
        self._words = array("I")
        self._ordinals = array("I")
        self._lengths: list[int] = []

    @property
    def size(self) -> int:
        """Words so far."""
        return len(self._words)

    @property
    def vocabulary(self) -> Sequence[str]:
        """The different words so far."""
        return list(self._numbers)

    def add(self, ordinal: int, text: str) -> None:
        """Add a chunk; ordinals come in ascending order, with gaps where there is no chunk."""
        numbers = self._numbers
        found = words(text)
        self._words.extend([numbers.setdefault(word, len(numbers)) for word in found])
        self._ordinals.extend([ordinal] * len(found))
        self._lengths.extend([0] * (ordinal - self.high))
        self._lengths.append(min(len(found), LENGTH_MAX))
        self.high = ordinal + 1

    def lengths(self) -> bytes:
        """Words of each ordinal's chunk from `low` on, uint16."""
        return np.array(self._lengths, "<u2").tobytes()

    def postings(self, stems: Mapping[str, str]) -> Iterator[Posting]:
        """One for each stem. `stems` knows the words that are no stems of themselves."""
        terms: dict[str, int] = {}
        of_word = np.fromiter(
            (terms.setdefault(stems.get(word, word), len(terms)) for word in self._numbers),
            np.uint64,
            len(self._numbers),
        )
        if not terms:
            return
        numbers = np.frombuffer(self._words, np.uint32)
        keys = (of_word[numbers] << np.uint64(32)) | np.frombuffer(self._ordinals, np.uint32).astype(np.uint64)
        unique, counts = np.unique(keys, return_counts=True)
        ordinals = (unique & np.uint64(0xFFFFFFFF)).astype("<i4")
        small = np.minimum(counts, COUNT_MAX).astype(np.uint8)
        bounds = np.searchsorted(unique >> np.uint64(32), np.arange(len(terms) + 1, dtype=np.uint64))
        for term, start, end in zip(terms, bounds[:-1], bounds[1:], strict=True):
            yield Posting(term, ordinals[start:end].tobytes(), small[start:end].tobytes())


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is searched of one dataset: the chunks of its version."""

    members: Mask
    """By ordinal."""
    lengths: NDArray[np.uint16]
    """Words by ordinal."""
    chunks: int
    words: int


@dataclass(frozen=True, slots=True)
class Found:
    """The best chunks, best first."""

    ordinals: Ordinals
    scores: NDArray[np.float32]


def rank(
    corpora: Sequence[Corpus],
    postings: Sequence[Mapping[str, Sequence[Posting]]],
    terms: Mapping[str, int],
    allowed: Sequence[Mask | None],
    depth: int,
) -> list[Found]:
    """The `depth` best chunks of each corpus for a question.

    `postings` are by term for each corpus, `terms` counts each term in the question, `allowed` narrows each corpus.
    All corpora count as one collection, so that scores compare from one to the other.
    """
    chunks = sum(corpus.chunks for corpus in corpora)
    mean = sum(corpus.words for corpus in corpora) / chunks if chunks else 1.0
    scores = [np.zeros(len(corpus.members), np.float32) for corpus in corpora]
    norms = [K1 * (1 - B) + corpus.lengths * np.float32(K1 * B / max(mean, 1e-9)) for corpus in corpora]
    for term, times in terms.items():
        live = [_live(corpus, found.get(term, ())) for corpus, found in zip(corpora, postings, strict=True)]
        frequency = sum(item.frequency for item in live)
        weight = times * math.log(1 + (chunks - frequency + 0.5) / (frequency + 0.5)) * (K1 + 1)
        for item, norm, score in zip(live, norms, scores, strict=True):
            # weight * counts / (counts + norm), step by step in one array: half the time of the formula
            share = norm.take(item.ordinals)
            share += item.counts
            np.divide(item.counts, share, out=share)
            share *= np.float32(weight)
            share += score.take(item.ordinals)
            score[item.ordinals] = share
    masks = [_mask(corpus, mask) for corpus, mask in zip(corpora, allowed, strict=True)]
    return [_best(score, mask, depth) for score, mask in zip(scores, masks, strict=True)]


class _Live(NamedTuple):
    """A term's postings."""

    ordinals: Ordinals
    """Those of chunks that left the version are among them; their scores are masked in the end."""
    counts: NDArray[np.float32]
    frequency: int
    """Of the version's chunks."""


def _live(corpus: Corpus, found: Sequence[Posting]) -> _Live:
    """A term's postings, without those that later versions have added to the same dataset."""
    parts = [np.frombuffer(item.ordinals, "<i4") for item in found] or [np.empty(0, "<i4")]
    counts = [np.frombuffer(item.counts, np.uint8) for item in found] or [np.empty(0, np.uint8)]
    for index, part in enumerate(parts):
        if len(part) and part[-1] >= len(corpus.members):
            inside = int(np.searchsorted(part, len(corpus.members)))
            parts[index], counts[index] = part[:inside], counts[index][:inside]
    ordinals = parts[0] if len(parts) == 1 else np.concatenate(parts)
    complete = corpus.chunks == len(corpus.members)
    frequency = len(ordinals) if complete else int(np.count_nonzero(corpus.members.take(ordinals)))
    return _Live(ordinals, np.concatenate(counts).astype(np.float32), frequency)


def _mask(corpus: Corpus, allowed: Mask | None) -> Mask | None:
    """What may be found; None where all may."""
    if corpus.chunks == len(corpus.members):
        return allowed
    return corpus.members if allowed is None else corpus.members & allowed


def _best(scores: NDArray[np.float32], mask: Mask | None, depth: int) -> Found:
    """The `depth` best of positive scores; of equal ones the first."""
    if mask is not None:
        scores = np.where(mask, scores, np.float32(0))
    least = np.partition(scores, -depth)[-depth] if len(scores) > depth else np.float32(0)
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)[: depth - len(above)] if least > 0 else above[:0]
    best = np.r_[above, equal]
    order = best[np.lexsort((best, -scores[best]))]
    return Found(order.astype(np.int32), scores[order])


def fuse(keyword: Mapping[Place, float], vector: Mapping[Place, float]) -> dict[Place, float]:
    """Half of each side's score, each side stretched to 0..1 over its own best; best first.

    A convex combination of min-max normalised scores (Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid
    Retrieval, 2023).
    """
    fused: dict[Place, float] = {}
    for side in (keyword, vector):
        low, high = min(side.values(), default=0.0), max(side.values(), default=0.0)
        for key, score in side.items():
            share = (score - low) / (high - low) if high > low else 1.0
            fused[key] = fused.get(key, 0.0) + share / 2
    return dict(sorted(fused.items(), key=lambda item: (-item[1], item[0])))


def merge(found: Iterable[tuple[int, Found]], depth: int) -> dict[Place, float]:
    """(dataset, ordinal) -> score of the best over several datasets."""
    pairs = [
        ((dataset, int(ordinal)), float(score))
        for dataset, item in found
        for ordinal, score in zip(item.ordinals, item.scores, strict=True)
    ]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:depth])
