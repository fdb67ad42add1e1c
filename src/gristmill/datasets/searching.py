"""Searching: a question to the records that answer it, by meaning and by words.

Both sides give their best chunks, which are fused; a filter is turned into the set of ordinals that may be found before
either side looks. The words may be looked up ahead, in a transaction of their own, while the question is embedded
(questions.py); what they found counts only as long as the same versions are searched.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.base.db import Tx
from gristmill.base.errors import Invalid
from gristmill.datasets import arrays, build_store, filters, rows_store, search_store, vectors_store
from gristmill.datasets.kept import Kept
from gristmill.datasets.model import (
    FUSION_DEPTH,
    DatasetColumn,
    Hit,
    NoVectorSearch,
    Question,
    Searched,
    SearchResult,
    columns_from,
)
from gristmill.datasets.packed import Packed
from gristmill.datasets.postings import Corpus, Found, Mask, Place, Posting, fuse, merge, rank
from gristmill.datasets.questions import rows_of
from gristmill.datasets.survey import pack, unpack
from gristmill.datasets.words import highlight, question_words
from gristmill.datasets.words import words as words_of

INDEX_DEPTH = 80
"""Nearest that are asked of a vector index beside what the words found."""
INDEX_DEPTH_ALONE = 120
"""The same where the words found nothing, or were not asked."""
NAMED_MAX = 2_000
"""Up to so many chunks that a filter leaves, their vectors are compared one by one."""
CANDIDATE_COST = 80
"""What one candidate of a vector index costs, in chunks that a comparison of all passes by in that time. Where a filter
leaves few, the index goes through many candidates for each that may be found."""
STRANGE_SHARE_MAX = 0.1
"""Share of a table's entries that belong to other versions only, up to which they are left out after the search."""
STRANGE_SPARE = 3.0
"""So many times as many more are asked for as there would be on the average."""
MAPS_BYTES_MAX = 64 * 1024**2
"""Bits and lengths of versions that are kept in memory."""
MASKS_BYTES_MAX = 32 * 1024**2
"""What filters left of versions, the same."""
STEMS_MAX = 50_000
TERMS_MAX = 64
"""Different words of a question that are looked up."""


@dataclass(frozen=True, slots=True)
class _Map:
    """What belongs to a version, by ordinal."""

    members: Mask
    lengths: NDArray[np.uint16]
    """Words of the chunk."""
    positions: NDArray[np.int32]
    """Row number of the record."""

    @property
    def size_bytes(self) -> int:
        return self.members.nbytes + self.lengths.nbytes + self.positions.nbytes

    def owners(self) -> NDArray[np.int64]:
        """Ordinal of each chunk's record: where its row number first stands."""
        first = np.r_[True, self.positions[1:] != self.positions[:-1]]
        return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


@dataclass(slots=True)
class _Searchable:
    """A dataset with what searching it needs."""

    id: int
    row: dict[str, Any]
    map: _Map
    corpus: Corpus
    columns: list[DatasetColumn]
    owners: NDArray[np.int64] | None
    """Ordinal of each chunk's record; None where every record is one chunk."""
    bits: bytes | None
    """The members; None where the tables hold nothing else."""
    allowed: Mask | None = None
    """What the filter leaves of the members."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question as far as it can be answered without its vector."""

    rows: list[dict[str, Any]]
    """The datasets that are meant, with the versions that were live."""
    found: list[_Searchable]
    """Those of them that have something that may be found."""
    terms: Counter[str]
    keyword: dict[Place, float]
    """What the words found, best first."""


def prepare(tx: Tx, organization_id: int, agent_id: int, question: Question) -> Prepared:
    """Open the datasets, apply the filter, look the words up.

    Raises `DatasetNotFound`, `Invalid` for a filter that does not fit.
    """
    return _prepare(tx, organization_id, rows_of(tx, organization_id, agent_id, question.dataset_ids), question)


