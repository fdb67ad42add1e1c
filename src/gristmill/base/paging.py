"""Pages: by number for short lists, by keyset cursor for long ones; lists with a known end come as a whole."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from gristmill.base.errors import Malformed

T = TypeVar("T")

PER_PAGE_MAX = 200
LIMIT_MAX = 1000
CURSOR_BYTES_MAX = 512


@dataclass(frozen=True, slots=True)
class PageMeta:
    """Where a numbered page stands in its list."""

    page: int
    per_page: int
    total: int
    total_pages: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One numbered page of a list."""

    data: list[T]
    meta: PageMeta


@dataclass(frozen=True, slots=True)
class CursorMeta:
    """How to go on from this page."""

    next_cursor: str | None
    """Send it as `cursor` for the next page; null on the last one."""


@dataclass(frozen=True, slots=True)
class CursorPage(Generic[T]):
    """One page of a long list, continued by its cursor."""

    data: list[T]
    meta: CursorMeta


@dataclass(frozen=True, slots=True)
class FullMeta:
    """How many there are."""

    total: int


@dataclass(frozen=True, slots=True)
class FullList(Generic[T]):
    """A short list that comes as a whole."""

    data: list[T]
    meta: FullMeta


def full_list(data: list[T]) -> FullList[T]:
    """All of a list, with its meta."""
    return FullList(data, FullMeta(len(data)))


def page_of(data: list[T], *, page: int, per_page: int, total: int) -> Page[T]:
    """A numbered page with its meta."""
    return Page(data, PageMeta(page, per_page, total, -(-total // per_page)))


def cursor_page(found: Sequence[T], limit: int, mark: Callable[[T], Any]) -> CursorPage[T]:
    """A page of a list that was asked for `limit` + 1 entries: whether the last one came tells if there are more.

    `mark` is what the cursor holds of the page's last entry, a small JSON value.
    """
    data = list(found[:limit])
    return CursorPage(data, CursorMeta(encode_cursor(mark(data[-1])) if len(found) > limit else None))


def encode_cursor(value: Any) -> str:
    """An opaque cursor that holds a small JSON value."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def uuid_cursor(cursor: str | None) -> UUID | None:
    """The UUID in a cursor; None without one. Raises `Malformed`."""
    if cursor is None:
        return None
    try:
        return UUID(decode_cursor(cursor))
    except (ValueError, AttributeError, TypeError):
        raise Malformed("The cursor is not one of ours.") from None


def decode_cursor(cursor: str) -> Any:
    """The value in a cursor. Raises `Malformed` for anything we did not make."""
    if len(cursor) > CURSOR_BYTES_MAX:
        raise Malformed("The cursor is not one of ours.")
    try:
        return orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        raise Malformed("The cursor is not one of ours.") from None
