"""Search variants: what else a lead's row says that may find it, each put in the place of what it varies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gristmill.enrich.model import Lead
from gristmill.enrich.normalise import address, company_key, email, is_nothing, looks_like_street, phones, zip_key

SITES = ("http://", "https://", "www.")
LETTERS_MIN = 3
"""A text with fewer letters is a code, and no name."""


def variant_leads(lead: Lead, region: str) -> Iterator[tuple[str, Lead]]:
    """(column, lead with that column's value in the place of its phone, street, postal code or company).

    Values that say nothing new, e-mails, web addresses and codes give none.
    """
    own = {number["e164"] for text in (lead.number1, lead.number2) for number in phones(text, region)}
    names = {company_key(lead.company)}
    for column, text in lead.search_variants.items():
        if is_nothing(text) or email(text) or text.casefold().startswith(SITES):
            continue
        numbers = [number["e164"] for number in phones(text, region)]
        if numbers:
            if not own.issuperset(numbers):
                own.update(numbers)
                yield column, replace(lead, number1=text, search_variants={})
        elif looks_like_street(text):
            found = address({"full": text}, region) or {}
            if found.get("street") and found["street"].casefold() != lead.street.casefold():
                changed = {name: found[name] for name in ("street", "city", "state", "zip") if found.get(name)}
                yield column, replace(lead, **changed, search_variants={})
        elif text.replace("-", "").isdecimal():
            if len(zip_key(text)) == len(zip_key(lead.zip)) and "zip" in column.casefold():
                yield column, replace(lead, zip=text, search_variants={})
        elif sum(char.isalpha() for char in text) >= LETTERS_MIN and company_key(text) not in names:
            names.add(company_key(text))
            yield column, replace(lead, company=text, search_variants={})
