"""Mapping to any fields: names and descriptions are read like headers, types and formats like shapes of values."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.mapping import people
from gristmill.mapping.assign import best
from gristmill.mapping.candidates import Candidate
from gristmill.mapping.evidence import Decision
from gristmill.mapping.headings import Heading, read_header, same_header
from gristmill.mapping.model import Field
from gristmill.mapping.sheet import Facts, read_sheet
from gristmill.mapping.words import fold

SAME_NAME = 4.0
"""Points of a column that is called as the field."""
WORDS = 2.6
"""Points of a column whose header has all the words of the field's name and no other."""
SCOPE = 1.2
"""Points lost by a column of another person or address than the field names."""
FORMATS = {
    "email": "email",
    "idn-email": "email",
    "uri": "url",
    "url": "url",
    "date": "date",
    "date-time": "date",
    "uuid": "id",
}
TYPES = {"integer": "integer", "number": "number", "boolean": "boolean"}


def decide_any(
    headers: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int, fields: Sequence[Field]
) -> Decision:
    """The best mapping of columns to any fields."""
    sheet = people.in_context(read_sheet(headers, rows, width))
    found = {
        item.name: [
            Candidate((facts.index,), points, reasons, facts.scope)
            for facts in sheet.columns
            for points, reasons in [_points(item, facts)]
            if points > 0
        ]
        for item in fields
    }
    points, choice = best(found, lambda _name, _candidate: 0.0)
    return Decision(sheet, choice, found, points)


def _points(item: Field, facts: Facts) -> tuple[float, tuple[str, ...]]:
    header = facts.heading.text
    reasons: list[str] = []
    wanted = read_header(item.name)
    points = 0.0
    if header and same_header(item.name, header):
        points, reasons = SAME_NAME, ["the column is called as the field"]
    else:
        words = _overlap(wanted, facts.heading)
        if words:
            points += WORDS * words
            reasons.append(f"name and header share {words:.0%} of their words")
        kind = FORMATS.get(item.format) or wanted.kind or _described(item)
        if kind:
            alike = facts.score(kind) + (0.5 if kind == "name" and "company" in facts.said else 0.0)
            points = max(points, alike) if alike > 0 else points + alike
            if alike > 0:
                reasons.append(f"it holds {kind}")
            if wanted.classes != facts.classes and wanted.scope != facts.heading.scope:
                points -= SCOPE * (
                    1 - _share({word.text for word in wanted.scope}, {word.text for word in facts.heading.scope})
                )
    shape = TYPES.get(item.type)
    if shape and facts.profile.filled and facts.profile[shape] < 0.5:  # noqa: PLR2004 (most values are of another type)
        points -= 3.0
        reasons.append(f"its values are no {item.type}")
    return points, tuple(reasons)


def _described(item: Field) -> str:
    """The kind that a description names, when the name says nothing."""
    return read_header(item.description).kind if item.description and len(item.description) < 60 else ""  # noqa: PLR2004 (a phrase)


def _overlap(one: Heading, other: Heading) -> float:
    """Share of words that two names have in common; words of one meaning count as the same."""
    return _share(_concepts(one), _concepts(other))


def _concepts(heading: Heading) -> set[str]:
    return {min(word.meanings) if word.meanings else fold(word.text) for word in heading.words}


def _share(one: set[str], other: set[str]) -> float:
    union = one | other
    return len(one & other) / len(union) if union else 0.0
