"""What the values of a column look like, whatever its header says.

A profile is the share of a column's different values that have each shape. Nothing is looked up in a gazetteer but
the names of regions and countries; streets, people and companies are told by their build and by frequent words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from gristmill.mapping.words import fold, region_names, unaccented, value_words

VALUES_MAX = 200
"""Different values of a column that are looked at."""
VALUE_CHARS_MAX = 300
"""A longer value is looked at up to here."""
LONG_TEXT_CHARS = 90
NULLS = frozenset(
    {"", "-", "--", "n/a", "na", "null", "none", "nan", "nil", "#n/a", "\\n", "<na>", "unknown", "tbd", "(null)"}
)

_DIGITS = re.compile(r"\d")
_PHONE = re.compile(
    r"(?:tel|ph|phone|t|m)?[.:\s]*(?P<body>(?:\+|00)?\(?\d[\d\s().\-/\u2010-\u2015\u00a0]{5,24}\d)"
    r"(?:\s*(?:x|ext\.?|#|extension|durchwahl)\s*\d{1,6})?",
    re.IGNORECASE,
)
_ZIPS = re.compile(
    r"\d{5}(?:-?\d{4})?|\d{4}|[A-Z]-?\d{4,5}|\d{4} ?[A-Z]{2}|\d{3} ?\d{2}|\d{2}-\d{3}|\d{3}-\d{4}|\d{5}-\d{3}|\d{4}-\d{3}|\d{6}|\d{3} \d{3}"
    r"|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z]|[AC-Y]\d[\dW] ?[0-9AC-Y]{4}|\d{7}|\d{3,4}\.0|\d{5}\.0",
    re.IGNORECASE,
)
_ZIP_LETTERS = re.compile(
    r"[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{4} ?[A-Z]{2}|\d{5}-\d{4}|\d{2}-\d{3}|\d{5}-\d{3}|\d{3}-\d{4}",
    re.IGNORECASE,
)
_ZIP_INSIDE = re.compile(
    r"(?<![\w-])(?:\d{5}(?:-\d{4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|〒?\d{3}-\d{4})(?![\w-])"
)
_ZIP_CITY = re.compile(r"(?:[A-Z]{1,2}-)?(?:\d{4,5}|\d{2}-\d{3}|\d{3} \d{2}|\d{4} [A-Z]{2}),? +[^\W\d_][\w .'/()-]+")
_CITY_STATE = re.compile(
    r"[^\W\d_][^,\d]{1,40},?\s+(?P<state>[A-Za-z.]{2,}|[A-Za-z ]{4,20}),?\s*(?P<zip>\d{5}(?:-\d{4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d)?(?:,? (?:USA?|Canada))?",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[^\s@<>\",;]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}|[^\s@]+@[\w-]+")
_URL = re.compile(
    r"(?:https?|ftp)://\S+|www\.\S+|/\w\S*/\S*|(?:[a-z0-9-]{2,63}\.){1,4}[a-z]{2,10}(?:/\S*)?", re.IGNORECASE
)
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*|\d{1,2}[ -][A-Za-z]{3,9}\.?[ -,]+\d{2,4}.*"
    r"|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}.*|[A-Za-z]{3,9}[- ]\d{2,4}|\d{1,2}:\d{2}(?::\d{2})?.*|(?:19|20)\d{6}"
)
_INTEGER = re.compile(r"-?\d{1,15}(?:\.0+)?")
_NUMBER = re.compile(r"[-+(]?[$€£¥]?\s?[-+]?\d[\d.,'\s]*\d?\)?\s?[%€$£]?|[-+]?\.\d+")
_COORDINATE = re.compile(r"-?\d{1,3}[.,]\d{3,}")
_GEOMETRY = re.compile(
    r"\(?-?\d{1,3}\.\d+[,; ]+-?\d{1,3}\.\d+\)?|(?:multi)?(?:polygon|point|linestring)\b.*|\{.*(?:type|coordinates).*",
    re.IGNORECASE | re.DOTALL,
)
_BOOLEAN = re.compile(r"true|false|yes|no|[ynt]|0|1|wahr|falsch|ja|nein|oui|non|si|x", re.IGNORECASE)
_UUID = re.compile(r"\{?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\}?", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#-]{1,39}")
_WORDS = re.compile(r"[^\W\d_]+(?:['’.\-][^\W\d_]+)*\.?")
_CORPORATE = re.compile(r"[^\w\s]|\s+")
_EAST = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_EAST_ADDRESS = re.compile(
    r"(?:都|道|府|県|市|区|町|村|省|县|縣|鄉|鎮|郡|시|구).*(?:\d|[一二三四五六七八九十]).*|.*(?:路|街|巷|弄|丁目|番地|大道).*\d.*|.*\d+(?:号|號|番地).*"
)
_EAST_PERSON = re.compile("[\u3400-\u9fff]{1,4}[ \u3000]?[\u3400-\u9fff\u3040-\u30ff]{1,4}")
_KANA = re.compile("[\u30a0-\u30ff\uff66-\uff9f\\s・ー－()（）]+")
_PO_BOX = re.compile(
    r"(?:\d{1,3} )?(?:p\.? ?o\.? ?box|postfach|postbus|b\.?p\.?|apartado|casilla|postboks|c\.?p\.?)\s*\d+.*",
    re.IGNORECASE,
)
_STREET_WORD = re.compile(r"[^\W\d_]+\.?")
_HOUSE_NUMBER = re.compile(r"\d{1,5}(?:[-/ ]\d{1,5})?(?:\s?[A-Za-z]|½| ?1/2)?")

Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Profile:
    """What the sampled values of one column look like."""

    rows: int
    """Rows that were sampled."""
    filled: int
    """Cells with a value."""
    distinct: int
    """Different values among them."""
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """Shape -> share of the different values that have it."""
    samples: tuple[str, ...] = ()
    """The first three different values."""
    length: float = 0.0
    """Mean characters of a value."""
    words: float = 0.0
    """Mean words of a value."""
    sequential: bool = False
    """Whether the values are numbers that count up by one."""

    def __getitem__(self, shape: str) -> float:
        return self.shares.get(shape, 0.0)

    @property
    def fill(self) -> float:
        """Share of the rows with a value."""
        return self.filled / self.rows if self.rows else 0.0

    @property
    def unique(self) -> float:
        """Different values per value."""
        return self.distinct / self.filled if self.filled else 0.0

    @property
    def weight(self) -> float:
        """How much the values may say, 0..1: little when there are few."""
        return min(1.0, 0.4 + 0.15 * self.distinct + 0.02 * self.filled) if self.filled else 0.0


def profile(cells: Iterable[str]) -> Profile:
    """Look at the cells of one column."""
    rows = filled = 0
    seen: dict[str, None] = {}
    for cell in cells:
        rows += 1
        value = cell.strip()
        if value.casefold() in NULLS:
            continue
        filled += 1
        seen[value[:VALUE_CHARS_MAX]] = None
    values = list(seen)[:VALUES_MAX]
    if not values:
        return Profile(rows, 0, 0)
    shares: dict[str, int] = {}
    for value in values:
        for shape in shapes(value):
            shares[shape] = shares.get(shape, 0) + 1
    total = len(values)
    return Profile(
        rows,
        filled,
        len(seen),
        {shape: count / total for shape, count in shares.items()},
        tuple(values[:3]),
        sum(map(len, values)) / total,
        sum(len(value.split()) for value in values) / total,
        _counts_up(values),
    )


def _counts_up(values: Sequence[str]) -> bool:
    numbers = [int(value) for value in values if value.isdecimal() and len(value) < 16]  # noqa: PLR2004
    steps = sum(1 for one, next_one in pairwise(numbers) if next_one == one + 1)
    return len(numbers) == len(values) >= 3 and steps >= 0.7 * (len(numbers) - 1)  # noqa: PLR2004 (two may be neighbours by chance)


def shapes(value: str) -> list[str]:
    """All shapes that one value has."""
    found = [name for name, test in _TESTS if test(value)]
    if _EAST.search(value):
        found += [name for name, test in _EASTERN_TESTS if test(value)]
    elif any(char.isalpha() for char in value):
        found += [name for name, test in _LETTER_TESTS if test(value)]
    return found


def phone_digits(value: str) -> str:
    """The digits of something written like a phone number; empty when it is not."""
    match = _PHONE.fullmatch(" ".join(value.split()))
    if match is None:
        return ""
    return "".join(_DIGITS.findall(match["body"]))


def is_phone(value: str) -> bool:
    """7 to 15 digits, written as people write phone numbers."""
    return 7 <= len(phone_digits(value)) <= 15 and not _DATE.fullmatch(value) and not _COORDINATE.fullmatch(value)  # noqa: PLR2004 (E.164)


def is_formatted_phone(value: str) -> bool:
    """A phone number with the punctuation that other numbers lack."""
    if not is_phone(value):
        return False
    return bool(
        re.search(r"^\+|^00\d|\)|\d[-. /]\d+[-. /]\d{2,}|^0\d+[-/ ]\d{3,}", value.strip())
    ) and not _ZIP_LETTERS.fullmatch(value)


def is_north_american(value: str) -> bool:
    """Ten digits that an area code and an exchange could have."""
    digits = phone_digits(value).removeprefix("1") if len(phone_digits(value)) == 11 else phone_digits(value)  # noqa: PLR2004 (with the 1)
    return bool(re.fullmatch(r"[2-9]\d{2}[2-9]\d{6}", digits)) and (value.isdecimal() or is_formatted_phone(value))


def is_zip(value: str) -> bool:
    """A postal code of some country."""
    return bool(_ZIPS.fullmatch(value.strip()))


def is_state_code(value: str) -> bool:
    """A code of a state or province of the United States, Canada or Australia, in capitals."""
    return value.strip(" .").casefold() in _codes() and (value.isupper() or "." in value)


def is_region(value: str) -> bool:
    """The name of a state, province or region."""
    plain = fold(value.strip()).replace("  ", " ")
    if _EAST.search(value):
        return len(value) <= 8 and value.endswith(tuple(value_words("regiontail")))  # noqa: PLR2004 (北海道 .. 新疆维吾尔自治区)
    return plain in _regions() or plain.split(" (")[0] in _regions()


def is_country(value: str) -> bool:
    """The name or code of a country."""
    plain = fold(value.strip())
    return plain in value_words("country") or (
        plain in value_words("countrycode") and (value.isupper() or len(plain) > 1)
    )


@lru_cache(maxsize=1)
def _codes() -> frozenset[str]:
    return frozenset(code for country in ("us", "ca", "au") for code in region_names(country))


@lru_cache(maxsize=1)
def _regions() -> frozenset[str]:
    named = {name for country in ("us", "ca", "au", "br") for name in region_names(country).values()}
    return frozenset(named) | value_words("regionname")


def is_street(value: str) -> bool:
    """A street with or without its number, in one of many languages: `12 Main St`, `Hauptstraße 5`, `rue de la Paix`."""
    plain = fold(value.strip())
    if _EAST.search(value):
        return bool(_EAST_ADDRESS.search(value))
    if _PO_BOX.fullmatch(plain):
        return True
    tokens = [token.strip(".,;#") for token in plain.replace(",", " ").replace("-", " ").split()]
    has_word = any(token in value_words("streetword") for token in tokens if len(token) > 1)
    has_tail = any(len(token) > 5 and token.endswith(_street_tails()) for token in tokens)  # noqa: PLR2004 (Ostweg)
    if len(tokens) < 2 and not has_tail:  # noqa: PLR2004 (a street has a name and a kind)
        return False
    first_number = bool(re.match(r"\d{1,6}[a-z]?\b", tokens[0])) and len(tokens) > 1
    last_number = any(re.fullmatch(r"\d{1,5}[a-z]?", token) for token in tokens[1:])
    letters = sum(char.isalpha() for char in plain) >= 3  # noqa: PLR2004
    if not has_word and not has_tail and _ZIP_CITY.fullmatch(value.strip()):
        return False
    return letters and (
        (first_number and (has_word or len(tokens) > 1)) or has_tail or (has_word and (last_number or len(tokens) > 1))
    )


@lru_cache(maxsize=1)
def _street_tails() -> tuple[str, ...]:
    return tuple(word.removeprefix("*") for word in value_words("streettail"))


def is_numbered_street(value: str) -> bool:
    """A street with a house number."""
    return bool(_DIGITS.search(value)) and is_street(value) and not _DATE.fullmatch(value)


def is_full_address(value: str) -> bool:
    """A street with the city, the zip or the state after it."""
    if _EAST.search(value):
        return is_street(value) and bool(re.match(r".{1,8}?(?:都|道|府|県|市|省)", value))
    parts = [part for part in re.split(r"[,\n;]", value) if part.strip()]
    return is_street(value) and (
        (len(parts) > 1 and bool(_ZIP_INSIDE.search(value[5:])))
        or len(parts) > 2
        or bool(re.search(r" [A-Z]{2},? \d{5}", value))  # noqa: PLR2004
    )


def is_person(value: str) -> bool:
    """A person's name: two to five words without digits, one of them a frequent given name or a title."""
    text = value.strip()
    if _EAST.search(text):
        plain = re.sub(r"\s", "", text)
        return len(plain) <= 5 and bool(_EAST_PERSON.fullmatch(text)) and plain[:3].startswith(_surnames()) and not is_company(text)  # noqa: PLR2004
    words = [word.strip(".,").casefold() for word in unaccented(text).replace(",", " ").replace("&", " ").split()]
    if not 2 <= len(words) <= 6 or _DIGITS.search(text) or is_company(text):  # noqa: PLR2004
        return False
    if not all(_WORDS.fullmatch(word) or not word.isalpha() for word in words):
        return False
    given = value_words("given")
    titled = words[0] in value_words("titles") or words[-1] in value_words("persontail")
    return titled or words[0] in given or ("," in text and any(word in given for word in words)) or words[-1] in given


