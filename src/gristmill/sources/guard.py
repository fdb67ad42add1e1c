"""The SQL guard: is this text one harmless SELECT? No database, no network, a few milliseconds.

The text is parsed by PostgreSQL's own grammar and every node of the tree must be one we know (default
deny): node types, functions, types, operators and relations are each judged by name.

What the guard can't know is what a name means in the user's database. It relies on the reader
(`kinds/postgres.py`), which runs the text with `search_path = pg_catalog`, so that every function, type,
operator and collation named without a schema is PostgreSQL's own, and which looks at the catalog for
the rest (`names.py`): views that call functions, redefined casts, additions to `pg_catalog`. The reader
also holds the limits of time and memory: a recursive CTE or a cross join is a fine SELECT that may never end.

One trap deserves its name: PostgreSQL runs a function for what looks like a column. In
`SELECT q.pg_sleep FROM unnest(ARRAY[30.0]) q` and in `SELECT ('/etc/passwd'::text).pg_read_file` the
last name is a call with one argument. Names in such a place that are refused built-ins are refused here
as well; functions of the user's own schemas are out of reach because of the search path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, ClassVar, cast

import pglast
from pglast import ast
from pglast.parser import ParseError

from gristmill.base.errors import Error, FieldError
from gristmill.sources.grammar import CLOCKS, NODES, SAMPLES, TYPES, WHY_NODE

SQL_BYTES_MAX = 32 * 1024
"""Length of a query in UTF-8."""
BRACKETS_MAX = 100
"""Brackets open at once."""
DEPTH_MAX = 500
"""Depth of the syntax tree: the database recurses over it."""
GROWTH_MAX = 1_000_000
"""Largest count written into `repeat`, `lpad`, `rpad`, `array_fill` or `format`."""


def _names(file: str) -> frozenset[str]:
    text = files("gristmill.sources").joinpath(file).read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


FUNCTIONS = _names("functions.txt")
"""Built-in functions that may be called, from the catalogs of real servers."""
FIELDS_REFUSED = _names("functions_refused.txt")
"""Refused built-ins that a column reference could call."""

GROWERS = frozenset({"repeat", "lpad", "rpad", "array_fill", "format"})
_WIDTH = re.compile(r"%[-\d$]*\d{7}")


class QueryRefused(Error):
    """The SQL guard refused the query."""

    code: ClassVar[str] = "query_refused"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view as the query names it; names of its own WITH are not among them."""

    schema: str | None
    name: str
    at: int
    """Index of the name's first character in the text."""


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """A query that passed, and the names whose meaning only the database knows."""

    sql: str
    """The one statement, without the semicolon."""
    relations: tuple[Relation, ...]
    functions: frozenset[str]
    fields: frozenset[str]
    """Last names of dotted column references: PostgreSQL may take them for functions."""
    operators: frozenset[str]


@dataclass(slots=True)
class _Found:
    """What the walk collects."""

    sql: str
    allowed_relations: frozenset[tuple[str | None, str]] | None
    relations: list[Relation] = field(default_factory=list[Relation])
    functions: set[str] = field(default_factory=set[str])
    fields: set[str] = field(default_factory=set[str])
    operators: set[str] = field(default_factory=set[str])


def check_select(sql: str, *, allowed_relations: frozenset[tuple[str | None, str]] | None = None) -> CheckedQuery:
    """Raise `QueryRefused`, which says what is refused and why, or return the query with its names.

    `allowed_relations` are the only tables and views, as `(schema, name)`, that may be read; None means
    that the database's grants decide.
    """
    _check_text(sql)
    sql, statement = _only_statement(sql)
    found = _Found(sql, allowed_relations)
    for node, scope in _walk(sql, statement):
        if isinstance(node, ast.RangeVar):
            _judge_relation(found, node, scope)
        elif (judge := _JUDGES.get(type(node).__name__)) is not None:
            judge(found, node)
    return CheckedQuery(
        sql,
        tuple(sorted(found.relations, key=lambda relation: relation.at)),
        frozenset(found.functions),
        frozenset(found.fields),
        frozenset(found.operators),
    )


def called_functions(sql: str) -> frozenset[str]:
    """Built-in functions called by a statement that is not ours to judge: the text of a view."""
    names: set[str] = set()
    for node, _scope in _walk(sql, _parse(sql)[0].stmt, deny=False):
        if isinstance(node, ast.FuncCall):
            schema, name = _qualified(cast("Any", node).funcname)
            if schema in (None, "pg_catalog"):
                names.add(name)
    return frozenset(names)


def refuse(sql: str, message: str, at: int | None = None) -> QueryRefused:
    """A refusal with the line and column of character `at`."""
    if at is None or at < 0:
        return QueryRefused(message, errors=(FieldError("query", message),))
    before = sql[:at]
    line, column = before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1
    error = FieldError("query", message, line, column)
    return QueryRefused(message, errors=(error,), line=line, column=column)