def search(
    tx: Tx,
    organization_id: int,
    agent_id: int,
    question: Question,
    vectors: Mapping[str, NDArray[np.float32]],
    prepared: Prepared | None = None,
) -> SearchResult:
    """The records that answer a question; `vectors` are from `embed_question`, by model.

    What was `prepared` in an earlier transaction counts if nothing has changed since; else it is done again in this
    one, so that an answer is of one version of each dataset. Raises `NoVectorSearch` and what `prepare` raises.
    """
    rows = rows_of(tx, organization_id, agent_id, question.dataset_ids)
    if prepared is None or prepared.rows != rows:
        prepared = _prepare(tx, organization_id, rows, question)
    found, keyword = prepared.found, prepared.keyword
    nearest: dict[Place, float] = {}
    if question.mode != "keyword":
        nearest = _by_meaning(tx, found, vectors, _depth(question), keyword)
    scores = fuse(keyword, nearest) if question.mode == "hybrid" else keyword or nearest
    by_id = {item.id: item for item in found}
    best = _best_of_records(by_id, scores, question.top_k)
    hits = _hits(tx, organization_id, by_id, best, frozenset(prepared.terms))
    return SearchResult(hits, [Searched(row["id"], row["version"]) for row in rows])


def _prepare(tx: Tx, organization_id: int, rows: list[dict[str, Any]], question: Question) -> Prepared:
    found = [_open(tx, organization_id, row) for row in rows if row["chunks"]]
    if question.filter:
        _narrow(tx, found, question.filter)
        found = [item for item in found if item.allowed is not None and item.allowed.any()]
    terms = _terms(tx, question.text)
    keyword: dict[Place, float] = {}
    if question.mode != "vector":
        depth = _depth(question)
        keyword = merge(_by_words(tx, organization_id, found, terms, depth), depth)
    return Prepared(rows, found, terms, keyword)


def _depth(question: Question) -> int:
    return max(FUSION_DEPTH, question.top_k)


_maps: Kept[tuple[str, int, int], _Map] = Kept(MAPS_BYTES_MAX, lambda item: item.size_bytes)
_masks: Kept[tuple[str, int, int, str], Mask] = Kept(MASKS_BYTES_MAX, lambda item: item.nbytes)
"""By database, dataset, version and condition. The records of a version never change."""


def _open(tx: Tx, organization_id: int, row: dict[str, Any]) -> _Searchable:
    def fetch() -> _Map:
        members, lengths, positions = search_store.find_map(tx, organization_id, row["id"], row["version"])
        rows = np.frombuffer(positions, "<i4")
        return _Map(unpack(members, len(rows)), np.frombuffer(lengths, "<u2"), rows)

    found = _maps.get((tx.database.url, row["id"], row["version"]), fetch)
    corpus = Corpus(found.members, found.lengths, row["chunks"], row["words"])
    bits = None if row["chunks"] == row["ordinal_next"] else pack(found.members)
    owners = found.owners() if row["chunks"] > row["records"] else None
    return _Searchable(row["id"], row, found, corpus, columns_from(row["columns"]), owners, bits)


def _narrow(tx: Tx, found: Sequence[_Searchable], value: Any) -> None:
    """Set what the filter leaves. A dataset that lacks a column of the filter has nothing of it.

    Raises `UnknownColumn` when no dataset has the columns.
    """
    refused: Invalid | None = None
    fitting = 0
    for item in found:
        try:
            condition = filters.parse(value, item.columns)
        except filters.UnknownColumn as error:
            refused, item.allowed = error, np.zeros(len(item.map.members), bool)
            continue
        fitting += 1
        key = (tx.database.url, item.id, item.row["version"], repr(condition))
        item.allowed = _masks.get(key, lambda item=item, condition=condition: _matching(tx, item, condition))
    if refused is not None and not fitting:
        raise refused


