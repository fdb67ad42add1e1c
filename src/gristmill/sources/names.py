"""What the names of a checked query mean in this database, and whether that is still harmless.

How names are resolved. The query runs with `search_path = pg_catalog, pg_temp`, so functions, operators,
types, casts by name and collations can only be PostgreSQL's own. That matters even where `pg_catalog`
would be searched first: with `public` behind it, `lower(id)` takes a user's `public.lower(integer)`,
because an exact match of the arguments beats the order of the schemas; the same goes for operators.

The user's tables would be out of reach by that, and people write `FROM leads`. So each relation without
a schema is looked up along the search path that the role had at login, and the schema is written into
the text, in front of the name, where the parser saw it: `FROM "public".leads`. The result goes through
the guard again and must hold the same names. Nothing else of the text is touched.

What a search path can't pin is looked up in the catalog and refused:

- views that call a volatile function, directly or through further views, operators, domains, aggregates,
  and row-level policies that do: the call would not stand in the text of the query;
- casts between built-in types, or from a type of the tables read, made by a volatile function of a user:
  casts are found by type, not by name, and an implicit one needs no word in the text at all;
- functions and operators that somebody added to `pg_catalog` under a name that the query uses.

Functions of users that are STABLE or IMMUTABLE may stand in views: PostgreSQL lets them change nothing.
"""

from __future__ import annotations

from typing import LiteralString

from gristmill.sources.guard import (
    FUNCTIONS,
    CheckedQuery,
    QueryRefused,
    Relation,
    called_functions,
    check_select,
    refuse,
)
from gristmill.sources.session import Session, pin_search_path

FIRST_USER_OID = 16384
"""Objects below this number came with the server."""

SCHEMAS: LiteralString = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"

FIND: LiteralString = """
SELECT DISTINCT ON (w.at) w.at, n.nspname::text, c.oid
FROM unnest(%s::text[], %s::text[], %s::int[]) AS w(schema, name, at)
JOIN pg_class AS c ON c.relname = w.name AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE CASE WHEN w.schema IS NULL THEN n.nspname::text = ANY (%s::text[]) ELSE n.nspname::text = w.schema END
ORDER BY w.at, array_position(%s::text[], n.nspname::text)
"""

REACH: LiteralString = """
WITH RECURSIVE reach(class, id) AS (
    SELECT 'pg_class'::regclass::oid, t.oid FROM unnest(%s::oid[]) AS t(oid)
    UNION
    SELECT next.class, next.id
    FROM reach AS r CROSS JOIN LATERAL (
        -- a view leads to its rule, a table to its policies
        SELECT 'pg_rewrite'::regclass::oid, w.oid FROM pg_rewrite AS w JOIN pg_class AS c ON c.oid = w.ev_class
        WHERE r.class = 'pg_class'::regclass AND w.ev_class = r.id AND w.ev_type = '1' AND c.relkind = 'v'
        UNION ALL
        SELECT 'pg_policy'::regclass::oid, p.oid FROM pg_policy AS p
        WHERE r.class = 'pg_class'::regclass AND p.polrelid = r.id
        UNION ALL
        -- these lead to whatever they use; a type leads to the checks of a domain
        SELECT d.refclassid, d.refobjid FROM pg_depend AS d
        WHERE r.class IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_operator'::regclass,
                          'pg_constraint'::regclass, 'pg_proc'::regclass)
          AND d.classid = r.class AND d.objid = r.id
        UNION ALL
        SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint AS k
        WHERE r.class = 'pg_type'::regclass AND k.contypid = r.id
    ) AS next(class, id)
)
"""

VOLATILE_REACHED: LiteralString = (
    REACH
    + """
SELECT DISTINCT n.nspname::text || '.' || p.proname::text
FROM reach AS r JOIN pg_proc AS p ON p.oid = r.id JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE r.class = 'pg_proc'::regclass AND p.provolatile = 'v' AND p.oid >= %s
ORDER BY 1 LIMIT 5
"""
)

VIEWS_REACHED: LiteralString = (
    REACH
    + """
SELECT n.nspname::text || '.' || c.relname::text, pg_get_viewdef(c.oid)
FROM reach AS r JOIN pg_class AS c ON c.oid = r.id JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.class = 'pg_class'::regclass AND c.relkind = 'v' AND c.oid >= %s
"""
)

VOLATILE_BUILT_INS: LiteralString = """
SELECT DISTINCT proname::text FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND proname::text = ANY (%s::text[])
"""

VOLATILE_BY_COLUMN: LiteralString = (
    VOLATILE_BUILT_INS
    + """
AND pronargs >= 1 AND pronargs - pronargdefaults <= 1 AND proargtypes[0] <> 'internal'::regtype
"""
)

