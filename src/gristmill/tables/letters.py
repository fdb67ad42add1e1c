"""How much a decoded character looks like written language, seen with its neighbours.

Plausibilities run from about -3 (nonsense) to 1 (what text in some language is full of), per character. The tables are
facts about writing systems: the letters beyond ASCII of languages in Latin script, the commonest letters and characters
of others, and where signs stand.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache

NONSENSE = -3.0
MAIN_LETTER = 1.0
"""A letter of the language that covers the most of a text."""
RARE_LETTER = 0.6
"""One that this language has, but seldom."""
OTHER_LETTER = 0.35
"""A letter of some other language."""
CAPITAL = 0.8
"""Share that a capital among capitals counts, in scripts that other encodings turn into them."""
_FOREIGN = -0.2
_MISPLACED = -0.8

# Language -> its letters beyond ASCII, the common ones before the bar.
_LETTERS = {
    "German": "äöüß",
    "French": "éèàê|çâîôûïëùüœ",
    "Spanish": "áéíóñ|úü",
    "Catalan": "àèéíòó|çïúü",
    "Portuguese": "ãáçéíó|âàêôõú",
    "Italian": "àèòùì|é",
    "Danish, Norwegian": "æøå|é",
    "Swedish, Finnish": "åäö|é",
    "Icelandic": "áðéíóúýþæö",
    "Dutch": "ëéï|èöü",
    "Polish": "ąćęłńóśźż",
    "Czech, Slovak": "áčéěířšůúýž|ďňóťľĺŕäô",
    "Hungarian": "áéíóöőú|üű",
    "Romanian": "ăâîșțşţ",
    "Croatian, Slovene": "čćđšž",
    "Turkish": "çğ\u0131öşü\u0130|âî",
    "Baltic": "āēīūšžėų|čģķļņōŗąęįõäöü",
}


def _both_cases(letters: str) -> frozenset[str]:
    return frozenset(letters + letters.upper().replace("SS", ""))


LANGUAGES: Mapping[str, frozenset[str]] = {
    name: _both_cases(letters.replace("|", "")) for name, letters in _LETTERS.items()
}
_RARE: Mapping[frozenset[str], frozenset[str]] = {
    LANGUAGES[name]: _both_cases(letters.partition("|")[2]) for name, letters in _LETTERS.items()
}
_COMMON_LATIN = frozenset[str]().union(*(letters - _RARE[letters] for letters in LANGUAGES.values()))
WORDS = re.compile(
    r"straße|\b(?:groß|für|über|café|são|josé|maría|côte|île|españa|señor|zürich|münchen|köln|müller|hôtel|québec|méxico|bogotá)\b",
    re.IGNORECASE,
)
"""Words that occur in tables of all kinds of places: finding one is worth more than its letters."""

# Letters and characters that make up most of a running text.
_COMMON: Mapping[str, frozenset[str]] = {
    "cyrillic": frozenset("оеаинтсрвлкмдпуяыьгзОЕАИНТСРВЛКМДПУЯЫЬГЗ"),
    "greek": frozenset("αοιετσνηρπκμλυςίάόέήώΑΟΙΕΤΣΝΗΡΠΚΜΛΥ"),
    "hebrew": frozenset("יוהלארתבמשנםחדקפ"),
    "arabic": frozenset("اليمنرتبةدعوسكفحقهشجصط"),
    "thai": frozenset("านรอกเงมยลวดทสตะปบคหแจพชขใไ"),
    "han": frozenset(
        "的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之年过過"
        "发發后後作里裡用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心"
        "她本前开開但因只从從想实實日军軍者意无無力它与與长長把机機十民第公此已工使情明性知全三又关關点點正业業外将將两兩高间"
        "間由问問很最重并並物手应應战戰向头頭文体體政美相见見被利什二等产產或新己制身果加西斯月话話合回特代内內信表化老给給世"
        "位次度门門任常先海通教儿兒原东東声聲提立及比员員解水名真论論处處走义義各入几幾口认認条條平系气氣题題活尔爾更别別打"
        "女变變四神总總何电電数數安少报報才结結反受目太量再感建务務做接必场場件计計管期市直德资資命山金指克许許统統区區保至队"
        "隊形社便空决決治展马馬科司五基眼书書非则則听聽白却卻界达達光放强強即像难難且权權思王象完设設式色路记記南品住告类類"
        "求据據程北边邊死张張该該交规規万萬取拉格望觉覺术術领領共确確传傳师師观觀清今切院让讓识識候带帶导導争爭运運"
        "省县縣镇鎮乡鄉村街号號楼樓室店址称稱站场医醫药藥校园園湾灣岛島港湖江河城宫宮寺庙廟桥橋层層座弄巷段户戶编編码碼"
        "県町丁目番地所階館駅郡字沢辺浜崎島川田村松井木本野原谷森林池石藤佐伊高橋渡辺斎沼塚坂浦津"
    ),
}
_BYTES_OF_COMMON_HANGUL = 2
"""Other syllables are written with more, as their parts."""
_NEVER_FIRST = frozenset("ьъыЬЪЫςם")
_BEFORE_WORD = frozenset("\u2018\u201c\u201e\u00ab\u00bf\u00a1")
_CURRENCY = frozenset("£€¥")
_AFTER_NUMBER = frozenset("°ºª½¼¾²³")
_ANYWHERE = frozenset("\u00a0\u2026\u2022\u00a9\u00ae\u2122\u00b7\u00a7\u00d7\u00b1\u2030")
_DASHES = frozenset("\u2013\u2014")
_STRAY = frozenset("¤¬¦¯\u00b4\u00a8\u00b8\u02c6\u02dc\u02d9\u02dd\u02db\u02c7\u02d8")


def main_language(text: str) -> frozenset[str]:
    """The letters of the language that covers the most of a text's Latin letters beyond ASCII."""
    counts = Counter(char for char in text if char > "\x7f" and char.isalpha() and script(char) == "latin")
    # Of equals the one named first.
    return max(LANGUAGES.values(), key=lambda letters: sum(n for char, n in counts.items() if char in letters))


