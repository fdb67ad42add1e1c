"""What one value looks like: a phone, a zip, a street, a person, a company, in the ways of many countries.

Nothing is looked up in a gazetteer but the names of regions and countries; streets, people and companies are told by
their build and by frequent words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from gristmill.mapping.words import fold, region_names, unaccented, value_words

LONG_TEXT_CHARS = 90
PHONE_DIGITS = range(7, 16)
"""Digits of a phone number; at most 15 by ITU-T E.164."""
DEGREES_MAX = 180
PERSON_WORDS = range(2, 7)
GIVEN_WORDS_MAX = 3
COMPANY_WORDS_MAX = 14
"""More words are a sentence."""
PLACE_WORDS_MAX, PLACE_CHARS = 5, range(3, 41)
EASTERN_NAME_CHARS_MAX, EASTERN_PLACE_CHARS_MAX, EASTERN_REGION_CHARS_MAX = 5, 10, 8
STREET_TAIL_CHARS_MIN = 6
"""A shorter word that ends like a street is one by chance: `Ring`."""
STREET_LETTERS_MIN = 3
ADDRESS_PARTS_MIN = 3
"""A street followed by two more parts is a whole address."""
STATE_CODE_CHARS_MAX = 3

_DIGITS = re.compile(r"\d")
_PHONE = re.compile(
    r"(?:tel|ph|phone|t|m)?[.:\s]*(?P<body>(?:\+|00)?\(?\d[\d\s().\-/\u2010-\u2015\u00a0]{5,24}\d)"
    r"(?:\s*(?:x|ext\.?|#|extension|durchwahl)\s*\d{1,6})?",
    re.IGNORECASE,
)
_PHONE_MARKS = re.compile(r"^\+|^00\d|\)|\d[-. /]\d+[-. /]\d{2,}|^0\d+ ?[-/ ] ?\d{3,}")
_NORTH_AMERICAN = re.compile(r"1?[2-9]\d{2}[2-9]\d{6}")
_ZIP_PARTS = (
    r"[A-Z]\d[A-Z] ?\d[A-Z]\d",  # Canada
    r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}",  # United Kingdom
    r"\d{4} ?[A-Z]{2}",  # Netherlands
    r"\d{5}-\d{4}",  # United States, long
    r"\d{2}-\d{3}",  # Poland
    r"\d{5}-\d{3}",  # Brazil
    r"\d{3}-\d{4}",  # Japan
)
_ZIP_LETTERS = re.compile("|".join(_ZIP_PARTS), re.IGNORECASE)
_ZIPS = re.compile(
    "|".join(
        (
            *_ZIP_PARTS,
            r"\d{4,7}(?:\.0)?|\d{9}|\d{3}\.0",  # many countries; the United States without zeros or hyphen
            r"[A-Z]-?\d{4,5}|[A-Z]\d[A-Z]",  # with a country's letter; the first half of a Canadian one
            r"\d{3} ?\d{2,3}|\d{4}-\d{3}",  # Czechia, Sweden, Greece, India; Portugal
            r"[AC-Y]\d[\dW] ?[0-9AC-Y]{4}",  # Ireland
        )
    ),
    re.IGNORECASE,
)
_ZIP_INSIDE = re.compile(
    r"(?<![\w-])(?:\d{5}(?:-\d{4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\u3012?\d{3}-\d{4})"
    r"(?![\w-])"
)
_STATE_ZIP = re.compile(r" [A-Z]{2},? \d{5}")
_ZIP_CITY = re.compile(r"(?:[A-Z]{1,2}-)?(?:\d{4,5}|\d{2}-\d{3}|\d{3} \d{2}|\d{4} [A-Z]{2}),? +[^\W\d_][\w .'/()-]+")
_CITY_STATE = re.compile(
    r"[^\W\d_][^,\d]{1,40},?\s+(?P<state>[A-Za-z.]{2,}|[A-Za-z ]{4,20}),?\s*"
    r"(?:\d{5}(?:-\d{4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d)?(?:,? (?:USA?|Canada))?",
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
_ZIP5 = re.compile(r"\d{5}(?:-\d{4}|\d{4})?(?:\.0)?")
_NAME_WORD = re.compile(r"[^\W\d_]+(?:['\u2019.\-][^\W\d_]+)*\.?")
_PLACE = re.compile(r"[^\W\d_][\w .,'\u2019/()-]*")
_EAST = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_EAST_ADDRESS = re.compile(
    r"(?:都|道|府|県|市|区|町|村|省|县|縣|鄉|鎮|郡|시|구).*(?:\d|[一二三四五六七八九十]).*"
    r"|.*(?:路|街|巷|弄|丁目|番地|大道).*\d.*|.*\d+(?:号|號|番地).*"
)
_EAST_REGION = re.compile(r".{1,8}?(?:都|道|府|県|市|省)")
_EAST_PERSON = re.compile("[\u3400-\u9fff]{1,4}[ \u3000]?[\u3400-\u9fff\u3040-\u30ff]{1,4}")
_PO_BOX = re.compile(
    r"(?:\d{1,3} )?(?:p\.? ?o\.? ?box|postfach|postbus|b\.?p\.?|apartado|casilla|postboks|c\.?p\.?)\s*\d+.*",
    re.IGNORECASE,
)
_HOUSE_NUMBER = re.compile(r"\d{1,5}(?:[-/ ]\d{1,5})?(?:\s?[A-Za-z]|½| ?1/2)?")
_FIRST_NUMBER = re.compile(r"\d{1,6}[a-z]?\b")
_LATER_NUMBER = re.compile(r"\d{1,5}[a-z]?")
_HOUSE_AND_STREET = re.compile(r"\d+ \w+ (?:st|ave|rd|dr)\b")

Test = Callable[[str], bool]


def phone_digits(value: str) -> str:
    """The digits of something written like a phone number; empty when it is not."""
    match = _PHONE.fullmatch(" ".join(value.split()))
    if match is None:
        return ""
    return "".join(_DIGITS.findall(match["body"]))


def is_phone(value: str) -> bool:
    """7 to 15 digits, written as people write phone numbers."""
    number = len(phone_digits(value)) in PHONE_DIGITS
    return number and not _DATE.fullmatch(value) and not _COORDINATE.fullmatch(value)


def is_formatted_phone(value: str) -> bool:
    """A phone number with the punctuation that other numbers lack."""
    return is_phone(value) and bool(_PHONE_MARKS.search(value.strip())) and not _ZIP_LETTERS.fullmatch(value)


def is_north_american(value: str) -> bool:
    """Ten digits that an area code and an exchange could have."""
    digits = phone_digits(value)
    return bool(_NORTH_AMERICAN.fullmatch(digits)) and (value.isdecimal() or is_formatted_phone(value))


def is_email(value: str) -> bool:
    """An e-mail address, also of a host without a dot."""
    return bool(_EMAIL.fullmatch(value.strip()))


def is_url(value: str) -> bool:
    """A web address, or a path on the same site."""
    return bool(_URL.fullmatch(value.strip())) and not value.isupper()


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
        return len(value) <= EASTERN_REGION_CHARS_MAX and value.endswith(tuple(value_words("regiontail")))
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
    """A street with or without its number: `12 Main St`, `Hauptstraße 5`, `rue de la Paix`, a post office box."""
    if _EAST.search(value):
        return bool(_EAST_ADDRESS.search(value))
    plain = fold(value.strip())
    if _PO_BOX.fullmatch(plain):
        return True
    tokens = [token.strip(".,;#") for token in plain.replace(",", " ").replace("-", " ").split()]
    worded = any(token in value_words("streetword") for token in tokens if len(token) > 1)
    tailed = any(len(token) >= STREET_TAIL_CHARS_MIN and token.endswith(_street_tails()) for token in tokens)
    several = len(tokens) > 1
    if sum(char.isalpha() for char in plain) < STREET_LETTERS_MIN or not (several or tailed):
        return False
    if not worded and not tailed and _ZIP_CITY.fullmatch(value.strip()):
        return False
    return tailed or worded or bool(_FIRST_NUMBER.match(tokens[0]))


@lru_cache(maxsize=1)
def _street_tails() -> tuple[str, ...]:
    return tuple(word.removeprefix("*") for word in value_words("streettail"))


def is_numbered_street(value: str) -> bool:
    """A street with a house number."""
    return bool(_DIGITS.search(value)) and is_street(value) and not _DATE.fullmatch(value)


def is_full_address(value: str) -> bool:
    """A street with the city, the zip or the state after it."""
    if not is_street(value):
        return False
    if _EAST.search(value):
        return bool(_EAST_REGION.match(value))
    parts = [part for part in re.split(r"[,\n;]", value) if part.strip()]
    zipped = len(parts) > 1 and bool(_ZIP_INSIDE.search(value, 5))
    return zipped or len(parts) >= ADDRESS_PARTS_MIN or bool(_STATE_ZIP.search(value))


def is_person(value: str) -> bool:
    """A person's name: two to six words without digits, one of them a frequent given name or a title."""
    text = value.strip()
    if _EAST.search(text):
        return _is_eastern_person(text)
    words = [word.strip(".,").casefold() for word in unaccented(text).replace(",", " ").replace("&", " ").split()]
    if len(words) not in PERSON_WORDS or _DIGITS.search(text) or is_company(text):
        return False
    if not all(_NAME_WORD.fullmatch(word) or not word.isalpha() for word in words):
        return False
    given = value_words("given")
    titled = words[0] in value_words("titles") or words[-1] in value_words("persontail")
    return titled or words[0] in given or words[-1] in given or ("," in text and any(word in given for word in words))