ADDED_BUILT_INS: LiteralString = """
SELECT proname::text FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND oid >= %s AND proname::text = ANY (%s::text[])
UNION
SELECT oprname::text FROM pg_operator
WHERE oprnamespace = 'pg_catalog'::regnamespace AND oid >= %s AND oprname::text = ANY (%s::text[])
"""

VOLATILE_CASTS: LiteralString = """
SELECT format_type(c.castsource, NULL) || ' to ' || format_type(c.casttarget, NULL)
FROM pg_cast AS c JOIN pg_proc AS p ON p.oid = c.castfunc
WHERE p.provolatile = 'v' AND p.oid >= %s
  AND (c.castsource < %s AND c.casttarget < %s
       OR c.castsource IN (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = ANY (%s::oid[])))
"""


def place(session: Session, checked: CheckedQuery) -> str:
    """Pin the search path, judge what the names mean here, and return the text that may be run."""
    schemas: list[str] = session.ask(SCHEMAS)[0][0]
    pin_search_path(session)
    schemas = [schema for schema in schemas if not schema.startswith("pg_")] or ["public"]
    wanted = checked.relations
    found = session.ask(
        FIND,
        [relation.schema for relation in wanted],
        [relation.name for relation in wanted],
        [relation.at for relation in wanted],
        schemas,
        schemas,
    )
    oids = sorted({oid for _at, _schema, oid in found})
    _judge_additions(session, checked)
    _judge_casts(session, checked, oids)
    if oids:
        _judge_views(session, checked, oids)
    return _write_schemas(session, checked, {at: schema for at, schema, _oid in found})


def _write_schemas(session: Session, checked: CheckedQuery, schema_at: dict[int, str]) -> str:
    """Put the schema before every relation that has none and was found."""
    sql = checked.sql
    expected: list[tuple[str | None, str]] = []
    inserted: list[tuple[int, int]] = []
    for relation in reversed(checked.relations):
        schema = relation.schema or schema_at.get(relation.at)
        expected.insert(0, (schema, relation.name))
        if relation.schema is None and schema is not None:
            prefix = '"' + schema.replace('"', '""') + '".'
            sql = sql[: relation.at] + prefix + sql[relation.at :]
            inserted.insert(0, (relation.at, len(prefix)))
    if inserted:
        again = check_select(sql)
        if [(it.schema, it.name) for it in again.relations] != expected or _others(again) != _others(checked):
            raise refuse(checked.sql, "A table name can't be told apart; write it with its schema.")
    session.original, session.inserted = checked.sql, tuple(inserted)
    return sql


def _others(checked: CheckedQuery) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    return checked.functions, checked.fields, checked.operators


def _judge_additions(session: Session, checked: CheckedQuery) -> None:
    names = sorted(checked.functions | checked.fields)
    operators = sorted(checked.operators)
    for (name,) in session.ask(ADDED_BUILT_INS, FIRST_USER_OID, names, FIRST_USER_OID, operators):
        message = f"`{name}` is not allowed: this database adds its own version of it to pg_catalog."
        raise refuse(checked.sql, message)
    for (name,) in session.ask(VOLATILE_BY_COLUMN, sorted(checked.fields)):
        if name not in FUNCTIONS:
            message = f"`.{name}` is not allowed: PostgreSQL would run it as the function {name}()."
            raise refuse(checked.sql, message)


def _judge_casts(session: Session, checked: CheckedQuery, oids: list[int]) -> None:
    rows = session.ask(VOLATILE_CASTS, FIRST_USER_OID, FIRST_USER_OID, FIRST_USER_OID, oids)
    if rows:
        message = f"This database casts {rows[0][0]} by a volatile function, which a query could run unseen."
        raise refuse(checked.sql, message)


def _judge_views(session: Session, checked: CheckedQuery, oids: list[int]) -> None:
    rows = session.ask(VOLATILE_REACHED, oids, FIRST_USER_OID)
    if rows:
        name = rows[0][0]
        message = (
            f"A view or policy of the query calls {name}(), which is VOLATILE and so may change data. "
            f"If it only reads, the owner can say so: ALTER FUNCTION {name} STABLE."
        )
        raise refuse(checked.sql, message)
    for view, text in session.ask(VIEWS_REACHED, oids, FIRST_USER_OID):
        try:
            called = called_functions(text)
        except QueryRefused:
            raise refuse(checked.sql, f"The view {view} is written in a way that can't be checked.") from None
        for (name,) in session.ask(VOLATILE_BUILT_INS, sorted(called)):
            if name not in FUNCTIONS:
                raise refuse(checked.sql, f"The view {view} calls {name}(), which is not allowed in a query.")


def resolved(checked: CheckedQuery, placed: str) -> tuple[Relation, ...]:
    """The relations with the schemas that were found."""
    return check_select(placed).relations if placed != checked.sql else checked.relations
