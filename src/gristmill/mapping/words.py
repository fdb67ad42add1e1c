"""Words of headers and values: folded for comparison, cut apart, and looked up in two word lists.

A header such as `BILLINGPOSTALCODE`, `Store_Stre` (cut to ten characters by a shapefile), `faxcimile` or
`所在地_都道府県` becomes a list of words whose meaning is known.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterator
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
    "zip tel fax num nom org biz bus dba fon lib typ url loc cap plz cep cod".split()  # noqa: SIM905 (a list of words)
)
"""Words of three letters that may be part of a glued word; any other would be found by chance."""
PREFIXED = frozenset({"street", "city", "state", "zip", "address", "phone"})
PREFIXES = {
    "l": frozenset({"physical"}),
    "p": frozenset({"physical"}),
    "m": frozenset({"mailing"}),
    "b": frozenset({"billing"}),
    "h": frozenset({"home"}),
    "w": frozenset({"work"}),
    "o": frozenset({"owner"}),
}
"""What one letter before a word of an address means: location, mailing, ..."""
LAST_PARTS = frozenset({"id", "no", "nr", "nm", "cd"})
"""Words of two letters that may end a glued word."""
SHAPEFILE_NAME_CHARS = 10
"""A shapefile cuts column names to this length."""
ID_NAME = re.compile("[a-z]{1,5}id")
"""`fmid`, `ccid`: a short name of an id."""
NO_IDS = frozenset(
    {
        "paid", "said", "void", "raid", "grid", "acid", "laid", "maid", "kid", "rid", "bid", "mid", "aid", "did", "hid",
        "lid", "avid", "quid", "arid", "amid", "valid", "solid", "rapid", "avoid", "covid", "hybrid", "fluid", "stupid",
        "liquid", "humid", "orchid", "unpaid", "madrid", "david", "braid", "afraid", "squid", "timid", "vivid",
    }
)  # fmt: skip
"""Words that end so by chance."""
STEM_CHARS_MIN = 4
STEM_CHARS_SURE = 8
"""So long a beginning of a word is taken for the word in any header."""
FUZZY_CHARS_MIN = 6
"""Shorter words are not taken for a misspelt one."""

_LETTERS = str.maketrans({"ß": "ss", "ẞ": "SS", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
                          "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "\u0131": "i"})  # fmt: skip
_COMBINING = re.compile("[\u0300-\u036f]+")
_EAST = "\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uff66-\uff9f"
_PIECES = re.compile(rf"[{_EAST}]+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z{_EAST}]+|[#№%]|=+>")
_EASTERN = re.compile(f"[{_EAST}]")
_STOP = frozenset({"stop"})


def fold(text: str) -> str:
    """Lower case, without accents and width variants: how words are compared."""
    return unaccented(text).casefold()


def unaccented(text: str) -> str:
    """The same with its case: `Straße` -> `Strasse`."""
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

    def __init__(self, without: Collection[str] = ()) -> None:
        """`without` leaves words out, to measure what is known without them."""
        lists = _lists("headers.txt")
        meanings: dict[str, set[str]] = {}
        single: list[str] = []
        for meaning, words in lists.items():
            for word in words:
                if word in without:
                    continue
                meanings.setdefault(word.replace("_", ""), set()).add(meaning)
                if "_" not in word:
                    single.append(word)
                kept = [part for part in word.split("_") if part not in lists["stop"]]
                if 1 < len(kept) < len(word.split("_")):
                    meanings.setdefault("".join(kept), set()).add(meaning)
        self._meanings = {word: frozenset(found) for word, found in meanings.items()}
        self._sorted = sorted(single)
        self._eastern = sorted((w for w in self._meanings if _EASTERN.search(w)), key=len, reverse=True)
        self._starts = frozenset(word[0] for word in self._eastern)
        self._fuzzy = [word for word in self._meanings if len(word) >= FUZZY_CHARS_MIN and word.isascii()]

    def words(self, header: str) -> list[Word]:
        """The words of one header, longest phrases first."""
        header = header[:HEADER_CHARS_MAX]
        pieces = [piece.casefold() for piece in _PIECES.findall(unaccented(header))]
        cut = len(header.strip()) == SHAPEFILE_NAME_CHARS
        found: list[Word] = []
        while pieces:
            size, word = self._phrase(pieces)
            if word:
                found.append(Word(word, self._meanings[word]))
            else:
                found.extend(self._unknown(pieces[0], cut=cut and len(pieces) == 1))
            del pieces[:size]
        return found

    def _phrase(self, pieces: list[str]) -> tuple[int, str]:
        """The longest known phrase in front and how many pieces it takes; also without stop words in it."""
        kept = [(end, piece) for end, piece in enumerate(pieces, start=1) if self._meanings.get(piece) != _STOP]
        for size in range(min(PHRASE_WORDS_MAX, len(pieces)), 0, -1):
            text = "".join(pieces[:size])
            if text in self._meanings:
                return size, text
            if size > 1 and len(kept) >= size and kept[0][0] == 1:
                text = "".join(piece for _, piece in kept[:size])
                if text in self._meanings:
                    return kept[size - 1][0], text
        return 1, ""

    def _unknown(self, text: str, *, cut: bool) -> Iterator[Word]:
        """A piece that is not in the list as it stands: glued, cut off or misspelt."""
        if text.isdecimal() or len(text) < 2:  # noqa: PLR2004 (one letter says nothing)
            yield Word(text, frozenset())
        elif _EASTERN.search(text):
            yield from self._eastern_words(text)
        elif parts := self._glued(text, cut=cut) or self._prefixed(text):
            yield from parts
        elif ID_NAME.fullmatch(text) and text not in NO_IDS:
            yield Word(text, frozenset({"id"}))
        elif near := (self._cut_off(text) if cut or len(text) >= STEM_CHARS_SURE else "") or self._misspelt(text):
            yield Word(text, self._meanings[near])
        else:
            yield Word(text, frozenset())

    def _prefixed(self, text: str) -> list[Word]:
        """`lstreet`, `mzip`: an address word behind one letter that says whose."""
        rest = self._meanings.get(text[1:], frozenset())
        if len(text) > STEM_CHARS_MIN - 1 and rest & PREFIXED:
            return [Word(text[0], PREFIXES.get(text[0], frozenset())), Word(text[1:], rest)]
        return []

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
        if not last and text[-1:] == "s" and len(text) > STEM_CHARS_MIN and text[:-1] in self._meanings:
            return text[:-1]  # the linking s of German and Dutch: `Einrichtungsname`
        return self._cut_off(text) if cut and last and not first else ""

    def _cut_off(self, text: str) -> str:
        """The shortest known word that starts so; phrases are not looked at."""
        if len(text) < STEM_CHARS_MIN:
            return ""
        at = bisect_left(self._sorted, text)
        words: list[str] = []
        while at < len(self._sorted) and self._sorted[at].startswith(text):
            if "id" not in self._meanings[self._sorted[at]]:
                words.append(self._sorted[at])
            at += 1
        return min(words, key=len, default="")

    def _misspelt(self, text: str) -> str:
        """The known word at a distance of one letter."""
        if len(text) < FUZZY_CHARS_MIN or not text.isascii():
            return ""
        from rapidfuzz import process  # noqa: PLC0415 (only for a word that is not in the list)
        from rapidfuzz.distance import DamerauLevenshtein  # noqa: PLC0415

        found = process.extract(
            text, self._fuzzy, scorer=DamerauLevenshtein.distance, score_cutoff=1, limit=3, processor=None
        )
        nearest = [word for word, _, _ in found if word[0] == text[0]]
        return nearest[0] if nearest and len({self._meanings[word] for word in nearest}) == 1 else ""


def left_out_words(number: int, share: float) -> frozenset[str]:
    """A share of the words of `headers.txt`, another one for each number, to measure what is known without them."""
    words = {word for words in _lists("headers.txt").values() for word in words}
    return frozenset(word for word in words if zlib.crc32(f"{number} {word}".encode()) < share * 2**32)


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The list of header words, loaded on first use."""
    return Lexicon()
