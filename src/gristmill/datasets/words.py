"""The words of a text for the keyword index, and where they stand, for highlights. Pure.

Words are runs of letters, digits and underscores, without case and accents. Scripts that put no blanks between words
(Han, kana, Hangul, Thai, Lao, Khmer, Burmese) are taken as pairs of neighbouring characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from gristmill.datasets.model import Highlight

WORD_CHARS_MAX = 64
"""A longer run of letters is known by its beginning."""
FRAGMENTS_MAX = 3
"""Pieces of a text that are shown with their marks."""
FRAGMENT_CHARS = 160

_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3040-\u30ff"
    "\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_RUNS = re.compile(r"\w+")
_DENSE_RUN = re.compile(f"[{_DENSE}]+")
_MARKS = re.compile(r"[\u0300-\u036f]+")

STOP_WORDS = frozenset(
    (  # noqa: SIM905 - a list of a hundred quoted words is hard to read
        "a about above after again against all am an and any are as at be because been before being below between both"
        " but by can did do does doing don down during each few for from further had has have having he her here hers"
        " herself him himself his how i if in into is it its itself just me more most my myself no nor not now of off"
        " on once only or other our ours ourselves out over own s same she should so some such t than that the their"
        " theirs them themselves then there these they this those through to too under until up very was we were what"
        " when where which while who whom why will with you your yours yourself yourselves"
    ).split()
)
"""Words that say nothing about what is looked for. They are in the index, for questions that have no others."""


class Word(NamedTuple):
    """A word and where it stands."""

    text: str
    start: int
    end: int


def fold(text: str) -> str:
    """Without case and accents. The length may change."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _MARKS.sub("", folded))


def words(text: str) -> list[str]:
    """All words in their order."""
    folded = fold(text)
    found = _RUNS.findall(folded)
    if folded.isascii():
        return found if len(folded) <= WORD_CHARS_MAX else [word[:WORD_CHARS_MAX] for word in found]
    out: list[str] = []
    for run in found:
        if run.isascii() or not _DENSE_RUN.search(run):
            out.append(run[:WORD_CHARS_MAX])
        else:
            out.extend(word.text for word in _take_apart(run, 0))
    return out


def question_words(text: str) -> list[str]:
    """The words that a question is about; all of them where it has only stop words."""
    found = words(text)
    return [word for word in found if word not in STOP_WORDS] or found


def _take_apart(run: str, offset: int) -> Iterator[Word]:
    """The words of a run that has characters of a dense script."""
    place = 0
    for dense in _DENSE_RUN.finditer(run):
        if dense.start() > place:
            yield Word(run[place : dense.start()][:WORD_CHARS_MAX], offset + place, offset + dense.start())
        start, end = dense.span()
        if end - start == 1:
            yield Word(run[start:end], offset + start, offset + end)
        for first in range(start, end - 1):
            yield Word(run[first : first + 2], offset + first, offset + first + 2)
        place = end
    if place < len(run):
        yield Word(run[place:][:WORD_CHARS_MAX], offset + place, offset + len(run))


def places(text: str, wanted: Container[str]) -> list[Word]:
    """Where words stand in the text as it is, of those that are wanted as they are folded."""
    if text.isascii():
        return [
            Word(word, run.start(), run.end())
            for run in _RUNS.finditer(text.lower())
            if (word := run[0][:WORD_CHARS_MAX]) in wanted
        ]
    return [word for word in _folded_places(text) if word.text in wanted]


def _folded_places(text: str) -> Iterator[Word]:
    for run in _RUNS.finditer(text):
        if run[0].isascii() or not _DENSE_RUN.search(run[0]):
            yield Word(fold(run[0])[:WORD_CHARS_MAX], run.start(), run.end())
        else:
            for word in _take_apart(run[0], run.start()):
                yield Word(fold(word.text), word.start, word.end)


def highlight(text: str, wanted: Container[str]) -> list[Highlight]:
    """The pieces of a text with the most of the wanted words, in the text's order."""
    pieces: list[tuple[int, int, list[Word]]] = []
    for word in places(text, wanted):
        if pieces and word.end - pieces[-1][0] <= FRAGMENT_CHARS:
            pieces[-1][2].append(word)
        else:
            pieces.append((word.start, 0, [word]))
    best = sorted(pieces, key=lambda piece: -len({word.text for word in piece[2]}))[:FRAGMENTS_MAX]
    return [_fragment(text, piece[2]) for piece in sorted(best)]


def _fragment(text: str, inside: Sequence[Word]) -> Highlight:
    """Some text around words, cut between words."""
    first, last = inside[0].start, inside[-1].end
    room = max(0, FRAGMENT_CHARS - (last - first))
    start = max(0, first - room // 3)
    end = min(len(text), last + room - (first - start))
    while 0 < start < first and not text[start - 1].isspace():
        start += 1
    while last < end < len(text) and not text[end].isspace():
        end -= 1
    return Highlight(text[start:end], [(word.start - start, word.end - start) for word in inside])
