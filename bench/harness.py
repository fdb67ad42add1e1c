"""What all benchmarks share: a scratch PostgreSQL, real Gristmill processes, resource readings, a plain-text table.

Everything lives in a temporary folder that others may enter (PostgreSQL runs as another user when root starts it) and
is removed at the end. Processes are our own children and none outlives a benchmark that is killed. Needs Linux: memory
and processor time are read from /proc.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

HERE = Path(__file__).resolve().parent
CLI = (sys.executable, "-m", "gristmill.doors.cli")
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
LOOK_S = 0.02
WAIT_S = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MASTER_KEY = base64.b64encode(os.urandom(32)).decode()


# Waiting


def wait_for(condition: Callable[[], Any], what: str, *, within_s: float = WAIT_S, look_s: float = LOOK_S) -> Any:
    """The first true value of `condition`; an error when none comes in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(look_s)
    raise TimeoutError(f"{what} did not happen within {within_s:g} s")


# Folders, ports, processes


@contextlib.contextmanager
def scratch() -> Generator[Path]:
    """A temporary folder of mode 0755, removed at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up then, too
    folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """The environment of Gristmill's processes: none of the caller's own settings, the agents of this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRISTMILL_", "BATCH_ENRICH_"))}
    return {
        **kept,
        "PYTHONPATH": str(HERE),
        "GRISTMILL_PYTHON_AGENTS": "bench_agents",
        "GRISTMILL_LOG_LEVEL": "error",
        "GRISTMILL_MASTER_KEY": MASTER_KEY,
        **more,
    }


def _end_with_parent() -> None:
    """Runs in the new child: SIGTERM for it when we end, even by `kill -9`."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def spawn(command: Sequence[str | Path], env: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[Any]:
    """Start a child that ends when we do, however that happens."""
    more = {"stdin": subprocess.DEVNULL, "start_new_session": True, "preexec_fn": _end_with_parent, **more}
    return subprocess.Popen(list(command), env=env or environment(), **more)


def end(*processes: subprocess.Popen[Any], within_s: float = 60.0) -> None:
    """Ask children to end, once each (a second signal would cut their draining short), and wait for them."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


# Resources, from /proc


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def command_of(pid: int) -> str:
    """A process's command line; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def cpu_s(*roots: int) -> float:
    """Processor seconds used so far by process trees, children that have ended included."""
    ticks = 0
    for root in roots:
        for pid in descendants(root):
            with contextlib.suppress(OSError, IndexError):
                ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / _TICKS


def own_cpu_s(pid: int) -> float:
    """Processor seconds used so far by one process, without its children."""
    return sum(map(int, _stat(pid)[11:13])) / _TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of one process in MB (10^6 bytes); 0 when it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6
    return 0.0


# Data


def sample_row(number: int) -> dict[str, Any]:
    """A row of about 300 bytes as JSON, different for each number."""
    return {
        "n": number,
        "email": f"person.{number}@example-{number % 997}.com",
        "name": f"Ana Example-{number}",
        "company": f"Example Works {number % 9973} Ltd.",
        "phone": f"+1 555 {number % 1000:03d} {number % 10_000:04d}",
        "note": "Met at the fair; wants a quote for the second quarter, prefers mail, "
        "has asked twice about delivery times and once about the warranty.",
    }


def sample_rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows 0 to count - 1."""
    return map(sample_row, range(count))


# Database


def sibling(url: str, name: str) -> str:
    """URL of another database of the same server."""
    head, _, tail = url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}?{tail}"


class Cluster:
    """One embedded PostgreSQL with Gristmill's own settings, shared by everything that one benchmark measures."""

    def __init__(self, folder: Path) -> None:
        from gristmill.engine.postgres import EmbeddedPostgres  # noqa: PLC0415 - not every benchmark needs it

        self._postgres = EmbeddedPostgres(folder / "pg")
        running = self._postgres.start()
        self.url, self.pid = running.url, running.pid
        with psycopg.connect(self.url) as connection:
            self.version = connection.execute("SHOW server_version").fetchone()[0]

    def create(self, name: str) -> str:
        """A new, empty database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return sibling(self.url, name)

    def settle(self) -> None:
        """Write dirty pages now, so that no measurement pays for the one before it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def stop(self) -> None:
        """Stop the server."""
        self._postgres.stop()


@dataclass(slots=True)
class Run:
    """One measured run."""

    rows: int
    seconds: float
    cpu_s: float = 0.0
    """Processor time of its workers and of the database."""
    intake_s: float = 0.0
    """Time to check, hash, store and queue the rows, before the run."""

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


