"""One form for each thing: phones as E.164, e-mails checked, names and addresses taken apart; and keys to compare by.

Each function answers None for what is none, so that no fact is ever made of a cell that says `n/a`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

import email_validator
import phonenumbers

PHONES_PER_TEXT_MAX = 5
REMEMBERED_MAX = 4_096
"""Texts whose form is remembered: one hunt compares the same ones many times."""
TEXT_CHARS_MAX = 300
"""Longer texts are no phone, name or address."""

_PHONE_TYPES = {
    phonenumbers.PhoneNumberType.FIXED_LINE: "fixed_line",
    phonenumbers.PhoneNumberType.MOBILE: "mobile",
    phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE: "fixed_line_or_mobile",
    phonenumbers.PhoneNumberType.TOLL_FREE: "toll_free",
    phonenumbers.PhoneNumberType.PREMIUM_RATE: "premium_rate",
    phonenumbers.PhoneNumberType.SHARED_COST: "shared_cost",
    phonenumbers.PhoneNumberType.VOIP: "voip",
    phonenumbers.PhoneNumberType.UAN: "company_wide",
}
_ROLES = frozenset({
    "abuse", "accounting", "accounts", "admin", "administration", "billing", "booking", "bookings", "careers",
    "contact", "customerservice", "enquiries", "enquiry", "events", "feedback", "finance", "general", "hello", "help",
    "helpdesk", "hr", "info", "information", "inquiries", "jobs", "legal", "library", "mail", "marketing", "media",
    "office", "orders", "postmaster", "press", "privacy", "reception", "reservations", "sales", "secretary",
    "security", "service", "services", "shop", "staff", "store", "support", "team", "webmaster", "welcome",
})  # fmt: skip
_NOTHING = re.compile(r"(?i)[\W_]*(n/?a|none|null|nil|unknown|not (available|listed|provided)|tb[ad]|-+|\?+|x+)?[\W_]*")
_LEGAL_FORMS = frozenset({
    "inc", "incorporated", "llc", "llp", "lp", "ltd", "limited", "co", "company", "corp", "corporation", "plc", "pty",
    "pllc", "pc", "gmbh", "ag", "kg", "ohg", "ug", "bv", "nv", "sa", "sarl", "sas", "srl", "spa", "ab", "as", "oy",
    "aps", "kk",
})  # fmt: skip
_FIRM = re.compile(r"(?i)\b(inc|llc|llp|ltd|corp|co|company|gmbh|pty|plc|university|department|council)\b\.?")
_PERHAPS_FIRM = re.compile(
    r"(?i)\b(group|holdings?|services|associates|bank|school|hospital|church|office|restaurant|store|shop|cent(er|re)"
    r"|club|trust|foundation|of|and|the)\b|&"
)
"""Words of organizations that are family names too: `Charlotte Church` is a person, `First Baptist Church` is none."""
_FULL_NAME_WORDS = 2
_NAME_NOISE = re.compile(r"\d|@|://|[<>{}\[\]|=]")
_STREET_WORDS = {
    "street": "st", "avenue": "ave", "av": "ave", "road": "rd", "drive": "dr", "boulevard": "blvd", "lane": "ln",
    "court": "ct", "place": "pl", "square": "sq", "terrace": "ter", "parkway": "pkwy", "highway": "hwy",
    "circle": "cir", "trail": "trl", "suite": "ste", "apartment": "apt", "building": "bldg", "floor": "fl",
    "north": "n", "south": "s", "east": "e", "west": "w", "northeast": "ne", "northwest": "nw", "southeast": "se",
    "southwest": "sw", "saint": "st", "mount": "mt", "fort": "ft",
}  # fmt: skip
"""Words of United States Postal Service Publication 28, appendices B and C, to their short forms."""
_ADDRESS_PARTS = {"PlaceName": "city", "StateName": "state", "ZipCode": "zip", "CountryName": "country"}
_WORDS = re.compile(r"[^\W_]+")
_JUNK = re.compile("^(?:\u00e5\u00ca|\u00c2?\u00a0|\u00ef\u00bb\u00bf|\ufeff|\u200b)+", re.IGNORECASE)
"""A no-break space, byte order mark or zero-width space at the start, also as other encodings show their bytes."""
_PLAIN_EMAIL = re.compile(
    r"[a-z0-9]+(?:[._+-][a-z0-9]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}", re.ASCII | re.IGNORECASE
)
_SPECIAL_DOMAINS = tuple(f".{name}" for name in email_validator.SPECIAL_USE_DOMAIN_NAMES)
EMAIL_MAX, EMAIL_LOCAL_MAX, EMAIL_LABEL_MAX = 254, 64, 63
"""Characters of an address, of what is before the @, and of one part of its domain: RFC 5321 and 1035."""


def phones(text: str, region: str) -> list[dict[str, str]]:
    """All valid numbers in a text, each as `{e164, national, type, extension?}`, at most PHONES_PER_TEXT_MAX.

    `region` (ISO 3166, two letters) is where numbers without a country code are read.
    """
    if not text or len(text) > TEXT_CHARS_MAX:
        return []
    return [dict(number) for number in _phones(text, region)]


@lru_cache(REMEMBERED_MAX)
def _phones(text: str, region: str) -> tuple[dict[str, str], ...]:
    try:
        whole = phonenumbers.parse(text, region)
        if phonenumbers.is_valid_number(whole):
            return (_phone(whole),)
    except phonenumbers.NumberParseException:
        pass  # several numbers, or words around one
    found = phonenumbers.PhoneNumberMatcher(text, region, max_tries=PHONES_PER_TEXT_MAX)
    numbers = {match.number.national_number: _phone(match.number) for match in found}
    return tuple(numbers.values())[:PHONES_PER_TEXT_MAX]


def _phone(number: phonenumbers.PhoneNumber) -> dict[str, str]:
    value = {
        "e164": phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        "national": phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL),
        "type": _PHONE_TYPES.get(phonenumbers.number_type(number), "unknown"),
    }
    if number.extension:
        value["extension"] = number.extension
    return value


def site_key(text: str) -> str:
    """A web address as it is compared: host and path, without `https://`, `www.` and a slash at the end."""
    plain = text.strip().casefold()
    if not plain or any(char.isspace() for char in plain):
        return ""
    return plain.split("://", 1)[-1].removeprefix("www.").rstrip("/")


def email(text: str) -> dict[str, str] | None:
    """An e-mail address whose form is valid, as `{address, type}`.

    The type is `role` for info@, leeds.office@ and the like, else `person`. Letters outside of ASCII before the @ are
    refused: nearly always they are an encoding gone wrong. Whether somebody reads it is not asked: that would tell its
    server about every lead.
    """
    plain = _JUNK.sub("", text.strip().removeprefix("mailto:").split("?", 1)[0]).strip(" <>;,.")
    if "@" not in plain or len(plain) > TEXT_CHARS_MAX:
        return None
    if is_plain_email(plain):
        address = plain.lower()
    else:
        try:
            found = email_validator.validate_email(plain, check_deliverability=False, allow_smtputf8=False)
        except email_validator.EmailNotValidError:
            return None
        address = f"{found.local_part.lower()}@{found.domain.lower()}"
    words = re.split(r"[._-]", address.rpartition("@")[0].split("+", 1)[0])
    return {"address": address, "type": "role" if words[0] in _ROLES or words[-1] in _ROLES else "person"}


def is_plain_email(text: str) -> bool:
    """Whether a text is an e-mail address of the usual kind, which needs no closer look: it is valid for sure."""
    if _PLAIN_EMAIL.fullmatch(text) is None:
        return False
    local, _, domain = text.lower().partition("@")
    return (
        len(local) <= EMAIL_LOCAL_MAX
        and len(text) <= EMAIL_MAX
        and max(map(len, domain.split("."))) <= EMAIL_LABEL_MAX
        and not f".{domain}".endswith(_SPECIAL_DOMAINS)
    )


def person(text: str) -> dict[str, str] | None:
    """A person's name as `{display_name, first_name?, last_name?}`; None for organizations and what is no name."""
    plain = " ".join(text.split())
    if is_nothing(plain) or len(plain) > TEXT_CHARS_MAX or _NAME_NOISE.search(plain) or _FIRM.search(plain):
        return None
    if _PERHAPS_FIRM.search(plain) and len(plain.split()) != _FULL_NAME_WORDS:
        return None
    from nameparser import HumanName  # noqa: PLC0415 - an eighth of a second of import, for hunts only

    name = HumanName(plain)
    name.capitalize()
    first, last = str(name.first), str(name.last)
    if not (first or last) or not any(char.isalpha() for char in plain):
        return None
    middle, suffix = str(name.middle), str(name.suffix)
    value = {"display_name": " ".join(part for part in (first, middle, last, suffix) if part)}
    if first:
        value["first_name"] = first
    if last:
        value["last_name"] = last
    return value


