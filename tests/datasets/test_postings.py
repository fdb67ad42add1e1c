"""The keyword index against BM25 computed the long way, and the fusion of two sides."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.datasets.postings import K1, B, Corpus, Posting, SegmentBuilder, _best, fuse, rank

WORDS = [f"w{number}" for number in range(40)]


def texts(seed: int, count: int) -> dict[int, str]:
    dice = random.Random(seed)  # noqa: S311 - no secret
    return {
        ordinal: " ".join(dice.choices(WORDS, range(40, 0, -1), k=dice.randrange(1, 60)))
        for ordinal in sorted(dice.sample(range(count * 2), count))
    }


def plain_bm25(documents: dict[int, str], terms: Counter[str]) -> dict[int, float]:
    counts = {ordinal: Counter(text.split()) for ordinal, text in documents.items()}
    mean = sum(sum(item.values()) for item in counts.values()) / len(counts)
    scores: defaultdict[int, float] = defaultdict(float)
    for term, times in terms.items():
        frequency = sum(term in item for item in counts.values())
        idf = math.log(1 + (len(counts) - frequency + 0.5) / (frequency + 0.5))
        for ordinal, item in counts.items():
            if term in item:
                length = sum(item.values())
                weight = item[term] * (K1 + 1) / (item[term] + K1 * (1 - B + B * length / mean))
                scores[ordinal] += times * idf * weight
    return scores


def index(documents: dict[int, str], low: int, high: int) -> dict[str, list[Posting]]:
    builder = SegmentBuilder(low)
    for ordinal, text in documents.items():
        if low <= ordinal < high:
            builder.add(ordinal, text)
    return {posting.term: [posting] for posting in builder.postings({"w1": "w0"})}


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_bm25_over_the_members(seed: int) -> None:
    documents = texts(seed, 60)
    size = max(documents) + 1
    dice = random.Random(seed)  # noqa: S311 - no secret
    members = {ordinal: text for ordinal, text in documents.items() if dice.random() < 0.7}
    lengths = np.zeros(size, np.uint16)
    for ordinal, text in documents.items():
        lengths[ordinal] = len(text.split())
    flags = np.zeros(size, bool)
    flags[list(members)] = True
    halves = [index(documents, 0, size // 2), index(documents, size // 2, size)]
    postings = {term: halves[0].get(term, []) + halves[1].get(term, []) for term in {*halves[0], *halves[1]}}
    words = sum(len(text.split()) for text in members.values())
    terms = Counter({"w0": 2, "w7": 1, "w30": 1})
    stemmed = {
        ordinal: " ".join("w0" if word == "w1" else word for word in text.split()) for ordinal, text in members.items()
    }
    expected = plain_bm25(stemmed, terms)
    found = rank([Corpus(flags, lengths, len(members), words)], [postings], terms, [None], 1_000)[0]
    assert set(found.ordinals.tolist()) == set(expected)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    for ordinal, score in zip(found.ordinals.tolist(), found.scores.tolist(), strict=True):
        assert score == pytest.approx(expected[ordinal], rel=1e-4)
    few = rank([Corpus(flags, lengths, len(members), words)], [postings], terms, [None], 5)[0]
    assert few.ordinals.tolist() == found.ordinals.tolist()[:5]
    allowed = np.zeros(size, bool)
    allowed[found.ordinals[::2]] = True
    narrow = rank([Corpus(flags, lengths, len(members), words)], [postings], terms, [allowed], 1_000)[0]
    assert narrow.ordinals.tolist() == found.ordinals.tolist()[::2]
    assert narrow.scores.tolist() == found.scores.tolist()[::2], "a filter does not change scores"


def test_several_datasets_count_as_one_collection() -> None:
    one, two = texts(1, 30), texts(2, 30)
    corpora, postings = [], []
    for documents in (one, two):
        size = max(documents) + 1
        flags, lengths = np.zeros(size, bool), np.zeros(size, np.uint16)
        for ordinal, text in documents.items():
            flags[ordinal], lengths[ordinal] = True, len(text.split())
        corpora.append(Corpus(flags, lengths, len(documents), int(lengths.sum())))
        builder = SegmentBuilder(0)
        for ordinal, text in documents.items():
            builder.add(ordinal, text)
        postings.append({item.term: [item] for item in builder.postings({})})
    terms = Counter({"w3": 1, "w20": 1})
    together = plain_bm25({**one, **{1_000 + ordinal: text for ordinal, text in two.items()}}, terms)
    first, second = rank(corpora, postings, terms, [None, None], 100)
    for offset, found in ((0, first), (1_000, second)):
        for ordinal, score in zip(found.ordinals.tolist(), found.scores.tolist(), strict=True):
            assert score == pytest.approx(together[offset + ordinal], rel=1e-4)


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.25]), max_size=40),
    hidden=st.sets(st.integers(0, 39)),
    depth=st.integers(1, 12),
)
def test_the_best_are_those_of_a_sort_and_of_equal_ones_the_first(
    scores: list[float], hidden: set[int], depth: int
) -> None:
    mask = np.array([number not in hidden for number in range(len(scores))], bool)
    found = _best(np.array(scores, np.float32), mask, depth)
    wanted = sorted((-score, number) for number, score in enumerate(scores) if score > 0 and mask[number])[:depth]
    assert list(zip((-found.scores).tolist(), found.ordinals.tolist(), strict=True)) == wanted


def test_nothing_is_found_in_nothing() -> None:
    empty = Corpus(np.zeros(0, bool), np.zeros(0, np.uint16), 0, 0)
    assert rank([], [], Counter("a"), [], 5) == []
    assert rank([empty], [{}], Counter({"a": 1}), [None], 5)[0].ordinals.tolist() == []
    assert list(SegmentBuilder(0).postings({})) == []


def test_fusion_is_half_of_each_side() -> None:
    keyword = {(1, 1): 10.0, (1, 2): 5.0, (1, 3): 0.0}
    vector = {(1, 3): 0.9, (1, 1): 0.5, (1, 4): 0.1}
    assert fuse(keyword, vector) == {(1, 1): 0.75, (1, 3): 0.5, (1, 2): 0.25, (1, 4): 0.0}
    assert fuse({}, vector)[1, 3] == 0.5
    assert fuse({(1, 9): 3.0}, {}) == {(1, 9): 0.5}
    assert list(fuse({(1, 2): 1.0, (1, 1): 1.0}, {})) == [(1, 1), (1, 2)]
