"""Verbs of datasets.

What reads a file takes no transaction: `prepare` and `plan` run between short ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gristmill import events, vault
from gristmill.base.config import Settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.paging import Page, page_of
from gristmill.datasets import listing, store
from gristmill.datasets.embedders import EmbedderContext, embedders, parse_config
from gristmill.datasets.files import UNUSED_HOURS, open_table
from gristmill.datasets.ingest import enqueue_ingest
from gristmill.datasets.model import (
    TEMPLATE_CHARS_MAX,
    AgentNotFound,
    Busy,
    Dataset,
    DatasetNotFound,
    Difference,
    Draft,
    EmbedderChoice,
    FileNotKept,
    FileReceipt,
    Progress,
    Receipt,
    Sent,
    TemplateOptions,
    Version,
    VersionNotFound,
    columns_from,
)
from gristmill.datasets.render import compiled
from gristmill.engine import SHARED_QUEUE
from gristmill.tables import write_csv

ERRORS_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose datasets are meant."""

    organization_id: int
    agent_id: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What of a dataset should become different; None stays as it is."""

    title: str | None = None
    template: str | None = None
    options: TemplateOptions | None = None
    primary_key_field: str | None = None
    """Empty: none any more."""
    embedder: EmbedderChoice | None = None
    file: Sent | None = None

    @property
    def are_deep(self) -> bool:
        """Whether records or chunks may become others."""
        return any(
            item is not None for item in (self.template, self.options, self.primary_key_field, self.embedder, self.file)
        )

    def apply(self, draft: Draft) -> Draft:
        """The dataset as it should become."""
        key = draft.primary_key_field if self.primary_key_field is None else self.primary_key_field or None
        return replace(
            draft,
            title=self.title or draft.title,
            type=self.file.type if self.file else draft.type,
            template=draft.template if self.template is None else self.template,
            options=self.options or draft.options,
            primary_key_field=key,
            embedder=self.embedder or draft.embedder,
        )


def default_embedder(settings: Settings) -> EmbedderChoice:
    """What a new dataset gets that names none."""
    return EmbedderChoice(settings.embedder)


def require_agent(tx: Tx, scope: Scope) -> None:
    """Raises `AgentNotFound`."""
    if not store.has_agent(tx, scope.organization_id, scope.agent_id):
        raise AgentNotFound(f"There is no agent {scope.agent_id}.")


def prepare(settings: Settings, draft: Draft, file: Sent) -> None:
    """Refuse what can't be processed, before it is saved; no transaction is open.

    Raises `TemplateError` with line and column, or `Invalid` that names the field, or what reading a file raises.
    """
    if not draft.template.strip():
        raise _wrong("template", "must not be blank")
    if len(draft.template) > TEMPLATE_CHARS_MAX:
        raise _wrong("template", f"has {len(draft.template)} characters; at most {TEMPLATE_CHARS_MAX} are read")
    compiled(draft.template, draft.options, typed=file.type == "json")
    embedder = embedders.get(draft.embedder.kind)
    embedder.check(parse_config(embedder, draft.embedder.config), EmbedderContext(settings, 0))
    with open_table(settings, file) as table:
        from gristmill.datasets.survey import key_index  # noqa: PLC0415 - NumPy takes a while to load

        key_index(table, draft.primary_key_field)
        next(iter(table.groups()), None)  # what has no rows at all is told now, not by the processing


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


def keep_file(tx: Tx, scope: Scope, file: Sent) -> None:
    """Register a file that was put into the object store; it goes after a day unless a dataset uses it."""
    require_agent(tx, scope)
    store.insert_file(tx, scope.organization_id, scope.agent_id, file, UNUSED_HOURS)


def find_file(tx: Tx, scope: Scope, file_path: str) -> Sent:
    """A registered file. Raises `FileNotKept`."""
    found = store.find_file(tx, scope.organization_id, scope.agent_id, file_path)
    if found is None:
        raise FileNotKept(f"There is no file `{file_path[:200]}`; analyze or upload it again.")
    return found


def create(tx: Tx, scope: Scope, draft: Draft, file: Sent, *, queue: str = SHARED_QUEUE) -> Dataset:
    """A new dataset from a prepared draft and a registered file, queued to be processed."""
    require_agent(tx, scope)
    dataset_id = store.insert_dataset(tx, scope.organization_id, scope.agent_id, draft, file.id)
    if not store.use_file(tx, scope.organization_id, file.id, dataset_id):
        raise FileNotKept("The file is used by another dataset; upload it again.")
    _refer(tx, scope, dataset_id, draft.embedder)
    _emit(tx, scope, "dataset.created", dataset_id, {"title": draft.title})
    enqueue_ingest(tx, scope.organization_id, dataset_id, "1", queue=queue)
    return get(tx, scope, dataset_id)


def get(tx: Tx, scope: Scope, dataset_id: int) -> Dataset:
    """A dataset of an agent. Raises `DatasetNotFound`."""
    return dataset_of(row_of(tx, scope, dataset_id))


def row_of(tx: Tx, scope: Scope, dataset_id: int) -> dict[str, Any]:
    """A dataset's line. Raises `DatasetNotFound`."""
    row = store.find_dataset(tx, scope.organization_id, scope.agent_id, dataset_id)
    if row is None:
        raise DatasetNotFound(f"Agent {scope.agent_id} has no dataset {dataset_id}.")
    return row


