"""PostgreSQL sources over HTTP: keys by name, the guard at the door, nothing of a connection string in any answer."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from gristmill import sources
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import Error
from gristmill.sources.kinds.postgres import reading
from gristmill.sources.model import Draft, Host, SourceConfig

API = "/api/v1/data_sources"
KEY = "GRISTMILL_SOURCE_APP"
QUERY = "SELECT id, name, email FROM s.leads ORDER BY id"


@pytest.fixture(autouse=True)
def environment(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, server.dsn("ro"))
    monkeypatch.setenv("GRISTMILL_SOURCE_OWNER", server.dsn("owner"))
    monkeypatch.setenv("GRISTMILL_SOURCE_DOWN", "postgresql://user:s3cretpw@127.0.0.1:9/hidden_db")
    monkeypatch.setenv("GRISTMILL_SOURCE_ROWS_MAX", "1000000")
    monkeypatch.setenv("GRISTMILL_SOURCE_BLANK", " ")
    monkeypatch.setenv("OTHER_DB", server.dsn("owner"))


@pytest.fixture
def secrets(server: Any) -> list[str]:
    return [str(server.folder), "s3cretpw", "hidden_db"]


def body(**config: Any) -> dict[str, Any]:
    return {"name": "Query", "kind": "postgres", "config": {"env_key": KEY, "query": QUERY, **config}}


def make(caller: Any, **config: Any) -> dict[str, Any]:
    answer = caller.post(API, body(**config))
    assert answer.status_code == 201, answer.text
    return answer.json()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    return answer.json()


class TestSave:
    def test_no_row_is_stored(self, owner: Any) -> None:
        made = make(owner)
        assert made["config"]["env_key"] == KEY
        assert made["config"]["query"] == QUERY
        assert made["size_bytes"] is made["columns"] is made["row_count"] is None

    def test_the_guard_says_where(self, owner: Any) -> None:
        answer = owner.post(API, body(query="SELECT id,\n  pg_sleep(1)\nFROM s.leads"))
        wrong = problem(answer, 422, "query_refused")["errors"][0]
        assert wrong["field"] == "config.query"
        assert (wrong["line"], wrong["column"]) == (2, 3)
        made = make(owner)
        problem(owner.patch(f"{API}/{made['id']}", {"config": {"query": "DELETE FROM s.leads"}}), 422, "query_refused")
        assert owner.get(f"{API}/{made['id']}").json() == made

    @pytest.mark.parametrize(
        "key",
        [
            "postgresql://u:pw@h/db", "host=h password=pw", "GRISTMILL_DATABASE_URL", "OTHER_DB", "GRISTMILL_SOURCE_",
            "GRISTMILL_SOURCE_ROWS_MAX", "GRISTMILL_SOURCE_NOT_SET", "GRISTMILL_SOURCE_BLANK", "", "PATH",
        ],
    )  # fmt: skip
    def test_keys_that_can_not_be_named(self, owner: Any, key: str) -> None:
        wrong = problem(owner.post(API, body(env_key=key)), 422, "invalid")
        assert wrong["errors"][0]["field"] == "config.env_key"
        assert "pw" not in json.dumps(wrong)

    def test_a_pasted_address_is_told_what_to_do(self, owner: Any) -> None:
        wrong = problem(owner.post(API, body(env_key="postgresql://u:pw@h/db")), 422, "invalid")
        assert "NAME of the environment variable" in wrong["detail"]

    def test_what_is_for_a_csv_is_refused(self, owner: Any) -> None:
        wrong = problem(owner.post(API, {**body(), "csv_data": "a\n1\n"}), 422, "invalid")
        assert wrong["errors"][0]["field"] == "csv_data"
        wrong = problem(owner.post(API, body(dialect={"delimiter": ";"})), 422, "invalid")
        assert wrong["errors"][0]["field"] == "config.dialect"
        for missing in ("env_key", "query"):
            wrong = problem(owner.post(API, body(**{missing: None})), 422, "invalid")
            assert wrong["errors"][0]["field"] == f"config.{missing}"

    def test_a_mapping_is_checked_against_the_database(self, owner: Any) -> None:
        made = make(owner, default_mapping={"fields": {"to": "email"}})
        path = f"{API}/{made['id']}"
        wrong = problem(owner.patch(path, {"config": {"default_mapping": {"fields": {"to": "mail"}}}}), 422, "invalid")
        assert wrong["errors"][0]["field"] == "config.default_mapping.fields.to"
        assert "id, name, email" in wrong["errors"][0]["message"]
        wrong = problem(owner.patch(path, {"config": {"query": "SELECT id FROM s.leads"}}), 422, "invalid")
        assert wrong["errors"][0]["field"] == "config.default_mapping.fields.to"
        assert owner.patch(path, {"name": "Other"}).json()["name"] == "Other"

    def test_a_database_that_is_away_only_stops_what_needs_it(self, owner: Any, secrets: list[str]) -> None:
        made = make(owner, env_key="GRISTMILL_SOURCE_DOWN")
        path = f"{API}/{made['id']}"
        answer = owner.patch(path, {"config": {"default_mapping": {"fields": {"to": "email"}}}})
        problem(answer, 502, "upstream_failed")
        assert not any(secret in answer.text for secret in secrets)
        assert owner.patch(path, {"name": "Other"}).status_code == 200


class TestRead:
    def test_preview(self, owner: Any) -> None:
        made = make(owner)
        seen = owner.post(f"{API}/{made['id']}/preview", {"limit": 2}).json()
        assert [item["name"] for item in seen["columns"]] == ["id", "name", "email"]
        assert seen["rows"] == [
            {"id": 1, "name": "n1", "email": "u1@x.io"},
            {"id": 2, "name": "n2", "email": "u2@x.io"},
        ]
        assert seen["truncated"]
        assert seen["row_count"] is seen["dialect"] is seen["receipt"] is None

    def test_errors_are_clear_and_hide_the_connection(self, owner: Any, secrets: list[str]) -> None:
        for config, status, code in (
            ({"query": "SELECT nope FROM s.leads"}, 422, "query_failed"),
            ({"query": "SELECT 1/(id - id) FROM s.leads"}, 422, "query_failed"),
            ({"query": "SELECT * FROM s.nowhere"}, 422, "query_failed"),
            ({"env_key": "GRISTMILL_SOURCE_DOWN"}, 502, "upstream_failed"),
        ):
            made = make(owner, **config)
            answer = owner.post(f"{API}/{made['id']}/preview")
            problem(answer, status, code)
            assert not any(secret in answer.text for secret in secrets), answer.text
            kept = owner.post(f"{API}/{made['id']}/preview", {"snapshot": True})
            problem(kept, status, code)

    def test_a_key_that_went_away(self, owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = make(owner)
        monkeypatch.delenv(KEY)
        problem(owner.post(f"{API}/{made['id']}/preview"), 422, "invalid")
        answer = owner.post(f"{API}/{made['id']}/test").json()
        assert not answer["ok"]
        assert answer["rungs"][0]["name"] == "key"

    def test_the_rungs(self, owner: Any, secrets: list[str]) -> None:
        answer = owner.post(f"{API}/{make(owner)['id']}/test")
        assert [item["name"] for item in answer.json()["rungs"]] == [
            "key", "connect", "parse", "role", "explain", "first rows",
        ]  # fmt: skip
        assert answer.json()["ok"]
        risky = owner.post(f"{API}/{make(owner, env_key='GRISTMILL_SOURCE_OWNER')['id']}/test").json()
        assert risky["ok"]
        assert "CREATE ROLE gristmill_reader" in next(it["fix"] for it in risky["rungs"] if it["name"] == "role")
        down = owner.post(f"{API}/{make(owner, env_key='GRISTMILL_SOURCE_DOWN')['id']}/test")
        assert not down.json()["ok"]
        assert down.json()["rungs"][-1]["name"] == "connect"
        assert not any(secret in answer.text + down.text for secret in secrets)

    def test_names_of_keys_and_no_value(self, owner: Any, secrets: list[str]) -> None:
        answer = owner.get("/api/v1/data_source_env_keys")
        names = [item["name"] for item in answer.json()["data"]]
        assert names == sorted([KEY, "GRISTMILL_SOURCE_OWNER", "GRISTMILL_SOURCE_DOWN"])
        assert not any(secret in answer.text for secret in secrets)


def stored(database: Database, organization: int, server: Any, query: str = QUERY) -> sources.StoredSource:
    host = Host(Settings(), {KEY: server.dsn("ro")})
    prepared = sources.prepare(Draft("Query", "postgres", SourceConfig(env_key=KEY, query=query)), host)
    with database.tx(organization) as tx:
        made = sources.create(tx, organization, prepared)
        return sources.get(tx, organization, made.id)


class TestOpenRows:
    def test_rows_are_there_when_the_connection_is_gone(
        self, database: Database, organization: int, server: Any
    ) -> None:
        source = stored(database, organization, server)
        with sources.open_rows(source, Settings()) as opened:
            count = server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gristmill-source'")
            assert count == [(0,)]
            assert opened.columns == ["id", "name", "email"]
            rows = list(opened.rows)
        assert len(rows) == 2000
        assert rows[0] == {"id": 1, "name": "n1", "email": "u1@x.io"}

    def test_columns_without_rows(self, database: Database, organization: int, server: Any) -> None:
        source = stored(database, organization, server, "SELECT id FROM s.leads WHERE id < 0")
        with sources.open_rows(source, Settings()) as opened:
            assert opened.columns == ["id"]
            assert list(opened.rows) == []

    def test_one_row_over_the_cap_is_an_error(self, database: Database, organization: int, server: Any) -> None:
        source = stored(database, organization, server)
        with sources.open_rows(source, Settings(source_rows_max=2000)) as opened:
            assert sum(1 for _row in opened.rows) == 2000
        with pytest.raises(Error) as caught, sources.open_rows(source, Settings(source_rows_max=1999)):
            pass
        assert caught.value.code == "too_large"
        assert caught.value.facts["limit"] == 1999

    def test_the_time_limit(self, database: Database, organization: int, server: Any) -> None:
        query = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 1000) b"
        source = stored(database, organization, server, query)
        with pytest.raises(Error) as caught, sources.open_rows(source, Settings(source_timeout_s=0.5)):
            pass
        assert caught.value.code == "timed_out"

    def test_whoever_stops_in_the_middle_of_a_page_lets_go(self, server: Any) -> None:
        started = time.monotonic()
        query = "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 200) AS g"
        with reading(server.dsn("ro"), query, row_max=200) as (_columns, pages):
            assert next(pages)
        assert time.monotonic() - started < 10

    def test_bytes_are_bounded(self, database: Database, organization: int, server: Any) -> None:
        query = "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 20) AS g"
        source = stored(database, organization, server, query)
        with pytest.raises(Error) as caught, sources.open_rows(source, Settings(batch_body_bytes_max=5_000_000)):
            pass
        assert caught.value.code == "too_large"


def test_a_snapshot_stays_when_the_table_changes(owner: Any, database: Database, server: Any) -> None:
    server.sql("CREATE TABLE s.moving (id integer); INSERT INTO s.moving SELECT generate_series(1, 5)")
    server.sql("GRANT SELECT ON s.moving TO ro")
    try:
        made = make(owner, query="SELECT id FROM s.moving ORDER BY id")
        seen = owner.post(f"{API}/{made['id']}/preview", {"limit": 2, "snapshot": True}).json()
        server.sql("DELETE FROM s.moving")
        assert seen["rows"] == [{"id": 1}, {"id": 2}]
        assert seen["row_count"] == 5
        assert seen["truncated"]
        with database.tx(owner.organization_id) as tx:
            source = sources.get(tx, owner.organization_id, made["id"])
            snapshot = sources.find_snapshot(tx, owner.organization_id, made["id"], seen["snapshot_id"])
        with sources.open_rows(source, settings_of_tests(), snapshot=snapshot) as opened:
            assert [row["id"] for row in opened.rows] == [1, 2, 3, 4, 5]
        with sources.open_rows(source, settings_of_tests()) as opened:
            assert list(opened.rows) == []
    finally:
        server.sql("DROP TABLE s.moving")


def settings_of_tests() -> Settings:
    return Settings()
