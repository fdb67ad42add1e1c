import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gristmill.engine import postgres, postgres_cluster, postgres_host
from gristmill.engine.postgres import EmbeddedPostgres, PostgresError
from gristmill.engine.postgres_host import Account, Place, find_process

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="needs root, to run things as another user")

OWNER = """
import signal, sys
from pathlib import Path
from gristmill.engine.postgres import EmbeddedPostgres
pg = EmbeddedPostgres(Path(sys.argv[1]))
running = pg.start()
print(running.pid, running.started_here, running.url, flush=True)
for line in sys.stdin:
    if line == "stop\\n":
        pg.stop()
        print("stopped", flush=True)
"""


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"waited {seconds} s for {what}"
        time.sleep(0.005)


def end_all(home: Path) -> None:
    place = Place(home, Account(0, 0))
    for pid in place.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
    until(lambda: not place.processes(), f"the servers in {home} to end")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="gmpg-"))
    path.chmod(0o755)
    yield path
    for home in path.iterdir():
        end_all(home)
    shutil.rmtree(path)


@pytest.fixture
def data(folder: Path) -> Path:
    return folder / "d"


@pytest.fixture(scope="session")
def sample() -> Iterator[Path]:
    """A data folder with a cluster that was stopped, to copy: initdb takes most of the time of a test."""
    path = Path(tempfile.mkdtemp(prefix="gmpg-"))
    path.chmod(0o755)
    pg = EmbeddedPostgres(path / "d")
    pg.start()
    pg.stop()
    yield path / "d"
    shutil.rmtree(path)


@pytest.fixture
def made(data: Path, sample: Path) -> Path:
    """A data folder with a cluster that is not running."""
    subprocess.run(["cp", "-a", sample, data], check=True)
    return data


