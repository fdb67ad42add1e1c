"""Who a row is: by its key or its content, whatever its place and the order of its columns."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gristmill.datasets.keys import HASH_BYTES, RowHasher, digest, identities, key_hash, locate, pairs, shown_key, whole


def test_the_order_of_columns_does_not_matter_and_names_do() -> None:
    one, two = RowHasher(["a", "b"], None), RowHasher(["b", "a"], None)
    assert one.content(["1", "2"], None) == two.content(["2", "1"], None)
    assert one.content(["1", "2"], None) != RowHasher(["a", "c"], None).content(["1", "2"], None)
    assert one.content(["1,2", ""], None) != one.content(["1", "2"], None)


def test_json_values_keep_their_types_and_not_their_order() -> None:
    hasher = RowHasher(["a"], None)
    assert hasher.content(["1"], {"a": 1, "b": 2}) == hasher.content(["1"], {"b": 2, "a": 1})
    assert hasher.content(["1"], {"a": 1}) != hasher.content(["1"], {"a": "1"})
    assert hasher.content([""], {"a": "\ud800"}) != hasher.content([""], {"a": "\ud801"})


def test_keys_are_trimmed_and_may_be_missing() -> None:
    hasher = RowHasher(["id", "x"], 0)
    assert hasher.key([" 7 ", "y"]) == "7"
    assert hasher.key(["  ", "y"]) is None
    assert RowHasher(["id"], None).key(["7"]) is None


rows = st.lists(st.tuples(st.one_of(st.none(), st.sampled_from("abc")), st.sampled_from("xyz")), max_size=30)


@given(rows)
def test_identities_agree_with_a_plain_count(found: list[tuple[str | None, str]]) -> None:
    keys = b"".join(bytes(HASH_BYTES) if key is None else key_hash(key) for key, _ in found)
    contents = b"".join(digest(content.encode()) for _, content in found)
    who = identities(keys, bytes(key is not None for key, _ in found), contents)
    last = {key: index for index, (key, _) in enumerate(found) if key is not None}
    seen: dict[str, int] = {}
    for index, (key, content) in enumerate(found):
        assert who.keyed[index] == (key is not None)
        assert who.keep[index] == (key is None or last[key] == index)
        if key is None:
            assert who.occurrences[index] == seen.get(content, 0)
            seen[content] = seen.get(content, 0) + 1
    kept = [whole(who.keys, index) for index in range(len(found)) if who.keep[index]]
    assert len(set(kept)) == len(kept)


def test_finding_and_hashes_that_end_with_zeros() -> None:
    dice = random.Random(3)  # noqa: S311 - no secret
    hashes = [dice.randbytes(14) + b"\0\0" for _ in range(500)]
    known = np.array(hashes, "S16")
    assert whole(known, 3) == hashes[3]
    wanted = np.array([*hashes[::-7], dice.randbytes(16)], "S16")
    places = locate(wanted, known)
    assert places[-1] == -1
    assert [hashes[place] for place in places[:-1]] == hashes[::-7]
    both = pairs(known, known)
    assert locate(both[10:12], both).tolist() == [10, 11]
    assert locate(wanted[:0], known).tolist() == []
    assert locate(wanted, known[:0]).tolist() == [-1] * len(wanted)


def test_long_keys_are_cut_and_told_apart() -> None:
    one, two = shown_key("k" * 5_000 + "1"), shown_key("k" * 5_000 + "2")
    assert one != two
    assert len(one) <= 1_000
    assert shown_key("a\0b") == "a\ufffdb"