def list_datasets(tx: Tx, scope: Scope, *, page: int, per_page: int) -> Page[Dataset]:
    """One page of an agent's datasets, newest first."""
    require_agent(tx, scope)
    rows, total = store.list_datasets(
        tx, scope.organization_id, scope.agent_id, limit=per_page, offset=(page - 1) * per_page
    )
    return page_of([dataset_of(row) for row in rows], page=page, per_page=per_page, total=total)


def update(
    tx: Tx, scope: Scope, dataset_id: int, changes: Changes, *, confirmed: bool = False, queue: str = SHARED_QUEUE
) -> Dataset:
    """Change a dataset; what could change its records queues it to be processed, which happens beside what is searched.

    A processing under way starts over. Raises `DatasetNotFound`, `FileNotKept`.
    """
    _lock(tx, scope, dataset_id)
    row = row_of(tx, scope, dataset_id)
    draft = changes.apply(draft_of(row))
    file_id = row["file_id"]
    if changes.file is not None:
        file_id = changes.file.id
        if not store.use_file(tx, scope.organization_id, file_id, dataset_id):
            raise FileNotKept("The file is used by another dataset; upload it again.")
    store.update_dataset(tx, scope.organization_id, dataset_id, draft, file_id, row["version"])
    if changes.embedder is not None:
        _refer(tx, scope, dataset_id, draft.embedder)
    if changes.are_deep and (draft != draft_of(row) or file_id != row["file_id"]):
        _want(tx, scope, dataset_id, confirmed=confirmed, queue=queue)
    return get(tx, scope, dataset_id)


def process(tx: Tx, scope: Scope, dataset_id: int, *, confirmed: bool = False, queue: str = SHARED_QUEUE) -> Dataset:
    """Queue a dataset to be processed, which repeats nothing that is there; one under way starts over.

    `confirmed`: removing many records is meant.
    """
    _lock(tx, scope, dataset_id)
    _want(tx, scope, dataset_id, confirmed=confirmed, queue=queue)
    return get(tx, scope, dataset_id)


def _want(tx: Tx, scope: Scope, dataset_id: int, *, confirmed: bool, queue: str) -> None:
    revision = store.update_pending(tx, scope.organization_id, dataset_id, confirmed=confirmed)
    enqueue_ingest(tx, scope.organization_id, dataset_id, str(revision), queue=queue)


def delete(tx: Tx, scope: Scope, dataset_id: int) -> None:
    """Remove a dataset with all that was made of it. Raises `DatasetNotFound`; `Busy` while it is processed."""
    if _lock(tx, scope, dataset_id)["ingest_status"] == "processing":
        raise Busy(f"Dataset {dataset_id} is being processed; delete it when that has ended.")
    _remove(tx, scope, dataset_id)


def forget_agent(tx: Tx, organization_id: int, agent_id: int) -> None:
    """An agent goes, and its datasets with it: nothing needs their secrets any more."""
    scope = Scope(organization_id, agent_id)
    for dataset_id in store.list_ids(tx, organization_id, agent_id):
        _remove(tx, scope, dataset_id)


