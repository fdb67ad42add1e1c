"""The full door, guard and reader, against a real PostgreSQL: attacks have no effect, good queries answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gristmill.base.errors import Error
from gristmill.sources.guard import QueryRefused
from gristmill.sources.kinds.postgres import (
    SourceKeyRefused,
    columns_and_rows,
    probe,
    resolve_env_key,
    stream_rows,
)
from gristmill.sources.session import Limits, QueryFailed, QueryTimedOut, SourceUnreachable

QUICK = Limits(statement_ms=700, total_s=2.0, lock_ms=300, row_bytes_max=1_000_000)
TIME_MAX_S = 6.0
GRANTED = frozenset({("s", "leads"), ("s", "orders")})

EFFECTS = """
SELECT (SELECT count(*) FROM s.audit), (SELECT count(*) FROM s.leads), (SELECT count(*) FROM s.orders),
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
       (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_db_role_setting),
       (SELECT last_value || is_called::text FROM s.seq), (SELECT last_value || is_called::text FROM s.leads_id_seq),
       (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc),
       (SELECT count(*) FROM pg_prepared_xacts), (SELECT count(*) FROM pg_roles),
       (SELECT count(*) FROM pg_ls_dir('.'))
"""


def read(server: Any, role: str, sql: str, database: str = "app", **more: Any) -> list[list[Any]]:
    started = time.monotonic()
    try:
        return columns_and_rows(server.dsn(role, database), sql, limit=20, limits=QUICK, **more)[1]
    finally:
        assert time.monotonic() - started < TIME_MAX_S


def rows_or_message(server: Any, role: str, sql: str, database: str = "app") -> list[Any]:
    try:
        return read(server, role, sql, database)
    except Error as error:
        return [error.message]


@pytest.mark.parametrize("role", ["ro", "owner"])
def test_shared_case(server: Any, role: str, case: dict[str, Any]) -> None:
    if case["allow"]:
        assert len(read(server, role, case["sql"])) == min(20, len(server.sql(case["sql"])))
        return
    before = server.sql(EFFECTS)
    with pytest.raises(Error):
        read(server, role, case["sql"], allowed_relations=GRANTED if role == "owner" else None)
    assert server.sql(EFFECTS) == before
    assert not list(Path("/tmp/pg").glob("*")) if Path("/tmp/pg").exists() else True  # noqa: S108


# Each runs in a database where public holds look-alikes that report `EVIL RAN` when they run. Rows, or the
# server's "does not exist", are fine; running the look-alike is not.
SHADOWS = {
    "function with a better match": "SELECT lower(id) FROM leads",
    "function with an exact match": "SELECT length(id) FROM leads",
    "variadic built-in": "SELECT format(id, id) FROM leads",
    "operator with an exact match": "SELECT id || id FROM leads",
    "operator on built-in types": "SELECT id + id FROM leads",
    "operator with a literal": "SELECT id + 'x'::text FROM leads",
    "operator in ANY": "SELECT id FROM leads WHERE mood = ANY (ARRAY['happy'::text])",
    "operator of a user's type": "SELECT id FROM leads WHERE mood = 'happy'::text",
    "attribute of a row": "SELECT l.attribute FROM leads l",
    "attribute in brackets": "SELECT (l).attribute FROM leads l",
    "attribute of a whole row": "SELECT (leads).attribute FROM leads",
    "attribute with the schema": "SELECT public.leads.attribute FROM leads",
    "attribute named like a built-in": "SELECT l.upper FROM leads l",
    "attribute of a scalar": "SELECT q.scalar FROM generate_series(1, 2) q",
    "attribute of a scalar in brackets": "SELECT (id).scalar FROM leads",
    "type shadowed by a domain": "SELECT '00000000-0000-0000-0000-000000000000'::uuid",
    "function named like a type": "SELECT uuid('1')",
    "implicit cast in UNION": "SELECT size FROM leads UNION SELECT 1000",
    "domain through lag": "SELECT lag(size, 1, 99) OVER () FROM leads",
}


@pytest.mark.parametrize("sql", SHADOWS.values(), ids=SHADOWS.keys())
@pytest.mark.parametrize("role", ["ro", "owner"])
def test_nothing_of_public_is_run(server: Any, role: str, sql: str) -> None:
    assert "EVIL" not in str(rows_or_message(server, role, sql, "traps"))


def test_the_look_alikes_would_run_with_public_in_the_search_path(server: Any) -> None:
    ran = [name for name, sql in SHADOWS.items() if _runs_evil(server, sql)]
    assert len(ran) >= 14, ran


def _runs_evil(server: Any, sql: str) -> bool:
    try:
        server.sql("SET search_path = pg_catalog, public; " + sql, "traps")
    except psycopg.Error as error:
        return "EVIL RAN" in str(error)
    return False


@pytest.mark.parametrize("view", ["call", "nested", "domain", "operator", "aggregate", "lock", "setting", "sleep"])
def test_views_that_run_volatile_code_are_refused(server: Any, view: str) -> None:
    with pytest.raises(QueryRefused):
        read(server, "owner", f"SELECT * FROM v_{view}", "traps")
    with pytest.raises(QueryRefused):
        read(server, "ro", f"WITH a AS (TABLE public.v_{view}) SELECT count(*) FROM a", "traps")


def test_policies_that_run_volatile_code_are_refused(server: Any) -> None:
    with pytest.raises(QueryRefused, match=r"ALTER FUNCTION public\.evil STABLE"):
        read(server, "ro", "SELECT * FROM guarded", "traps")


def test_a_view_with_a_stable_function_is_fine(server: Any) -> None:
    assert read(server, "ro", "SELECT x, l FROM v_fine LIMIT 1", "traps") == [["label n1", "n1"]]


def test_a_volatile_cast_between_built_in_types_is_refused(server: Any) -> None:
    server_sql = "SELECT network(id) FROM s.leads LIMIT 1"
    with pytest.raises(QueryRefused, match="casts integer to inet"):
        read(server, "ro", server_sql, "casts")


@pytest.mark.parametrize("sql", ["SELECT lower(id) FROM s.leads", "SELECT (id).newly FROM s.leads"])
def test_additions_to_pg_catalog_are_refused(server: Any, sql: str) -> None:
    with pytest.raises(QueryRefused, match="pg_catalog"):
        read(server, "owner", sql, "added")


BOMBS = {
    "recursion": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "doubling": "WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT max(length(s)) FROM t",
    "cross joins": "SELECT count(*) FROM generate_series(1, 99999) a, generate_series(1, 99999) b",
    "sort": "SELECT a FROM generate_series(1, 99999) a, generate_series(1, 9999) b ORDER BY md5(a::text)",
    "repeat of repeat": "SELECT repeat(repeat('x', 30000), 30000)",
    "computed count": "SELECT repeat('x', 10 ^ 9 ::int::float::int)",
    "computed lpad": "SELECT lpad('x', 1000 * 1000 * 900)",
    "regular expression": r"SELECT repeat('a', 5000) ~ '^(a*)*(a*)*(\1|b)*\2$'",
    "regular expression replace": "SELECT regexp_replace(repeat('a', 100000), '(a|aa)+$b', '', 'g')",
    "numeric tower": "SELECT 9.9 ^ 99999.9 * 9.9 ^ 99999.9 / 3.3 ^ 9999.9",
    "factorial": "SELECT factorial(30000)",
    "array": "SELECT array_fill(1, ARRAY[9999, 3333 * 3])",
    "aggregate": "SELECT array_agg(repeat('x', 9999)) FROM generate_series(1, 9999999)",
    "json": "SELECT jsonb_agg(repeat('x', 9999)) FROM generate_series(1, 9999999)",
    "wide rows": "SELECT " + ", ".join("repeat('x', 100000)" for _ in range(50)),
    "window": "SELECT count(*) FROM (SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN 99999 PRECEDING AND"
    " 99999 FOLLOWING EXCLUDE TIES) FROM generate_series(1, 999999) a) q",
    "like": "SELECT count(*) FROM generate_series(1, 999) WHERE repeat('a', 9999) LIKE repeat('%a', 999) || 'b'",
    "text search": "SELECT to_tsvector(repeat('a b c ', 900000))",
    "similarity of rows": "SELECT count(*) FROM s.orders a, s.orders b, s.orders c WHERE a.total + b.total = c.total",
    "fields": "SELECT (a)" + ".b" * 15_000 + " FROM s.leads a",
    "width": "SELECT format('%' || 99999999 || 's', 1)",
}


@pytest.mark.parametrize("sql", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_end_within_the_limits(server: Any, sql: str) -> None:
    for row in rows_or_message(server, "ro", sql):
        assert len(json.dumps(row)) < 2 * QUICK.row_bytes_max


BENIGN: dict[str, Any] = {
    "SELECT count(*) FROM leads": [[20]],
    "SELECT count(*) FROM ONLY leads AS l": [[20]],
    "TABLE crm.leads": [[-1]],
    "SELECT leads.id, public.leads.name FROM leads ORDER BY 1 LIMIT 1;": [[1, "n1"]],
    "SELECT id FROM U&\"le\\0061ds\" WHERE name = 'n2' -- done": [[2]],
    'SELECT id FROM "Odd ""name"""': [[7]],
    "WITH leads AS (SELECT 42 AS id) SELECT * FROM leads": [[42]],
    "WITH leads AS (SELECT max(id) AS id FROM leads) SELECT * FROM leads": [[20]],
    "SELECT (SELECT count(*) FROM leads b WHERE b.id <= a.id) FROM leads a WHERE id = 3": [[3]],
    "SELECT 'é😀' AS a, id FROM\tleads/* x */WHERE id=1": [["é😀", 1]],
    "SELECT mood, moods, size FROM leads WHERE mood = 'happy' AND id = 1": [["happy", ["sad", "happy"], 1]],
    "SELECT l.time_in, l.version, big, doc FROM leads l WHERE id = 1": [
        ["08:00:00", "v1", "12345678901234567890.10", {"a": [1, 2.5]}]
    ],
    "SELECT l.lower FROM (SELECT 'x' AS lower) l": [["x"]],
    "SELECT 1 AS a, 2 AS a, NULL": [[1, 2, None]],
    "SELECT '\\', 'a\nb'": [["\\", "a\nb"]],
    "SELECT timestamptz '2026-01-05 08:00+01', date '2026-01-05', interval '1 day 2 hours'": [
        ["2026-01-05T07:00:00+00:00", "2026-01-05", "P1DT2H"]
    ],
    "SELECT 'NaN'::float8, 1.5::float8, 2::int8 ^ 3, 'x'::bytea, true, '{{1,2}}'::int[], int4range(1, 3)": [
        ["NaN", 1.5, 8.0, "78", True, [[1, 2]], "[1,3)"]
    ],
    "SELECT ROW(1, 'a'), '[1e999, 2]'::json, 'infinity'::timestamp, point(1, 2)": [
        ["(1,a)", ["1e999", 2], "infinity", "(1,2)"]
    ],
    "SELECT": [[]],
    "SELECT sum(n) FROM (WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) TABLE t) q": [
        [45]
    ],
}


