"""The embedded database as several programs use it at once: whoever is the last to go stops it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from gristmill.engine.postgres import EmbeddedPostgres, Running

LOCK_FILE = "users.lock"


@dataclass(slots=True)
class SharedPostgres:
    """One program's use of the embedded database of a data folder.

    Each user holds a shared lock on a file for as long as it lives, so `gristmill run` does not take the database away
    from another `run`, or from `up`, only because it was the one that started it.
    """

    data_dir: Path
    _postgres: EmbeddedPostgres | None = None
    _lock: int | None = None

    def start(self) -> Running:
        """Use the database, started when it does not run. Waits while the last user of before is stopping it."""
        if self._lock is None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._lock = lock
        if self._postgres is None:
            self._postgres = EmbeddedPostgres(self.data_dir / "postgres")
        return self._postgres.start()

    def poll(self) -> int | None:
        """None while the database lives."""
        return self._postgres.poll() if self._postgres is not None else 0

    def stop(self) -> None:
        """Let go of the database; stop it when nobody else uses it."""
        if self._lock is None or self._postgres is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # the last of the others stops it
        else:
            self._postgres.stop()
        finally:
            os.close(self._lock)
            self._lock = self._postgres = None