@lru_cache(maxsize=1)
def _surnames() -> tuple[str, ...]:
    return tuple(value_words("surname"))


def is_given_name(value: str) -> bool:
    """One or two words of which the first is a frequent given name."""
    words = fold(value).replace("-", " ").split()
    return 1 <= len(words) <= 3 and words[0].strip(".") in value_words("given")  # noqa: PLR2004


def is_company(value: str) -> bool:
    """A name with a legal form or a word that businesses carry."""
    if _EAST.search(value):
        return any(word in value for word in value_words("businesstail"))
    tokens = [token.strip("().'\"") for token in re.split(r"[\s,/&]+", fold(value)) if token]
    if not tokens or len(tokens) > 14:  # noqa: PLR2004 (a sentence is no name)
        return False
    legal = value_words("legalform")
    if len(tokens) > 1 and any(
        token in legal or token.replace(".", "") in legal for token in tokens[1:] if len(token) > 1
    ):
        return not is_numbered_street(value)
    business = value_words("business")
    return any(
        token.removesuffix("s'").removesuffix("'s") in business or token in business for token in tokens
    ) and not re.match(r"\d+ \w+ (?:st|ave|rd|dr)\b", fold(value))


def is_city_state_zip(value: str) -> bool:
    """`Tampa, FL 33602` or `Tampa, FL`."""
    match = _CITY_STATE.fullmatch(" ".join(value.split()))
    if match is None:
        return False
    state = match["state"].strip(" .")
    return (state.casefold() in _codes() and len(state) <= 3) or fold(state) in _regions()  # noqa: PLR2004


