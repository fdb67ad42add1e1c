"""PostgreSQL: one pool, one transaction type, the tenant set on every transaction.

A `Tx` is the first argument of every store and service function. Only the edge (an HTTP request, a
worker's step, a CLI command) opens and commits one. SQL is `LiteralString`, so a query built from
values does not pass the type check. Each transaction names its organization to the database, whose
row-level security then hides every other tenant's rows even from a query that forgot its WHERE.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from gristmill.base import jsons
from gristmill.base.errors import Error

set_json_loads(jsons.loads)
set_json_dumps(jsons.dumps)

JsonDict = dict[str, Any]

APP_ROLE = "gristmill_app"
"""Role of tenant transactions: row-level security applies to it."""
SYSTEM_ROLE = "gristmill_system"
"""Role of the few transactions that serve no single tenant: key look-up, the reaper, batch discovery."""
QUERY_ROLE = "gristmill_query"
"""Role of users' own SELECTs over one dataset: it may read that dataset's rows and nothing else."""
POOL_SIZE = 12
POOL_OVERFLOW = 20
POOL_WAIT_S = 10.0
STATEMENT_TIMEOUT_MS = 120_000
IDLE_IN_TRANSACTION_MS = 120_000
KEEPALIVE: JsonDict = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq's settings of a connection: a server that is gone without a word is noticed within half a minute.

The system's own would let a worker wait two hours for its answer.
"""


class Unavailable(Error):
    """The database is not reachable just now; try again in a moment."""

    code = "unavailable"


@dataclass(slots=True)
class Tx:
    """One open transaction."""

    database: Database
    connection: sa.Connection
    """The SQLAlchemy connection; only the engine room uses it, to enqueue in this same transaction."""
    raw: psycopg.Connection[dict[str, Any]]
    now: datetime
    """The database's time at the start of the transaction, UTC."""
    organization_id: int | None
    """The tenant; None in a system transaction."""

    def rows(self, sql: LiteralString, params: Sequence[Any] | JsonDict = ()) -> list[dict[str, Any]]:
        """All rows of a query as dicts."""
        with self.raw.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql, params).fetchall()

    def row(self, sql: LiteralString, params: Sequence[Any] | JsonDict = ()) -> dict[str, Any] | None:
        """The first row, or None."""
        with self.raw.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql, params).fetchone()

    def one(self, sql: LiteralString, params: Sequence[Any] | JsonDict = ()) -> dict[str, Any]:
        """The first row of a query that always has one."""
        found = self.row(sql, params)
        if found is None:
            raise LookupError("the query answered no row")
        return found

    def tuples(self, sql: LiteralString, params: Sequence[Any] | JsonDict = ()) -> list[tuple[Any, ...]]:
        """All rows as tuples; for the hot loops."""
        with self.raw.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(sql, params).fetchall()

    def enter(self, organization_id: int) -> None:
        """Turn a system transaction into one of a tenant, once the caller is known. There is no way back."""
        self.raw.execute(
            "SELECT set_config('role', 'gristmill_app', true), set_config('gristmill.organization_id', %s, true)",
            (str(organization_id),),
        )
        self.organization_id = organization_id

    def run(self, sql: LiteralString, params: Sequence[Any] | JsonDict = ()) -> int:
        """Run a statement; answers the number of rows it touched."""
        with self.raw.cursor() as cursor:
            return cursor.execute(sql, params).rowcount

    def run_each(self, sql: LiteralString, params: Sequence[Sequence[Any] | JsonDict]) -> None:
        """Run a statement once for each of `params`, without waiting for the database in between."""
        with self.raw.cursor() as cursor:
            cursor.executemany(sql, params)


class Database:
    """A pool of connections to one PostgreSQL, shared by the threads of a process."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE, application: str = "gristmill") -> None:
        self.url = url
        options = (
            f"-c role={APP_ROLE} -c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS}"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
        )
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(
                url, options=options, application_name=application, connect_timeout=10, **KEEPALIVE
            ),
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_WAIT_S,
            pool_pre_ping=True,
            pool_use_lifo=True,  # the connection that was used last has its statements planned and its tables known
        )
        # A forked child must not share its parent's sockets.
        os.register_at_fork(after_in_child=lambda: self._engine.dispose(close=False))

    @contextmanager
    def tx(self, organization_id: int) -> Generator[Tx]:
        """A transaction of one organization: commits at the end, rolls back on any exception."""
        with self._begin(organization_id) as tx:
            yield tx

    @contextmanager
    def system(self) -> Generator[Tx]:
        """A transaction that sees every tenant. Few callers; each says why."""
        with self._begin(None) as tx:
            yield tx

    @contextmanager
    def _begin(self, organization_id: int | None) -> Generator[Tx]:
        try:
            connection = self._engine.connect()
        except (OperationalError, PoolTimeout, psycopg.OperationalError) as error:
            raise Unavailable(f"The database is not reachable: {str(error).splitlines()[0][:200]}") from error
        raw: psycopg.Connection[dict[str, Any]] = connection.connection.driver_connection  # pyright: ignore[reportAssignmentType]
        try:
            with connection.begin():
                if organization_id is None:
                    raw.execute("SET LOCAL ROLE gristmill_system")
                    stamp = raw.execute("SELECT now()").fetchone()
                else:
                    stamp = raw.execute(
                        "SELECT now(), set_config('gristmill.organization_id', %s, true)",
                        (str(organization_id),),
                    ).fetchone()
                now = stamp[0]  # pyright: ignore[reportOptionalSubscript, reportArgumentType, reportUnknownVariableType]
                yield Tx(self, connection, raw, now, organization_id)  # pyright: ignore[reportUnknownArgumentType]
        except (psycopg.Error, DBAPIError) as error:  # SQLAlchemy's when not even the rollback gets through
            if raw.closed or raw.broken:
                connection.invalidate()
                raise Unavailable("The connection to the database was lost; try again.") from error
            raise
        finally:
            connection.close()

    def close(self) -> None:
        """Close all idle connections."""
        self._engine.dispose()
