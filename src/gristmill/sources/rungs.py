"""The rungs of a source's Test: what was tried, how long it took, what was found, how to mend it."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from gristmill.base.errors import Error
from gristmill.sources.session import Session

COST_MANY = 10_000_000.0
"""Planner cost from which a query is called expensive: about a minute of reading."""
SHOWN = 10
"""Names listed before the rest is only counted."""


@dataclass(slots=True)
class Rung:
    """One step of a Test."""

    name: str
    ok: bool = True
    duration_ms: int = 0
    detail: str = ""
    fix: str = ""
    """What to do about it, as a sentence or a script; empty when there is nothing to do."""


@contextmanager
def rung(rungs: list[Rung], name: str) -> Generator[Rung]:
    """Time one step and mark it if it breaks; `probe` knows the words, which the session's end makes."""
    note = Rung(name)
    started = time.monotonic()
    try:
        yield note
    except (Error, psycopg.Error):
        note.ok = False
        raise
    finally:
        note.duration_ms = round((time.monotonic() - started) * 1000)
        rungs.append(note)


ROLE: LiteralString = """
SELECT r.rolname::pg_catalog.text, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication,
       pg_catalog.current_database()::pg_catalog.text,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP'),
       ARRAY(SELECT m.rolname::pg_catalog.text FROM pg_catalog.pg_roles AS m
             WHERE m.rolname OPERATOR(pg_catalog.~) '^pg_(read_server|write_server|execute|write_all|signal|monitor)'
               AND pg_catalog.pg_has_role(m.oid, 'MEMBER'))
FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) current_user
"""

WRITABLE: LiteralString = """
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,f}'::"char"[])
  AND n.nspname OPERATOR(pg_catalog.!~) '^(pg_|information_schema$)'
  AND pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
ORDER BY 1, 2
"""

SCHEMAS: LiteralString = """
SELECT n.nspname::pg_catalog.text, pg_catalog.has_schema_privilege(n.oid, 'CREATE')
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname OPERATOR(pg_catalog.!~) '^(pg_|information_schema$)'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1
"""


def judge_role(session: Session) -> tuple[bool, str, str]:
    """Whether the role could do more than read, in words, and the script for one that can't."""
    (role, *powers, database, temporary, groups) = session.ask(ROLE)[0]
    writable = session.ask(WRITABLE)
    schemas = session.ask(SCHEMAS)
    kinds = ("is a superuser", "may create roles", "may create databases", "bypasses row security", "may replicate")
    findings = [kind for kind, has in zip(kinds, powers, strict=True) if has]
    if groups:
        findings.append(f"is a member of {', '.join(groups)}")
    if owned := [f"{schema}.{name}" for schema, name, owner in writable if owner]:
        findings.append(f"owns {_some(owned)}")
    if written := [f"{schema}.{name}" for schema, name, owner in writable if not owner]:
        findings.append(f"could write to {_some(written)}")
    if created := [schema for schema, create in schemas if create]:
        findings.append(f"may create objects in {_some(created)}")
    if not findings:
        note = " It may create temporary tables, which a read-only transaction allows." if temporary else ""
        return True, f"The role {role} can only read.{note}", ""
    detail = f"The role {role} {'; '.join(findings)}. Reads stay read-only, but a role that can only read is safer."
    return False, detail, grant_script(database, [schema for schema, _create in schemas])


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def grant_script(database: str, schemas: list[str]) -> str:
    """SQL that makes a role which can do nothing but read these schemas."""
    lines = [
        "-- Run as the owner of the database; choose the password and leave out what the source needn't read.",
        "CREATE ROLE gristmill_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION",
        "  NOBYPASSRLS CONNECTION LIMIT 4 PASSWORD 'choose-one';",
        "ALTER ROLE gristmill_reader SET default_transaction_read_only = on;",
        "ALTER ROLE gristmill_reader SET statement_timeout = '60s';",
        "-- A superuser can add: ALTER ROLE gristmill_reader SET temp_file_limit = '1GB';",
        f"GRANT CONNECT ON DATABASE {_quoted(database)} TO gristmill_reader;",
        f"-- If nobody else needs it: REVOKE TEMPORARY ON DATABASE {_quoted(database)} FROM PUBLIC;",
    ]
    for schema in schemas:
        lines += [
            f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO gristmill_reader;",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {_quoted(schema)} TO gristmill_reader;",
        ]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def explain_rung(session: Session, text: str) -> tuple[bool, str, str]:
    """The planner's guess of rows and cost; nothing is run."""
    result = session.run("EXPLAIN (FORMAT JSON) ", text)
    plan: dict[str, Any] = json.loads(result.get_value(0, 0) or b"[]")[0]["Plan"]
    rows, cost = int(plan["Plan Rows"]), float(plan["Total Cost"])
    detail = f"The planner expects {rows} rows at a cost of {cost:.0f}."
    if cost < COST_MANY:
        return True, detail, ""
    return False, detail, "This may take minutes: narrow it with WHERE, or add an index or a LIMIT."
