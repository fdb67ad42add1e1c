"""One read-only visit to a user's database: limits, wall clock, and errors that hide the connection.

Every statement of the user goes out by the extended protocol, which takes one statement and no more.
Nothing is ever committed: the transaction is READ ONLY, and closing the connection rolls it back.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, LiteralString

import psycopg
from psycopg import conninfo, errors, generators, pq

from gristmill.base.errors import Error, FieldError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one visit may cost; every limit stops it with a sentence."""

    connect_s: int = 5
    statement_ms: int = 15_000
    """Time of one statement on the server."""
    lock_ms: int = 1_000
    idle_ms: int = 60_000
    """How long the transaction may wait for whoever takes the rows."""
    total_s: float = 30.0
    """Wall clock of the visit as a whole, kept on our side: the server's timeouts count per statement."""
    row_bytes_max: int = 4 * 1024 * 1024
    """Size of one row as text; the server measures it before a byte of it is sent."""
    page_bytes: int = 4 * 1024 * 1024
    """A page is handed on when it is this big, even if it has fewer rows than asked for."""
    page_rows: int = 500
    preview_bytes: int = 8 * 1024 * 1024
    """All rows of `columns_and_rows` together."""


GRACE_S = 2.0
"""After a cancel the server has this long to answer before the socket is shut."""
STREAM = Limits(total_s=3600.0, idle_ms=600_000)
"""The limits of a batch that takes its rows page by page."""


class QueryFailed(Error):
    """The database could not run the query."""

    code: ClassVar[str] = "query_failed"


class QueryTimedOut(QueryFailed):
    """The query took longer than its limit."""

    code: ClassVar[str] = "timed_out"


class SourceUnreachable(QueryFailed):
    """The database of this source can't be reached."""

    code: ClassVar[str] = "upstream_failed"


class _WallClock:
    """Cancels what runs when the time is up, then shuts the socket, from a thread of its own."""

    def __init__(self, connection: psycopg.Connection[Any], seconds: float) -> None:
        self.seconds = seconds
        self.fired = False
        self._connection = connection
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="source-wall-clock", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        if self._done.wait(self.seconds):
            return
        self.fired = True
        with contextlib.suppress(psycopg.Error, OSError):
            self._connection.cancel_safe(timeout=GRACE_S)
        if self._done.wait(GRACE_S):
            return
        with contextlib.suppress(psycopg.Error, OSError, ValueError):
            twin = socket.socket(fileno=socket.dup(self._connection.fileno()))
            with twin:
                twin.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Let the connection be closed: the thread touches it no more."""
        self._done.set()
        self._thread.join()


@dataclass(slots=True)
class Session:
    """An open read-only transaction; `text` is the statement that positions in errors refer to."""

    connection: psycopg.Connection[Any]
    limits: Limits
    clock: _WallClock
    text: str = ""
    prefix: int = 0
    """Characters that stand before the user's statement in what was sent."""
    inserted: tuple[tuple[int, int], ...] = ()
    """Where the statement itself was added to: index in the user's own text and number of characters."""
    original: str = ""
    """The user's own text."""

    def check_time(self) -> None:
        """Raise when the wall clock is up; between two statements there is nothing that it could cancel."""
        if self.clock.fired:
            seconds = self.limits.total_s
            raise QueryTimedOut(f"Reading was stopped after {seconds:g} s.", limit_s=seconds)

    def ask(self, sql: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Run a query of our own."""
        return self.connection.execute(sql, values).fetchall()

    def run(self, before: str, text: str, after: str = "") -> pq.abc.PGresult:
        """Run the user's checked text inside ours: one statement, by the extended protocol."""
        self.text, self.prefix = text, len(before)
        pgconn = self.connection.pgconn
        pgconn.send_query_params((before + text + after).encode(), None)
        return self._answer()

    def describe(self, text: str, before: str = "", after: str = "") -> pq.abc.PGresult:
        """Let the server parse the text inside ours and name its columns, without planning or running it."""
        self.text, self.prefix = text, len(before)
        pgconn = self.connection.pgconn
        pgconn.send_prepare(
            b"", (before + text + after).encode()
        )  # without a name, so that a pooled connection keeps nothing
        self._answer()
        pgconn.send_describe_prepared(b"")
        return self._answer()

    def _answer(self) -> pq.abc.PGresult:
        results = self.connection.wait(generators.execute(self.connection.pgconn))
        result = results[-1]
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result)
        return result


@contextmanager
def read_only(dsn: str, limits: Limits) -> Generator[Session]:
    """Open a connection in a READ ONLY transaction with every limit set; always roll back and close."""
    connection = _connect(dsn, limits)
    clock = _WallClock(connection, limits.total_s)
    session = Session(connection, limits, clock)
    try:
        _begin(session)
        yield session
    except psycopg.Error as error:
        session.check_time()
        raise _explained(error, session, dsn) from None
    finally:
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
        clock.stop()
        connection.close()


def pin_search_path(session: Session) -> None:
    """From here on a name without a schema is PostgreSQL's own; temporary objects come last."""
    session.ask("SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)")


