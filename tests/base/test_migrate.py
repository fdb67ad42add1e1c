"""The schema: made once by many, refused when it is from the future."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from gristmill.base.db import Database, Unavailable
from gristmill.base.migrate import SchemaFailed, migrate, migration_ids


def test_many_processes_make_the_schema_once(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE gm_migrate_once")
    url = server_url.replace("/gristmill?", "/gm_migrate_once?")
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(url), range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(migration_ids())]


def test_a_schema_of_a_newer_version_is_refused(fresh_database: Database) -> None:
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
            " VALUES ('x', '9999_future', now())"
        )
    with pytest.raises(SchemaFailed, match="newer Gristmill"):
        migrate(fresh_database.url)


def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable), database.system():
        pass


def test_a_transaction_that_fails_leaves_nothing(database: Database, organization: int) -> None:
    with pytest.raises(RuntimeError), database.tx(organization) as tx:
        tx.run("INSERT INTO pace (organization_id, key) VALUES (%s, 'gone')", (organization,))
        raise RuntimeError
    with database.tx(organization) as tx:
        assert tx.row("SELECT key FROM pace WHERE key = 'gone'") is None


def test_the_pool_recovers_when_the_server_closes_its_connections(fresh_database: Database) -> None:
    with fresh_database.system() as tx:
        tx.row("SELECT 1 AS one")
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    with fresh_database.system() as tx:
        assert tx.one("SELECT 1 AS one")["one"] == 1