def _is_eastern_person(text: str) -> bool:
    plain = "".join(text.split())
    named = len(plain) <= EASTERN_NAME_CHARS_MAX and plain.startswith(_surnames())
    return named and bool(_EAST_PERSON.fullmatch(text)) and not is_company(text)


@lru_cache(maxsize=1)
def _surnames() -> tuple[str, ...]:
    return tuple(value_words("surname"))


def is_given_name(value: str) -> bool:
    """One or two words of which the first is a frequent given name."""
    words = fold(value).replace("-", " ").split()
    return 0 < len(words) <= GIVEN_WORDS_MAX and words[0].strip(".") in value_words("given")


def is_company(value: str) -> bool:
    """A name with a legal form or a word that businesses carry."""
    if _EAST.search(value):
        return any(word in value for word in value_words("businesstail"))
    plain = fold(value)
    tokens = [token.strip("().'\"") for token in re.split(r"[\s,/&]+", plain) if token]
    if not tokens or len(tokens) > COMPANY_WORDS_MAX:
        return False
    legal = value_words("legalform")
    if any(token in legal or token.replace(".", "") in legal for token in tokens[1:] if len(token) > 1):
        return not is_numbered_street(value)
    business = value_words("business")
    named = any(token.removesuffix("'s") in business or token.removesuffix("s'") in business for token in tokens)
    return named and not _HOUSE_AND_STREET.match(plain)


