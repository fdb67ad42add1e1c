"""What tells residents and the engine's queues when to look: yes while something waits, yes while nothing is known."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator

import psycopg
import pytest

from conftest import wait_for
from gristmill import engine
from gristmill.base.db import Database
from gristmill.base.ids import uuid7
from gristmill.engine import lookout, store
from gristmill.engine.lookout import JOBS, Lookout, spare


@contextlib.contextmanager
def looking(database: Database, *queues: str, only_jobs: bool = False) -> Iterator[Lookout]:
    halt, made = threading.Event(), Lookout(database.url, queues, only_jobs=only_jobs)
    thread = threading.Thread(target=made.run, args=(halt,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        halt.set()
        thread.join(10)
    assert not thread.is_alive()


def is_due(made: Lookout, sign: str) -> bool:
    """Whether it says so of something that was looked for just now."""
    return made.is_due(sign, time.monotonic())


def test_a_sign_is_up_while_its_condition_is_true(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lookout._conditions, "workers", "EXISTS (SELECT FROM worker)")
    worker_id = uuid7()
    with looking(fresh_database) as made:
        assert is_due(made, "workers"), "nothing is known yet"
        wait_for(lambda: not is_due(made, "workers"), "the first answer")
        with fresh_database.system() as tx:
            store.insert_worker(tx, worker_id, host="h", pid=1, queues=[])
        wait_for(lambda: is_due(made, "workers"), "the sign")
        with fresh_database.system() as tx:
            store.delete_worker(tx, worker_id)
        wait_for(lambda: not is_due(made, "workers"), "the end of the sign")
        assert made.is_due("workers", time.monotonic() - lookout.REST_S), "everything looks now and then"
        assert is_due(made, "of nobody")
    with looking(fresh_database, only_jobs=True) as made:
        wait_for(lambda: not is_due(made, JOBS), "an answer without the conditions")
        assert is_due(made, "workers")


def test_jobs_are_those_of_ones_own_queues(database: Database, organization: int) -> None:
    mine = f"test-{uuid7()}"
    with looking(database, mine) as made, looking(database, f"{mine}-other") as other:
        wait_for(lambda: not is_due(made, JOBS), "the first answer")
        with database.tx(organization) as tx:
            engine.enqueue(tx, "test.never", {}, key=str(uuid7()), partition="p", queue=mine)
        wait_for(lambda: is_due(made, JOBS), "the sign of the job")
        assert not is_due(other, JOBS)


def test_while_the_database_does_not_answer_everything_looks_for_itself(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "TROUBLE_S", 0.05)
    with looking(fresh_database) as made:
        wait_for(lambda: not is_due(made, JOBS), "the first answer")
        made._statement = store.signs_query([], ["1 / 0 = 1"])
        with psycopg.connect(fresh_database.url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'gristmill lookout' AND datname = current_database()"
            )
        wait_for(lambda: is_due(made, JOBS), "the doubt")
        made._statement = store.signs_query([], [])
        made._signs = [JOBS]
        wait_for(lambda: not is_due(made, JOBS), "an answer again")


class Engine:
    """What `spare` takes of DBOS, counting its questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def dequeue_scopes(self, queue: str) -> list[str | None]:
        self.asked.append(queue)
        return [None]

    def get_queue(self, name: str) -> str:
        self.asked.append(f"settings of {name}")
        return name

    def list_queues(self, *, application_name: str) -> list[str]:
        self.asked.append(f"queues of {application_name}")
        return []

    @contextlib.contextmanager
    def background_job_lock(self, name: str) -> Generator[bool]:
        self.asked.append(f"lock {name}")
        yield True


class Told(Lookout):
    """One that is told what to say."""

    says: bool = False

    def __init__(self) -> None:
        pass

    def is_due(self, sign: str, looked_at: float) -> bool:  # noqa: ARG002 - as it is called
        assert sign == JOBS
        return self.says


def test_the_engine_asks_its_queues_only_when_jobs_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    system, told = Engine(), Told()
    spare(system, told)
    assert system.dequeue_scopes("q") == []
    told.says = True
    assert system.dequeue_scopes("q") == [None]
    assert system.dequeue_scopes("q") == [], "not again at once"
    assert system.dequeue_scopes("other") == [None]
    monkeypatch.setattr(lookout, "QUEUE_S", 0.0)
    assert system.dequeue_scopes("q") == [None]
    assert system.asked == ["q", "other", "q"]


def test_the_engine_asks_for_settings_and_for_what_there_is_none_of_now_and_then() -> None:
    system = Engine()
    spare(system, Told())
    for _ in range(3):
        assert system.get_queue("a") == "a"
        assert system.get_queue("b") == "b"
        assert system.list_queues(application_name="g") == []
    with system.background_job_lock("l") as first, system.background_job_lock("l") as second:
        assert (first, second) == (True, False)
    assert system.asked == ["settings of a", "settings of b", "queues of g", "lock l"]