def _matching(tx: Tx, item: _Searchable, condition: filters.Condition) -> Mask:
    members = item.map.members
    allowed = np.zeros(len(members), bool)
    ordinals = arrays.ints(rows_store.read_matching(tx, item.row["rows_table"], item.columns, condition))
    allowed[ordinals[ordinals < len(members)]] = True
    return (allowed if item.owners is None else allowed[item.owners]) & members


_stems: dict[str, str] = {}


def _stems_of(tx: Tx, words: Iterable[str]) -> Mapping[str, str]:
    """Word -> stem; asked of the database once per word and process."""
    new = [word for word in dict.fromkeys(words) if word not in _stems]
    if new:
        if len(_stems) > STEMS_MAX:
            _stems.clear()
        found = build_store.find_stems(tx, new)
        _stems.update((word, found.get(word, word)) for word in new)
    return _stems


def _terms(tx: Tx, text: str) -> Counter[str]:
    """How often each stem comes in the question."""
    words = question_words(text)
    stems = _stems_of(tx, words)
    return Counter(dict(Counter(stems.get(word, word) for word in words).most_common(TERMS_MAX)))


def _by_words(
    tx: Tx, organization_id: int, found: Sequence[_Searchable], terms: Counter[str], depth: int
) -> list[tuple[int, Found]]:
    segments = {segment: index for index, item in enumerate(found) for segment in item.row["segments"]}
    postings: list[dict[str, list[Posting]]] = [defaultdict(list) for _ in found]
    for segment, term, ordinals, counts in search_store.list_postings(tx, organization_id, list(segments), list(terms)):
        postings[segments[segment]][term].append(Posting(term, ordinals, counts))
    corpora, allowed = [item.corpus for item in found], [item.allowed for item in found]
    ranked = rank(corpora, postings, terms, allowed, depth)
    return [(item.id, best) for item, best in zip(found, ranked, strict=True)]


def _by_meaning(
    tx: Tx,
    found: Sequence[_Searchable],
    vectors: Mapping[str, NDArray[np.float32]],
    depth: int,
    keyword: Mapping[Place, float],
) -> dict[Place, float]:
    """The nearest of all datasets; those of `keyword` are looked at whether an index finds them or not."""
    by_model: defaultdict[str, dict[Place, float]] = defaultdict(dict)
    for item in found:
        table = item.row["vectors_table"]
        if table is None:
            raise NoVectorSearch(
                f"Dataset {item.id} can't be searched by meaning: the database server had no extension `vector` "
                "(pgvector) when it was processed. Install it and process the dataset again; the mode `keyword` works."
            )
        model = item.row["model"]
        if model not in vectors:
            raise NoVectorSearch(
                f"Dataset {item.id} was processed with the model {model}, which its embedder does not give any more; "
                "process it again."
            )
        named = [ordinal for dataset_id, ordinal in keyword if dataset_id == item.id]
        near = _nearest(tx, item, table, vectors_store.one(vectors[model]), depth, named)
        size = len(item.map.members)  # what is beyond belongs to a version that is being built
        # Vectors are kept in half precision: the cosine of equal ones may come out a little above 1.
        by_model[model].update({(item.id, ordinal): min(score, 1.0) for ordinal, score in near if ordinal < size})
    sides = [dict(sorted(side.items(), key=lambda pair: -pair[1])[:depth]) for side in by_model.values()]
    if len(sides) == 1:
        return sides[0]
    # Cosines of different models don't compare: each model's own best is its 1.
    return {place: 2 * share for side in sides for place, share in fuse(side, {}).items()}


