"""Monotonic time for limits and durations; the database's clock is used for everything that is stored."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Deadline:
    """A limit on elapsed time."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.started + self.seconds - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self.left_s <= 0.0