def _remove(tx: Tx, scope: Scope, dataset_id: int) -> None:
    vault.refer_only(tx, scope.organization_id, [], _referrer(dataset_id))
    store.delete_dataset(tx, scope.organization_id, dataset_id)
    _emit(tx, scope, "dataset.deleted", dataset_id, {})


def list_versions(tx: Tx, scope: Scope, dataset_id: int) -> list[Version]:
    """The versions that can be gone back to, newest first."""
    active = row_of(tx, scope, dataset_id)["version"]
    return [_version(row, active) for row in store.list_versions(tx, scope.organization_id, dataset_id)]


def get_version(tx: Tx, scope: Scope, dataset_id: int, version: int) -> Version:
    """One version. Raises `VersionNotFound`."""
    active = row_of(tx, scope, dataset_id)["version"]
    return _version(_find_version(tx, scope, dataset_id, version), active)


def activate(tx: Tx, scope: Scope, dataset_id: int, version: int) -> Dataset:
    """Go to another version at once; the dataset's file and settings become those it was made of.

    Raises `VersionNotFound`; `Busy` while the dataset is processed.
    """
    if _lock(tx, scope, dataset_id)["ingest_status"] == "processing":
        raise Busy(f"Dataset {dataset_id} is being processed; its version can be chosen when that has ended.")
    row = _find_version(tx, scope, dataset_id, version)
    draft = replace(
        draft_of(row_of(tx, scope, dataset_id)),
        type=row["file_type"],
        template=row["template"],
        options=TemplateOptions(**row["options"]),
        primary_key_field=row["primary_key_field"],
        embedder=EmbedderChoice(**row["embedder"]),
    )
    store.update_dataset(tx, scope.organization_id, dataset_id, draft, row["file_id"], version)
    store.update_completed(tx, scope.organization_id, dataset_id, row["records"])
    _refer(tx, scope, dataset_id, draft.embedder)
    _emit(tx, scope, "dataset.activated", dataset_id, {"version": version})
    return get(tx, scope, dataset_id)


def live_version(tx: Tx, organization_id: int, dataset_id: int) -> int | None:
    """The version of a dataset that is searched; None before the first. Raises `DatasetNotFound`."""
    agent_id = store.find_agent_of(tx, organization_id, dataset_id)
    if agent_id is None:
        raise DatasetNotFound(f"There is no dataset {dataset_id}.")
    return row_of(tx, Scope(organization_id, agent_id), dataset_id)["version"]


def embedder_of(tx: Tx, organization_id: int, dataset_id: int) -> EmbedderChoice:
    """What makes the vectors of a dataset, whichever agent it belongs to. Raises `DatasetNotFound`."""
    return get(tx, _scope_of(tx, organization_id, dataset_id), dataset_id).embedder


