"""Street, city, state and zip: columns that belong to one address.

Where a table has several addresses, the physical one wins over the mailing, billing, shipping and home address.
"""

from __future__ import annotations

from collections.abc import Mapping

from gristmill.mapping.candidates import Candidate, reason
from gristmill.mapping.judges import MOST
from gristmill.mapping.sheet import LIKELY, Facts, Scope, Sheet, number_of

PREFERENCE: Mapping[str, float] = {
    "physical": 0.5, "entity": 0.35, "": 0.35, "main": 0.3, "work": 0.3, "unknown": 0.0, "legal": -0.3,
    "billing": -0.35, "person": -0.4, "shipping": -0.5, "mailing": -0.55, "home": -0.7, "owner": -0.9, "chief": -0.9,
    "parent": -1.2, "other": -1.2, "requester": -1.5, "assistant": -2.0, "staff": -2.0,
}  # fmt: skip
"""Category of a scope -> points of its address."""
NUMBERED = -0.25
"""Points for each step of a numbered address after the first: `Address 2 City`."""
NUMBER_MAX = 5
PLAIN = frozenset({"", "entity", "physical", "main", "work", "unknown"})
"""Scopes that may well be one and the same: `Store Street`, `City`, `Zip`."""
CODED_SCOPES = frozenset({"billing", "shipping", "mailing", "home", "work", "other"})
"""Scopes of an address in which a bare code is the zip: `Billing Code`."""
TOWNS = frozenset(
    {
        "city", "cityname", "cities", "town", "towncity", "posttown", "ort", "stadt", "ville", "ciudad", "poblacion",
        "citta", "cidade", "plaats", "plaatsnaam", "woonplaats", "by", "poststed", "postort", "miasto", "miejscowosc",
        "mesto", "varos",
    }
)  # fmt: skip
LOCALITIES = frozenset(["locality", "village", "localite", "localidad", "localidade", "community", "settlement"])
COMBINATIONS: Mapping[str, str] = {"city_state": "citystatezip", "zip_city": "zipcity"}
"""What a column called city holds when its values have this shape."""
AFFIXES: Mapping[str, str] = {"namesuffix": "streettype", "salutation": "direction"}
"""What `Suffix` and `Prefix` are beside a street, where no person's name is."""
AFFIX_BESIDE = 2
DEPARTAMENTOS = frozenset({"departamento", "depto", "dpto"})
BESIDE = 3
"""Columns within which a number belongs to a street."""
COMBINED = -0.5
"""Points of a combined column for a field that could have its own."""
KINDS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "city": (("city", 0.0), ("zipcity", COMBINED), ("citystatezip", COMBINED)),
    "state": (("state", 0.0), ("citystatezip", COMBINED), ("county", -2.5)),
    "zip": (("zip", 0.0), ("zipcity", COMBINED), ("citystatezip", COMBINED)),
}
"""Field -> the kinds that feed it, with the points that each adds."""
SHARED = frozenset({"zipcity", "citystatezip"})
REPEATED = -1.5
"""Points of a column whose header stood before over a column with values."""


def scope_points(scope: Scope) -> float:
    """Points of an address by whose it is."""
    return PREFERENCE.get(scope.category, 0.0) + NUMBERED * (min(number_of(scope), NUMBER_MAX) - 1)


def distance(one: Scope, other: Scope) -> float:
    """How little two scopes may be one address: 0 for the same, up to 1."""
    if one == other:
        return 0.0
    if one.category == other.category:
        return 0.15 if not one.words or not other.words else 0.6
    if one.category in PLAIN and other.category in PLAIN:
        return 0.05 if {one.category, other.category} <= {"", "entity"} else 0.2
    return 1.0 if one.category in PLAIN or other.category in PLAIN else 0.8


def candidates(sheet: Sheet) -> dict[str, list[Candidate]]:
    """Candidates for city, state and zip."""
    found: dict[str, list[Candidate]] = {}
    for name, kinds in KINDS.items():
        found[name] = []
        for facts in sheet.columns:
            usable = (*kinds, ("area", -1.0)) if name == "city" and _is_suburb(facts) else kinds
            kind, extra = max(usable, key=lambda item: facts.score(item[0]) + item[1])
            points = facts.score(kind) + extra + scope_points(facts.scope) + repeated(sheet, facts)
            points += around(sheet, facts, name) if facts.nameless else rank(facts) if name == "city" else 0.0
            if points > 0:
                found[name].append(
                    Candidate((facts.index,), points, reason(facts, kind), facts.scope, shared=kind in SHARED)
                )
    return found


