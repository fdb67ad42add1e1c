"""The SQL guard alone: what it refuses, what it lets pass, and how it says so."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gristmill.sources.guard import FIELDS_REFUSED, FUNCTIONS, QueryRefused, called_functions, check_select

CASES = Path(__file__).parents[3] / "shared/data/security/sql_cases.jsonl"

ATTACKS = [
    # a column that is a call
    "SELECT q.pg_sleep FROM unnest(ARRAY[30.0::float8]) q",
    "SELECT ('/etc/passwd'::text).pg_read_file",
    "SELECT (q.a).pg_ls_dir FROM (SELECT '/'::text a) q",
    'SELECT q."pg_sleep" FROM generate_series(1.0, 2.0) q',
    'SELECT q.U&"pg\\005fsleep" FROM generate_series(1.0, 2.0) q',
    "SELECT q.regclass FROM unnest(ARRAY['s.secret']) q",
    "SELECT q.to_regrole FROM unnest(ARRAY['owner']) q",
    "SELECT q.lo_unlink FROM unnest(ARRAY[1::oid]) q",
    "SELECT s.q.nextval FROM s.q",
    "SELECT ((q).current_setting).x FROM unnest(ARRAY['data_directory']) q",
    "SELECT (ARRAY['1'])[1].setseed",
    "SELECT count(*) FILTER (WHERE q.pg_cancel_backend) FROM generate_series(1, 9) q",
    # functions that run a type's machinery
    "SELECT domain_in('1', 16400, -1)",
    "SELECT regclassin('s.secret')",
    "SELECT array_in('{1}', 16400, -1)",
    "SELECT record_in('(1)', 16400, -1)",
    "SELECT json_populate_record(l, '{}') FROM s.leads l",
    "SELECT jsonb_populate_recordset(NULL::s.leads, '[]')",
    # types
    "SELECT 's.secret'::regclass",
    "SELECT 'now'::pg_catalog.regproc",
    "SELECT CAST('1' AS public.trap)",
    "SELECT NULL::leads",
    "SELECT '1'::trap",
    "SELECT * FROM json_to_record('{}') AS t(a s.evil_dom)",
    "SELECT * FROM XMLTABLE('/a' PASSING ('<a/>'::xml) COLUMNS b s.evil_dom PATH 'c')",
    "SELECT JSON_VALUE('{}', '$.a' RETURNING s.evil_dom)",
    "SELECT s.leads.id::s.leads.id%TYPE FROM s.leads",
    "SELECT regtype('integer')",
    # names of a schema
    "SELECT public.lower('A')",
    "SELECT other.s.evil()",
    "SELECT 1 OPERATOR(public.+) 2",
    "SELECT id FROM s.leads ORDER BY id USING OPERATOR(public.<<<)",
    "SELECT 1 OPERATOR(public.=) ANY (SELECT 2)",
    "SELECT 'a' COLLATE public.mine",
    "SELECT * FROM s.leads TABLESAMPLE public.mine(1)",
    "SELECT * FROM s.leads TABLESAMPLE system_rows(1)",
    # catalogs
    "SELECT * FROM PG_CLASS",
    'SELECT * FROM "pg_authid"',
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_toast.pg_toast_1",
    "SELECT * FROM public.pg_stat_statements",
    "SELECT * FROM app.s.leads",
    "WITH pg_authid AS (SELECT * FROM pg_authid) SELECT * FROM pg_authid",
    "SELECT (SELECT rolpassword FROM pg_authid LIMIT 1)",
    "(WITH secret AS (SELECT 1) SELECT 1) UNION SELECT 1 FROM pg_shadow",
    "SELECT current_user",
    "SELECT session_user, current_catalog, current_schema",
    # places for a call
    "SELECT 1 FROM s.leads TABLESAMPLE system((SELECT pg_sleep(30) IS NULL)::int)",
    "SELECT 1 GROUP BY GROUPING SETS ((pg_sleep(30)))",
    "SELECT sum(1) OVER (ORDER BY set_config('a.b', 'c', false))",
    "SELECT sum(1) OVER w WINDOW w AS (ROWS pg_advisory_lock(1)::text::int PRECEDING)",
    "SELECT 1 OFFSET (SELECT lo_create(0)::int)",
    "SELECT 1 FETCH FIRST (nextval('s.seq')) ROWS ONLY",
    "SELECT CASE WHEN true THEN pg_notify('a', 'b') END",
    "SELECT ARRAY(SELECT pg_ls_dir('/'))",
    "SELECT string_agg(name, '' ORDER BY pg_read_file('x')) FROM s.leads",
    "SELECT count(*) FILTER (WHERE pg_try_advisory_lock(1)) FROM s.leads",
    "SELECT * FROM s.leads l JOIN LATERAL pg_stat_file('x') f ON true",
    "SELECT * FROM s.leads a JOIN s.leads b ON pg_reload_conf()",
    "SELECT xmlelement(name a, query_to_xml('SELECT 1', true, true, ''))",
    "SELECT XMLFOREST(pg_read_file('x') AS a)",
    "SELECT JSON_OBJECT('a' : pg_read_file('x'))",
    "WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT pg_sleep(1) IS NULL FROM t) SELECT * FROM t",
    "SELECT lower(VARIADIC ARRAY[version()])",
    "SELECT format('%s', VARIADIC ARRAY[inet_server_addr()::text])",
    "SELECT make_interval(secs => pg_sleep(30)::text::int)",
    "SELECT has_table_privilege('owner', 's.secret', 'select')",
    "SELECT obj_description(1, 'pg_class')",
    # writes and locks
    "SELECT 1 INTO UNLOGGED x",
    "SELECT * FROM s.leads FOR NO KEY UPDATE SKIP LOCKED",
    "WITH a AS MATERIALIZED (DELETE FROM s.leads RETURNING *) SELECT 1",
    "WITH a AS (MERGE INTO s.leads USING s.orders ON true WHEN MATCHED THEN DELETE) SELECT 1",
    "SELECT * FROM (WITH a AS (SELECT 1 FOR UPDATE) SELECT * FROM a) q",
    "VALUES (DEFAULT)",
    # bombs that can be seen
    "SELECT repeat('x', 1000000000)",
    "SELECT rpad('x', 900000000)",
    "SELECT format('%100000000s', 1)",
    "SELECT format('%1$-900000000s', 1)",
    "SELECT format('%*s', 100000000, 'a')",
    "SELECT array_fill(0, ARRAY[1000000000])",
    "SELECT array_fill(0, ARRAY[9999, 9999])",
    "SELECT array_fill(0, '{1}'::int[], ARRAY[20000000])",
    # text
    "SELECT 1\0",
    "SELECT '\ud800'",
    "",
    "-- nothing",
    ";;",
    "SELECT 1; SELECT 2",
    "SELECT 1;; SELECT 2",
    "SELECT " + "(" * 101 + "1" + ")" * 101,
    "SELECT " + "+".join("1" * 600),
    "SELECT " + "NOT " * 600 + "true",
    "SELECT " + "- " * 9999 + "1",
    "SELECT " + "1," * 20_000 + "1",
    "SELECT" + "(SELECT" * 90 + " pg_sleep(1)" + ")" * 90,
]

BENIGN = [
    "SELECT 1;",
    "  SELECT 1 -- done",
    "SELECT ')', '((((' || '" + "(" * 200 + "'",
    "TABLE leads",
    "SELECT l.time_in, l.version, l.system, l.user_id, l.date_out FROM leads l",
    "SELECT current_date, current_timestamp(3), localtime, now(), clock_timestamp(), random()",
    "SELECT pg_catalog.lower('A'), 'a'::pg_catalog.text, 1 OPERATOR(pg_catalog.+) 1",
    "SELECT a.x FROM (SELECT 1 AS x) a ORDER BY x USING <",
    "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT sum(n) FROM t",
    "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
    "SELECT * FROM leads TABLESAMPLE bernoulli(10) REPEATABLE (1)",
    "SELECT lpad(id::text, 8, '0'), rpad(name, 20), repeat('-', 40), format('%-10s|%s', id, name) FROM leads",
    "SELECT tags[1], tags[1:2], doc->'a'->>'b', doc #>> '{a,b}', doc @> '{}' FROM leads",
    "SELECT jsonb_path_query(doc, '$.a') FROM leads, jsonb_array_elements(doc) e(v)",
    "SELECT x.* FROM leads l CROSS JOIN LATERAL jsonb_to_recordset(l.doc) AS x(a int, b text)",
    "SELECT * FROM XMLTABLE('/a' PASSING ('<a><b>1</b></a>'::xml) COLUMNS b int PATH 'b')",
    "SELECT xmlelement(name a, xmlattributes(1 AS b), 'c')",
    "SELECT to_tsvector('english', name) @@ plainto_tsquery('x') FROM leads",
    "SELECT id FROM leads WHERE (a, b) IN (SELECT 1, 2) AND c BETWEEN 1 AND 2 AND d LIKE 'x%' AND e ~ 'y'",
    "SELECT make_interval(days => 3), interval '1' day, date '2026-01-01' + 1",
    "SELECT json_build_object('a', 1), to_jsonb(l), row_to_json(l) FROM leads l",
    "SELECT count(*), GROUPING(a) FROM leads GROUP BY ROLLUP (a) HAVING count(*) > 1",
    "SELECT JSON_OBJECT('a' : 1), JSON_VALUE('{}', '$.a' RETURNING int)",
    "SELECT 1 WHERE '$1' = 'x' AND 5 = ALL (ARRAY[5])",
    "SELECT uuid('00000000-0000-0000-0000-000000000000'), jsonb('{}')",
]


def shown(sql: str) -> str:
    return ascii(sql[:60])


@pytest.mark.parametrize("sql", ATTACKS, ids=shown)
def test_attacks_are_refused_quickly(sql: str) -> None:
    started = time.thread_time()
    with pytest.raises(QueryRefused) as caught:
        check_select(sql)
    assert caught.value.message.endswith(".")
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("sql", BENIGN, ids=shown)
def test_benign_queries_pass(sql: str) -> None:
    check_select(sql)


def test_every_shared_benign_case_passes() -> None:
    if not CASES.exists():
        pytest.skip(f"no cases in {CASES}")
    for case in map(json.loads, CASES.read_text().splitlines()):
        if case["allow"]:
            check_select(case["sql"])


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT pg_sleep(1)", "pg_sleep()"),
        ("SELECT s.evil()", "s.evil is a function of a schema"),
        ("DELETE FROM s.leads", "DELETE is not allowed: only a SELECT"),
        ("CREATE TABLE a AS SELECT 1", "CREATE TABLE AS is not allowed"),
        ("SELECT * FROM x FOR SHARE", "lock rows"),
        ("SELECT $1", "$1 is a parameter"),
        ("SELECT 1 INTO x", "SELECT INTO creates a table"),
        ("SELECT * FROM pg_roles", "pg_roles is a system catalog"),
        ("SELECT q.pg_sleep FROM q", "would run it as the function pg_sleep()"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT " + "x" * 40_000, "the limit is 32768"),
    ],
)
def test_the_sentence_names_the_part_and_the_reason(sql: str, words: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        check_select(sql)
    assert words in caught.value.message


def test_line_and_column_count_characters() -> None:
    with pytest.raises(QueryRefused) as caught:
        check_select("SELECT 'é€😀',\n  'é', pg_sleep(1)")
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (2, 8)


def test_names_are_collected_but_not_those_of_with() -> None:
    checked = check_select(
        "WITH a AS (SELECT * FROM a), c AS (SELECT lower(x.y) FROM a) SELECT * FROM c, S.B, ONLY d WHERE (d).e || 'f'; "
    )
    assert [(it.schema, it.name) for it in checked.relations] == [(None, "a"), ("s", "b"), (None, "d")]
    assert [checked.sql[it.at] for it in checked.relations] == ["a", "S", "d"]
    assert checked.functions == {"lower"}
    assert checked.fields == {"y", "e"}
    assert checked.operators == {"||"}
    assert not checked.sql.endswith(";")


def test_allowed_relations() -> None:
    allowed = frozenset({("s", "leads")})
    check_select("WITH x AS (SELECT 1) SELECT * FROM s.leads, x", allowed_relations=allowed)
    with pytest.raises(QueryRefused, match=r"s\.secret is not one of the tables"):
        check_select("SELECT * FROM s.leads WHERE EXISTS (TABLE s.secret)", allowed_relations=allowed)


def test_lists_of_functions() -> None:
    assert {"lower", "random", "gen_random_uuid", "now", "clock_timestamp", "json_agg"} <= FUNCTIONS
    assert not {"pg_sleep", "nextval", "query_to_xml", "domain_in", "version", "setseed", "lo_get"} & FUNCTIONS
    assert not FUNCTIONS & FIELDS_REFUSED
    assert {"pg_sleep", "pg_read_file", "regclass", "nextval"} <= FIELDS_REFUSED
    assert not {"time_in", "date_out", "name", "system", "version", "length"} & FIELDS_REFUSED


def test_called_functions_of_a_view() -> None:
    assert called_functions(" SELECT pg_advisory_lock(1), s.evil(), pg_catalog.now();") == {"pg_advisory_lock", "now"}
