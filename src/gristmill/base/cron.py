"""Times of a cron expression: five fields, a time zone, daylight saving as Debian's cron has it.

A job at a fixed time runs once a day, also on the day that has the hour twice, and right after the gap on the day that
lacks it; one whose hour or minute begins with `*` runs whenever the clock on the wall shows a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

CRON_CHARS_MAX = 100
CRON_FIELDS = 5
FIRES_LOOKED_AT = 50
"""How many times ahead the shortest pause is looked for."""
_RANGE_OF_ONE = re.compile(r"\b(\w+)-\1/\d+")
"""`5-5/2`, which the library takes for `5/2`: from five onwards."""
SAMPLE_FROM = datetime(2026, 1, 1)  # noqa: DTZ001 - on the wall


class BadCron(ValueError):
    """The expression or the time zone can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When something happens by itself."""

    expression: str
    timezone: str = "UTC"
    """An IANA name, such as `Europe/Berlin`."""

    @classmethod
    def of(cls, expression: str, timezone: str = "UTC", *, pause_s_min: int = 0) -> Cron:
        """A checked one. Raises `BadCron`, also for one that fires twice within `pause_s_min`."""
        if len(expression) > CRON_CHARS_MAX or not expression.isascii() or len(expression.split()) != CRON_FIELDS:
            raise BadCron("must be five cron fields, such as `0 6 * * 1-5`")
        found = cls(" ".join(expression.split()), timezone)
        found.zone()
        try:
            fires = list(islice(found._from(SAMPLE_FROM), FIRES_LOOKED_AT))
        except CronSimError as error:
            raise BadCron(f"can't be read as cron: {error}") from None
        if not fires:
            raise BadCron("never happens")
        pauses = [(after - before).total_seconds() for before, after in pairwise(fires)]
        if pauses and min(pauses) < pause_s_min:
            raise BadCron(f"happens after {min(pauses):.0f} s again; at least {pause_s_min} s must lie between")
        return found

    def zone(self) -> ZoneInfo:
        """The time zone. Raises `BadCron` for an unknown one."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadCron(f"there is no time zone `{self.timezone[:60]}`; use a name such as Europe/Berlin") from None

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`, in UTC; None when there is none in the next decades."""
        minute, hour, *_ = self.expression.split()
        anytime = minute.startswith("*") or hour.startswith("*")
        return self._next_on_wall(moment) if anytime else self._next_fixed(moment)

    def _next_on_wall(self, moment: datetime) -> datetime | None:
        """Whenever the wall shows a match: under one offset after the other, each until it changes."""
        zone = self.zone()
        offset = _offset(zone, moment)
        while True:
            wall = next(self._from((moment + offset).replace(tzinfo=None)), None)
            if wall is None:
                return None
            found = wall.replace(tzinfo=UTC) - offset
            change = _first_change(zone, offset, moment, found)
            if change is None:
                return found
            offset = _offset(zone, change)
            moment = change - timedelta(seconds=1)

    def _next_fixed(self, moment: datetime) -> datetime | None:
        """Once for each day that has a match: the first of two equal times, the end of the gap for a missing one."""
        zone = self.zone()
        for wall in self._from(moment.astimezone(zone).replace(tzinfo=None)):
            found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
            if found.astimezone(zone).replace(tzinfo=None) != wall:
                before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
                found = _first_change(zone, _offset(zone, before), before, found) or found
            if found > moment:
                return found
        return None

    def next_with_pause(self, moment: datetime, last: datetime | None, pause_s_min: int) -> datetime | None:
        """The first time after `moment` that is at least `pause_s_min` after `last`."""
        if last is None:
            return self.next_after(moment)
        return self.next_after(max(moment, last + timedelta(seconds=pause_s_min) - timedelta(microseconds=1)))

    def _from(self, wall: datetime) -> Iterator[datetime]:
        """Matching times after `wall`, as the clock on the wall shows them; the library knows no zone here."""
        return CronSim(_RANGE_OF_ONE.sub(r"\1", self.expression), wall)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _first_change(zone: ZoneInfo, offset: timedelta, after: datetime, until: datetime) -> datetime | None:
    """The first second in (after, until] at which another offset than this one holds."""
    low = after
    while low < until:
        high = min(low + timedelta(days=1), until)
        if _offset(zone, high) != offset:
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high.replace(microsecond=0)
        low = high
    return None