def record_rows(tx: Tx, organization_id: int, dataset_id: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(record key, row as it came) of every record that is searched, in the order of the file, with flat memory.

    Raises `DatasetNotFound`.
    """
    return listing.record_rows(tx, organization_id, row_of(tx, _scope_of(tx, organization_id, dataset_id), dataset_id))


def _scope_of(tx: Tx, organization_id: int, dataset_id: int) -> Scope:
    agent_id = store.find_agent_of(tx, organization_id, dataset_id)
    if agent_id is None:
        raise DatasetNotFound(f"There is no dataset {dataset_id}.")
    return Scope(organization_id, agent_id)


def write_errors(database: Database, scope: Scope, dataset_id: int) -> Iterator[bytes]:
    """A CSV of the rows that are no records, or not as they are in the file, of the latest processing."""
    with database.tx(scope.organization_id) as tx:
        row = row_of(tx, scope, dataset_id)
        version = store.find_error_version(tx, scope.organization_id, dataset_id)
        columns: list[str] = []
        if row["version"] is not None:
            columns = [item.name for item in get_version(tx, scope, dataset_id, row["version"]).columns]
    first = list(_error_rows(database, scope, dataset_id, version, 0)) if version is not None else []
    for item in first:
        if isinstance(item[5], dict):
            columns.extend(name for name in item[5] if name not in columns)
    header = ["line", "kind", "record_key", "reason", "raw", *columns]

    def rows() -> Iterator[list[Any]]:
        page = first
        while page:
            for _, kind, line, key, reason, data in page:
                cells = [data.get(name) for name in columns] if isinstance(data, dict) else [None] * len(columns)
                yield [line, kind, key, reason, None if isinstance(data, dict) else data, *cells]
            page = list(_error_rows(database, scope, dataset_id, version or 0, page[-1][0]))

    yield from write_csv(rows(), header)


def _error_rows(database: Database, scope: Scope, dataset_id: int, version: int, after: int) -> list[Any]:
    with database.tx(scope.organization_id) as tx:
        return store.list_errors(tx, scope.organization_id, dataset_id, version, after=after, limit=ERRORS_PAGE)


def _lock(tx: Tx, scope: Scope, dataset_id: int) -> dict[str, Any]:
    found = store.lock_dataset(tx, scope.organization_id, scope.agent_id, dataset_id)
    if found is None:
        raise DatasetNotFound(f"Agent {scope.agent_id} has no dataset {dataset_id}.")
    return found


def _find_version(tx: Tx, scope: Scope, dataset_id: int, version: int) -> dict[str, Any]:
    row = store.find_version(tx, scope.organization_id, dataset_id, version)
    if row is None:
        raise VersionNotFound(f"Dataset {dataset_id} has no version {version}.")
    return row


def _referrer(dataset_id: int) -> str:
    return f"dataset:{dataset_id}"


def _refer(tx: Tx, scope: Scope, dataset_id: int, choice: EmbedderChoice) -> None:
    """Tell the vault which secret the dataset needs."""
    secret_ref = choice.config.get("secret_ref")
    refs = [str(secret_ref)] if secret_ref else []
    vault.refer_only(tx, scope.organization_id, refs, _referrer(dataset_id))


def _emit(tx: Tx, scope: Scope, kind: str, dataset_id: int, data: dict[str, Any]) -> None:
    facts = {"dataset_id": dataset_id, "agent_id": scope.agent_id, **data}
    events.emit(tx, scope.organization_id, kind, subject=f"dataset:{dataset_id}", data=facts)


def draft_of(row: dict[str, Any]) -> Draft:
    """What a dataset's line says it should be."""
    return Draft(
        row["title"],
        row["type"],
        row["template"],
        TemplateOptions(**row["options"]),
        row["primary_key_field"],
        EmbedderChoice(**row["embedder"]),
    )


def file_of(row: dict[str, Any]) -> Sent:
    """The file that a dataset's line names."""
    return Sent(row["file_id"], row["object_key"], row["file_name"], row["file_type"], row["size_bytes"], row["sha256"])


def dataset_of(row: dict[str, Any]) -> Dataset:
    """A dataset from its line."""
    draft = draft_of(row)
    return Dataset(
        row["id"],
        row["agent_id"],
        draft.title,
        row["object_key"],
        row["file_name"],
        draft.type,
        draft.template,
        draft.options,
        draft.primary_key_field,
        draft.embedder,
        row["ingest_status"],
        row["last_error"],
        None if row["progress"] is None else Progress(**row["progress"]),
        row["last_unfurled_at"],
        row["source_count"],
        row["version"],
        None if row["rows_in"] is None else _receipt(row),
        row["warnings"] or [],
        row["created_at"],
        row["updated_at"],
    )


def _receipt(row: dict[str, Any]) -> Receipt:
    return Receipt(
        row["rows_in"],
        row["records"],
        row["duplicates"],
        row["empties"],
        row["failures"],
        FileReceipt(**row["reading"]["receipt"]),
    )


def _version(row: dict[str, Any], active: int | None) -> Version:
    how = "none" if row["vectors_table"] is None else "exact" if row["ef_search"] is None else "hnsw"
    return Version(
        row["version"],
        row["version"] == active,
        row["object_key"],
        row["file_name"],
        row["template"],
        TemplateOptions(**row["options"]),
        row["primary_key_field"],
        EmbedderChoice(**row["embedder"]),
        columns_from(row["columns"]),
        _receipt(row),
        Difference(row["added"], row["changed"], row["removed"], row["unchanged"]),
        row["chunks"],
        row["embedded"],
        how,
        row["recall"],
        row["warnings"],
        row["seconds"],
        row["created_at"],
    )
