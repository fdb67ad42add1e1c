"""Schema changes: SQL files applied in order by yoyo, forward only, under a database lock."""

from __future__ import annotations

import contextlib
import io
import logging
from importlib.resources import as_file, files
from typing import LiteralString

import psycopg
import yoyo
from psycopg import sql

from gristmill.base.db import APP_ROLE, QUERY_ROLE, SYSTEM_ROLE
from gristmill.base.errors import Error

SERVER_VERSION_MIN = 150_000
_LOCK = 7_241_001


class SchemaFailed(Error):
    """The database can't be prepared."""

    code = "unavailable"


_ROLES: LiteralString = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gristmill_app') THEN
        CREATE ROLE gristmill_app NOLOGIN NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gristmill_system') THEN
        CREATE ROLE gristmill_system NOLOGIN NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gristmill_query') THEN
        CREATE ROLE gristmill_query NOLOGIN NOBYPASSRLS;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this server made them just now
END $$
"""


def migration_ids() -> list[str]:
    """Names of all migrations in order."""
    folder = files("gristmill") / "migrations"
    return sorted(item.name.removesuffix(".sql") for item in folder.iterdir() if item.name.endswith(".sql"))


def migrate(url: str) -> list[str]:
    """Bring the database up to date; answers the names of the migrations applied (none when it was).

    Safe from several processes at once. Raises `SchemaFailed` for a server that is too old, a user that may not
    create what is needed, or a schema that a newer Gristmill made.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        if connection.info.server_version < SERVER_VERSION_MIN:
            raise SchemaFailed(
                f"PostgreSQL {connection.info.server_version // 10_000} is too old: 15 or newer is needed."
            )
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        done = _applied(connection)
        wanted = migration_ids()
        unknown = sorted(done - set(wanted))
        if unknown:
            raise SchemaFailed(
                f"The database was made by a newer Gristmill (it has {', '.join(unknown)}): upgrade this one."
            )
        if done == set(wanted):
            return []
        _ensure_roles(connection)
        _apply(url)
        return [name for name in wanted if name not in done]


def _applied(connection: psycopg.Connection) -> set[str]:
    if connection.execute("SELECT to_regclass('public._yoyo_migration')").fetchone() == (None,):
        return set()
    return {row[0] for row in connection.execute("SELECT migration_id FROM public._yoyo_migration")}


def _ensure_roles(connection: psycopg.Connection) -> None:
    try:
        connection.execute(_ROLES)
        for role in (APP_ROLE, SYSTEM_ROLE, QUERY_ROLE):
            if connection.execute("SELECT pg_has_role(%s, 'MEMBER')", (role,)).fetchone() != (True,):
                connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
        connection.execute(
            sql.SQL("GRANT USAGE ON SCHEMA public TO {}, {}").format(
                sql.Identifier(APP_ROLE), sql.Identifier(SYSTEM_ROLE)
            )
        )
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaFailed(
            "The user of GRISTMILL_DATABASE_URL may not create roles. Let an administrator run once: "
            f"CREATE ROLE {APP_ROLE} NOLOGIN; CREATE ROLE {SYSTEM_ROLE} NOLOGIN; CREATE ROLE {QUERY_ROLE} NOLOGIN; "
            f"GRANT {APP_ROLE}, {SYSTEM_ROLE}, {QUERY_ROLE} TO <that user>;"
        ) from error


def _apply(url: str) -> None:
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    backend = yoyo.get_backend(_yoyo_url(url))
    with as_file(files("gristmill") / "migrations") as folder:
        migrations = yoyo.read_migrations(str(folder))
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # yoyo prints what a SELECT in a migration answers
                backend.apply_migrations(backend.to_apply(migrations))
        except psycopg.errors.InsufficientPrivilege as error:
            raise SchemaFailed(f"The database user may not create tables: {error}") from error
        finally:
            backend.connection.close()


def _yoyo_url(url: str) -> str:
    """Yoyo chooses its driver by scheme: psycopg 3 is `postgresql+psycopg`."""
    scheme, rest = url.split("://", 1)
    if scheme not in {"postgresql", "postgres"}:
        raise SchemaFailed(f"GRISTMILL_DATABASE_URL must start with postgresql://, not {scheme}://.")
    return f"postgresql+psycopg://{rest}"
