"""Nouns and pure rules of datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from gristmill.base.errors import Conflict, Error, NotFound

Status = Literal["pending", "processing", "completed", "failed"]
FileType = Literal["csv", "json", "excel"]
Kind = Literal["int", "number", "bool", "date", "moment", "text"]
Mode = Literal["hybrid", "vector", "keyword"]
ErrorKind = Literal["reject", "duplicate", "template", "empty"]
MissingKey = Literal["default", "zero", "error"]

TITLE_CHARS_MAX = 200
TEMPLATE_CHARS_MAX = 64 * 1024
KEY_CHARS_MAX = 1000
"""A longer primary key stands in answers cut; its identity is that of the whole."""
VERSIONS_KEPT = 5
"""Versions of a dataset that can be gone back to, the one that is searched included."""
ERRORS_KEPT = 10_000
"""Rows of a version that are kept with what was wrong with them; the receipt counts all."""
WARNINGS_MAX = 50
QUERY_CHARS_MAX = 8_000
TOP_K_MAX = 100
FUSION_DEPTH = 200
"""Best of each side that are fused; measured over seven public collections, 200 is a little better than 100."""


class DatasetNotFound(NotFound):
    """There is no such dataset."""


class AgentNotFound(NotFound):
    """There is no such agent."""


class FileNotKept(NotFound):
    """There is no such uploaded file; files that no dataset uses are removed after a day."""


class VersionNotFound(NotFound):
    """There is no such version of this dataset."""


class Busy(Conflict):
    """The dataset is being processed; wait for its end."""


class RemovalNotConfirmed(Conflict):
    """More records would be removed than is done without being asked."""


class NoVectorSearch(Error):
    """The database server lacks the extension `vector` (pgvector), which search by meaning needs."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """How a template is read."""

    missing_key: MissingKey = "default"
    """What a key that the row lacks gives: `<no value>`, the zero value, or an error of the row."""
    go_functions_only: bool = False
    """Whether only the functions that Go itself has may be called."""


@dataclass(frozen=True, slots=True)
class EmbedderChoice:
    """What makes vectors of texts."""

    kind: str
    config: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class DatasetColumn:
    """A column of a dataset's records, as filters and SQL see it."""

    name: str
    kind: Kind
    """`int`, `number` (a decimal), `bool`, `date`, `moment` (a date with a time) or `text`."""
    sql_name: str | None
    """Its name in SQL; null for columns beyond those that SQL and filters reach."""
    filled: int
    """Cells that hold something."""
    unfit: int
    """Filled cells that are not of the kind: null in SQL and filters, kept as they are in the record."""
    day_first: bool = False
    """Whether dates such as 03/04/2026 have the day first."""


@dataclass(frozen=True, slots=True)
class FileReceipt:
    """What became of every record of the file: lines = header + preamble + rows + rejects + blank."""

    lines: int
    header: int
    preamble: int
    rows: int
    rejects: int
    blank: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of every row: rows_in = records + duplicates + empties + failures."""

    rows_in: int
    records: int
    """Rows that can be searched and counted."""
    duplicates: int
    """Rows whose key comes again further down, where the last one counts."""
    empties: int
    """Rows that the template gave no text for."""
    failures: int
    """Rows that the template failed on."""
    file: FileReceipt


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the latest processing is."""

    phase: Literal["waiting", "reading", "embedding", "indexing", "done"]
    rows: int = 0
    """Rows of the file that are done in this phase."""
    rows_total: int = 0
    chunks: int = 0
    """Chunks written so far."""
    embedded: int = 0
    """Of these: computed now, not found in the cache."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Knowledge of one agent, made from a file by a template."""

    id: int
    agent_id: int
    title: str
    file_path: str
    """Where the file is kept; `create` takes the `file_path` of an analysis."""
    file_filename: str
    type: FileType
    template: str
    template_options: TemplateOptions
    primary_key_field: str | None
    embedder: EmbedderChoice
    ingest_status: Status
    last_error: str | None
    progress: Progress | None
    """Of the latest processing; null before it has begun."""
    last_unfurled_at: datetime | None
    """When it was last processed to the end."""
    source_count: int
    """Records that can be searched now."""
    version: int | None
    """The version that is searched; null before the first."""
    receipt: Receipt | None
    """Of that version."""
    warnings: list[str]
    """Of that version: what a person should know though it stopped nothing."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Difference:
    """What a version changes, in records, beside the one that was searched before it."""

    added: int
    changed: int
    removed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Version:
    """A state of a dataset, built to its end."""

    version: int
    active: bool
    """Whether it is the one that is searched."""
    file_path: str
    file_filename: str
    template: str
    template_options: TemplateOptions
    primary_key_field: str | None
    embedder: EmbedderChoice
    columns: list[DatasetColumn]
    receipt: Receipt
    difference: Difference
    chunks: int
    embedded: int
    """Chunks whose vectors were computed for it; the others were known."""
    index: Literal["none", "exact", "hnsw"]
    """How the nearest vectors are found: not at all without pgvector, by comparing all, or by an index."""
    recall: float | None
    """Share of the true ten nearest that the index finds, measured when it was built."""
    warnings: list[str]
    seconds: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Estimate:
    """What embedding would take."""

    seconds: float
    tokens: int
    cost_usd: str
    """By the price in the embedder's config; zero where it has none."""
    cost_micro_usd: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What processing would do, before anything is done."""

    added: int
    changed: int
    removed: int
    unchanged: int
    embeddings_needed: int
    """Texts whose vectors are not known yet."""
    estimate: Estimate
    receipt: Receipt
    needs_confirmation: bool
    """Whether so much would be removed that processing asks first."""
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record as lists show it."""

    record_key: str
    row_number: int
    """Of its row in the file, from 1."""
    data: dict[str, Any]
    """The row as it came."""
    chunks: int


