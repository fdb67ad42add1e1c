"""One guarded SELECT over rows of our own database: for rooms that let users query what is theirs.

The text may name one relation, which stands in a WITH that the caller wrote; the guard refuses every other. The second
wall is the role: it may read what row-level security shows it and nothing else, in a transaction that is READ ONLY,
on a connection of its own, which is closed after. Time, rows and sizes are bounded as for any source, memory where the
server is on this machine, files of its sorts where the login may say so, and a plan that would make far more rows than
there are is not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from gristmill.base import jsons
from gristmill.base.errors import FieldError
from gristmill.sources.guard import CheckedQuery, check_select, refuse
from gristmill.sources.kinds.postgres import open_cursor, read_pages
from gristmill.sources.memory import bound_memory
from gristmill.sources.names import place
from gristmill.sources.session import Limits, QueryFailed, Session, read_only

WORK_MEMORY = "32MB"
"""Of one sort or hash; beyond, it goes on in files."""
MEMORY_GROWTH_MAX = 256 * 1024**2
"""What a query may take in all. Values and aggregates have no files to go on in."""
FILES_MAX = "1GB"
"""Of all sorts and hashes of a query."""
OUT_OF_MEMORY = "53200"
PLAN_ROWS_MAX = 20_000_000
"""Rows that one step of a plan may be expected to make: a join of everything with everything makes more."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a SELECT may run."""

    url: str
    role: str
    settings: Mapping[str, str]
    """Set for the transaction; row-level security goes by them."""
    relation: str
    """The one name that the text may read from."""
    rows_sql: str
    """The SELECT behind that name; not from a user."""
    limits: Limits


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """What a SELECT gave."""

    columns: list[dict[str, str]]
    """`{name, type}`."""
    rows: list[list[Any]]
    truncated: bool
    """Whether there are more rows."""


def check(text: str, relation: str) -> CheckedQuery:
    """A SELECT that may run. Raises `QueryRefused`, which says what is refused and why."""
    return check_select(text, allowed_relations=frozenset({(None, relation)}))


def run(sandbox: Sandbox, checked: CheckedQuery, *, rows_max: int) -> SandboxAnswer:
    """Run a checked SELECT. Raises `QueryRefused`, `QueryFailed` with line and column, or `QueryTimedOut`."""
    try:
        return _run(sandbox, checked, rows_max)
    except QueryFailed as error:
        if error.facts.get("sqlstate") != OUT_OF_MEMORY:
            raise
        size = MEMORY_GROWTH_MAX // 1024**2
        message = f"The query needs more than the {size} MB of memory that one may take."
        raise QueryFailed(message, errors=(FieldError("query", message),), sqlstate=OUT_OF_MEMORY) from None


def _run(sandbox: Sandbox, checked: CheckedQuery, rows_max: int) -> SandboxAnswer:
    limits = sandbox.limits
    with read_only(sandbox.url, limits) as session:
        _enter(session, sandbox)
        # The relation is no table, so there is nothing about it to look up; all else is judged as usual.
        text = place(session, replace(checked, relations=()))
        head = f'WITH "{sandbox.relation}" AS (\n{sandbox.rows_sql}\n) '
        _judge_plan(session, checked, head)
        columns = open_cursor(session, text, rows_max + 1, head=head)
        rows: list[list[Any]] = []
        size = 0
        with closing(read_pages(session, limits)) as found:
            for row_size, row in (item for page in found for item in page):
                size += row_size
                if len(rows) == rows_max or (rows and size > limits.preview_bytes):
                    return SandboxAnswer(columns, rows, truncated=True)
                rows.append(row)
    return SandboxAnswer(columns, rows, truncated=False)


def _enter(session: Session, sandbox: Sandbox) -> None:
    """Become the role, for good: the transaction ends with the connection."""
    wanted = {
        **sandbox.settings,
        "work_mem": WORK_MEMORY,
        "hash_mem_multiplier": "1",
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
    }
    for name, value in wanted.items():
        session.ask("SELECT pg_catalog.set_config(%s, %s, true)", name, value)
    session.ask(
        "SELECT pg_catalog.set_config('temp_file_limit', %s, true)"
        " WHERE pg_catalog.has_parameter_privilege('temp_file_limit', 'SET')",
        FILES_MAX,
    )
    bound_memory(session.connection, MEMORY_GROWTH_MAX)
    session.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(sandbox.role)))


def _judge_plan(session: Session, checked: CheckedQuery, head: str) -> None:
    """Refuse what would make too many rows, before it takes memory and time."""
    before = f"EXPLAIN (FORMAT JSON) {head}SELECT * FROM (\n"
    result = session.run(before, checked.sql, "\n) AS gm_query")
    waiting: list[Any] = [item["Plan"] for item in jsons.loads(result.get_value(0, 0) or b"[]")]
    while waiting:
        node = waiting.pop()
        if node["Plan Rows"] > PLAN_ROWS_MAX:
            raise refuse(
                checked.sql,
                f"The query would make about {node['Plan Rows']} rows on its way; {PLAN_ROWS_MAX} are allowed.",
            )
        waiting.extend(node.get("Plans", ()))
