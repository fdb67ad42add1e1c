"""Helpers on dates: Go's layouts, written out of the reference time Mon Jan 2 15:04:05 MST 2006."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

HOURS, MINUTES, NOON = 24, 60, 12
_DATE_CHARS_MAX = 64
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"]  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_TOKEN = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|Z070000|Z07:00:00|Z0700|Z07:00|Z07|-070000|-07:00:00|-0700|-07:00|-07"
    r"|002|01|02|03|04|05|06|15|__2|_2|PM|pm|[.,]0+(?!\d)|[.,]9+(?!\d)|1|2|3|4|5"
)
_PLAIN_DATE = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})", re.ASCII)


def moment(value: Any) -> datetime:
    """A point in time: ISO 8601 and e-mail dates as text, or seconds since 1970; without a zone it is UTC."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
        except (OverflowError, ValueError):
            raise ValueError(f"{value} seconds are out of range") from None
    if not isinstance(value, str):
        raise ValueError("nil is no date" if value is None else "not a date")  # noqa: TRY004 - told to the user as it is
    text = value.strip()[: _DATE_CHARS_MAX + 1]
    found = _read(text) if len(text) <= _DATE_CHARS_MAX else None
    if found is None:
        raise ValueError(f"{text[:40]!r} is no date")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _read(text: str) -> datetime | None:
    slashed = _PLAIN_DATE.match(text)
    if slashed:
        text = f"{slashed[1]}-{slashed[2]:0>2}-{slashed[3]:0>2}{text[slashed.end() :]}"
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except (ValueError, TypeError, IndexError):
            continue
    return None


def date(layout: str, value: Any) -> str:
    """The date in a Go layout, in its own zone: `date "2 Jan 2006" .created`."""
    return _written(layout, moment(value))


def date_in_zone(layout: str, value: Any, offset: str) -> str:
    """The same in a zone given as an offset, `+02:00`, or `UTC`."""
    return _written(layout, moment(value).astimezone(_zone(offset)))


def _zone(offset: str) -> timezone:
    if offset in {"UTC", "Z", ""}:
        return UTC
    found = re.fullmatch(r"([+-])(\d\d):?(\d\d)", offset, re.ASCII)
    if not found or int(found[2]) >= HOURS or int(found[3]) >= MINUTES:
        raise ValueError(f"{offset[:40]!r} is no offset such as +02:00")
    span = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(span if found[1] == "+" else -span)


def unix_epoch(value: Any) -> int:
    """Seconds since 1970."""
    return int(moment(value).timestamp())


def _written(layout: str, at: datetime) -> str:
    return _TOKEN.sub(lambda found: _part(found[0], at), layout)


def _part(token: str, at: datetime) -> str:
    hour12 = at.hour % 12 or 12
    parts: dict[str, str] = {
        "2006": f"{at.year:04d}", "06": f"{at.year % 100:02d}", "January": _MONTHS[at.month - 1],
        "Jan": _MONTHS[at.month - 1][:3], "01": f"{at.month:02d}", "1": str(at.month), "02": f"{at.day:02d}",
        "_2": f"{at.day:2d}", "2": str(at.day), "002": f"{at.timetuple().tm_yday:03d}",
        "__2": f"{at.timetuple().tm_yday:3d}", "Monday": _DAYS[at.weekday()], "Mon": _DAYS[at.weekday()][:3],
        "15": f"{at.hour:02d}", "03": f"{hour12:02d}", "3": str(hour12), "04": f"{at.minute:02d}",
        "4": str(at.minute), "05": f"{at.second:02d}", "5": str(at.second), "PM": "PM" if at.hour >= NOON else "AM",
        "pm": "pm" if at.hour >= NOON else "am", "MST": _zone_name(at),
    }  # fmt: skip
    if token in parts:
        return parts[token]
    if token[0] in ".,":
        return _fraction(token, at)
    return _offset(token, at)


def _fraction(token: str, at: datetime) -> str:
    digits = f"{at.microsecond:06d}".ljust(len(token) - 1, "0")[: len(token) - 1]
    if token[1] == "9":
        digits = digits.rstrip("0")
    return token[0] + digits if digits else ""


def _zone_name(at: datetime) -> str:
    span = at.utcoffset() or timedelta()
    return "UTC" if not span else _offset("-07" if span.seconds % 3600 == 0 else "-0700", at)


def _offset(token: str, at: datetime) -> str:
    seconds = int((at.utcoffset() or timedelta()).total_seconds())
    if token[0] == "Z" and not seconds:
        return "Z"
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    parts = [f"{seconds // 3600:02d}", f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}"]
    digits = token[1:].replace(":", "")
    return sign + (":" if ":" in token else "").join(parts[: len(digits) // 2])


DATES: dict[str, Callable[..., Any]] = {"date": date, "dateInZone": date_in_zone, "unixEpoch": unix_epoch}
