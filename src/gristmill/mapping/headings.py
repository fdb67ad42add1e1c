"""What a column header says: the kind of its values, whose they are, and which of several it is.

`Billing Street2` is a street, of the billing address, the second line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from gristmill.mapping.header_rules import Header, Kinds, kinds_of
from gristmill.mapping.words import Word, fold

COMPOUND = frozenset({"physical", "work", "billing", "shipping", "mailing", "home"})
"""What a compound word for an address may say beside it."""
WHOLE = frozenset({"id", "registration", "license", "person", "legal", "company", "foreign", "first", "last"})
"""Kinds for which all words of the header say whose they are."""
ORDINAL_DIGITS_MAX = 4
OWN: Mapping[str, frozenset[str]] = {
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


LINES: Mapping[str, int] = {"firstline": 1, "secondline": 2, "thirdline": 3}
"""Lines of an address that are numbered in words."""


@dataclass(frozen=True, slots=True)
class Heading:
    """One header, read."""

    text: str
    words: tuple[Word, ...] = ()
    kinds: Kinds = field(default_factory=dict[str, float])
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
        return strongest(self.kinds)


def strongest(kinds: Kinds) -> str:
    """The surest of some kinds; empty for none."""
    return max(kinds, key=lambda kind: kinds[kind], default="")


@lru_cache(maxsize=4096)
def read_header(text: str) -> Heading:
    """Read one header. A header without a known word has no kinds, and its words are its scope."""
    header = Header(text)
    kinds = kinds_of(header)
    best = strongest(kinds)
    own = OWN.get(best, frozenset({best, "name"}))
    inside = [index for index, word in enumerate(header.words) if word.meanings & own]
    end = inside[-1] if inside else -1
    scope: list[Word] = []
    ordinal = 0
    for index, word in enumerate(header.words):
        if word.is_number and index > end and (end >= 0 or index + 1 == len(header.words)):
            ordinal = ordinal or int(word.text[:ORDINAL_DIGITS_MAX])
        elif word.text in LINES:
            ordinal = ordinal or LINES[word.text]
        elif index not in inside and word.text != "value":
            scope.append(word)
    classes = frozenset(meaning for word in scope for meaning in word.meanings)
    # A compound says both: `Rechnungsadresse` is an address, of the bill.
    classes |= frozenset(m for index in inside for m in header.words[index].meanings if m in COMPOUND and m not in own)
    if best in WHOLE:
        classes |= header.meanings
    return Heading(text, tuple(header.words), kinds, tuple(scope), classes, ordinal)


def same_header(one: str, other: str) -> bool:
    """Whether two headers are equal but for case, accents and punctuation."""
    return plain(one) == plain(other)


def plain(text: str) -> str:
    """Letters and digits only, as names are compared."""
    return "".join(char for char in fold(text) if char.isalnum())