def _is_suburb(facts: Facts) -> bool:
    """Australian addresses have a suburb where others have a city."""
    return any(word.text == "suburb" for word in facts.heading.words)


def rank(facts: Facts) -> float:
    """A town before a municipality, a municipality before a locality, where a table has both."""
    words = {word.text for word in facts.heading.words}
    return 0.15 * bool(words & TOWNS) - 0.15 * bool(words & LOCALITIES)


def repeated(sheet: Sheet, facts: Facts) -> float:
    """Points lost by a column whose header stood before."""
    text = facts.heading.text.strip()
    return REPEATED if text and sheet.firsts.get(text, facts.index) < facts.index else 0.0


def around(sheet: Sheet, facts: Facts, name: str) -> float:
    """Points by neighbours, for a column without a telling header: addresses are written in one order everywhere."""
    before, after = sheet.near(facts.index, -1), sheet.near(facts.index, 1)
    if name == "city":
        beside = _is(before, "street") + 0.7 * (_is(after, "state") + _is(after, "zip")) + 0.9 * _is(before, "zip")
        return 0.9 * beside - 0.7
    if name == "state":
        return 0.5 * (_is(before, "city") + _is(after, "zip") - _is(before, "zip"))
    beside = _is(before, "state") + 0.7 * (_is(before, "city") + _is(after, "city") + _is(before, "street"))
    return 0.7 * beside


def _is(facts: Facts | None, kind: str) -> bool:
    return facts is not None and facts.score(kind) > LIKELY


def in_context(sheet: Sheet) -> Sheet:
    """What words mean inside an address: `Billing Code` by `Billing City` is a zip, `Number` by `Street` a house."""
    numbered, named, stated = bool(sheet.of("housenumber")), bool(sheet.of("first", "last")), bool(sheet.of("state"))
    changes: dict[int, Mapping[str, float]] = {}
    for facts in sheet.columns:
        if _is_zip_code(sheet, facts):
            changes[facts.index] = {"zip": 0.9}
        elif facts.kind == "city" and max(facts.profile[shape] for shape in COMBINATIONS) > MOST:
            shape = max(COMBINATIONS, key=lambda shape: facts.profile[shape])
            changes[facts.index] = {COMBINATIONS[shape]: 0.9, "city": 0.3}
        elif not numbered and _is_house_number(sheet, facts):
            changes[facts.index] = {"housenumber": 0.9}
        elif facts.kind in AFFIXES and not named and _is_beside_street(sheet, facts):
            changes[facts.index] = {AFFIXES[facts.kind]: 0.8}
        elif not stated and facts.kind == "department" and _is_beside_city(sheet, facts):
            changes[facts.index] = {"state": 0.8}
    return sheet.refine(changes)


def _is_zip_code(sheet: Sheet, facts: Facts) -> bool:
    """Whether a code is the zip of its address, or of the city beside it; `ZIP+4` alone is the whole zip."""
    zips = sheet.of("zip")
    if facts.kind == "zip4":
        return not zips and facts.profile["zip5"] > MOST
    if facts.kind != "id" or facts.values_score("zip") < 0:
        return False
    if facts.scope.category in CODED_SCOPES and facts.heading.words[-1].text in {"code", "pin"}:
        address = any(other.scope == facts.scope for other in sheet.of("city", "state", "street", "address"))
        return address and not any(other.scope == facts.scope for other in zips)
    bare = all("code" in word.meanings for word in facts.heading.words) and facts.index > 0
    return bare and not zips and any(abs(city.index - facts.index) == 1 for city in sheet.of("city"))


def _is_beside_street(sheet: Sheet, facts: Facts) -> bool:
    return any(abs(street.index - facts.index) <= AFFIX_BESIDE for street in sheet.of("street"))


def _is_beside_city(sheet: Sheet, facts: Facts) -> bool:
    """`departamento` is a part of a country in half of America, and of a company elsewhere."""
    spanish = any(word.text in DEPARTAMENTOS for word in facts.heading.words)
    return spanish and any(abs(city.index - facts.index) <= BESIDE for city in sheet.of("city"))


def _is_house_number(sheet: Sheet, facts: Facts) -> bool:
    """Whether a bare number, or a building that is numbered, belongs to the street beside it."""
    if "housenumber" in facts.said and facts.values_score("housenumber") >= 0:
        return any(abs(street.index - facts.index) <= BESIDE for street in sheet.of("street", "address"))
    numbered = facts.kind == "building" and facts.profile["house_number"] > MOST
    return numbered and any(street.index == facts.index + 1 for street in sheet.of("street", "address"))
