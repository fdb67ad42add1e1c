"""The rules by which a header's words become the kind of its column.

Families stand in order, from the most telling words to the least; in each family the first rule that holds decides. A
rule without kinds leaves the header to the next family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gristmill.mapping.words import Word, lexicon

STOP, PERSON, MAIN = frozenset({"stop"}), frozenset({"person"}), frozenset({"main"})
OF_PEOPLE = frozenset(
    {
        "name",
        "first",
        "last",
        "salutation",
        "title",
        "phone",
        "mobile",
        "fax",
        "email",
        "jobtitle",
        "department",
        "date",
    }
)
"""What a contact person has; what `cp` beside anything else means is the code postal."""
PLACED = frozenset({"address", "street", "city", "state", "zip"})
PERSON_ROLES = ("person", "owner", "chief", "holder")
ID_WORDS = ("id", "number", "code", "refer", "registration", "license")
CODED = ("id", "number", "code", "refer")
NAMED = ("name", "org", "entity", "party", "account")
ADDRESS_PARTS = ("housenumber", "housesuffix", "direction", "streettype", "unitno", "pobox")
PERSON_PARTS = ("nickname", "first", "last", "middle", "salutation", "namesuffix")
STATE_CODES = {"state", "states", "st", "province", "provinces", "prov", "uf", "estado", "canton"}
"""Words whose code is what people write in an address; the code of a region or a municipality is a number."""
RECORDS = {"company", "contact", "account", "lead", "record", "customer", "deal", "organization", "client"}
"""What a CRM lets a user own: `Company Owner` is a salesperson, `Business Owner` is not."""
FRENCH_LINES = {1: "company", 2: "extra", 3: "extra", 4: "street", 5: "extra", 6: "zipcity", 7: "country"}
"""Lines of a postal address by the French norm NF Z10-011, as in the register of companies (`L4_NORMALISEE`)."""
LEVELS = {1: "state", 2: "county", 3: "city", 4: "area"}
"""Administrative levels, as in `L1`, `admin2`."""
LEVEL_WORDS = {"l", "adm", "admin", "level", "adminlevel"}
NAMING_TEXTS = {"ds", "descrizione", "descripcion", "descricao"}
"""Words for a description that in front of another word mean its name: `DESCRIZIONE COMUNE`."""
TYPE_WORDS = {"type", "types", "typ", "typs", "tipo", "clase"}
TAILS = {"label", "type", "typ"}
HEAD_TYPES = TYPE_WORDS | {
    "status", "kind", "category", "class", "flag", "verified", "valid", "format", "language", "quality", "use",
}  # fmt: skip
"""Words that make a header a category where they are its head: `Address Type`, but `Source Zipcode` is a zip."""

ALIASES = frozenset({"alias", "aliases", "sigle", "kurzname", "通称", "略称", "简称", "簡稱", "俗名"})
"""Words for another name that need no word for a name."""
_EITHER = re.compile(r"[/&+,]| (?:or|and|und|et|y|e) ")
_LONG_REMARK = re.compile(r"\((?:\S+ ){2,}[^()]*\)")
"""A remark of three words or more: `(for office use only)`."""

Kinds = Mapping[str, float]


class Header:
    """A header's words, with the questions that rules ask."""

    def __init__(self, text: str) -> None:
        self.everything = lexicon().words(_LONG_REMARK.sub(" ", text))
        """All words, also those that only join others: `L4` begins with one."""
        self.either = bool(_EITHER.search(text))
        """Whether it names two things: `Phone/Fax`."""
        words = [word for word in self.everything if word.meanings != STOP]
        if words and words[0].text == "cp" and any(word.meanings & OF_PEOPLE for word in words[1:]):
            # `cp_name`: cp is the contact person here, not the code postal.
            words[0] = Word("cp", PERSON)
        if any(word.meanings & PLACED for word in words):
            # `principalcity`: of the main office, not of a school's head.
            words = [Word(word.text, MAIN) if word.meanings >= MAIN else word for word in words]
        self.words = words
        self.meanings = frozenset(meaning for word in words for meaning in word.meanings)
        self.texts = frozenset(word.text for word in words)
        self.last = words[-1].text if words else ""

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

    def ends(self, *meanings: str) -> bool:
        """Whether the first or the last word means one of these."""
        return bool(self.words) and any(m in self.words[0].meanings | self.words[-1].meanings for m in meanings)

    def is_type(self) -> bool:
        """Whether a word for a type is the head: last as in English, or first."""
        at = [index for index, word in enumerate(self.words) if word.text in HEAD_TYPES]
        return bool(at) and (at[-1] >= len(self.words) - 1 or at[0] == 0)

    def is_code(self) -> bool:
        """Whether a word for an id is the head, and not a word for a name."""
        coded = self.at(*ID_WORDS)
        return coded >= 0 and (coded > self.at("name", "label") or not self.has("name"))


