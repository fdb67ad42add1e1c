"""A look at a file before it becomes a dataset: its columns, its key, and templates with what they would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gristmill.base.config import Settings
from gristmill.datasets.columns import Watches
from gristmill.datasets.files import named_table, open_stream, type_of_table
from gristmill.datasets.model import FileType, Kind, Sent, TemplateOptions, storable
from gristmill.datasets.render import compiled, go_value
from gristmill.datasets.suggest import ColumnFacts, suggest_keys, suggest_templates
from gristmill.gotemplate import TemplateError
from gristmill.tables import Dialect, Table, UnsupportedFormat

SAMPLES = 3
SAMPLE_CHARS = 200
DISTINCT_ROWS = 50_000
"""Different values are counted in so many rows; further on only in columns that have had no value twice."""
DISTINCT_COLUMNS = 8
"""So many of these."""


@dataclass(frozen=True, slots=True)
class AnalyzedColumn:
    """A column of a file."""

    name: str
    type: Kind
    null_share: float
    """Share of the rows in which it is empty."""
    distinct_share: float
    """Share of different values among the filled cells, counted in the first 50,000 rows."""
    samples: list[str]
    """The first different values."""


@dataclass(frozen=True, slots=True)
class SuggestedTemplate:
    """A template that suits the file."""

    name: str
    template: str
    samples: list[str]
    """What it gives for the first rows."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a file looks like, and what could be made of it."""

    file_path: str
    """Send it to make a dataset of this file, without sending the file again."""
    file_filename: str
    size_bytes: int
    type: FileType
    dialect: Dialect
    """How the file is read, with the confidence of every guess."""
    row_count: int
    columns: list[AnalyzedColumn]
    primary_key_field: str | None
    """The column that suits best; null where none is unique."""
    primary_key_candidates: list[str]
    templates: list[SuggestedTemplate]
    """Best first."""
    warnings: list[str]


@dataclass(slots=True)
class _Stats:
    """What was seen of one column."""

    filled: int = 0
    chars: int = 0
    counted: int = 0
    """Filled cells among those whose values are counted."""
    values: set[int] = field(default_factory=set[int])
    samples: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, cells: Sequence[str], *, count: bool) -> None:
        filled = [cell for cell in cells if cell and not cell.isspace()]
        self.filled += len(filled)
        self.chars += sum(map(len, filled))
        if count:
            self.counted += len(filled)
            self.values.update(map(hash, filled))
        if len(self.samples) < SAMPLES:
            for cell in filled:
                self.samples[cell[:SAMPLE_CHARS]] = None
                if len(self.samples) >= SAMPLES:
                    break

    @property
    def has_doubles(self) -> bool:
        return len(self.values) < self.counted


@dataclass(frozen=True, slots=True)
class _Look:
    """What one pass over a file saw."""

    rows: int
    stats: list[_Stats]
    kinds: list[Kind]
    first: list[list[str]]
    """The first rows."""
    values: list[Any]
    """The same of JSON."""


def analyze(table: Table, file: Sent) -> Analysis:
    """Read a file from end to end. Raises what reading a file raises."""
    kind = type_of_table(table)
    if kind is None:
        raise UnsupportedFormat(f"A dataset is made of CSV, JSON or Excel, not of {table.dialect.format}.")
    is_json = kind == "json"
    look = _look(table)
    names = [column.original if is_json else column.name for column in table.columns]
    facts = [
        _facts(name, item, stat, look.rows) for name, item, stat in zip(names, look.kinds, look.stats, strict=True)
    ]
    keys = suggest_keys(facts)
    data: list[Any] = (
        [go_value(value) for value in look.values] if is_json else [_named(names, row) for row in look.first]
    )
    templates = [
        SuggestedTemplate(item.name, item.template, _render(item.template, data, is_json=is_json))
        for item in suggest_templates(facts, keys[0] if keys else None, is_json=is_json)
    ]
    columns = [
        AnalyzedColumn(column.name, fact.kind, fact.null_share, fact.distinct_share, list(stat.samples))
        for column, fact, stat in zip(table.columns, facts, look.stats, strict=True)
    ]
    return Analysis(
        file.object_key,
        file.name,
        file.size_bytes,
        kind,
        table.dialect,
        look.rows,
        columns,
        keys[0] if keys else None,
        keys,
        templates,
        _warnings(table, look.rows, keys),
    )


def analyze_file(settings: Settings, file: Sent) -> tuple[Analysis, Sent]:
    """A look at a file in the object store, and the file with the type that its content has."""
    with open_stream(settings, file) as stream:
        found = analyze(named_table(stream, file.name), file)
    return found, replace(file, type=found.type)


def _look(table: Table) -> _Look:
    watches = Watches(table.columns)
    stats = [_Stats() for _ in table.columns]
    counting = set(range(len(stats)))
    first: list[list[str]] = []
    values: list[Any] = []
    rows = 0
    for group in table.groups():
        watches.add(group.rows)
        if len(first) < SAMPLES:
            first.extend(group.rows[: SAMPLES - len(first)])
            values.extend((group.values or [])[: SAMPLES - len(values)])
        for index, cells in enumerate(zip(*group.rows, strict=True)):
            stats[index].add(cells, count=index in counting)
        rows += len(group.rows)
        if rows >= DISTINCT_ROWS:
            single = [index for index in sorted(counting) if not stats[index].has_doubles]
            counting = set(single[:DISTINCT_COLUMNS])
    return _Look(rows, stats, [column.kind for column in watches.columns()], first, values)


def _facts(name: str, kind: Kind, stat: _Stats, rows: int) -> ColumnFacts:
    filled = stat.filled
    return ColumnFacts(
        name,
        kind,
        round(1 - filled / rows, 4) if rows else 1.0,
        round(len(stat.values) / stat.counted, 4) if stat.counted else 0.0,
        stat.chars / filled if filled else 0.0,
        rows > 0 and stat.counted == rows and not stat.has_doubles,
    )


def _named(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, row, strict=True))


def _render(template: str, data: Sequence[Any], *, is_json: bool) -> list[str]:
    rendered = compiled(template, TemplateOptions(), typed=is_json).render_each(data)
    return [text.message if isinstance(text, TemplateError) else storable(text).strip() for text in rendered]


def _warnings(table: Table, rows: int, keys: Sequence[str]) -> list[str]:
    receipt = table.receipt
    out = list(receipt.warnings)
    malformed = receipt.rejects - receipt.footers
    if malformed:
        out.append(f"{malformed} records of the file are no rows; they would be in errors.csv.")
    if receipt.footers:
        out.append(f"{receipt.footers} lines under the table are totals or notes and no rows.")
    if not rows:
        out.append("The file has no rows.")
    elif not keys:
        out.append("No column is unique: rows will be known by their content, and an edited row is a new record.")
    return out
