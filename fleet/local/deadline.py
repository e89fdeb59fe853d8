"""Waiting for something to become true, no longer than agreed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fleet.local.errors import TimedOutError

T = TypeVar("T")


@dataclass(frozen=True)
class Deadline:
    """How much time is left, on the monotonic clock."""

    deadline_s: float

    @classmethod
    def of(cls, timeout_s: float) -> Deadline:
        """Return a deadline that ends in this many seconds."""
        return cls(time.monotonic() + timeout_s)

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.deadline_s - time.monotonic())

    def until(self, what: str, probe: Callable[[], T | None], *, poll_s: float = 0.2) -> T:
        """Return the first answer of `probe` that is not None.

        Raises
        ------
        TimedOutError
            If none came in time.
        """
        while True:
            answer = probe()
            if answer is not None:
                return answer
            if self.left_s == 0.0:
                raise TimedOutError(f"gave up waiting until {what}")
            time.sleep(min(poll_s, self.left_s))