@pytest.fixture
def started() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Start programs that own or use a server; killed at the end."""
    programs: list[subprocess.Popen[str]] = []

    def start(data: Path) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-c", OWNER, data],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()


def line(program: subprocess.Popen[str]) -> list[str]:
    assert program.stdout is not None
    return program.stdout.readline().split()


def run_sql(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def count(url: str) -> int:
    (row,) = run_sql(url, "SELECT count(*) FROM t")
    assert isinstance(row[0], int)
    return row[0]


def fill(url: str) -> None:
    run_sql(url, "CREATE TABLE t (i int)")
    run_sql(url, "INSERT INTO t SELECT generate_series(1, 100)")


def test_cold_start_then_warm_start_and_stop_twice(data: Path) -> None:
    pg = EmbeddedPostgres(data)
    assert pg.poll() == postgres.NOT_RUNNING
    running = pg.start()
    assert running.started_here
    assert running.url == f"postgresql://postgres@/gristmill?host={data / 'run'}&port=5432"
    assert pg.start() is running
    assert pg.poll() is None
    fill(running.url)
    names = ["fsync", "jit", "shared_buffers", "max_wal_size", "max_connections", "listen_addresses"]
    shown = [run_sql(running.url, f"SHOW {name}")[0][0] for name in names]
    assert shown == ["on", "off", "256MB", "4GB", "200", ""]
    run_sql(running.url, "CREATE EXTENSION pg_trgm")
    run_sql(running.url, "CREATE EXTENSION vector")
    text = run_sql(running.url, "SELECT lower('ÄŁ'), 'b' < 'B', array_length(show_trgm('ä'), 1)")
    assert text == [("äł", False, 2)]  # letters beyond ASCII count, order is by code point
    for private in (data / "data", data / "run"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    pg.stop()
    pg.stop()
    assert pg.poll() == postgres.NOT_RUNNING
    assert find_process(running.pid) is None
    assert not (data / "data" / "postmaster.pid").exists()

    again = pg.start()
    assert again.started_here
    assert count(again.url) == 100
    pg.stop()


def test_the_server_sees_nothing_of_our_environment(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_SECRET", "of ours")
    pg = EmbeddedPostgres(made)
    running = pg.start()
    environment = Path(f"/proc/{running.pid}/environ")
    if environment.exists():
        assert b"of ours" not in environment.read_bytes()
    assert os.getsid(running.pid) == running.pid  # Ctrl-C in our terminal does not reach it
    pg.stop()


def test_a_second_process_attaches_and_does_not_stop_it(
    made: Path, started: Callable[[Path], subprocess.Popen[str]]
) -> None:
    pg = EmbeddedPostgres(made, database='an "other" one')
    running = pg.start()
    second = started(made)
    pid, started_here, url = line(second)
    assert (int(pid), started_here) == (running.pid, "False")
    assert run_sql(url, "SELECT current_database()") == [("gristmill",)]
    assert run_sql(running.url, "SELECT current_database()") == [('an "other" one',)]
    assert second.communicate("stop\n")[0] == "stopped\n"
    assert pg.poll() is None
    assert run_sql(url, "SELECT 1") == [(1,)]
    same_process = EmbeddedPostgres(made)
    assert not same_process.start().started_here
    same_process.stop()
    assert pg.poll() is None
    pg.stop()


def test_many_processes_start_at_once(data: Path, started: Callable[[Path], subprocess.Popen[str]]) -> None:
    programs = [started(data) for _ in range(3)]
    answers = [line(program) for program in programs]
    assert len({answer[0] for answer in answers}) == 1
    assert sorted(answer[1] for answer in answers) == ["False", "False", "True"]


def test_owner_killed_then_the_next_attaches_and_owns(
    made: Path, started: Callable[[Path], subprocess.Popen[str]]
) -> None:
    owner = started(made)
    pid, started_here, url = line(owner)
    assert started_here == "True"
    fill(url)
    guest = EmbeddedPostgres(made)  # attached while the owner lives: not its to stop
    guest.start()
    owner.kill()
    owner.wait()

    pg = EmbeddedPostgres(made)
    running = pg.start()
    assert (running.pid, running.started_here) == (int(pid), False)
    assert json.loads((made / "owner.json").read_text())["pid"] == os.getpid()
    assert count(running.url) == 100
    guest.stop()
    assert pg.poll() is None
    pg.stop()
    assert find_process(int(pid)) is None
    assert pg.poll() == postgres.NOT_RUNNING


def test_postmaster_killed_and_left_a_zombie(made: Path) -> None:
    first = EmbeddedPostgres(made)
    running = first.start()
    fill(running.url)
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: find_process(running.pid) is None, "the postmaster to die")

    second = EmbeddedPostgres(made)
    again = second.start()
    os.kill(running.pid, 0)  # the zombie is still there: nobody has reaped it
    assert again.started_here
    assert again.pid != running.pid
    assert count(again.url) == 100
    assert first.poll() == -signal.SIGKILL
    first.stop()  # its server is gone; the new one is not its to stop
    assert second.poll() is None
    assert not first.start().started_here
    second.stop()


def test_a_backend_that_outlives_the_postmaster_is_told_to_quit(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_cluster, "ORPHAN_SECONDS_PATIENCE", 0.2)
    pg = EmbeddedPostgres(made)
    running = pg.start()
    fill(running.url)
    with psycopg.connect(running.url, autocommit=True) as busy:
        backend = busy.info.backend_pid
        endless = "DO $$ BEGIN LOOP END LOOP; END $$"

        def spin() -> None:
            with contextlib.suppress(psycopg.Error):
                busy.execute(endless)

        spinning = threading.Thread(target=spin)
        spinning.start()
        active = f"SELECT 1 FROM pg_stat_activity WHERE pid = {backend} AND state = 'active'"
        until(lambda: run_sql(running.url, active), "the endless query")
        os.kill(running.pid, signal.SIGKILL)
        assert pg.poll() in {None, -signal.SIGKILL}
        until(lambda: pg.poll() is not None, "the postmaster to die")
        assert find_process(backend) is not None
        again = pg.start()
        assert find_process(backend) is None
        spinning.join()
    assert count(again.url) == 100
    pg.stop()


def test_everything_killed_under_write_load(made: Path, started: Callable[[Path], subprocess.Popen[str]]) -> None:
    owner = started(made)
    pid, _, url = line(owner)
    run_sql(url, "CREATE TABLE t (i int)")
    acknowledged: list[int] = []

    def write(first: int) -> None:
        with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
            for i in range(first, first + 1_000_000):
                connection.execute("INSERT INTO t VALUES (%s)", [i])
                acknowledged.append(i)

    writers = [threading.Thread(target=write, args=[n * 1_000_000]) for n in range(3)]
    for writer in writers:
        writer.start()
    until(lambda: len(acknowledged) > 300, "300 commits")
    owner.kill()
    place = Place(made, Account(0, 0))
    os.kill(int(pid), signal.SIGKILL)
    for process in place.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for writer in writers:
        writer.join()

    pg = EmbeddedPostgres(made)
    running = pg.start()
    assert running.started_here
    kept = {row[0] for row in run_sql(running.url, "SELECT i FROM t")}
    assert kept >= set(acknowledged)
    assert len(kept) <= len(acknowledged) + 3  # each writer may have had one commit on its way
    pg.stop()


def test_two_side_by_side(folder: Path) -> None:
    one, two = EmbeddedPostgres(folder / "one"), EmbeddedPostgres(folder / "two")
    fill(one.start().url)
    url = two.start().url
    assert run_sql(url, "SELECT to_regclass('t')::text") == [(None,)]
    one.stop()
    assert two.poll() is None
    assert run_sql(url, "SELECT 1") == [(1,)]
    two.stop()


def test_a_half_made_cluster_is_made_again(data: Path) -> None:
    half = data / "data.new"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    pg = EmbeddedPostgres(data)
    assert run_sql(pg.start().url, "SELECT 1") == [(1,)]
    assert not half.exists()
    pg.stop()


def test_initdb_of_a_killed_owner_is_not_disturbed(
    data: Path, started: Callable[[Path], subprocess.Popen[str]]
) -> None:
    owner = started(data)
    place = Place(data, Account(0, 0))
    until(lambda: (data / "data.new" / "base").exists() or (data / "data").exists(), "initdb at work")
    owner.kill()
    owner.wait()
    pg = EmbeddedPostgres(data)
    assert run_sql(pg.start().url, "SELECT 1") == [(1,)]
    assert not any("/initdb" in postgres_host.command_line(pid) for pid in place.processes())
    pg.stop()


def test_a_long_path_gets_a_short_socket_folder(folder: Path) -> None:
    deep = folder / ("long" * 20) / "with 'quotes' and \"more\", even a comma"
    pg = EmbeddedPostgres(deep)
    running = pg.start()
    assert "run" not in running.url.partition("host=")[2]
    second = EmbeddedPostgres(deep)
    assert second.start().url == running.url
    assert run_sql(running.url, "SELECT 1") == [(1,)]
    (run,) = {Path(row[0]) for row in run_sql(running.url, "SHOW unix_socket_directories") if isinstance(row[0], str)}
    pg.stop()
    end_all(deep)
    shutil.rmtree(str(run).strip('"'))


def test_a_socket_folder_of_someone_else_is_refused(data: Path) -> None:
    (data / "run").mkdir(parents=True)
    (data / "run").chmod(0o777)
    with pytest.raises(PostgresError, match="is not a private folder"):
        EmbeddedPostgres(data).start()


def test_another_major_version_names_both_and_the_way_out(data: Path) -> None:
    (data / "data").mkdir(parents=True)
    (data / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(PostgresError, match=r"(?s)PostgreSQL 15;.*PostgreSQL \d\d,.*pg_dump") as caught:
        EmbeddedPostgres(data).start()
    assert caught.value.code == "unavailable"
    (data / "data" / "PG_VERSION").unlink()
    (data / "data" / "mine").write_text("")
    with pytest.raises(PostgresError, match="no PostgreSQL cluster"):
        EmbeddedPostgres(data).start()


def test_a_server_that_ends_while_starting_shows_its_log(made: Path) -> None:
    pg = EmbeddedPostgres(made)
    pg.start()
    pg.stop()
    settings = made / "data" / "postgresql.auto.conf"
    with settings.open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(PostgresError, match=r"(?s)exit code 1.*no_such_setting"):
        pg.start()
    assert pg.poll() == postgres.NOT_RUNNING


def test_initdb_that_fails_shows_what_it_said(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_cluster, "_LOCALES", (["--locale=xx_XX"], ["--no-such-option"]))
    with pytest.raises(PostgresError, match=r"(?s)could not be made.*no-such-option"):
        EmbeddedPostgres(data).start()
    assert not (data / "data").exists()


def test_tcp_needs_the_password(made: Path, unused_port: int) -> None:
    with pytest.raises(PostgresError, match="does not listen"):
        _ = EmbeddedPostgres(made).tcp_url
    pg = EmbeddedPostgres(made, tcp="127.0.0.1", port=unused_port)
    running = pg.start()
    assert stat.S_IMODE((made / "tcp_password").stat().st_mode) == 0o600
    assert run_sql(pg.tcp_url, "SELECT inet_server_port()") == [(unused_port,)]
    password = (made / "tcp_password").read_text()
    assert password not in running.url
    for wrong in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(pg.tcp_url.replace(password, wrong))
    second = EmbeddedPostgres(made, tcp="127.0.0.1", port=unused_port)
    second.start()
    assert second.tcp_url == pg.tcp_url
    pg.stop()
    pg = EmbeddedPostgres(made)
    pg.start()
    with pytest.raises(PostgresError, match="without TCP"):
        EmbeddedPostgres(made, tcp="127.0.0.1").start()
    pg.stop()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_large_log_is_put_aside(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_cluster, "LOG_BYTES_MAX", 10)
    (made / "postgres.log").write_text("of long ago\n")
    pg = EmbeddedPostgres(made)
    pg.start()
    pg.stop()
    assert (made / "postgres.log.1").read_text() == "of long ago\n"
    assert "database system is ready" in (made / "postgres.log").read_text()


@needs_root
def test_data_folder_that_the_server_may_not_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    data = tmp_path / "data"
    pg = EmbeddedPostgres(data)
    home = postgres_host.SYSTEM_DIR / postgres_host.digest(data.resolve())
    try:
        fill(pg.start().url)
        assert (data / "postgres").readlink() == home
        assert home.parent.stat().st_mode & 0o777 == 0o755
        assert (home / "data").stat().st_uid != 0
        assert (home / "data").stat().st_mode & 0o777 == 0o700
        assert tmp_path.stat().st_mode & 0o777 == 0o700
        pg.stop()
        assert count(pg.start().url) == 100
        pg.stop()

        shutil.rmtree(data)  # a new folder of the same name starts empty, and the old cluster is kept
        assert run_sql(pg.start().url, "SELECT to_regclass('t')::text") == [(None,)]
        pg.stop()
        assert len(list(home.parent.glob(f"{home.name}.old-*/data/PG_VERSION"))) == 1

        shutil.rmtree(home)  # and a link to nowhere is no empty database
        with pytest.raises(PostgresError, match="which is gone"):
            pg.start()
    finally:
        end_all(home)
        for left in home.parent.glob(f"{home.name}*"):
            shutil.rmtree(left)


@needs_root
def test_a_cluster_that_the_server_may_no_longer_enter_is_an_error(folder: Path) -> None:
    pg = EmbeddedPostgres(folder / "d")
    pg.start()
    pg.stop()
    folder.chmod(0o700)
    with pytest.raises(PostgresError, match="can no longer enter"):
        pg.start()


@needs_root
def test_binaries_that_the_server_may_not_reach_are_copied(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def may_pass(self: Account, step: Path) -> bool:
        return "site-packages" not in step.parts

    monkeypatch.setattr(Account, "_may_pass", may_pass)
    monkeypatch.setattr(postgres_host, "SYSTEM_DIR", made.parent / "system")
    pg = EmbeddedPostgres(made)
    running = pg.start()
    assert str(made.parent / "system" / "binaries-") in postgres_host.command_line(running.pid)
    run_sql(running.url, "CREATE EXTENSION vector")
    pg.stop()


@needs_root
def test_as_an_ordinary_user_and_then_as_root(folder: Path) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = "{}.{}".format(*sys.version_info[:2])
    ask = "import sys; print('{}.{}'.format(*sys.version_info[:2]))"
    if python is None or subprocess.check_output([python, "-c", ask], text=True).strip() != version:
        pytest.skip(f"no Python {version} that user nobody could run")
    site = Path(psycopg.__file__).parent.parent
    source = Path(postgres.__file__).parents[2]
    nobody = Account(65534, 65534)
    if not nobody.can_enter(site) or not nobody.can_enter(source):
        pytest.skip("user nobody can't read this checkout")
    home = folder / "home"
    home.mkdir(0o700)
    os.chown(home, nobody.uid, nobody.gid)
    data = home / "d"
    done = subprocess.run(
        [python, "-c", OWNER, data],
        input="stop\n",
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{source}:{site}", "PATH": "/usr/bin:/bin"},
        cwd="/",
        **nobody.switch(),
    )
    assert done.stdout.split()[1] == "True", done.stderr
    assert done.stdout.endswith("stopped\n")
    pg = EmbeddedPostgres(data)  # root runs it as its owner, so that its owner can go on later
    running = pg.start()
    assert Path(f"/proc/{running.pid}").stat().st_uid == nobody.uid
    pg.stop()
    assert {path.stat().st_uid for path in data.iterdir()} == {nobody.uid}
    end_all(data)


def test_a_path_that_is_no_folder_is_a_clear_error(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(PostgresError, match="who owns that folder"):
        EmbeddedPostgres(folder / "file").start()


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="needs ps")
def test_without_proc_processes_are_read_by_ps(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_host, "_PROC", False)
    us = find_process(os.getpid())
    assert us is not None
    assert us.alive
    first = EmbeddedPostgres(made)
    running = first.start()
    assert running.pid in Place(made, Account(0, 0)).processes()
    assert EmbeddedPostgres(made).start().pid == running.pid
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: find_process(running.pid) is None, "the postmaster to be seen as a zombie")
    second = EmbeddedPostgres(made)
    assert second.start().started_here
    second.stop()
    first.stop()
