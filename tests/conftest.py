"""Fixtures: a real PostgreSQL, a real server on a real port, a real worker, three callers.

Each pytest process has one embedded PostgreSQL and one database that most tests share: tests are tenants of their own,
and row-level security keeps them apart. Tests about processes that come and go take `fresh_database`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from psycopg import sql

import session_env  # noqa: F401 - it sets the environment
from agent_server import AgentServer
from gristmill import engine, identity, ledger
from gristmill.agents import Agent
from gristmill.agents import create as create_agent
from gristmill.base.config import Settings, settings
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.base.migrate import migrate
from gristmill.engine.postgres import EmbeddedPostgres
from receiver import Receiver
from s3_server import NoServer, S3Server

WAIT_S = 30.0
LOOK_S = 0.02
_numbers = count(1)


def wait_for(condition: Callable[[], Any], what: str = "the condition", within_s: float = WAIT_S) -> Any:
    """The first true value of `condition`; fails the test when none comes in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(LOOK_S)
    pytest.fail(f"{what} did not happen within {within_s:g} s")


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that the database's user can enter, which pytest's own are not when root runs them."""
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url(open_folder: Path) -> Iterator[str]:
    """URL of this process's PostgreSQL."""
    postgres = EmbeddedPostgres(open_folder / "pg")
    yield postgres.start().url
    postgres.stop()


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """A database with the schema, to be cloned."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE gm_template")
    url = _database_url(server_url, "gm_template")
    migrate(url)
    engine.prepare(url)
    return "gm_template"


def _database_url(server_url: str, name: str) -> str:
    head, _, tail = server_url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}?{tail}"


def _clone(server_url: str, template: str) -> str:
    name = f"gm_{uuid7().hex}"  # no number: a folder's conftest has a copy of this module with a count of its own
    with psycopg.connect(server_url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return _database_url(server_url, name)


@pytest.fixture(scope="session")
def database(server_url: str, template: str) -> Iterator[Database]:
    """The database that most tests share."""
    shared = Database(_clone(server_url, template))
    yield shared
    shared.close()


@pytest.fixture
def fresh_database(server_url: str, template: str) -> Iterator[Database]:
    """A database of this test's own."""
    own = Database(_clone(server_url, template))
    yield own
    own.close()


@pytest.fixture(scope="session")
def worker(database: Database) -> Iterator[engine.Worker]:
    """A worker on the shared database, in this process."""
    import gristmill.connectors  # noqa: PLC0415 - these register jobs, and what they import does
    import gristmill.datasets  # noqa: PLC0415

    del gristmill
    running = engine.Worker(database, settings(), queues=(engine.SHARED_QUEUE,), on_lost=lambda: None)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def base_url(database: Database) -> Iterator[str]:
    """URL of a real server on the shared database."""
    with serve(database, settings()) as url:
        yield url


class serve:  # noqa: N801 - used as a context manager
    """The app under uvicorn on a free port, in a thread."""

    def __init__(self, database: Database, current: Settings) -> None:
        from gristmill.doors.http import create_app  # noqa: PLC0415 - most tests need no app

        app = create_app(database, current)
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        wait_for(lambda: self._server.started, "the server's start")
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(15)


@dataclass(frozen=True)
class Caller:
    """Somebody with a key."""

    organization_id: int
    secret: str
    client: httpx.Client

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        return self.client.post(path, json=json, **more)

    def patch(self, path: str, json: Any = None) -> httpx.Response:
        return self.client.patch(path, json=json)

    def delete(self, path: str) -> httpx.Response:
        return self.client.delete(path)


MakeCaller = Callable[..., Caller]


@pytest.fixture
def organization(database: Database) -> int:
    """A tenant of this test's own on the shared database."""
    return make_organization(database)


def make_organization(database: Database) -> int:
    with database.system() as tx:
        return identity.create_organization(tx, f"Org {next(_numbers)}").id


@pytest.fixture
def make_caller(database: Database, base_url: str) -> Generator[MakeCaller]:
    """Makes callers: `make_caller(organization_id, scope=..., agent_id=...)`."""
    clients: list[httpx.Client] = []

    def make(organization_id: int, *, scope: identity.Scope = "admin", agent_id: int | None = None) -> Caller:
        with database.tx(organization_id) as tx:
            secret = identity.issue_key(tx, organization_id, name="test", scope=scope, agent_id=agent_id).secret
        client = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        clients.append(client)
        return Caller(organization_id, secret, client)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def owner(organization: int, make_caller: MakeCaller) -> Caller:
    """An administrator."""
    return make_caller(organization)


@pytest.fixture
def teammate(organization: int, make_caller: MakeCaller) -> Caller:
    """Somebody of the same organization with a usage key."""
    return make_caller(organization, scope="usage")


@pytest.fixture
def stranger(database: Database, make_caller: MakeCaller) -> Caller:
    """An administrator of another organization."""
    return make_caller(make_organization(database))


@pytest.fixture
def anyone(base_url: str) -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(base_url=base_url, timeout=60) as client:
        yield client


@pytest.fixture
def agent_server() -> Iterator[AgentServer]:
    """A real HTTP agent."""
    server = AgentServer().start()
    yield server
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A real server that takes webhooks and offers a file."""
    server = Receiver()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server; the test is skipped where it can't be installed."""
    try:
        server = S3Server()
    except NoServer as reason:
        pytest.skip(str(reason))
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A bucket of this test's own."""
    return s3.bucket(f"bucket-{next(_numbers)}")


def make_agent(database: Database, organization_id: int, **values: Any) -> Agent:
    """An agent that echoes its rows, unless told otherwise."""
    complete = {
        "name": f"Agent {next(_numbers)}",
        "runtime": "python",
        "config": {"entry_point": "sample_agents:echo"},
        **values,
    }
    with database.tx(organization_id) as tx:
        return create_agent(tx, organization_id, complete)


def fund(database: Database, organization_id: int, micro_usd: int) -> None:
    """Put money on an organization's balance."""
    with database.tx(organization_id) as tx:
        ledger.top_up(tx, organization_id, micro_usd, key=f"test-{next(_numbers)}")