@dataclass(frozen=True, slots=True)
class ChunkView:
    """A chunk as lists show it."""

    record_key: str
    row_number: int
    part: int
    """0 for the first chunk of its record."""
    text: str


@dataclass(frozen=True, slots=True)
class Highlight:
    """A piece of a hit's text with the words of the question marked."""

    text: str
    marks: list[tuple[int, int]]
    """(first character, the one after the last) of each such word in `text`."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that answers a question."""

    dataset_id: int
    record_key: str
    row_number: int
    score: float
    """Hybrid: 0 to 1. Vector: cosine. Keyword: BM25."""
    text: str
    """The chunk that fits best."""
    metadata: dict[str, Any]
    """The row as it came."""
    highlights: list[Highlight]


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for."""

    text: str
    top_k: int = 10
    mode: Mode = "hybrid"
    dataset_ids: Sequence[int] | None = None
    """None: all of the agent's."""
    filter: Any = None


@dataclass(frozen=True, slots=True)
class Searched:
    """A dataset that was searched."""

    dataset_id: int
    version: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Records that answer a question, best first."""

    hits: list[Hit]
    datasets: list[Searched]


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a row of an answer comes from."""

    record_key: str
    row_number: int


@dataclass(frozen=True, slots=True)
class QueryColumn:
    """A column of an answer."""

    name: str
    type: str
    """PostgreSQL's name of the type."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a SELECT over a dataset's records gave."""

    dataset_id: int
    version: int
    columns: list[QueryColumn]
    rows: list[list[Any]]
    truncated: bool
    """Whether there are more rows than are answered."""
    citations: list[Citation] | None
    """One for each row, where each row is one record; null where rows are computed from several."""
    records: int
    """Records that the query could see."""
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Sent:
    """A file in the object store."""

    id: UUID
    object_key: str
    name: str
    type: FileType
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What makes a dataset."""

    title: str
    type: FileType
    template: str
    options: TemplateOptions
    primary_key_field: str | None
    embedder: EmbedderChoice


@dataclass(frozen=True, slots=True)
class Work:
    """A processing under way: who does it, and what of."""

    organization_id: int
    dataset_id: int
    worker_id: UUID
    epoch: int
    revision: int
    version: int
    """The number that the version will have."""
    active: int | None
    """The version that is searched meanwhile."""
    confirmed: bool
    draft: Draft
    file: Sent


def removal_share(difference: Difference, before: int, *, has_key: bool) -> float:
    """Share of the records of before that would be gone.

    `has_key`: rows of before and after are known by the same primary key. Where they are not, an edited row is one
    removed and one added, and only shrinking counts.
    """
    if before == 0:
        return 0.0
    removed = difference.removed if has_key else difference.removed - difference.added
    return max(0, removed) / before


def storable(text: str) -> str:
    """The text as PostgreSQL can keep it: no NUL, no half of a surrogate pair."""
    if text.isascii():
        return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in text else text
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def sql_names(names: Sequence[str], limit: int) -> list[str | None]:
    """Names for SQL, which cuts identifiers at 63 bytes: cut and made different; None beyond `limit` columns.

    `_key` and `_row` are the record's own key and row number, so a column of that name gets a number.
    """
    taken = {"_key", "_row"}
    out: list[str | None] = []
    for name in names:
        if len(out) >= limit:
            out.append(None)
            continue
        new, number = _cut(name, 63), 1
        while new in taken:
            number += 1
            suffix = f"_{number}"
            new = _cut(name, 63 - len(suffix)) + suffix
        taken.add(new)
        out.append(new)
    return out


def _cut(name: str, size: int) -> str:
    return storable(name).encode()[:size].decode("utf-8", "ignore")


def same_columns(left: Sequence[DatasetColumn], right: Sequence[DatasetColumn]) -> bool:
    """Whether both have the same columns of the same kinds, whatever is in them."""
    return [(item.name, item.kind, item.day_first) for item in left] == [
        (item.name, item.kind, item.day_first) for item in right
    ]


def columns_from(values: Sequence[Mapping[str, Any]]) -> list[DatasetColumn]:
    """Columns from their JSON."""
    return [DatasetColumn(**value) for value in values]
