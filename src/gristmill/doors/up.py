"""`gristmill up`: database, server and workers on one machine, watched and restarted.

The supervisor owns the listening socket and the embedded PostgreSQL; server and workers are children that end when it
ends, however it ends. A child that dies is started again; so is the database.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO

from gristmill.base.config import Settings
from gristmill.base.errors import Conflict, Error
from gristmill.base.log import get_log
from gristmill.doors.listening import LISTEN_FD, listen
from gristmill.doors.process import PARENT_FD, Stops
from gristmill.doors.shared_postgres import SharedPostgres
from gristmill.vault.key_sources.local import make_key_file
from gristmill.vault.seal import new_key

log = get_log("doors")

WATCH_S = 0.2
RESTART_PAUSE_S_MAX = 5.0
HEALTHY_S = 10.0
"""A child that lived this long is restarted without a pause."""
LATER_S = 2.0
"""Workers beyond the first begin so much later, which leaves the processors to the server and the first until both are
ready."""
LOCK_FILE = "up.lock"


@dataclass(slots=True)
class Child:
    """A process that must run."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class Supervisor:
    """Keeps database, server and workers running until it is stopped."""

    settings: Settings
    url: str = ""
    """Where the API is."""
    database: str = ""
    """URL of the database."""
    _postgres: SharedPostgres | None = None
    _children: list[Child] = field(default_factory=list)
    _environment: dict[str, str] = field(default_factory=dict)
    _keep: list[int] = field(default_factory=list)
    _lock: TextIO | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _stops: Stops = field(default_factory=Stops)

    def start(self) -> None:
        """Start everything; returns when the database answers and the children are on their way.

        Raises `Conflict` when another supervisor runs on the same data folder.
        """
        data_dir = self.settings.data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock(data_dir)
        make_key_file(self.settings, new_key())
        sock = listen(self.settings.host, self.settings.port)
        host, port = sock.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._tell_url()
        if self.settings.database_url is None:
            self._postgres = SharedPostgres(data_dir)
            self.database = self._postgres.start().url
        else:
            self.database = self.settings.database_url.get_secret_value()
        ours, theirs = os.pipe()
        # The write end stays here for life: its end is the children's sign that the supervisor is gone.
        self._keep = [ours, theirs, sock.detach()]
        self._environment = {
            **os.environ,
            "GRISTMILL_DATABASE_URL": self.database,
            "GRISTMILL_DATA_DIR": str(data_dir),
            "GRISTMILL_WORKERS": str(self.settings.workers),
            "GRISTMILL_HOST": self.settings.host,
            PARENT_FD: str(ours),
            LISTEN_FD: str(self._keep[2]),
        }
        if _is_loopback(self.settings.host):
            self._environment.setdefault("GRISTMILL_EGRESS_ALLOW", "loopback")
        names = ["server"] + [f"worker {number}" for number in range(1, self.settings.workers + 1)]
        self._children = [Child(name, [sys.executable, "-m", "gristmill.doors.cli", name.split()[0]]) for name in names]
        for child in self._children[:2]:
            self._spawn(child)
        for child in self._children[2:]:
            child.due = time.monotonic() + LATER_S

    def watch(self, *, beat: Callable[[], None] = lambda: None) -> None:
        """Restart what ends, until `stop` is called."""
        while not self._stop.wait(WATCH_S):
            self._watch_database()
            now = time.monotonic()
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    self._ended(child, child.process.returncode, now)
                if child.process is None and now >= child.due:
                    self._spawn(child)
            beat()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self, *_: object) -> None:
        """Ask `watch` to return; a second stop ends at once."""
        if self._stops.again():
            for child in self._children:
                if child.process is not None:
                    child.process.kill()
            os._exit(130)
        self._stop.set()

    def shut_down(self) -> None:
        """Drain workers and server, then stop the database."""
        for child in reversed(self._children):
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + self.settings.drain_s + 5
        for child in self._children:
            if child.process is None:
                continue
            try:
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        if self._postgres is not None:
            self._postgres.stop()
        if self._lock is not None:
            self._lock.close()

    def _take_lock(self, data_dir: Path) -> None:
        self._lock = (data_dir / LOCK_FILE).open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                f"`gristmill up` runs already on {data_dir}. Stop it, or choose another folder with --data-dir."
            ) from None

    def _tell_url(self) -> None:
        """For `running_url`: written into the lock file, true as long as it is locked."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.write(self.url)
            self._lock.flush()

    def _spawn(self, child: Child) -> None:
        fds = (self._keep[0], self._keep[2]) if child.name == "server" else (self._keep[0],)
        environment = dict(self._environment)
        if child.name != "server":
            environment.pop(LISTEN_FD)
        child.process = subprocess.Popen(  # noqa: S603 - our own program
            child.command,
            env=environment,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which drains the children in order
        )
        child.started = time.monotonic()

    def _ended(self, child: Child, code: int, now: float) -> None:
        healthy = now - child.started > HEALTHY_S
        child.failures = 0 if healthy else child.failures + 1
        pause = 0.0 if child.failures <= 1 else min(RESTART_PAUSE_S_MAX, 0.2 * 2**child.failures)
        log.warning("a process ended; starting it again", name=child.name, code=code, pause_s=pause)
        child.process, child.due = None, now + pause

    def _watch_database(self) -> None:
        if self._postgres is None or self._postgres.poll() is None:
            return
        log.warning("the database ended; starting it again")
        try:
            self._postgres.start()
        except Error as error:
            log.error("the database does not start", error=error.message)  # noqa: TRY400 - one line says it
            time.sleep(1.0)


def running_url(data_dir: Path) -> str | None:
    """Where the `gristmill up` of a data folder listens; None when none runs."""
    try:
        with (data_dir / LOCK_FILE).open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except OSError:
        return (data_dir / LOCK_FILE).read_text(encoding="utf-8") or None
    return None


def install_signals(supervisor: Supervisor) -> None:
    """SIGINT and SIGTERM drain; a second one ends at once."""
    signal.signal(signal.SIGINT, supervisor.stop)
    signal.signal(signal.SIGTERM, supervisor.stop)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
