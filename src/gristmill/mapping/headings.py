"""What a column header says: the kind of its values, whose they are, and which of several it is.

`Billing Street2` is a street, of the billing address, the second line. The rules read the meanings of a header's words
(`words/headers.txt`) from the most telling to the least: an e-mail address stays one whatever stands before it, a name
depends on every word beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from gristmill.mapping.words import Word, fold, lexicon

PLACES = frozenset({"area", "city", "state", "county"})
PERSON_ROLES = frozenset({"person", "owner", "chief", "holder"})
NAMES = frozenset({"name", "org", "party", "account", "entity", "trade", "legal", "alias", "parent", "branch", "label"})
ID_WORDS = frozenset({"id", "number", "code", "refer", "registration", "license"})
ADDRESS_WORDS = frozenset({"address", "street", "line", "extra"})
ADDRESS_PARTS = ("housenumber", "housesuffix", "direction", "streettype", "unitno", "pobox")
STATE_CODES = frozenset(
    {"state", "states", "st", "province", "provinces", "prov", "uf", "estado", "canton"}
)
"""Words whose code is what people write in an address; the code of a region or a municipality is a number."""
RECORDS = frozenset({"company", "contact", "account", "lead", "record", "customer", "deal", "organization", "client"})
"""What a CRM lets a user own: `Company Owner` is a salesperson, `Business Owner` is not."""
FRENCH_LINES = {1: "company", 2: "extra", 3: "extra", 4: "street", 5: "extra", 6: "zipcity", 7: "country"}
"""Lines of a postal address by the French norm NF Z10-011, as in the register of companies (`L4_NORMALISEE`)."""
LEVELS = {1: "state", 2: "county", 3: "city", 4: "area"}
"""Administrative levels, as in `L1`, `admin2`."""
LEVEL_WORDS = frozenset({"l", "adm", "admin", "level", "adminlevel"})

NAMING_TEXTS = frozenset({"ds", "descrizione", "descripcion", "descricao"})
"""Words for a description that in front of another word mean its name: `DESCRIZIONE COMUNE`."""
STOP, PERSON, MAIN = frozenset({"stop"}), frozenset({"person"}), frozenset({"main"})
PLACED = frozenset({"address", "street", "city", "state", "zip"})
TYPE_WORDS = frozenset({"type", "types", "typ", "tipo", "clase", "typs"})
HEAD_TYPES = TYPE_WORDS | {"status", "kind", "category", "class", "flag", "verified", "valid", "format", "language", "quality", "use"}
"""Words that make a header a category where they are its head: `Address Type`, but `Source Zipcode` is a zip."""

COMPOUND = frozenset({"physical", "work", "billing", "shipping", "mailing", "home"})
"""What a compound word for an address may say beside it."""

_OWN: Mapping[str, frozenset[str]] = {
    "phone": frozenset({"phone", "number", "id", "name", "value"}),
    "email": frozenset({"email", "address", "value", "name"}),
    "fax": frozenset({"fax", "phone", "number"}),
    "street": frozenset({"street", "address", "line", "name", "label"}),
    "address": frozenset({"address", "line", "name", "full"}),
    "extra": frozenset({"extra", "address", "line", "street", "name"}),
    "building": frozenset({"building", "name", "address"}),
    "full": frozenset({"full", "address", "street"}),
    "city": frozenset({"city", "name", "address", "code"}),
    "state": frozenset({"state", "name", "address", "code"}),
    "zip": frozenset({"zip", "code", "number", "address"}),
    "citystatezip": frozenset({"zip", "city", "state", "code", "address"}),
    "zipcity": frozenset({"zip", "city", "code", "address"}),
    "country": frozenset({"country", "name", "address", "code", "state"}),
    "first": frozenset({"first", "name"}),
    "last": frozenset({"last", "name"}),
    "middle": frozenset({"middle", "name"}),
    "salutation": frozenset({"salutation", "name", "title"}),
    "namesuffix": frozenset({"namesuffix", "name"}),
    "person": frozenset({"name", "fullname"}),
    "id": frozenset({"id", "number", "code", "refer"}),
    "registration": frozenset({"id", "number", "code", "refer"}),
    "license": frozenset({"id", "number", "code", "refer", "license"}),
}
"""Kind -> meanings that are part of the kind; the other words of a header say whose it is."""


@dataclass(frozen=True, slots=True)
class Heading:
    """One header, read."""

    text: str
    words: tuple[Word, ...] = ()
    kinds: Mapping[str, float] = field(default_factory=dict[str, float])
    """Kind -> how surely the header says so, 0..1. Empty when it says nothing."""
    scope: tuple[Word, ...] = ()
    """The words that say whose: `billing`, `contact 1`."""
    classes: frozenset[str] = frozenset()
    """Meanings of those words, and of the whole for names and ids."""
    ordinal: int = 0
    """1 or 2 for `Phone 2`; 0 when not numbered."""

    @property
    def kind(self) -> str:
        """The kind it says most surely; empty for none."""
        return max(self.kinds, key=lambda kind: self.kinds[kind]) if self.kinds else ""


class _Header:
    """A header on its way through the rules."""

    def __init__(self, text: str) -> None:
        everything = lexicon().words(text)
        self.numbered = everything
        """All words, also those that only join others: `L4` begins with one."""
        self.words = [word for word in everything if word.meanings != STOP]
        if len(self.words) > 1 and not any("code" in word.meanings for word in self.words):
            # `cp_name`: cp is the contact person here, not the code postal.
            self.words = [Word("cp", PERSON) if word.text == "cp" else word for word in self.words]
        if any(word.meanings & PLACED for word in self.words):
            # `principalcity`: of the main office, not of a school's head.
            self.words = [Word(w.text, MAIN) if MAIN <= w.meanings else w for w in self.words]
        self.either = bool(re.search(r"[/&+,]| (?:or|and|und|et|y|e) ", text))
        """Whether the header names two things: `Phone/Fax`."""
        self.meanings = frozenset(meaning for word in self.words for meaning in word.meanings)
        self.texts = frozenset(word.text for word in self.words)

    def has(self, *meanings: str) -> bool:
        """Whether any word means one of these."""
        return any(meaning in self.meanings for meaning in meanings)

    def only(self, *meanings: str) -> bool:
        """Whether every word but numbers means one of these."""
        words = [word for word in self.words if not word.is_number]
        return bool(words) and all(word.meanings & set(meanings) for word in words)

    def at(self, *meanings: str) -> int:
        """Position of the last word that means one of these, -1 for none."""
        found = [index for index, word in enumerate(self.words) if word.meanings & set(meanings)]
        return found[-1] if found else -1


_LONG_REMARK = re.compile(r"\((?:\S+ ){2,}[^()]*\)")
"""A remark of three words or more: `(for office use only)`."""

Rule = Callable[[_Header], "dict[str, float] | None"]


def _special(header: _Header) -> dict[str, float] | None:
    """Numbered lines and levels, whose number is their meaning."""
    found = next((pair for pair in pairwise(header.numbered) if pair[0].text in LEVEL_WORDS and pair[1].is_number), None)
    if found is None:
        return None
    number = int(found[1].text[:3])
    if {"normalisee", "declaree", "ligne"} & header.texts:
        return {FRENCH_LINES[number]: 0.9} if number in FRENCH_LINES else None
    alone = found[1] is header.numbered[-1] and all(word.meanings for word in header.words if not word.is_number)
    return {LEVELS[number]: 0.7} if alone and number in LEVELS else None


def _channel(header: _Header) -> dict[str, float] | None:
    """E-mail, web, telephone."""
    place = header.has("city", "state", "zip", "street", "line", "country")
    if len(header.words) > 1 and header.words[-1].text in {"label", "type", "typ"}:
        return None
    if header.has("email"):
        if "mail" in header.texts and place:
            return None
        if header.texts & {"mail"} and header.has("address"):
            return {"email": 0.5, "address": 0.5}
        return {"email": 1.0}
    if header.has("phone", "mobile", "tollfree", "fax", "pager", "extension", "phonecode"):
        return _telephone(header)
    if header.has("url") and not header.has("address", "street", "zip", "city"):
        return {"url": 1.0}
    return None


def _telephone(header: _Header) -> dict[str, float] | None:
    voice = header.at("phone", "mobile", "tollfree")
    ends = header.words[0].meanings | header.words[-1].meanings
    if ends & {"category", "date", "text", "measure"} and not header.texts & {"value", "private"}:
        return {"other": 0.9}
    if header.has("phonecode"):
        return {"phonecode": 1.0}
    if header.has("extension"):
        return {"extension": 0.9}
    if header.has("staff", "assistant"):
        return {"otherphone": 0.9}
    if header.has("pager"):
        return {"pager": 1.0}
    if header.has("fax") and not (0 <= voice < header.at("fax") and header.either):
        return {"fax": 1.0}
    return {"phone": 1.0}


def _noise(header: _Header) -> dict[str, float] | None:
    """What is known and is no field."""
    if header.has("geo") and not header.has("zip", "full") and not (header.texts & {"long"} and header.has("name")):
        return {"geo": 1.0}
    if header.has("gisid"):
        return {"gisid": 1.0}
    if header.has("category") and header.words[-1].meanings & ID_WORDS and header.has("id"):
        return {"category": 0.9}
    if header.has("foreign"):
        return {"foreign": 1.0}
    if header.texts & {"by"} and not header.only("city", "zip", "name"):
        return {"staff": 0.9}
    for meaning in ("staff", "assistant"):
        if header.has(meaning) and "by" not in header.texts:
            return {meaning: 1.0}
    if header.has("date"):
        return {"date": 1.0}
    if header.has("measure") and not header.has("address", "street", "zip"):
        return {"measure": 0.9}
    if header.has("text") and not (header.texts & NAMING_TEXTS and len(header.words) > 1):
        return {"text": 0.9}
    if header.has("jobtitle"):
        return {"jobtitle": 1.0}
    if header.words and header.words[-1].text in {"label", "type"} and header.has("phone", "email", "address", "url", "mobile"):
        return {"category": 1.0}
    if header.has("category") and header.has("street") and header.texts & TYPE_WORDS:
        return {"streettype": 1.0}
    if header.has("category") and not (header.has("address", "street", "city", "state", "zip") and not _is_type(header)):
        return {"category": 0.9}
    if header.has("nonentity") and not header.has("address", "street", "city", "zip", "trade"):
        return {"record": 0.8} if header.has(*ID_WORDS) else {"other": 0.8}
    return None


def _is_type(header: _Header) -> bool:
    """Whether a word for a type is the head: last as in English, or first."""
    at = [index for index, word in enumerate(header.words) if word.text in HEAD_TYPES]
    return bool(at) and (at[-1] >= len(header.words) - 1 or at[0] == 0)


def _place(header: _Header) -> dict[str, float] | None:
    """Zip, city, state, country and their combinations."""
    if header.has("id", "number", "code", "refer") and header.has("account", "party", "registration", "license") and not header.has("zip"):
        return None
    if header.texts & {"postal", "postale", "post"} and header.has("address", "street") and not header.has("code"):
        return {"address": 1.0}
    if header.has("zip4"):
        return {"zip4": 1.0}
    if header.has("zip"):
        if header.has("city") or (header.has("state") and not header.only("zip", "state", "code", "number")):
            return {"citystatezip" if header.has("state") else "zipcity": 1.0}
        return {"zip": 1.0}
    if header.has("city") and header.has("state") and not header.has(*ID_WORDS):
        return {"city": 0.4, "citystatezip": 0.9}
    if header.has("country"):
        return {"country": 0.9} if not header.only("country") or "land" not in header.texts else {"country": 0.6}
    coded = header.has("id", "number", "code", "refer")
    if header.has("state") and not header.has(*ADDRESS_WORDS - {"address", "street"}, "registration", "license"):
        if header.has("street") and "st" in header.texts:
            return {"street": 0.55, "state": 0.6} if not header.has("name") else {"street": 0.8}
        if coded and not header.texts & STATE_CODES:
            return {"placecode": 0.9}
        return {"state": 1.0} if not header.has("entity", "branch") or not header.has("name") else None
    if header.has("city", "county", "area"):
        if coded:
            return {"placecode": 0.9}
        if header.has("entity") and header.has("area") and not header.has("city", "county"):
            return None if header.has("name") else {"company": 0.6, "area": 0.4}
        return {next(kind for kind in ("city", "county", "area") if header.has(kind)): 1.0}
    return None


def _is_english(header: _Header) -> bool:
    """Whether the word for an address is English, so that the head of the header stands last."""
    return bool(header.texts & {"address", "addr", "add"})


def _address(header: _Header) -> dict[str, float] | None:
    """Streets, lines and parts of an address."""
    if header.has("building") and header.has("number"):
        return {"housenumber": 0.9}
    if header.has("extra") and header.has("number", "id"):
        return {"unitno": 0.9}
    if header.has("housenumber") and header.has("street"):
        return {"street": 1.0}
    if header.has("address") and header.has("number") and not header.has("line", "id"):
        return {"housenumber": 0.8}
    for part in ADDRESS_PARTS:
        if header.has(part):
            return {part: 1.0}
    named = header.has("name") and header.has("entity", "org")
    if header.has("full") and header.has("address", "street", "physical"):
        return {"full": 1.0}
    if header.has("address", "street") and header.has("id", "code", "refer"):
        return {"foreign": 0.8}
    if header.has("address") and header.has("org") and header.at("org") > header.at("address") and _is_english(header):
        return None
    if header.has("extra") and not named:
        return {"extra": 0.9}
    if header.has("building") and not named:
        return {"building": 0.8}
    if header.has("street") and not header.texts & {"st"}:
        return {"street": 1.0}
    if header.has("address"):
        return {"address": 1.0}
    if "st" in header.texts:
        return {"street": 0.5, "state": 0.5}
    if header.has("line") and not header.has("name", *ID_WORDS):
        return {"address": 0.4}
    if header.has("full") and header.has("name"):
        return {"person": 0.9}
    if header.only("physical"):
        return {"address": 0.5, "name": 0.3}
    return None


def _person(header: _Header) -> dict[str, float] | None:
    """People, and parts of their names."""
    if header.has(*ID_WORDS) and not header.has("name", "fullname", "first", "last"):
        return None
    for part in ("nickname", "first", "last", "middle", "salutation", "namesuffix"):
        if header.has(part):
            return {part: 1.0}
    if header.has("fullname"):
        return {"person": 1.0}
    if header.has("title") and header.has(*PERSON_ROLES, "org"):
        return {"jobtitle": 0.8}
    if not header.has(*PERSON_ROLES, "requester"):
        return None
    if header.has("owner") and header.texts & RECORDS and not header.has("name"):
        return {"crmowner": 1.0}
    if header.has("trade", "legal") or (header.has("org", "entity") and header.has("name")):
        return {"legal": 0.6, "person": 0.4}
    if header.has("requester") and header.has("org", "party"):
        return {"parent": 0.6}
    if header.has("person"):
        return {"person": 1.0 if header.has("name") else 0.8}
    if header.has("owner"):
        return {"person": 0.9 if header.has("name") else 0.7, "legal": 0.3}
    return {"person": 0.7, "legal": 0.35} if header.has("chief") else {"person": 0.55, "legal": 0.5}


def _name(header: _Header) -> dict[str, float] | None:
    """Names of companies, places and things."""
    coded = header.at(*ID_WORDS)
    if coded >= 0 and (coded > header.at("name", "label") or not header.has("name")):
        return _identifier(header)
    if header.has("other") and header.has("name", "label") and not header.has("trade"):
        return {"alias": 0.9}
    for kind in ("alias", "trade", "legal", "parent"):
        if header.has(kind) and (kind in {"trade", "legal"} or header.has("name", "org", "entity", "party", "account")):
            return {kind: 0.9}
    if "display" in header.texts:
        return {"displayname": 0.9}
    named = header.has("name")
    if header.has("org"):
        return {"company": 1.0 if named else 0.9 if header.only("org") else 0.6}
    if header.has("entity"):
        return {"company": 0.9 if named else 0.6 if header.only("entity") else 0.4}
    if header.has("department"):
        return {"department": 0.8}
    if header.has("branch"):
        return {"branch": 0.8}
    if header.has("party"):
        return {"company": 0.8 if named else 0.6, "person": 0.2}
    if header.has("account"):
        return {"company": 0.85} if named else {"id": 0.7, "company": 0.3}
    if named:
        return {"name": 1.0 if header.only("name") else 0.8}
    if header.has("title"):
        return {"title": 1.0}
    return None


def _identifier(header: _Header) -> dict[str, float] | None:
    for kind in ("registration", "license"):
        if header.has(kind):
            return {kind: 1.0}
    if header.has("owner", "parent", "person", "requester") or (header.has("chief") and not header.has("org")):
        return {"foreign": 0.7} if not header.has("person") else {"id": 0.7}
    if header.has("id"):
        return {"id": 1.0}
    if header.has("number"):
        return {"id": 0.9} if len(header.words) > 1 else {"id": 0.8, "housenumber": 0.3, "phone": 0.3}
    return {"id": 0.8 if header.only("code", "refer", "entity", "org", "party", "account", "name") else 0.5}


_RULES: tuple[Rule, ...] = (_special, _channel, _noise, _place, _address, _person, _name)


@lru_cache(maxsize=4096)
def read_header(text: str) -> Heading:
    """Read one header. A header without a known word has no kinds, and its words are its scope."""
    header = _Header(_LONG_REMARK.sub(" ", text))
    kinds = next((found for rule in _RULES if (found := rule(header)) is not None), {})
    best = max(kinds, key=lambda kind: kinds[kind]) if kinds else ""
    own = _OWN.get(best, frozenset({best, "name"}))
    inside = [index for index, word in enumerate(header.words) if word.meanings & own]
    end = inside[-1] if inside else -1
    scope: list[Word] = []
    ordinal = 0
    for index, word in enumerate(header.words):
        if word.is_number and index > end and (end >= 0 or index + 1 == len(header.words)):
            ordinal = ordinal or int(word.text[:4])
        elif index not in inside and word.text != "value":
            scope.append(word)
    classes = frozenset(meaning for word in scope for meaning in word.meanings)
    # A compound says both: `Rechnungsadresse` is an address, of the bill.
    classes |= frozenset(m for index in inside for m in header.words[index].meanings if m in COMPOUND and m not in own)
    if best in {"id", "registration", "license", "person", "legal", "company", "foreign", "first", "last"}:
        classes |= header.meanings
    return Heading(text, tuple(header.words), kinds, tuple(scope), classes, ordinal)


def same_header(one: str, other: str) -> bool:
    """Whether two headers are equal but for case, accents and punctuation."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return "".join(char for char in fold(text) if char.isalnum())
