"""Cron times beside a second opinion: every minute of the days in question, asked one by one."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gristmill.base.cron import BadCron, Cron

ZONES = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"]
"""Lord Howe moves its clocks by half an hour; Sao Paulo did at midnight until 2019; Kathmandu never does."""
CHANGES = {
    "America/New_York": [date(2026, 3, 8), date(2026, 11, 1)],
    "Europe/Berlin": [date(2026, 3, 29), date(2026, 10, 25)],
    "Australia/Lord_Howe": [date(2026, 4, 5), date(2026, 10, 4)],
    "America/Sao_Paulo": [date(2018, 11, 4), date(2019, 2, 17)],
    "Asia/Kathmandu": [date(2026, 3, 29), date(2026, 10, 25)],
}
MINUTE = timedelta(minutes=1)


def values(field: str, low: int, high: int) -> set[int]:
    """The numbers of a field made of lists, ranges and steps."""
    found: set[int] = set()
    for term in field.split(","):
        body, _, step = term.partition("/")
        first, _, last = body.partition("-")
        if body == "*":
            start, end = low, high
        else:
            start = int(first)
            end = int(last) if last else (high if step else start)
        found |= set(range(start, end + 1, int(step or 1)))
    return found


def matches(expression: str, wall: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    if wall.minute not in values(minute, 0, 59) or wall.hour not in values(hour, 0, 23):
        return False
    if wall.month not in values(month, 1, 12):
        return False
    in_days = wall.day in values(day, 1, 31)
    in_weekdays = wall.isoweekday() % 7 in {number % 7 for number in values(weekday, 0, 7)}
    return (in_days and in_weekdays) if day.startswith("*") or weekday.startswith("*") else in_days or in_weekdays


def second_opinion(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    """Every time between: minute by minute, by the rules of the module's first paragraph."""
    zone = ZoneInfo(cron.timezone)
    minute, hour, *_ = cron.expression.split()
    fixed = not minute.startswith("*") and not hour.startswith("*")
    found: list[datetime] = []
    moment = start.replace(second=0, microsecond=0)
    while moment < end:
        wall = moment.astimezone(zone)
        before = (moment - MINUTE).astimezone(zone)
        skipped = wall.utcoffset() - before.utcoffset()  # type: ignore[operator]
        hit = matches(cron.expression, wall)
        if fixed and wall.fold:
            hit = False  # the second of two equal hours
        if fixed and skipped > timedelta(0):  # the first minute after a gap stands for all of the gap
            lost = (wall.replace(tzinfo=None) - MINUTE * n for n in range(1, int(skipped / MINUTE) + 1))
            hit = hit or any(matches(cron.expression, naive) for naive in lost)
        if hit and moment > start:
            found.append(moment)
        moment += MINUTE
    return found


def times(cron: Cron, start: datetime, end: datetime, most: int = 10_000) -> list[datetime]:
    found: list[datetime] = []
    moment = start
    while True:
        after = cron.next_after(moment)
        if after is None or after >= end or len(found) == most:
            return found
        found.append(after)
        moment = after


numbers = st.integers


