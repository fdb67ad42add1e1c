"""Saved sources of rows: a CSV text or a PostgreSQL query, with a default mapping.

A batch takes its rows in two steps: `get` (and `find_snapshot`) in a short transaction, then `open_rows` outside any.
`check_sandboxed` and `run_sandboxed` run one guarded SELECT over rows of our own database, for rooms with a SQL door.
"""

from gristmill.sources.guard import CheckedQuery, QueryRefused
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
from gristmill.sources.sandbox import Sandbox, SandboxAnswer
from gristmill.sources.sandbox import check as check_sandboxed
from gristmill.sources.sandbox import run as run_sandboxed
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
from gristmill.sources.session import Limits as SourceLimits
from gristmill.sources.session import QueryFailed

__all__ = [
    "CheckedQuery",
    "DefaultMapping",
    "Draft",
    "Host",
    "OpenedRows",
    "Prepared",
    "Preview",
    "QueryFailed",
    "QueryRefused",
    "Sandbox",
    "SandboxAnswer",
    "Snapshot",
    "SnapshotNotFound",
    "Source",
    "SourceColumn",
    "SourceConfig",
    "SourceLimits",
    "SourceNotFound",
    "StoredSource",
    "check_sandboxed",
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
    "run_sandboxed",
    "take_snapshot",
    "test",
    "update",
]
