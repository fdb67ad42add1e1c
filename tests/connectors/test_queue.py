"""Who is next: nobody is kept waiting by somebody else's dead server."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gristmill.connectors.queue import ROOMS, Lane, Waiting, choose

LANES: list[Lane] = ["pull", "push", "hook"]


def waiting(number: int, organization: int, lane: Lane = "push", *, failing: bool = False) -> Waiting:
    return Waiting(UUID(int=number), organization, lane, failing)


def test_what_there_is_room_for_begins_in_its_order() -> None:
    items = [waiting(number, number % 3) for number in range(30)]
    assert choose(items, []) == items


def test_one_organization_leaves_room_for_others() -> None:
    room = ROOMS["pull"]
    crowd = [waiting(number, 1, "pull") for number in range(500)]
    other = waiting(1000, 2, "pull")
    assert Counter(item.organization_id for item in choose([*crowd, other], [])) == {1: room.of_one, 2: 1}
    held = crowd[: room.of_one]
    assert choose([*crowd[room.of_one :], other], held) == [other]


def test_connectors_that_fail_leave_room_for_those_that_are_well() -> None:
    failing = [waiting(number, number, failing=True) for number in range(1000)]
    well = [waiting(2000 + number, 7) for number in range(20)]
    held = choose(failing, [])
    assert len(held) == ROOMS["push"].failing < ROOMS["push"].total
    assert choose([*well, *failing[len(held) :]], held) == well


def test_a_lane_that_is_full_keeps_no_other_back() -> None:
    pulls = [waiting(number, number, "pull") for number in range(500)]
    push, hook = waiting(1000, 1, "push"), waiting(1001, 1, "hook")
    assert choose([*pulls, push, hook], pulls[: ROOMS["pull"].total]) == [push, hook]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(LANES), st.booleans()), max_size=600),
    st.integers(0, 300),
)
def test_no_room_is_ever_exceeded_and_none_is_left_unused(facts: list[tuple[int, Lane, bool]], already: int) -> None:
    items = [waiting(number, org, lane, failing=failing) for number, (org, lane, failing) in enumerate(facts)]
    held = choose(items[:already], [])
    chosen = choose(items[already:], held)
    after = [*held, *chosen]
    for lane, room in ROOMS.items():
        mine = [item for item in after if item.lane == lane]
        assert len(mine) <= room.total
        assert sum(item.failing for item in mine) <= room.failing
        assert max(Counter(item.organization_id for item in mine).values(), default=0) <= room.of_one
    kept_out = [item for item in items[already:] if item not in chosen]
    for item in kept_out:
        assert choose([item], after) == [], "it could have begun"
