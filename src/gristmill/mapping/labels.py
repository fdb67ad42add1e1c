"""A column beside says whose: `Phone 6 - Type` holds `Work`, so `Phone 6 - Value` is a phone at work."""

from __future__ import annotations

from dataclasses import replace

from gristmill.mapping.header_rules import TAILS
from gristmill.mapping.sheet import Facts, Sheet
from gristmill.mapping.words import lexicon

LABELLED = frozenset({"phone", "street", "address", "full", "extra", "city", "state", "zip"})
MEANINGS = frozenset({"home", "work", "mobile", "fax", "pager", "main", "other", "billing", "shipping", "mailing"})
"""What a label may say."""


def in_context(sheet: Sheet) -> Sheet:
    """The sheet with what labels say about the columns of their number."""
    labels = {_stem(facts): said for facts in sheet.columns if (said := _said(facts))}
    if not labels:
        return sheet
    columns = tuple(
        replace(facts, extra_classes=labels[_stem(facts)])
        if facts.kind in LABELLED and _stem(facts) in labels
        else facts
        for facts in sheet.columns
    )
    return replace(sheet, columns=columns)


def _stem(facts: Facts) -> tuple[str, ...]:
    """The words up to the first number: `phone 6`."""
    words = [word.text for word in facts.heading.words]
    end = next((index for index, word in enumerate(facts.heading.words) if word.is_number), len(words) - 2)
    return tuple(words[: end + 1])


def _said(facts: Facts) -> frozenset[str]:
    """What the first value of a label column means; empty for any other column."""
    words = facts.heading.words
    if len(words) < 2 or words[-1].text not in TAILS or not facts.profile.filled:  # noqa: PLR2004 (`Phone`, `Type`)
        return frozenset()
    meanings = {meaning for word in lexicon().words(facts.profile.samples[0]) for meaning in word.meanings}
    return frozenset(meanings & MEANINGS)
