"""How values read on a page: numbers, money, times, rows in short. `static/format.js` says the same to the browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

from gristmill.base.money import MICRO

SHORT_FIELDS = 4
SHORT_CHARS = 60
JSON_CHARS_MAX = 100_000
"""Longer JSON is cut on the page; the export has all of it."""
COLOURED_CHARS_MAX = 40_000
ID_CHARS = 13
"""Of a long id."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_CENT = MICRO // 100
_KIB = 1024
_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=\s*:)|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>\b(?:true|false|null)\b)"
)


def whole(number: int) -> str:
    """`1234567` -> `1,234,567`."""
    return f"{number:,}"


def money(micro_usd: int) -> str:
    """Dollars to the cent; what is less than a cent but not nothing says so."""
    if 0 < micro_usd < _CENT:
        return "<$0.01"
    sign, amount = ("-", -micro_usd) if micro_usd < 0 else ("", micro_usd)
    cents = (amount + _CENT // 2) // _CENT
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def row_money(micro_usd: int) -> str:
    """Dollars of one row: three decimal places, and more where there is more."""
    sign, amount = ("-", -micro_usd) if micro_usd < 0 else ("", micro_usd)
    places = f"{amount % MICRO:06d}"
    return f"{sign}${amount // MICRO:,}.{places[:3]}{places[3:].rstrip('0')}"


def percent(part: int, total: int) -> str:
    """One decimal place, cut and not rounded: 100.0 % means all of them."""
    if total == 0:
        return "0.0 %"
    tenths = part * 1000 // total
    return f"{tenths // 10}.{tenths % 10} %"


def rate(per_s: float | None) -> str:
    """Rows per second, or per minute when it is slow."""
    if per_s is None:
        return "\N{EN DASH}"
    if per_s >= 10:  # noqa: PLR2004 - two digits say enough
        return f"{round(per_s):,} rows/s"
    return f"{per_s:.1f} rows/s" if per_s >= 1 else f"{per_s * _MINUTE:.1f} rows/min"


def duration(seconds: float | None) -> str:
    """The two largest units: `3 h 12 min`."""
    if seconds is None:
        return "\N{EN DASH}"
    left = round(seconds)
    found: list[str] = []
    for name, size_s in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE), ("s", 1)):
        count, left = divmod(left, size_s)
        if count:
            found.append(f"{count} {name}")
        elif found:
            break
    return " ".join(found[:2]) or "0 s"


def ago(then: datetime, now: datetime) -> str:
    """How long ago; the date once that is more than a month."""
    seconds = int((now - then).total_seconds())
    if seconds < 10:  # noqa: PLR2004 - clocks differ a little
        return "just now"
    if seconds < _MINUTE:
        return f"{seconds} s ago"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h ago"
    if seconds < 31 * _DAY:
        return f"{seconds // _DAY} d ago"
    return f"{then.day} {then:%b %Y}"


def absolute(then: datetime) -> str:
    """To the second, in UTC."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment(value: str | datetime | None) -> datetime | None:
    """A time that may have been kept as text; None when it can't be read."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def size(size_bytes: int) -> str:
    """`412 KB`, `5 MB`, `1.5 GB`."""
    if size_bytes < _KIB:
        return f"{size_bytes} B"
    if size_bytes < _KIB**2:
        return f"{size_bytes / _KIB:.0f} KB"
    value, unit = (size_bytes / _KIB**2, "MB") if size_bytes < _KIB**3 else (size_bytes / _KIB**3, "GB")
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def plain(value: Any) -> str:
    """A cell's value as text: text as it is, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def cut(text: str, most: int = SHORT_CHARS) -> str:
    """A text's beginning, on one line."""
    line = " ".join(text[: most * 4].split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def short(row: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The first fields of a row that are not empty, each cut."""
    found: list[tuple[str, str]] = []
    for name, value in (row or {}).items():
        text = cut(plain(value))
        if text:
            found.append((cut(str(name), 30), text))
        if len(found) == SHORT_FIELDS:
            break
    return found


def telling(row: Mapping[str, Any] | None, first: Iterable[str] = ()) -> list[tuple[str, str]]:
    """The fields of a row that tell people most, in short: those of `first`, and no ids where there is more."""
    fields = row or {}
    names = [*dict.fromkeys(name for name in first if name in fields), *fields]
    ordered = {name: fields[name] for name in names}
    return short({name: value for name, value in ordered.items() if not _is_id(value)}) or short(ordered)


def _is_id(value: Any) -> bool:
    """Whether a value is a UUID or a hash, which nobody recognizes a row by."""
    return isinstance(value, str) and _ID.fullmatch(value.strip()) is not None


def needer(name: str) -> str:
    """`connector:7` -> `connector 7`; of a UUID the first characters, which are its time to the millisecond."""
    kind, _, rest = name.partition(":")
    if not rest:
        return name
    return f"{kind} {rest if len(rest) <= ID_CHARS else rest[:ID_CHARS] + ELLIPSIS}"


def ticks(text: str) -> Markup:
    """Text in which `this` is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def pretty(value: Any) -> Markup:
    """Indented JSON with its parts marked for colour. Every character of the value is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    rest = ""
    if len(text) > JSON_CHARS_MAX:
        text, rest = text[:JSON_CHARS_MAX], "\n\N{HORIZONTAL ELLIPSIS} cut here; the export has all of it"
    if len(text) > COLOURED_CHARS_MAX:
        return escape(text) + escape(rest)
    parts: list[Markup] = []
    at = 0
    for token in _TOKEN.finditer(text):
        parts.append(escape(text[at : token.start()]))
        parts.append(Markup('<span class="j-{}">{}</span>').format(token.lastgroup, token.group()))
        at = token.end()
    parts.append(escape(text[at:] + rest))
    return Markup("").join(parts)


def lasted(started: datetime | None, ended: datetime | None) -> timedelta | None:
    """Time between two moments that may be missing."""
    return ended - started if started and ended else None
