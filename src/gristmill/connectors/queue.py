"""Which syncs a worker begins next. The rows that are `QUEUED` are the queue itself; there is no other to keep in step.

A sync mostly waits for somebody else's server, so a worker has many in hand. What must never happen is that those who
wait for a server that is down keep others from being served, be they other organizations, other agents, or batches:
each lane has its own room, no organization can have all of it, nor can connectors that are failing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Lane = Literal["pull", "push", "hook"]


@dataclass(frozen=True, slots=True)
class Room:
    """Syncs of a lane that one worker has in hand at a time."""

    total: int
    of_one: int
    """Of one organization."""
    failing: int
    """Of connectors that failed the last time, or whose sync is tried again."""


ROOMS: dict[Lane, Room] = {
    "pull": Room(total=64, of_one=24, failing=32),
    "push": Room(total=320, of_one=240, failing=160),
    "hook": Room(total=32, of_one=12, failing=32),
}
"""Files that were pushed in have a lane of their own: they don't wait behind a pull that lasts."""
OF_ONE_MAX = max(room.of_one for room in ROOMS.values())


@dataclass(frozen=True, slots=True)
class Waiting:
    """A sync that may begin, or that has begun in this worker."""

    id: UUID
    organization_id: int
    lane: Lane
    failing: bool


def choose(waiting: Iterable[Waiting], held: Iterable[Waiting]) -> list[Waiting]:
    """Of `waiting`, in the order in which they should begin, those that there is room for beside `held`."""
    mine = list(held)
    total = Counter(item.lane for item in mine)
    failing = Counter(item.lane for item in mine if item.failing)
    of_one = Counter((item.lane, item.organization_id) for item in mine)
    chosen: list[Waiting] = []
    for item in waiting:
        room, owner = ROOMS[item.lane], (item.lane, item.organization_id)
        if total[item.lane] >= room.total or of_one[owner] >= room.of_one:
            continue
        if item.failing and failing[item.lane] >= room.failing:
            continue
        total[item.lane] += 1
        of_one[owner] += 1
        failing[item.lane] += item.failing
        chosen.append(item)
    return chosen
