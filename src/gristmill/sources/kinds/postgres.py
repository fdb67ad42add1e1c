"""PostgreSQL query as a source: no row is stored, the query runs at preview and batch time.

Defence in depth; each layer alone is known to leak:

1. The operator names the databases: a source holds the *name* of an environment key, never a DSN.
2. `guard.py` parses the text and refuses what is not one harmless SELECT.
3. `names.py` pins the search path to `pg_catalog`, writes the schema in front of table names, and refuses
   views, casts and additions to `pg_catalog` that would run a user's volatile code unseen.
4. `session.py` opens a READ ONLY transaction with timeouts, a wall clock of our own that cancels, and
   the extended protocol, which takes one statement. It never commits.
5. Here: the rows come through a cursor, which takes no utility statement. The server measures each row
   as text before it is sent, so that no value of a gigabyte reaches this process.
6. The role should be able to do nothing but read; `probe` says what it could do and how to change it.

Server memory is the one thing not bounded: a single value may grow to PostgreSQL's own gigabyte
within the time limit. `CONNECTION LIMIT` on the role bounds how many do at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, LiteralString

from gristmill.base.errors import Error, Invalid
from gristmill.sources import values
from gristmill.sources.guard import CheckedQuery, QueryRefused, check_select
from gristmill.sources.kinds import SourceKind
from gristmill.sources.names import place, resolved
from gristmill.sources.rungs import Rung, explain_rung, judge_role, rung
from gristmill.sources.session import STREAM, Limits, QueryFailed, Session, read_only

PLUGIN = SourceKind(
    "postgres", "PostgreSQL query", "A SELECT in one of the databases that the operator named; read when needed."
)

ENV_KEY_PREFIX = "GRISTMILL_SOURCE_"
"""Environment keys that may be named without being listed in the settings."""

FIRST_ROWS = 5
"""Rows that a Test reads."""

Allowed = frozenset[tuple[str | None, str]] | None
"""Relations a source may read as (schema, name), or None: the grants of its role decide."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_CREDENTIAL = re.compile(r"://|[@=\s/:]")

TYPES: LiteralString = """
SELECT t.oid, format_type(t.oid, NULL), t.typname::text, t.typlen,
       CASE WHEN t.typlen = -1 AND e.typarray = t.oid THEN t.typelem ELSE 0 END
FROM pg_type AS t LEFT JOIN pg_type AS e ON e.oid = t.typelem WHERE t.oid = ANY (%s::oid[])
"""

SIZED = frozenset({"text", "varchar", "bytea"})
"""Types whose size is known without writing the value out."""


class SourceKeyRefused(Invalid):
    """That environment key can't be used for a source."""


def resolve_env_key(name: str, environ: Mapping[str, str], listed: Collection[str] = ()) -> str:
    """The connection string behind the name of an environment key; no answer ever holds the value."""
    if _CREDENTIAL.search(name):
        raise SourceKeyRefused(
            "This looks like a connection string. Give the NAME of the environment variable that holds it, "
            f"for example {ENV_KEY_PREFIX}CRM; the value itself must not be stored here."
        )
    if not _KEY.fullmatch(name):
        raise SourceKeyRefused(f"Give the NAME of an environment variable, for example {ENV_KEY_PREFIX}CRM.")
    if name not in listed and (not name.startswith(ENV_KEY_PREFIX) or name == ENV_KEY_PREFIX):
        raise SourceKeyRefused(
            f"{name} can't be used: only {ENV_KEY_PREFIX}* and the keys listed in the settings can be named."
        )
    dsn = environ.get(name, "").strip()
    if not dsn:
        raise SourceKeyRefused(f"{name} is not set in the server's environment.")
    return dsn


def columns_and_rows(
    dsn: str, sql: str, *, limit: int, limits: Limits | None = None, allowed_relations: Allowed = None
) -> tuple[list[dict[str, str]], list[list[Any]], bool]:
    """Columns as `{name, type}`, at most `limit` rows as lists, and whether there are more."""
    limits = limits or Limits()
    checked = check_select(sql)
    with read_only(dsn, limits) as session:
        text = placed(session, checked, allowed_relations)
        columns = open_cursor(session, text, limit + 1)
        rows: list[list[Any]] = []
        size = 0
        for page in _pages(session, limits):
            for row_size, row in page:
                size += row_size
                if len(rows) == limit or (rows and size > limits.preview_bytes):
                    return columns, rows, True
                rows.append(row)
    return columns, rows, False


def stream_rows(
    dsn: str, sql: str, *, row_max: int, limits: Limits = STREAM, allowed_relations: Allowed = None
) -> Iterator[list[dict[str, Any]]]:
    """At most `row_max` rows as `{column: value}`, in pages; one snapshot for all of them.

    Column names that come twice get a number: `id`, `id_2`. Close the iterator to stop early.
    """
    checked = check_select(sql)
    left = row_max
    with read_only(dsn, limits) as session:
        text = placed(session, checked, allowed_relations)
        names = [column["name"] for column in open_cursor(session, text, row_max)]
        for page in _pages(session, limits):
            rows = [dict(zip(names, row, strict=True)) for _size, row in page[:left]]
            left -= len(rows)
            if rows:
                yield rows