@pytest.mark.parametrize("sql", BENIGN)
def test_benign_queries_answer(server: Any, sql: str) -> None:
    assert read(server, "ro", sql, "traps") == BENIGN[sql]


def test_the_search_path_of_the_role_finds_tables(server: Any) -> None:
    dsn = server.dsn("ro", "traps") + " options='-c search_path=crm,public'"
    assert columns_and_rows(dsn, "SELECT id FROM leads", limit=2)[1] == [[-1]]
    dsn = server.dsn("ro", "traps") + " options='-c search_path=pg_catalog'"
    assert len(columns_and_rows(dsn, "SELECT id FROM leads", limit=2)[1]) == 2


def test_strings_are_read_by_the_standard_whatever_the_server_says(server: Any) -> None:
    dsn = server.dsn("ro", "traps") + " options='-c standard_conforming_strings=off'"
    assert columns_and_rows(dsn, r"SELECT '\', 'public.evil() -- '", limit=2)[1] == [["\\", "public.evil() -- "]]


def test_columns_and_truncation(server: Any) -> None:
    columns, rows, truncated = columns_and_rows(server.dsn("ro"), "SELECT id, id, amount FROM s.leads", limit=3)
    assert columns == [
        {"name": "id", "type": "integer"},
        {"name": "id_2", "type": "integer"},
        {"name": "amount", "type": "numeric"},
    ]
    assert (len(rows), truncated) == (3, True)
    assert columns_and_rows(server.dsn("ro"), "SELECT 1 WHERE false", limit=3)[1:] == ([], False)