def script(char: str) -> str:
    """The writing system of a letter."""
    for name, first, last in _SCRIPTS:
        if first <= char <= last:
            return name
    return "other"


_SCRIPTS = (
    ("latin", "A", "\u024f"),
    ("greek", "\u0370", "\u03ff"),
    ("cyrillic", "\u0400", "\u04ff"),
    ("hebrew", "\u0590", "\u05ff"),
    ("arabic", "\u0600", "\u06ff"),
    ("thai", "\u0e00", "\u0e7f"),
    ("latin", "\u1e00", "\u1eff"),
    ("kana", "\u3040", "\u30ff"),
    ("han", "\u4e00", "\u9fff"),
    ("hangul", "\uac00", "\ud7a3"),
)


@lru_cache(maxsize=8192)
def plausibility(char: str, left: str, right: str, language: frozenset[str]) -> float:
    """How likely a character beyond ASCII is between its neighbours; a blank stands for the edge of a line."""
    category = unicodedata.category(char)
    if category in ("Cc", "Cn", "Co", "Cs") or char == "\ufffd":
        return NONSENSE
    if not category.startswith(("L", "M")):
        return _sign(char, left, right)
    if script(char) == "latin":
        return _latin(char, left, right, language)
    return _other_letter(char, left, right)


def _latin(char: str, left: str, right: str, language: frozenset[str]) -> float:
    if char in "ªº":
        return _sign(char, left, right)
    if (char.isupper() and left.islower()) or (char.islower() and right.isupper()):
        return _MISPLACED
    if left.isupper() and (right.isupper() if char.islower() else right.islower()):
        return _MISPLACED / 2
    if char in "þÞ" and left.isalpha():  # it starts words; another encoding has a letter there that does not
        return _MISPLACED / 2
    if not left.isalpha() and not right.isalpha():  # few words have one letter
        return OTHER_LETTER if char in language else 0.0
    return _letter(char, language)


