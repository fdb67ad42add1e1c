"""Nouns and pure rules of sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from gristmill.base.config import Settings
from gristmill.base.errors import Conflict, FieldError, Invalid, NotFound
from gristmill.tables import Dialect, Hints

MAPPING_FIELDS_MAX = 1000
PREVIEW_ROWS_MAX = 1000
SNAPSHOTS_MAX = 10
"""Snapshots kept of a source; a newer one takes the place of the oldest."""
COLUMNS_SHOWN = 50
"""Columns listed in an error."""
MAPPING_PATH = "config.default_mapping.fields"


class SourceNotFound(NotFound):
    """There is no such source."""


class SnapshotNotFound(NotFound):
    """There is no such snapshot of this source; take a new one."""


class SourceInUse(Conflict):
    """Batches that are not finished read from this source."""


class SourceChanged(Conflict):
    """The source was changed by someone else just now; look at it and try again."""


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of a source's rows."""

    name: str
    """Unique in the source; the key in each row."""
    type: str
    """What the cells look like (`text`, `int`, `email`, ...), or PostgreSQL's name of the type."""


@dataclass(frozen=True, slots=True)
class DefaultMapping:
    """How columns become an agent's fields, unless a batch says otherwise."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    """Agent field -> column."""


@dataclass(frozen=True, slots=True)
class DialectHints:
    """What is known about a CSV; null is guessed from the content."""

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    preamble: int | None = None

    def hints(self) -> Hints:
        """The hints for the reader of the text. The encoding is none: it was used up when the text was made."""
        known: Hints = {}
        if self.delimiter is not None:
            known["delimiter"] = self.delimiter
        if self.quote is not None:
            known["quote"] = self.quote
        if self.escape is not None:
            known["escape"] = self.escape
        if self.header is not None:
            known["header"] = self.header
        if self.preamble is not None:
            known["preamble"] = self.preamble
        return known


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """What a user sets of a source."""

    default_mapping: DefaultMapping = DefaultMapping()
    dialect: DialectHints | None = None
    """Only kind `csv`: what was said about the file; null when all of it is guessed."""
    env_key: str | None = None
    """Only kind `postgres`: name of the environment variable that holds the connection string."""
    query: str | None = None
    """Only kind `postgres`: the SELECT."""


def config_from(values: Mapping[str, Any]) -> SourceConfig:
    """A config from JSON that was checked before."""
    mapping, dialect = values.get("default_mapping"), values.get("dialect")
    return SourceConfig(
        DefaultMapping(dict((mapping or {}).get("fields") or {})),
        DialectHints(**dialect) if dialect else None,
        values.get("env_key"),
        values.get("query"),
    )


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record of a CSV that is no row."""

    line: int
    """1-based line where it starts."""
    text: str
    """The record, cut when it is long."""
    reason: str
    kind: Literal["malformed", "footer"]
    """`footer`: totals and notes under the table, which are no error."""


@dataclass(frozen=True, slots=True)
class TableReceipt:
    """What became of every record of a CSV: lines = header + preamble + rows + rejects + blank."""

    lines: int
    """Records. A quoted newline does not start a new one."""
    header: int
    preamble: int
    """Records before the header that are not blank."""
    rows: int
    rejects: int
    """Footers included."""
    footers: int
    blank: int
    warnings: list[str]
    """What a person should know, though it did not stop the reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pass over the whole text of a CSV found, when it was saved."""

    columns: list[SourceColumn]
    dialect: Dialect
    """How the text is read; every later reading uses just this."""
    encoding: str
    """What the file was in before it was kept as text."""
    receipt: TableReceipt
    rejects: list[RejectedRecord]
    """The first of them."""