@dataclass(frozen=True, slots=True)
class Rule:
    """When it holds, the header says these kinds."""

    when: Callable[[Header], object]
    kinds: Kinds = field(default_factory=dict[str, float])
    """Kind -> how surely, 0..1."""


def kinds_of(header: Header) -> Kinds:
    """What a header says; empty when no rule holds."""
    found = _numbered(header)
    if found:
        return found
    for family in FAMILIES:
        rule = next((rule for rule in family if rule.when(header)), None)
        if rule is not None and rule.kinds:
            return rule.kinds
    return {}


def _numbered(header: Header) -> Kinds:
    """Numbered lines and levels, whose number is their meaning."""
    pairs = pairwise(header.everything)
    found = next((pair for pair in pairs if pair[0].text in LEVEL_WORDS and pair[1].is_number), None)
    if found is None:
        return {}
    number = int(found[1].text[:3])
    if {"normalisee", "declaree", "ligne"} & header.texts:
        return {FRENCH_LINES[number]: 0.9} if number in FRENCH_LINES else {}
    alone = found[1] is header.everything[-1] and all(word.meanings for word in header.words if not word.is_number)
    return {LEVELS[number]: 0.7} if alone and number in LEVELS else {}


CHANNELS = (
    Rule(lambda h: h.last in TAILS and len(h.words) > 1),
    Rule(lambda h: "mail" in h.texts and h.has("city", "state", "zip", "street", "line", "country")),
    Rule(
        lambda h: "mail" in h.texts and h.has("address") and (h.everything[0].text == "e" or h.last == "mail"),
        {"email": 1.0},
    ),
    Rule(lambda h: "mail" in h.texts and h.has("address"), {"address": 0.5, "email": 0.5}),
    Rule(lambda h: h.has("email"), {"email": 1.0}),
)
VOICE = ("phone", "mobile", "tollfree")
TELEPHONES = (
    Rule(lambda h: h.last in TAILS or not h.has(*VOICE, "fax", "pager", "extension", "phonecode")),
    Rule(
        lambda h: h.ends("category", "date", "text", "measure") and not h.texts & {"value", "private"}, {"other": 0.9}
    ),
    Rule(lambda h: h.has("phonecode") and not h.words[-1].meanings & set(VOICE), {"phonecode": 1.0}),
    Rule(lambda h: "durchwahl" in h.texts and h.has("phone"), {"phone": 0.9}),
    Rule(lambda h: h.has("extension"), {"extension": 0.9}),
    Rule(lambda h: h.has("staff", "assistant"), {"otherphone": 0.9}),
    Rule(lambda h: h.has("pager"), {"pager": 1.0}),
    Rule(lambda h: h.has("fax") and not (0 <= h.at(*VOICE) < h.at("fax") and h.either), {"fax": 1.0}),
    Rule(lambda _h: True, {"phone": 1.0}),
)
LINKS = (Rule(lambda h: h.has("url") and h.last not in TAILS and not h.has("address", *PLACED), {"url": 1.0}),)
NOISE = (
    Rule(
        lambda h: h.has("geo") and not h.has("zip", "full") and not ("long" in h.texts and h.has("name")), {"geo": 1.0}
    ),
    Rule(lambda h: h.has("gisid"), {"gisid": 1.0}),
    Rule(lambda h: h.has("category") and h.has("id") and h.words[-1].meanings & set(ID_WORDS), {"category": 0.9}),
    Rule(lambda h: h.has("foreign"), {"foreign": 1.0}),
    Rule(lambda h: "by" in h.texts and not h.only("city", "zip", "name"), {"staff": 0.9}),
    Rule(lambda h: h.has("staff") and "by" not in h.texts, {"staff": 1.0}),
    Rule(lambda h: h.has("assistant") and "by" not in h.texts, {"assistant": 1.0}),
    Rule(lambda h: h.has("date"), {"date": 1.0}),
    Rule(lambda h: h.has("measure") and not h.has("address", "street", "zip"), {"measure": 0.9}),
    Rule(lambda h: h.has("text") and not (h.texts & NAMING_TEXTS and len(h.words) > 1), {"text": 0.9}),
    Rule(lambda h: h.has("jobtitle"), {"jobtitle": 1.0}),
    Rule(lambda h: h.last in TAILS and h.has("phone", "email", "address", "url", "mobile"), {"category": 1.0}),
    Rule(lambda h: h.has("category") and h.has("street") and h.texts & TYPE_WORDS, {"streettype": 1.0}),
    Rule(lambda h: h.has("category") and not (h.has(*PLACED) and not h.is_type()), {"category": 0.9}),
    # The state of a job is how it stands or where it is: values tell.
    Rule(lambda h: h.has("nonentity") and "state" in h.words[-1].meanings, {"other": 0.6, "state": 0.55}),
    Rule(
        lambda h: h.has("nonentity") and not h.has("address", "street", "city", "zip", "trade") and h.has(*ID_WORDS),
        {"record": 0.8},
    ),
    Rule(lambda h: h.has("nonentity") and not h.has("address", "street", "city", "zip", "trade"), {"other": 0.8}),
)
PLACES = (
    Rule(lambda h: h.has(*CODED) and h.has("account", "party", "registration", "license") and not h.has("zip")),
    Rule(
        lambda h: h.texts & {"postal", "postale", "post"} and h.has("address", "street") and not h.has("code"),
        {"address": 1.0},
    ),
    Rule(lambda h: h.has("zip4"), {"zip4": 1.0}),
    Rule(lambda h: h.has("zip") and h.has("city") and h.has("state"), {"citystatezip": 1.0}),
    Rule(lambda h: h.has("zip") and h.has("city"), {"zipcity": 1.0}),
    Rule(
        lambda h: h.has("zip") and h.has("state") and not h.only("zip", "state", "code", "number"),
        {"citystatezip": 1.0},
    ),
    Rule(lambda h: h.has("zip"), {"zip": 1.0}),
    Rule(lambda h: h.has("city") and h.has("state") and not h.has(*ID_WORDS), {"city": 0.4, "citystatezip": 0.9}),
    Rule(lambda h: h.only("country") and "land" in h.texts, {"country": 0.6}),
    Rule(lambda h: h.has("country"), {"country": 0.9}),
    Rule(lambda h: h.has("state") and h.has("line", "extra", "registration", "license")),
    Rule(lambda h: h.has("state") and "st" in h.texts and h.has("name"), {"street": 0.8}),
    Rule(lambda h: h.has("state") and "st" in h.texts, {"street": 0.55, "state": 0.6}),
    Rule(lambda h: h.has("state") and h.has(*CODED) and not h.texts & STATE_CODES, {"placecode": 0.9}),
    Rule(lambda h: h.has("state") and h.has("entity", "branch") and h.has("name")),
    Rule(lambda h: h.has("state"), {"state": 1.0}),
    Rule(lambda h: h.has("city", "county", "area") and h.has(*CODED), {"placecode": 0.9}),
    Rule(lambda h: h.has("entity") and h.has("area") and not h.has("city", "county") and h.has("name")),
    Rule(lambda h: h.has("entity") and h.has("area") and not h.has("city", "county"), {"company": 0.6, "area": 0.4}),
    Rule(lambda h: h.has("city"), {"city": 1.0}),
    Rule(lambda h: h.has("county"), {"county": 1.0}),
    Rule(lambda h: h.has("area"), {"area": 1.0}),
)
ADDRESSES: Sequence[Rule] = (
    Rule(lambda h: h.has("building") and h.has("number"), {"housenumber": 0.9}),
    Rule(lambda h: h.has("extra") and h.has("number", "id"), {"unitno": 0.9}),
    Rule(lambda h: h.has("housenumber") and h.has("street"), {"street": 1.0}),
    Rule(lambda h: h.has("address") and h.has("number") and not h.has("line", "id"), {"housenumber": 0.8}),
    *(Rule(lambda h, part=part: h.has(part), {part: 1.0}) for part in ADDRESS_PARTS),
    Rule(lambda h: h.has("full") and h.has("address", "street", "physical"), {"full": 1.0}),
    Rule(lambda h: h.has("address", "street") and h.has("id", "code", "refer"), {"foreign": 0.8}),
    # In English the head of a header stands last: `Default Address Company` is a company.
    Rule(lambda h: h.texts & {"address", "addr", "add"} and h.at("org") > h.at("address")),
    Rule(lambda h: h.has("extra", "building") and h.has("name") and h.has("entity", "org")),
    Rule(lambda h: h.has("extra"), {"extra": 0.9}),
    Rule(lambda h: h.has("building"), {"building": 0.8}),
    Rule(lambda h: h.has("street") and "st" not in h.texts, {"street": 1.0}),
    Rule(lambda h: h.has("address"), {"address": 1.0}),
    Rule(lambda h: "st" in h.texts, {"street": 0.5, "state": 0.5}),
    Rule(lambda h: h.has("line") and not h.has("name", *ID_WORDS), {"address": 0.4}),
    Rule(lambda h: h.has("full") and h.has("name"), {"person": 0.9}),
    Rule(lambda h: h.only("physical"), {"address": 0.5, "name": 0.3}),
)
PEOPLE: Sequence[Rule] = (
    Rule(lambda h: h.has(*ID_WORDS) and not h.has("name", "fullname", "first", "last")),
    *(Rule(lambda h, part=part: h.has(part), {part: 1.0}) for part in PERSON_PARTS),
    Rule(lambda h: h.has("fullname"), {"person": 1.0}),
    Rule(lambda h: h.has("title") and h.has(*PERSON_ROLES, "org"), {"jobtitle": 0.8}),
    Rule(lambda h: not h.has(*PERSON_ROLES, "requester")),
    Rule(lambda h: h.has("owner") and h.texts & RECORDS and not h.has("name"), {"crmowner": 1.0}),
    Rule(
        lambda h: h.has("trade", "legal") or (h.has("org", "entity") and h.has("name")), {"legal": 0.6, "person": 0.4}
    ),
    Rule(lambda h: h.has("requester") and h.has("org", "party"), {"parent": 0.6}),
    Rule(lambda h: h.has("person") and h.has("name"), {"person": 1.0}),
    Rule(lambda h: h.has("person"), {"person": 0.8}),
    Rule(lambda h: h.has("owner") and h.has("name"), {"person": 0.9, "legal": 0.3}),
    Rule(lambda h: h.has("owner"), {"person": 0.7, "legal": 0.3}),
    Rule(lambda h: h.has("chief"), {"person": 0.7, "legal": 0.35}),
    Rule(lambda _h: True, {"person": 0.55, "legal": 0.5}),
)
IDENTIFIERS = (
    Rule(lambda h: h.has("number") and h.has("work", "home") and h.only("number", "work", "home"), {"phone": 0.8}),
    Rule(lambda h: not h.is_code()),
    Rule(lambda h: h.has("registration"), {"registration": 1.0}),
    Rule(lambda h: h.has("license"), {"license": 1.0}),
    Rule(lambda h: h.has("person"), {"id": 0.7}),
    Rule(lambda h: h.has("owner", "parent", "requester") or (h.has("chief") and not h.has("org")), {"foreign": 0.7}),
    Rule(lambda h: h.has("id"), {"id": 1.0}),
    Rule(lambda h: h.has("number") and len(h.words) > 1, {"id": 0.9}),
    Rule(lambda h: h.has("number"), {"id": 0.8, "housenumber": 0.3, "phone": 0.3}),
    Rule(lambda h: h.only("code", "refer", *NAMED), {"id": 0.8}),
    Rule(lambda _h: True, {"id": 0.5}),
)
NAMES = (
    Rule(lambda h: h.has("other") and h.has("name", "label") and not h.has("trade"), {"alias": 0.9}),
    Rule(lambda h: h.has("alias") and (h.has(*NAMED) or (h.only("alias") and h.texts & ALIASES)), {"alias": 0.9}),
    Rule(lambda h: h.has("trade"), {"trade": 0.9}),
    Rule(lambda h: h.has("legal"), {"legal": 0.9}),
    Rule(lambda h: h.has("parent") and h.has(*NAMED), {"parent": 0.9}),
    Rule(lambda h: "display" in h.texts, {"displayname": 0.9}),
    Rule(lambda h: h.has("org") and h.has("name"), {"company": 1.0}),
    Rule(lambda h: h.only("org"), {"company": 0.9}),
    Rule(lambda h: h.has("org"), {"company": 0.6}),
    Rule(lambda h: h.has("entity") and h.has("name"), {"company": 0.9}),
    Rule(lambda h: h.only("entity"), {"company": 0.6}),
    Rule(lambda h: h.has("entity"), {"company": 0.4}),
    Rule(lambda h: h.has("department"), {"department": 0.8}),
    Rule(lambda h: h.has("branch"), {"branch": 0.8}),
    Rule(lambda h: h.has("party") and h.has("name"), {"company": 0.8, "person": 0.2}),
    Rule(lambda h: h.has("party"), {"company": 0.6, "person": 0.2}),
    Rule(lambda h: h.has("account") and h.has("name"), {"company": 0.85}),
    Rule(lambda h: h.has("account"), {"id": 0.7, "company": 0.3}),
    Rule(lambda h: h.only("name"), {"name": 1.0}),
    Rule(lambda h: h.has("name"), {"name": 0.8}),
    Rule(lambda h: h.has("title"), {"title": 1.0}),
)
FAMILIES: Sequence[Sequence[Rule]] = (
    CHANNELS, TELEPHONES, LINKS, NOISE, PLACES, ADDRESSES, PEOPLE, IDENTIFIERS, NAMES,
)  # fmt: skip