def _letter(char: str, language: frozenset[str]) -> float:
    if char in language:
        return RARE_LETTER if char in _RARE[language] else MAIN_LETTER
    if char in _COMMON_LATIN:
        return OTHER_LETTER
    return OTHER_LETTER / 2 if any(char in letters for letters in LANGUAGES.values()) else _FOREIGN


def _other_letter(char: str, left: str, right: str) -> float:
    kind = script(char)
    neighbours = [script(other) for other in (left, right) if other.isalpha()]
    if kind in ("han", "kana", "hangul"):
        return _east_asian(char, kind, neighbours, left, right)
    if kind == "other" or "latin" in neighbours or not neighbours:
        return _MISPLACED
    if (char.isupper() and left.islower()) or (char in _NEVER_FIRST and not left.isalpha()):
        return _MISPLACED
    weight = CAPITAL if char.isupper() and (left.isupper() or right.isupper()) else 1.0
    return weight * (MAIN_LETTER if char in _COMMON[kind] else 0.3)


def _east_asian(char: str, kind: str, neighbours: list[str], left: str, right: str) -> float:
    # What other encodings look like in these: single characters, glued to Latin letters.
    glued = (left.isascii() and left.isalpha()) + (right.isascii() and right.islower())
    alone = not any(found in ("han", "kana", "hangul") for found in neighbours)
    penalty = _MISPLACED * glued + (_MISPLACED if alone and char not in _COMMON["han"] else 0.0)
    if kind == "han":
        return (MAIN_LETTER if char in _COMMON["han"] else 0.15) + penalty
    if kind == "hangul":
        return (0.2 if "han" in neighbours else 0.9 if _is_common_hangul(char) else _MISPLACED) + penalty
    return 0.9 + penalty


def _is_common_hangul(char: str) -> bool:
    """Whether it is one of the syllables of the national standard, which leaves out those that hardly occur."""
    try:
        return len(char.encode("euc_kr")) == _BYTES_OF_COMMON_HANGUL
    except UnicodeEncodeError:
        return False


def _sign(char: str, left: str, right: str) -> float:
    for test, weigh in _SIGNS:
        if test(char):
            return weigh(left, right)
    return 0.2 if unicodedata.category(char) == "Po" else -0.5


def _is_among(first: str, last: str) -> Callable[[str], bool]:
    return lambda char: first <= char <= last


# Which signs, and how plausible they are between their neighbours.
_SIGNS: tuple[tuple[Callable[[str], bool], Callable[[str, str], float]], ...] = (
    (_STRAY.__contains__, lambda _left, _right: -0.6),
    (_CURRENCY.__contains__, lambda left, right: 1.0 if left.isdigit() or right.isdigit() else 0.1),
    ("\u2019".__eq__, lambda left, _right: 1.0 if left.isalpha() else 0.2),
    ("\u201d".__eq__, lambda left, right: 0.8 if not left.isspace() and not right.isalnum() else -0.3),
    (_BEFORE_WORD.__contains__, lambda left, right: 0.8 if not left.isalnum() and not right.isspace() else -0.6),
    (
        _AFTER_NUMBER.__contains__,
        lambda left, _right: 0.8 if left.isdigit() or left in ".mnN" else -0.4 if left.isalpha() else 0.2,
    ),
    (_DASHES.__contains__, lambda left, right: 0.1 if left.isalpha() and right.isalpha() else 0.7),
    (_ANYWHERE.__contains__, lambda _left, _right: 0.5),
    (_is_among("\u2500", "\u25ff"), lambda _left, _right: -1.0),  # lines and blocks of text screens
    (_is_among("\u3000", "\u303f"), lambda left, right: _MISPLACED if left.isascii() and right.isascii() else 0.8),
    (_is_among("\uff01", "\uff5e"), lambda left, right: _MISPLACED if _is_letter(left) and _is_letter(right) else 0.8),
    (_is_among("\uff61", "\uff9f"), lambda _left, _right: _MISPLACED),  # what any 8-bit text looks like in cp932
    (_is_among("\ufe30", "\ufe6f"), lambda _left, _right: _MISPLACED),
)


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()