@dataclass(frozen=True, slots=True)
class Source:
    """Saved data that batches take rows from."""

    id: int
    name: str
    kind: str
    """`csv`: the text is kept here. `postgres`: a query that runs when rows are needed."""
    config: SourceConfig
    size_bytes: int | None
    """Of a CSV as it was sent; null for other kinds."""
    columns: list[SourceColumn] | None
    """Of a CSV; null where only a preview can tell."""
    row_count: int | None
    """Of a CSV; null where only reading can tell."""
    reject_count: int | None
    """Records of a CSV that are no rows; a preview lists them."""
    created_at: datetime
    updated_at: datetime
    csv_data: str | None = None
    """The text of a CSV; only in the answer to `?include=csv_data`."""


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A source with all that reading it needs."""

    organization_id: int
    source: Source
    csv_data: str | None
    reading: Reading | None

    @property
    def id(self) -> int:
        """The source's id."""
        return self.source.id

    @property
    def kind(self) -> str:
        """The source's kind."""
        return self.source.kind

    @property
    def config(self) -> SourceConfig:
        """What the user set."""
        return self.source.config


@dataclass(frozen=True, slots=True)
class Draft:
    """A source as it should become."""

    name: str
    kind: str
    config: SourceConfig
    file: str | bytes | None = None
    """A CSV as text or as the bytes of its file; None keeps what is there."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a kind found out about a draft."""

    text: str | None = None
    """To be kept as `csv_data`; None keeps what is there."""
    size_bytes: int | None = None
    reading: Reading | None = None
    columns: Sequence[SourceColumn] | None = None
    """Columns that a mapping may name; None when they were not needed."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft that was checked and can be saved."""

    draft: Draft
    content: Content


@dataclass(frozen=True, slots=True)
class Host:
    """The server that a source is read on."""

    settings: Settings
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of a source."""

    columns: list[SourceColumn]
    rows: list[dict[str, Any]]
    truncated: bool
    """Whether there are more."""


@dataclass(frozen=True, slots=True)
class RowStream:
    """All rows of a source, one after the other."""

    columns: list[SourceColumn]
    rows: Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class OpenedRows:
    """Rows on their way into a batch. Taking them touches no network."""

    name: str
    """The source's name."""
    columns: list[str]
    mapping: dict[str, str]
    """Agent field -> column, as saved with the source."""
    rows: Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rows of a source as they were at one moment."""

    id: UUID
    data_source_id: int
    columns: list[str]
    object_key: str
    row_count: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SnapshotDraft:
    """A snapshot whose rows are in the object store and whose line is not in the database yet."""

    id: UUID
    object_key: str
    sample: Sample
    row_count: int


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a source, and what is known about all of them."""

    columns: list[SourceColumn]
    rows: list[dict[str, Any]]
    """Objects by column; the cells of a CSV are text."""
    truncated: bool
    """Whether there are more rows."""
    row_count: int | None = None
    """Rows in all; null for a query whose rows were not all read."""
    dialect: Dialect | None = None
    """Of a CSV: how the file is read, with the confidence of every guess; `encoding` is the file's own."""
    rejects: list[RejectedRecord] | None = None
    """Of a CSV: the first records that are no rows."""
    receipt: TableReceipt | None = None
    """Of a CSV: what became of every record of the whole file."""
    snapshot_id: UUID | None = None
    """Send it with a batch to run just these rows."""


def check_mapping(mapping: DefaultMapping, columns: Sequence[SourceColumn]) -> None:
    """Raises `Invalid` that names each field whose column does not exist, and the columns there are."""
    names = [column.name for column in columns]
    known = set(names)
    shown = ", ".join(names[:COLUMNS_SHOWN]) + (", ..." if len(names) > COLUMNS_SHOWN else "")
    missing = {name: column for name, column in mapping.fields.items() if column not in known}
    if missing:
        listed = ", ".join(f"`{column}`" for column in list(missing.values())[:COLUMNS_SHOWN])
        raise Invalid(
            f"The mapping names columns that the source does not have: {listed}. It has: {shown}.",
            errors=tuple(
                FieldError(f"{MAPPING_PATH}.{name}", f"`{column}` is no column; there are: {shown}")
                for name, column in missing.items()
            ),
        )


def refuse_settings(config: SourceConfig, kind: str, names: Sequence[str]) -> None:
    """Raises `Invalid` for settings that belong to another kind."""
    given = [item.name for item in fields(config) if item.name in names and getattr(config, item.name) is not None]
    if given:
        raise Invalid(
            f"A source of kind `{kind}` takes no {', '.join(given)}.",
            errors=tuple(FieldError(f"config.{name}", f"is not for kind `{kind}`") for name in given),
        )
