"""Templates and a primary key that suit a file, from what its columns look like. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gristmill.datasets.model import Kind

COLUMNS_MAX = 30
"""Columns that a suggested template shows."""
KEYS_MAX = 5
HIDDEN_NULL_SHARE = 0.95
"""Columns that are empty more often than this are left out."""
LONG_CHARS = 60
"""On average, from here on a text is a description rather than a name."""
KEY_CHARS_MAX = 100
UUID_CHARS_MIN = 32
TITLES = re.compile(
    r"\b(name|title|company|product|subject|headline|question|label|organi[sz]ation|brand|model|nom|titre|entreprise"
    r"|titel|firma|nombre|empresa|nome|ditta)\b",
    re.IGNORECASE,
)
NOT_TITLES = re.compile(r"\b(first|last|middle|user|file|city|state|country|type|category|status)\b", re.IGNORECASE)
DESCRIPTIONS = re.compile(
    r"\b(description|summary|abstract|body|content|text|notes?|comments?|details?|answer|bio)\b", re.IGNORECASE
)
KEYS = re.compile(
    r"\b(id|key|sku|uuid|guid|isbn|ean|code|number|no|nr|ref|reference|e-?mail|url|slug)\b", re.IGNORECASE
)
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_PARTS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What a column looks like."""

    name: str
    """As rows have it; nested JSON values have dots in theirs."""
    kind: Kind
    null_share: float
    distinct_share: float
    """Of the filled cells."""
    mean_chars: float
    is_unique: bool
    """Filled in every row, and never the same twice."""
    is_list: bool = False
    """Of JSON: an array of plain values."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A template that suits the file."""

    name: str
    template: str


def words_of(name: str) -> str:
    """`companyName`, `company_name` -> `company name`, for looking at."""
    return " ".join(part for part in _PARTS.split(name) if part)


def suggest_keys(columns: Sequence[ColumnFacts]) -> list[str]:
    """Columns that could be the primary key, the best first: unique, and likely to stay as they are."""
    usable = [
        column
        for column in columns
        if column.is_unique and column.kind in {"int", "text"} and column.mean_chars <= KEY_CHARS_MAX
    ]

    def rank(column: ColumnFacts) -> tuple[bool, bool, bool, float]:
        words = words_of(column.name)
        return (
            not KEYS.search(words),
            bool(DESCRIPTIONS.search(words)),
            words.lower() not in {"id", "uuid", "key"},
            column.mean_chars,
        )

    # A price or a year may be unique by chance, and will not stay so.
    named = [
        column
        for column in usable
        if KEYS.search(words_of(column.name)) or (column.kind == "text" and column.mean_chars < LONG_CHARS)
    ]
    return [column.name for column in sorted(named, key=rank)[:KEYS_MAX]]


def suggest_templates(columns: Sequence[ColumnFacts], key: str | None, *, is_json: bool) -> list[Suggestion]:
    """Up to three templates, the best first."""
    shown = _informative(_with_lists(columns) if is_json else columns, key)
    title, description = _title(shown), _description(shown)
    if title is description:
        title = None
    rest = [column for column in shown if column is not title and column is not description][:COLUMNS_MAX]
    out = [Suggestion("labelled", _labelled(title, description, rest, is_json=is_json))]
    if title or description:
        out.append(Suggestion("sentence", _sentence(title, description, rest, is_json=is_json)))
    if not is_json:
        everything = "{{range $name, $value := .}}{{if $value}}{{$name}}: {{$value}}\n{{end}}{{end}}"
        out.append(Suggestion("everything", everything))
    return out


def _informative(columns: Sequence[ColumnFacts], key: str | None) -> list[ColumnFacts]:
    found = [
        column
        for column in columns
        if column.null_share < HIDDEN_NULL_SHARE and not (column.name == key and _says_nothing(column))
    ]
    return found or list(columns)


def _says_nothing(key: ColumnFacts) -> bool:
    """Whether nobody would ask for a key: a bare number, or a UUID or hash."""
    return key.kind == "int" or key.mean_chars >= UUID_CHARS_MIN


