"""Which receivers an event concerns, the ladder, and what is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base import jsons
from gristmill.base.errors import Invalid
from gristmill.events.model import (
    JITTER,
    KINDS,
    RETRY_AFTER_S_MAX,
    TOPICS,
    WAITS_S,
    Event,
    check_event_types,
    envelope,
    message_of,
    topics_of,
    wait_s,
)

EVENT = Event(
    UUID("01a213f6-fb14-737c-a531-5db900000001"),
    "agent.batch.paused",
    "batch:1",
    {"name": "Leads", "message": "The balance is used up.", "reason": "balance", "n": 12345678901234567890123},
    datetime(2026, 11, 25, 20, 0, 1, 500_000, tzinfo=UTC),
)


def test_patterns_of_a_kind() -> None:
    assert topics_of("agent.batch.failed", {}) == [
        "agent.batch.failed", "*", "agent.*", "agent.batch.*", "on_escalation",
    ]  # fmt: skip
    assert "on_cost_threshold" in topics_of("agent.batch.paused", {"reason": "balance"})
    assert "on_cost_threshold" not in topics_of("agent.batch.paused", {"reason": "user"})


def test_patterns_are_checked() -> None:
    assert check_event_types(["*", "agent.batch.*", "agent.batch.*", "dataset.created"]) == [
        "*", "agent.batch.*", "dataset.created",
    ]  # fmt: skip
    for wrong in ("agent", "agent.batch*", "agent.*.failed", "", "on_pause", "dataset.create", "**"):
        with pytest.raises(Invalid, match="fits no kind"):
            check_event_types([wrong])


def test_every_topic_names_kinds_that_there_are() -> None:
    assert {kind for _, kinds in TOPICS.values() for kind in kinds} <= set(KINDS)


def test_the_ladder_is_the_documented_one_and_ends() -> None:
    assert WAITS_S == (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000)
    for tries, pause in enumerate(WAITS_S):
        waited = wait_s(tries, None)
        assert waited is not None
        assert pause <= waited <= pause * (1 + JITTER)
    assert wait_s(len(WAITS_S), None) is None
    assert wait_s(len(WAITS_S), 5.0) is None


@given(st.integers(0, 7), st.floats(0, 1e9))
def test_a_receiver_may_ask_for_more_time_and_never_for_less(tries: int, asked: float) -> None:
    waited = wait_s(tries, asked)
    assert waited is not None
    assert waited >= min(asked, RETRY_AFTER_S_MAX)
    assert waited >= WAITS_S[tries]


def test_the_body_is_the_same_every_time() -> None:
    body = envelope(EVENT)
    assert body == envelope(EVENT)
    assert jsons.loads(body) == {
        "id": "01a213f6-fb14-737c-a531-5db900000001",
        "type": "agent.batch.paused",
        "timestamp": "2026-11-25T20:00:01.500000Z",
        "subject": "batch:1",
        "data": EVENT.data,
    }


def test_people_get_a_title_and_the_facts() -> None:
    message = message_of(EVENT)
    assert message.title == "A batch stopped before its end: Leads"
    assert message.text.splitlines()[:2] == ["The balance is used up.", "reason: balance"]
    assert "batch:1" in message.text
