"""Which encoding are these bytes in? Byte order marks, then UTF-8, then whatever yields plausible letters.

Without a mark and outside UTF-8 almost any bytes decode in almost any 8-bit encoding, so decodability
says little: the candidates are compared by how much their non-ASCII characters look like written language.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

SAMPLE_BYTES = 64 * 1024
"""Bytes of non-UTF-8 text that candidates are compared on."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MULTIBYTE = ("cp932", "gb18030", "cp950", "cp949", "euc_jp")
_SINGLE_BYTE = ("cp1252", "cp1251", "mac_roman", "cp1250", "cp850", "koi8-r", "cp1253")
# The commonest characters of running Chinese text, names and addresses.
_COMMON_HAN = frozenset(
    "的一是不了人在有我他这這个個们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之年"
    "过過发發后後作里市区區县縣省路街号號名称稱电電话話址东東西南北山河江湖海城镇鎮乡鄉村店公司学學校院楼樓室层層门門台台"
    "新高小三二四五六七八九十日月安天水石金福和平明华華文化民主工业業商场場中心服务務花园園路段巷弄"
)
_COMMON = frozenset("éèàçüöäñíóáêôâîúãõøåæßëïìòùœÉÖÜÄÅØ…•°£€©®·º\u00a0\u2013\u2014\u2018\u2019\u201c\u201d")
_NONSENSE_PENALTY = 3.0


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
        return Guess("utf-8", 1.0 if is_whole else 0.95)
    if _decodes(head, "utf-8", is_whole=is_whole):
        return Guess("utf-8", 0.99)
    return _by_letters(_informative(head))


def _utf16_without_mark(head: bytes) -> str:
    """Latin text in UTF-16 has a zero in every second byte."""
    sample = head[:4096]
    pairs = len(sample) // 2
    if pairs < 2:  # noqa: PLR2004 (two characters are the least evidence)
        return ""
    even, odd = sample[0 : pairs * 2 : 2].count(0), sample[1 : pairs * 2 : 2].count(0)
    if odd > pairs * 0.6 and even < pairs * 0.1:
        return "utf-16-le"
    if even > pairs * 0.6 and odd < pairs * 0.1:
        return "utf-16-be"
    return ""


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


def _by_letters(sample: bytes) -> Guess:
    scores: list[tuple[float, str]] = []
    for encoding in (*_SINGLE_BYTE, *_MULTIBYTE):
        if encoding in _MULTIBYTE:
            if not _decodes(sample, encoding, is_whole=False):
                continue
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
            scores.append((_score_multibyte(text, sample), encoding))
        else:
            scores.append((_score_single_byte(sample.decode(encoding, "replace")), encoding))
    scores.sort(key=lambda pair: -pair[0])  # stable: of equals the first named wins
    best, second = scores[0], scores[1] if len(scores) > 1 else (0.0, "")
    if best[0] <= 0:
        return Guess("cp1252", 0.3)
    # Mixed UTF-8 with a few broken bytes reads better as UTF-8 with those bytes repaired.
    if _mostly_utf8(sample):
        return Guess("utf-8", 0.7)
    return Guess(best[1], round(min(0.95, 0.5 + (best[0] - max(second[0], 0.0))), 2))


def _mostly_utf8(sample: bytes) -> bool:
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    good = sum(1 for char in text if char > "\x7f") - broken
    return good > broken * 4


def _score_multibyte(text: str, sample: bytes) -> float:
    """Mean plausibility per non-ASCII byte, so that encodings of different widths compare."""
    high_bytes = sum(1 for byte in sample if byte > 0x7F)  # noqa: PLR2004
    total = 0.0
    for char in text:
        if char <= "\x7f":
            continue
        if "\u3040" <= char <= "\u30ff":  # hiragana, katakana
            total += 1.0
        elif "\u4e00" <= char <= "\u9fff":
            total += 1.0 if char in _COMMON_HAN else 0.55
        elif "\uac00" <= char <= "\ud7a3" or "\u3000" <= char <= "\u303f" or "\uff01" <= char <= "\uff5e":
            total += 0.8  # hangul, punctuation, full-width letters
        elif "\uff61" <= char <= "\uff9f":  # half-width katakana: what any 8-bit text looks like in cp932
            total -= 0.5
        else:
            total -= 0.5
    return 2 * total / max(high_bytes, 1) * 0.9


def _score_single_byte(text: str) -> float:
    """Mean plausibility of the non-ASCII characters, seen with their neighbours."""
    total, count = 0.0, 0
    for match in re.finditer(r"[^\x00-\x7f]+", text):
        run = match.group()
        before = text[match.start() - 1] if match.start() else " "
        after = text[match.end()] if match.end() < len(text) else " "
        for position, char in enumerate(run):
            left = run[position - 1] if position else before
            right = run[position + 1] if position + 1 < len(run) else after
            total += _plausibility(char, left, right)
            count += 1
    return total / max(count, 1)


def _plausibility(char: str, left: str, right: str) -> float:
    """How likely a character is between its neighbours: 1 for the commonest, below 0 for nonsense."""
    category = unicodedata.category(char)
    if category in ("Cc", "Cn", "Co") or char == "\ufffd":
        return -_NONSENSE_PENALTY
    if not category.startswith("L"):
        return _sign_plausibility(char, left, right)
    return _letter_plausibility(char, left, right)


def _sign_plausibility(char: str, left: str, right: str) -> float:
    if char in "£€$¥" and (right.isdigit() or left.isdigit()):
        return 1.0
    if left.isalpha() and right.isalpha() and char not in "\u2019·-":
        return -0.5
    return 0.6 if char in _COMMON else 0.1


def _letter_plausibility(char: str, left: str, right: str) -> float:
    letters = [other for other in (left, right) if other.isalpha()]
    script = _script(char)
    if script != "latin":
        strange = not letters or any(_script(other) != script for other in letters)
        return -0.5 if strange or (char.isupper() and left.islower()) else 0.9
    if char.isupper() and left.islower():  # a capital inside a word
        return -0.6
    if char.islower() and left.isupper() and right.isupper():
        return -0.3
    if not letters:  # few words have one letter
        return 0.2
    return 1.0 if char in _COMMON else 0.4


def _script(char: str) -> str:
    if char < "\u0370":
        return "latin"
    return "greek" if char < "\u0400" else "cyrillic"
