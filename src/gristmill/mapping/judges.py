"""Points for a kind by the values of a column alone: weights of the shapes that speak for it and against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gristmill.mapping.shapes import Profile

HALF, MOST = 0.4, 0.8
"""Shares of values."""
WORDS_MIN = 1.3
"""Mean words below which values are no whole names."""
ENOUGH = 3
"""Different values from which on `0` and `1` are no yes and no."""


def _phone(p: Profile) -> float:
    like = p["phone"]
    return (
        0.7 * like
        + 1.3 * p["phone_formatted"]
        + 0.8 * p["phone_nanp"]
        - 1.4 * (1 - like)
        - 0.9 * p["date"]
        - 0.6 * p["email"]
    )


def _zip(p: Profile) -> float:
    return (
        -1.5 * p.sequential
        + 1.0 * p["zip"]
        + 0.8 * p["zip_letters"]
        + 0.3 * p["zip5"]
        - 1.5 * (1 - p["zip"])
        - 0.4 * p["date"]
    )


def _state(p: Profile) -> float:
    known = min(1.0, p["state_code"] + p["region"])
    vague = 0.4 if p["place"] + p["upper_code"] > MOST else 1.0  # words that could be regions of any country
    return (
        2.2 * p["state_code"]
        + 1.8 * p["region"]
        - 1.3 * vague * (1 - known)
        - 0.5 * p["integer"]
        - 0.4 * p["company"]
        - 3.0 * p["status"]
    )


def _city(p: Profile) -> float:
    foreign = p["person"] + p["company"] + p["country"] + 0.5 * p["region"] + p["salutation"] + p["boolean"]
    return (
        0.9 * p["place"]
        - 1.5 * (1 - p["place"])
        - 0.7 * foreign
        - 0.8 * p["upper_code"]
        + 0.3 * (1 - p.unique)
        - 0.8 * p["long"]
    )


def _street(p: Profile) -> float:
    return (
        1.6 * p["street_numbered"]
        + 0.6 * p["street"]
        - 1.1 * (1 - p["street"])
        - 0.8 * p["email"]
        - 0.8 * p["url"]
        - 0.5 * p["long"]
    )


def _full(p: Profile) -> float:
    return 1.5 * p["full_address"] + 0.6 * p["street"] - 1.0 * (1 - p["street"])


def _city_state(p: Profile) -> float:
    return 2.0 * p["city_state"] - 1.4 * (1 - p["city_state"])


def _zip_city(p: Profile) -> float:
    return 1.9 * p["zip_city"] - 1.4 * (1 - p["zip_city"]) - 1.5 * p["street_numbered"]


def _country(p: Profile) -> float:
    return 2.0 * p["country"] - 1.0 * (1 - p["country"])


def _company(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["geometry"] + p["phone"] + 2 * p["boolean"] + p["coordinate"]
    numbers = 1 - p["has_letter"]
    return (
        1.3 * p["company"] + 0.5 * p.unique + 0.2 - 1.6 * other - 2.0 * numbers - 1.2 * p["long"] - 0.9 * p["person"]
        - 0.8 * p["full_address"] - 0.5 * p["upper_code"] - 0.8 * p["code"]
        - 0.8 * p["lower"]
    )  # fmt: skip


def _person(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["phone"] + p["boolean"] + p["zip"] + p["long"]
    classes = 1.2 * (1 - p.unique) if p["person"] < HALF else 0.0  # OWNER: NON-PROFIT, GOVERNMENT
    single = 1.0 - p["given"] if p.words < WORDS_MIN and p["person"] < HALF else 0.0  # jsmith, kdoe
    return (
        2.2 * p["person"]
        - 1.5 * other
        - 0.9 * p["company"]
        - 0.7 * (1 - p["person"])
        - 1.0 * (1 - p["has_letter"])
        - classes
        - single
    )


def _given(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["phone"] + p["long"] + p["company"]
    return (
        2.0 * p["given"]
        - 0.5 * (1 - p["given"])
        - 1.5 * other
        - 1.0 * (1 - p["has_letter"])
        - 0.3 * max(0.0, p.words - 2)
    )


def _family(p: Profile) -> float:
    other = p["email"] + p["url"] + p["date"] + p["phone"] + p["long"] + p["company"]
    return 0.6 * p["place"] - 1.5 * other - 1.0 * (1 - p["has_letter"]) - 0.4 * max(0.0, p.words - 2)


def _identifier(p: Profile) -> float:
    coded = max(p["code"], p["integer"], p["uuid"])
    other = (
        p["email"]
        + p["url"]
        + p["geometry"]
        + p["long"]
        + p["boolean"] * (p.distinct < ENOUGH)
        + p["coordinate"]
        + p["date"]
    )
    return (
        0.9 * coded
        + 1.0 * (p.unique - 0.6)
        - 1.3 * other
        - 0.5 * (1 - coded)
        - 0.8 * p["phone_formatted"] * (1 - p["uuid"])
    )


def _house_number(p: Profile) -> float:
    return 1.5 * p["house_number"] - 1.5 * (1 - p["house_number"])


JUDGES: Mapping[str, Callable[[Profile], float]] = {
    "phone": _phone,
    "fax": _phone,
    "zip": _zip,
    "state": _state,
    "city": _city,
    "street": _street,
    "address": _street,
    "full": _full,
    "citystatezip": _city_state,
    "zipcity": _zip_city,
    "country": _country,
    "company": _company,
    "name": _company,
    "trade": _company,
    "legal": _company,
    "person": _person,
    "first": _given,
    "last": _family,
    "id": _identifier,
    "registration": _identifier,
    "license": _identifier,
    "housenumber": _house_number,
    "email": lambda p: 2.2 * p["email"] - 1.4 * (1 - p["email"]),
    "url": lambda p: 2.0 * p["url"] - 1.4 * (1 - p["url"]),
    "date": lambda p: 2.0 * p["date"] - 1.4 * (1 - p["date"]),
    "geo": lambda p: (
        1.8 * max(p["coordinate"], p["geometry"]) - 1.2 * (1 - max(p["coordinate"], p["geometry"], p["number"]))
    ),
}
