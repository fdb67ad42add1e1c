"""Texts as they are compared: lower case, no accents, no punctuation, one spelling for common short forms."""

from __future__ import annotations

import html
import math
import re
import unicodedata

_SHORT = {
    "street": "st", "saint": "st", "strasse": "str", "avenue": "ave", "av": "ave", "road": "rd", "boulevard": "blvd",
    "drive": "dr", "lane": "ln", "highway": "hwy", "square": "sq", "place": "pl", "court": "ct", "parkway": "pkwy",
    "suite": "ste", "floor": "fl", "apartment": "apt", "building": "bldg", "north": "n", "south": "s", "east": "e",
    "west": "w", "mount": "mt", "fort": "ft", "center": "ctr", "centre": "ctr",
    "incorporated": "inc", "corporation": "corp", "limited": "ltd", "company": "co", "brothers": "bros",
    "association": "assn", "department": "dept", "international": "intl", "university": "univ", "manufacturing": "mfg",
    "laboratories": "labs", "number": "no", "doctor": "dr", "mister": "mr",
    "and": "", "the": "", "und": "", "et": "", "y": "",
}  # fmt: skip
"""Words that are written in several ways -> one of them; words that say nothing -> empty."""
LEGAL_FORMS = frozenset({
    "inc", "corp", "ltd", "llc", "llp", "lp", "plc", "co", "pty", "pte", "pvt", "gmbh", "ag", "kg", "kgaa", "ohg", "ug",
    "sa", "sas", "sarl", "srl", "spa", "bv", "nv", "ab", "as", "oy", "oyj", "aps", "kft", "sro", "doo", "ooo", "kk",
})  # fmt: skip
"""Legal forms of companies, in short. A name means the same without its own at the end."""
_APOSTROPHE = re.compile(r"(?<=\w)\s?['\N{RIGHT SINGLE QUOTATION MARK}`](?=s\b)")
_DOTTED = re.compile(r"\b(?:\w\.){2,}")
_DIGITS = re.compile(r"\d+")
_PLAIN_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "đ": "d", "ł": "l", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)


def plain(text: str) -> str:
    """A text without what two writers of the same thing may do differently. Empty only for a text without letters."""
    if not text:
        return ""
    if "&" in text:
        text = html.unescape(text)
    text = text.casefold()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char)).translate(_PLAIN_LETTERS)
    text = _APOSTROPHE.sub("", text)
    text = _DOTTED.sub(lambda found: found[0].replace(".", ""), text)
    words = "".join(char if char.isalnum() else " " for char in text).split()
    short = [word for word in (_SHORT.get(word, word) for word in words) if word]
    if len(short) > 1 and short[-1] in LEGAL_FORMS:
        short.pop()
    return " ".join(short or words)


def codes_in(text: str) -> list[str]:
    """Codes of a plain text: words with a digit, also joined with their neighbours (`mdr ex32 blk` -> `mdrex32`)."""
    words = text.split()
    found: dict[str, None] = {}
    for start in range(len(words)):
        joined = ""
        for word in words[start : start + CODE_WORDS_MAX]:
            joined += word
            if len(joined) >= CODE_CHARS_MIN and any(char.isdigit() for char in joined):
                found.setdefault(joined)
    return list(found)


def numbers_in(text: str) -> list[str]:
    """The runs of digits of a plain text, each once, without leading zeros (`at 29 b 07` -> `29`, `7`)."""
    return list(dict.fromkeys(found.lstrip("0") or "0" for found in _DIGITS.findall(text)))


CODE_WORDS_MAX = 3
"""Words that one code may be spread over."""
CODE_CHARS_MIN = 3


def trigrams(text: str) -> frozenset[str]:
    """Runs of three characters of a plain text, with its ends."""
    padded = f" {text} "
    return frozenset(padded[at : at + 3] for at in range(len(padded) - 2)) if text else frozenset()


def trigram_likeness(some: str, other: str) -> float:
    """Cosine of the trigrams of two plain texts, 0..1."""
    a, b = trigrams(some), trigrams(other)
    return len(a & b) / math.sqrt(len(a) * len(b)) if a and b else 0.0
