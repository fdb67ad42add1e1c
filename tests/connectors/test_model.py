"""The rules of a pull without any server: what is new, what waits, what is unusual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.base.ids import uuid7
from gristmill.connectors.model import (
    TRIES_MAX,
    UNUSUAL_FILES_MIN,
    Entry,
    Found,
    Moved,
    Plan,
    SyncReceipt,
    jitter_s,
    limit_plan,
    plan_pull,
    why_unusual,
)

SYNC = uuid7()
NOW = datetime(2026, 5, 5, tzinfo=UTC)


def found(key: str, etag: str = "e1", size: int = 5, **more: object) -> Found:
    return Found(key, etag, size, **more)  # type: ignore[arg-type]


def entry(key: str, etag: str = "e1", size: int = 5, status: str = "uploaded", tries: int = 0) -> Entry:
    return Entry(key, etag, size, "", status, tries, SYNC)  # type: ignore[arg-type]


def test_new_changed_and_unchanged_objects() -> None:
    ledger = {key: entry(key) for key in ("same", "other etag", "other size")}
    listing = [found("same"), found("other etag", "e2"), found("other size", size=6), found("new")]
    plan = plan_pull(listing, ledger)
    assert [item.key for item in plan.fetch] == ["new", "other etag", "other size"]
    assert [line.key for line in plan.unchanged] == ["same"]
    assert (plan.listed, plan.changed, plan.known) == (4, 2, 3)


def test_no_clock_has_a_say() -> None:
    """A late file with an old date is new; a known one with a new date is not."""
    ledger = {"known": entry("known")}
    listing = [
        found("late", modified_at=NOW - timedelta(days=4000)),
        found("known", modified_at=NOW + timedelta(days=4000)),
    ]
    plan = plan_pull(listing, ledger)
    assert [item.key for item in plan.fetch] == ["late"]
    assert [line.key for line in plan.unchanged] == ["known"]


def test_folders_empty_and_unreadable_objects_are_not_read() -> None:
    listing = [
        found("folder/", size=0), found("empty", size=0), found("archived", obstacle="It is archived."),
        found("left out", ignored=True), found("twice"), found("twice"),
    ]  # fmt: skip
    plan = plan_pull(listing, {})
    assert [(line.key, line.status) for line in plan.settled] == [("empty", "rejected"), ("archived", "failed")]
    assert (plan.ignored, [item.key for item in plan.fetch]) == (3, ["twice"])


def test_failed_objects_are_tried_again_and_not_for_ever() -> None:
    ledger = {
        "once": entry("once", status="failed", tries=1),
        "often": entry("often", status="failed", tries=TRIES_MAX),
        "often, but changed": entry("often, but changed", "e0", status="failed", tries=TRIES_MAX),
        "rejected": entry("rejected", status="rejected"),
    }
    listing = [found(key) for key in ledger]
    plan = plan_pull(listing, ledger)
    assert {item.key for item in plan.fetch} == {"once", "often, but changed"}
    assert [(line.key, line.status) for line in plan.settled] == [("often", "failed")]
    assert [line.key for line in plan.unchanged] == ["rejected"]
    again = plan_pull(listing, ledger, retry_failed=True)
    assert {item.key for item in again.fetch} == set(ledger)


def test_a_limit_leaves_the_rest_to_the_next_sync() -> None:
    plan = Plan(fetch=[found(str(number), size=10) for number in range(10)])
    kept, rest = limit_plan(plan, files_max=4, bytes_max=1000)
    assert (len(kept.fetch), rest) == (4, 6)
    kept, rest = limit_plan(plan, files_max=100, bytes_max=35)
    assert (len(kept.fetch), rest) == (3, 7)
    kept, rest = limit_plan(plan, files_max=100, bytes_max=1)
    assert (len(kept.fetch), rest) == (1, 9), "one file always goes, or a large one would wait for ever"


def test_oldest_files_come_first() -> None:
    listing = [found(str(day), modified_at=NOW + timedelta(days=day)) for day in (3, 1, 2)]
    assert [item.key for item in plan_pull(listing, {}).fetch] == ["1", "2", "3"]


def plan_of(files: int, *, size: int = 10, changed: int = 0, known: int = 0) -> Plan:
    return Plan(fetch=[found(str(number), size=size) for number in range(files)], changed=changed, known=known)


@pytest.mark.parametrize(
    ("plan", "is_unusual"),
    [
        (plan_of(5), False),
        (plan_of(UNUSUAL_FILES_MIN), False),
        (plan_of(51), True),
        (plan_of(5, size=10**9), True),
        (plan_of(30, changed=30, known=40), True),
        (plan_of(30, changed=30, known=1000), False),
    ],
)
def test_what_is_unusual(plan: Plan, is_unusual: bool) -> None:
    history = [Moved(5, 50), Moved(4, 40), Moved(6, 60)]
    assert (why_unusual(plan, history, 10) is not None) == is_unusual
    assert why_unusual(plan, history[:2], 10) is None, "two syncs are no habit"
    assert why_unusual(plan, history, 0) is None, "the rule is off"


def test_a_receipt_that_does_not_add_up_is_not_closed() -> None:
    assert SyncReceipt(listed=3, uploaded=1, ignored=2).closed
    assert not SyncReceipt(listed=4, uploaded=1, ignored=2).closed


def test_jitter_is_steady_and_within_its_bound() -> None:
    assert len({jitter_s(number, 30) for number in range(200)}) > 20
    assert all(0 <= jitter_s(number, 30) < 30 for number in range(200))
    assert jitter_s(7, 30) == jitter_s(7, 30)
    assert jitter_s(7, 0) == 0


changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(1, 3), st.integers(-1000, 1000)),
        st.tuples(st.just("delete"), st.sampled_from("abcd")),
        st.just(("sync",)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(changes)
def test_every_version_that_a_sync_can_see_is_brought_once(steps: list[tuple[object, ...]]) -> None:
    """Objects written, overwritten, reverted and deleted in any order, with any dates, between syncs."""
    bucket: dict[str, tuple[str, int]] = {}
    ledger: dict[str, Entry] = {}
    previous: dict[str, str] = {}
    for step in [*steps, ("sync",)]:
        if step[0] == "put":
            _, key, content, date = step
            bucket[str(key)] = (f"etag-{content}", int(date))  # type: ignore[call-overload]
        elif step[0] == "delete":
            bucket.pop(str(step[1]), None)
        else:
            listing = [
                found(key, etag, 5, modified_at=NOW + timedelta(seconds=date)) for key, (etag, date) in bucket.items()
            ]
            plan = plan_pull(listing, ledger)
            brought = {item.key: item.etag for item in plan.fetch}
            assert brought == {key: etag for key, (etag, _) in bucket.items() if previous.get(key) != etag}
            assert plan.listed == len(plan.fetch) + len(plan.unchanged)
            for key, etag in brought.items():
                ledger[key] = Entry(key, etag, 5, "", "uploaded", 0, UUID(int=1))
                previous[key] = etag
