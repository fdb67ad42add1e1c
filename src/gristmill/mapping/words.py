"""Words of headers and values: folded for comparison, cut apart, and looked up in two word lists.

A header such as `BILLINGPOSTALCODE`, `Store_Stre` (cut to ten characters by a shapefile), `faxcimile` or `所在地_都道府県`
becomes a list of words whose meaning is known.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

PHRASE_WORDS_MAX = 5
"""Words of the longest phrase that is looked up as one."""
HEADER_CHARS_MAX = 200
"""A longer header is read up to here."""
GLUED_CHARS_MIN, GLUED_CHARS_MAX, GLUED_PARTS_MAX = 5, 48, 4
"""Words without a space between them (`contactlastname`) are cut apart within these limits."""
SHORT_PARTS = frozenset(
    {"zip", "tel", "fax", "num", "nom", "org", "biz", "bus", "dba", "fon", "lib", "typ", "url", "loc"}
)
"""Words of three letters that may be part of a glued word; any other would be found by chance."""
LAST_PARTS = frozenset({"id", "no", "nr"})
"""Words of two letters that may end a glued word."""
SHAPEFILE_NAME_CHARS = 10
"""A shapefile cuts column names to this length."""
STEM_CHARS_MIN = 4
FUZZY_CHARS_MIN = 6
"""Shorter words are not taken for a misspelt one."""

_LETTERS = str.maketrans({"ß": "ss", "ẞ": "SS", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
                          "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "ı": "i"})  # fmt: skip
_COMBINING = re.compile("[\u0300-\u036f]+")
_EAST = "\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uff66-\uff9f"
_PIECES = re.compile(rf"[{_EAST}]+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z{_EAST}]+|[#№%]|=+>")
_EASTERN = re.compile(f"[{_EAST}]")


def fold(text: str) -> str:
    """Lower case, without accents and width variants: how words are compared."""
    return unaccented(text).casefold()


def unaccented(text: str) -> str:
    """The same with its case: `Straße` -> `Strasse`, `Ｆａｘ` -> `Fax`."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKC", text).translate(_LETTERS)
    return unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFD", plain)))


@lru_cache(maxsize=4)
def _lists(name: str) -> dict[str, dict[str, None]]:
    """List -> its words in order; a phrase has `_` between its words."""
    found: dict[str, dict[str, None]] = {}
    text = resources.files(__package__ or "").joinpath("words", name).read_text(encoding="utf-8")
    for line in text.splitlines():
        head, colon, words = line.partition(":")
        if colon and not line.startswith("#"):
            found.setdefault(head, {}).update(dict.fromkeys(fold(words).split()))
    return found


@lru_cache(maxsize=64)
def value_words(name: str) -> frozenset[str]:
    """One list of `values.txt`, with spaces in its phrases."""
    return frozenset(word.replace("_", " ") for word in _lists("values.txt")[name])


@lru_cache(maxsize=8)
def region_names(name: str) -> dict[str, str]:
    """Code -> name of the regions of one country in `values.txt`."""
    return dict(word.replace("_", " ").split("=", 1) for word in value_words(name))


@dataclass(frozen=True, slots=True)
class Word:
    """One word or phrase of a header."""

    text: str
    """As it was found, folded; a phrase without its spaces."""
    meanings: frozenset[str]
    """Empty for a word that is not in the list, and for a number."""

    @property
    def is_number(self) -> bool:
        """Whether it is made of digits."""
        return self.text.isdecimal()


