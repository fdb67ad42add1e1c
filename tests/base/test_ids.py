"""UUIDv7, and row ids that carry their batch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.errors import Malformed
from gristmill.base.ids import ROW_MASK, batch_uuid, parse_uuid, row_uuid, split_row_uuid, uuid7


def test_ids_are_version_7_of_now() -> None:
    made = uuid7()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert abs((made.int >> 80) - time.time() * 1000) < 5_000


def test_ids_of_many_threads_are_distinct_and_rise_in_each() -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: [uuid7() for _ in range(2_000)], range(8)))
    assert len({item for run in runs for item in run}) == 16_000
    assert all(run == sorted(run) for run in runs)


@given(number=st.integers(1, ROW_MASK))
def test_a_row_id_gives_back_its_batch_and_number(number: int) -> None:
    batch = batch_uuid()
    row = row_uuid(batch, number)
    assert row.version == 7
    assert split_row_uuid(row) == (batch, number)


def test_row_ids_sort_in_row_order() -> None:
    batch = batch_uuid()
    rows = [row_uuid(batch, number) for number in (1, 2, 300, 70_000)]
    assert rows == sorted(rows)


@pytest.mark.parametrize("number", [0, -1, ROW_MASK + 1])
def test_a_row_number_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        row_uuid(batch_uuid(), number)


def test_text_that_is_no_uuid_says_so() -> None:
    with pytest.raises(Malformed, match="not a valid batch id"):
        parse_uuid("abc", "batch id")