@st.composite
def field(draw: st.DrawFn, low: int, high: int) -> str:
    kind = draw(st.sampled_from(["*", "*", "one", "list", "range", "step", "range step"]))
    one, two = sorted((draw(numbers(low, high)), draw(numbers(low, high))))
    step = draw(numbers(1, max(2, (high - low) // 2)))
    return {
        "*": "*", "one": str(one), "list": f"{one},{two}", "range": f"{one}-{two}", "step": f"*/{step}",
        "range step": f"{one}-{two}/{step}",
    }[kind]  # fmt: skip


@st.composite
def expressions(draw: st.DrawFn) -> str:
    hour = draw(st.one_of(field(0, 23), st.sampled_from(["0", "1", "2", "1-3", "0,2"])))
    return f"{draw(field(0, 59))} {hour} {draw(field(1, 28))} * {draw(field(0, 7))}"


@settings(max_examples=150, deadline=None)
@given(expression=expressions(), zone=st.sampled_from(ZONES), which=st.integers(0, 1), offset=st.integers(0, 1439))
def test_times_across_a_change_of_the_clock(expression: str, zone: str, which: int, offset: int) -> None:
    day = CHANGES[zone][which]
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1) + timedelta(minutes=offset)
    end = start + timedelta(days=2, hours=6)
    cron = Cron.of(expression, zone)
    assert times(cron, start, end) == second_opinion(cron, start, end)


@settings(max_examples=60, deadline=None)
@given(expression=expressions())
def test_times_are_those_of_another_library_where_no_clock_changes(expression: str) -> None:
    croniter = pytest.importorskip("croniter")
    assume(not re.search(r"\b(\d+)-\1\b", expression))  # it reads `0-0` as every
    _, _, day, _, weekday = expression.split()
    assume("*" in (day, weekday) or not (day.startswith("*") or weekday.startswith("*")))  # `*/2` with a day differs
    start = datetime(2026, 1, 10, 7, 31, tzinfo=UTC)
    found = times(Cron.of(expression), start, start + timedelta(days=20), most=50)
    other = croniter.croniter(expression, start)
    assert found == [other.get_next(datetime) for _ in found]


@pytest.mark.parametrize(
    ("zone", "expression", "start", "expected"),
    [
        ("America/New_York", "30 1 * * *", "2026-11-01T00:00", ["2026-11-01T05:30", "2026-11-02T06:30"]),
        ("America/New_York", "30 1 * * *", "2026-11-01T06:10", ["2026-11-02T06:30"]),
        ("America/New_York", "30 2 * * *", "2026-03-08T00:00", ["2026-03-08T07:00", "2026-03-09T06:30"]),
        ("America/New_York", "15,45 2 * * *", "2026-03-08T00:00", ["2026-03-08T07:00", "2026-03-09T06:15"]),
        ("America/New_York", "*/30 1 * * *", "2026-11-01T04:00", ["2026-11-01T05:00", "2026-11-01T05:30",
                                                                 "2026-11-01T06:00", "2026-11-01T06:30"]),
    ],
)  # fmt: skip
def test_changes_of_the_clock_by_example(zone: str, expression: str, start: str, expected: list[str]) -> None:
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
    for text in expected:
        found = Cron.of(expression, zone).next_after(moment)
        assert found == datetime.fromisoformat(text).replace(tzinfo=UTC)
        assert found is not None
        moment = found


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "@daily", "61 * * * *", "0 0 30 2 *", "0 0 31 4 *", "a b c d e", "5-1 * * * *",
     "0 0 1 1 8", "0" * 101, "٣ * * * *", "* * * * *; x", "0 0 1W * *", "-1 * * * *", "*/0 * * * *"],
)  # fmt: skip
def test_what_is_no_cron_is_refused(expression: str) -> None:
    with pytest.raises(BadCron):
        Cron.of(expression)


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "x" * 500, "a\0b"]
)
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(BadCron):
        Cron.of("0 6 * * *", zone)


def test_what_happens_too_often_is_refused() -> None:
    with pytest.raises(BadCron, match="60 s"):
        Cron.of("0,1 0 1 * *", pause_s_min=300)
    Cron.of("*/5 * * * *", pause_s_min=300)
    with pytest.raises(BadCron):
        Cron.of("*/4 * * * *", pause_s_min=300)


def test_missed_times_are_one_time() -> None:
    now = datetime(2026, 5, 5, 12, 0, 30, tzinfo=UTC)
    assert Cron.of("*/5 * * * *").next_after(now) == datetime(2026, 5, 5, 12, 5, tzinfo=UTC)
    late = Cron.of("* * * * *").next_with_pause(now, now - timedelta(seconds=20), 300)
    assert late == datetime(2026, 5, 5, 12, 6, tzinfo=UTC)