def address(parts: Mapping[str, str], region: str) -> dict[str, str] | None:
    """An address as `{street?, city?, state?, zip?, country?}`, from its parts or from one line in `full`.

    A single line is taken apart by usaddress when it is of the United States; elsewhere it stays one line.
    """
    value = {name: " ".join(parts.get(name, "").split()) for name in ("street", "city", "state", "zip", "country")}
    value = {name: text for name, text in value.items() if not is_nothing(text)}
    line = " ".join(parts.get("full", "").split())
    if not value and line and len(line) <= TEXT_CHARS_MAX and not is_nothing(line):
        value = _parse_line(line) if region == "US" else {"street": line}
    return value if value.get("street") or value.get("zip") else None


def _parse_line(line: str) -> dict[str, str]:
    import usaddress  # noqa: PLC0415 - loads a model, for hunts only
    from probableparsing import RepeatedLabelError  # noqa: PLC0415 - comes with it

    try:
        tags, _ = usaddress.tag(line)
    except RepeatedLabelError:
        return {"street": line}
    street = " ".join(text for label, text in tags.items() if label not in _ADDRESS_PARTS).strip(" ,")
    value = {name: tags[label].strip(" ,") for label, name in _ADDRESS_PARTS.items() if tags.get(label)}
    return {"street": street, **value} if street else value


