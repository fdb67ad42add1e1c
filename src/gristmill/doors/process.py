"""What every process of Gristmill does at its start and at its end."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from sqlalchemy.exc import OperationalError as EngineUnreachable

from gristmill import engine
from gristmill.base.config import Settings
from gristmill.base.errors import Error
from gristmill.base.log import get_log
from gristmill.base.migrate import migrate

log = get_log("doors")

DATABASE_WAIT_S = 60.0
REFUSALS = ("authentication failed", "no pg_hba.conf entry", "does not exist", "not permitted to log in")
"""What a database says that will not say otherwise in a moment; a failed connection has no code to look at."""
SAME_STOP_S = 0.5
"""Signals closer together are one stop: a terminal or `timeout` signals the group, and a wrapper hands its own on."""
YOUNG_OBJECTS_MAX = 10_000
"""New objects after which Python looks for cycles: rows come by the thousand and hardly ever form any."""
PARENT_FD = "GRISTMILL_PARENT_FD"
"""Number of a pipe's end that closes when the supervisor is gone, however it ended."""


class DatabaseUnreachable(Error):
    """The database can't be reached."""

    code = "unavailable"


def database_url(settings: Settings) -> str:
    """URL of the outside database. Raises `DatabaseUnreachable` when none is set."""
    if settings.database_url is None:
        raise DatabaseUnreachable("Set GRISTMILL_DATABASE_URL, or use `gristmill up`, which brings its own database.")
    return settings.database_url.get_secret_value()


def keep_what_is_loaded() -> None:
    """Have the search for cycles leave out all that a process has loaded to start, which stays until it ends.

    Otherwise each full search goes through some 200,000 objects, and halts every thread for a tenth of a second.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)


def prepare_database(url: str, *, wait_s: float = DATABASE_WAIT_S) -> None:
    """Wait until the database answers, then bring its schema up to date. A refusal is final: nobody waits for it."""
    deadline, told = time.monotonic() + wait_s, False
    while True:
        try:
            migrate(url)
            engine.prepare(url)
        except (psycopg.OperationalError, EngineUnreachable) as error:
            reason = str(error).strip().splitlines()[0][:300]
            if time.monotonic() > deadline or any(word in reason for word in REFUSALS):
                raise DatabaseUnreachable(f"The database can't be reached: {reason}") from error
            if not told:
                told = True
                log.warning("waiting for the database", seconds_at_most=wait_s, reason=reason)
            time.sleep(0.2)
        else:
            return


@dataclass(slots=True)
class Stops:
    """Counts the stops that were asked for: two signals of one Ctrl-C are one."""

    _first: float | None = None

    def again(self) -> bool:
        """Note a signal; whether it is a second stop."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
        return now - self._first > SAME_STOP_S


def on_stop(callback: Callable[[], None]) -> None:
    """Call back on the first SIGTERM or SIGINT, or when the supervisor is gone; end at once on the second stop."""
    stops = Stops()
    stopped = threading.Event()

    def stop(*_: object) -> None:
        if stops.again():
            os._exit(130)
        if not stopped.is_set():
            stopped.set()
            callback()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))


def watch_parent(gone: Callable[[], None]) -> None:
    """Call back when the supervisor's end of the pipe closes, which even `kill -9` can't prevent."""
    number = os.environ.get(PARENT_FD)
    if number is None:
        return

    def wait() -> None:
        os.read(int(number), 1)
        log.warning("the supervisor is gone; stopping")
        gone()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