def _check_text(sql: str) -> None:
    if "\0" in sql:
        raise refuse(sql, "The query holds a NUL character.", sql.index("\0"))
    try:
        size = len(sql.encode())
    except UnicodeEncodeError as error:
        raise refuse(sql, "The query holds half of a surrogate pair.", error.start) from None
    if size > SQL_BYTES_MAX:
        raise refuse(sql, f"The query has {size} bytes; the limit is {SQL_BYTES_MAX}.")
    if sql.count("(") + sql.count("[") > BRACKETS_MAX:
        _check_brackets(sql)


def _check_brackets(sql: str) -> None:
    """Count brackets as the scanner sees them, so that those inside strings don't matter."""
    open_now = 0
    try:
        tokens = pglast.parser.scan(sql)
    except ParseError as error:
        raise _syntax_error(sql, error) from None
    for token in tokens:
        if token.name in ("ASCII_40", "ASCII_91"):
            open_now += 1
        elif token.name in ("ASCII_41", "ASCII_93"):
            open_now -= 1
        if open_now > BRACKETS_MAX:
            message = f"More than {BRACKETS_MAX} brackets are open at once."
            raise refuse(sql, message, token.start)


def _parse(sql: str) -> tuple[Any, ...]:
    try:
        return cast("tuple[Any, ...]", pglast.parser.parse_sql(sql))
    except ParseError as error:
        raise _syntax_error(sql, error) from None


def _syntax_error(sql: str, error: ParseError) -> QueryRefused:
    message = str(error.args[0])
    at = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else None
    return refuse(sql, f"PostgreSQL can't parse the query: {message}.", at)


def _only_statement(sql: str) -> tuple[str, Any]:
    """The text without its semicolon, and the tree, whose locations count from the text's start."""
    statements: Any = _parse(sql)
    if not statements:
        raise refuse(sql, "The query is empty.")
    if len(statements) > 1:
        second = statements[1].stmt_location
        raise refuse(sql, "Only one statement is allowed; a second one starts here.", second)
    statement = statements[0]
    kind = type(statement.stmt).__name__
    if kind != "SelectStmt":
        raise refuse(sql, f"{_sql_word(kind)} is not allowed: only a SELECT is run.", 0)
    end = statement.stmt_location + statement.stmt_len if statement.stmt_len else len(sql)
    return sql[:end].rstrip(), statement.stmt


def _sql_word(kind: str) -> str:
    """`CopyStmt` -> COPY, `CreateTableAsStmt` -> CREATE TABLE AS."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Stmt")).upper()


Scope = frozenset[str]
"""Names of WITH queries that are visible."""


def _walk(sql: str, root: Any, *, deny: bool = True) -> Iterator[tuple[Any, Scope]]:
    """Every node with the WITH names visible at it; no recursion, so that no depth can exhaust ours."""
    stack: list[tuple[Any, Scope, int]] = [(root, frozenset(), 0)]
    while stack:
        node, scope, depth = stack.pop()
        kind = type(node).__name__
        if deny and kind not in NODES:
            why = WHY_NODE.get(kind, "only reading is")
            raise refuse(sql, f"{_sql_word(kind)} is not allowed in a query: {why}.", _at(node))
        if deny and depth > DEPTH_MAX:
            raise refuse(sql, f"The query is nested more than {DEPTH_MAX} levels deep.", _at(node))
        yield node, scope
        if isinstance(node, ast.SelectStmt) and node.withClause is not None:
            scope = _push_with(stack, cast("Any", node.withClause), scope, depth)
        rest = (value for value in _children(node) if not isinstance(value, ast.WithClause))
        stack.extend((value, scope, depth + 1) for value in rest)


def _push_with(stack: list[tuple[Any, Scope, int]], with_clause: Any, scope: Scope, depth: int) -> Scope:
    """Queue the WITH queries, each with what it may see, and return what the statement itself sees."""
    names = [query.ctename for query in with_clause.ctes]
    inner = scope | frozenset(names) if with_clause.recursive else scope
    for query, name in zip(with_clause.ctes, names, strict=True):
        stack.append((query, inner, depth + 1))
        inner |= {name}
    return scope | frozenset(names)


def _children(node: Any) -> Iterator[Any]:
    for name in node:
        waiting = [getattr(node, name)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, ast.Node):
                yield value
            elif isinstance(value, tuple):
                waiting.extend(cast("tuple[Any, ...]", value))


def _at(node: Any) -> int | None:
    at = getattr(node, "location", None)
    return at if isinstance(at, int) else None


def _qualified(names: Iterable[Any]) -> tuple[str | None, str]:
    parts = [str(part.sval) for part in names]
    return ".".join(parts[:-1]) or None, parts[-1]


def _judge_schema(found: _Found, names: Iterable[Any], what: str, at: int | None) -> tuple[str | None, str]:
    """Functions, types, operators and collations must be PostgreSQL's own."""
    schema, name = _qualified(names)
    if schema not in (None, "pg_catalog"):
        message = f"{schema}.{name} is a {what} of a schema; only PostgreSQL's built-in ones are allowed."
        raise refuse(found.sql, message, at)
    return schema, name