def test_stream_pages_and_caps(server: Any) -> None:
    limits = Limits(page_rows=100, page_bytes=50_000)
    sql = "SELECT id, repeat('x', 1000) AS x FROM s.leads ORDER BY id"
    pages = list(stream_rows(server.dsn("ro"), sql, row_max=255, limits=limits))
    assert [row["id"] for page in pages for row in page] == list(range(1, 256))
    assert max(len(page) for page in pages) <= 50
    assert not list(stream_rows(server.dsn("ro"), "SELECT 1 WHERE false", row_max=9))


def test_a_stream_that_is_dropped_closes_its_connection(server: Any) -> None:
    pages = stream_rows(server.dsn("ro"), "SELECT * FROM s.leads", row_max=2000)
    next(pages)
    pages.close()
    time.sleep(0.2)
    assert server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ro'") == [(0,)]


def test_a_row_that_is_too_big_is_never_sent(server: Any) -> None:
    limits = Limits(row_bytes_max=10_000)
    with pytest.raises(QueryFailed, match="Row 2 of the query has 20000 bytes; the limit is 10000"):
        columns_and_rows(
            server.dsn("ro"), "SELECT repeat('x', 10000 * n) FROM generate_series(1, 9) n", limit=9, limits=limits
        )


def test_the_wall_clock_stops_what_the_server_would_not(server: Any) -> None:
    started = time.monotonic()
    limits = Limits(statement_ms=60_000, total_s=0.5)
    with pytest.raises(QueryTimedOut, match=r"0\.5 s"):
        columns_and_rows(
            server.dsn("ro"), "SELECT count(*) FROM generate_series(1, 9999999999)", limit=1, limits=limits
        )
    pages = stream_rows(server.dsn("ro"), "SELECT * FROM s.orders", row_max=5000, limits=limits)
    next(pages)
    time.sleep(0.7)
    with pytest.raises(QueryTimedOut):
        next(pages)
    assert time.monotonic() - started < 5