def is_nothing(text: str) -> bool:
    """Whether a cell says that there is nothing: empty, `n/a`, dashes."""
    return _NOTHING.fullmatch(text) is not None


def looks_like_street(text: str) -> bool:
    """Whether a text starts like an address: a house number and a word, or a post-office box."""
    return bool(re.match(r"(?i)\s*(\d+[a-z]?([-/]\d+)?\s+[^\W\d]|p\.?\s*o\.?\s*box\b)", text))


@lru_cache(REMEMBERED_MAX)
def plain(text: str) -> str:
    """Words in lower case without accents and punctuation."""
    bare = _bare(_bare(text).casefold().replace("&", " and "))
    return " ".join(_WORDS.findall(bare))


def _bare(text: str) -> str:
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


@lru_cache(REMEMBERED_MAX)
def company_key(text: str) -> str:
    """A company's name without its legal form: equal for `Smith & Sons, LLC` and `SMITH AND SONS`."""
    words = plain(re.sub(r"(?<=\b\w)\.(?=\w\b|$|\s)", "", text)).split()
    kept = [word for word in words if word not in _LEGAL_FORMS] or words
    return " ".join(kept[1:] if len(kept) > 1 and kept[0] == "the" else kept)


def person_key(value: Mapping[str, str]) -> tuple[str, str]:
    """(last name, first name), plain."""
    return plain(value.get("last_name", "")), plain(value.get("first_name", ""))


@lru_cache(REMEMBERED_MAX)
def street_key(text: str) -> str:
    """A street line with its usual words in their short forms."""
    return " ".join(_STREET_WORDS.get(word, word) for word in plain(text).split())


@lru_cache(REMEMBERED_MAX)
def zip_key(text: str) -> str:
    """A postal code without blanks; of a ZIP+4 the first five digits, with the zero that spreadsheets drop."""
    bare = re.sub(r"[^0-9A-Z]", "", text.upper())
    if re.fullmatch(r"\d{9}", bare):
        return bare[:5]
    return bare.zfill(5) if re.fullmatch(r"\d{4}", bare) and "-" not in text else bare
