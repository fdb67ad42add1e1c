from __future__ import annotations

import numpy as np

from gristmill.matching.decide import records_are_taken, rows_doubt
from gristmill.matching.vectors import Floats, Ints

RECORDS = 100


def rows_of(second: float) -> tuple[Ints, Ints, Floats]:
    """A sure row for each of many records, and for every other a second one with these odds."""
    seconds = np.arange(0, RECORDS, 2)
    i = np.arange(RECORDS + len(seconds))
    return i, np.concatenate([np.arange(RECORDS), seconds]), np.repeat((5.0, second), (RECORDS, len(seconds)))


def test_rows_as_good_share_a_record_and_relatives_do_not() -> None:
    assert not records_are_taken(*rows_of(4.5), "auto")
    assert records_are_taken(*rows_of(3.0), "auto")
    assert records_are_taken(*rows_of(4.5), one_to_one=True)
    assert not records_are_taken(*rows_of(3.0), one_to_one=False)


def test_where_rows_share_the_threshold_rises_with_the_rows_that_have_no_record() -> None:
    i, j, odds = rows_of(4.5)
    doubts = [rows_doubt(i, j, odds, rows, RECORDS) for rows in (len(i), 450, 3_000)]
    assert doubts[0] == 0.0
    assert doubts[0] < doubts[1] < doubts[2]