def _title(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    def score(column: ColumnFacts) -> float:
        words = words_of(column.name)
        named = bool(TITLES.search(words)) and not NOT_TITLES.search(words)
        return 2.0 * named + column.distinct_share - column.null_share - (column.mean_chars > LONG_CHARS)

    texts = [column for column in columns if column.kind == "text" and column.mean_chars <= 2 * LONG_CHARS]
    best = max(texts, key=score, default=None)
    return best if best is not None and score(best) > 0.5 else None  # noqa: PLR2004 - half the rows differ


def _description(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    texts = [
        column
        for column in columns
        if column.kind == "text" and (column.mean_chars > LONG_CHARS or DESCRIPTIONS.search(words_of(column.name)))
    ]
    return max(texts, key=lambda column: column.mean_chars, default=None)


def expression(name: str, *, is_json: bool) -> str:
    """How a template reaches a column: `.Name`, or `index . "Company Name"`."""
    parts = name.split(".") if is_json else [name]
    if all(_IDENTIFIER.fullmatch(part) for part in parts):
        return "." + ".".join(parts)
    quoted = " ".join(part if part.isdigit() else _quote(part) for part in parts)
    return f"index . {quoted}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _guarded(column: ColumnFacts, before: str, after: str, *, is_json: bool) -> str:
    """The column's value between two texts; nothing at all where it is empty."""
    value = expression(column.name, is_json=is_json)
    if column.is_list:
        listed = f"{{{{range $n, $item := {value}}}}}{{{{if $n}}}}, {{{{end}}}}{{{{$item}}}}{{{{end}}}}"
        return f"{{{{if {value}}}}}{before}{listed}{after}{{{{end}}}}"
    text = f"{before}{{{{{value}}}}}{after}"
    if column.null_share == 0:
        return text
    parts = column.name.split(".") if is_json else [column.name]
    if len(parts) > 1:  # what a value lies in may be missing as well
        opened = "".join(f"{{{{with {expression(part, is_json=is_json)}}}}}" for part in parts)
        return f"{opened}{before}{{{{.}}}}{after}{'{{end}}' * len(parts)}"
    if is_json and column.kind in {"int", "number", "bool"}:  # zero and false are values
        return f'{{{{if ne (print ({value})) "<nil>"}}}}{text}{{{{end}}}}'
    return f"{{{{if {value}}}}}{text}{{{{end}}}}"


def _with_lists(columns: Sequence[ColumnFacts]) -> list[ColumnFacts]:
    """Columns of JSON with the elements of an array, `tags.0`, taken together; arrays of objects are left out."""
    out: dict[str, ColumnFacts] = {}
    for column in columns:
        parts = column.name.split(".")
        index = next((place for place, part in enumerate(parts) if part.isdigit()), None)
        if index is None:
            out[column.name] = column
        elif index == len(parts) - 1 and index == 1:
            name = ".".join(parts[:index])
            out[name] = replace(column, name=name, kind="text", is_unique=False, is_list=True)
    return list(out.values())


def _label(column: ColumnFacts) -> str:
    words = words_of(column.name) or column.name
    label = words[:1].upper() + words[1:]
    return label.replace("{{", "{ {")


def _labelled(
    title: ColumnFacts | None, description: ColumnFacts | None, rest: Sequence[ColumnFacts], *, is_json: bool
) -> str:
    lines = [_guarded(title, "", "\n", is_json=is_json)] if title else []
    lines.extend(_guarded(column, f"{_label(column)}: ", "\n", is_json=is_json) for column in rest)
    if description:
        lines.append(_guarded(description, "", "\n", is_json=is_json))
    return "".join(lines)


def _sentence(
    title: ColumnFacts | None, description: ColumnFacts | None, rest: Sequence[ColumnFacts], *, is_json: bool
) -> str:
    parts = [_guarded(title, "", ". ", is_json=is_json)] if title else []
    if description:
        parts.append(_guarded(description, "", " ", is_json=is_json))
    parts.extend(_guarded(column, f"{_label(column)}: ", ". ", is_json=is_json) for column in rest)
    return "".join(parts).rstrip()
