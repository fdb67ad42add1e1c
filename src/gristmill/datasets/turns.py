"""Turns of one organization at something that takes a processor for seconds, so that it can't take them all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from gristmill.base.errors import Error

RETRY_AFTER_S = 2


class TooManyQueries(Error):
    """Too many queries of this organization run at once; come again in a moment."""

    code = "rate_limited"


class Turns:
    """So many of each organization run at once in this process, some more wait for a while, others are refused."""

    def __init__(self, at_once: int, waiting_max: int, wait_s: float) -> None:
        self._at_once = at_once
        self._present_max = at_once + waiting_max
        self._wait_s = wait_s
        self._condition = threading.Condition()
        self._running: Counter[int] = Counter()
        self._present: Counter[int] = Counter()
        """Those that run and those that wait."""

    @contextmanager
    def take(self, organization_id: int) -> Generator[None]:
        """Wait for a turn and have it. Raises `TooManyQueries`."""
        with self._condition:
            if self._present[organization_id] >= self._present_max:
                raise TooManyQueries(retry_after_s=RETRY_AFTER_S)
            self._present[organization_id] += 1
            if not self._condition.wait_for(lambda: self._running[organization_id] < self._at_once, self._wait_s):
                self._leave(self._present, organization_id)
                raise TooManyQueries(retry_after_s=RETRY_AFTER_S)
            self._running[organization_id] += 1
        try:
            yield
        finally:
            with self._condition:
                self._leave(self._running, organization_id)
                self._leave(self._present, organization_id)
                self._condition.notify_all()

    @staticmethod
    def _leave(counts: Counter[int], organization_id: int) -> None:
        counts[organization_id] -= 1
        if not counts[organization_id]:
            del counts[organization_id]