def test_a_locked_table_is_not_waited_for(server: Any) -> None:
    with psycopg.connect(server.dsn("owner")) as other:
        other.execute("LOCK TABLE s.orders")
        with pytest.raises(QueryFailed, match="holds a lock"):
            read(server, "ro", "SELECT * FROM s.orders")


def test_errors_have_a_place_in_the_users_text(server: Any) -> None:
    with pytest.raises(QueryFailed, match='column "nope" does not exist') as caught:
        read(server, "ro", "SELECT id\nFROM leads JOIN crm.leads c USING (id)\nWHERE nope = 1", "traps")
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (3, 7)
    with pytest.raises(QueryFailed, match="does not exist") as caught:
        read(server, "ro", "SELECT 1 FROM nowhere")
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (1, 15)
    with pytest.raises(QueryFailed, match="division by zero"):
        read(server, "ro", "SELECT 1 / (id - id) FROM s.leads")


@pytest.mark.parametrize(
    "dsn",
    [
        "host={folder} port=54321 user=nobody-known password=hunter2-canary dbname=app",
        "host={folder} port=1 user=u-canary password=hunter2-canary dbname=app",
        "postgresql://u-canary:hunter2-canary@host-canary.invalid:5432/app?connect_timeout=1",
        "postgresql://u-canary:hunter2-canary@127.0.0.1:9/app",
        "host={folder} port=54321 user=ro dbname=db-canary password=hunter2-canary",
        "hunter2-canary",
        "postgresql://u-canary:hunter2-canary@h:notaport/x",
    ],
)
def test_no_part_of_a_connection_string_comes_back(server: Any, dsn: str) -> None:
    dsn = dsn.format(folder=server.folder)
    with pytest.raises(SourceUnreachable) as caught:
        columns_and_rows(dsn, "SELECT 1", limit=1)
    rungs = probe(dsn, "SELECT 1")
    for text in (str(caught.value), repr(caught.value), str(caught.value.facts), rungs[-1].detail):
        assert "canary" not in text
        assert str(server.folder) not in text
    assert [it.name for it in rungs] == ["connect"]


