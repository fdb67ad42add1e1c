"""Pure rules of batches: the sharing of slots, transitions, receipts, retries' waits."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.agents import Retry
from gristmill.agents.model import BACKOFF_S_MAX, backoff_s
from gristmill.batches.model import (
    ROW_STATUSES,
    ROW_TRANSITIONS,
    TRANSITIONS,
    Seat,
    WrongState,
    allot,
    check_transition,
    receipt_of,
)


def seats_of(wants: list[int], priorities: list[int]) -> list[Seat]:
    return [
        Seat(UUID(int=1), UUID(int=number), 1, priority, want, 0)
        for number, (want, priority) in enumerate(zip(wants, priorities, strict=False))
    ]


seat_lists = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([10, 100, 200])), min_size=1, max_size=8)


@given(concurrency=st.integers(1, 50), seats=seat_lists, order=st.lists(st.integers(0, 7), min_size=30, max_size=60))
def test_seats_never_exceed_the_concurrency_and_come_to_use_it_all(
    concurrency: int, seats: list[tuple[int, int]], order: list[int]
) -> None:
    table = seats_of([want for want, _ in seats], [priority for _, priority in seats])
    for index in [*order, *range(len(table)), *range(len(table)), *range(len(table))]:
        mine = table[index % len(table)]
        others = [seat for seat in table if seat is not mine]
        table[index % len(table)] = replace(mine, slots=allot(concurrency, mine, others, 0))
        assert sum(seat.slots for seat in table) <= concurrency
    assert sum(seat.slots for seat in table) == min(concurrency, sum(seat.want for seat in table))


def test_slots_are_shared_evenly_within_one_priority() -> None:
    table = seats_of([100, 100, 100], [100, 100, 100])
    for index in (0, 1, 2, 0, 1, 2):
        others = [seat for seat in table if seat is not table[index]]
        table[index] = replace(table[index], slots=allot(8, table[index], others, 0))
    assert sorted(seat.slots for seat in table) == [2, 3, 3]


def test_a_better_priority_is_served_first() -> None:
    table = seats_of([100, 3], [200, 10])
    for index in (0, 1, 0, 1):
        others = [seat for seat in table if seat is not table[index]]
        table[index] = replace(table[index], slots=allot(8, table[index], others, 0))
    assert [seat.slots for seat in table] == [5, 3]


def test_a_seat_that_must_shrink_keeps_what_it_has_in_flight() -> None:
    mine = Seat(UUID(int=1), UUID(int=1), 1, 100, 10, 6)
    other = Seat(UUID(int=2), UUID(int=2), 1, 100, 10, 2)
    assert allot(8, mine, [other], 6) == 6
    assert allot(8, mine, [other], 3) == 4


def test_every_state_has_an_exit_that_leads_on() -> None:
    for before, after in TRANSITIONS.items():
        assert after, f"{before} has no exit"
    assert set(ROW_TRANSITIONS) == set(ROW_STATUSES)


@pytest.mark.parametrize(
    ("before", "after"), [("completed", "paused"), ("cancelled", "running"), ("paused", "running")]
)
def test_what_the_table_does_not_have_is_refused(before: str, after: str) -> None:
    with pytest.raises(WrongState, match=f"A {before} batch can't be"):
        check_transition(before, after, "changed")  # type: ignore[arg-type]


def test_a_receipt_is_closed_only_when_the_sum_is_right_and_nothing_is_left() -> None:
    counts = dict.fromkeys(ROW_STATUSES, 0) | {"rows_in": 3, "succeeded": 2, "failed": 1}
    money = {"spent_micro_usd": 5, "held_micro_usd": 0}
    assert receipt_of({**counts, **money}).closed
    assert not receipt_of({**counts, **money, "rows_in": 4}).closed
    assert not receipt_of({**counts, **money, "failed": 0, "running": 1}).closed


@given(attempt=st.integers(1, 30), base=st.floats(0, 3600), after=st.none() | st.floats(0, 7200, allow_nan=False))
def test_a_retry_waits_at_least_retry_after_and_never_more_than_an_hour(
    attempt: int, base: float, after: float | None
) -> None:
    wait = backoff_s(Retry(20, base), attempt, after)
    assert 0 <= wait <= BACKOFF_S_MAX
    assert wait >= min(after or 0, 3600)
