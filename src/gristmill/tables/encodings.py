"""Which encoding are these bytes in? Byte order marks, then UTF-8, then whatever yields plausible letters.

Without a mark and outside UTF-8 almost any bytes decode in almost any 8-bit encoding, so decodability
says little: the candidates are compared by how much their non-ASCII characters look like written language.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from gristmill.tables.letters import NONSENSE, WORDS, main_language, plausibility, script

SAMPLE_BYTES = 4 * 1024
"""Bytes of non-UTF-8 text that the best candidates are compared on."""
FIRST_BYTES = 1024
"""Bytes that all candidates are compared on."""
FINALISTS = 4
MAC_FAVOUR = 0.5
"""Share by which a Mac's encodings count more where lines end as on one."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Encoding -> how likely it is before any evidence, in the measure of `letters.plausibility`.
_SINGLE_BYTE = {
    "cp1252": 0.5, "cp1251": 0.3, "mac_roman": 0.0, "cp1250": 0.2, "cp850": -0.2, "koi8-r": 0.0, "cp1253": 0.0,
    "cp1254": 0.1, "iso8859-2": -0.1, "iso8859-15": 0.1, "cp437": -0.4, "cp852": -0.3, "cp866": -0.2, "cp1255": 0.0,
    "cp1256": 0.0, "cp874": 0.0, "cp1257": 0.0, "iso8859-5": -0.4, "iso8859-7": -0.2, "mac_cyrillic": -0.4,
    "koi8-u": -0.2, "iso8859-6": -0.4,
}  # fmt: skip
_MULTIBYTE = {"cp932": 0.0, "gb18030": 0.0, "cp950": 0.0, "cp949": 0.0, "euc_jp": -0.5}
_LATIN_RUN = 4
"""So many letters beyond ASCII in a row are no Latin script."""
_LINE_CHARACTERS = str.maketrans("\r\t", "\n ")
_NO_TEXT_SHARE_MAX = 0.01
_NO_TEXT = frozenset(("Cc", "Cn", "Co", "Cs"))
_BYTES_PER_CHARACTER = 2
_ISO_2022_JP = (b"\x1b$B", b"\x1b$@")


class Guess(NamedTuple):
    """An encoding and how sure it is."""

    encoding: str
    """A Python codec name."""
    confidence: float
    """0..1."""


def detect(head: bytes, *, is_whole: bool) -> Guess:
    """The encoding of a file that starts with `head`; `is_whole` when `head` is all of it."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Guess(name, 1.0)
    wide = _utf16_without_mark(head)
    if wide:
        return Guess(wide, 0.9)
    if head.isascii():
        if any(mark in head for mark in _ISO_2022_JP):
            return Guess("iso2022_jp", 0.9)
        return Guess("utf-8", 1.0 if is_whole else 0.95)
    if _decodes(head, "utf-8", is_whole=is_whole):
        return Guess("utf-8", 0.99)
    return _by_letters(_informative(head), is_mac=b"\n" not in head and b"\r" in head)


def _utf16_without_mark(head: bytes) -> str:
    """Latin text in UTF-16 has a zero in every second byte; other text has at least separators and newlines."""
    sample = head[:4096]
    pairs = len(sample) // 2
    if pairs < 2:  # noqa: PLR2004 (two characters are the least evidence)
        return ""
    even, odd = sample[0 : pairs * 2 : 2].count(0), sample[1 : pairs * 2 : 2].count(0)
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if others >= pairs * 0.1 or zeros <= pairs * 0.02:
            continue
        if zeros > pairs * 0.6 or (others <= zeros * 0.25 and _reads_as_text(sample, name)):
            return name
    return ""


def _reads_as_text(sample: bytes, encoding: str) -> bool:
    """Whether it has lines, and hardly any characters that no text has."""
    if not _decodes(sample, encoding, is_whole=False):
        return False
    text = sample.decode(encoding, "replace").translate(_LINE_CHARACTERS)
    odd = sum(unicodedata.category(char) in _NO_TEXT for char in text.replace("\n", ""))
    return "\n" in text and odd <= _NO_TEXT_SHARE_MAX * len(text)


def _decodes(data: bytes, encoding: str, *, is_whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(data, final=is_whole)
    except UnicodeDecodeError:
        return False
    return True


def _informative(head: bytes) -> bytes:
    """Only the lines with non-ASCII bytes, since the others say nothing."""
    lines = [line for line in re.split(rb"[\r\n]+", head) if not line.isascii()]
    return b"\n".join(lines)[:SAMPLE_BYTES]


def _by_letters(sample: bytes, *, is_mac: bool) -> Guess:
    """`is_mac`: lines end as they did on old Macs alone."""
    # Mixed UTF-8 with a few broken bytes reads better as UTF-8 with those bytes repaired.
    if _mostly_utf8(sample):
        return Guess("utf-8", 0.7)
    names = [*_SINGLE_BYTE, *(name for name in _MULTIBYTE if _decodes(sample, name, is_whole=False))]
    scores = _ranking(sample[:FIRST_BYTES], names, is_mac=is_mac)
    if len(sample) > FIRST_BYTES:
        scores = _ranking(sample, [name for _, name in scores[:FINALISTS]], is_mac=is_mac)
    best, second = scores[0], scores[1]
    if best[0] <= 0:
        return Guess("cp1252", 0.3)
    return Guess(best[1], round(0.5 + 0.45 * (1 - max(second[0], 0.0) / best[0]), 2))


def _ranking(sample: bytes, names: Iterable[str], *, is_mac: bool) -> list[tuple[float, str]]:
    """(score, encoding), best first."""
    scores: list[tuple[float, str]] = []
    for name in names:
        text = codecs.getincrementaldecoder(name)("replace").decode(sample)
        if name in _MULTIBYTE:
            scores.append((_MULTIBYTE[name] + _BYTES_PER_CHARACTER * _score(text), name))
        else:
            score = _score(text)
            favour = MAC_FAVOUR * max(score, 1.0) if is_mac and name.startswith("mac_") else 0.0
            scores.append((_SINGLE_BYTE[name] + score + favour, name))
    return sorted(scores, key=lambda pair: -pair[0])  # stable: of equals the first named wins


def _mostly_utf8(sample: bytes) -> bool:
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    good = sum(1 for char in text if char > "\x7f") - broken
    return good > broken * 4


def _score(text: str) -> float:
    """Sum of the plausibilities of the characters beyond ASCII, seen with their neighbours."""
    total = float(len(WORDS.findall(text)))
    language = main_language(text)
    for match in re.finditer(r"[^\x00-\x7f]+", text):
        run = match.group()
        before = text[match.start() - 1] if match.start() else " "
        after = text[match.end()] if match.end() < len(text) else " "
        around = f"{before}{run}{after}"
        if len(run) >= _LATIN_RUN and all(script(char) == "latin" for char in run):
            total += NONSENSE * len(run)
        else:
            total += sum(plausibility(char, around[i], around[i + 2], language) for i, char in enumerate(run))
    return total
