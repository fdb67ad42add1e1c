"""Texts as chunks: one where it fits, else cut between sentences with the heading repeated, and nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.datasets.chunks import TooManyChunks, split


def count(texts: Sequence[str]) -> list[int]:
    """A token for every four characters of a word."""
    return [sum(-(-len(word) // 4) for word in text.split()) for text in texts]


def test_a_text_that_fits_is_one_chunk() -> None:
    assert split("  Short text. It fits.\n", 20, count) == ["Short text. It fits."]
    assert split("  \n ", 20, count) == []


def test_it_is_cut_between_sentences() -> None:
    assert split("One two three. Four five six! Seven eight? Nine", 5, count) == [
        "One two three.",
        "Four five six!",
        "Seven eight? Nine",
    ]


def test_the_heading_is_repeated() -> None:
    chunks = split("Acme\nIt makes things. It sells things. It ships things.", 8, count)
    assert len(chunks) > 1
    assert all(chunk.startswith("Acme\nIt ") for chunk in chunks)


def test_a_long_first_line_is_no_heading() -> None:
    text = "This first line is far too long to be a heading of anything.\nSecond line."
    assert not split(text, 12, count)[1].startswith("This first")


def test_long_sentences_and_words_are_cut_too() -> None:
    assert split("word " * 50, 8, count) == ["word word word word word word word word"] * 6 + ["word word"]
    assert split("x" * 100, 20, count) == ["x" * 20] * 5


def test_there_is_an_end() -> None:
    with pytest.raises(TooManyChunks):
        split("a. " * 10_000, 4, count)


@given(st.text(alphabet="ab .!?\n東。", max_size=300), st.integers(8, 40))
def test_nothing_is_lost_and_everything_fits(text: str, window: int) -> None:
    chunks = split(text, window, count)
    assert all(count([chunk])[0] <= window for chunk in chunks)
    kept = "".join("".join(chunks).split())
    assert len(kept) >= len("".join(text.split()))
    if text.strip() and "\n" not in text.strip():
        assert kept == "".join(text.split())