class Mill:
    """Gristmill on a cluster: batches made through the service functions, run by real `gristmill worker` processes."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        os.environ["GRISTMILL_PYTHON_AGENTS"] = "bench_agents"
        from gristmill import engine, identity, ledger  # noqa: PLC0415 - after the environment is set
        from gristmill.base.db import Database  # noqa: PLC0415
        from gristmill.base.migrate import migrate  # noqa: PLC0415

        migrate(cluster.url)
        engine.prepare(cluster.url)
        self._cluster = cluster
        self._database = Database(cluster.url, application="bench")
        self._admin = psycopg.connect(cluster.url, autocommit=True)
        self._environment = environment(GRISTMILL_DATABASE_URL=cluster.url, GRISTMILL_DATA_DIR=str(folder / "data"))
        self._workers: list[subprocess.Popen[Any]] = []
        self._agents: dict[str, Any] = {}
        with self._database.system() as tx:
            self.organization_id = identity.create_organization(tx, "Bench").id
        with self._database.tx(self.organization_id) as tx:
            ledger.top_up(tx, self.organization_id, 10**12, key="bench")

    def workers(self, count: int) -> None:
        """Have exactly that many workers, all of them ready."""
        end(*self._workers[count:])
        del self._workers[count:]
        self._workers += [spawn((*CLI, "worker"), self._environment) for _ in range(count - len(self._workers))]
        wait_for(lambda: self._value("SELECT count(*) FROM worker") == count, f"{count} workers")

    def run(self, agent: dict[str, Any], rows: int) -> Run:
        """Run a batch to its end; the time is from the first claim to completion."""
        from gristmill import batches  # noqa: PLC0415 - see above

        made = self._agent(agent)
        self._admin.execute("TRUNCATE batch_row, batch_progress, ledger_entry")
        self._cluster.settle()
        begun = time.monotonic()
        with self._database.tx(self.organization_id) as tx:
            order = batches.Order(origin={"kind": "items"}, mapping={})
            batch_id = batches.create(tx, self.organization_id, made, order, sample_rows(rows)).id
        intake_s = time.monotonic() - begun
        roots = [self._cluster.pid, *(process.pid for process in self._workers)]
        cpu = cpu_s(*roots)
        wait_for(lambda: self._ended(batch_id), "the batch's end", within_s=600)
        ended = time.time()
        cpu = cpu_s(*roots) - cpu
        facts = self._admin.execute(
            "SELECT status, succeeded, message, extract(epoch FROM started_at)::float8 FROM batch WHERE id = %s",
            (batch_id,),
        ).fetchone()
        if facts[:2] != ("completed", rows):
            raise RuntimeError(f"the batch is {facts[0]} with {facts[1]} of {rows} rows: {facts[2]}")
        return Run(rows, ended - facts[3], cpu, intake_s)

    def stop(self) -> None:
        """End the workers."""
        self.workers(0)
        self._admin.close()
        self._database.close()

    def _agent(self, values: dict[str, Any]) -> Any:
        from gristmill import agents  # noqa: PLC0415 - see above

        name = json.dumps(values, sort_keys=True)
        if name not in self._agents:
            with self._database.tx(self.organization_id) as tx:
                complete = {"name": name[:200], "runtime": "python", **values}
                self._agents[name] = agents.create(tx, self.organization_id, complete)
        return self._agents[name]

    def _ended(self, batch_id: UUID) -> bool:
        return self._value("SELECT status FROM batch WHERE id = %s", batch_id) not in {"queued", "running"}

    def _value(self, query: str, *values: Any) -> Any:
        return self._admin.execute(query, values).fetchone()[0]


# The whole service


@dataclass(slots=True)
class Up:
    """`gristmill up` in a data folder of its own, on a free port."""

    folder: Path
    workers: int = 2
    port: int = 0
    url: str = ""
    secret: str = ""
    started: float = 0.0
    process: subprocess.Popen[Any] | None = None
    more: dict[str, str] = field(default_factory=dict)

    def start(self) -> float:
        """Spawn it; answers the seconds from there to the first 200 of /readyz."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = (*CLI, "up", "--data-dir", self.folder, "--port", str(self.port), "--workers", str(self.workers))
        self.started = time.monotonic()
        self.process = spawn(command, environment(**self.more), stdout=subprocess.DEVNULL)
        wait_for(self._ready, "/readyz", look_s=0.01)
        return time.monotonic() - self.started

    def key(self) -> str:
        """An admin key for the API."""
        done = subprocess.run(
            (*CLI, "key", "--data-dir", str(self.folder)), env=environment(), capture_output=True, text=True, check=True
        )
        self.secret = done.stdout.split()[-1]
        return self.secret

    def pids(self, kind: str) -> list[int]:
        """Process numbers of the `server` or of the `worker`s."""
        return [pid for pid in descendants(self.process.pid) if command_of(pid).rstrip().endswith(f"cli {kind}")]

    def stop(self) -> None:
        """Drain and end."""
        if self.process is not None:
            end(self.process)

    def _ready(self) -> bool:
        """Ask by hand: importing an HTTP client must not be part of the measured time."""
        if self.process.poll() is not None:
            raise RuntimeError(f"`gristmill up` ended with code {self.process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                sock.settimeout(2)
                sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return sock.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


# Reports


def machine() -> str:
    """What the numbers were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, load {load:.1f} at the start"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first one to the left, the others to the right."""
    widths = [max(len(line[index]) for line in (head, *lines)) for index in range(len(head))]

    def text(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([text(head), "  ".join("-" * width for width in widths), *map(text, lines)])


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def number(value: float) -> str:
    """Short and readable: 12,345 or 12.3 or 0.123."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(value: float, goal: float, *, at_most: bool = False) -> str:
    """Goal and whether it is met."""
    good = value <= goal if at_most else value >= goal
    return f"{'<=' if at_most else '>='} {goal:g} {'ok' if good else 'MISSED'}"
