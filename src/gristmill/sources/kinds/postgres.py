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
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any, LiteralString, cast

from gristmill.base.config import Settings
from gristmill.base.errors import Error, FieldError, Invalid, TooLarge
from gristmill.sources import values
from gristmill.sources.guard import CheckedQuery, QueryRefused, check_select
from gristmill.sources.model import (
    Content,
    Draft,
    Host,
    RowStream,
    Sample,
    SourceColumn,
    StoredSource,
    refuse_settings,
)
from gristmill.sources.names import place, resolved
from gristmill.sources.rungs import Rung, explain_rung, judge_role, rung
from gristmill.sources.session import STREAM, Limits, QueryFailed, Session, read_only

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


OWN_SETTINGS = frozenset(f"GRISTMILL_{name.upper()}" for name in Settings.model_fields)
"""Some settings of ours have the prefix as well, and hold no connection string."""


class SourceKeyRefused(Invalid):
    """That environment key can't be used for a source."""

    def __init__(self, message: str) -> None:
        super().__init__(message, errors=(FieldError("config.env_key", message),))


def resolve_env_key(name: str, environ: Mapping[str, str], listed: Collection[str] = ()) -> str:
    """The connection string behind the name of an environment key; no answer ever holds the value."""
    if _CREDENTIAL.search(name):
        raise SourceKeyRefused(
            "This looks like a connection string. Give the NAME of the environment variable that holds it, "
            f"for example {ENV_KEY_PREFIX}CRM; the value itself must not be stored here."
        )
    if not _KEY.fullmatch(name):
        raise SourceKeyRefused(f"Give the NAME of an environment variable, for example {ENV_KEY_PREFIX}CRM.")
    if name not in listed and not _has_prefix(name):
        raise SourceKeyRefused(
            f"{name} can't be used: only {ENV_KEY_PREFIX}* and the keys listed in the settings can be named."
        )
    dsn = environ.get(name, "").strip()
    if not dsn:
        raise SourceKeyRefused(f"{name} is not set in the server's environment.")
    return dsn


def _has_prefix(name: str) -> bool:
    return name.startswith(ENV_KEY_PREFIX) and name != ENV_KEY_PREFIX and name not in OWN_SETTINGS


def env_keys(host: Host) -> list[str]:
    """Names of the environment keys that a source may name and that are set; never a value."""
    listed = _listed(host)
    names = (name for name in host.environ if name in listed or _has_prefix(name))
    return sorted(name for name in names if _KEY.fullmatch(name) and host.environ[name].strip())


def _listed(host: Host) -> frozenset[str]:
    return frozenset(name.strip() for name in host.settings.source_env_keys.split(",") if name.strip())


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
        for page in read_pages(session, limits):
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
    with reading(dsn, sql, row_max=row_max, limits=limits, allowed_relations=allowed_relations) as (_columns, pages):
        yield from pages


@contextmanager
def reading(
    dsn: str, sql: str, *, row_max: int, limits: Limits = STREAM, allowed_relations: Allowed = None
) -> Generator[tuple[list[dict[str, str]], Iterator[list[dict[str, Any]]]]]:
    """Columns as `{name, type}`, which are there without any row, and the pages of `stream_rows`."""
    checked = check_select(sql)
    with read_only(dsn, limits) as session:
        text = placed(session, checked, allowed_relations)
        columns = open_cursor(session, text, row_max)
        # Whoever stops early leaves a page half read, which holds the connection until it is closed.
        with closing(read_pages(session, limits)) as pages:
            yield columns, _named([column["name"] for column in columns], pages, row_max)


def _named(names: list[str], pages: Iterator[list[tuple[int, list[Any]]]], left: int) -> Iterator[list[dict[str, Any]]]:
    for page in pages:
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
        rows = sum(len(page) for page in read_pages(session, session.limits))
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