def test_ladder(server: Any) -> None:
    rungs = probe(server.dsn("ro"), "SELECT * FROM s.leads", limits=QUICK)
    assert [(it.name, it.ok) for it in rungs] == [
        ("connect", True),
        ("parse", True),
        ("role", True),
        ("explain", True),
        ("first rows", True),
    ]
    assert "5 rows of 9 columns" in rungs[-1].detail


def test_ladder_of_a_role_that_could_write(server: Any) -> None:
    role = probe(server.dsn("owner"), "SELECT * FROM s.leads", limits=QUICK)[2]
    assert not role.ok
    assert "is a superuser" in role.detail
    assert "s.leads" in role.detail
    assert 'GRANT SELECT ON ALL TABLES IN SCHEMA "s" TO gristmill_reader;' in role.fix
    server.sql(role.fix)
    reader = probe(server.dsn("gristmill_reader"), "SELECT * FROM s.leads", limits=QUICK)
    assert all(it.ok for it in reader)


def test_ladder_ends_where_it_breaks(server: Any) -> None:
    assert [it.name for it in probe(server.dsn("ro"), "DROP TABLE s.leads")] == ["connect", "parse"]
    last = probe(server.dsn("ro"), "SELECT * FROM s.secret")[-1]
    assert (last.name, last.ok, "permission denied" in last.detail) == ("explain", False, True)


def test_allowed_relations_are_judged_by_resolved_names(server: Any) -> None:
    allowed = frozenset({("public", "leads")})
    assert read(server, "owner", "SELECT 1 FROM leads LIMIT 1", "traps", allowed_relations=allowed) == [[1]]
    with pytest.raises(QueryRefused):
        read(server, "owner", "SELECT 1 FROM crm.leads", "traps", allowed_relations=allowed)


def test_environment_keys() -> None:
    environ = {"GRISTMILL_SOURCE_CRM": "host=a", "CRM_DSN": "host=b", "PATH": "/bin", "GRISTMILL_SOURCE_": "x"}
    assert resolve_env_key("GRISTMILL_SOURCE_CRM", environ) == "host=a"
    assert resolve_env_key("CRM_DSN", environ, listed={"CRM_DSN"}) == "host=b"
    for name, words in [
        ("CRM_DSN", "only GRISTMILL_SOURCE_"),
        ("PATH", "only GRISTMILL_SOURCE_"),
        ("GRISTMILL_SOURCE_", "only GRISTMILL_SOURCE_"),
        ("gristmill_source_crm", "only GRISTMILL_SOURCE_"),
        ("GRISTMILL_SOURCE_NONE", "is not set"),
        ("postgresql://u:hunter2@h/db", "Give the NAME"),
        ("host=h password=hunter2", "Give the NAME"),
        ("u:hunter2@h", "Give the NAME"),
        ("GRISTMILL_SOURCE_CRM\n", "Give the NAME"),
        ("", "Give the NAME"),
    ]:
        with pytest.raises(SourceKeyRefused, match=words) as caught:
            resolve_env_key(name, environ)
        assert "hunter2" not in caught.value.message
