"""A record's text as chunks: one, unless it exceeds the embedder's window. Pure.

A long text is cut between sentences, a sentence that is too long between words, a word between characters. Its heading,
the first of several lines, is repeated in each piece, so that every piece says what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

RULES = "1"
"""Part of every recipe: a change of how texts are cut makes all chunks anew."""
HEADING_SHARE_MAX = 0.25
"""Share of the window that a heading may take; a longer first line is no heading."""
CHUNKS_MAX = 2_000
"""Chunks of one record."""

Count = Callable[[Sequence[str]], list[int]]
"""How many tokens each text has."""

_SENTENCES = re.compile(r"\n+|(?<=[.!?])[\"')\]]*\s+|(?<=[\u3002\uff01\uff1f])")
_WORDS = re.compile(r"\s*\S+")


class TooManyChunks(ValueError):
    """The text would become more chunks than one record may have."""


def split(text: str, window: int, count: Count) -> list[str]:
    """The chunks of a text, none longer than `window` tokens; none for a blank text.

    Raises `TooManyChunks`.
    """
    text = text.strip()
    if not text:
        return []
    if count([text])[0] <= window:
        return [text]
    heading, body = _heading(text, window, count)
    budget = window - (count([heading])[0] if heading else 0)
    pieces = _pack(_pieces(body, budget, count), budget)
    return [f"{heading}\n{piece}" if heading else piece for piece in pieces]


def _heading(text: str, window: int, count: Count) -> tuple[str, str]:
    first, newline, rest = text.partition("\n")
    first = first.strip()
    if newline and rest.strip() and count([first])[0] <= window * HEADING_SHARE_MAX:
        return first, rest
    return "", text


def _pieces(body: str, budget: int, count: Count) -> Iterator[tuple[str, int]]:
    """(text, tokens) of pieces that each fit, with what stood between them."""
    sentences = _cut(body)
    for sentence, tokens in zip(sentences, count(sentences), strict=True):
        if tokens <= budget:
            yield sentence, tokens
            continue
        words = _WORDS.findall(sentence)
        for word, size in zip(words, count(words), strict=True):
            if size <= budget:
                yield word, size
            else:
                for start in range(0, len(word), budget):
                    yield word[start : start + budget], budget


def _cut(body: str) -> list[str]:
    """The sentences, each with the blanks that follow it."""
    ends = [found.end() for found in _SENTENCES.finditer(body)]
    return [
        body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True) if body[start:end].strip()
    ]


def _pack(pieces: Iterator[tuple[str, int]], budget: int) -> list[str]:
    """As many pieces to a chunk as fit."""
    out: list[str] = []
    held: list[str] = []
    size = 0
    for piece, tokens in pieces:
        if held and size + tokens > budget:
            out.append("".join(held).strip())
            held, size = [], 0
            if len(out) >= CHUNKS_MAX:
                raise TooManyChunks(f"The text would become more than {CHUNKS_MAX} chunks.")
        held.append(piece)
        size += tokens
    if held:
        out.append("".join(held).strip())
    return [chunk for chunk in out if chunk]
