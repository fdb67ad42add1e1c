"""UUIDv7, and row ids that carry their batch.

A batch id is a UUIDv7 whose last 32 bits are zero; the id of its row number n (1-based) is the same
128 bits with n in the last 32. So a row id is a valid UUIDv7, sorts in row order, names its batch, and
needs no column and no index of its own.
Layout: RFC 9562, section 5.7.
"""

from __future__ import annotations

import secrets
import threading
import time
from uuid import UUID

from gristmill.base.errors import Malformed

ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_COUNTER_MAX = 0xFFF


def uuid7() -> UUID:
    """A new UUIDv7; ids of one process never go backwards (a counter fills the 12 bits after the time)."""
    global _last_ms, _counter  # noqa: PLW0603 - the monotonic counter is the one piece of state here
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, secrets.randbits(11)
        elif _counter >= _COUNTER_MAX:
            _last_ms, _counter = _last_ms + 1, 0
        else:
            _counter += 1
        stamp, counter = _last_ms, _counter
    value = (stamp & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= counter << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return UUID(int=value)


def batch_uuid() -> UUID:
    """A new batch id: a UUIDv7 with its last 32 bits free for row numbers."""
    return UUID(int=uuid7().int & ~ROW_MASK)


def row_uuid(batch_id: UUID, row_number: int) -> UUID:
    """The id of row `row_number` (1-based) of a batch."""
    if not 1 <= row_number <= ROW_MASK:
        raise ValueError(f"row number {row_number} is out of range")
    return UUID(int=(batch_id.int & ~ROW_MASK) | row_number)


def split_row_uuid(row_id: UUID) -> tuple[UUID, int]:
    """Batch id and row number of a row id."""
    return UUID(int=row_id.int & ~ROW_MASK), row_id.int & ROW_MASK


def parse_uuid(text: str, what: str = "id") -> UUID:
    """A UUID from text. Raises `Malformed` with the name of the thing when it is none."""
    try:
        return UUID(text)
    except ValueError:
        raise Malformed(f"`{text[:80]}` is not a valid {what}: a UUID is expected.") from None
