"""Saved sources of rows: a CSV text or a PostgreSQL query, with a default mapping.

A batch takes its rows in two steps: `get` (and `find_snapshot`) in a short transaction, then `open_rows` outside any.
"""

from gristmill.sources.kinds.postgres import env_keys
from gristmill.sources.model import (
    DefaultMapping,
    Draft,
    Host,
    OpenedRows,
    Prepared,
    Preview,
    Snapshot,
    SnapshotNotFound,
    Source,
    SourceColumn,
    SourceConfig,
    SourceNotFound,
    StoredSource,
)
from gristmill.sources.service import (
    create,
    delete,
    delete_objects,
    find_snapshot,
    get,
    host_of,
    keep_snapshot,
    list_sources,
    open_rows,
    prepare,
    preview,
    take_snapshot,
    test,
    update,
)

__all__ = [
    "DefaultMapping",
    "Draft",
    "Host",
    "OpenedRows",
    "Prepared",
    "Preview",
    "Snapshot",
    "SnapshotNotFound",
    "Source",
    "SourceColumn",
    "SourceConfig",
    "SourceNotFound",
    "StoredSource",
    "create",
    "delete",
    "delete_objects",
    "env_keys",
    "find_snapshot",
    "get",
    "host_of",
    "keep_snapshot",
    "list_sources",
    "open_rows",
    "prepare",
    "preview",
    "take_snapshot",
    "test",
    "update",
]