def is_city_state_zip(value: str) -> bool:
    """`Tampa, FL 33602` or `Tampa, FL`."""
    match = _CITY_STATE.fullmatch(" ".join(value.split()))
    if match is None:
        return False
    state = match["state"].strip(" .")
    return (len(state) <= STATE_CODE_CHARS_MAX and state.casefold() in _codes()) or fold(state) in _regions()


def is_zip_city(value: str) -> bool:
    """`4058 Basel`, `75008 Paris`: a postal code and a place, without the word for a street; `3511 AB` is a code."""
    tokens = fold(value).replace("-", " ").split()
    worded = any(
        token.strip(".,") in value_words("streetword") or token.endswith(_street_tails()) for token in tokens[1:]
    )
    return bool(_ZIP_CITY.fullmatch(value)) and not worded and not _ZIP_LETTERS.fullmatch(value)


def is_place_name(value: str) -> bool:
    """One to five words of letters, as cities and districts are called."""
    text = value.strip()
    if _EAST.search(text):
        return len(text) <= EASTERN_PLACE_CHARS_MAX and text.endswith(tuple(value_words("citytail")))
    words = text.replace("/", " ").replace("-", " ").split()
    short = len(text) in PLACE_CHARS and len(words) <= PLACE_WORDS_MAX
    return short and bool(_PLACE.fullmatch(text)) and not _DIGITS.search(text) and not is_company(text)


def is_coordinate(value: str) -> bool:
    """A latitude or longitude in degrees."""
    return bool(_COORDINATE.fullmatch(value)) and abs(float(value.replace(",", "."))) <= DEGREES_MAX


def _matches(pattern: re.Pattern[str]) -> Test:
    return lambda value: bool(pattern.fullmatch(value))


TESTS: Sequence[tuple[str, Test]] = (
    ("phone", is_phone),
    ("phone_formatted", is_formatted_phone),
    ("phone_nanp", is_north_american),
    ("zip", is_zip),
    ("zip_letters", _matches(_ZIP_LETTERS)),
    ("zip5", _matches(_ZIP5)),
    ("date", _matches(_DATE)),
    ("integer", _matches(_INTEGER)),
    ("number", _matches(_NUMBER)),
    ("coordinate", is_coordinate),
    ("geometry", _matches(_GEOMETRY)),
    ("boolean", _matches(_BOOLEAN)),
    ("house_number", _matches(_HOUSE_NUMBER)),
    ("has_digit", lambda value: bool(_DIGITS.search(value))),
    ("has_letter", lambda value: any(map(str.isalpha, value))),
    ("long", lambda value: len(value) > LONG_TEXT_CHARS),
    ("code", lambda value: bool(_CODE.fullmatch(value)) and bool(_DIGITS.search(value))),
    ("uuid", _matches(_UUID)),
)
"""Shape -> its test, for any value."""
EASTERN_TESTS: Sequence[tuple[str, Test]] = (
    ("street", is_street),
    ("street_numbered", is_numbered_street),
    ("full_address", is_full_address),
    ("region", is_region),
    ("place", is_place_name),
    ("company", is_company),
    ("person", is_person),
)
"""The same for values in Chinese, Japanese or Korean."""
LETTER_TESTS: Sequence[tuple[str, Test]] = (
    *EASTERN_TESTS,
    ("email", is_email),
    ("url", is_url),
    ("state_code", is_state_code),
    ("country", is_country),
    ("city_state", is_city_state_zip),
    ("zip_city", is_zip_city),
    ("given", is_given_name),
    ("lower", str.islower),
    ("upper_code", _matches(re.compile("[A-Z]{1,4}"))),
    ("status", lambda value: fold(value.strip()) in value_words("status")),
    ("salutation", lambda value: fold(value).strip(".") in value_words("titles")),
)
"""The same for other values with a letter in them."""


def shapes(value: str) -> list[str]:
    """All shapes that one value has."""
    found = [name for name, test in TESTS if test(value)]
    if _EAST.search(value):
        found += [name for name, test in EASTERN_TESTS if test(value)]
    elif any(map(str.isalpha, value)):
        found += [name for name, test in LETTER_TESTS if test(value)]
    return found
