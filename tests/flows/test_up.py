"""`gristmill up`: starts, refuses a second one, survives whatever is killed, drains, runs as anybody."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from flows.processes import (
    SAMPLES,
    AgentProcess,
    Command,
    Shell,
    Up,
    environment,
    free_port,
    is_alive,
    kill,
    processes_with,
    running_up,
    start_up,
    wait_for,
)

pytestmark = pytest.mark.xdist_group("up")

RECOVERED_S = 30.0


def run_one_row(up: Up) -> None:
    """The whole way through server, database and a worker."""
    api = up.api()
    batch = api.run(api.make_agent(config={"entry_point": "gristmill.agents.builtin.echo:echo"}), [{"a": 1}])
    assert api.await_batch(batch)["succeeded"] == 1


def test_greeting_login_second_start_and_a_neighbour(folder: Path) -> None:
    with running_up(folder / "one") as up:
        assert f"URL         {up.url}" in up.command.stdout
        assert up.key.startswith("gm_live_")
        assert up.login_link.startswith(f"{up.url}/login?token=")
        assert len(up.children("server")) == 1
        assert len(up.children("worker")) == 2
        run_one_row(up)

        first = httpx.get(up.login_link)
        assert (first.status_code, first.headers["location"]) == (303, "/dashboard")
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        second = httpx.get(up.login_link)
        assert second.status_code == 401
        assert "set-cookie" not in second.headers
        assert "used already" in second.text

        code, asked = Shell(folder, environment(folder))("login", "--data-dir", folder / "one")
        assert code == 0
        assert asked.stdout.startswith(f"{up.url}/login?token=")
        assert httpx.get(asked.stdout.strip()).status_code == 303

        again = start_up(folder / "one")
        assert again.command.end() == 1
        assert "runs already" in again.command.stderr
        assert "--data-dir" in again.command.stderr
        assert "Traceback" not in again.command.text

        elsewhere = start_up(folder / "two", port=up.port)
        assert elsewhere.command.end() == 1
        assert "--port" in elsewhere.command.stderr
        assert "Traceback" not in elsewhere.command.text

        with running_up(folder / "two", workers=1) as neighbour:
            run_one_row(neighbour)
            assert httpx.get(f"{up.url}/api/v1/agents", headers=bearer(neighbour)).status_code == 401
            assert neighbour.stop() == 0
        run_one_row(up)
        assert up.stop() == 0
    with running_up(folder / "one") as up:
        assert "gm_live_" not in up.command.stdout, "the key is shown once"


def bearer(up: Up) -> dict[str, str]:
    return {"Authorization": f"Bearer {up.key}"}


def test_whatever_is_killed_comes_back(folder: Path) -> None:
    with running_up(folder / "data") as up:
        run_one_row(up)
        for role in ("server", "worker"):
            old = up.children(role)
            kill(old[0])
            wait_for(
                lambda role=role, old=old: len(set(up.children(role)) - set(old[:1])) == len(old),
                f"another {role}",
                RECOVERED_S,
            )
            wait_for(up.is_ready, f"readiness after the {role} was killed", RECOVERED_S)
            run_one_row(up)
        old_postmaster = up.postmaster()
        kill(old_postmaster)
        wait_for(lambda: up.postmaster() not in {0, old_postmaster} and up.is_ready(), "another database", RECOVERED_S)
        run_one_row(up)

        # The supervisor: nothing of it may live on, but for the database, which the next start takes over.
        family = [*up.children("server"), *up.children("worker")]
        postmaster = up.postmaster()
        up.command.kill()
        wait_for(lambda: not any(map(is_alive, family)), "the end of server and workers")
        following = start_up(folder / "data", port=up.port)
        try:
            following.await_ready()
            following.key = up.key
            assert following.postmaster() == postmaster
            assert following.api().get("/batch_executions")["data"], "what was there is there"
            run_one_row(following)
            assert following.stop() == 0
            assert not is_alive(postmaster)
            assert not processes_with(str(folder / "data"))
        finally:
            following.clean_up()


def test_the_next_start_need_not_wait_for_the_last_one_s_server(folder: Path) -> None:
    """A killed supervisor leaves a server that still answers somebody; the port is free again soon enough."""
    with running_up(folder / "data", env=SAMPLES) as up:
        api = up.api()
        agent = api.make_agent(config={"entry_point": "sample_agents:wait_async"}, concurrency=1)
        batch = api.run(agent, [{"s": 2}, {"s": 0}])
        key = up.key
        with (
            httpx.Client(headers=bearer(up), timeout=60) as client,
            client.stream("GET", f"{up.url}/api/v1/batch_executions/{batch}/events") as events,
        ):
            lines = events.iter_lines()
            next(lines)
            up.command.kill()
            following = start_up(folder / "data", port=up.port, env=SAMPLES)
        try:
            following.await_ready()
            following.key = key
            done = following.api().await_batch(batch)
            assert done["succeeded"] == 2
            assert following.stop() == 0
        finally:
            following.clean_up()


def test_sigterm_drains(folder: Path, agent: AgentProcess) -> None:
    with running_up(folder / "data") as up:
        api = up.api()
        agent_id = api.make_agent(runtime="http", config={"url": f"{agent.url}/slow/400"}, concurrency=10)
        batch = api.run(agent_id, [{"n": n} for n in range(100)])
        wait_for(lambda: agent.calls().total() >= 25, "some calls")
        assert up.stop() == 0
        assert not processes_with(str(folder / "data"))
        called = agent.calls().total()
        assert called < 100
        key = up.key
    with running_up(folder / "data") as up:
        up.key = key
        api = up.api()
        before = api.batch(batch)
        assert before["succeeded"] >= called
        done = api.await_batch(batch)
        assert done["succeeded"] == 100
        assert set(Counter(agent.calls()).values()) == {1}, "a drained row is never called twice"


# Somebody else's machine


def interpreter_for_all() -> list[str] | None:
    """A Python of this version that any user may run."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        probe = [path, "-c", "import sys; print(sys.version_info[:2])"]
        try:
            done = subprocess.run(probe, user="nobody", capture_output=True, text=True, check=False, cwd="/")
        except (OSError, PermissionError):
            continue
        if done.stdout.strip() == str(sys.version_info[:2]):
            return [path]
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="tests run as an ordinary user already")
def test_as_an_ordinary_user(folder: Path) -> None:
    program = interpreter_for_all()
    sites = [path for path in sys.path if path.endswith("site-packages")]
    source = Path(__file__).parents[2] / "src"
    if program is None or subprocess.run(["test", "-r", sites[0]], user="nobody", check=False, cwd="/").returncode:
        pytest.skip("no Python that the user nobody may run")
    home = folder / "home"
    home.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(source), *sites]),
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with running_up(
        home / "data", program=[*program, "-m", "gristmill.doors.cli"], env=environment, cwd=home, **who
    ) as up:
        assert (home / "data").stat().st_uid == nobody.pw_uid
        assert Path(f"/proc/{up.postmaster()}").stat().st_uid == nobody.pw_uid
        run_one_row(up)
        assert up.stop() == 0


