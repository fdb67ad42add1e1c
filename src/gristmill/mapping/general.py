"""Mapping to any fields: names and descriptions are read like headers, types and formats like shapes of values.

A field whose name says what leads have (a company, a person, a city, a phone) is chosen as for leads. For the others
the words of field and header decide; a kind as wide as a date or a link is only a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gristmill.mapping import addresses, identifiers, people, phones, streets
from gristmill.mapping.assign import best
from gristmill.mapping.candidates import Candidate
from gristmill.mapping.evidence import Decision, look
from gristmill.mapping.headings import Heading, plain, read_header, same_header
from gristmill.mapping.judges import HALF
from gristmill.mapping.model import Field
from gristmill.mapping.sheet import OTHER_KIND, Facts, Sheet

SAME_NAME = 4.0
"""Points of a column that is called as the field."""
WORDS = 3.4
"""Points of a column whose header has all the words of the field's name and no other."""
ALIKE = 0.5
"""Share of words from which on two names are about the same."""
SPELLING = 1.0
"""Points more when the name is the very same, not only one of the same meaning."""
SCOPE = 1.2
"""Points lost by a column of another person or address than the field names."""
WRONG_TYPE = -3.0
"""Points of a column whose values are of another type than the field."""
DESCRIPTION_CHARS_MAX = 60
"""A longer description is no name of a kind."""
FORMATS = {
    "email": "email", "idn-email": "email", "uri": "url", "url": "url", "iri": "url", "date": "date",
    "date-time": "date", "uuid": "id",
}  # fmt: skip
"""Format of JSON Schema -> kind."""
TYPES = {"integer": "integer", "number": "number", "boolean": "boolean"}
"""Type of JSON Schema -> shape of its values."""
NARROW = frozenset(
    {"email", "first", "last", "middle", "country", "jobtitle", "fax", "zip4", "housenumber", "area", "county"}
)
"""Kinds beside those of leads that say enough; any other needs words in common."""
LINKS = frozenset(
    {
        "facebook", "twitter", "instagram", "linkedin", "youtube", "pinterest", "tiktok", "skype", "wikipedia", "yelp",
        "logo", "image", "images", "imageurl", "photo", "photos", "picture", "icon", "banner", "blog", "video", "feed",
        "maps", "foursquare",
    }
)  # fmt: skip
"""Words for a link that is another one than the company's website."""
CONTAINED, CONTAINED_CHARS_MIN = 0.6, 5
"""Words in common, as a share, of a name that contains the other one; shorter ones are contained by chance."""


def decide_any(sheet: Sheet, fields: Sequence[Field]) -> Decision:
    """The best mapping of columns to any fields."""
    sheet = look(sheet)
    lead = _lead_candidates(sheet)
    found = {item.name: _candidates(item, sheet, lead) for item in fields}
    points, choice = best(found, lambda _name, _candidate: 0.0)
    return Decision(sheet, choice, found, points)


def _lead_candidates(sheet: Sheet) -> dict[str, list[Candidate]]:
    """Kind -> candidates as for leads; a combined column is no single value."""
    places = addresses.candidates(sheet)
    street = streets.candidates(sheet)
    return {
        **{name: [candidate for candidate in places[name] if not candidate.shared] for name in places},
        "street": street,
        "address": street,
        "full": street,
        "phone": phones.candidates(sheet),
        "company": people.companies(sheet),
        "person": [replace(person, free=len(person.columns) > 1) for person in people.people(sheet)],
        "id": identifiers.candidates(sheet),
    }


def _candidates(item: Field, sheet: Sheet, lead: dict[str, list[Candidate]]) -> list[Candidate]:
    wanted = _wanted(item)
    kind = FORMATS.get(item.format) or wanted.kind
    found: dict[tuple[int, ...], Candidate] = {}
    whole = kind in lead and not (wanted.scope and kind not in {"company", "person"}) and not wanted.ordinal
    usual = [_typed(item, candidate, sheet) for candidate in lead[kind]] if whole else []
    others = [facts for facts in sheet.columns if not usual or same_header(item.name, facts.heading.text)]
    for candidate in (*usual, *(_by_words(item, wanted, kind, facts) for facts in others)):
        old = found.get(candidate.columns)
        if candidate.score > max(0.0, old.score if old else 0.0):
            found[candidate.columns] = candidate
    return list(found.values())


def _wanted(item: Field) -> Heading:
    """What the name says, or a short description when the name says nothing."""
    named = read_header(item.name)
    if named.kind or not 0 < len(item.description) <= DESCRIPTION_CHARS_MAX:
        return named
    described = read_header(item.description)
    return described if described.kind else named


def _typed(item: Field, candidate: Candidate, sheet: Sheet) -> Candidate:
    points = sum(_type_points(item, sheet.columns[index]) for index in candidate.columns)
    return replace(candidate, score=candidate.score + points)


def _type_points(item: Field, facts: Facts) -> float:
    shape = TYPES.get(item.type)
    return WRONG_TYPE if shape and facts.profile.filled and facts.profile[shape] < HALF else 0.0


def _by_words(item: Field, wanted: Heading, kind: str, facts: Facts) -> Candidate:
    """One column, judged by name, kind and type."""
    if facts.heading.text and same_header(item.name, facts.heading.text):
        points, reasons = SAME_NAME, ["the column is called as the field"]
    else:
        shared = _alike(item.name, facts.heading.text, _concepts(wanted, kind), _concepts(facts.heading, facts.kind))
        points, reasons = WORDS * shared, [f"name and header share {shared:.0%} of their words"] if shared else []
        if kind:
            values = facts.values_score(kind)
            points += values if values < 0 or shared >= ALIKE else 0.0
            alike = facts.score(kind) - SCOPE * (not _same_scope(wanted, facts.heading))
            if kind in NARROW:
                other = OTHER_KIND if facts.said and kind not in facts.said else 0.0
                points, reasons = max((points + other, reasons), (alike, [*reasons, f"it holds {kind}"]))
    points += SPELLING * (plain(item.name) == plain(facts.heading.text))
    wrong = _type_points(item, facts)
    if wrong:
        reasons.append(f"its values are no {item.type}")
    return Candidate((facts.index,), points + wrong, tuple(reasons), facts.scope)


def _same_scope(one: Heading, other: Heading) -> bool:
    return {word.text for word in one.scope} == {word.text for word in other.scope} and one.ordinal == other.ordinal


def _concepts(heading: Heading, kind: str) -> set[str]:
    """What a name consists of: meanings where they are narrow, else the words themselves."""
    broad = kind not in NARROW and kind not in {
        "company",
        "person",
        "city",
        "state",
        "zip",
        "phone",
        "street",
        "address",
    }
    special = any(word.text in LINKS for word in heading.words)
    found: set[str] = set()
    for word in heading.words:
        if "url" in word.meanings and word.text not in LINKS:
            found |= set() if special else {"url"}
        elif broad or not word.meanings:
            found.add(word.text)
        else:
            found.add(min(word.meanings))
    return found


def _alike(one: str, other: str, ours: set[str], theirs: set[str]) -> float:
    """Share of the concepts that two names have in common, or enough of it when one contains the other."""
    short, long = sorted((plain(one), plain(other)), key=len)
    contained = len(short) >= CONTAINED_CHARS_MIN and short in long
    return max(_share(ours, theirs), CONTAINED if contained else 0.0)


def _share(one: set[str], other: set[str]) -> float:
    union = one | other
    return len(one & other) / len(union) if union else 0.0
