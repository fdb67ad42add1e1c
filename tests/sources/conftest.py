"""A throw-away PostgreSQL 15 with the shared security fixture and with databases full of traps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

BIN = Path("/usr/lib/postgresql/15/bin")
SHARED = Path(os.environ.get("GRISTMILL_SECURITY_CASES", Path(__file__).parents[3] / "shared/data/security"))

ROWS = """
INSERT INTO s.leads
  SELECT i, 'n' || i, 'u' || i || '@x.io', i, ARRAY['a', 'b'], '{"k": 1}', now(), 0, i
  FROM generate_series(1, 2000) i;
INSERT INTO s.orders SELECT i, 1 + i % 2000, i, date '2026-01-01' + i % 300 FROM generate_series(1, 5000) i;
INSERT INTO s.secret VALUES ('secret');
ANALYZE;
"""

# A function that reports that it ran, instead of one that writes: READ ONLY must not hide a hole.
TRAPS = """
CREATE FUNCTION public.evil() RETURNS integer LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'EVIL RAN'; END$$;
CREATE TYPE public.mood AS ENUM ('sad', 'happy');
CREATE DOMAIN public.small AS integer CHECK (VALUE < 100);
CREATE DOMAIN public.trap AS integer CHECK (public.evil() > 0);
CREATE DOMAIN public.uuid AS integer CHECK (public.evil() > 0);
CREATE TABLE public.leads (id integer, name text, mood public.mood, size public.small, moods public.mood[],
                           time_in time, version text, doc jsonb, big numeric);
INSERT INTO public.leads SELECT i, 'n' || i, 'happy', i, '{sad,happy}', '08:00', 'v' || i,
  '{"a": [1, 2.5]}', 12345678901234567890.10
  FROM generate_series(1, 20) i;
CREATE TABLE public."Odd ""name\"\"\" (id integer);
INSERT INTO public."Odd ""name\"\"\" VALUES (7);
CREATE SCHEMA crm;
CREATE TABLE crm.leads (id integer);
INSERT INTO crm.leads VALUES (-1);
GRANT USAGE ON SCHEMA crm TO ro;
CREATE FUNCTION public.lower(integer) RETURNS text LANGUAGE sql AS 'SELECT public.evil()::text';
CREATE FUNCTION public.length(integer) RETURNS integer LANGUAGE sql AS 'SELECT public.evil()';
CREATE FUNCTION public.upper(public.leads) RETURNS text LANGUAGE sql AS 'SELECT public.evil()::text';
CREATE FUNCTION public.coalesce_it(integer) RETURNS integer LANGUAGE sql AS 'SELECT public.evil()';
CREATE FUNCTION public.format(integer, integer) RETURNS text LANGUAGE sql AS 'SELECT public.evil()::text';
CREATE FUNCTION public.attribute(public.leads) RETURNS integer LANGUAGE sql AS 'SELECT public.evil()';
CREATE FUNCTION public.scalar(integer) RETURNS integer LANGUAGE sql AS 'SELECT public.evil()';
CREATE FUNCTION public.op(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT public.evil()';
CREATE FUNCTION public.op(integer, text) RETURNS text LANGUAGE sql AS 'SELECT public.evil()::text';
CREATE FUNCTION public.same(public.mood, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil() > 0';
CREATE OPERATOR public.|| (FUNCTION = public.op, LEFTARG = integer, RIGHTARG = integer);
CREATE OPERATOR public.+ (FUNCTION = public.op, LEFTARG = integer, RIGHTARG = text);
CREATE OPERATOR public.+ (FUNCTION = public.op, LEFTARG = integer, RIGHTARG = integer);
CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = public.mood, RIGHTARG = text);
CREATE AGGREGATE public.sum_it(integer) (SFUNC = public.op, STYPE = integer, INITCOND = '0');
CREATE VIEW public.v_call AS SELECT public.evil() AS x;
CREATE VIEW public.v_nested AS SELECT * FROM public.v_call;
CREATE VIEW public.v_domain AS SELECT id::public.trap AS x FROM public.leads;
CREATE VIEW public.v_operator AS SELECT id OPERATOR(public.||) id AS x FROM public.leads;
CREATE VIEW public.v_aggregate AS SELECT public.sum_it(id) AS x FROM public.leads;
CREATE VIEW public.v_lock AS SELECT pg_try_advisory_lock(4242) AS x;
CREATE VIEW public.v_setting AS SELECT set_config('work_mem', '1GB', false) AS x;
CREATE VIEW public.v_sleep AS SELECT ('PG_VERSION'::text).pg_read_file AS x;
CREATE FUNCTION public.label(text) RETURNS text STABLE LANGUAGE sql AS $$SELECT 'label ' || $1$$;
CREATE VIEW public.v_fine AS SELECT public.label(name) AS x, random() AS r, lower(name) AS l FROM public.leads;
CREATE TABLE public.guarded (id integer);
ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON public.guarded USING (public.evil() > 0);
INSERT INTO public.guarded VALUES (1);
GRANT SELECT ON ALL TABLES IN SCHEMA public, crm TO ro;
"""

CASTS = """
CREATE FUNCTION public.evil_cast(integer) RETURNS inet LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'EVIL RAN'; END$$;
CREATE CAST (integer AS inet) WITH FUNCTION public.evil_cast(integer) AS IMPLICIT;
"""

ADDED = """
CREATE FUNCTION pg_catalog.lower(integer) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'EVIL RAN'; END$$;
CREATE FUNCTION pg_catalog.newly(integer) RETURNS integer LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'EVIL RAN'; END$$;
"""


@dataclass(frozen=True)
class Server:
    folder: Path

    def dsn(self, role: str, database: str = "app") -> str:
        return f"host={self.folder} port=54321 user={role} dbname={database}"

    def sql(self, text: str, database: str = "app") -> list[Any]:
        with psycopg.connect(self.dsn("owner", database), autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []


def cases() -> list[dict[str, Any]]:
    path = SHARED / "sql_cases.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(), ids=lambda case: f"{case['id']}-{case['cat']}")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if not (BIN / "initdb").exists():
        pytest.skip(f"no PostgreSQL 15 in {BIN}")
    if not (SHARED / "sql_fixture.sql").exists():
        pytest.skip(f"no security cases in {SHARED}")
    folder = Path(tempfile.mkdtemp(prefix="gm-src-"))
    shutil.copy(SHARED / "sql_fixture.sql", folder / "fixture.sql")
    (folder / "fixture.sql").chmod(0o644)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    data = str(folder / "data")
    options = f"-k {folder} -p 54321 -c listen_addresses='' -c fsync=off -c shared_buffers=64MB"

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run(f"{BIN}/initdb", "-D", data, "-A", "trust", "-U", "owner", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        run(f"{BIN}/pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        made = Server(folder)
        made.sql("CREATE DATABASE app", "postgres")
        made.sql("CREATE ROLE ro LOGIN", "postgres")
        run(f"{BIN}/psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", made.dsn("owner"), "-f", str(folder / "fixture.sql"))
        made.sql(ROWS)
        for database, text in (("traps", TRAPS), ("casts", CASTS), ("added", ADDED)):
            made.sql(f"CREATE DATABASE {database} TEMPLATE app", "postgres")
            made.sql(text, database)
        yield made
    finally:
        subprocess.run([*as_user, f"{BIN}/pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, cwd="/")
        shutil.rmtree(folder, ignore_errors=True)
