"""How sure are we that a record speaks of this very lead? Evidence weights, added up, in competition with its rivals.

Each field that both sides have gives a weight by how well it agrees, as Fellegi and Sunter (1969) have it: the
logarithm of how much more often matches agree so than others do. A lead is at most one of the records that came up for
it, so a record's probability is its share among all of them and "none of these": five branches of one name share the
evidence.

The weights were fitted as a conditional logit on the candidate pairs of public sets of restaurants, hotels and places;
those of phone, postal code and town, which decide little there, were then set by hand. `bench/enrich.py` shows how well
the outcome is calibrated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from rapidfuzz import fuzz

from gristmill.enrich.model import Lead
from gristmill.enrich.normalise import company_key, phones, street_key, zip_key

Level = Literal["equal", "close", "near", "far", "number", "differs"]

PRIOR = -2.3
"""Of a record that came up and of which nothing else is known."""
WEIGHTS: dict[str, dict[Level, float]] = {
    "name": {"equal": 4.1, "close": 2.2, "near": -0.4, "far": -2.1, "differs": -3.7},
    "street": {"equal": 3.1, "near": 1.1, "number": 0.9, "differs": -1.0},
    "zip": {"equal": 1.2, "differs": -0.8},
    "city": {"equal": 0.6, "differs": -0.4},
    "phone": {"equal": 3.0, "differs": -1.0},
}
NAME_CLOSE, NAME_NEAR, NAME_FAR = 90.0, 75.0, 55.0
ONE_WORD_PENALTY = 5.0
"""A name of one word lies inside many others."""
STREET_NEAR = 80.0
_NUMBER = re.compile(r"\d+")


def likeness(lead: Lead, others: Sequence[Mapping[str, str]], region: str) -> list[float]:
    """Probability of each record (company, street, city, zip, phone; any may be missing) to be the lead.

    They sum to at most one; what is missing is the probability that the lead is none of them.
    """
    odds = [math.exp(weight(lead, other, region)) for other in others]
    total = 1.0 + sum(odds)
    return [one / total for one in odds]


def weight(lead: Lead, other: Mapping[str, str], region: str) -> float:
    """Logarithm of the odds that a record is the lead, were it the only one."""
    return PRIOR + sum(WEIGHTS[field][level] for field, level in levels(lead, other, region).items())


def levels(lead: Lead, other: Mapping[str, str], region: str) -> dict[str, Level]:
    """How well each field agrees that both sides have."""
    found: dict[str, Level] = {}
    name_a, name_b = company_key(lead.company), company_key(other.get("company", ""))
    if name_a and name_b:
        found["name"] = _name(name_a, name_b)
    street_a, street_b = street_key(lead.street), street_key(other.get("street", ""))
    if street_a and street_b:
        found["street"] = _street(street_a, street_b)
    zip_a, zip_b = zip_key(lead.zip), zip_key(other.get("zip", ""))
    if zip_a and zip_b:
        found["zip"] = "equal" if zip_a == zip_b else "differs"
    city_a, city_b = street_key(lead.city), street_key(other.get("city", ""))
    if city_a and city_b:
        found["city"] = "equal" if city_a == city_b else "differs"
    own = {number["e164"] for text in (lead.number1, lead.number2) for number in phones(text, region)}
    theirs = {number["e164"] for number in phones(other.get("phone", ""), region)}
    if own and theirs:
        found["phone"] = "equal" if own & theirs else "differs"
    return found


def _name(one: str, other: str) -> Level:
    if one == other:
        return "equal"
    inside = fuzz.token_set_ratio(one, other)
    if min(len(one.split()), len(other.split())) == 1:
        inside -= ONE_WORD_PENALTY
    score = max(fuzz.token_sort_ratio(one, other), inside)
    if score >= NAME_CLOSE:
        return "close"
    if score >= NAME_NEAR:
        return "near"
    return "far" if score >= NAME_FAR else "differs"


def _street(one: str, other: str) -> Level:
    alike = fuzz.token_set_ratio(one, other) >= STREET_NEAR
    numbers_a, numbers_b = _NUMBER.findall(one), _NUMBER.findall(other)
    both = bool(numbers_a and numbers_b)
    same_number = both and numbers_a[0] == numbers_b[0]
    if same_number:
        return "equal" if alike else "number"
    return "near" if alike and not both else "differs"
