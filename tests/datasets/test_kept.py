"""What was used last is kept, up to a number of bytes."""

from __future__ import annotations

from gristmill.datasets.kept import Kept


def test_the_oldest_goes_when_there_is_too_much() -> None:
    fetched: list[str] = []
    kept: Kept[str, bytes] = Kept(10, len)

    def get(key: str, size: int = 4) -> bytes:
        def fetch() -> bytes:
            fetched.append(key)
            return key.encode() * size

        return kept.get(key, fetch)

    assert get("a") == b"aaaa"
    assert get("a") == b"aaaa"
    get("b")
    get("a")
    get("c")  # b was used longest ago
    get("a")
    assert fetched == ["a", "b", "c"]
    get("b")
    assert fetched == ["a", "b", "c", "b"]


def test_one_that_is_larger_than_all_is_kept_alone() -> None:
    kept: Kept[int, bytes] = Kept(1, len)
    assert kept.get(1, lambda: b"large") == b"large"
    assert kept.get(1, lambda: b"never") == b"large"
    assert kept.get(2, lambda: b"other") == b"other"
    assert kept.get(1, lambda: b"again") == b"again"