def open_cursor(session: Session, text: str, row_max: int, *, head: str = "") -> list[dict[str, str]]:
    """Declare the cursor `gm`, whose rows are the size in bytes and then the query's columns.

    `head` is a WITH of ours, whose names the text may use. The two `OFFSET 0` keep the planner from merging the levels
    and so computing each value again for its size. A row over the limit comes as NULLs with its true size.
    """
    result = session.describe(text, f"{head}SELECT * FROM (\n", "\n) AS gm_query") if head else session.describe(text)
    oids = [result.ftype(index) for index in range(result.nfields)]
    types = {row[0]: row for row in session.ask(TYPES, oids)}
    names = _distinct([(result.fname(index) or b"").decode() for index in range(result.nfields)])
    inner = [f"c{index}" for index in range(len(oids))]
    limit = session.limits.row_bytes_max
    capped = "".join(f", CASE WHEN gm_size <= {limit} THEN {name} END" for name in inner)
    sizes = " + ".join(["0::int8", *(_size(name, types[oid], limit) for name, oid in zip(inner, oids, strict=True))])
    aliases = f"({', '.join(inner)})" if inner else ""
    before = (
        f"DECLARE gm NO SCROLL CURSOR FOR {head}SELECT gm_size{capped} FROM (SELECT {sizes} AS gm_size"
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


def read_pages(session: Session, limits: Limits) -> Generator[list[tuple[int, list[Any]]]]:
    """Rows with their sizes, page by page; a row too big to read ends it with a sentence."""
    number = 0
    fetch = f"FETCH FORWARD {limits.page_rows} FROM gm".encode()
    while True:
        page: list[tuple[int, list[Any]]] = []
        size = got = 0
        session.text = ""
        session.check_time()
        with session.connection.cursor() as cursor, closing(cast("Generator[Any]", cursor.stream(fetch))) as found:
            for row in found:
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


class PostgresQuery:
    """See the module."""

    kind = "postgres"
    title = "PostgreSQL query"
    summary = "A SELECT in one of the databases that the operator named; read when needed."
    remote = True

    def prepare(self, draft: Draft, before: StoredSource | None, host: Host) -> Content:
        """See SourceKind. The database is asked only when a mapping must be checked against its columns."""
        refuse_settings(draft.config, self.kind, ("dialect",))
        if draft.file is not None:
            raise _missing("csv_data", "is not for kind `postgres`: its rows are read when needed")
        env_key, query, mapping = draft.config.env_key, draft.config.query, draft.config.default_mapping
        if not env_key:
            raise _missing("config.env_key", f"is needed: the name of an environment variable like {ENV_KEY_PREFIX}CRM")
        if not query or not query.strip():
            raise _missing("config.query", "is needed: one SELECT")
        dsn = resolve_env_key(env_key, host.environ, _listed(host))
        try:
            check_select(query)
        except QueryRefused as error:
            errors = tuple(replace(item, field="config.query") for item in error.errors)
            raise QueryRefused(error.message, errors=errors, **error.facts) from None
        if not mapping.fields or (before is not None and before.config == draft.config):
            return Content()
        with reading(dsn, query, row_max=0, limits=_limits(host)) as (columns, _pages):
            return Content(columns=[SourceColumn(**column) for column in columns])

    def preview(self, source: StoredSource, limit: int, host: Host) -> Sample:
        """See SourceKind."""
        dsn, query = _visit(source, host)
        columns, rows, truncated = columns_and_rows(dsn, query, limit=limit, limits=_limits(host))
        names = [column["name"] for column in columns]
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return Sample([SourceColumn(**column) for column in columns], found, truncated)

    @contextmanager
    def open(self, source: StoredSource, host: Host) -> Generator[RowStream]:
        """See SourceKind. One row over the limit ends it with `TooLarge`."""
        dsn, query = _visit(source, host)
        seconds, limit = host.settings.source_timeout_s, host.settings.source_rows_max
        limits = replace(STREAM, statement_ms=int(seconds * 1000), total_s=seconds)
        with reading(dsn, query, row_max=limit + 1, limits=limits) as (columns, pages):
            yield RowStream([SourceColumn(**column) for column in columns], _at_most(pages, limit))

    def test(self, source: StoredSource, host: Host) -> list[Rung]:
        """See SourceKind: the key first, then the ladder of `probe`."""
        try:
            dsn, query = _visit(source, host)
        except SourceKeyRefused as error:
            return [Rung("key", ok=False, detail=error.message)]
        first = Rung("key", detail=f"{source.config.env_key} is set.")
        return [first, *probe(dsn, query, limits=_limits(host))]


def _missing(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


def _visit(source: StoredSource, host: Host) -> tuple[str, str]:
    return resolve_env_key(source.config.env_key or "", host.environ, _listed(host)), source.config.query or ""


def _limits(host: Host) -> Limits:
    """Of a look: the usual ones, or less where the operator allows less."""
    usual, seconds = Limits(), host.settings.source_timeout_s
    return replace(
        usual, statement_ms=min(usual.statement_ms, int(seconds * 1000)), total_s=min(usual.total_s, seconds)
    )


def _at_most(pages: Iterator[list[dict[str, Any]]], limit: int) -> Iterator[dict[str, Any]]:
    left = limit
    for page in pages:
        left -= len(page)
        if left < 0:
            raise TooLarge(
                f"The query has more than {limit} rows, the most that are read; narrow it or add a LIMIT.", limit=limit
            )
        yield from page


PLUGIN = PostgresQuery()