def probe(dsn: str, sql: str, *, limits: Limits | None = None, allowed_relations: Allowed = None) -> list[Rung]:
    """The Test ladder: connect, parse, role, explain, first rows; it ends at the first rung that breaks.

    The rung `role` may fail and the ladder goes on: a role that could write is a risk, not a fault.
    """
    rungs: list[Rung] = []
    try:
        with ExitStack() as stack:
            with rung(rungs, "connect") as note:
                session = stack.enter_context(read_only(dsn, limits or Limits()))
                server = session.connection.info.server_version
                note.detail = f"PostgreSQL {server // 10000}.{server % 10000} answered."
            with rung(rungs, "parse") as note:
                checked = check_select(sql)
                names = [f"{it.schema}.{it.name}" if it.schema else it.name for it in checked.relations]
                reads = f" that reads {', '.join(dict.fromkeys(names))}" if names else ""
                note.detail = f"One SELECT{reads}."
            _climb(session, checked, allowed_relations, rungs)
    except Error as error:
        if not rungs or rungs[-1].ok:
            raise
        rungs[-1].detail = error.message
    return rungs


def _climb(session: Session, checked: CheckedQuery, allowed: Allowed, rungs: list[Rung]) -> None:
    """The rungs that need an open session."""
    with rung(rungs, "role") as note:
        note.ok, note.detail, note.fix = judge_role(session)
    with rung(rungs, "explain") as note:
        text = placed(session, checked, allowed)
        note.ok, note.detail, note.fix = explain_rung(session, text)
    with rung(rungs, "first rows") as note:
        columns = open_cursor(session, text, FIRST_ROWS)
        rows = sum(len(page) for page in _pages(session, session.limits))
        note.detail = f"{rows} rows of {len(columns)} columns: {', '.join(it['name'] for it in columns[:20])}."


def placed(session: Session, checked: CheckedQuery, allowed_relations: Allowed) -> str:
    """The text that may be run in this session; see `names.place`."""
    text = place(session, checked)
    if allowed_relations is not None:
        for relation in resolved(checked, text):
            if (relation.schema, relation.name) not in allowed_relations:
                shown = f"{relation.schema}.{relation.name}" if relation.schema else relation.name
                raise QueryRefused(f"{shown} is not one of the tables this source may read.")
    return text


def open_cursor(session: Session, text: str, row_max: int) -> list[dict[str, str]]:
    """Declare the cursor `gm`, whose rows are the size in bytes and then the query's columns.

    The two `OFFSET 0` keep the planner from merging the levels and so computing each value again for its
    size. A row over the limit comes as NULLs with its true size.
    """
    result = session.describe(text)
    oids = [result.ftype(index) for index in range(result.nfields)]
    types = {row[0]: row for row in session.ask(TYPES, oids)}
    names = _distinct([(result.fname(index) or b"").decode() for index in range(result.nfields)])
    inner = [f"c{index}" for index in range(len(oids))]
    limit = session.limits.row_bytes_max
    capped = "".join(f", CASE WHEN gm_size <= {limit} THEN {name} END" for name in inner)
    sizes = " + ".join(["0::int8", *(_size(name, types[oid], limit) for name, oid in zip(inner, oids, strict=True))])
    aliases = f"({', '.join(inner)})" if inner else ""
    before = (
        f"DECLARE gm NO SCROLL CURSOR FOR SELECT gm_size{capped} FROM (SELECT {sizes} AS gm_size"
        f"{''.join(f', {name}' for name in inner)} FROM (SELECT * FROM (\n"
    )
    after = f"\n) AS gm_query OFFSET 0) AS gm_rows{aliases} OFFSET 0) AS gm_sized LIMIT {row_max}"
    session.run(before, text, after)
    values.register(
        session.connection,
        [(row[2], row[4], row[0]) for row in types.values() if row[4] and row[0] >= 16384],  # noqa: PLR2004 - users' types
    )
    return [{"name": name, "type": types[oid][1]} for name, oid in zip(names, oids, strict=True)]


def _size(name: str, kind: tuple[Any, ...], limit: int) -> str:
    """SQL for the bytes of one value; `format` uses the type's output function and never a user's cast.

    A value that is over the limit as it is stored is not written out to be measured.
    """
    _oid, _shown, type_name, length, _element = kind
    if length > 0:
        return f"{length}::int8"
    if type_name in SIZED:
        return f"coalesce(octet_length({name}), 0)::int8"
    stored, written = f"pg_column_size({name})", f"octet_length(format('%s', {name}))"
    return f"coalesce(CASE WHEN {stored} > {limit} THEN {stored} ELSE {written} END, 0)::int8"


def _distinct(names: Sequence[str]) -> list[str]:
    """`id, id` -> `id, id_2`: rows are objects, and a second column must not hide the first."""
    taken: set[str] = set()
    out: list[str] = []
    for name in names:
        new, number = name, 1
        while new in taken or (number > 1 and new in names):
            number += 1
            new = f"{name}_{number}"
        taken.add(new)
        out.append(new)
    return out


def _pages(session: Session, limits: Limits) -> Iterator[list[tuple[int, list[Any]]]]:
    """Rows with their sizes, page by page; a row too big to read ends it with a sentence."""
    number = 0
    fetch = f"FETCH FORWARD {limits.page_rows} FROM gm".encode()
    while True:
        page: list[tuple[int, list[Any]]] = []
        size = got = 0
        session.text = ""
        session.check_time()
        with session.connection.cursor() as cursor:
            for row in cursor.stream(fetch):
                number += 1
                got += 1
                if row[0] > limits.row_bytes_max:
                    raise QueryFailed(
                        f"Row {number} of the query has {row[0]} bytes; the limit is {limits.row_bytes_max}.",
                        limit=limits.row_bytes_max,
                        size=row[0],
                    )
                size += row[0]
                page.append((row[0], list(row[1:])))
                if size >= limits.page_bytes:
                    yield page
                    page, size = [], 0
        if page:
            yield page
        if got < limits.page_rows:
            return
