"""The SQL door: one read-only SELECT over a dataset's records, as the table `records`.

The table has the file's columns by their own names, typed, and `_key` and `_row`: the record's key and its row number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pglast import ast, parser

from gristmill.base.db import QUERY_ROLE, Database, Tx
from gristmill.base.errors import Conflict
from gristmill.datasets import rows_store, search_store, store
from gristmill.datasets.model import Answer, Citation, DatasetColumn, DatasetNotFound, QueryColumn, columns_from
from gristmill.datasets.turns import Turns
from gristmill.sources import (
    CheckedQuery,
    QueryFailed,
    QueryRefused,
    Sandbox,
    SandboxAnswer,
    SourceLimits,
    check_sandboxed,
    run_sandboxed,
)

RELATION = "records"
LIMITS = SourceLimits(statement_ms=10_000, total_s=15.0, row_bytes_max=1024**2)
"""Time of a query, and size of a row."""
ROWS_MAX = 1_000
"""Rows of one answer."""
TURNS = Turns(at_once=4, waiting_max=12, wait_s=10.0)
"""Queries of one organization, which could keep all processors and all threads of a server busy."""
KEY_COLUMN, ROW_COLUMN = "gm_key", "gm_row"
"""Columns that are put behind a query's own, to cite by."""
USUAL_AGGREGATES = frozenset({"array_agg", "avg", "count", "max", "min", "string_agg", "sum"})
"""Spares a first try in vain; the database tells the others."""
GROUPING_ERROR = "42803"
"""What the database says of a column beside an aggregate."""


class NothingToQuery(Conflict):
    """The dataset has not been processed yet."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What a query runs on."""

    sandbox: Sandbox
    version: int
    records: int
    warnings: list[str]


def query(
    database: Database, organization_id: int, agent_id: int, dataset_id: int, text: str, *, rows_max: int = ROWS_MAX
) -> Answer:
    """Run a SELECT over a dataset's records, on a connection of its own; no transaction may be open.

    Raises `QueryRefused`, `QueryFailed` or `QueryTimedOut`, each with line and column where there is a place;
    `DatasetNotFound`, `NothingToQuery`, `TooManyQueries`.
    """
    try:
        with TURNS.take(organization_id):
            return _query(database, organization_id, agent_id, dataset_id, text, min(rows_max, ROWS_MAX))
    except (QueryFailed, QueryRefused) as error:  # the guard knows the text as `query`
        error.errors = tuple(replace(item, field="sql") for item in error.errors)
        raise


def _query(
    database: Database, organization_id: int, agent_id: int, dataset_id: int, text: str, rows_max: int
) -> Answer:
    checked = check_sandboxed(text, RELATION)
    cited = _with_citations(checked)
    with database.tx(organization_id) as tx:
        target = _target(
            tx, organization_id, agent_id, dataset_id, needs_row=cited is not None or "_row" in text.lower()
        )
    answer, has_keys = _run(target.sandbox, checked, cited, rows_max)
    citations: list[Citation] | None = None
    columns, rows = answer.columns, answer.rows
    if has_keys:
        citations = [Citation(str(row[-2]), int(row[-1])) for row in rows]
        columns, rows = columns[:-2], [row[:-2] for row in rows]
    return Answer(
        dataset_id,
        target.version,
        [QueryColumn(**column) for column in columns],
        rows,
        answer.truncated,
        citations,
        target.records,
        target.warnings,
    )


def _target(tx: Tx, organization_id: int, agent_id: int, dataset_id: int, *, needs_row: bool) -> _Target:
    row = store.find_dataset(tx, organization_id, agent_id, dataset_id)
    if row is None:
        raise DatasetNotFound(f"Agent {agent_id} has no dataset {dataset_id}.")
    if row["version"] is None:
        raise NothingToQuery(f"Dataset {dataset_id} has no records yet: it is {row['ingest_status']}.")
    found = search_store.find_rows(tx, organization_id, dataset_id, row["version"])
    columns = columns_from(found["columns"])
    positions = found["positions"] if needs_row else None
    sql = rows_store.records_query(tx, found["rows_table"], columns, found["members"], positions)
    settings = {"gristmill.organization_id": str(organization_id), "gristmill.dataset_id": str(dataset_id)}
    sandbox = Sandbox(tx.database.url, QUERY_ROLE, settings, RELATION, sql, LIMITS)
    return _Target(sandbox, row["version"], row["records"], _warnings(row, columns))


def _warnings(row: dict[str, Any], columns: list[DatasetColumn]) -> list[str]:
    """What keeps an answer from being about every row of the file."""
    out: list[str] = []
    left_out = row["failures"] + row["empties"]
    if left_out:
        out.append(f"{left_out} rows of the file are no records, since the template gave no text for them.")
    unfit = [f"{column.sql_name} ({column.unfit})" for column in columns if column.unfit]
    if unfit:
        out.append(f"Cells that are not of their column's kind are null: {', '.join(unfit[:20])}.")
    return out


def _with_citations(checked: CheckedQuery) -> CheckedQuery | None:
    """The query with key and row number behind its own columns; None where its rows are surely not single records."""
    statement: Any = parser.parse_sql(checked.sql)[0].stmt
    if not _reads_records_only(statement):
        return None
    table = statement.fromClause[0]
    words = [token for token in parser.scan(checked.sql) if token.name == "FROM" and token.start < table.location]
    if not words:
        return None
    source = '"' + (table.alias.aliasname if table.alias else RELATION).replace('"', '""') + '".'
    end = words[-1].start
    columns = f", {source}_key AS {KEY_COLUMN}, {source}_row AS {ROW_COLUMN} "
    return check_sandboxed(checked.sql[:end] + columns + checked.sql[end:], RELATION)


def _reads_records_only(statement: Any) -> bool:
    """Whether a SELECT has one plain FROM and no grouping; of rarer aggregates the database will tell."""
    clauses = ("withClause", "groupClause", "havingClause", "distinctClause", "valuesLists", "larg", "rarg")
    return (
        not any(getattr(statement, name) for name in clauses)
        and bool(statement.targetList)
        and len(statement.fromClause or ()) == 1
        and isinstance(statement.fromClause[0], ast.RangeVar)
        and not any(_is_aggregate(target.val) for target in statement.targetList)
    )


def _is_aggregate(value: Any) -> bool:
    call: Any = value if isinstance(value, ast.FuncCall) else None
    return call is not None and not call.over and call.funcname[-1].sval in USUAL_AGGREGATES


def _run(
    sandbox: Sandbox, checked: CheckedQuery, cited: CheckedQuery | None, rows_max: int
) -> tuple[SandboxAnswer, bool]:
    """The answer, and whether it ends with what to cite by."""
    if cited is not None:
        try:
            return run_sandboxed(sandbox, cited, rows_max=rows_max), True
        except QueryFailed as error:
            if error.facts.get("sqlstate") != GROUPING_ERROR:
                raise
    return run_sandboxed(sandbox, checked, rows_max=rows_max), False