def _begin(session: Session) -> None:
    limits = session.limits
    connection = session.connection
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    settings = {
        "statement_timeout": str(limits.statement_ms),
        "lock_timeout": str(limits.lock_ms),
        "idle_in_transaction_session_timeout": str(limits.idle_ms),
        # The guard's grammar reads strings by the standard; a server that doesn't would see another text.
        "standard_conforming_strings": "on",
        "client_min_messages": "error",
        "row_security": "on",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "iso_8601",
        "TimeZone": "UTC",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "xmloption": "content",
    }
    calls: LiteralString = ", ".join("pg_catalog.set_config(%s, %s, true)" for _name in settings)
    session.ask("SELECT " + calls, *(text for setting in settings.items() for text in setting))


def _connect(dsn: str, limits: Limits) -> psycopg.Connection[Any]:
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        raise SourceUnreachable("The value is not a PostgreSQL connection string.") from None
    options = f"-c default_transaction_read_only=on -c statement_timeout={limits.statement_ms}"
    wanted = f"{given.get('options') or ''} {options}".strip()
    fixed: dict[str, Any] = {
        "client_encoding": "utf8",
        "connect_timeout": limits.connect_s,
        "application_name": "gristmill-source",
        "autocommit": True,
        "prepare_threshold": None,
    }
    try:
        return psycopg.connect(dsn, **fixed, options=wanted)
    except psycopg.OperationalError as error:
        # Connection poolers refuse options at start; the transaction sets them all again anyway.
        if "startup parameter" not in str(error):
            raise _unreachable(error, limits) from None
    except psycopg.Error as error:
        raise _unreachable(error, limits) from None
    try:
        return psycopg.connect(dsn, **fixed)
    except psycopg.Error as error:
        raise _unreachable(error, limits) from None


REASONS: tuple[tuple[str, str], ...] = (
    (
        r"password|authentication|no pg_hba|role .* does not exist|not permitted to log in",
        "it did not accept the login",
    ),
    (r"database .* does not exist", "there is no database of that name"),
    (r"timeout|timed out", "it did not answer in time"),
    (r"refused|No such file", "nothing listens at its address"),
    (r"translate host|name or service|resolve", "its host name is unknown"),
    (r"too many|remaining connection slots", "it has no free connection"),
    (r"SSL|TLS|certificate", "the encrypted connection failed"),
    (r"starting up|shutting down|recovery", "it is starting or stopping"),
)
"""What a failed connection may say: the driver's own text holds host, user and database."""


def _unreachable(error: psycopg.Error, limits: Limits) -> SourceUnreachable:
    text = str(error)
    for pattern, reason in REASONS:
        if re.search(pattern, text, re.IGNORECASE):
            return SourceUnreachable(f"The database of this source can't be reached: {reason}.")
    return SourceUnreachable(f"The database of this source can't be reached within {limits.connect_s} s.")


def _explained(error: psycopg.Error, session: Session, dsn: str) -> QueryFailed:
    limits = session.limits
    if isinstance(error, errors.QueryCanceled):
        seconds = limits.statement_ms / 1000
        return QueryTimedOut(f"The query ran longer than {seconds:g} s and was stopped.", limit_s=seconds)
    if isinstance(error, errors.IdleInTransactionSessionTimeout):
        seconds = limits.idle_ms / 1000
        return QueryTimedOut(f"The rows were not taken for {seconds:g} s.", limit_s=seconds)
    if isinstance(error, errors.LockNotAvailable):
        return QueryFailed("Another transaction holds a lock on a table of the query.", sqlstate=error.sqlstate)
    message = error.diag.message_primary
    if not message:
        return SourceUnreachable("The connection to the database was lost.")
    message = hide_secrets(message, dsn)
    if error.diag.message_hint:
        message += f" ({hide_secrets(error.diag.message_hint, dsn)})"
    place = _place(error, session)
    line, column = place or (None, None)
    return QueryFailed(
        f"The database answered: {message}.",
        errors=(FieldError("query", message, line, column),),
        line=line,
        column=column,
        sqlstate=error.sqlstate,
    )


def _place(error: psycopg.Error, session: Session) -> tuple[int, int] | None:
    """Line and column in the user's text of a position in the text that was sent."""
    position = error.diag.statement_position
    if position is None or not session.text:
        return None
    at = int(position) - 1 - session.prefix
    if not 0 <= at <= len(session.text):
        return None
    for index, length in session.inserted:
        if at > index:
            at -= min(length, at - index)
    before = (session.original or session.text)[:at]
    return before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1


def hide_secrets(text: str, dsn: str) -> str:
    """The text without the connection string's password, host and whole self."""
    with contextlib.suppress(psycopg.Error):
        given = conninfo.conninfo_to_dict(dsn)
        secrets: Sequence[object] = (dsn, given.get("password"), given.get("host"), given.get("hostaddr"))
        for secret in secrets:
            if secret and len(str(secret)) > 3:  # noqa: PLR2004 - shorter ones are parts of words
                text = text.replace(str(secret), "***")
    return text