@dataclass
class Outside:
    """A PostgreSQL of somebody else's."""

    port: int
    folder: Path

    def url(self, user: str, database: str) -> str:
        return f"postgresql://{user}:secret@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """A cluster of the machine's own PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.skip("no PostgreSQL is installed here (/usr/lib/postgresql/*/bin)")
    who: dict[str, object] = {}
    if os.geteuid() == 0:
        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root can't run PostgreSQL, and there is no user postgres")
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    folder = Path("/tmp") / f"gm-outside-{os.getpid()}"  # noqa: S108 - the user postgres must enter it
    folder.mkdir(mode=0o755)
    if who:
        os.chown(folder, int(str(who["user"])), int(str(who["group"])))
    port = free_port()

    def run(arguments: Sequence[str | Path]) -> None:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=folder, **who)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout + done.stderr

    password = folder / "password"
    password.write_text("secret")
    password.chmod(0o644)
    run(
        [
            *(found[-1] / "initdb", "-D", folder / "data", "-U", "boss", "--pwfile", password),
            *("--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ]
    )
    said = folder / "said"
    said.mkdir()
    server = Command.start(
        [found[-1] / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-c", "fsync=off"],
        said,
        {"PATH": os.environ["PATH"]},
        cwd=folder,
        **who,
    )
    made = Outside(port, folder)

    def answers() -> bool:
        assert server.process.poll() is None, server.text
        try:
            psycopg.connect(made.url("boss", "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_for(answers, "the outside database")
        yield made
    finally:
        kill(server.pid, signal.SIGINT)
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("role", ["superuser", "owner"])
def test_with_an_outside_database(folder: Path, outside: Outside, role: str) -> None:
    """As a superuser, and as a role that owns its database and may make roles, no more."""
    with psycopg.connect(outside.url("boss", "postgres"), autocommit=True) as connection:
        if role == "owner":
            connection.execute("CREATE ROLE miller LOGIN CREATEROLE PASSWORD 'secret'")
            connection.execute("CREATE DATABASE mill OWNER miller")
        else:
            connection.execute("CREATE DATABASE bossmill")
    url = outside.url("miller", "mill") if role == "owner" else outside.url("boss", "bossmill")
    with running_up(folder / "data", env={"GRISTMILL_DATABASE_URL": url}, workers=1) as up:
        run_one_row(up)
        assert not (folder / "data" / "postgres").exists(), "no embedded database is made"
        assert "secret" not in up.command.text
        assert up.stop() == 0
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM batch_row").fetchone()
        assert found == (1,)


def test_an_outside_database_that_refuses_or_is_not_there(folder: Path, outside: Outside) -> None:
    wrong = outside.url("boss", "postgres").replace("secret", "wrong-one")
    up = start_up(folder / "data", env={"GRISTMILL_DATABASE_URL": wrong})
    try:
        assert up.command.end(15) == 1
        assert "authentication failed" in up.command.stderr
        assert "wrong-one" not in up.command.text
        assert "Traceback" not in up.command.text
    finally:
        up.clean_up()
    up = start_up(folder / "data", env={"GRISTMILL_DATABASE_URL": f"postgresql://u@127.0.0.1:{free_port()}/x"})
    try:
        wait_for(lambda: "waiting for the database" in up.command.stderr, "a word about the wait")
        assert up.stop(10) == 0, "it can be stopped while it waits"
    finally:
        up.clean_up()
