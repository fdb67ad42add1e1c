"""Values that never change and take a while to fetch, kept in memory up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Those that were used last, for all threads of a process."""

    def __init__(self, bytes_max: int, size_of: Callable[[V], int]) -> None:
        self._bytes_max = bytes_max
        self._size_of = size_of
        self._values: OrderedDict[K, V] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K, fetch: Callable[[], V]) -> V:
        """The value of a key, fetched unless it is there; two threads may fetch the same."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = fetch()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self._bytes += self._size_of(value)
            while self._bytes > self._bytes_max and len(self._values) > 1:
                self._bytes -= self._size_of(self._values.popitem(last=False)[1])
        return value
