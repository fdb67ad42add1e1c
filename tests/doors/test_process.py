"""What every process does at its end."""

from __future__ import annotations

import time

from gristmill.doors.process import SAME_STOP_S, Stops


def test_two_signals_of_one_ctrl_c_are_one_stop_and_a_later_one_is_another() -> None:
    stops = Stops()
    assert [stops.again() for _ in range(3)] == [False, False, False]
    assert Stops(time.monotonic() - SAME_STOP_S - 0.1).again()
