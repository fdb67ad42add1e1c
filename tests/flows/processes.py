"""Real processes for the flow tests: the command, `gristmill up`, HTTP agents, and ways to look at and end them."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import pytest

from lead_vendor import Vendor

TESTS = Path(__file__).parents[1]
GRISTMILL = str(Path(sys.executable).with_name("gristmill"))
WAIT_S = 30.0
LOOK_S = 0.02
READY_S = 60.0
_numbers = itertools.count(1)
SAMPLES = {"PYTHONPATH": str(TESTS), "GRISTMILL_PYTHON_AGENTS": "sample_agents"}
"""Settings that let workers run the tests' agent functions."""
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "COVERAGE_PROCESS_START")


def wait_for(condition: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
    """The first true value of `condition`; fails the test when none comes in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(LOOK_S)
    pytest.fail(f"{what} did not happen within {within_s:g} s")


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a user's shell would hand on: none of the settings of the tests' own process."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "HOME": str(home), "COLUMNS": "200", **more}


@contextmanager
def open_folder() -> Generator[Path]:
    """A folder that the database's user can enter, which pytest's own are not when root runs them."""
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of this machine."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def kill(pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone already is as good."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def processes_with(text: str) -> list[int]:
    """Processes whose command line or environment has a text: all that belongs to one data folder, for example."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            facts = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if text.encode() in facts and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


@dataclass
class Command:
    """A program under way, with its output in files so that no pipe fills up."""

    process: subprocess.Popen[bytes]
    folder: Path

    @classmethod
    def start(
        cls,
        arguments: Sequence[str | Path],
        folder: Path,
        env: Mapping[str, str],
        *,
        cwd: Path | None = None,
        **more: Any,
    ) -> Self:
        """Start a program; `folder` takes its output."""
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [str(item) for item in arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd or folder,
                start_new_session=True,
                **more,
            )
        return cls(process, folder)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")

    @property
    def text(self) -> str:
        """All that it said."""
        return self.stdout + self.stderr

    def end(self, within_s: float = 60.0) -> int:
        """Wait for its end; answers the exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the command did not end within {within_s:g} s; it said:\n{self.text}")

    def kill(self) -> None:
        """`kill -9`, and reap."""
        self.process.kill()
        self.process.wait()


@dataclass
class Shell:
    """A user's folder to run `gristmill` in."""

    folder: Path
    env: dict[str, str]
    _count: int = 0

    def start(self, *arguments: str | Path) -> Command:
        """`gristmill ARGUMENTS`, in the background."""
        self._count += 1
        output = self.folder / f".said-{self._count}"
        output.mkdir()
        return Command.start([GRISTMILL, *arguments], output, self.env, cwd=self.folder)

    def __call__(self, *arguments: str | Path, within_s: float = 60.0) -> tuple[int, Command]:
        """`gristmill ARGUMENTS`, to its end."""
        command = self.start(*arguments)
        return command.end(within_s), command

    def write(self, name: str, text: str) -> Path:
        """Make a file here."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


@dataclass
class AgentProcess:
    """tests/agent_server.py as a process of its own."""

    port: int
    calls_file: Path
    command: Command

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calls(self) -> Counter[str]:
        """How often each row was called, by its Idempotency-Key."""
        lines = self.calls_file.read_text(encoding="utf-8").splitlines() if self.calls_file.exists() else []
        return Counter(line.split()[0] for line in lines if line.strip())


@contextmanager
def agent_process(folder: Path) -> Generator[AgentProcess]:
    """An HTTP agent that lives through whatever happens to Gristmill."""
    port, calls_file = free_port(), folder / "agent-calls"
    output = folder / "agent-said"
    output.mkdir()
    command = Command.start(
        [sys.executable, TESTS / "agent_server.py", str(port), calls_file], output, environment(folder)
    )
    try:
        wait_for(lambda: listens(port), "the agent's start")
        yield AgentProcess(port, calls_file, command)
    finally:
        command.kill()


@dataclass(frozen=True)
class VendorProcess:
    """tests/lead_vendor.py as a process of its own: it lives through whatever happens to Gristmill."""

    port: int
    asked_file: Path

    def config(self) -> dict[str, Any]:
        """What an `http` provider needs to ask it."""
        return Vendor(url=f"http://127.0.0.1:{self.port}").config()

    def asked(self) -> Counter[str]:
        """How often each company was asked for."""
        lines = self.asked_file.read_text(encoding="utf-8").splitlines() if self.asked_file.exists() else []
        return Counter(lines)


@contextmanager
def vendor_process(folder: Path, latency_ms: int) -> Generator[VendorProcess]:
    """A vendor of lead data that answers after so long."""
    port, asked = free_port(), folder / "vendor-asked"
    output = folder / "vendor-said"
    output.mkdir()
    command = Command.start(
        [sys.executable, TESTS / "lead_vendor.py", str(port), asked, str(latency_ms)], output, environment(folder)
    )
    try:
        wait_for(lambda: listens(port), "the vendor's start")
        yield VendorProcess(port, asked)
    finally:
        command.kill()


@dataclass
class Api:
    """The HTTP API as a patient client uses it."""

    client: httpx.Client

    def call(self, method: str, path: str, *, patience_s: float = 0.0, **more: Any) -> httpx.Response:
        """One call; with patience, again for as long as the service is away."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                answer = self.client.request(method, path, **more)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                if answer.status_code != 503 or time.monotonic() > deadline:
                    return answer
            time.sleep(LOOK_S)

    def get(self, path: str, *, patience_s: float = 0.0, **more: Any) -> Any:
        """The JSON of a resource."""
        answer = self.call("GET", path, patience_s=patience_s, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, json: Any = None, *, expect: int = 200, **more: Any) -> Any:
        """The JSON of a call that must have this status."""
        answer = self.call("POST", path, json=json, **more)
        assert answer.status_code == expect, f"{answer.status_code}: {answer.text}"
        return answer.json()

    def make_agent(self, **values: Any) -> int:
        """A saved agent; answers its id."""
        complete = {"name": f"Agent {next(_numbers)}", "runtime": "python", **values}
        return self.post("/agents", complete, expect=201)["id"]

    def run(self, agent_id: int, items: Sequence[Any], **options: Any) -> str:
        """A batch; answers its id."""
        body = {"items": list(items), **options}
        return self.post(f"/agents/{agent_id}/batch_executions", body, expect=202)["id"]

    def batch(self, batch_id: str, *, patience_s: float = 0.0) -> dict[str, Any]:
        """A batch as it is now."""
        return self.get(f"/batch_executions/{batch_id}", patience_s=patience_s)

    def await_batch(
        self, batch_id: str, status: str = "completed", within_s: float = WAIT_S, patience_s: float = 0.0
    ) -> dict[str, Any]:
        """The batch once it has a status and nothing of it runs."""
        last: dict[str, Any] = {}
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            last = self.batch(batch_id, patience_s=patience_s)
            if last["status"] == status and last["running"] == 0:
                return last
            if last["status"] in {"completed", "failed", "cancelled"} and last["running"] == 0:
                break
            time.sleep(0.05)
        pytest.fail(f"the batch did not get {status} within {within_s:g} s; it is {last}")

    def rows(self, batch_id: str, **query: Any) -> list[dict[str, Any]]:
        """All rows of a batch."""
        rows: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(f"/batch_executions/{batch_id}/rows", params={"limit": 1000, **query, **cursor})
            rows += page["data"]
            if page["meta"]["next_cursor"] is None:
                return rows
            cursor = {"cursor": page["meta"]["next_cursor"]}

    def top_up(self, usd: str) -> dict[str, Any]:
        """Money."""
        return self.post("/billing/topups", {"amount_usd": usd, "key": f"test-{next(_numbers)}"}, expect=201)

    def balance(self) -> dict[str, Any]:
        """What the organization has."""
        return self.get("/agents/balance")


@dataclass
class Up:
    """`gristmill up`."""

    command: Command
    data_dir: Path
    port: int
    workers: int
    key: str = ""
    _clients: list[httpx.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def login_link(self) -> str:
        return re.search(r"Login link\s+(\S+)", self.command.stdout)[1]  # type: ignore[index]

    def await_ready(self) -> Self:
        """Until the greeting is printed."""

        def greeted() -> bool:
            if self.command.process.poll() is not None:
                pytest.fail(f"`gristmill up` ended with {self.command.process.returncode}:\n{self.command.text}")
            return "Ctrl-C stops everything" in self.command.stdout

        wait_for(greeted, "the greeting of `gristmill up`", READY_S)
        assert "Gristmill is ready in" in self.command.stdout, self.command.text
        found = re.search(r"API key\s+(\S+)", self.command.stdout)
        self.key = found[1] if found else self.key
        return self

    def api(self) -> Api:
        """The API with the key of the first start."""
        client = httpx.Client(
            base_url=f"{self.url}/api/v1", headers={"Authorization": f"Bearer {self.key}"}, timeout=60
        )
        self._clients.append(client)
        return Api(client)

    def children(self, role: str) -> list[int]:
        """Processes of a role, `server` or `worker`, under this supervisor."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[1]
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if int(parent) == self.command.pid and role.encode() in words and is_alive(int(entry.name)):
                    found.append(int(entry.name))
        return sorted(found)

    def postmaster(self) -> int:
        """The database's first process; 0 while there is none."""
        with contextlib.suppress(FileNotFoundError, IndexError):
            return int((self.data_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
        return 0

    def connect(self) -> psycopg.Connection:
        """A connection of the superuser to the embedded database."""
        lines = (self.data_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
        return psycopg.connect(
            host=lines[4], port=int(lines[3]), user="postgres", dbname="gristmill", autocommit=True, connect_timeout=10
        )

    def is_ready(self) -> bool:
        """What a load balancer would see."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False

    def stop(self, within_s: float = 60.0) -> int:
        """SIGTERM; answers the exit code."""
        kill(self.command.pid, signal.SIGTERM)
        return self.command.end(within_s)

    def clean_up(self) -> None:
        """End all that is left of it, however it ended."""
        for client in self._clients:
            client.close()
        if self.command.process.poll() is None:
            kill(self.command.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.command.process.wait(20)
        if self.command.process.poll() is None:
            self.command.kill()
        for pid in processes_with(str(self.data_dir)):
            kill(pid)
        wait_for(lambda: not processes_with(str(self.data_dir)), "the end of all processes")


def start_up(
    data_dir: Path,
    *,
    port: int | None = None,
    workers: int = 2,
    program: Sequence[str] = (GRISTMILL,),
    env: Mapping[str, str] | None = None,
    **more: Any,
) -> Up:
    """Start `gristmill up`; does not wait until it is ready."""
    chosen = port or free_port()
    output = Path(tempfile.mkdtemp(prefix="said-", dir=data_dir.parent))
    arguments = ["up", "--port", str(chosen), "--data-dir", str(data_dir), "--workers", str(workers)]
    home = environment(data_dir.parent)
    command = Command.start([*program, *arguments], output, {**home, **(env or {})}, **more)
    return Up(command, data_dir, chosen, workers)


@contextmanager
def running_up(data_dir: Path, **more: Any) -> Iterator[Up]:
    """`gristmill up`, ready; everything of it is gone at the end."""
    up = start_up(data_dir, **more)
    try:
        yield up.await_ready()
    finally:
        up.clean_up()
        print(up.command.text)  # noqa: T201 - pytest shows it when the test failed
