"""One organization can't take all turns, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gristmill.datasets.turns import TooManyQueries, Turns


def test_so_many_run_and_the_next_ones_wait_for_their_turn() -> None:
    turns = Turns(at_once=2, waiting_max=20, wait_s=30)
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with turns.take(1):
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.002)
            with lock:
                running -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(22)))
    assert (running, most) == (0, 2)
    assert not turns._running
    assert not turns._present


def test_others_are_refused_and_other_organizations_are_not() -> None:
    turns = Turns(at_once=1, waiting_max=0, wait_s=30)
    with turns.take(1):
        with pytest.raises(TooManyQueries) as refused, turns.take(1):
            pass
        assert (refused.value.status, refused.value.facts["retry_after_s"]) == (429, 2)
        with turns.take(2):
            pass
    with turns.take(1):
        pass


def test_waiting_ends() -> None:
    turns = Turns(at_once=1, waiting_max=1, wait_s=0.01)
    with turns.take(1):
        with pytest.raises(TooManyQueries), turns.take(1):
            pass
        assert turns._present[1] == 1
    assert not turns._present


def test_a_query_that_fails_gives_its_turn_back() -> None:
    turns = Turns(at_once=1, waiting_max=0, wait_s=0)
    for _ in range(2):
        with pytest.raises(KeyError), turns.take(1):
            raise KeyError
    assert not turns._running