def _judge_relation(found: _Found, node: Any, scope: Scope) -> None:
    schema, name = node.schemaname, node.relname
    shown = f"{schema}.{name}" if schema else name
    if node.catalogname:
        raise refuse(found.sql, f"{shown} names another database.", _at(node))
    if name.startswith("pg_") or (schema or "").startswith("pg_") or schema == "information_schema":
        message = f"{shown} is a system catalog; only your own tables and views are allowed."
        raise refuse(found.sql, message, _at(node))
    if schema is None and name in scope:
        return
    allowed = found.allowed_relations
    if allowed is not None and (schema, name) not in allowed:
        raise refuse(found.sql, f"{shown} is not one of the tables this source may read.", _at(node))
    found.relations.append(Relation(schema, name, node.location))


def _judge_function(found: _Found, node: Any) -> None:
    _schema, name = _judge_schema(found, node.funcname, "function", _at(node))
    if name not in FUNCTIONS and name not in TYPES:
        message = (
            f"The function {name}() is not allowed: only PostgreSQL's built-in functions are that neither "
            "change anything nor tell about the server."
        )
        raise refuse(found.sql, message, _at(node))
    found.functions.add(name)
    if name in GROWERS:
        _judge_growth(found, name, node)


def _judge_growth(found: _Found, name: str, node: Any) -> None:
    """A count of nine digits fills the database's memory before any time limit helps."""
    waiting: list[Any] = [*(node.args or ())]
    product = 1.0
    while waiting:
        value = waiting.pop()
        if isinstance(value, ast.A_ArrayExpr | ast.TypeCast):
            waiting.extend(_children(value))
        if not isinstance(value, ast.A_Const):
            continue
        constant: Any = cast("Any", value).val
        text = str(getattr(constant, "sval", ""))
        number = float(getattr(constant, "ival", None) or getattr(constant, "fval", None) or 1)
        product = max(1.0, product * number) if name == "array_fill" else number
        if product > GROWTH_MAX or (name == "format" and _WIDTH.search(text)):
            raise refuse(found.sql, f"{name}() is asked for more than {GROWTH_MAX} pieces.", _at(node))


def _judge_type(found: _Found, node: Any) -> None:
    _schema, name = _judge_schema(found, node.names, "type", _at(node))
    if name not in TYPES or node.setof or node.pct_type:
        message = f"The type {name} is not allowed: only PostgreSQL's plain data types are."
        raise refuse(found.sql, message, _at(node))


def _judge_column(found: _Found, node: Any) -> None:
    _judge_fields(found, node.fields[1:], _at(node))


def _judge_indirection(found: _Found, node: Any) -> None:
    _judge_fields(found, node.indirection, _at(node.arg))


def _judge_fields(found: _Found, names: Iterable[Any], at: int | None) -> None:
    for part in names:
        name = getattr(part, "sval", None)
        if name is None:
            continue
        if name in FIELDS_REFUSED:
            message = f"`.{name}` is not allowed: PostgreSQL would run it as the function {name}()."
            raise refuse(found.sql, message, at)
        found.fields.add(name)


def _judge_operator(found: _Found, names: Iterable[Any] | None, at: int | None) -> None:
    if names:
        _schema, name = _judge_schema(found, names, "operator", at)
        found.operators.add(name)


def _judge_collation(found: _Found, node: Any) -> None:
    _judge_schema(found, node.collname, "collation", _at(node))


def _judge_sample(found: _Found, node: Any) -> None:
    _schema, name = _judge_schema(found, node.method, "sampling method", _at(node))
    if name not in SAMPLES:
        raise refuse(found.sql, f"TABLESAMPLE {name} is not built in.", _at(node))


def _judge_value(found: _Found, node: Any) -> None:
    if not node.op.name.startswith(CLOCKS):
        name = node.op.name.removeprefix("SVFOP_")
        message = f"{name} is not allowed: it tells about the connection, not the data."
        raise refuse(found.sql, message, _at(node))


_JUDGES: dict[str, Callable[[_Found, Any], None]] = {
    "A_Expr": lambda found, node: _judge_operator(found, node.name, _at(node)),
    "A_Indirection": _judge_indirection,
    "CollateClause": _judge_collation,
    "ColumnRef": _judge_column,
    "FuncCall": _judge_function,
    "RangeTableSample": _judge_sample,
    "SQLValueFunction": _judge_value,
    "SortBy": lambda found, node: _judge_operator(found, node.useOp, _at(node)),
    "SubLink": lambda found, node: _judge_operator(found, node.operName, _at(node)),
    "TypeName": _judge_type,
}
"""The rules that need more than the node's type."""