class Lexicon:
    """The words of headers."""

    def __init__(self) -> None:
        meanings: dict[str, set[str]] = {}
        for meaning, words in _lists("headers.txt").items():
            for word in words:
                meanings.setdefault(word.replace("_", ""), set()).add(meaning)
        self._meanings = {word: frozenset(found) for word, found in meanings.items()}
        self._sorted = sorted(self._meanings)
        self._eastern = sorted((w for w in self._meanings if _EASTERN.search(w)), key=len, reverse=True)
        self._starts = frozenset(word[0] for word in self._eastern)
        self._fuzzy = [word for word in self._meanings if len(word) >= FUZZY_CHARS_MIN and word.isascii()]

    def words(self, header: str) -> list[Word]:
        """The words of one header, longest phrases first."""
        header = header[:HEADER_CHARS_MAX]
        pieces = [piece.casefold() for piece in _PIECES.findall(unaccented(header))]
        cut = len(header.strip()) == SHAPEFILE_NAME_CHARS
        found: list[Word] = []
        at = 0
        while at < len(pieces):
            for size in range(min(PHRASE_WORDS_MAX, len(pieces) - at), 0, -1):
                text = "".join(pieces[at : at + size])
                if text in self._meanings:
                    found.append(Word(text, self._meanings[text]))
                    break
            else:
                size = 1
                found.extend(self._unknown(pieces[at], cut=cut and at + 1 == len(pieces)))
            at += size
        return found

    def _unknown(self, text: str, *, cut: bool) -> Iterator[Word]:
        """A piece that is not in the list as it stands: glued, cut off or misspelt."""
        if text.isdecimal() or len(text) < 2:  # noqa: PLR2004 (one letter says nothing)
            yield Word(text, frozenset())
        elif _EASTERN.search(text):
            yield from self._eastern_words(text)
        elif parts := self._glued(text, cut=cut):
            yield from parts
        elif near := self._cut_off(text) if cut else self._misspelt(text):
            yield Word(text, self._meanings[near])
        elif cut and (near := self._misspelt(text)):
            yield Word(text, self._meanings[near])
        else:
            yield Word(text, frozenset())

    def _eastern_words(self, text: str) -> Iterator[Word]:
        """Longest known words first; what lies between is one unknown word."""
        at, unknown = 0, ""
        while at < len(text):
            word = None
            if text[at] in self._starts:
                word = next((known for known in self._eastern if text.startswith(known, at)), None)
            if word is None:
                unknown += text[at]
                at += 1
                continue
            if unknown:
                yield Word(unknown, frozenset())
                unknown = ""
            yield Word(word, self._meanings[word])
            at += len(word)
        if unknown:
            yield Word(unknown, frozenset())

    def _glued(self, text: str, *, cut: bool) -> list[Word]:
        """The fewest known words that make up `text`; empty when there are none."""
        if not GLUED_CHARS_MIN <= len(text) <= GLUED_CHARS_MAX or not text.isalpha():
            return []
        best: list[list[str] | None] = [[]] + [None] * len(text)
        for end in range(2, len(text) + 1):
            for start in range(end - 2, -1, -1):
                before = best[start]
                if before is None or len(before) >= GLUED_PARTS_MAX:
                    continue
                part = self._part(text[start:end], last=end == len(text), first=start == 0, cut=cut)
                kept = best[end]
                if part and (kept is None or len(before) + 1 < len(kept)):
                    best[end] = [*before, part]
        parts = best[len(text)]
        return [Word(part, self._meanings[part]) for part in parts] if parts and len(parts) > 1 else []

    def _part(self, text: str, *, last: bool, first: bool, cut: bool) -> str:
        if text in self._meanings:
            long_enough = len(text) >= STEM_CHARS_MIN or text in SHORT_PARTS or (last and text in LAST_PARTS)
            return text if long_enough else ""
        return self._cut_off(text) if cut and last and not first else ""

    def _cut_off(self, text: str) -> str:
        """The shortest known word that starts so; empty when there is none or it could be several."""
        if len(text) < STEM_CHARS_MIN:
            return ""
        at = bisect_left(self._sorted, text)
        words: list[str] = []
        while at < len(self._sorted) and self._sorted[at].startswith(text):
            words.append(self._sorted[at])
            at += 1
        return min(words, key=len, default="")

    def _misspelt(self, text: str) -> str:
        """The known word at a distance of one letter, or two in a long word."""
        if len(text) < FUZZY_CHARS_MIN or not text.isascii():
            return ""
        from rapidfuzz import process  # noqa: PLC0415 (only for a word that is not in the list)
        from rapidfuzz.distance import DamerauLevenshtein  # noqa: PLC0415

        limit = 1 if len(text) < FUZZY_CHARS_MIN + 3 else 2
        found = process.extract(
            text, self._fuzzy, scorer=DamerauLevenshtein.distance, score_cutoff=limit, limit=3, processor=None
        )
        if not found:
            return ""
        nearest = [word for word, distance, _ in found if distance == found[0][1] and word[0] == text[0]]
        return nearest[0] if len({self._meanings[word] for word in nearest}) == 1 else ""


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The list of header words, loaded on first use."""
    return Lexicon()