def _nearest(
    tx: Tx, item: _Searchable, table: int, vector: Packed, depth: int, named: Sequence[int]
) -> list[tuple[int, float]]:
    """The nearest chunks of one dataset, in the way that is quickest for what may be found.

    An index finds the few nearest cheaply and many at a price. So it is asked for some, and those that the words found
    (`named`) are compared beside them; of both the best are taken.
    """
    bits, left = item.bits, item.row["chunks"]
    if item.allowed is not None:
        ordinals = np.flatnonzero(item.allowed)
        left = len(ordinals)
        if left <= NAMED_MAX:
            return vectors_store.nearest_of_some(tx, table, vector, ordinals=ordinals.tolist(), limit=depth)
        bits = pack(item.allowed)
    ef_search = item.row["ef_search"]
    limit = min(depth, INDEX_DEPTH) if named else min(depth, INDEX_DEPTH_ALONE)
    candidates = limit * item.row["chunks"] / left
    if ef_search is None or candidates * CANDIDATE_COST > item.row["ordinal_next"]:
        return vectors_store.nearest_of_all(tx, table, vector, members=bits, limit=depth)
    near, beside = _from_index(tx, item, table, vector, bits, limit, named)
    if len(near) < limit:  # the index gave up before it had enough that may be found
        return vectors_store.nearest_of_all(tx, table, vector, members=bits, limit=depth)
    return sorted({**dict(beside), **dict(near)}.items(), key=lambda pair: (-pair[1], pair[0]))[:depth]


def _from_index(
    tx: Tx, item: _Searchable, table: int, vector: Packed, bits: bytes | None, limit: int, named: Sequence[int]
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """What an index finds of what may be found, `limit` unless it gave up before, and beside it those `named`.

    Where but a few of its entries belong to other versions, some more are asked for and those are left out here: to
    judge each candidate in the database takes half as long again.
    """
    members, total = item.map.members, item.row["ordinal_next"]
    strange = 1 - item.row["chunks"] / total

    def ask(inside: bytes | None, count: int) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        ef_search = max(item.row["ef_search"], count)
        return vectors_store.nearest_and_named(
            tx, table, vector, members=inside, ef_search=ef_search, limit=count, named=named
        )

    if item.allowed is None and 0 < strange <= STRANGE_SHARE_MAX:
        near, beside = ask(None, limit + math.ceil(STRANGE_SPARE * strange * limit))
        near = [pair for pair in near if pair[0] < len(members) and members[pair[0]]][:limit]
        if len(near) == limit:
            return near, beside
    return ask(bits, limit)


def _best_of_records(
    by_id: Mapping[int, _Searchable], scores: Mapping[Place, float], top_k: int
) -> list[tuple[Place, int, float]]:
    """(chunk, its record's ordinal, score): the best chunk of each of the best records."""
    best: list[tuple[Place, int, float]] = []
    seen: set[Place] = set()
    for place, score in scores.items():
        owners = by_id[place[0]].owners
        owner = place[1] if owners is None else int(owners[place[1]])
        if (place[0], owner) not in seen:
            seen.add((place[0], owner))
            best.append((place, owner, score))
            if len(best) == top_k:
                break
    return best


def _hits(
    tx: Tx,
    organization_id: int,
    by_id: Mapping[int, _Searchable],
    best: Sequence[tuple[Place, int, float]],
    terms: frozenset[str],
) -> list[Hit]:
    rows: dict[Place, dict[str, Any]] = {}
    for dataset_id in dict.fromkeys(place[0] for place, _, _ in best):
        inside = [(place[1], owner) for place, owner, _ in best if place[0] == dataset_id]
        ordinals, owners = [item[0] for item in inside], [item[1] for item in inside]
        for row in search_store.list_hits(tx, organization_id, dataset_id, ordinals, owners):
            rows[dataset_id, row["ordinal"]] = row
    words = {word for row in rows.values() for word in words_of(row["text"])}
    stems = _stems_of(tx, words)
    marked = {word for word in words if stems.get(word, word) in terms}
    return [
        Hit(
            place[0],
            rows[place]["record_key"],
            int(by_id[place[0]].map.positions[place[1]]),
            round(score, 6),
            rows[place]["text"],
            rows[place]["data"],
            highlight(rows[place]["text"], marked),
        )
        for place, _, score in best
    ]