def is_zip_city(value: str) -> bool:
    """`4058 Basel`, `75008 Paris`: a postal code and a place, without the word for a street."""
    tokens = fold(value).replace("-", " ").split()
    worded = any(token.strip(".,") in value_words("streetword") or token.endswith(_street_tails()) for token in tokens[1:])
    return bool(_ZIP_CITY.fullmatch(value)) and not worded


def is_place_name(value: str) -> bool:
    """One to five words of letters, as cities and districts are called."""
    text = value.strip()
    if _EAST.search(text):
        return len(text) <= 10 and text.endswith(tuple(value_words("citytail")))  # noqa: PLR2004
    words = text.replace("/", " ").replace("-", " ").split()
    letters = re.fullmatch(r"[^\W\d_][\w .,'’/()-]*", text)
    return (
        bool(letters) and len(words) <= 5 and not _DIGITS.search(text) and 3 <= len(text) <= 40 and not is_company(text)
    )  # noqa: PLR2004


_TESTS: Sequence[tuple[str, Test]] = (
    ("phone", is_phone),
    ("phone_formatted", is_formatted_phone),
    ("phone_nanp", is_north_american),
    ("zip", is_zip),
    ("zip_letters", lambda value: bool(_ZIP_LETTERS.fullmatch(value))),
    ("zip5", lambda value: bool(re.fullmatch(r"\d{5}(?:-\d{4}|\d{4})?(?:\.0)?", value))),
    ("date", lambda value: bool(_DATE.fullmatch(value))),
    ("integer", lambda value: bool(_INTEGER.fullmatch(value))),
    ("number", lambda value: bool(_NUMBER.fullmatch(value))),
    ("coordinate", lambda value: bool(_COORDINATE.fullmatch(value)) and abs(float(value.replace(",", "."))) <= 180),  # noqa: PLR2004
    ("geometry", lambda value: bool(_GEOMETRY.fullmatch(value))),
    ("boolean", lambda value: bool(_BOOLEAN.fullmatch(value))),
    ("house_number", lambda value: bool(_HOUSE_NUMBER.fullmatch(value))),
    ("has_digit", lambda value: bool(_DIGITS.search(value))),
    ("has_letter", lambda value: any(char.isalpha() for char in value)),
    ("long", lambda value: len(value) > LONG_TEXT_CHARS),
    ("multiline", lambda value: "\n" in value),
    ("code", lambda value: bool(_CODE.fullmatch(value)) and bool(_DIGITS.search(value))),
    ("uuid", lambda value: bool(_UUID.fullmatch(value))),
)
_LETTER_TESTS: Sequence[tuple[str, Test]] = (
    ("email", lambda value: bool(_EMAIL.fullmatch(value))),
    ("url", lambda value: bool(_URL.fullmatch(value)) and not value.isupper()),
    ("state_code", is_state_code),
    ("region", is_region),
    ("country", is_country),
    ("street", is_street),
    ("street_numbered", is_numbered_street),
    ("full_address", is_full_address),
    ("po_box", lambda value: bool(_PO_BOX.fullmatch(fold(value)))),
    ("city_state", is_city_state_zip),
    ("zip_city", is_zip_city),
    ("person", is_person),
    ("given", is_given_name),
    ("company", is_company),
    ("place", is_place_name),
    ("upper_code", lambda value: bool(re.fullmatch(r"[A-Z]{1,4}", value))),
    ("weekday", lambda value: fold(value)[:3] in {"mon", "tue", "wed", "thu", "fri", "sat", "sun"} and ":" in value),
    ("phone_label", lambda value: fold(value).strip("* ").replace(" ", "_") in value_words("phonelabel")),
    ("salutation", lambda value: fold(value).strip(".") in value_words("titles")),
)
_EASTERN_TESTS: Sequence[tuple[str, Test]] = (
    ("street", is_street),
    ("street_numbered", is_numbered_street),
    ("full_address", is_full_address),
    ("region", is_region),
    ("place", is_place_name),
    ("company", is_company),
    ("person", is_person),
    ("kana", lambda value: bool(_KANA.fullmatch(value))),
)
